"""A month of royalties: settled, looked at by a person, closed."""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import DAG, Param, task
from common import DEFAULT_ARGS, at, wavehouse_task

#: What the task `run` printed, in a template.
RUN = "ti.xcom_pull(task_ids='run')"
PERIOD = "{{ params.period or (data_interval_start | ds)[:7] }}"

with DAG(
    "royalties_monthly",
    description="Settle last month's royalties, ask for approval, close the books",
    doc_md="""
    ### What it does
    1. **migrate**: the payout ledger's tables are there.
    2. **run**: `wavehouse royalties run` settles the month from what is published and
       keeps the result under its digest. Contracts and exchange rates are those in the folder of
       deliveries (`<home>/deliveries/royalties`: `contracts.yaml` or `contracts.json`, `rates.csv`). What is not there
       is the demo's, and the question says so.
    3. **check**: the auditor's checklist. A question that is not answered with yes stops here, and nobody is asked.
    4. **ask**, **decide**: a person approves or rejects in Airflow (*Browse, Required Actions*), the figures before
       them. (An answer within a second or two of the question may be lost by Airflow 3.3, which then asks again.)
    5. **approve**: signs, by that person's name, exactly the settlement that was shown; one that was calculated anew
       since is refused.
    6. **close**: books it in the ledger, in double entry, and closes the month for good.
    7. **reject**, instead of 5 and 6: the month is open again, and the ledger keeps who rejected which settlement.
       Correct the input and trigger the DAG again.

    `wavehouse royalties steps` shows who did what.

    It reads `silver.*` and `gold.*` as published, and writes its calculation to `gold.settlement_*`, audited and
    published by **run** itself; of `silver.*` it tags the snapshots that were settled. It changes no other table.

    ### Run it by hand
    With `period` (YYYY-MM). Without, the month before the run's date.

    ### When something fails
    The message names the row or clause and the rule; the month stays as it was. Correct the input, clear **run**.
    A closed month is refused at **run**; it is corrected with `wavehouse royalties restate`.
    """,
    # On the 15th finance has delivered; fifteen days before is the last of the month that is settled.
    schedule=at("0 6 15 * *", timedelta(days=15)),
    catchup=False,
    max_active_runs=1,
    params={"period": Param(None, type=["null", "string"], description="Month to settle (YYYY-MM)")},
    default_args={**DEFAULT_ARGS, "owner": "royalties"},
    tags=["royalties", "ledger"],
) as dag:
    migrate = wavehouse_task("migrate", ["royalties", "migrate"])
    run = wavehouse_task("run", ["royalties", "run", "--period", PERIOD, "--by", "royalties_monthly"])
    check = wavehouse_task("check", ["royalties", "checklist", "--period", PERIOD], retries=1)
    # Not Airflow's ApprovalOperator: after a rejection that one does not tell who answered.
    ask = HITLOperator(
        task_id="ask",
        options=["Approve", "Reject"],
        subject=f"Royalties of {PERIOD}",
        body=f"""{{{{ {RUN}['pools'] }}}} pools, {{{{ '{{:,}}'.format({RUN}['lines']) }}}} lines.
{{% set answers = ti.xcom_pull(task_ids='check') %}}{{% if answers -%}}
All {{{{ answers | length }}}} questions of the auditor's checklist are answered with yes.
{{%- else -%}}
**The auditor's checklist was passed over by hand.**
{{%- endif %}}
{{% for what in ('contracts', 'rates') %}}
{{%- if {RUN}[what] == 'demo' %}}
**Settled by the demo's {{{{ what }}}}, nobody's real ones: none were delivered.**
{{%- else %}}
Settled by the {{{{ what }}}} in `{{{{ {RUN}[what] }}}}`.
{{%- endif %}}
{{%- endfor %}}

{{{{ {RUN}['summary'] }}}}

**Approve** signs settlement `{{{{ {RUN}['digest'] }}}}`, books it and closes {PERIOD} for good.
**Reject** opens the month again. Either is kept in the ledger with your name.

Look closer first:
- `wavehouse royalties compare --period {PERIOD}`
- `wavehouse royalties checklist --period {PERIOD}`
- `wavehouse royalties statement --period {PERIOD} --payee PAYEE`

[Runs of other months](/dags/royalties_monthly/runs)""",
        response_timeout=timedelta(days=14),
    )

    @task.branch
    def decide(answer: str) -> str:
        """The task that the answer leads to."""
        return {"Approve": "approve", "Reject": "reject"}[answer]

    person = "{{ ti.xcom_pull(task_ids='ask')['responded_by_user']['name'] }}"
    approve = wavehouse_task(
        "approve",
        [
            "royalties",
            "approve",
            "--period",
            PERIOD,
            "--by",
            person,
            "--digest",
            f"{{{{ {RUN}['digest'] }}}}",
        ],
    )
    close = wavehouse_task("close", ["royalties", "close", "--period", PERIOD, "--by", person])
    reject = wavehouse_task("reject", ["royalties", "reject", "--period", PERIOD, "--by", person])
    answered = decide("{{ ti.xcom_pull(task_ids='ask')['chosen_options'][0] }}")
    migrate >> run >> check >> ask >> answered >> [approve, reject]
    approve >> close
