"""The header of sales reports that tests write."""

from __future__ import annotations

from datetime import UTC, date, datetime

from lakehouse.domain.royalties.dsr.writing import Header, Party

HEADER = Header(
    "M-1",
    datetime(2026, 11, 2, 3, tzinfo=UTC),
    date(2026, 10, 1),
    date(2026, 10, 31),
    Party("PADPIDA2014111801Y", "Wavehouse"),
    Party("PADPIDA2013020802I", "Label"),
    "Premium",
)
