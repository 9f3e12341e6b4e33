"""The compiled schema of contracts never takes what the other validator refuses; refusals are worded by the latter."""

from __future__ import annotations

import copy
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import royalties_book
from benchmarks.royalties_data import Scale
from lakehouse.domain.royalties import contracts
from lakehouse.errors import RejectedInputError

BOOK = royalties_book.book(Scale(streams=1000, tracks=30, payees=110, listeners=10, seed=1))
VALIDATOR = jsonschema.Draft202012Validator(contracts._schema())
ODD: list[Any] = [
    None, True, 0, -1, 1, 1.0, 0.5, 10**30, "", "x", "DE", "world", "2026-13", "2026-10\n", "1/0", "1/3", "1.", "0.7\n",
    [], {}, ["DE"], [{}], {"share": "1"},
]  # fmt: skip


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [place for key, part in inside for place in _places(part, (*path, key))]


PLACES = _places(BOOK)


def _changed(place: tuple[Any, ...], how: str, value: Any) -> Any:
    book = copy.deepcopy(BOOK)
    *way, last = place
    here: Any = book
    for step in way:
        here = here[step]
    if how == "set":
        here[last] = value
    elif how == "drop":
        del here[last]
    elif isinstance(here, dict):
        here["another"] = value
    else:
        here.append(value)
    return book


@given(st.sampled_from(PLACES), st.sampled_from(["set", "drop", "add"]), st.sampled_from(ODD))
def test_both_validators_agree_on_a_book_with_one_odd_thing(place: tuple[Any, ...], how: str, value: Any) -> None:
    book = _changed(place, how, value)
    if contracts._quickly_valid(book):
        assert VALIDATOR.is_valid(book)


def test_the_whole_book_is_taken_quickly_and_sound() -> None:
    assert contracts._quickly_valid(BOOK)
    book = contracts.build(BOOK)
    assert len(book.rights) == len(BOOK["rights"])
    assert {row.model for row in book.agreements.values()} == {"pro_rata", "user_centric", "artist_centric"}


def test_what_is_wrong_is_still_named() -> None:
    with pytest.raises(RejectedInputError) as refused:
        contracts.build(_changed(("rights", 2, "holders", 0, "share"), "set", "1 / 3"))
    assert refused.value.reason == "schema"
    assert "rights/2/holders/0/share" in str(refused.value)
