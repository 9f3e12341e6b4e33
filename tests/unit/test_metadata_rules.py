"""The rules about metadata: published examples of each identifier, and a small run of the labelled corruption."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from benchmarks import damaged_audio
from benchmarks import metadata as labelled
from lakehouse.domain.catalog import identifiers
from lakehouse.domain.catalog.quality.catalogue import ENTRIES, SECTIONS, as_markdown
from lakehouse.domain.catalog.quality.codes import normalise_language, normalise_territory
from lakehouse.domain.catalog.quality.records import Metadata, assess, read_date, read_duration
from lakehouse.domain.catalog.quality.rules import Rule
from tests.audio_files import chord, clicks, write

RECORD = Metadata(title="Song", artist="Ada", delivered_on=date(2026, 1, 1))


@pytest.mark.parametrize(
    ("normalise", "text", "normal"),
    [
        (identifiers.normalise_icpn, "4006381333931", "4006381333931"),
        (identifiers.normalise_icpn, "UPC 0 36000 29145 2", "0036000291452"),
        (identifiers.normalise_icpn, "04006381333931", "4006381333931"),
        (identifiers.normalise_icpn, "00036000291452", "0036000291452"),
        (identifiers.normalise_icpn, "14006381333938", None),  # a case of several
        (identifiers.normalise_iswc, "T-034.524.680-1", "T0345246801"),
        (identifiers.normalise_ipi, "297", None),
        (identifiers.normalise_ipi, "00000000297", "00000000297"),
        (identifiers.normalise_isni, "https://isni.org/isni/000000012281955X", "000000012281955X"),
        (identifiers.normalise_isni, "0000 0001 2150 090x", "000000012150090X"),
        (identifiers.normalise_isni, "0000 0001 2150 0901", None),
        (identifiers.normalise_iswc, "T-034.524.680-2", None),
        (identifiers.normalise_icpn, "036000291453", None),
        (identifiers.normalise_mbid, " {A5E4A8C71B5F4B8E9AE95B8BD0E6D1F0} ", "a5e4a8c7-1b5f-4b8e-9ae9-5b8bd0e6d1f0"),
        (identifiers.normalise_mbid, "a5e4a8c7-1b5f-4b8e-9ae9-5b8bd0e6d1f", None),
        (identifiers.normalise_mbid, "a5e4a8c71b5f4b8e9ae95b8bd0e6d1_0", None),
        (normalise_territory, "uk", "GB"),
        (normalise_territory, "EU", None),
        (normalise_language, "pt_br", "pt-BR"),
        (normalise_language, "jp", None),
        (normalise_language, "english", None),
        (lambda text: read_date(text)[1], "31.12.2020", "2020-12-31"),
        (lambda text: read_date(text)[1], "2020", "2020"),
        (lambda text: read_date(text)[1], "03/04/2021", None),
        (lambda text: read_date(text)[1], "2021-02-29", None),
        (lambda text: str(read_duration(text)), "PT1H2M3.5S", "3723500"),
        (lambda text: str(read_duration(text)), "PT", None),
    ],
)
def test_normal_forms(normalise: Callable[[str], str], text: str, normal: str | None) -> None:
    if normal is None:
        with pytest.raises(ValueError, match=r"."):
            normalise(text)
    else:
        assert normalise(text) == normal


def test_featured_artists_move_and_names_stay() -> None:
    found = assess(replace(RECORD, title="Song (feat. Bo & Cy) [Live]"))
    assert (found.record.title, found.record.featured) == ("Song [Live]", ("Bo", "Cy"))
    for title in ("Feat of Clay", "Leaving Ft. Worth", "The Featuring"):
        assert assess(replace(RECORD, title=title)).findings == ()


def test_judging_a_mended_record_again_finds_nothing() -> None:
    spoilt = replace(
        RECORD, title=" BjÃ¶rk &amp; Co (feat. Bo)", isrc="us-s1z-99-00001", explicit="yes", language="ENG"
    )
    first = assess(spoilt)
    assert {finding.rule for finding in first.findings} == {
        Rule.MARKUP, Rule.MOJIBAKE, Rule.UNTIDY_TEXT, Rule.FEATURED_IN_TITLE, Rule.IDENTIFIER_FORM, Rule.EXPLICIT_FORM,
        Rule.CODE_FORM,
    }  # fmt: skip
    assert not first.quarantined
    assert assess(first.record).findings == ()


def test_labelled_corruption() -> None:
    found = labelled.run(errors=5_000, clean_records=2_000, recordings=200, seed=7)
    assert found["met"], [kind for kind in found["kinds"] if kind["right"] < kind["injected"]]
    assert found["clean_but_changed"] == {}
    for counts in found["duplicates"]["by_rule"].values():
        assert counts["found"] == counts["expected"] > 0
        assert counts["false"] == 0
    unseen = {kind["code"] for kind in found["kinds"]} ^ {rule.code for rule in Rule}
    assert unseen == {"duplicate_audio", "duplicate_recording", "invalid_mbid", "isrc_reused", "recording_two_isrcs"}


def test_real_audio_is_spoilt_and_found_out(tmp_path: Path) -> None:
    for number in range(2):
        samples = chord(300 + 37 * number, 61) + clicks(100 + 20 * number, 61)
        write(tmp_path / f"{number}.flac", samples, title="T", artist="A")
    found = damaged_audio.run(tmp_path, errors=39, clean=8, seed=3)
    assert found["met"], [kind for kind in found["kinds"] if kind["right"] < kind["injected"]]
    unseen = [kind for kind in found["kinds"] if kind["out_of_reach"]]
    assert {kind["right"] for kind in unseen} == {0}, "without a hash, nothing could know"


def test_every_code_is_there_once_with_what_to_do() -> None:
    assert len(ENTRIES) == sum(len(entries) for _, entries in SECTIONS)
    for code, entry in ENTRIES.items():
        assert re.fullmatch(r"[a-z_]+", code)
        assert entry.severity in ("corrected", "quarantined", "noted")
        assert entry.meaning.endswith(".")
        assert entry.example
        assert entry.fix.endswith(".")


#: Modules that judge what is delivered.
JUDGES = (
    "domain/audio/[rv]*.py", "domain/catalog/*.py", "domain/catalog/deliveries/*.py", "domain/catalog/quality/*.py",
    "adapters/catalog_db.py", "adapters/deliveries.py", "adapters/delivery_*.py", "adapters/ingestion.py",
    "adapters/intake.py", "adapters/objects.py", "adapters/podcast_deliveries.py", "failures.py",
)  # fmt: skip
#: What is wrong with a command, which says nothing about what was delivered.
COMMANDS = {
    "invalid_correction", "no_files", "no_messages", "no_such_folder", "no_such_track", "not_available",
    "not_in_quarantine", "track_hidden",
}  # fmt: skip


def test_every_code_that_can_be_given_is_in_the_catalogue() -> None:
    """Most come from its registries, where they can't lack; the others are written out as a reason or a code."""
    root = Path(__file__).parents[2] / "lakehouse"
    given: set[object] = set()
    for module in {path for pattern in JUDGES for path in root.glob(pattern)}:
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "reason":
                values = [*ast.walk(node.value)] if isinstance(node.value, ast.IfExp) else [node.value]
            elif isinstance(node, ast.Dict):
                named = zip(node.keys, node.values, strict=True)
                values = [value for key, value in named if getattr(key, "value", "") in ("reason", "code")]
            else:
                continue
            given |= {value.value for value in values if isinstance(value, ast.Constant)}
    assert given - {None} <= ENTRIES.keys() | COMMANDS
    assert given > COMMANDS


def test_the_page_of_rules_is_the_generated_one() -> None:
    page = Path(__file__).parents[2] / "docs" / "architecture" / "metadata-rules.md"
    assert page.read_text() == as_markdown(), (
        "run `wavehouse ingest rules --markdown > docs/architecture/metadata-rules.md`"
    )
