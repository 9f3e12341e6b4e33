"""Maintenance of Iceberg tables through Trino: small files are merged, old snapshots and orphans removed.

Safe beside running writers: compaction is an Iceberg commit that is tried again when another one came first, tags
(`published`, `audited`) keep their snapshots alive, and files younger than a running commit could be are no orphans.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from lakehouse.adapters import lake, trino
from lakehouse.config.settings import Settings
from lakehouse.errors import FatalError, RetryableError

if TYPE_CHECKING:
    from pyiceberg.table import Table

#: Smaller files are merged; the few that one day's run adds stay until there is something to merge them with.
FILE_SIZE = "32MB"
#: Time travel reaches back this far. Bronze gets a snapshot every ten seconds, and each commit writes the list of all
#: of them again: what costs a kilobyte after a minute costs megabytes after days.
SNAPSHOT_RETENTION = {"bronze": "6h", "silver_audit": "3d", "gold_audit": "3d"}
NAMESPACES = tuple(SNAPSHOT_RETENTION)
#: What Iceberg's Flink sink notes in the snapshots it commits. Started again, the sink looks for its last one, so
#: nothing expires while the sink has been away for longer than this; at work it commits every few minutes. Shorter
#: than bronze's snapshots last.
STREAM_MARK, STREAM_AWAY = "flink.job-id", timedelta(hours=2)
#: A file that no snapshot names may belong to a commit under way; none takes days.
ORPHAN_RETENTION = "7d"
ATTEMPTS = 5


@dataclass(frozen=True)
class Maintained:
    """A table before and after: data files and snapshots."""

    table: str
    files_before: int
    files_after: int
    snapshots_before: int
    snapshots_after: int


def tables(settings: Settings, namespace: str = "") -> list[str]:
    """Ids of all tables in a namespace, or in all of them.

    Raises:
        FatalError: the namespace holds no tables that are kept up here.
    """
    if namespace and namespace not in NAMESPACES:
        raise FatalError(f"There is no namespace '{namespace}'.", hint=f"Known: {', '.join(NAMESPACES)}.")
    catalog = lake.catalog(settings)
    return sorted(
        ".".join(id_) for name in ([namespace] if namespace else NAMESPACES) for id_ in catalog.list_tables(name)
    )


def maintain(settings: Settings, name: str, *, snapshots: str = "", orphans: str = ORPHAN_RETENTION) -> Maintained:
    """Compact a table, expire snapshots older than `snapshots` and remove orphans older than `orphans`.

    Both are Trino durations such as `3d`. Without `snapshots`, the namespace decides (`SNAPSHOT_RETENTION`); with an
    empty `orphans` none are looked for, which would list every file of the table. Doing it again changes nothing.

    Raises:
        RetryableError: other writers kept winning, or Trino does not answer.
    """
    catalog = lake.catalog(settings)
    table = catalog.load_table(name)
    before = _counts(table)
    commands = [f"optimize(file_size_threshold => '{FILE_SIZE}')"]
    if not stream_is_away(table, datetime.now(UTC)):
        kept = snapshots or SNAPSHOT_RETENTION[name.partition(".")[0]]
        commands.append(f"expire_snapshots(retention_threshold => '{kept}')")
    if orphans:
        commands.append(f"remove_orphan_files(retention_threshold => '{orphans}')")
    for command in commands:
        _execute(settings, f"alter table lake.{name} execute {command}")
    after = _counts(catalog.load_table(name))
    return Maintained(name, before[0], after[0], before[1], after[1])


def stream_is_away(table: Table, now: datetime) -> bool:
    """Whether a Flink job writes this table, but has not committed for `STREAM_AWAY`."""
    commits = [s.timestamp_ms for s in table.metadata.snapshots if s.summary and s.summary.get(STREAM_MARK)]
    return bool(commits) and now.timestamp() * 1000 - max(commits) > STREAM_AWAY / timedelta(milliseconds=1)


def _counts(table: Table) -> tuple[int, int]:
    """Data files and snapshots."""
    snapshot = table.current_snapshot()
    files = int(snapshot.summary["total-data-files"]) if snapshot and snapshot.summary else 0
    return files, len(table.metadata.snapshots)


def _execute(settings: Settings, statement: str) -> None:
    """Run a statement, again when another writer's commit came first (which Trino reports as a failed commit)."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            trino.query(settings, statement)
        except RetryableError as error:
            if "commit" not in error.message.lower() or attempt == ATTEMPTS:
                raise
        else:
            return
