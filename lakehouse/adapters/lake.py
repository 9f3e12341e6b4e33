"""The Iceberg lake through PyIceberg: catalogue, tables from contracts, whole-table reads and atomic replacements.

Trino, Flink and Spark use the same JDBC catalogue on PostgreSQL (schema V1) through `catalog_properties`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from lakehouse.config.settings import Settings
from lakehouse.contracts import Contract, all_ids, load
from lakehouse.errors import FatalError, RetryableError

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

CATALOG = "lake"
WAREHOUSE = "s3://lake/wh"
#: Tables as built, and the published views on them.
NAMESPACES = ("bronze", "silver_audit", "gold_audit", "silver", "gold")
#: Namespaces whose tables the contracts define: dbt, Flink and Spark insert into what is there.
CREATED_FROM_CONTRACT = ("bronze", "silver_audit", "gold_audit")

T = TypeVar("T")


def catalog(settings: Settings) -> Catalog:
    """The Iceberg catalogue `lake`.

    Raises:
        RetryableError: PostgreSQL does not answer.
    """
    from pyiceberg.catalog.sql import SqlCatalog
    from sqlalchemy.exc import OperationalError

    try:
        return SqlCatalog(
            CATALOG,
            **{
                "uri": settings.postgres.url("iceberg", driver="postgresql+psycopg"),
                "warehouse": WAREHOUSE,
                "init_catalog_tables": "true",
                "s3.endpoint": settings.s3.http,
                "s3.access-key-id": settings.s3.access_key,
                "s3.secret-access-key": settings.s3.secret_key.get_secret_value(),
                "s3.region": settings.s3.region,
                "s3.path-style-access": "true",
            },
        )
    except OperationalError as error:
        raise RetryableError(
            f"The lake's catalogue at {settings.postgres.address} does not answer.",
            hint="Start it with `wavehouse up --only lake`; see `wavehouse logs postgres`.",
        ) from error


def init(settings: Settings) -> list[str]:
    """Create the namespaces, and every table that a contract defines; returns the ids that were new.

    A table that is there gets the optional columns that its contract has won since.
    """
    lake = catalog(settings)
    for namespace in NAMESPACES:
        lake.create_namespace_if_not_exists(namespace)
    created = []
    for contract in map(load, all_ids()):
        if contract.namespace not in CREATED_FROM_CONTRACT:
            continue
        if not lake.table_exists(contract.id):
            create(lake, contract)
            created.append(contract.id)
        else:
            _add_columns(lake.load_table(contract.id), contract)
    return created


def _add_columns(table: Table, contract: Contract) -> None:
    """Put the optional columns of the contract that the table lacks at its end; nothing else is changed."""
    present = set(table.schema().column_names)
    missing = [f for f in contract.arrow_schema() if f.nullable and f.name not in present]
    if missing:
        with table.update_schema() as update:
            update.union_by_name(pa.schema(missing))


def create(lake: Catalog, contract: Contract) -> Table:
    """Create the table of `contract`: columns, documentation and partitioning derive from it."""
    from pyiceberg.transforms import DayTransform, IdentityTransform, MonthTransform

    transforms = {"day": DayTransform(), "month": MonthTransform(), "identity": IdentityTransform()}
    # The partition is added after the table: field ids are assigned by PyIceberg when it reads the Arrow schema.
    transaction = lake.create_table_transaction(
        contract.id,
        schema=contract.arrow_schema(),
        properties={
            "format-version": "2",
            "write.parquet.compression-codec": "zstd",
            "comment": contract.purpose,
            "owner": contract.owner,
            # Streaming commits leave one metadata file each; the last hundred are enough to look back.
            "write.metadata.delete-after-commit.enabled": "true",
            "write.metadata.previous-versions-max": "100",
        },
    )
    with transaction, transaction.update_spec() as spec:
        for column, transform in contract.partition_by:
            spec.add_field(
                column, transforms[transform], column if transform == "identity" else f"{column}_{transform}"
            )
    return lake.load_table(contract.id)


def read(
    settings: Settings, table: str, *, columns: tuple[str, ...] = ("*",), where: str = "", tag: str = ""
) -> pa.Table:
    """Rows of `table` (`namespace.name`) as Arrow, in no particular order; `where` is an Iceberg filter expression,
    `tag` names a tagged snapshot instead of the newest one.

    Raises:
        FatalError: there is no such table, or it has no snapshot with this tag.
    """
    from pyiceberg.exceptions import NoSuchTableError
    from pyiceberg.expressions import AlwaysTrue

    try:
        loaded = catalog(settings).load_table(table)
    except NoSuchTableError as error:
        raise FatalError(f"The lake has no table {table}.", hint="Run `wavehouse lake init` first.") from error
    snapshot = loaded.snapshot_by_name(tag) if tag else None
    if tag and snapshot is None:
        raise FatalError(
            f"{table} has no snapshot '{tag}'.", hint=f"Run `wavehouse audit {table}` and `wavehouse publish {table}`."
        )
    snapshot_id = snapshot.snapshot_id if snapshot else None
    return loaded.scan(row_filter=where or AlwaysTrue(), selected_fields=columns, snapshot_id=snapshot_id).to_arrow()


def row_count(settings: Settings, table: str) -> int:
    """Rows of `table` from its metadata alone. Counts deleted rows too where a writer left delete files."""
    snapshot = catalog(settings).load_table(table).current_snapshot()
    return int(snapshot.summary["total-records"]) if snapshot and snapshot.summary else 0


def overwrite(settings: Settings, contract_id: str, rows: pa.Table, *, where: str = "") -> bool:
    """Replace the rows matching `where` (default: all) by `rows` in one commit; False when they were equal already.

    Row order does not matter for the comparison. Equal rows are written again when the newest snapshot lacks a column
    that the table has won since: who reads that snapshot sees the columns of its time. Concurrent commits are retried
    on the newest state.
    """
    from pyiceberg.expressions import AlwaysTrue

    contract = load(contract_id)
    rows = rows.select(contract.arrow_schema().names).cast(contract.arrow_schema())
    keys: list[Any] = [(name, "ascending") for name in contract.key]

    def attempt() -> bool:
        table = catalog(settings).load_table(contract_id)
        condition = where or AlwaysTrue()
        present = table.scan(row_filter=condition).to_arrow().select(rows.schema.names).cast(rows.schema)
        snapshot = table.current_snapshot()
        has_all_columns = snapshot is None or snapshot.schema_id in (None, table.schema().schema_id)
        if has_all_columns and present.sort_by(keys).equals(rows.sort_by(keys)):
            return False
        with warnings.catch_warnings():
            # The first delivery replaces nothing, which PyIceberg thinks worth a warning.
            warnings.filterwarnings("ignore", message="Delete operation did not match any records")
            table.overwrite(rows, overwrite_filter=condition)
        return True

    return retry_commit(attempt)


def append(settings: Settings, contract_id: str, rows: pa.Table) -> None:
    """Add rows to a table in one commit, which is tried again when another writer's came first."""
    schema = load(contract_id).arrow_schema()
    rows = rows.select(schema.names).cast(schema)
    retry_commit(lambda: catalog(settings).load_table(contract_id).append(rows))


def retry_commit(attempt: Callable[[], T]) -> T:
    """Run `attempt` again while another writer's commit got in between; gives up after about a minute.

    Raises:
        RetryableError: other writers kept winning.
    """
    from pyiceberg.exceptions import CommitFailedException
    from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

    retrying = Retrying(
        retry=retry_if_exception_type(CommitFailedException),
        wait=wait_random_exponential(multiplier=0.2, max=5),
        stop=stop_after_delay(60),
    )
    try:
        return retrying(attempt)
    except RetryError as error:
        raise RetryableError("Other writers kept changing the table.", hint="Run the command again.") from error


def catalog_properties(settings: Settings) -> dict[str, str]:
    """Properties of the same catalogue for the Java engines (Flink's and Spark's `JdbcCatalog`)."""
    return {
        "catalog-impl": "org.apache.iceberg.jdbc.JdbcCatalog",
        "uri": f"jdbc:postgresql://{settings.postgres.address}/iceberg",
        "jdbc.user": "iceberg",
        "jdbc.password": settings.postgres.iceberg_password.get_secret_value(),
        "jdbc.schema-version": "V1",
        "warehouse": WAREHOUSE,
        "io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
        "s3.endpoint": settings.s3.http,
        "s3.path-style-access": "true",
        "s3.access-key-id": settings.s3.access_key,
        "s3.secret-access-key": settings.s3.secret_key.get_secret_value(),
        "client.region": settings.s3.region,
    }
