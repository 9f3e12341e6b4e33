"""The polymorphic content model (NFR-EXT1): one core for every medium, and a schema a kind for what only it has.

A new medium is a new row in `content_kind`, whose JSON Schema (draft 2020-12) says what its `attributes` may hold. No
table changes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import jsonschema

from lakehouse.domain.audio.reasons import Reason
from lakehouse.errors import FatalError, RejectedInputError

#: What the attributes of an item may take up as JSON in UTF-8. Every change of an item is a message that holds all of
#: them, and is kept: the bound is far above what chapters and show notes need, and below what Kafka takes.
MAX_ATTRIBUTES_BYTES = 1_000_000


@dataclass(frozen=True)
class ContentKind:
    """A medium. `attributes_schema` is a JSON Schema of an object; `needs_audio` asks each item for an audio object."""

    kind: str
    description: str
    attributes_schema: dict[str, Any]
    needs_audio: bool = True

    def __post_init__(self) -> None:
        try:
            jsonschema.Draft202012Validator.check_schema(self.attributes_schema)
        except jsonschema.SchemaError as error:
            raise FatalError(
                f"The attribute schema of content kind '{self.kind}' is not a JSON Schema: {error.message}.",
                hint="See json-schema.org, draft 2020-12.",
            ) from error
        if self.attributes_schema.get("type") != "object":
            raise FatalError(
                f"The attribute schema of content kind '{self.kind}' does not describe an object.",
                hint='Give it "type": "object".',
            )

    def check(self, attributes: dict[str, Any]) -> None:
        """Check the attributes of one item.

        Raises:
            RejectedInputError: `attributes_too_large`; they take up more than `MAX_ATTRIBUTES_BYTES`.
                `invalid_attributes`; they don't fit the schema of the kind.
        """
        # Written as PostgreSQL writes it. A half of a surrogate pair, which is no UTF-8, is refused later.
        size = len(json.dumps(attributes, ensure_ascii=False).encode(errors="surrogatepass"))
        if size > MAX_ATTRIBUTES_BYTES:
            reason = Reason.ATTRIBUTES_TOO_LARGE
            raise RejectedInputError(
                f"{reason.meaning} ({size:,} bytes)", reason=reason.code, value=size, hint=reason.fix
            )
        error = jsonschema.exceptions.best_match(
            jsonschema.Draft202012Validator(self.attributes_schema).iter_errors(attributes)
        )
        if error is not None:
            raise RejectedInputError(
                f"Attributes of a {self.kind} are not valid at {error.json_path}: {error.message}",
                reason="invalid_attributes",
                value=attributes,
                hint=f"See `attributes_schema` of '{self.kind}' in catalog.content_kind.",
            )


TEXT = {"type": "string", "minLength": 1}

#: Attributes of a music track, all optional; the names are those of Vorbis comments where there is one.
TRACK = ContentKind(
    kind="track",
    description="One music recording",
    attributes_schema={
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "genre": TEXT,
            "licence": TEXT,
            "date": TEXT,
            "composer": TEXT,
            "album_artist": TEXT,
            "track_number": {"type": "integer", "minimum": 1},
            "disc_number": {"type": "integer", "minimum": 1},
            # What releases declare, in the normal forms of lakehouse.domain.catalog.quality.
            "featured": {"type": "array", "items": TEXT, "minItems": 1},
            "explicit": TEXT,
            "language": TEXT,
            "label": TEXT,
            "iswc": TEXT,
            # Of its release, where no message delivers one.
            "icpn": TEXT,
            "isni": TEXT,
            "ipi": TEXT,
            "recording_mbid": TEXT,
        },
    },
)

#: An element of the podcast namespace as it came.
_TAGS = {"type": "array", "items": {"$ref": "#/$defs/tag"}}
_DEFS = {
    "tag": {
        "type": "object",
        "additionalProperties": False,
        "required": ["name", "attributes", "text", "inner"],
        "properties": {
            "name": TEXT,
            "attributes": {"type": "object", "additionalProperties": {"type": "string"}},
            "text": {"type": "string"},
            "inner": _TAGS,
        },
    }
}

#: A podcast; its episodes name it as their parent.
PODCAST = ContentKind(
    kind="podcast",
    description="A series of episodes, by its feed",
    needs_audio=False,
    attributes_schema={
        "type": "object",
        "additionalProperties": False,
        "$defs": _DEFS,
        "required": ["built_at"],
        "properties": {
            # When the feed in force was made, ISO 8601 in UTC.
            "built_at": TEXT,
            "description": TEXT,
            "link": TEXT,
            "language": TEXT,
            "image_url": TEXT,
            "tags": _TAGS,
        },
    },
)

#: An episode. Its audio may be elsewhere (`audio_url`): then it can be found but not measured.
EPISODE = ContentKind(
    kind="episode",
    description="One episode of a podcast",
    needs_audio=False,
    attributes_schema={
        "type": "object",
        "additionalProperties": False,
        "$defs": _DEFS,
        "required": ["guid", "audio_url"],
        "properties": {
            "guid": TEXT,
            "audio_url": TEXT,
            "audio_type": TEXT,
            "published_at": TEXT,
            "description": TEXT,
            "duration": TEXT,
            "explicit": TEXT,
            "chapters": _TAGS,
            "transcripts": _TAGS,
            "persons": _TAGS,
            "values": _TAGS,
            "extra": _TAGS,
        },
    },
)

#: Kinds that ingestion knows; every migration brings their rows up to date.
KINDS = (TRACK, PODCAST, EPISODE)


@dataclass(frozen=True)
class Item:
    """One item for the catalogue. Names are tidy; `sha256` names the audio object, None for a kind without audio.

    A release belongs to `release_artist`, None when that is the item's artist.
    """

    kind: str
    title: str
    artist: str
    release: str | None = None
    release_artist: str | None = None
    isrc: str | None = None
    sha256: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
