"""The DAG of royalties in Airflow: a person rejects, then approves, by name; then the month is closed and stays so."""

from __future__ import annotations

import re
import time

import pytest

from lakehouse.adapters import trino
from lakehouse.adapters.airflow import AirflowClient
from lakehouse.adapters.royalties_ledger import Ledger
from lakehouse.config.settings import Settings
from lakehouse.errors import FatalError

pytestmark = pytest.mark.stack

DAG = "royalties_monthly"
#: Seconds in which the scheduler must have noticed that a task waits.
NOTICED_S = 120


def wait_until_noticed(settings: Settings, run: str) -> None:
    """Return when the scheduler has taken note that `ask` waits for a person.

    Before that Airflow 3.3.2 takes the end of the asking process for the end of the task that the answer resumes, and
    asks again (apache/airflow#72716 is of the same family); no person answers so fast. Its log alone shows it.
    """
    log = settings.run / "logs" / "airflow-scheduler.log"
    noticed = re.compile(f"TaskInstance Finished: .*task_id=ask, run_id={re.escape(run)},.* state=awaiting_input")
    deadline = time.monotonic() + NOTICED_S
    while not noticed.search(log.read_text()):
        assert time.monotonic() < deadline, "the scheduler did not notice that the task waits"
        time.sleep(0.5)


def test_a_person_decides_about_a_month(books: Settings) -> None:
    period = trino.query(books, "select max(period) from lake.gold.royalty_pools where streams > 0").rows[0][0]
    airflow, person = AirflowClient(books), books.airflow.admin_user

    def asked(answer: str) -> dict[str, str]:
        """Run the DAG, give the answer, follow the run to its end; the states of its tasks."""
        run = airflow.trigger(DAG, {"period": period})
        question = airflow.question(DAG, run)
        with Ledger(books) as ledger:
            digest = ledger.state(period).digest
        assert question["subject"] == f"Royalties of {period}"
        assert f"`{digest}`" in question["body"]
        assert "| market currency | net revenue |" in question["body"]
        wait_until_noticed(books, run)
        assert airflow.answer(DAG, run, question["task_id"], answer) == person
        airflow.wait(DAG, run)
        return {task["task_id"]: task["state"] for task in airflow.tasks(DAG, run)}

    done = dict.fromkeys(("migrate", "run", "check", "ask", "decide"), "success")
    assert asked("Reject") == done | {"approve": "skipped", "close": "skipped", "reject": "success"}
    assert asked("Approve") == done | {"approve": "success", "close": "success", "reject": "skipped"}
    with Ledger(books) as ledger:
        steps = [(step.state, step.decided_by) for step in ledger.steps(period)]
        settlements = {step.digest for step in ledger.steps(period) if step.digest}
    assert steps == [
        ("open", DAG),
        ("calculated", DAG),
        ("open", person),
        ("calculated", DAG),
        ("approved", person),
        ("closed", person),
    ]
    assert len(settlements) == 1

    again = airflow.trigger(DAG, {"period": period})
    with pytest.raises(FatalError, match="closed"):
        airflow.wait(DAG, again)
    assert {t["task_id"]: t["state"] for t in airflow.tasks(DAG, again)}["ask"] == "upstream_failed"
