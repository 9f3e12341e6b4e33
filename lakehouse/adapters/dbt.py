"""dbt: its own environment with the sign-in to Trino, and the window that a run takes in."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from lakehouse.adapters import lake, publish, trino
from lakehouse.config.settings import CHECKOUT, Settings
from lakehouse.contracts import SILVER_TOPICS
from lakehouse.errors import FatalError

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

PROJECT = CHECKOUT / "dbt"
EXECUTABLE = CHECKOUT / ".wavehouse" / "venvs" / "dbt" / "bin" / "dbt"
#: Bronze tables that silver is made from.
INPUTS = (*SILVER_TOPICS, "catalog_content", "revenue")


def environment(settings: Settings, inherited: Mapping[str, str]) -> dict[str, str]:
    """`inherited` with what the project's profiles.yml asks for. A caller's own target and log paths are kept."""
    ca = trino.ca_file(settings)
    work = settings.run / "dbt"
    return {
        "DBT_PROJECT_DIR": str(PROJECT),
        "DBT_TARGET_PATH": str(work / "target"),
        "DBT_LOG_PATH": str(work / "logs"),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        **inherited,
        "DBT_PROFILES_DIR": str(PROJECT),
        "WAVEHOUSE_DBT_HOST": settings.trino.host,
        "WAVEHOUSE_DBT_PORT": str(settings.trino.port),
        "WAVEHOUSE_DBT_CA": ca,
        # dbt's client would take the environment's authority before the profile's.
        "REQUESTS_CA_BUNDLE": ca,
        "DBT_ENV_SECRET_TRINO_PASSWORD": settings.trino.engine_password.get_secret_value(),
    }


def execute(settings: Settings, arguments: Sequence[str]) -> None:
    """Become `dbt ARGUMENTS`; does not return.

    Raises:
        FatalError: dbt's environment is not built.
    """
    if not EXECUTABLE.is_file():
        raise FatalError("dbt's environment is not built.", hint="Run `make setup`.")
    os.execve(EXECUTABLE, [str(EXECUTABLE), *arguments], environment(settings, os.environ))  # noqa: S606


def run_vars(settings: Settings, first: date, last: date) -> dict[str, Any]:
    """The project's variables for a run over what was received on the UTC dates `first` to `last`.

    The window grows back to the first events in bronze that the published silver has not taken in, so that a day whose
    run failed or never happened is not left out. The bronze snapshots are those of this moment: all models of the run
    read the same rows while the stream job goes on writing.

    Raises:
        FatalError: the window ends before it starts.
    """
    if last < first:
        raise FatalError(f"The window ends on {last}, before it starts on {first}.", hint="Give --from before --to.")
    tables = lake.catalog(settings)
    due = [day for topic in SILVER_TOPICS if (day := _first_day_due(settings, tables, topic)) is not None]
    snapshots = {
        name: snapshot.snapshot_id
        for name in INPUTS
        if (snapshot := tables.load_table(f"bronze.{name}").current_snapshot()) is not None
    }
    return {
        "from": min([first, *due]).isoformat(),
        "to": last.isoformat(),
        "bronze_snapshots": snapshots,
        "tracks_before": tracks_before(tables.load_table("silver_audit.tracks")),
    }


def tracks_before(tracks: Table) -> list[int]:
    """Snapshots of `silver_audit.tracks` that listens in the marts may have been matched with: the published one, and
    those of later runs, which filled the marts even when their audit failed. Empty when that is not known, which has
    all listens matched anew: nothing is published, a snapshot in between has expired, or one is from before a column
    that listens are matched by.
    """
    from pyiceberg.table.snapshots import Operation, ancestors_of

    published = publish.snapshot_under(tracks, publish.PUBLISHED)
    found = []
    for snapshot in ancestors_of(tracks.current_snapshot(), tracks.metadata):
        # A run deletes all and puts in all: its catalogue is what it appended. A snapshot has the columns of its time.
        if snapshot.snapshot_id == published or (
            snapshot.summary is not None and snapshot.summary.operation == Operation.APPEND
        ):
            found.append(snapshot.snapshot_id)
            schema = tracks.schemas()[snapshot.schema_id or 0]
            if not {"track_id", "isrc", "recording_mbid", "recording_key"} <= set(schema.column_names):
                return []
        if snapshot.snapshot_id == published:
            return found
    return []


def _first_day_due(settings: Settings, tables: Catalog, topic: str) -> date | None:
    """The first UTC date of receipt with events that the published silver table has not taken in; None without any.

    Not the table as it is built: a run that failed at its audit has filled it, and gold has seen nothing of that.

    Bronze decides and not the calendar: a topic that is quiet for months makes nobody look at those months again. Where
    the last records of a topic are refused ones or repetitions, which silver never shows, it counts as due from their
    day until something newer of it is published: a longer window, and the same result.
    """
    sql = f"select min(received_at) from lake.bronze.{topic}"  # noqa: S608 - names of ours
    silver = f"silver_audit.{topic}"
    published = publish.snapshot_under(tables.load_table(silver), publish.PUBLISHED)
    if published is not None:
        taken_in = f"select max(received_at) from lake.{silver} for version as of {published}"  # noqa: S608
        newest = trino.query(settings, taken_in).rows[0][0]
        if newest is not None:
            # A literal, so that Trino skips the partitions before it.
            sql += f" where received_at > timestamp '{newest.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f} UTC'"
    oldest = trino.query(settings, sql).rows[0][0]
    return _utc_date(oldest) if oldest is not None else None


def _utc_date(moment: datetime) -> date:
    return moment.astimezone(UTC).date()
