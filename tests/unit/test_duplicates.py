"""What is between two recordings, by content, fingerprint and ISRC."""

from __future__ import annotations

import numpy as np
import pytest
import sqlalchemy as sa

from lakehouse.adapters import catalog_db
from lakehouse.domain.audio.validation import AudioFacts
from lakehouse.domain.catalog.quality.duplicates import Recording, between, compare

SOUND = np.random.default_rng(1).integers(0, 2**32, 400, np.uint32)
OTHER = np.random.default_rng(2).integers(0, 2**32, 400, np.uint32)
NONE = np.empty(0, np.uint32)
ONE, TWO = "SEABC2600001", "SEABC2600002"


@pytest.mark.parametrize(
    ("second", "codes"),
    [
        (Recording("b", "x", NONE, ONE), ["duplicate_audio"]),
        (Recording("b", "x", NONE, TWO), ["duplicate_audio", "recording_two_isrcs"]),
        (Recording("b", "y", SOUND, ONE), ["duplicate_recording"]),
        (Recording("b", "y", SOUND, TWO), ["duplicate_recording", "recording_two_isrcs"]),
        (Recording("b", "y", SOUND), ["duplicate_recording"]),
        (Recording("b", "y", OTHER, ONE), ["isrc_reused"]),
        (Recording("b", "y", OTHER, TWO), []),
        (Recording("b", "y", OTHER), []),
    ],
)
def test_what_is_between_two_recordings(second: Recording, codes: list[str]) -> None:
    first = Recording("a", "x", SOUND, ONE)
    assert [rule.code for rule in between(first, second)] == codes
    assert [rule.code for rule in between(second, first)] == codes
    assert [(pair.rule.code, pair.first, pair.second) for pair in compare([second, first])] == [
        (code, "a", "b") for code in codes
    ]


SHORT = SOUND[:30]


@pytest.mark.parametrize(
    ("second", "codes"),
    [
        (Recording("b", "y", SHORT, ONE, 3_990), []),
        (Recording("b", "y", SHORT, TWO, 3_990), []),  # alike by chance
        (Recording("b", "y", OTHER[:30], ONE, 3_990), ["isrc_reused"]),
        (Recording("b", "y", NONE, ONE, 2_000), ["isrc_reused"]),
        (Recording("b", "x", SHORT, TWO, 4_000), ["duplicate_audio", "recording_two_isrcs"]),
    ],
)
def test_recordings_of_less_than_five_seconds(second: Recording, codes: list[str]) -> None:
    """They are no duplicates by sound, but one ISRC for two of them is seen."""
    first = Recording("a", "x", SHORT, ONE, 4_000)
    assert [rule.code for rule in between(first, second)] == codes
    assert [rule.code for rule in between(second, first)] == codes


@pytest.mark.parametrize(("duration_ms", "codes"), [(2_100, []), (1_500, ["isrc_reused"]), (None, ["isrc_reused"])])
def test_recordings_without_any_fingerprint(duration_ms: int | None, codes: list[str]) -> None:
    first, second = Recording("a", "x", NONE, ONE, 2_000), Recording("b", "y", NONE, ONE, duration_ms)
    assert [rule.code for rule in between(first, second)] == codes


def test_no_number_of_equal_recordings_hides_one_more() -> None:
    known = [Recording(f"k{n}", f"k{n}", SOUND) for n in range(60)]
    new = Recording("new", "new", SOUND)
    assert all([rule.code for rule in between(new, one)] == ["duplicate_recording"] for one in known)


def test_what_is_not_new_is_not_compared_again() -> None:
    """Neither its audio nor its ISRC, and its fingerprint is kept or there is none."""
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    with engine.begin() as connection:
        for statement in (
            "attach ':memory:' as catalog",
            "create table catalog.content (sha256 text, isrc text)",
            "create table catalog.audio_fingerprint (sha256 text)",
            "insert into catalog.content values ('same', 'A'), ('recoded', 'B'), ('unheard', 'C'), ('short', null)",
            "insert into catalog.audio_fingerprint values ('same'), ('recoded')",
        ):
            connection.execute(sa.text(statement))
        names = ["same", "recoded", "unheard", "short", "new"]
        before = catalog_db._compared(connection, names)
        assert before == {"same": ("A", True), "recoded": ("B", True), "unheard": ("C", False), "short": (None, False)}
        connection.execute(sa.text("update catalog.content set isrc = 'D' where sha256 = 'recoded'"))
        connection.execute(sa.text("insert into catalog.content values ('new', null)"))
        after = catalog_db._compared(connection, names)
    heard = [AudioFacts("", 1, name, fingerprint=() if name == "short" else (1, 2)) for name in names]
    news = [facts.sha256 for facts in heard if catalog_db._is_news(facts, before, after)]
    assert news == ["recoded", "unheard", "new"]
    # Audio that was not sent again has no fingerprint with it.
    assert not catalog_db._is_news(AudioFacts("", 1, "unheard"), before, after)
