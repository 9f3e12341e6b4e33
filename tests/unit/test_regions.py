"""Regions: every country is in one sub-region, and regions are made of regions that exist."""

from __future__ import annotations

from collections import Counter

import pytest

from lakehouse.domain.listening import regions
from lakehouse.domain.royalties.iso import COUNTRIES

CONTINENTS = ("002", "009", "019", "142", "150")


def test_continents_are_made_of_every_country_once() -> None:
    found = Counter(country for code in CONTINENTS for country in regions.countries(code))
    assert set(found.values()) == {1}
    assert COUNTRIES - found.keys() == {"AQ"}
    assert found.keys() <= COUNTRIES
    assert len(set(regions.codes())) == len(regions.codes())


def test_regions_of_regions() -> None:
    assert regions.countries("021") == {"BM", "CA", "GL", "PM", "US"}
    assert regions.countries("154") < regions.countries("150")
    assert "NO" in regions.countries("154")
    with pytest.raises(KeyError):
        regions.countries("001")


def test_what_is_asked_for() -> None:
    assert regions.chosen(None, None) is None
    assert regions.chosen("SE", None) == regions.chosen("SE", "154") == ["SE"]
    assert regions.chosen("SE", "155") == []
    assert regions.chosen(None, "018") == ["BW", "LS", "NA", "SZ", "ZA"]
