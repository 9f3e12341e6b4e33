"""The demo's contracts and exchange rates. The contracts are data, royalties_demo.yaml: every artist of the catalogue
has an agreement, and the first few have something of their own, so that each kind of clause is at work. Real ones come
as files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from fractions import Fraction
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import yaml

from lakehouse.domain.royalties.pools import ExchangeRate

#: Model rates, near those of recent years: units of a currency for one euro.
UNITS = {
    "BRL": "6.2",
    "EUR": "1",
    "GBP": "0.86",
    "INR": "96",
    "JPY": "164",
    "KWD": "0.34",
    "SEK": "11.2",
    "USD": "1.12",
}
SOURCE = "Model rate of the demo"


@cache
def _template() -> Any:
    return yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())


def standard_book(tracks: Iterable[tuple[Any, ...]]) -> dict[str, Any]:
    """A book (contract.schema.json) for tracks given as track id, artist id and artist name."""
    names: dict[int, str] = {}
    tracks_of: dict[int, list[str]] = {}
    for track_id, artist_id, name in sorted(tracks):
        names[artist_id] = name
        tracks_of.setdefault(artist_id, []).append(str(track_id))
    template = _template()
    payees, agreements, rights = list(template["payees"]), list(template["agreements"]), []
    for place, artist_id in enumerate(sorted(names)):
        all_have = _of(template["artist"], artist_id)
        own = _of(template["places"][place], artist_id) if place < len(template["places"]) else {}
        artist = {"payee_id": str(artist_id), "name": names[artist_id], "country": "DE"}
        payees += [artist | {"passes_on": own.get("passes_on", [])}, *own.get("payees", [])]
        agreements.append(all_have["agreement"] | own.get("agreement", {}))
        single = own.get("tracks", [])
        for number, track_id in enumerate(tracks_of[artist_id]):
            holders = all_have["holders"] | own.get("holders", {}) | (single[number] if number < len(single) else {})
            rights += [
                {"track_id": track_id, "share_type": share_type, "valid_from": "2000-01", "holders": shares}
                for share_type, shares in holders.items()
            ]
    return {"payees": payees, "agreements": agreements, "rights": rights}


def _of(part: Any, artist_id: int) -> Any:
    """A part of the template for one artist."""
    return json.loads(json.dumps(part).replace("$artist", str(artist_id)))


def rates(periods: Iterable[str], currencies: Iterable[str]) -> list[ExchangeRate]:
    """Rates of the last days of `periods` between those of `currencies` that the demo has and those of its contracts;
    others must be given.
    """
    contracted = {_template()["artist"]["agreement"]["currency"]}
    contracted |= {place["agreement"].get("currency", "EUR") for place in _template()["places"]}
    quoted = contracted | {currency for currency in currencies if currency in UNITS}
    return [
        ExchangeRate(f"{period}-28", base, quote, Fraction(UNITS[quote]) / Fraction(UNITS[base]), SOURCE)
        for period in sorted(set(periods))
        for base, quote in combinations(sorted(quoted), 2)
    ]
