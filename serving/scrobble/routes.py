"""Paths of the submission API, its headers and its errors."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from lakehouse.domain.listening.imports.submission import MAX_BYTES, SCHEMA
from lakehouse.errors import RejectedInputError, RetryableError, WavehouseError
from serving.kit.problems import RETRY_AFTER_S, log
from serving.scrobble.models import Accepted, Refusal, Validity, Welcome
from serving.scrobble.service import REQUESTS, RateLimit, ScrobbleService, UnauthorizedError

RATE_HEADERS = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset-In", "X-RateLimit-Reset")


def service(request: Request) -> ScrobbleService:
    """The service the application was put together with."""
    found: ScrobbleService = request.app.state.service
    return found


def token_of(request: Request) -> str:
    """The token of header `Authorization: Token <token>`; "" without one."""
    scheme, _, token = request.headers.get("Authorization", "").strip().partition(" ")
    return token.strip() if scheme.lower() == "token" else ""


def limited(request: Request, response: Response) -> None:
    """Count the request and answer with what is left, as ListenBrainz does."""
    now = datetime.now(UTC)
    limits: RateLimit = request.app.state.limits
    # Every token has its own allowance; who sends none shares that of the address.
    sender = token_of(request) or (request.client.host if request.client else "")
    left = limits.take(sender, now)
    reset_in = max(1, left.reset_at - int(now.timestamp()))
    headers = dict(zip(RATE_HEADERS, map(str, (REQUESTS, left.remaining, reset_in, left.reset_at)), strict=True))
    request.state.rate_headers = headers
    response.headers.update(headers)
    if not left.allowed:
        raise HTTPException(429, "Too many requests; X-RateLimit-Reset-In says for how many seconds.")


Service = Annotated[ScrobbleService, Depends(service)]


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries of refusals."""
    return {status: {"model": Refusal} for status in statuses}


router = APIRouter(prefix="/1", tags=["listens"], dependencies=[Depends(limited)])


front = APIRouter(tags=["about"])


@front.get("/", summary="What is this?", responses=refusals(500))
def welcome(request: Request) -> Welcome:
    """Says what the service is and where it is documented; asks nobody for a token."""
    return Welcome(
        service=request.app.title,
        about=" ".join(request.app.description.split()),
        paths=["POST /1/submit-listens", "GET /1/validate-token"],
        interface=request.app.openapi_url,
        documentation="docs/architecture/imports.md",
    )


@router.post(
    "/submit-listens",
    summary="Send listens",
    responses=refusals(400, 401, 429, 500, 503),
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": SCHEMA}}}},
)
async def submit_listens(request: Request, service: Service) -> Accepted:
    """Takes a document of type single, import (at most 1,000 listens) or playing_now, whole or not at all.
    Answers when the listens are safe. `Authorization: Token <token>`. What is playing now is not kept.
    """
    token = token_of(request)
    if not token:
        raise UnauthorizedError("Send `Authorization: Token <token>`.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BYTES:
            break  # it is refused for its size; the rest need not come
    await run_in_threadpool(service.submit, token, bytes(body), datetime.now(UTC))
    return Accepted()


@router.get(
    "/validate-token",
    summary="Is a token valid?",
    responses=refusals(400, 429, 500, 503),
    response_model_exclude_none=True,
)
def validate_token(
    request: Request,
    service: Service,
    token: Annotated[str, Query(max_length=200, description="For players that send no header")] = "",
) -> Validity:
    """Answers for the token of the header or, without one, of the query."""
    asked = token_of(request) or token
    if not asked:
        raise HTTPException(400, "Send `Authorization: Token <token>`.")
    user_id = service.user(asked)
    if user_id is None:
        return Validity(message="Token invalid.", valid=False)
    return Validity(message="Token valid.", valid=True, user_name=str(user_id))


def install_errors(app: FastAPI) -> None:
    """Errors in ListenBrainz' form: `{"code": 400, "error": "..."}`."""

    def refuse(request: Request, status: int, message: str, **headers: str) -> JSONResponse:
        limits = getattr(request.state, "rate_headers", {})
        return JSONResponse(Refusal(code=status, error=message).model_dump(), status, headers=limits | headers)

    def known(request: Request, error: Exception) -> Response:
        match error:
            case RejectedInputError():
                return refuse(request, 400, error.message)
            case RetryableError():
                return refuse(request, 503, error.message, **{"Retry-After": str(RETRY_AFTER_S)})
            case UnauthorizedError():
                return refuse(request, 401, str(error))
            case HTTPException():
                return refuse(request, error.status_code, str(error.detail), **(error.headers or {}))
            case RequestValidationError():
                return refuse(request, 400, "; ".join(str(e["msg"]) for e in error.errors()))
        log.error("request failed", exc_info=error, extra={"request_id": getattr(request.state, "request_id", "")})
        return refuse(request, 500, "The request could not be answered.")

    for kind in (WavehouseError, UnauthorizedError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, known)
