"""A ClickHouse gateway of a test's own: a process on a free port with its data in a temporary folder."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import clickhouse_connect
import httpx
from clickhouse_connect.driver.client import Client
from pydantic import SecretStr
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from lakehouse.config.settings import CHECKOUT, ClickHouse, Settings, load_settings

LOADER, READER = "loader-secret", "reader-secret"


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Gateway:
    """The gateway process; `start`, `kill` and `stop` may follow one another on the same data."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = free_port()
        self.process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def spawn(self) -> subprocess.Popen[str]:
        """A process that may or may not come up."""
        environment = os.environ | {
            "WAVEHOUSE_PROFILE": "test",
            "WAVEHOUSE_HOME": str(self.home),
            "WAVEHOUSE_CLICKHOUSE__PORT": str(self.port),
            "WAVEHOUSE_CLICKHOUSE__LOADER_PASSWORD": LOADER,
            "WAVEHOUSE_CLICKHOUSE__READER_PASSWORD": READER,
        }
        command = [sys.executable, "-m", "infra.local.clickhouse"]
        return subprocess.Popen(command, cwd=CHECKOUT, env=environment, stderr=subprocess.PIPE, text=True)

    def start(self) -> None:
        self.process = self.spawn()
        self._await_ready()

    def kill(self) -> None:
        """As the kernel would when memory is short."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        return self._end(signal.SIGTERM)

    def client(self, user: str = "loader") -> Client:
        return clickhouse_connect.get_client(
            host="127.0.0.1",
            port=self.port,
            username=user,
            password={"loader": LOADER, "reader": READER}[user],
            autogenerate_session_id=False,
            query_retries=0,
        )

    def post(self, sql: str | bytes, *, user: str = "reader", **parameters: str) -> httpx.Response:
        """One request as curl would make it."""
        password = {"loader": LOADER, "reader": READER}[user]
        return httpx.post(self.url, content=sql, params=parameters, auth=(user, password), timeout=60, trust_env=False)

    def settings(self, base: Settings | None = None) -> Settings:
        """Settings whose ClickHouse is this gateway."""
        endpoint = ClickHouse(
            host="127.0.0.1", port=self.port, loader_password=SecretStr(LOADER), reader_password=SecretStr(READER)
        )
        return (base or load_settings("test")).model_copy(update={"clickhouse": endpoint})

    def _end(self, number: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(timeout=60)
        assert self.process.stderr is not None
        self.process.stderr.close()
        self.process = None
        return code

    @retry(stop=stop_after_delay(90), wait=wait_fixed(0.1), retry=retry_if_exception_type(httpx.TransportError))
    def _await_ready(self) -> None:
        assert self.process is not None
        assert self.process.poll() is None, "the gateway ended at its start"
        httpx.get(self.url + "ping", timeout=10, trust_env=False).raise_for_status()
