"""What several tests of parts on the stack start from."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from lakehouse.adapters import royalties_ledger
from lakehouse.config.settings import Settings


@pytest.fixture
def books(played: Settings) -> Settings:
    """The stack after the main job, with empty books."""
    owner = sa.create_engine(played.postgres.url("royalties"))
    with owner.begin() as connection:
        connection.execute(sa.text("drop schema if exists ledger cascade"))
    owner.dispose()
    royalties_ledger.migrate(played)
    return played
