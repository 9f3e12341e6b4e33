"""Errors over HTTP: every error answer is a problem document (RFC 9457, `application/problem+json`).

RetryableError      503  an engine is away; `Retry-After` says when to ask again
RejectedInputError  422  the request breaks a rule; `type` ends in its reason code
NotFoundError       404
anything else       500  without details: those are in the log under the same `request_id`
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from lakehouse.errors import FatalError, RejectedInputError, RetryableError, WavehouseError

MEDIA_TYPE = "application/problem+json"
#: Seconds after which asking again makes sense; the stack restarts a dead engine in about this time.
RETRY_AFTER_S = 5

log = logging.getLogger("serving")


class NotFoundError(FatalError):
    """The thing asked for does not exist."""


class Violation(BaseModel):
    """One part of the request that breaks the interface."""

    location: str = Field(description="Where: `query.limit`, `path.track_id`, ...", examples=["query.limit"])
    message: str = Field(description="What is wrong with it", examples=["Input should be less than or equal to 100"])


class Problem(BaseModel):
    """Problem details of RFC 9457; `hint`, `request_id` and `errors` are extension members."""

    type: str = Field(
        description="URI that names the kind of problem; `about:blank` when the status says it all",
        examples=["about:blank"],
    )
    title: str = Field(
        description="The kind of problem in words, the same for every occurrence", examples=["Not Found"]
    )
    status: int = Field(description="HTTP status code", examples=[404])
    detail: str = Field(description="What is wrong this time", examples=["There is no track 42."])
    instance: str = Field(description="Path of the request", examples=["/v1/tracks/42"])
    request_id: str = Field(description="Identity of the request, also in the log and in the header X-Request-ID")
    hint: str | None = Field(default=None, description="What to do about it")
    errors: list[Violation] | None = Field(default=None, description="Parts of the request that are not valid")


def problem(
    request: Request,
    status: int,
    detail: str,
    *,
    kind: str = "about:blank",
    title: str = "",
    hint: str = "",
    errors: list[Violation] | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """The answer to `request` as a problem document."""
    body = Problem(
        type=kind,
        title=title or HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        instance=request.url.path,
        request_id=getattr(request.state, "request_id", ""),
        hint=hint or None,
        errors=errors,
    )
    return JSONResponse(
        body.model_dump(exclude_none=True),
        status_code=status,
        media_type=MEDIA_TYPE,
        headers={"Cache-Control": "no-store"} | (headers or {}),
    )


def from_error(request: Request, error: WavehouseError) -> JSONResponse:
    """The problem document of an error of the platform's tree. What broke inside (500) is logged, not told."""
    match error:
        case RetryableError():
            headers = {"Retry-After": str(RETRY_AFTER_S)}
            return problem(request, 503, error.message, hint=error.hint, headers=headers)
        case RejectedInputError():
            kind = f"urn:wavehouse:problem:{error.reason}"
            title = error.reason.replace("_", " ").capitalize()
            return problem(request, 422, error.message, kind=kind, title=title, hint=error.hint)
        case NotFoundError():
            return problem(request, 404, error.message, hint=error.hint)
    log.error("request failed", exc_info=error, extra={"request_id": getattr(request.state, "request_id", "")})
    return internal(request)


def internal(request: Request) -> JSONResponse:
    """The answer when something broke that the caller can do nothing about."""
    return problem(request, 500, "The request could not be answered.", hint="Report it with its request_id.")


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries of problem answers, for `responses=` of a route."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def install(app: FastAPI) -> None:
    """Answer every error of `app` with a problem document."""

    def wavehouse_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, WavehouseError)  # noqa: S101 - registered for this class only
        return from_error(request, error)

    def http_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)  # noqa: S101
        headers = dict(error.headers or {})
        return problem(request, error.status_code, str(error.detail), headers=headers)

    def validation_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        violations = [
            Violation(location=".".join(map(str, e["loc"])), message=str(e["msg"]))
            for e in jsonable_encoder(error.errors(), exclude={"ctx", "input"})
        ]
        return problem(
            request,
            422,
            "; ".join(f"{v.location}: {v.message}" for v in violations),
            kind="urn:wavehouse:problem:invalid_request",
            title="Invalid request",
            hint="/openapi.json describes what is valid.",
            errors=violations,
        )

    handlers: dict[type[Exception], Callable[[Request, Exception], JSONResponse | Awaitable[JSONResponse]]] = {
        WavehouseError: wavehouse_error,
        HTTPException: http_error,
        RequestValidationError: validation_error,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
