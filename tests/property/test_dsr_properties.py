"""What holds for every sales report: what is written reads back, passes the check, and is the same bytes again."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.domain.royalties.dsr import names
from lakehouse.domain.royalties.dsr.cells import is_dpid, join, split
from lakehouse.domain.royalties.dsr.reading import Reading
from lakehouse.domain.royalties.dsr.records import VERSIONS, profile
from lakehouse.domain.royalties.dsr.writing import (
    RECORDS,
    Context,
    Recording,
    Sale,
    duration,
    file_name,
    render,
)
from lakehouse.errors import RejectedInputError
from tests.dsr_header import HEADER

#: Text as a cell may hold it, with all delimiters in it.
texts = st.text(st.characters(exclude_categories=["Cs"], min_codepoint=32) | st.sampled_from("\\|\t:#"), min_size=1)
CODES = ["DE", "JP", "US", "KW"]


@st.composite
def reports(draw: st.DrawFn) -> tuple[list[Context], list[Recording]]:
    """Contexts and recordings that agree with each other."""
    territories = draw(st.lists(st.sampled_from(CODES), min_size=1, unique=True))
    streams = dict.fromkeys(territories, 0)
    recordings = []
    for number in range(draw(st.integers(0, 5))):
        sales = []
        for territory in draw(st.lists(st.sampled_from(territories), min_size=1, unique=True)):
            count = draw(st.integers(-5, 10**9))
            streams[territory] += count
            sales.append(Sale(territory, f"{number}-{territory}", count))
        recordings.append(
            Recording(
                resource_id=draw(texts),
                title=draw(texts),
                artist=draw(texts),
                sales=sales,
                isrc=draw(st.sampled_from(["", "GBUM71029604"])),
                duration_ms=draw(st.none() | st.integers(0, 10**8)),
                writers=draw(st.lists(texts, max_size=3)),
            )
        )
    money = st.decimals(0, 10**9, places=3)
    contexts = [
        Context(code, "SubscriptionModel", code, "Premium", "KWD", total, draw(money))
        for code, total in streams.items()
    ]
    return contexts, recordings


@given(st.lists(st.lists(texts, min_size=2) | st.just([]) | st.lists(texts, min_size=1, max_size=1), min_size=1))
def test_cells_read_back(cells: list[list[str]]) -> None:
    assert split(join(cells)) == cells


@given(reports(), st.sampled_from(VERSIONS))
def test_a_written_report_passes_the_check_and_reads_back(
    report: tuple[list[Context], list[Recording]], version: str
) -> None:
    contexts, recordings = report
    header = replace(HEADER, version=version)
    text = "".join(render(header, contexts, recordings))
    assert "".join(render(header, contexts, iter(recordings))) == text
    reading = Reading()
    name = str(file_name(HEADER, "Worldwide"))
    assert list(reading.read(name, text.encode().splitlines(keepends=True))) == []
    assert list(reading.finish()) == []
    assert reading.uses == sum(sale.streams for recording in recordings for sale in recording.sales)
    assert (reading.summaries, reading.blocks) == (len(contexts), len(recordings))
    kind = RECORDS[version][1]
    cells = [cell.name for cell in profile(version).records[kind]]
    read = [dict(zip(cells, line[1:], strict=True)) for line in map(split, text[:-1].split("\n")) if line[0] == [kind]]
    names_of = {
        "1.2": ("DspResourceId", "Title", "DisplayArtistName", "ComposerAuthor"),
        "1.4": ("DspResourceId", "ResourceTitle", "ResourceDisplayArtistName", "MusicalWorkComposerAuthorName"),
    }[version]
    assert [tuple(row[name] for name in names_of) for row in read] == [
        ([r.resource_id], [r.title], [r.artist], list(r.writers)) for r in recordings
    ]


@given(reports(), st.data())
def test_a_lost_line_is_always_noticed(report: tuple[list[Context], list[Recording]], data: st.DataObject) -> None:
    lines = list(render(HEADER, *report))
    del lines[data.draw(st.integers(0, len(lines) - 1))]
    reading = Reading()
    found = list(reading.read("x", [line.encode() for line in lines], check_name=False))
    assert [*found, *reading.finish()]


@given(st.integers(0, 10**10))
def test_durations_say_the_milliseconds(milliseconds: int) -> None:
    text = duration(milliseconds).removeprefix("PT").removesuffix("S")
    hours, _, rest = text.rpartition("H")
    minutes, _, seconds = rest.rpartition("M")
    total = int(hours or 0) * 3600 + int(minutes or 0) * 60 + Decimal(seconds)
    assert total * 1000 == milliseconds


@given(st.sampled_from(["PADPIDA2014111801Y", "PADPIDA2008120501W", "PADPIDA2007061301U"]), st.data())
def test_one_wrong_character_of_a_party_id_is_noticed(dpid: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(7, 17))
    other = data.draw(st.sampled_from("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    assert is_dpid(dpid[:place] + other + dpid[place + 1 :]) == (other == dpid[place])


def test_a_name_says_the_month_or_the_days() -> None:
    expected = "DSR_PADPIDA2013020802I_PADPIDA2014111801Y_Premium_2026-10_DE_1of1_20261102T030000.tsv"
    assert str(file_name(HEADER, "DE")) == expected
    assert names.parse(expected) == file_name(HEADER, "DE")
    assert file_name(replace(HEADER, last_on=date(2026, 10, 30)), "DE").period == "2026-10-01--2026-10-30"
    with pytest.raises(RejectedInputError):
        str(file_name(replace(HEADER, service="Family Plan"), "DE"))


CONTEXT = Context("S", "SubscriptionModel", "DE", "Premium", "EUR", 1, Decimal(1))
RECORDING = Recording("1", "Title", "Artist", [Sale("S", "T", 1)])


@pytest.mark.parametrize(
    ("contexts", "recording", "reason"),
    [
        ([], RECORDING, "dsr_no_context"),
        ([CONTEXT], replace(RECORDING, sales=[Sale("X", "T", 1)]), "dsr_no_context"),
        ([CONTEXT], replace(RECORDING, sales=[]), "dsr_no_context"),
        ([replace(CONTEXT, usages=2)], RECORDING, "dsr_summary_differs"),
        ([replace(CONTEXT, currency="EURO")], RECORDING, "dsr_cell"),
        ([CONTEXT], replace(RECORDING, title=""), "dsr_cell"),
        ([CONTEXT], replace(RECORDING, title="a\nb"), "dsr_cell"),
        ([CONTEXT], replace(RECORDING, isrc="X"), "dsr_cell"),
    ],
)
def test_what_would_break_the_standard_is_not_written(
    contexts: list[Context], recording: Recording, reason: str
) -> None:
    with pytest.raises(RejectedInputError) as refusal:
        list(render(HEADER, contexts, [recording]))
    assert refusal.value.reason == reason
