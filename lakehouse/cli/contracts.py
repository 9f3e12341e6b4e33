"""`wavehouse contracts`: what is derived from the contracts and kept in the tree."""

from __future__ import annotations

from typing import Annotated

import typer

from lakehouse.cli.output import Output
from lakehouse.config.settings import CHECKOUT

app = typer.Typer(help="Contracts and what derives from them.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Keep `contracts` a group, also while it has one verb."""


@app.command()
def generate(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False) -> None:
    """Write the files of the dbt project that derive from contracts and rules; a file that is right is left alone.

    Example: wavehouse contracts generate
    """
    from lakehouse.contracts import dbt_files

    out = Output(as_json=as_json)
    changed = []
    for path, text in dbt_files.files(CHECKOUT / "dbt").items():
        if not path.is_file() or path.read_text() != text:
            path.write_text(text)
            changed.append(str(path.relative_to(CHECKOUT)))
    out.info(f"{len(changed)} files changed" + (": " + ", ".join(changed) if changed else ""))
    out.result({"changed": changed})
