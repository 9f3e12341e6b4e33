"""The frame of a service: every service is `build(...)` plus its own routes."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

from lakehouse.config.settings import Settings
from lakehouse.contracts.model import dictionary
from serving.kit import health, problems
from serving.kit.requests import RequestLog


def build(
    *,
    title: str,
    version: str,
    description: str,
    settings: Settings,
    routers: Sequence[APIRouter],
    probes: Sequence[health.Probe] = (),
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None,
) -> FastAPI:
    """An application with problem documents, request ids, health routes and a complete OpenAPI document.

    Swagger UI and ReDoc are off because they load their scripts from elsewhere; `/openapi.json` is the documentation.
    """
    app = FastAPI(
        title=title,
        version=version,
        description=description,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        generate_unique_id_function=_operation_id,
        responses=problems.responses(422, 500),
    )
    app.state.settings = settings
    problems.install(app)
    app.add_middleware(RequestLog)
    for router in (*routers, health.router(probes)):
        app.include_router(router)

    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for model in (problems.Problem, problems.Violation):
            schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
            schema.pop("$defs", None)
            schemas[model.__name__] = schema
        return document

    app.openapi = openapi  # type: ignore[method-assign]
    return app


def log_to_stdout() -> None:
    """What the service logs goes to standard output, however often an application is made."""
    log = logging.getLogger("serving")
    if not log.handlers:
        log.addHandler(logging.StreamHandler(sys.stdout))
    log.setLevel(logging.INFO)


def _operation_id(route: APIRoute) -> str:
    """The handler's own name: short, and stable when a path changes."""
    return route.name


def meaning(column: str) -> str:
    """Description of `column` with its unit, from the dictionary that all contracts share."""
    return dictionary()[column].doc
