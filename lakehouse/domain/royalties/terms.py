"""The terms of `terms.yaml`: which share of a month's net revenue is paid out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml


@dataclass(frozen=True)
class Share:
    """`share_bps` ten-thousandths of net revenue are paid out for months from `from_period` (YYYY-MM) on."""

    from_period: str
    share_bps: int
    source: str


@cache
def shares() -> tuple[Share, ...]:
    """All terms, latest first."""
    raw = yaml.safe_load(Path(__file__).with_name("terms.yaml").read_text())["shares"]
    return tuple(sorted((Share(**entry) for entry in raw), key=lambda share: share.from_period, reverse=True))


def share_bps(period: str) -> int:
    """Basis points of net revenue paid out for the month `period` (YYYY-MM).

    Raises:
        KeyError: no terms were in force in that month.
    """
    for share in shares():
        if share.from_period <= period:
            return share.share_bps
    raise KeyError(f"no royalty terms for {period}")


def pool_minor(revenue_minor: int, period: str) -> int:
    """Minor units of `revenue_minor` that are paid out for `period`; the platform keeps the fraction of a unit."""
    return revenue_minor * share_bps(period) // 10_000
