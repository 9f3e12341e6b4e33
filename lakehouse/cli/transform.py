"""`wavehouse dbt` and `wavehouse dbt-vars`: from bronze to the marts."""

from __future__ import annotations

from datetime import date
from typing import Annotated

import typer

from lakehouse.cli.output import Output
from lakehouse.config.settings import load_settings
from lakehouse.errors import FatalError

app = typer.Typer()


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
def dbt(context: typer.Context) -> None:
    """Run dbt on the project in dbt/, signed in to Trino; every argument goes to dbt.

    Example: wavehouse dbt build --select silver
    """
    from lakehouse.adapters import dbt as runner

    runner.execute(load_settings(), context.args)


@app.command("dbt-vars")
def dbt_vars(
    first: Annotated[str, typer.Option("--from", help="First UTC date of receipt, YYYY-MM-DD.")],
    last: Annotated[str, typer.Option("--to", help="Last UTC date of receipt, YYYY-MM-DD.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """The variables of a dbt run over a window: dates, reaching back to where silver ends, and bronze snapshots.

    Example: wavehouse dbt-vars --from 2026-10-31 --to 2026-10-31 --json
    """
    from lakehouse.adapters import dbt as runner

    try:
        window = date.fromisoformat(first), date.fromisoformat(last)
    except ValueError as error:
        raise FatalError(f"Not a date: {error}.", hint="Write dates as YYYY-MM-DD.") from error
    out = Output(as_json=as_json)
    found = runner.run_vars(load_settings(), *window)
    out.table("Variables of the run", ["name", "value"], found.items())
    out.result(found)
