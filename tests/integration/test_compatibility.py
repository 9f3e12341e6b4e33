"""Each topic's schema is held to the compatibility of its contract by the real registry."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from lakehouse.adapters import kafka
from lakehouse.adapters.avro_registry import SchemaRegistry
from lakehouse.config.settings import Settings
from lakehouse.contracts import load
from lakehouse.errors import FatalError

pytestmark = pytest.mark.stack


def test_every_contract_may_follow_what_is_registered(stack: Settings) -> None:
    kafka.init_subjects(stack)
    states = kafka.check_subjects(stack)
    assert {state.topic for state in states} >= {"plays", "follows", "playlist_edits", "ad_clicks", "catalog_changes"}
    assert all(state.is_sound for state in states), states


@pytest.mark.parametrize(
    ("level", "change", "fits"),
    [
        ("BACKWARD", "optional added", True),
        ("BACKWARD", "required added", False),
        ("BACKWARD", "required dropped", True),  # a new reader skips it; old readers are not promised anything
        ("FULL", "optional added", True),
        ("FULL", "required dropped", False),
        ("FULL", "type changed", False),
    ],
)
def test_what_breaks_a_reader_is_refused(stack: Settings, level: str, change: str, fits: bool) -> None:
    schema = load("topics.follows").avro_schema()
    fields: list[dict[str, Any]] = schema["fields"]
    changed = {
        "optional added": [*fields, {"name": "later", "type": ["null", "string"], "default": None}],
        "required added": [*fields, {"name": "later", "type": "string"}],
        "required dropped": fields[:-1],
        "type changed": [*fields[:-1], fields[-1] | {"type": "long"}],
    }[change]
    subject = f"scratch-{uuid.uuid4()}-value"
    with SchemaRegistry(stack.registry.http) as registry:
        registry.register(subject, schema)
        registry.set_compatibility(subject, level)
        assert registry.compatibility(subject) == level
        assert (registry.faults(subject, schema | {"fields": changed}) == []) == fits
        if fits:
            registry.register(subject, schema | {"fields": changed})
        else:
            with pytest.raises(FatalError, match="refused"):
                registry.register(subject, schema | {"fields": changed})
