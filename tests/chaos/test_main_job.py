"""The main job while every service of the stack dies once, and the job itself: it still ends with all checks equal."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from lakehouse.config.settings import CHECKOUT
from tests.audio_files import write_library
from tests.chaos.conftest import PROFILE, Victim
from tests.conftest import SIMULATION, WAVEHOUSE

pytestmark = [pytest.mark.stack, pytest.mark.chaos]

#: When the demo prints a line like this, these services are killed. Each service dies once.
DEATHS = {
    # Between its first task and its last: one alone may be too short to be seen running.
    r"ingest_audio: (?!(\d+)/\1 )[1-9]\d*/\d+ tasks": ["postgres", "airflow-dag-processor", "catalog-relay"],
    r"==> wavehouse simulate plays": ["kafka", "registry"],
    r"==> wavehouse stream wait": ["flink-taskmanager", "flink-jobmanager", "flink-job", "clickhouse", "loader"],
    r"transform_plays: .*running silver": ["trino"],
    r"transform_plays: .*running audit_silver": ["minio", "airflow-triggerer"],
    r"transform_plays: .*running gold": ["airflow-scheduler", "airflow-api-server"],
    r"==> wavehouse report": ["redis", "catalog-api", "scrobble-api", "deliveries"],
}
#: At this line the demo itself is ended as with Ctrl-C, once, and then started again: some events are sent by then.
INTERRUPTION = r"==> wavehouse simulate plays"


@pytest.fixture
def demo(tmp_path: Path) -> list[str]:
    """The command of a small main job."""
    write_library(tmp_path)
    return [WAVEHOUSE, "demo", "--audio", str(tmp_path), *SIMULATION]


def run(command: list[str], victim: Victim, deaths: dict[str, list[str]], *, interrupt: bool) -> tuple[int, str]:
    """Run the demo and kill as it goes along; what was done is taken out of `deaths`. Returns exit code and output."""
    output = []
    with subprocess.Popen(
        # The background job of a shell starts with Ctrl-C ignored, and its children would too.
        ["env", "--default-signal=INT", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=CHECKOUT,
        env=os.environ | {"WAVEHOUSE_PROFILE": PROFILE},
        start_new_session=True,
    ) as job:
        assert job.stdout is not None
        try:
            for line in job.stdout:
                output.append(line)
                for pattern in [p for p in deaths if re.search(p, line)]:
                    pids = victim.pids()
                    victim.kill([pids[name] for name in deaths.pop(pattern)])
                if interrupt and re.search(INTERRUPTION, line):
                    interrupt = False
                    os.killpg(job.pid, signal.SIGINT)
        except BaseException:
            os.killpg(job.pid, signal.SIGKILL)
            raise
    return job.returncode, "".join(output)


@pytest.mark.timeout(2400)
def test_every_service_and_the_job_itself_may_die_once(victim: Victim, demo: list[str]) -> None:
    before = victim.pids()
    deaths = dict(DEATHS)
    assert sorted(name for names in deaths.values() for name in names) == sorted(before)
    code, output = run(demo, victim, deaths, interrupt=True)
    assert code != 0
    code, more = run(demo, victim, deaths, interrupt=False)
    assert code == 0, output + more
    assert deaths == {}
    assert "Traceback" not in output + more
    checks = victim.json("verify")
    assert len(checks) > 10
    assert [check for check in checks if not check["equal"]] == []
    after = victim.pids()
    assert [name for name in before if after.get(name) == before[name]] == []
