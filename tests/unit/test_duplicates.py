"""What is between two recordings, by content, fingerprint and ISRC."""

from __future__ import annotations

import numpy as np
import pytest

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
