"""Corrections that people lay over a refused message: right values for fields, and rules that may be passed over."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from lakehouse.domain.catalog.deliveries.messages import Message
from lakehouse.domain.catalog.quality.rules import Rule
from lakehouse.errors import RejectedInputError

RELEASE_FIELDS = ("title", "artist", "label", "genre", "released_on", "originally_released_on")
TRACK_FIELDS = ("title", "artist", "isrc", "duration", "language", "explicit", "iswc", "isni", "ipi")
#: What a person may decide: the record is meant to be so. Damaged bytes and wrong identifiers are no matter of opinion.
ACCEPTABLE = frozenset(
    {
        Rule.SILENCE, Rule.CLIPPING, Rule.PLACEHOLDER, Rule.LOST_CHARACTERS, Rule.LANGUAGE_SCRIPT, Rule.DATE_ORDER,
        Rule.IMPLAUSIBLE_DATE, Rule.EXPLICIT_CONFLICT, Rule.DURATION_MISMATCH, Rule.ARTWORK_SIZE,
    }
)  # fmt: skip


@dataclass(frozen=True)
class Corrections:
    """Values by field (`title`, or `A1.title` for the track with the reference A1; of a file its tags) and codes of
    rules to pass over.
    """

    values: dict[str, str] = field(default_factory=dict)
    accepted: frozenset[str] = frozenset()

    def as_json(self) -> dict[str, Any]:
        """As an audit entry keeps it."""
        return {"values": self.values, "accepted": sorted(self.accepted)}


def gathered(entries: list[dict[str, Any] | None]) -> Corrections:
    """All corrections of audit entries, the later ones over the earlier ones. Older entries of files are tags alone."""
    values: dict[str, str] = {}
    accepted: set[str] = set()
    for entry in entries:
        values |= (entry or {}).get("values", entry or {})
        accepted |= set((entry or {}).get("accepted", ()))
    return Corrections(values, frozenset(accepted))


def check_accepted(corrections: Corrections) -> None:
    """Check that a person may pass over the accepted rules.

    Raises:
        RejectedInputError: `invalid_correction`.
    """
    if unknown := corrections.accepted - {rule.code for rule in ACCEPTABLE}:
        raise _refused(f"No rule '{min(unknown)}' may be passed over.", sorted(unknown))


def corrected(message: Message, corrections: Corrections) -> Message:
    """`message` with the right values.

    Raises:
        RejectedInputError: `invalid_correction`; there is no such field, track or rule that a person may pass over.
    """
    check_accepted(corrections)
    release = message.release
    for name, value in corrections.values.items():
        reference, _, wanted = name.rpartition(".")
        if release is None or wanted not in (TRACK_FIELDS if reference else RELEASE_FIELDS):
            raise _refused(f"'{name}' is no field that can be corrected.", name)
        if not reference:
            release = replace(release, **{wanted: value})  # type: ignore[arg-type]
            continue
        if reference not in {track.reference for track in release.tracks}:
            raise _refused(f"The message has no track '{reference}'.", name)
        tracks = tuple(
            replace(track, **{wanted: value}) if track.reference == reference else track  # type: ignore[arg-type]
            for track in release.tracks
        )
        release = replace(release, tracks=tracks)
    return replace(message, release=release)


def _refused(text: str, value: object) -> RejectedInputError:
    return RejectedInputError(
        text,
        reason="invalid_correction",
        value=value,
        hint=f"Fields of a release: {', '.join(RELEASE_FIELDS)}; of a track (A1.title): {', '.join(TRACK_FIELDS)}; "
        f"rules: {', '.join(sorted(rule.code for rule in ACCEPTABLE))}.",
    )
