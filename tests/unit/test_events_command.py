"""`wavehouse events check`: what it says of the schemas and how it ends; and what every producer asks of the broker."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from lakehouse.adapters import kafka
from lakehouse.adapters.kafka import SubjectState
from lakehouse.cli.events import app
from lakehouse.config.settings import Settings

SOUND = SubjectState("plays", "FULL", "FULL", [])


@pytest.mark.parametrize(
    ("state", "code", "said"),
    [
        (SOUND, 0, "yes"),
        (SubjectState("likes", "FULL", "FULL", ["a field without a default"]), 1, "a field without a default"),
        (SubjectState("likes", "FULL", "NONE", []), 1, "NONE"),
        (SubjectState("likes", "FULL", None, []), 1, "likes"),
    ],
)
def test_the_exit_code_says_whether_every_schema_may_follow(
    state: SubjectState, code: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "check_subjects", lambda _: [SOUND, state])
    shown = CliRunner().invoke(app, ["check"])
    assert shown.exit_code == code
    assert said in shown.stdout
    printed = CliRunner().invoke(app, ["check", "--json"])
    assert printed.exit_code == code
    assert [row["sound"] for row in json.loads(printed.stdout)] == [True, code == 0]


def test_producers_lose_and_repeat_nothing(settings: Settings) -> None:
    asked = kafka.producer_config(settings)
    assert (asked["acks"], asked["enable.idempotence"]) == ("all", True)
