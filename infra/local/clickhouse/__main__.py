"""`python -m infra.local.clickhouse`: the gateway on the port and data folder of the profile ($WAVEHOUSE_PROFILE)."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys

import uvicorn

from infra.local.clickhouse.engine import Engine
from infra.local.clickhouse.server import create_app, users
from lakehouse.config.settings import ClickHouse, load_settings
from lakehouse.errors import FatalError, WavehouseError

#: What runs at TERM gets this long to finish.
STOP_SECONDS = 10


def _bind(endpoint: ClickHouse) -> socket.socket:
    """The listening socket, bound before the engine opens, so that a port in use costs nothing and says so."""
    # The protocol is named because asyncio turns Nagle's delay (40 ms an answer) off only for sockets that name it.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((endpoint.host, endpoint.port))
    except OSError as error:
        raise FatalError(
            f"ClickHouse cannot listen on {endpoint.address}: {error.strerror}.",
            hint="Stop the process that has the port (`wavehouse doctor` names it), or change clickhouse.port.",
        ) from error
    return listener


def serve() -> None:
    """Serve until TERM.

    Raises:
        FatalError: the port is taken, the data folder can't be opened or the passwords have not been made yet.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    settings = load_settings()
    loader = settings.clickhouse.loader_password.get_secret_value()
    reader = settings.clickhouse.reader_password.get_secret_value()
    if not loader or not reader:
        raise FatalError("ClickHouse has no passwords yet.", hint="`wavehouse up` makes them.")
    listener = _bind(settings.clickhouse)
    engine = Engine(settings.data / "clickhouse", settings.run / "clickhouse")
    engine.open()
    logging.info("ClickHouse %s (embedded) on %s", engine.version, settings.clickhouse.address)
    config = uvicorn.Config(
        create_app(engine, users(loader, reader)),
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=STOP_SECONDS,
        timeout_keep_alive=30,
    )
    server = uvicorn.Server(config)
    for stop in (signal.SIGTERM, signal.SIGINT):
        # uvicorn stops at these and then raises them again, to whoever handled them before: there is still a folder
        # to close.
        signal.signal(stop, lambda *_: None)
    server.run(sockets=[listener])
    if engine.busy:
        # A statement is still running in the engine; closing would wait for it. Committed parts are safe as they are.
        logging.warning("stopped with statements running")
        os._exit(0)
    engine.close()


def main() -> int:
    """Entry point: an error becomes one line and a hint."""
    try:
        serve()
    except WavehouseError as error:
        sys.stderr.write(f"error: {error.message}\n  try: {error.hint}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
