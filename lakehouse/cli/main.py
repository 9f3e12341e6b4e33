"""The `wavehouse` command. Each group of verbs is a module of this package with a typer `app`.

A module does nothing heavy on import: engines are imported inside the command that needs them.
"""

from __future__ import annotations

import sys
from importlib import import_module

import typer

from lakehouse.cli.output import Output
from lakehouse.errors import WavehouseError
from lakehouse.failures import translate

#: Modules of lakehouse.cli, each with an `app`. A name with a group is mounted under it; "" puts its verbs at the top.
GROUPS = {
    "stack": "",
    "ingest": "ingest",
    "catalog": "catalog",
    "features": "features",
    "events": "events",
    "policies": "policies",
    "simulate": "simulate",
    "imports": "import",
    "listens": "listens",
    "stats": "",
    "revenue": "revenue",
    "royalties": "royalties",
    "stream": "stream",
    "live": "live",
    "lake": "lake",
    "demo": "demo",
    "transform": "",
    "audit": "",
    "maintain": "",
    "verify": "",
    "sql": "",
    "contracts": "contracts",
    "report": "",
    "package": "",
    "bench": "bench",
    "plan": "plan",
}

app = typer.Typer(
    name="wavehouse",
    help="The open data platform for music and podcast streaming.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for module, group in GROUPS.items():
    app.add_typer(import_module(f"lakehouse.cli.{module}").app, name=group or None)


def main() -> None:
    """Entry point: any error becomes one line, a hint and an exit code; never a traceback."""
    try:
        app()
    except Exception as error:  # the last place where one can be caught
        shown = error if isinstance(error, WavehouseError) else translate(error)
        Output(as_json="--json" in sys.argv).error(shown.message, shown.hint)
        sys.exit(shown.exit_code)
