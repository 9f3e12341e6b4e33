"""A Kafka broker of a test's own, that can be killed and started again without harm to the stack."""

from __future__ import annotations

import signal
import socket
import subprocess
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from infra.local.engines import engine_path, java_home

CLUSTER_ID = "MkU3OEVBNTcwNTJENDM2Qg"


class Broker:
    """Data in `folder`; an ephemeral port that stays the same over restarts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port, controller = _free_port(), _free_port()
        self._config = folder / "server.properties"
        self._process: subprocess.Popen[bytes] | None = None
        self._config.write_text(
            f"""process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{self.port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={folder / "data"}
offsets.topic.replication.factor=1
auto.create.topics.enable=false
log.retention.ms=-1
"""
        )
        self._run("kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(self._config)).wait(120)

    def start(self) -> None:
        """Start and wait until it answers."""
        self._process = self._run("kafka.Kafka", str(self._config))
        self._answers()

    def kill(self) -> None:
        """As a power cut for the process: SIGKILL."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(30)

    def stop(self) -> None:
        """End it if it runs."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def _run(self, *arguments: str) -> subprocess.Popen[bytes]:
        java = str(java_home(17) / "bin" / "java")
        options = ["-Xmx256m", "-XX:+UseSerialGC", "-cp", f"{engine_path('kafka')}/*"]
        with (self._folder / "kafka.log").open("ab") as log:
            return subprocess.Popen([java, *options, *arguments], stdout=log, stderr=log, start_new_session=True)

    @retry(
        retry=retry_if_exception_type(KafkaException), stop=stop_after_delay(120), wait=wait_fixed(0.5), reraise=True
    )
    def _answers(self) -> None:
        AdminClient({"bootstrap.servers": f"127.0.0.1:{self.port}", "log_level": 0}).list_topics(timeout=5)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
