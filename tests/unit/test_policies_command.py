"""`wavehouse policies`: what the commands ask of Trino and what they show."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from lakehouse.adapters import royalties, trino
from lakehouse.adapters.royalties_ledger import NoLedgerError
from lakehouse.cli.policies import app
from lakehouse.config.settings import Settings
from lakehouse.domain.listening import rules
from lakehouse.domain.royalties import contracts
from tests.fakes.trino import DuckTrino

AT = datetime(2026, 10, 3, 12, tzinfo=UTC)


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


def play(number: int, **others: Any) -> dict[str, Any]:
    known = {"user_id": number, "track_id": 1, "country": "SE", "user_agent": "Player", "ms_played": 200_000}
    known |= {"track_duration_ms": 200_000, "reason_end": "trackdone"}
    return {"event_id": f"{number:03}", "played_at": AT, "played_on": AT.date()} | known | others


@pytest.fixture
def lake(monkeypatch: pytest.MonkeyPatch) -> DuckTrino:
    """Plays and flags of October: whole ones, a short one, one that a rule flags, and those of two months around."""
    plays = [
        play(1),
        play(2),
        play(3, country="DE", ms_played=20_000, reason_end="fwdbtn"),
        play(4, country="DE"),
        play(5, played_on=AT.date().replace(month=9)),
        play(6, played_on=AT.date().replace(month=11)),
    ]
    flags = [{"event_id": "004", "rule": "track-loop", "played_on": AT.date()}]
    fake = DuckTrino({"silver.plays": plays, "silver.play_flags": flags})
    monkeypatch.setattr(trino, "query", fake.query)
    return fake


def test_the_same_plays_under_every_policy(lake: DuckTrino) -> None:
    found = document("compare", "--period", "2026-10", "--plays", "9")
    counts = {row["policy"]: (row["plays"], row["counts"], row["not_counted"]) for row in found["policies"]}
    assert counts.keys() == {p.label for p in rules.policies()}
    assert counts["streamed-30s@1"] == (4, 3, {"under_30_s": 1})
    assert counts["streamed-30s@2"] == (4, 2, {"track-loop": 1, "under_30_s": 1})
    assert [play["event_id"] for play in found["plays"]] == ["004"]
    assert found["plays"][0]["verdicts"]["streamed-30s@2"] == "track-loop"
    assert found["plays"][0]["verdicts"]["streamed-30s@1"] == "counts"
    assert set(lake.users) == {"analyst"}


def test_the_same_plays_by_country(lake: DuckTrino) -> None:
    found = document("compare", "--period", "2026-10", "--by-country")
    counts = {(r["country"], r["policy"]): r["counts"] for r in found["policies"]}
    assert (counts["SE", "streamed-30s@2"], counts["DE", "streamed-30s@2"]) == (2, 0)
    shown = CliRunner().invoke(app, ["compare", "--period", "2026-10", "--by-country", "--plays", "1"]).stdout
    assert "Where they differ" in shown
    assert "Plays they disagree on" in shown
    assert document("compare", "--period", "2026-12")["policies"] == []


BOOK = contracts.build(
    {
        "payees": [{"payee_id": name, "name": name.title(), "country": "SE"} for name in ("label", "writer", "other")],
        "agreements": [
            {
                "agreement_id": kind,
                "licensor": "label",
                "share_type": kind,
                "model": "pro_rata",
                "currency": "EUR",
                "valid_from": "2026-01",
                "terms": [
                    {"clause_id": "1", "version": 1, "territory": ["world"], "share": "0.1", "valid_from": "2026-01"}
                ],
            }
            for kind in ("master", "mechanical")
        ],
        "rights": [
            {
                "track_id": track,
                "share_type": kind,
                "valid_from": "2026-01",
                "holders": [{"agreement_id": kind, "payee_id": payee, "share": "1"}],
            }
            for track, kind, payee in (
                ("1", "master", "label"),
                ("2", "master", "label"),
                ("1", "mechanical", "writer"),
                ("4", "master", "other"),
            )
        ],
    }
)


@pytest.fixture
def flagged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tracks 1 and 2 of artist 7 and track 3, which nobody has a right in, with artificial plays; track 4 has none."""

    def row(track: int, rule: str, plays: int, streams: int, country: str = "SE") -> Mapping[str, Any]:
        artist = 8 if track == 3 else 7
        known = {"period": "2026-10", "rule_version": 1, "payee_id": artist, "ms_played": 0}
        return known | {"track_id": track, "rule": rule, "plays": plays, "streams": streams, "country": country}

    tables = {
        "gold.artificial_plays_monthly": [
            row(1, "track-loop", 5, 4),
            row(1, "track-loop", 2, 2, "DE"),
            row(2, "track-loop", 1, 0),
            row(3, "bot-user-agent", 9, 9),
            row(1, "track-loop", 99, 99) | {"period": "2026-09"},
        ],
        "gold.streams_monthly": [
            {"period": period, "track_id": track, "streams": 1000, "royalty_streams": paid, "country": country}
            for period, track, paid, country in (
                ("2026-10", 1, 3, "SE"),
                ("2026-10", 1, 3, "DE"),
                ("2026-10", 2, 12, "SE"),
                ("2026-10", 4, 50, "SE"),
                ("2026-09", 1, 7, "SE"),
            )
        ],
        "silver.tracks": [{"track_id": t, "artist_id": 8 if t == 3 else 7} for t in range(1, 5)],
    }
    monkeypatch.setattr(trino, "query", DuckTrino(tables).query)


def impact_of(rows: list[dict[str, Any]], by: str) -> list[tuple[Any, ...]]:
    return [(r[by], r["rule"], r["plays"], r["streams"], r["paid_streams"], r["share_of_streams"]) for r in rows]


def test_the_impact_by_track_and_artist(flagged: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(royalties, "book_for", lambda *_: None)
    found = document("impact", "--period", "2026-10")
    assert impact_of(found["by_track_id"], "track_id") == [
        (3, "bot-user-agent", 9, 9, 0, 1.0),
        (1, "track-loop", 7, 6, 6, 0.5),
        (2, "track-loop", 1, 0, 12, 0.0),
    ]
    assert found["rights_holders"] == "artists of the catalogue"
    assert impact_of(found["by_payee_id"], "payee_id") == [
        (8, "bot-user-agent", 9, 9, 0, 1.0),
        (7, "track-loop", 8, 6, 68, 0.0811),
    ]


def test_the_impact_by_payees_of_the_contracts(flagged: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(royalties, "book_for", lambda *_: ("2026-09", BOOK))
    found = document("impact", "--period", "2026-10")
    assert found["rights_holders"] == "payees of the contracts of 2026-09"
    assert impact_of(found["by_payee_id"], "name") == [
        (None, "bot-user-agent", 9, 9, 0, 1.0),
        ("Label", "track-loop", 8, 6, 18, 0.25),
        ("Writer", "track-loop", 7, 6, 6, 0.5),
    ]
    assert "payees of the contracts of 2026-09" in CliRunner().invoke(app, ["impact", "--period", "2026-10"]).stdout


class Books:
    """A payout ledger that settled September and November by books of their own; `missing`: it was never made."""

    missing = False
    settled: tuple[str, ...] = ("2026-09", "2026-11")

    @contextmanager
    def __call__(self, _: Settings) -> Any:
        yield self

    def periods(self) -> list[Any]:
        if self.missing:
            raise NoLedgerError("no tables")
        untouched = SimpleNamespace(period="2026-12", digest=None)
        return [untouched, *(SimpleNamespace(period=p, digest=f"digest {p}") for p in self.settled)]

    def settlement(self, digest: str) -> tuple[bytes, dict[str, str]]:
        return b"", {"book_sha256": digest.removeprefix("digest ")}

    def book(self, sha256: str) -> bytes:
        return json.dumps(
            {"payees": [{"payee_id": sha256, "name": "N", "country": "SE"}], "agreements": [], "rights": []}
        ).encode()


def test_the_contracts_are_those_of_the_month_or_of_the_newest(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = Books()
    monkeypatch.setattr(royalties, "Ledger", books)
    for period, of in (("2026-09", "2026-09"), ("2026-10", "2026-11"), ("2026-12", "2026-11")):
        found = royalties.book_for(settings, period)
        assert found is not None
        assert (found[0], list(found[1].payees)) == (of, [of])
    books.settled = ()
    assert royalties.book_for(settings, "2026-09") is None
    books.missing = True
    assert royalties.book_for(settings, "2026-09") is None
