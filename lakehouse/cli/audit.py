"""`wavehouse audit` and `wavehouse publish`: nothing is seen before it has passed."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from lakehouse.cli.output import Output
from lakehouse.config.settings import load_settings
from lakehouse.errors import FatalError

if TYPE_CHECKING:
    from lakehouse.adapters.audit import Verdict

app = typer.Typer()

Tables = Annotated[list[str] | None, typer.Argument(help="Built tables, like silver_audit.plays.")]
Layer = Annotated[str, typer.Option(help="All tables that dbt makes of these layers: silver, gold or silver,gold.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command()
def audit(tables: Tables = None, layer: Layer = "", as_json: JsonFlag = False) -> None:
    """Check the current state of tables against expectations/. Exit code 1 when a check of severity `fail` fails.

    Example: wavehouse audit --layer silver
    """
    from lakehouse.adapters import audit as auditing
    from lakehouse.adapters import publish as publishing

    settings = load_settings()
    out = Output(as_json=as_json)

    def show(verdict: Verdict) -> None:
        out.step(f"{verdict.table}: {'passed' if verdict.passed else 'FAILED'} ({verdict.checked} checks)")
        for finding in verdict.findings:
            arguments = {k: v for k, v in finding.arguments.items() if k != "description"}
            out.info(f"    {finding.severity}: {finding.why}")
            out.info(f"      {finding.expectation} {json.dumps(arguments, default=str)}")
            out.info(f"      seen: {json.dumps(finding.observed, default=str)[:800]}")
            if finding.todo:
                out.info(f"      do: {finding.todo}")

    verdicts = auditing.audit(settings, publishing.chosen(tables or [], layer), show)
    failed = [verdict for verdict in verdicts if not verdict.passed]
    out.info(f"Data Docs: {auditing.data_docs(settings)}")
    if failed:
        reasons = "; ".join(f"{v.table}: {f.why}" for v in failed for f in v.findings if f.severity == auditing.FAIL)
        raise FatalError(
            f"The audit stopped {len(failed)} of {len(verdicts)} tables: {reasons}",
            hint=f"Nothing was published; yesterday's data stays. Details: {auditing.data_docs(settings)}",
        )
    out.result([asdict(verdict) | {"passed": verdict.passed} for verdict in verdicts])


@app.command()
def publish(tables: Tables = None, layer: Layer = "", as_json: JsonFlag = False) -> None:
    """Show the audited state of tables to readers: all of them, or none when one has not passed.

    Example: wavehouse publish --layer silver
    """
    from lakehouse.adapters import publish as publishing

    out = Output(as_json=as_json)
    done = publishing.publish(load_settings(), publishing.chosen(tables or [], layer))
    rows = [(p.view, p.snapshot_id, "" if p.previous_snapshot_id is None else p.previous_snapshot_id) for p in done]
    out.table("Published", ["view", "snapshot", "before"], rows)
    out.result([asdict(publication) for publication in done])
