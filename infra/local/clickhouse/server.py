"""The HTTP server: authenticates, reads the request, runs it on the engine, answers as ClickHouse does."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import uuid
from collections.abc import Mapping

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from infra.local.clickhouse import protocol, statements
from infra.local.clickhouse.engine import LOADER_SETTINGS, READER_SETTINGS, Engine, User
from infra.local.clickhouse.protocol import Query, QueryError

#: Statements that run at the same time, by user, so that slow readers never keep the loader waiting. Others queue.
CONCURRENT = {"loader": 4, "reader": 8}
log = logging.getLogger("clickhouse")


def users(loader_password: str, reader_password: str) -> dict[str, User]:
    """The two users: `loader` writes, `reader` only reads."""
    return {
        "loader": User("loader", loader_password, readonly=False, settings=LOADER_SETTINGS),
        "reader": User("reader", reader_password, readonly=True, settings=READER_SETTINGS),
    }


def authenticate(known: Mapping[str, User], headers: Mapping[str, str], parameters: Mapping[str, str]) -> User:
    """The user whose name and password the request carries.

    Raises:
        QueryError: AUTHENTICATION_FAILED (516); it does not tell an unknown user from a wrong password.
    """
    name, password = protocol.credentials(headers, parameters)
    user = known.get(name)
    expected = user.password if user else ""
    if user is None or not expected or not hmac.compare_digest(expected.encode(), password.encode()):
        raise QueryError(
            516,
            "AUTHENTICATION_FAILED",
            f"{name}: Authentication failed: password is incorrect, or there is no user with such name",
        )
    return user


def create_app(engine: Engine, known: Mapping[str, User]) -> Starlette:
    """The application over an open engine."""
    limits = {name: anyio.CapacityLimiter(CONCURRENT[name]) for name in known}
    common = {"X-ClickHouse-Server-Display-Name": "wavehouse", "X-ClickHouse-Timezone": engine.timezone}

    def failure(error: QueryError, query_id: str) -> Response:
        headers = common | {"X-ClickHouse-Exception-Code": str(error.code), "X-ClickHouse-Query-Id": query_id}
        if error.status == 401:  # noqa: PLR2004
            headers["WWW-Authenticate"] = 'Basic realm="ClickHouse server HTTP API"'
        if error.status >= 500:  # noqa: PLR2004
            log.warning("query %s: %s", query_id, error)
        return Response(
            f"{error} (version {engine.version} (official build))\n", error.status, headers, "text/plain; charset=UTF-8"
        )

    async def ping(_: Request) -> Response:
        return Response("Ok.\n", headers=common)

    async def query(request: Request) -> Response:
        parameters = dict(request.query_params)
        if request.method in ("GET", "HEAD") and not parameters:
            return await ping(request)
        query_id = parameters.get("query_id") or str(uuid.uuid4())
        spool = protocol.Spool(engine.spool_folder, _prefix(parameters), statements.data_offset)
        try:
            user = authenticate(known, request.headers, parameters)
            if request.headers.get("content-type", "").startswith("multipart/"):
                raise QueryError(48, "NOT_IMPLEMENTED", "External tables are not supported")
            await protocol.spool_body(
                request.stream(),
                spool,
                encoding=request.headers.get("content-encoding", ""),
                native=parameters.get("decompress") == "1",
            )
            statement = Query(
                sql=spool.finish(),
                query_id=query_id,
                database=parameters.get("database") or request.headers.get("x-clickhouse-database") or "default",
                output_format=request.headers.get("x-clickhouse-format")
                or parameters.get("default_format")
                or "TabSeparated",
                settings=protocol.settings_of(parameters),
                parameters=protocol.query_parameters_of(parameters),
                data=spool.path,
            )
            # A GET must not change anything: as on a server, whoever asks.
            readonly = user.readonly or request.method != "POST"
            answer = await anyio.to_thread.run_sync(
                lambda: engine.run(statement, user, readonly=readonly),
                limiter=limits[user.name],
                abandon_on_cancel=True,
            )
        except QueryError as error:
            return failure(error, query_id)
        except asyncio.CancelledError:
            return failure(QueryError(394, "QUERY_WAS_CANCELLED", "The server is stopping"), query_id)
        except ClientDisconnect:
            # The body is not whole, so that nothing of it is used; nobody is left to answer.
            return failure(QueryError(210, "NETWORK_ERROR", "The client went away"), query_id)
        finally:
            spool.discard()
        body, encoding = protocol.pack_answer(answer.body, parameters, request.headers.get("accept-encoding", ""))
        summary = {
            "read_rows": answer.read_rows,
            "read_bytes": answer.read_bytes,
            "written_rows": answer.written_rows,
            "written_bytes": 0,
            "total_rows_to_read": 0,
            "result_rows": 0,
            "result_bytes": len(answer.body),
            "elapsed_ns": answer.elapsed_ns,
        }
        headers = common | {
            "X-ClickHouse-Query-Id": query_id,
            "X-ClickHouse-Format": answer.output_format,
            "X-ClickHouse-Summary": json.dumps({key: str(value) for key, value in summary.items()}),
        }
        if encoding:
            headers["Content-Encoding"] = encoding
        return Response(body, headers=headers, media_type="application/octet-stream")

    return Starlette(
        routes=[
            Route("/ping", ping),
            Route("/replicas_status", ping),
            Route("/", query, methods=["GET", "HEAD", "POST"]),
        ]
    )


def _prefix(parameters: Mapping[str, str]) -> bytes:
    """The statement, or the part of it, that the URL carries; the body goes on behind it on a new line."""
    sql = parameters.get("query", "")
    return f"{sql}\n".encode() if sql else b""
