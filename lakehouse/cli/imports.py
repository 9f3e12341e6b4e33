"""`wavehouse import`: listens from the services people already use."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

import typer

from lakehouse.cli.output import Output
from lakehouse.config.settings import load_settings

app = typer.Typer(help="Bring in what other services recorded.", no_args_is_help=True)
SAY_ROWS = 100_000


class Service(StrEnum):
    """Whose export it is."""

    SPOTIFY = "spotify"
    LISTENBRAINZ = "listenbrainz"
    LASTFM = "lastfm"
    MALOJA = "maloja"


@app.callback()
def group() -> None:
    """Keep `import` a group, also while it has one verb."""


@app.command()
def listens(
    path: Annotated[Path, typer.Argument(help="File, folder or zip as it was downloaded.")],
    service: Annotated[Service, typer.Option("--format", help="Whose export it is.")],
    user: Annotated[int, typer.Option(min=1, max=2**63 - 1, help="Listener (user_id) it is for.")],
    from_user: Annotated[
        str | None,
        typer.Option(
            help="ListenBrainz: take the listens of this user of a dump alone (the name; in Parquet, which has none, "
            "the number). Without it those of the first user that a file names, in all files of the import."
        ),
    ] = None,
    timezone: Annotated[str, typer.Option(help="IANA zone of times that name none (Last.fm without `uts`).")] = "UTC",
    report: Annotated[Path | None, typer.Option(help="Write what became of each row, one JSON line each.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Import listens; each row is imported, a duplicate, or rejected with a reason. Running it again adds nothing.

    Example: wavehouse import listens --format spotify my_spotify_data.zip --user 42 --report import.jsonl
    """
    from lakehouse.adapters.listens import import_listens
    from lakehouse.domain.listening.imports.formats import zone_of

    if from_user is not None and service is not Service.LISTENBRAINZ:
        raise typer.BadParameter("only dumps of ListenBrainz hold many users", param_hint="--from-user")
    out = Output(as_json=as_json)
    with _Progress(out) as progress:
        counts = import_listens(
            load_settings(),
            path,
            format_name=service.value,
            user_id=user,
            received_at=datetime.now(UTC),  # the one clock: the moment the platform is given the listens
            zone=zone_of(timezone),
            report=report,
            from_user=from_user,
            progress=progress,
        )
    found = counts.as_dict()
    for bad in counts.first_rejected:
        out.info(f"{bad['file']}, row {bad['row']}: {bad['message']} ({bad['reason']})")
    if found["rejected"] > len(counts.first_rejected):
        out.info(f"... and {found['rejected'] - len(counts.first_rejected):,} more; --report lists all.")
    if counts.rejected["other_user"] and from_user is None:
        out.info("Only listens of the first user that a file names were taken; --from-user takes another's.")
    if counts.unread:
        out.info(f"{counts.unread:,} more rows, which a file says it has, could not be read.")
    columns = ("files", "rows", "imported", "duplicates", "rejected")
    out.table(f"Import of {path.name}", columns, [[f"{found[name]:,}" for name in columns]])
    out.result(found)


class _Progress:
    """A bar on a terminal, elsewhere a line now and then."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._said = ("", 0)
        self._shown = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """What comes next does not overwrite the bar."""
        if self._shown:
            self._out.info("")

    def __call__(self, step: str, name: str, share: float, rows: int) -> None:
        if self._out.console.is_terminal:
            filled = int(share * 30)
            bar = f"[{'#' * filled}{'.' * (30 - filled)}] {share:4.0%} of {name} {step}, {rows:,} rows"
            # A bar that was longer is covered whole.
            self._out.console.print(bar.ljust(self._shown), end="\r", markup=False)
            self._shown = len(bar)
        elif (step, rows // SAY_ROWS) != self._said and rows >= SAY_ROWS:
            self._said = (step, rows // SAY_ROWS)
            self._out.info(f"    {rows:,} rows {step}; {share:.0%} of {name}")
