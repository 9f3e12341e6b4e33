"""Maintenance merges files and forgets old snapshots, and never what readers see."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest

from lakehouse.adapters import lake, maintenance, publish, trino
from lakehouse.config.settings import Settings

pytestmark = pytest.mark.stack

NAME = "bronze.maintenance_test"


@pytest.fixture
def table(stack: Settings) -> Iterator[str]:
    """A table of five small files and snapshots; the second snapshot is published."""
    catalog = lake.catalog(stack)
    rows = pa.table({"n": pa.array([0], pa.int64())})
    made = catalog.create_table(NAME, rows.schema)
    for number in range(5):
        made.append(pa.table({"n": pa.array([number], pa.int64())}))
    publish.move_tag(stack, NAME, publish.PUBLISHED, made.history()[1].snapshot_id)
    yield NAME
    catalog.purge_table(NAME)


def test_small_files_are_merged_and_the_published_state_stays(stack: Settings, table: str) -> None:
    done = maintenance.maintain(stack, table, snapshots="0s", orphans="0s")
    assert (done.files_before, done.snapshots_before) == (5, 5)
    assert done.files_after == 1
    # The newest one and the one that the tag keeps.
    assert done.snapshots_after == 2
    assert trino.query(stack, f"select sum(n), count(*) from lake.{table}").rows == [(10, 5)]
    seen = trino.query(stack, f"select n from lake.{table} for version as of 'published' order by n")
    assert seen.rows == [(0,), (1,)]
    again = maintenance.maintain(stack, table)
    assert (again.files_after, again.snapshots_after) == (1, 2)
