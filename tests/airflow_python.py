"""Scripts about the DAG files, run by the Python of Airflow's own environment."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from lakehouse.config.settings import CHECKOUT

AIRFLOW = CHECKOUT / ".wavehouse" / "venvs" / "airflow" / "bin" / "python"


def run(home: Path, script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `script`, which may import every DAG file; `home` is Airflow's, `variables` are added to its environment."""
    env = os.environ | {"AIRFLOW_HOME": str(home), "PYTHONPATH": str(CHECKOUT / "dags")} | variables
    return subprocess.run([AIRFLOW, "-c", script, *arguments], env=env, capture_output=True, text=True, check=False)


def shown(home: Path, script: str, *arguments: str, **variables: str) -> Any:
    """The JSON document that is the last line of what `script` prints; fails with what it said when it fails."""
    done = run(home, script, *arguments, **variables)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])
