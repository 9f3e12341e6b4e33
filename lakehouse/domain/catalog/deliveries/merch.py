"""Merch links: `merch.json` beside the messages of a delivery.

    [{"title": "Tour shirt", "url": "https://shop.example/shirt", "release": "4006381333931"}]

A link without `release` belongs to every release of the folder. No standard of DDEX carries such links.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import jsonschema

from lakehouse.domain.catalog.content import TEXT
from lakehouse.domain.catalog.deliveries.faults import Fault
from lakehouse.domain.catalog.identifiers import release_key
from lakehouse.errors import RejectedInputError

FILE = "merch.json"
MAX_BYTES = 1 << 20
_SCHEMA = {
    "type": "array",
    "maxItems": 200,
    "items": {
        "type": "object",
        "additionalProperties": False,
        "required": ["title", "url"],
        "properties": {
            "title": TEXT | {"maxLength": 300},
            # Nothing that a browser would run or open on the listener's own machine.
            "url": {"type": "string", "pattern": "^https://[^\\s]+$", "maxLength": 2000},
            "release": TEXT,
        },
    },
}


@dataclass(frozen=True)
class Link:
    """A thing to buy; `release` is the key of the release that it belongs to, None for all of the folder."""

    title: str
    url: str
    release: str | None = None


def read(document: bytes) -> tuple[Link, ...]:
    """The links in `document`, in order.

    Raises:
        RejectedInputError: `merch_invalid`; the message says which link and field.
    """
    try:
        if len(document) > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES} bytes")
        rows = json.loads(document.decode("utf-8-sig"))
        jsonschema.validate(rows, _SCHEMA, jsonschema.Draft202012Validator)
        for number, row in enumerate(rows):
            # JSON can escape what no text has: NUL, and halves of surrogate pairs.
            if bad := next((name for name, text in row.items() if re.search("[\0\ud800-\udfff]", text)), None):
                raise ValueError(f"$[{number}].{bad}: it has characters that are no text")
        return tuple(
            Link(row["title"], row["url"], release_key(row["release"]) if "release" in row else None) for row in rows
        )
    except jsonschema.ValidationError as error:
        raise _refused(f"{error.json_path}: {error.message}") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, no UPC
        raise _refused(str(error)) from error


def _refused(why: str) -> RejectedInputError:
    return RejectedInputError(
        f"'{FILE}' can't be read: {why}",
        reason=Fault.MERCH_INVALID.code,
        value=why,
        hint='Send [{"title": "...", "url": "https://..."}].',
    )
