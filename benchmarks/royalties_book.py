"""A book of contracts on the scale of `royalties_data`: a right for every track, an agreement for every payee.

Of the agreements 5 % are user-centric and 5 % artist-centric, the others pro rata; some have minimums, escalations,
reserves, guarantees or a payee to whom a part is passed on; every tenth track has two holders.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.royalties_data import UNKNOWN_EVERY, Scale, artist_of

SINCE = "2020-01"
CURRENCIES = ("EUR", "USD", "GBP", "SEK", "JPY")
#: By the last two digits of a payee's number: what the clause or the account of the agreement has beyond the standard.
CLAUSES: dict[int, dict[str, Any]] = {
    **{digits: {"escalations": [{"above_streams": 10_000, "value": "0.72"}]} for digits in range(3, 100, 25)},
    **{digits: {"per_stream_minimum": "0.002"} for digits in range(4, 100, 25)},
    5: {"per_subscriber_minimum": "0.10"},
}
ACCOUNTS: dict[int, dict[str, Any]] = {
    **{digits: {"reserve": "1/10", "release_after_months": 2, "withholding": "3/20"} for digits in range(6, 100, 20)},
    7: {"guarantee_minor": 60_000},
}


def book(scale: Scale) -> dict[str, Any]:
    """The document, in the form of contract.schema.json."""
    return {
        "payees": [_payee(number, scale) for number in range(1, scale.payees + 1)],
        "agreements": [_agreement(number) for number in range(1, scale.payees + 1)],
        "rights": list(_rights(scale)),
    }


def _payee(number: int, scale: Scale) -> dict[str, Any]:
    payee = {"payee_id": str(number), "name": f"Artist {number}", "country": ("DE", "US", "GB", "SE", "JP")[number % 5]}
    if number % 50 == 0 and number < scale.payees:  # to the next one, never back
        payee |= {"passes_on": [{"payee_id": str(number + 1), "share": "3/20", "valid_from": SINCE}]}
    return payee


def _agreement(number: int) -> dict[str, Any]:
    clause: dict[str, Any] = {
        "clause_id": "world", "version": 1, "territory": ["world"], "valid_from": SINCE, "share": "0.7"
    }  # fmt: skip
    account: dict[str, Any] = {"clause_id": "account", "version": 1, "valid_from": SINCE}
    return {
        "agreement_id": f"A{number}",
        "licensor": str(number),
        "share_type": "master",
        "model": {1: "user_centric", 2: "artist_centric"}.get(number % 20, "pro_rata"),
        "currency": CURRENCIES[number % len(CURRENCIES)],
        "valid_from": SINCE,
        "terms": [clause | CLAUSES.get(number % 100, {})],
        "accounting": [account | ACCOUNTS.get(number % 100, {})],
    }


def _rights(scale: Scale) -> Iterator[dict[str, Any]]:
    tracks = np.arange(1, scale.tracks + 1, dtype=np.int64)
    for track, artist in zip(tracks.tolist(), artist_of(scale, tracks).tolist(), strict=True):
        if track % UNKNOWN_EVERY == 0:
            continue
        holders = [{"agreement_id": f"A{artist}", "payee_id": str(artist), "share": "1"}]
        if track % 10 == 0:
            other = artist % scale.payees + 1
            holders = [
                holders[0] | {"share": "2/3"},
                {"agreement_id": f"A{other}", "payee_id": str(other), "share": "1/3"},
            ]
        yield {"track_id": str(track), "share_type": "master", "valid_from": SINCE, "holders": holders}
