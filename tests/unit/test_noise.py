"""Genres that are noise to the artist-centric model are data, and the dbt model asks for exactly those."""

from __future__ import annotations

from lakehouse.contracts import dbt_files
from lakehouse.domain.royalties import noise


def test_genres_are_written_as_they_are_compared() -> None:
    names = noise.genres()
    assert names == tuple(sorted({name.strip().lower() for name in names}))
    assert not any("'" in name for name in names)


def test_dbt_asks_for_the_genres_of_the_file() -> None:
    sql = dbt_files.macros().split("macro is_noise(genre)")[1].split("endmacro")[0]
    assert all(f"'{name}'" in sql for name in noise.genres())
    assert "'jazz'" not in sql
