"""Maintenance merges files and forgets old snapshots, and never what readers see."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

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


def test_what_was_audited_is_publishable_after_a_merge_and_not_after_a_change(stack: Settings, table: str) -> None:
    catalog = lake.catalog(stack)
    audited = catalog.load_table(table).current_snapshot()
    assert audited is not None
    publish.move_tag(stack, table, publish.AUDITED, audited.snapshot_id)
    maintenance.maintain(stack, table)
    merged = catalog.load_table(table)
    assert merged.current_snapshot() != audited
    assert publish.audited_state(merged) == audited.snapshot_id
    merged.append(pa.table({"n": pa.array([9], pa.int64())}))
    assert publish.audited_state(catalog.load_table(table)) is None


def test_nothing_expires_while_the_stream_job_is_away(stack: Settings, table: str) -> None:
    catalog, now = lake.catalog(stack), datetime.now(UTC)
    assert not maintenance.stream_is_away(catalog.load_table(table), now + timedelta(days=9))
    catalog.load_table(table).append(
        pa.table({"n": pa.array([9], pa.int64())}), snapshot_properties={maintenance.STREAM_MARK: "a"}
    )
    assert not maintenance.stream_is_away(catalog.load_table(table), now + timedelta(hours=1))
    assert maintenance.stream_is_away(catalog.load_table(table), now + timedelta(hours=3))


def test_small_files_are_merged_and_the_published_state_stays(stack: Settings, table: str) -> None:
    done = maintenance.maintain(stack, table, snapshots="0s", orphans="0s")
    assert (done.files_before, done.snapshots_before) == (5, 5)
    assert done.files_after == 1
    # The newest one and the one that the tag keeps.
    assert done.snapshots_after == 2
    assert trino.query(stack, "select sum(n), count(*) from lake.bronze.maintenance_test").rows == [(10, 5)]
    seen = trino.query(stack, "select n from lake.bronze.maintenance_test for version as of 'published'")
    assert sorted(seen.rows) == [(0,), (1,)]
    again = maintenance.maintain(stack, table, orphans="")
    assert (again.files_after, again.snapshots_after) == (1, 2)
