"""What commands print for people: data stays data, and nothing of it is cut off."""

from __future__ import annotations

import pytest

from lakehouse.cli.output import Output


def test_a_table_shows_all_of_what_it_is_given(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    address = "s3://playback/" + "0123456789abcdef" * 4
    Output().table("01 Song [/live].ogg", ["age [s]", "address"], [("[live]", address)])
    shown = capsys.readouterr().out
    assert "01 Song [/live].ogg" in shown
    assert "age [s]" in shown
    assert "[live]" in shown
    cells = [line.split("│")[2].strip() for line in shown.splitlines() if line.startswith("│")]
    assert "".join(cells) == address
