"""What every DAG shares: its defaults, its assets, and the one way in which a task calls the `wavehouse` command.

Tasks hold no logic. They run a verb of the command in the main environment (found through PATH), which prints one
JSON document as its last line; that document is the task's XCom.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import Asset, AssetOrTimeSchedule, CronTriggerTimetable
from airflow.sdk.exceptions import AirflowException, AirflowFailException

#: Verbs are idempotent, so that a task may always be tried again; an engine that restarts is back within minutes.
DEFAULT_ARGS: dict[str, Any] = {
    "retries": 3,
    "retry_delay": timedelta(seconds=20),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=5),
    "execution_timeout": timedelta(hours=2),
}

#: What DAGs wait for and announce. A DAG that changes one of these names it in `outlets`.
LANDED = Asset("wavehouse://landing/files")
CATALOG = Asset("wavehouse://bronze/catalog_content")
AUDIO_FEATURES = Asset("wavehouse://silver/audio_features")

#: The setting `airflow.scheduled` of the profile; see `at`.
SCHEDULED = os.environ.get("WAVEHOUSE_AIRFLOW__SCHEDULED", "true").lower() == "true"


def at(
    cron: str, interval: timedelta, *, or_after: Sequence[Asset] = ()
) -> CronTriggerTimetable | AssetOrTimeSchedule | list[Asset] | None:
    """A DAG's schedule: when `cron` (UTC) says, for the interval that ends then, and when an `or_after` is announced.

    In profiles whose setting `airflow.scheduled` is false the clock starts nothing: a test or a benchmark that runs
    across four in the morning sees no table rebuilt that it did not ask for.
    """
    if not SCHEDULED:
        return list(or_after) or None
    timetable = CronTriggerTimetable(cron, timezone="UTC", interval=interval, run_immediately=False)
    return AssetOrTimeSchedule(timetable=timetable, assets=list(or_after)) if or_after else timetable


def command(args: Sequence[str]) -> tuple[str, dict[str, str]]:
    """The shell command for `wavehouse ARGS... --json` and the environment it needs.

    An argument with a template (`{{ ... }}`) travels as an environment variable: what it renders to reaches the
    command as one argument, whatever characters are in it.
    """
    words, env = ["wavehouse"], {}
    for number, arg in enumerate(args):
        if "{{" in arg:
            env[f"ARG_{number}"] = arg
            words.append(f'"$ARG_{number}"')
        else:
            words.append(shlex.quote(arg))
    return " ".join([*words, "--json"]), env


class WavehouseOperator(BashOperator):
    """A command that is not tried again when it refuses its input: the same input would be refused again."""

    #: EX_DATAERR, the exit code of every `RejectedInputError`.
    REJECTED = 65

    def execute(self, context: Any) -> Any:
        """Run the command; its XCom as of `BashOperator`."""
        try:
            return super().execute(context)
        except AirflowException as error:
            if str(error).endswith(f"exit code {self.REJECTED}."):
                raise AirflowFailException("Refused; the log says what and why. It is not tried again.") from error
            raise


def wavehouse_task(task_id: str, args: Sequence[str], **kw: Any) -> BashOperator:
    """A task that runs `wavehouse ARGS... --json`; its XCom is the JSON document that the command prints.

    `output_processor` may narrow the document (text of the last line -> value), `env` adds variables.
    """
    bash_command, env = command(args)
    return WavehouseOperator(
        task_id=task_id,
        bash_command=bash_command,
        env=env | kw.pop("env", {}),
        append_env=True,
        **{"output_processor": json.loads} | kw,
    )


def wavehouse_mapped(task_id: str, args: Sequence[str], *, env: Any, **kw: Any) -> Any:
    """A task for each environment in `env` (a list, or the XCom of an earlier task): dynamic task mapping.

    The arguments name what they take from the environment, for example `["ingest", "batch", "--keys-env", "KEYS"]`.
    """
    bash_command, own_env = command(args)
    if own_env:
        raise ValueError("Arguments of a mapped task are constant; what differs is in `env`.")
    return WavehouseOperator.partial(
        task_id=task_id, bash_command=bash_command, append_env=True, **{"output_processor": json.loads} | kw
    ).expand(env=env)
