"""Since when readers had which audio features: what a history lacks. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from lakehouse.domain.audio.features import newest

#: What tells one description of a track from another.
IDENTITY = ("sha256", "extractor", "extractor_version")


def unrecorded(published: Iterable[dict[str, Any]], recorded: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each track the published row that counts, where it isn't the one that was recorded last; by track.

    The highest extractor version counts; of two recordings of a track in the same version the one that is new, else
    the one recorded last.

    Args:
        published: rows of silver_audit.audio_features.
        recorded: rows of the history, with `track_id`, `available_at` and the `IDENTITY`.
    """
    since: dict[tuple[Any, ...], datetime] = {}
    last: dict[int, dict[str, Any]] = {}
    for row in sorted(recorded, key=lambda row: row["available_at"]):
        since[_named(row)] = row["available_at"]
        last[row["track_id"]] = row
    new = sorted((row for row in published if _named(row) not in since), key=_named)
    old = sorted((row for row in published if _named(row) in since), key=lambda row: since[_named(row)], reverse=True)
    counts = newest([*new, *old])
    return [row for track, row in sorted(counts.items()) if track not in last or _named(row) != _named(last[track])]


def _named(row: dict[str, Any]) -> tuple[Any, ...]:
    return (row["track_id"], *(row[name] for name in IDENTITY))
