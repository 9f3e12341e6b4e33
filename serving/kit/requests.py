"""Request ids and the access log: one JSON line a request, and no exception leaves without an answer."""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.kit.problems import internal

HEADER = "X-Request-ID"
#: What is taken over from a caller: short and printable, so that it can go into a log and a header as it stands.
_ACCEPTED = re.compile(r"[A-Za-z0-9._-]{1,64}")

log = logging.getLogger("serving")


class RequestLog:
    """ASGI middleware: gives each request an id (the caller's, where it is sane), answers with it and logs it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        offered = request.headers.get(HEADER, "")
        request_id = offered if _ACCEPTED.fullmatch(offered) else uuid.uuid4().hex
        request.state.request_id = request_id
        began, status = time.perf_counter(), 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [(HEADER.encode(), request_id.encode()), (b"X-Content-Type-Options", b"nosniff")]
                message["headers"] = [*message.get("headers", []), *headers]
            await send(message)

        try:
            await self.app(scope, receive, answer)
        except Exception:
            log.exception("request %s failed", request_id)
            if status:  # half an answer is on its way: let the server cut the connection
                raise
            await internal(request)(scope, receive, answer)
        finally:
            line = {
                "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "request_id": request_id,
                "method": scope["method"],
                "path": scope["path"],
                "status": status,
                "duration_ms": round((time.perf_counter() - began) * 1000, 1),
            }
            log.info(json.dumps(line))
