"""Publishing: what readers see of a table is the snapshot that its Iceberg tag `published` points at.

`silver.x` and `gold.x` are Trino views on `silver_audit.x` and `gold_audit.x` at that tag. The audit puts the tag
`audited` on the snapshot that passed; publishing moves `published` there. Moving a tag is one atomic commit, and it
happens only after every table asked for has passed: what fails leaves all of yesterday's data in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lakehouse.adapters import lake, trino
from lakehouse.config.settings import Settings
from lakehouse.contracts import Contract, all_ids, load
from lakehouse.errors import FatalError

if TYPE_CHECKING:
    from pyiceberg.table import Table

AUDITED, PUBLISHED = "audited", "published"
#: Where tables are built, and where they are seen.
LAYERS = {"silver": "silver_audit", "gold": "gold_audit"}


@dataclass(frozen=True)
class Publication:
    """A published table: the view, the snapshot readers see now and the one they saw before (None: they saw none)."""

    table: str
    view: str
    snapshot_id: int
    previous_snapshot_id: int | None


def tables_of(layer: str) -> list[str]:
    """Ids of the built tables of `silver` or `gold` that dbt makes.

    Raises:
        FatalError: there is no such layer.
    """
    if layer not in LAYERS:
        raise FatalError(f"There is no layer '{layer}'.", hint=f"Layers: {', '.join(LAYERS)}.")
    contracts = [load(id_) for id_ in all_ids() if id_.startswith(LAYERS[layer] + ".")]
    return [c.id for c in contracts if c.properties.get("madeBy", "dbt") == "dbt"]


def chosen(tables: Sequence[str], layer: str) -> list[str]:
    """The tables a command is for: those named, and all that dbt makes of the layers (comma-separated).

    Raises:
        FatalError: none are named, or one is not built in an audited namespace.
    """
    names = [*tables, *(name for part in layer.split(",") if part for name in tables_of(part))]
    if not names:
        raise FatalError("No table is named.", hint="Name tables like silver_audit.plays, or give --layer.")
    for name in names:
        if name.split(".")[0] not in LAYERS.values() or name not in all_ids():
            raise FatalError(f"'{name}' is not a table that is audited.", hint="Tables: silver_audit.*, gold_audit.*.")
    return names


def snapshot_under(table: Table, tag: str) -> int | None:
    """Snapshot id that `tag` (or branch) points at, if it is there."""
    ref = table.metadata.refs.get(tag)
    return ref.snapshot_id if ref else None


def audited_state(table: Table) -> int | None:
    """The audited snapshot id, if its rows are those of the table now; compaction since then changes no row."""
    from pyiceberg.table.snapshots import Operation, ancestors_of

    audited = snapshot_under(table, AUDITED)
    for snapshot in ancestors_of(table.current_snapshot(), table.metadata):
        if snapshot.snapshot_id == audited:
            return audited
        if snapshot.summary is None or snapshot.summary.operation != Operation.REPLACE:
            return None
    return None


def move_tag(settings: Settings, name: str, tag: str, snapshot_id: int) -> None:
    """Point `tag` of the table `name` at a snapshot; nothing is written when it points there already."""

    def attempt() -> None:
        table = lake.catalog(settings).load_table(name)
        if snapshot_under(table, tag) != snapshot_id:
            table.manage_snapshots().create_tag(snapshot_id, tag).commit()

    lake.retry_commit(attempt)


def publish(settings: Settings, names: Sequence[str]) -> list[Publication]:
    """Show the audited state of all of `names`, or of none.

    A kill half-way leaves some tables at the new snapshot and the rest at the old one; running it again completes it.

    Raises:
        FatalError: the current state of a table has not passed its audit.
    """
    catalog = lake.catalog(settings)
    moves = []
    for name in names:
        table = catalog.load_table(name)
        audited = audited_state(table)
        if audited is None:
            raise FatalError(
                f"The current state of {name} has not passed its audit; nothing was published.",
                hint=f"Run `wavehouse audit {name}` and mend what it reports.",
            )
        moves.append((load(name), audited, snapshot_under(table, PUBLISHED)))
    done = []
    for contract, snapshot_id, previous in moves:
        move_tag(settings, contract.id, PUBLISHED, snapshot_id)
        done.append(Publication(contract.id, view_of(contract), snapshot_id, previous))
    _create_views(settings, [contract for contract, _, _ in moves])
    return done


def view_of(contract: Contract) -> str:
    """Id of the view that readers use for a built table."""
    layer = next(layer for layer, namespace in LAYERS.items() if namespace == contract.namespace)
    return f"{layer}.{contract.name}"


def _create_views(settings: Settings, contracts: Sequence[Contract]) -> None:
    """Create the views that are missing or have other columns than their contract."""
    present: dict[str, list[str]] = {}
    for layer, namespace in LAYERS.items():
        names = [contract.name for contract in contracts if contract.namespace == namespace]
        if names:
            # By name: asked for whole schemas, Trino opens every table of the lake, and names columns twice.
            found = trino.query(
                settings,
                "select table_name, column_name from lake.information_schema.columns where table_schema = ? "  # noqa: S608
                f"and table_name in ({', '.join('?' for _ in names)}) order by table_name, ordinal_position",
                [layer, *names],
            )
            for name, column in found.rows:
                present.setdefault(f"{layer}.{name}", []).append(column)
    for contract in contracts:
        columns = [c.name for c in contract.columns]
        if present.get(view_of(contract)) == columns:
            continue
        # Columns by name: a column added to the table does not break the view.
        quoted = ", ".join(f'"{name}"' for name in columns)
        comment = contract.purpose.replace("'", "''")
        trino.query(
            settings,
            f"create or replace view lake.{view_of(contract)} comment '{comment}' security definer as "  # noqa: S608
            f"select {quoted} from lake.{contract.id} for version as of '{PUBLISHED}'",
        )
