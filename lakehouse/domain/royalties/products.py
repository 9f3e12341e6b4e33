"""The products of `products.yaml`: each subscription plan, and what advertising pays for."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml


@cache
def commercial_models() -> dict[str, str]:
    """DDEX's CommercialModelType of each product, by its tier."""
    raw = yaml.safe_load(Path(__file__).with_name("products.yaml").read_text())["products"]
    return {entry["tier"]: entry["commercial_model"] for entry in raw}


def tiers() -> tuple[str, ...]:
    """The tiers that may be played and paid for."""
    return tuple(commercial_models())
