"""`wavehouse package`: tracks as players want them, made when they are asked for."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from lakehouse.cli.output import Output
from lakehouse.config.settings import load_settings
from lakehouse.errors import RejectedInputError

app = typer.Typer()


@app.command()
def package(
    tracks: Annotated[list[int] | None, typer.Argument(help="Tracks (content_id).")] = None,
    popular: Annotated[int, typer.Option(min=0, help="The so many most streamed tracks of the lake.")] = 0,
    encrypt: Annotated[bool, typer.Option("--encrypt", help="Encrypt segments by AES-128 with a new key.")] = False,
    on: Annotated[
        str | None, typer.Option("--on", help="Play them from this date, or moment with its offset from UTC; now.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Make HLS packages: AAC at 64, 128 and 256 kbit/s and the source, in fragmented MP4.

    Loudness is told, not applied. A package that is there is left alone; a track that is refused stops no other. What
    was taken down, or may be played nowhere at that moment by the deals of its releases, is refused.

    Example: wavehouse package --popular 100
    """
    from lakehouse.adapters import packaging
    from lakehouse.domain.catalog.deliveries.messages import moment
    from lakehouse.domain.playback.packaging import Recipe

    try:
        at = moment(on) if on else datetime.now(UTC)
    except ValueError as error:
        raise RejectedInputError(f"{error}.", reason="bad_argument", value=on, hint="--on 2026-03-06") from error
    settings = load_settings()
    wanted = list(tracks or []) + (packaging.popular(settings, popular) if popular else [])
    if not wanted:
        raise RejectedInputError(
            "No track is named.", reason="no_tracks", hint="Give content ids, or --popular N once there are streams."
        )
    out = Output(as_json=as_json)
    recipe = Recipe(encrypted=encrypt)
    done = [asdict(one) for one in packaging.package(settings, list(dict.fromkeys(wanted)), recipe, at=at)]
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
