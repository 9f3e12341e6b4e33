"""The rule of `noise.yaml`: which tracks are functional noise and weigh nothing in the artist-centric model."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml


@cache
def genres() -> tuple[str, ...]:
    """Genres that are noise, in lower case."""
    return tuple(yaml.safe_load(Path(__file__).with_name("noise.yaml").read_text())["genres"])


def is_noise_sql(genre: str) -> str:
    """SQL predicate over the column `genre`; a track without a genre is music."""
    names = ", ".join(f"'{name}'" for name in genres())
    return f"COALESCE(LOWER(TRIM({genre})) IN ({names}), FALSE)"
