"""What databases refuse is told without the values that were sent: they may be keys, names or amounts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lakehouse.adapters.catalog_db import CatalogDb
from lakehouse.adapters.catalog_reader import CatalogReader
from lakehouse.adapters.royalties_ledger import Ledger
from lakehouse.adapters.scrobble_tokens import Tokens
from lakehouse.config.settings import Settings


@pytest.mark.parametrize("adapter", [CatalogDb, CatalogReader, Ledger, Tokens])
def test_errors_do_not_carry_parameters(settings: Settings, adapter: Callable[[Settings], object]) -> None:
    assert vars(adapter(settings))["_engine"].hide_parameters
