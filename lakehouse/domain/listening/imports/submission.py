"""What a player sends to `/1/submit-listens`: ListenBrainz' documented JSON, its limits, and the listens in it.

Source of the limits and of what is refused: https://listenbrainz.readthedocs.io/en/latest/users/api/core.html and
`listenbrainz/webserver/views/api_tools.py` of metabrainz/listenbrainz-server. A submission is taken whole or not at
all. What makes a listen possible (`check`) is our own rule, the same as for imports of files; only a clock may run
ahead by an hour (`API_LISTENED_AT_ALLOWED_SKEW`).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from lakehouse.domain.listening.imports.formats import listenbrainz_listen
from lakehouse.domain.listening.imports.listens import EARLIEST, Listen, check
from lakehouse.errors import RejectedInputError

SOURCE = "scrobble"
MAX_LISTENS = 1000
MAX_LISTEN_BYTES = 10_240
MAX_BYTES = MAX_LISTENS * MAX_LISTEN_BYTES
MAX_TAGS = 50
MAX_TAG_CHARACTERS = 64
MAX_DURATION_S = 24 * 86_400
CLOCK_AHEAD = timedelta(hours=1)
ONE_MBID = ("release_mbid", "recording_mbid", "release_group_mbid", "track_mbid")
MANY_MBIDS = ("artist_mbids", "work_mbids")

Kind = Literal["single", "import", "playing_now"]
KINDS: tuple[Kind, ...] = ("single", "import", "playing_now")


@dataclass(frozen=True)
class Submission:
    """A valid submission; one of kind `playing_now` has no listens, because what is playing was not yet heard."""

    kind: Kind
    listens: tuple[Listen, ...]


def submission(body: bytes, received_at: datetime) -> Submission:
    """The listens of a request's body that came at `received_at` (UTC).

    Raises:
        RejectedInputError: a limit or rule is broken; the message is for the sender, the reason one of `too_large`,
            `broken_json`, `bad_document`, `too_many_listens`, or that of a rejected row of an import.
    """
    if len(body) > MAX_BYTES:
        raise RejectedInputError(f"The document is larger than {MAX_BYTES} bytes.", reason="too_large")
    try:
        document = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise RejectedInputError(f"The body is no JSON: {str(error)[:100]}", reason="broken_json") from error
    if not isinstance(document, dict):
        raise _bad("The document must be an object.")
    kind, payload = document.get("listen_type"), document.get("payload")
    if kind not in KINDS:
        raise _bad(f"listen_type must be one of {', '.join(KINDS)}.")
    if not isinstance(payload, list) or not payload:
        raise _bad("payload must be a list with at least one listen.")
    if len(payload) > MAX_LISTENS:
        raise RejectedInputError(f"More than {MAX_LISTENS} listens in one request.", reason="too_many_listens")
    if len(body) > len(payload) * MAX_LISTEN_BYTES:
        raise RejectedInputError(f"Listens may not be larger than {MAX_LISTEN_BYTES} bytes each.", reason="too_large")
    if kind != "import" and len(payload) > 1:
        raise _bad(f"A submission of type {kind} holds one listen.")
    found = [listen for row in payload if (listen := _listen(row, kind, received_at)) is not None]
    return Submission(kind, tuple(found))


def _listen(row: object, kind: Kind, received_at: datetime) -> Listen | None:
    """One listen of a payload, judged; None for one that is playing now."""
    now = kind == "playing_now"
    keys = {"track_metadata"} if now else {"listened_at", "track_metadata"}
    if not isinstance(row, dict) or row.keys() != keys:
        raise _bad(f"Each listen of type {kind} has the keys {', '.join(sorted(keys))} and no others.")
    track = row["track_metadata"]
    if not isinstance(track, dict):
        raise _bad("track_metadata must be an object.")
    if _has_nul(row):
        raise _bad("A text holds a NUL character.")
    # Players send null for what they don't know.
    if not isinstance(track.get("release_name") or "", str):
        raise _bad("track_metadata.release_name must be text.")
    more = track.get("additional_info") or {}
    if not isinstance(more, dict):
        raise _bad("track_metadata.additional_info must be an object.")
    _check_more(more)
    # Only the moment is missing of what is playing now; the names are judged the same way.
    listen = listenbrainz_listen({"listened_at": int(received_at.timestamp())} | row, source=SOURCE)
    check(listen, received_at, ahead=CLOCK_AHEAD)
    return None if now else listen


def _check_more(more: Mapping[str, Any]) -> None:
    tags = more.get("tags") or []
    if not isinstance(tags, list) or len(tags) > MAX_TAGS:
        raise _bad(f"additional_info.tags must be a list of at most {MAX_TAGS}.")
    if any(not isinstance(tag, str) or len(tag) > MAX_TAG_CHARACTERS for tag in tags):
        raise _bad(f"A tag must be text of at most {MAX_TAG_CHARACTERS} characters.")
    if "duration" in more and "duration_ms" in more:
        raise _bad("additional_info holds duration or duration_ms, not both.")
    for key, most in (("duration", MAX_DURATION_S), ("duration_ms", MAX_DURATION_S * 1000)):
        if key in more and not 0 < _whole(more[key]) <= most:
            raise _bad(f"additional_info.{key} must be a whole number from 1 to {most}.")
    for key in ONE_MBID:
        _check_mbids(key, [more.get(key)])
    for key in MANY_MBIDS:
        _check_mbids(key, more.get(key) or [])


def _whole(value: object) -> int:
    """A whole number, also as text, as players send it; 0 for anything else."""
    try:
        return 0 if isinstance(value, bool) else int(float(str(value)))
    except (ValueError, OverflowError):
        return 0


def _check_mbids(key: str, values: object) -> None:
    """Empty ones are left out, as ListenBrainz does; others must be UUIDs."""
    if not isinstance(values, list):
        raise _bad(f"additional_info.{key} must be a list.")
    for value in values:
        if not value:
            continue
        try:
            uuid.UUID(value)
        except (ValueError, AttributeError, TypeError) as error:
            raise _bad(f"additional_info.{key} is no MusicBrainz id.") from error


def _has_nul(value: object) -> bool:
    left = [value]  # no recursion: a document may be nested as deeply as Python can read it
    while left:
        match left.pop():
            case str() as found if "\0" in found:
                return True
            case dict() as inner:
                left += [*inner, *inner.values()]
            case list() as items:
                left += items
    return False


#: The request's body as OpenAPI says it.
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["listen_type", "payload"],
    "properties": {
        "listen_type": {"enum": list(KINDS)},
        "payload": {
            "type": "array",
            "minItems": 1,
            "maxItems": MAX_LISTENS,
            "items": {
                "type": "object",
                "required": ["track_metadata"],
                "additionalProperties": False,
                "properties": {
                    "listened_at": {
                        "type": "integer",
                        "minimum": int(EARLIEST.timestamp()),
                        "description": "Start of the listen [s since 1970, UTC]; not with playing_now",
                    },
                    "track_metadata": {
                        "type": "object",
                        "required": ["artist_name", "track_name"],
                        "properties": {
                            "artist_name": {"type": "string", "minLength": 1, "maxLength": 1000},
                            "track_name": {"type": "string", "minLength": 1, "maxLength": 1000},
                            "release_name": {"type": ["string", "null"]},
                            "additional_info": {"type": ["object", "null"]},
                        },
                    },
                },
            },
        },
    },
}


def _bad(message: str) -> RejectedInputError:
    return RejectedInputError(message, reason="bad_document")
