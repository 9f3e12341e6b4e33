"""The owner of the data directory: runs statements, each on a handle of its own.

A handle of chDB is a session: what one statement sets stays in it. It costs 0.3 ms to open, so that a request gets a
fresh one and takes it down afterwards; nothing can leak from one request into the next.
"""

from __future__ import annotations

import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from infra.local.clickhouse import statements
from infra.local.clickhouse.protocol import Answer, EngineError, Query, QueryError
from lakehouse.errors import FatalError

#: Memory of the whole engine; a query above it fails, the process stays.
MAX_SERVER_MEMORY_BYTES = 1_500_000_000
CONFIG = """<clickhouse>
  <max_server_memory_usage>{memory}</max_server_memory_usage>
  <mark_cache_size>134217728</mark_cache_size>
  <background_pool_size>2</background_pool_size>
  <background_schedule_pool_size>4</background_schedule_pool_size>
  <tmp_path>{tmp}/</tmp_path>
  <user_files_path>{files}/</user_files_path>
  <merge_tree>
    <!-- Rows carry their Kafka offset, and loading goes on behind the highest one: a part must be on the disk before
         a later one can be, or a power cut could leave a hole. -->
    <fsync_after_insert>1</fsync_after_insert>
    <fsync_part_directory>1</fsync_part_directory>
  </merge_tree>
</clickhouse>
"""


@dataclass(frozen=True)
class User:
    """A user and what holds for each of their queries. `settings` can't be changed by a request of a read-only user."""

    name: str
    password: str
    readonly: bool
    settings: dict[str, str]


#: Limits of one query: seconds, bytes.
READER_SETTINGS = {
    "max_execution_time": "30",
    "max_memory_usage": "1000000000",
    "max_result_bytes": "268435456",
    "allow_introspection_functions": "0",
}
LOADER_SETTINGS = {"max_execution_time": "300", "allow_introspection_functions": "0"}
#: What a read-only user may set for a query: how the result looks and how it is computed, no limits and no dialects.
READER_MAY_SET = ("output_format_", "format_", "date_time_", "join_use_nulls", "max_threads", "max_block_size", "final",
                  "session_timezone", "max_result_rows", "result_overflow_mode", "use_uncompressed_cache")  # fmt: skip


class Engine:
    """The embedded engine over one data directory. Its methods may be called from many threads."""

    def __init__(self, data: Path, run: Path) -> None:
        """`data` is the data directory, `run` a folder for the configuration and temporary files."""
        self._data = data
        self._run = run
        self._base: Any = None
        self._outer: frozenset[str] = frozenset()
        self._running = 0
        self._lock = threading.Lock()
        self.version = ""
        self.timezone = ""

    @property
    def spool_folder(self) -> Path:
        """Where the data of inserts lies until it is in the engine."""
        return self._run / "spool"

    @property
    def busy(self) -> bool:
        """Whether statements are running."""
        return self._running > 0

    def open(self) -> None:
        """Open the data directory; what a killed process left in it is recovered by the engine.

        Raises:
            FatalError: another process has the directory open, or it can't be opened.
        """
        import chdb

        shutil.rmtree(self.spool_folder, ignore_errors=True)  # of a process that was killed
        for folder in (self._data, self.spool_folder, self._run / "files", self._run / "tmp"):
            folder.mkdir(parents=True, exist_ok=True)
        config = self._run / "config.xml"
        config.write_text(
            CONFIG.format(
                memory=MAX_SERVER_MEMORY_BYTES,
                tmp=escape(str(self._run / "tmp")),
                files=escape(str(self._run / "files")),
            )
        )
        try:
            self._base = chdb.connect(f"{self._data}?config-file={config}")
        except RuntimeError as error:
            raise FatalError(
                f"ClickHouse cannot open {self._data}: {error}",
                hint="One process owns this folder: see `wavehouse status`. The engine's reason is in the lines above.",
            ) from error
        self.version, self.timezone = self._lines(self._base, "SELECT version(), timezone()")[0].split("\t")
        functions = self._lines(self._base, "SELECT name FROM system.table_functions")
        outer = (set(functions) - statements.INNER_TABLE_FUNCTIONS) | statements.OUTER_FUNCTIONS
        # Table engines and dictionary sources of the same names (File, URL, S3, ...) are caught by the same rule.
        self._outer = frozenset(name.lower() for name in outer)

    def close(self) -> None:
        """Close the data directory."""
        if self._base is not None:
            self._base.close()
            self._base = None

    def run(self, query: Query, user: User, *, readonly: bool) -> Answer:
        """Run one statement. Blocks; it ends with the result, an error or the user's max_execution_time.

        Raises:
            QueryError: the statement is refused or fails, with ClickHouse's own code.
        """
        import chdb

        started = time.perf_counter_ns()
        with self._lock:
            self._running += 1
        handle = chdb.connect(str(self._data))
        try:
            canonical = self._canonical(handle, query.sql)
            statements.check(canonical, readonly=readonly, outer_functions=self._outer)
            if query.database != "default":
                handle.query(f"USE {statements.quote_name(query.database)}")
            settings = self._settings(query, user, readonly=readonly)
            handle.query("SET " + ", ".join(f"{name} = {statements.quote(value)}" for name, value in settings.items()))
            sql = canonical
            if query.data is not None:
                if query.data.stat().st_size == 0:
                    return Answer(b"", query.output_format, elapsed_ns=time.perf_counter_ns() - started)
                sql = statements.insert_from_file(canonical, str(query.data))
            result = handle.query(sql, query.output_format, params=dict(query.parameters))
            return Answer(
                body=b"" if result is None else bytes(result.bytes()),
                output_format=statements.format_of(canonical) or query.output_format,
                read_rows=result.rows_read(),
                read_bytes=result.bytes_read(),
                written_rows=result.rows_written(),
                elapsed_ns=time.perf_counter_ns() - started,
            )
        except RuntimeError as error:
            raise EngineError(str(error)) from error
        finally:
            handle.close()
            with self._lock:
                self._running -= 1

    def _canonical(self, handle: Any, sql: str) -> str:
        """The one statement of `sql` in the engine's own spelling."""
        escaped = sql.strip().rstrip(";").replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")
        try:
            result = handle.query("SELECT formatQuerySingleLine({sql:String})", "TSVRaw", params={"sql": escaped})
        except RuntimeError as error:
            text = str(error).partition(": In scope SELECT formatQuery")[0]
            raise EngineError(f"{text}. (SYNTAX_ERROR)") from error
        canonical: str = result.bytes().decode().removesuffix("\n")
        return canonical

    def _settings(self, query: Query, user: User, *, readonly: bool) -> dict[str, str]:
        """All settings of one request: the user's own, then what the request asks for, then the lock."""
        asked = dict(query.settings)
        asked_readonly = asked.pop("readonly", "0")
        if user.readonly:
            for name in asked:
                if not name.startswith(READER_MAY_SET):
                    raise QueryError(164, "READONLY", f"Cannot modify '{name}' setting in readonly mode")
        merged = user.settings | asked
        if readonly or asked_readonly != "0":
            merged["readonly"] = "1"
        return merged

    @staticmethod
    def _lines(handle: Any, sql: str) -> list[str]:
        text: str = handle.query(sql, "TabSeparatedRaw").bytes().decode()
        return text.splitlines()
