"""Liveness and readiness. `/healthz`: the process answers. `/readyz`: what it cannot do without answers too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from lakehouse.errors import WavehouseError


@dataclass(frozen=True)
class Probe:
    """One engine behind the service. `check` returns, or raises a `WavehouseError` when the engine is away.

    Without a `required` one the service is not ready; without another it answers, with less.
    """

    name: str
    check: Callable[[], None]
    required: bool = True


class Health(BaseModel):
    """The process is alive."""

    status: Literal["ok"] = "ok"


class Check(BaseModel):
    """State of one engine behind the service."""

    name: str = Field(description="Engine", examples=["catalog"])
    status: Literal["ok", "away"] = Field(description="Whether it answers")
    required: bool = Field(description="Whether the service is of no use without it")
    detail: str | None = Field(default=None, description="What is wrong")


class Readiness(BaseModel):
    """Whether the service can do its work, engine by engine."""

    status: Literal["ready", "degraded", "unready"] = Field(
        description="degraded: answers, but without what the engines that are away give"
    )
    checks: list[Check]


def router(probes: Sequence[Probe]) -> APIRouter:
    """Routes `/healthz` and `/readyz` over `probes`."""
    routes = APIRouter(tags=["health"])

    @routes.get("/healthz", summary="Is the process alive?")
    def healthz() -> Health:
        """Answers as long as the process runs; asks no engine."""
        return Health()

    @routes.get(
        "/readyz",
        summary="Can it do its work?",
        responses={503: {"model": Readiness, "description": "An engine it needs is away"}},
    )
    def readyz(response: Response) -> Readiness:
        """Asks each engine behind the service."""
        checks = [_run(probe) for probe in probes]
        away = [check for check in checks if check.status == "away"]
        unready = any(check.required for check in away)
        if unready:
            response.status_code = 503
        return Readiness(status="unready" if unready else "degraded" if away else "ready", checks=checks)

    return routes


def _run(probe: Probe) -> Check:
    try:
        probe.check()
    except WavehouseError as error:
        return Check(name=probe.name, status="away", required=probe.required, detail=error.message)
    return Check(name=probe.name, status="ok", required=probe.required)
