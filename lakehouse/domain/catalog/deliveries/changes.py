"""What a version of a release changed against the one before it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Change:
    """One field with its value before and after, None where it was or is not there. Items of lists are named: tracks
    by their ISRC, pictures and lyrics by their reference.
    """

    field: str
    before: Any
    after: Any


def changes(before: dict[str, Any] | None, after: dict[str, Any] | None) -> list[Change]:
    """Changes by field from one stored document of a release to the next; all fields of a first one."""
    old, new = dict(_flat(before or {})), dict(_flat(after or {}))
    return [
        Change(name, old.get(name), new.get(name))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else key)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for place, inner in enumerate(value, 1):
            yield from _flat(inner, f"{name}[{inner.get('isrc') or inner.get('reference') or place}]")
        if name == "tracks":
            yield "tracks", [inner.get("isrc") or inner.get("reference") for inner in value]  # their order
    elif value not in (None, [], ""):
        yield name, value
