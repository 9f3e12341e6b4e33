"""The demo's contracts and exchange rates: every artist of the catalogue is a payee under a standard agreement, and
the first few have something of their own, so that each kind of clause is at work. Real ones come as files.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

from lakehouse.domain.royalties import terms
from lakehouse.domain.royalties.pools import ExchangeRate

CURRENCY = "EUR"
#: Model rates, near those of recent years: units of a currency for one euro.
UNITS = {
    "BRL": "6.2",
    "GBP": "0.86",
    "INR": "96",
    "JPY": "164",
    "KWD": "0.34",
    "SEK": "11.2",
    "USD": "1.12",
}
SOURCE = "Model rate of the demo"

#: By place of the artist, in order of id: what their agreement has beyond the standard one.
OVERRIDES: dict[int, dict[str, Any]] = {
    0: {"model": "user_centric"},
    1: {"model": "artist_centric"},
    2: {"accounting": {"reserve": "1/10", "release_after_months": 2, "withholding": "3/20"}},
    3: {"accounting": {"guarantee_minor": 60_000}},
    4: {"terms": {"escalations": [{"above_streams": 10_000, "value": "0.72"}]}},
    5: {"terms": {"per_stream_minimum": "0.003"}},
}


def standard_book(tracks: Iterable[tuple[Any, ...]]) -> dict[str, Any]:
    """A book (contract.schema.json) for tracks given as track id, artist id and artist name."""
    artists: dict[int, str] = {}
    rights = []
    for track_id, artist_id, name in sorted(tracks):
        artists[artist_id] = name
        rights.append(
            {
                "track_id": str(track_id),
                "share_type": "master",
                "valid_from": "2000-01",
                "holders": [{"agreement_id": f"A{artist_id}", "payee_id": str(artist_id), "share": "1"}],
            }
        )
    agreements = []
    for place, artist_id in enumerate(sorted(artists)):
        own = OVERRIDES.get(place, {})
        clause = {
            "clause_id": "world",
            "version": 1,
            "territory": ["world"],
            "valid_from": "2000-01",
            "share": str(Fraction(terms.share_bps("2000-01"), 10_000)),
        }
        account = {"clause_id": "account", "version": 1, "valid_from": "2000-01"}
        agreements.append(
            {
                "agreement_id": f"A{artist_id}",
                "licensor": str(artist_id),
                "share_type": "master",
                "model": own.get("model", "pro_rata"),
                "currency": CURRENCY,
                "valid_from": "2000-01",
                "terms": [clause | own.get("terms", {})],
                "accounting": [account | own.get("accounting", {})],
            }
        )
    payees = [{"payee_id": str(key), "name": artists[key], "country": "DE"} for key in sorted(artists)]
    return {"payees": payees, "agreements": agreements, "rights": rights}


def rates(period: str, currencies: Iterable[str]) -> list[ExchangeRate]:
    """Rates of the last days of `period` for those of `currencies` that the demo has; others must be given."""
    return [
        ExchangeRate(f"{period}-28", CURRENCY, currency, Fraction(UNITS[currency]), SOURCE)
        for currency in currencies
        if currency in UNITS
    ]
