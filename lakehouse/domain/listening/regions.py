"""Regions of `regions.yaml`: groups of countries, for events know their country and nothing smaller or larger."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import yaml


@cache
def _regions() -> dict[str, dict[str, Any]]:
    loaded = yaml.safe_load(Path(__file__).with_name("regions.yaml").read_text())
    return {region["code"]: region for region in loaded["regions"]}


def codes() -> tuple[str, ...]:
    """M49 codes of the regions, three digits each."""
    return tuple(_regions())


def countries(code: str) -> frozenset[str]:
    """Countries (ISO 3166-1 alpha-2) of the region with the M49 `code`.

    Raises:
        KeyError: there is no such region.
    """
    region = _regions()[code]
    return frozenset(region.get("countries", ())).union(*map(countries, region.get("regions", ())))


def chosen(country: str | None, region: str | None) -> list[str] | None:
    """Countries that are in `region` and are `country`, in order; None, where neither is given, means all.

    Raises:
        KeyError: there is no such region.
    """
    both: list[Iterable[str]] = [[country]] if country is not None else []
    both += [countries(region)] if region is not None else []
    return sorted(frozenset(both[0]).intersection(*both)) if both else None
