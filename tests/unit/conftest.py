"""Fixtures of the unit tests."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from lakehouse.config.settings import Settings


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings of the test profile with an invented secret for the object store: in a fresh clone there is none, and
    its client can't be made without.
    """
    return settings.model_copy(update={"s3": settings.s3.model_copy(update={"secret_key": SecretStr("invented")})})
