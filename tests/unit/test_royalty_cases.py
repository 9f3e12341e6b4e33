"""The worked examples of tests/cases/royalties, each with its arithmetic in `why`; a new one needs no Python.

Shorthand: the pool is DE/premium/EUR of 2026-10 and the agreement is A (master, pro rata, 70 % in the world from
2026-01) unless said otherwise. `plays` are "listener track streams [chosen]", `u*3` stands for three listeners. The
`rights` of a track are "payee share [status] [@agreement]"; its share type and months ("2026-01..2026-10") follow it,
without months it is licensed as long as its agreements. Lines read "track chain amount",
entries "payee kind amount"; what isn't the default (pool, agreement, account, rule, currency) stands beside it, and
what an account adjustment corrects after "of": "P1 account_adjustment -35 of 2026-10/withholding_tax". `restates` is a
month, or several, with what is another now.
Every month of an example is booked as well: its postings must balance and its accounts stand at what is carried.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml

from lakehouse.domain.royalties import contracts
from lakehouse.domain.royalties.models import Plays, Policy, Track, Use, weigh
from lakehouse.domain.royalties.pools import ExchangeRate, PoolKey, Revenue
from lakehouse.domain.royalties.settlement import Entry, Line, Settlement, corrected, settle
from lakehouse.errors import RejectedInputError
from tests.royalty_books import PayOuts

FOLDER = Path(__file__).parents[1] / "cases" / "royalties"
POOL = "DE/premium/EUR"
CLAUSE = (
    "share",
    "rate",
    "per_stream_minimum",
    "per_subscriber_minimum",
    "escalations",
    "escalation_over",
    "territory",
)


def cases() -> Iterator[Any]:
    for path in sorted(FOLDER.glob("*.yaml")):
        for case in yaml.safe_load(path.read_text()):
            yield pytest.param(case, id=f"{path.stem}-{case['case']}")


def test_there_are_enough_and_each_shows_its_arithmetic() -> None:
    found = [param.values[0] for param in cases()]
    assert len(found) >= 40
    assert len({case["case"] for case in found}) == len(found)
    assert all(any(sign in case["why"] for sign in "0123456789") for case in found)


@pytest.mark.parametrize("case", list(cases()))
def test_worked_example(case: dict[str, Any]) -> None:
    if "refused" in case:
        with pytest.raises(RejectedInputError) as refusal:
            run(case)
        assert refusal.value.reason == case["refused"]
        for name in case["names"]:
            assert name in refusal.value.message
        return
    results = run(case)
    for period, month in months(case).items():
        result = results[period]
        if "lines" in month:
            assert [show_line(line) for line in result.lines] == sorted(month["lines"], key=_by_line(result)), period
        if "entries" in month:
            assert sorted(show_entry(entry) for entry in result.entries) == sorted(month["entries"]), period
        if "balances" in month:
            assert sorted(show_balances(result)) == sorted(month["balances"]), period
        if "retained" in month:
            assert sum(pool.retained_minor for pool in result.pools) == month["retained"], period
        if "unlicensed" in month:
            assert sum(pool.unlicensed_streams for pool in result.pools) == month["unlicensed"], period
        for pool in result.pools:
            assert pool.claimed_minor == sum(line.amount_minor for line in result.lines if line.key == pool.key)


def _by_line(result: Settlement) -> Any:
    """Lines are compared in the order of the result; what isn't in it comes last and fails."""
    shown = [show_line(line) for line in result.lines]
    return lambda text: shown.index(text) if text in shown else len(shown)


def months(case: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = case.get("months") or {"2026-10": case}
    return found


def run(case: dict[str, Any]) -> dict[str, Settlement]:
    results: dict[str, Settlement] = {}
    made = PayOuts()
    for period, month in months(case).items():
        for restated in [month["restates"]] if isinstance(month.get("restates"), dict) else month.get("restates", ()):
            again = {**case, **months(case)[restated["period"]], **restated}
            of = again["period"]
            corrected, began = contracts.build(make_book(again)), made.closed[of]
            lines = settle(
                of,
                revenue(again, of),
                uses(again, of),
                corrected,
                exchange_rates(again),
                began.opening,
                began.adjustments,
            )
            made.restate(of, period, corrected, exchange_rates(again), lines)
        here = {**case, **month}
        book = contracts.build(make_book(here))
        results[period] = made.settle(period, revenue(here, period), uses(here, period), book, exchange_rates(here))
    return results


def exchange_rates(case: dict[str, Any]) -> list[ExchangeRate]:
    return [
        ExchangeRate(day, *pair.split("/"), Fraction(value))  # "2026-10-31 EUR/USD 1.1"
        for day, pair, value in (row.split() for row in case.get("rates", ()))
    ]


def revenue(case: dict[str, Any], period: str) -> list[Revenue]:
    rows = case["revenue"] if isinstance(case["revenue"], dict) else {POOL: case["revenue"]}
    return [
        Revenue(
            PoolKey(period, *pool.split("/")),
            *([row] if isinstance(row, int) else ()),
            **(
                {f"{name}{'' if name == 'subscribers' else '_minor'}": n for name, n in row.items()}
                if not isinstance(row, int)
                else {}
            ),
        )
        for pool, row in rows.items()
    ]


def uses(case: dict[str, Any], period: str) -> list[Use]:
    played = case["plays"] if isinstance(case["plays"], dict) else {POOL: case["plays"]}
    plays: list[Plays] = []
    for pool, text in played.items():
        for row in filter(str.strip, text.split(";")):
            listener, track, *counts = row.split()
            name, _, many = listener.partition("*")
            for number in range(int(many or 1)):
                plays.append(
                    Plays(
                        PoolKey(period, *pool.split("/")), f"{name}{number if many else ''}", track, *map(int, counts)
                    )
                )
    facts = case.get("tracks", {})
    tracks = {
        track: Track(track, **{"artist_id": f"artist of {track}", "annual_streams": 1000, **facts.get(track, {})})
        for track in {row.track_id for row in plays}
    }
    policy = {
        name: Fraction(value) if "boost" in name or "weight" in name else value
        for name, value in case.get("policy", {}).items()
    }
    return weigh(plays, tracks, Policy(**policy))


def make_book(case: dict[str, Any]) -> dict[str, Any]:
    agreements = []
    for agreement_id, facts in (case.get("agreements") or {"A": {}}).items():
        given = dict(facts)
        clause = {name: given.pop(name) for name in CLAUSE if name in given}
        if "rate" not in clause:
            clause.setdefault("share", "0.7")
        dates = {"valid_from": given.get("valid_from", "2026-01"), "valid_to": given.get("valid_to")}
        defaults = {
            "agreement_id": agreement_id,
            "licensor": "P1",
            "share_type": "master",
            "model": "pro_rata",
            "currency": "EUR",
            "terms": [{"clause_id": "c1", "version": 1, "territory": ["world"], **dates, **clause}],
        }
        if "accounting" in given and isinstance(given["accounting"], dict):
            given["accounting"] = [{"clause_id": "k1", "version": 1, **dates, **given["accounting"]}]
        agreements.append({**defaults, **dates, **given})
    rights = []
    for name, holders in case["rights"].items():
        track, *rest = name.split()
        dates = next((word for word in rest if word[0].isdigit()), "")
        share_type = next((word for word in rest if not word[0].isdigit()), "master")
        row: dict[str, Any] = {"track_id": track, "share_type": share_type, "holders": []}
        for text in [holders] if isinstance(holders, str) else holders:
            payee, *facts = text.split()
            holder = {"agreement_id": "A", "payee_id": payee, "share": "1"}
            for word in facts:
                field = "agreement_id" if word[0] == "@" else "share" if word[-1].isdigit() else "status"
                holder[field] = word.removeprefix("@")
            row["holders"].append({k: v for k, v in holder.items() if v != "-"})
        licensed = {holder["agreement_id"] for holder in row["holders"]}
        of = [agreement for agreement in agreements if agreement["agreement_id"] in licensed]
        ends = [agreement["valid_to"] for agreement in of if agreement["valid_to"]]
        first, _, last = dates.partition("..")
        row["valid_from"] = first or max((agreement["valid_from"] for agreement in of), default="2026-01")
        row["valid_to"] = last or (min(ends) if ends and not first else None)
        rights.append(row)
    payees = {f"P{number}": {} for number in range(1, 10)} | case.get("payees", {})
    return {
        "payees": [
            {"payee_id": payee, "name": payee, "country": "DE", **(facts or {})} for payee, facts in payees.items()
        ],
        "agreements": agreements,
        "rights": rights,
    }


def show_line(line: Line) -> str:
    pool = "/".join((line.key.country, line.key.tier, line.key.currency))
    words = [
        pool if pool != POOL else "",
        line.track_id,
        line.share_type if line.share_type != "master" else "",
        ">".join(line.chain) or "-",
        str(line.amount_minor),
        f"@{line.agreement_id}" if line.agreement_id != "A" else "",
        line.account if line.account != "payable" else "",
        line.rule if line.rule != "share" else "",
    ]
    return " ".join(filter(None, words))


def show_entry(entry: Entry) -> str:
    words = [
        entry.payee_id or "-",
        entry.kind,
        str(entry.amount_minor),
        entry.currency if entry.currency != "EUR" else "",
        f"@{entry.agreement_id}" if entry.agreement_id != "A" else "",
        f"of {entry.refers_to}" if corrected(entry) else "",
    ]
    return " ".join(filter(None, words))


def show_balances(result: Settlement) -> Iterator[str]:
    for row in result.balances:
        values = {"unrecouped": row.unrecouped_minor, "deficit": row.deficit_minor, "earned": row.earned_minor}
        values["overpaid"] = row.overpaid_minor
        shown = [f"{name}={value}" for name, value in values.items() if value]
        shown += [f"reserve={reserve.amount_minor}@{reserve.release_in}" for reserve in row.reserves]
        if shown:
            yield " ".join([row.payee_id, *shown])
