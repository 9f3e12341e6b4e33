"""A month of royalties: settled, looked at by a person, closed."""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, CronTriggerTimetable, Param
from common import DEFAULT_ARGS, wavehouse_task

PERIOD = "{{ params.period or (data_interval_start | ds)[:7] }}"

with DAG(
    "royalties_monthly",
    description="Settle last month's royalties, ask for approval, close the books",
    doc_md="""
    ### What it does
    1. **migrate**: the payout ledger's tables are there.
    2. **run**: `wavehouse royalties run` settles the month from what is published and
       keeps the result under its digest.
    3. **ask**: a person approves or rejects in Airflow (*Required Actions*). Rejected: nothing more happens, the
       month stays calculated and may be run again.
    4. **approve**: signs exactly the settlement that was shown; one that was calculated anew since is refused.
    5. **close**: books it in the ledger, in double entry, and closes the month for good.

    It reads `silver.*` and `gold.*` as published and writes nothing to the lake.

    ### Run it by hand
    With `period` (YYYY-MM). Without, the month before the run's date.

    ### When something fails
    The message names the row or clause and the rule; the month stays as it was. Correct the input, clear **run**.
    A closed month is corrected with `wavehouse royalties restate`.
    """,
    # On the 15th finance has delivered; fifteen days before is the last of the month that is settled.
    schedule=CronTriggerTimetable("0 6 15 * *", timezone="UTC", interval=timedelta(days=15), run_immediately=False),
    catchup=False,
    max_active_runs=1,
    params={"period": Param(None, type=["null", "string"], description="Month to settle (YYYY-MM)")},
    default_args={**DEFAULT_ARGS, "owner": "royalties"},
    tags=["royalties", "ledger"],
) as dag:
    migrate = wavehouse_task("migrate", ["royalties", "migrate"])
    run = wavehouse_task("run", ["royalties", "run", "--period", PERIOD, "--by", "royalties_monthly"], retries=1)
    ask = ApprovalOperator(
        task_id="ask",
        subject=f"Royalties of {PERIOD}",
        body="""Settlement `{{ ti.xcom_pull(task_ids='run')['digest'] }}`:
{{ ti.xcom_pull(task_ids='run')['pools'] }} pools, {{ ti.xcom_pull(task_ids='run')['lines'] }} lines.
Look at it with `wavehouse royalties compare` and `trace` before you approve.""",
        execution_timeout=timedelta(days=14),
        retries=1,
    )
    approve = wavehouse_task(
        "approve",
        [
            "royalties",
            "approve",
            "--period",
            PERIOD,
            "--by",
            "{{ ti.xcom_pull(task_ids='ask')['responded_by_user']['name'] }}",
            "--digest",
            "{{ ti.xcom_pull(task_ids='run')['digest'] }}",
        ],
        retries=1,
    )
    close = wavehouse_task("close", ["royalties", "close", "--period", PERIOD], retries=1)
    migrate >> run >> ask >> approve >> close
