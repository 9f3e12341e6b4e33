"""`wavehouse policies`: what the commands ask of Trino and what they show."""

from __future__ import annotations

import json
from typing import Any

from typer.testing import CliRunner

from lakehouse.cli.policies import app
from lakehouse.domain.listening import rules


def document(*arguments: str) -> Any:
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_the_list_says_what_each_policy_is_used_for() -> None:
    found = document("list")
    assert found["default"] == rules.policy().label
    assert found["royalties"] == [
        {"from_period": entry.from_period, "policy": entry.policy.label} for entry in rules.royalty_policies()
    ]
    lines = CliRunner().invoke(app, ["list"]).stdout.splitlines()
    paid = rules.royalty_policies()[-1].policy.label
    assert paid != found["default"]
    used = {label: next(line for line in lines if f" {label} " in line) for label in (paid, found["default"])}
    assert "royalties" in used[paid]
    assert "royalties" not in used[found["default"]]
