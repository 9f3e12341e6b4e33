"""`wavehouse revenue`: take the files of finance into the lake."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lakehouse.cli.output import Output
from lakehouse.config.settings import load_settings
from lakehouse.errors import RejectedInputError

app = typer.Typer(help="Monthly revenue as finance delivers it.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Keep `revenue` a group, also while it has one verb."""


@app.command()
def load(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Delivered files; all in the delivery folder if none.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Check delivered files and put each into bronze.revenue in place of what is there of its month.

    A file that breaks a rule is left out whole, named with row and field, and makes the command fail after the others.

    Example: wavehouse revenue load
    """
    from lakehouse.adapters import finance_files

    out = Output(as_json=as_json)
    settings = load_settings()
    taken, rejected = [], []
    for path in files or sorted(finance_files.deliveries(settings).glob("*.csv")):
        try:
            period, count, changed = finance_files.take(settings, path)
            taken.append({"file": path.name, "period": period, "lines": count, "changed": changed})
        except RejectedInputError as error:
            rejected.append({"file": path.name, "reason": error.reason, "message": error.message})
    out.table(
        "Revenue files",
        ["file", "period", "lines", "outcome"],
        [(t["file"], t["period"], t["lines"], "loaded" if t["changed"] else "unchanged") for t in taken]
        + [(r["file"], "", "", f"rejected: {r['reason']}") for r in rejected],
    )
    out.result({"taken": taken, "rejected": rejected})
    if rejected:
        for refusal in rejected:
            out.info(f"rejected: {refusal['message']}")
        out.info("Ask finance for corrected files; nothing of these was taken. Then run the command again.")
        raise typer.Exit(RejectedInputError.exit_code)
