"""`wavehouse package`: tracks as players want them, made when they are asked for."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Annotated

import typer

from lakehouse.cli.options import moment_given
from lakehouse.cli.output import Output
from lakehouse.cli.services import SKIPPED
from lakehouse.config.settings import load_settings
from lakehouse.errors import RejectedInputError

if TYPE_CHECKING:
    from lakehouse.adapters.packaging import Packaged

app = typer.Typer()

#: Decimals of a loudness [LUFS] that is shown, as in the main playlist.
LUFS_DECIMALS = 1


@app.command()
def package(
    tracks: Annotated[list[int] | None, typer.Argument(help="Tracks (content_id).")] = None,
    popular: Annotated[int, typer.Option(min=0, help="The so many most streamed tracks of the lake.")] = 0,
    missing: Annotated[
        bool, typer.Option("--missing", help="With --popular: of those that have no package and may be played.")
    ] = False,
    until: Annotated[
        datetime | None,
        typer.Option("--until", formats=["%Y-%m-%d"], help="With --popular: by the week that ends on this date (UTC)."),
    ] = None,
    encrypt: Annotated[bool, typer.Option("--encrypt", help="Encrypt segments by AES-128 with a new key.")] = False,
    on: Annotated[
        str | None, typer.Option("--on", help="Play them from this date, or moment with its offset from UTC; now.")
    ] = None,
    skip_when_none: Annotated[
        bool, typer.Option("--skip-when-none", help=f"Exit with {SKIPPED} when there is no such track.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Make HLS packages: AAC at 64, 128 and 256 kbit/s and the source, in fragmented MP4.

    Loudness is told, not applied. A package that is there is left alone; a track that is refused stops no other. What
    was taken down, or may be played nowhere at that moment by the deals of its releases, is refused.

    Example: wavehouse package --popular 100
    """
    from lakehouse.adapters import packaging
    from lakehouse.domain.playback.packaging import Recipe

    at = moment_given(on, hint="--on 2026-03-06") if on else datetime.now(UTC)
    settings, recipe = load_settings(), Recipe(encrypted=encrypt)
    out = Output(as_json=as_json)
    wanted = list(tracks or [])
    if popular:
        day = until.date() if until else None
        wanted += (
            packaging.missing(settings, popular, recipe, at=at, until=day)
            if missing
            else packaging.popular(settings, popular, until=day)
        )
    if not wanted and skip_when_none:
        out.info("No track is to be packaged.")
        out.result([])
        raise typer.Exit(SKIPPED)
    if not wanted:
        raise RejectedInputError(
            "No track is named.", reason="no_tracks", hint="Give content ids, or --popular N once there are streams."
        )
    wanted = list(dict.fromkeys(wanted))
    told = count(1)

    def tell(one: Packaged) -> None:
        loudness = "" if one.loudness_lufs is None else f", {one.loudness_lufs:.{LUFS_DECIMALS}f} LUFS"
        why = f" ({one.reason})" if one.reason else ""
        out.info(f"{next(told)} of {len(wanted)}: track {one.content_id} {one.outcome}{why}{loudness}")

    done = [asdict(one) for one in packaging.package(settings, wanted, recipe, at=at, tell=tell)]
    for row in done:
        if row["loudness_lufs"] is not None:
            row["loudness_lufs"] = round(row["loudness_lufs"], LUFS_DECIMALS)
    out.table("Packages", ["track", "outcome", "where", "LUFS", "reason", "why"], [tuple(row.values()) for row in done])
    out.result(done)
    if refused := [row["content_id"] for row in done if row["outcome"] == "refused"]:
        if as_json:
            raise typer.Exit(RejectedInputError.exit_code)  # the report is the one document
        raise RejectedInputError(
            f"{len(refused)} of {len(done)} tracks have no package.",
            reason="not_packaged",
            value=refused,
            hint="Each says why above; the others are done.",
        )
