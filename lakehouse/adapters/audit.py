"""Auditing: the suites in expectations/ on Trino, by Great Expectations, before anything is published.

A suite is `expectations/<namespace>/<table>.yaml`: expectations of Great Expectations with a severity (`fail` stops the
publish, `warn` is recorded) and why they are there. What the contract says (columns, key) is added from it. A table
that passes gets the Iceberg tag `audited` on the snapshot that was looked at. Results are kept in <home>/audits, one
file a snapshot, and as Data Docs (HTML) in <home>/data_docs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import reduce
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from lakehouse.adapters import lake, publish, trino
from lakehouse.config.settings import CHECKOUT, Settings
from lakehouse.contracts import Contract, load
from lakehouse.errors import FatalError, RetryableError

SUITES = CHECKOUT / "expectations"
FAIL, WARN = "fail", "warn"
#: Great Expectations' own words for our severities.
SEVERITIES = {FAIL: "critical", WARN: "warning"}
#: Rows whose keys Trino compares at once: their groups fit into the memory of a query.
_KEYS_AT_ONCE = 3_000_000


@dataclass(frozen=True)
class Expectation:
    """One check: the type and arguments of Great Expectations, how much it matters, why, and what to do."""

    type: str
    kwargs: dict[str, Any]
    severity: str
    why: str
    todo: str = ""


@dataclass(frozen=True)
class Finding:
    """An expectation that was not met, and what was seen instead."""

    severity: str
    expectation: str
    arguments: dict[str, Any]
    observed: Any
    why: str
    todo: str


@dataclass(frozen=True)
class Verdict:
    """The audit of one snapshot of a table; it passed when no finding has the severity `fail`."""

    table: str
    snapshot_id: int
    checked: int
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether the snapshot may be published."""
        return all(finding.severity != FAIL for finding in self.findings)


def suite(contract: Contract, rows: int = 0) -> list[Expectation]:
    """The checks of a table that has some `rows`: those of its contract, then those of its suite.

    Raises:
        FatalError: there is no suite, or it has an unknown severity.
    """
    path = SUITES / contract.namespace / f"{contract.name}.yaml"
    if not path.is_file():
        raise FatalError(f"{contract.id} has no suite.", hint=f"Write expectations/{contract.namespace}/{path.name}.")
    from_contract = [
        Expectation(
            "expect_table_columns_to_match_ordered_list",
            {"column_list": [column.name for column in contract.columns]},
            FAIL,
            "The table is what its contract says.",
            "Compare the contract with the model that fills the table.",
        ),
        *_unique_key(contract, 1 + rows // _KEYS_AT_ONCE),
    ]
    own = [Expectation(**entry) for entry in yaml.safe_load(path.read_text())["expectations"]]
    for expectation in own:
        if expectation.severity not in SEVERITIES:
            raise FatalError(f"{path.name}: severity '{expectation.severity}'.", hint="Write fail or warn.")
    return from_contract + own


def _unique_key(contract: Contract, parts: int) -> Iterator[Expectation]:
    """That no two rows have the same key: looked for in `parts` of the table, by the low bits of the key's integers, or
    by a checksum of a key without any. Each part reads all rows, and a checksum is most of what that would cost.
    """
    key = ", ".join(contract.key)
    schema = contract.arrow_schema()
    numbers = [name for name in contract.key if pa.types.is_integer(schema.field(name).type)]
    cut_by = (
        f"bitwise_and({reduce(lambda one, other: f'bitwise_xor({one}, {other})', numbers)}, {2**31 - 1})"
        if numbers
        else "crc32(to_utf8(concat(" + ", '|', ".join(f"cast({name} as varchar)" for name in contract.key) + ", '')))"
    )
    for part in range(parts):
        where = f"where mod({cut_by}, {parts}) = {part} " if parts > 1 else ""
        yield Expectation(
            "expect_query_to_find_no_rows",
            {
                "unexpected_rows_query": f"select {key}, count(*) as copies from {{batch}} {where}"  # noqa: S608
                f"group by {key} having count(*) > 1",
                "description": f"Key: {key}" + (f" (part {part + 1} of {parts})" if parts > 1 else ""),
            },
            FAIL,
            "The key of the contract identifies a row.",
            "Look for the rows it names: one thing was counted twice.",
        )


def audit(
    settings: Settings, names: Sequence[str], progress: Callable[[Verdict], None] = lambda verdict: None
) -> list[Verdict]:
    """Audit the current snapshots of the tables, all in one process; `progress` hears of each verdict as it comes.

    Raises:
        FatalError: a table has no suite.
        RetryableError: an engine does not answer, or a table was changed while it was looked at.
    """
    suites = {name: suite(load(name), lake.row_count(settings, name)) for name in names}
    context = _context(settings)
    source = _trino(settings, context)
    verdicts: list[Verdict] = []
    pages: list[Any] = []
    try:
        for name, expectations in suites.items():
            snapshot_id = _current(settings, name)
            verdict = _validate(context, source, name, snapshot_id, expectations, pages)
            if _current(settings, name) != snapshot_id:
                raise RetryableError(f"{name} was changed while it was audited.", hint="Run the audit again.")
            _keep(settings, verdict)
            if verdict.passed:
                publish.move_tag(settings, name, publish.AUDITED, snapshot_id)
            verdicts.append(verdict)
            progress(verdict)
    finally:
        # Their pages alone: to render those of all that was ever audited takes longer every night.
        if pages:
            context.build_data_docs(resource_identifiers=pages)
    return verdicts


def kept(settings: Settings, since: float) -> list[Verdict]:
    """Verdicts of audits that ended at the moment `since` [s since 1970] or later, by table."""
    # Folders of tables have a dot in their name; that of Great Expectations has none.
    paths = [path for path in (settings.home / "audits").glob("*.*/*.json") if path.stat().st_mtime >= since]
    verdicts = []
    for path in sorted(paths):
        values = json.loads(path.read_text())
        findings = tuple(Finding(**finding) for finding in values["findings"])
        verdicts.append(Verdict(values["table"], values["snapshot_id"], values["checked"], findings))
    return verdicts


def implementation(type_: str) -> Any:
    """The class of an expectation: one of Great Expectations' own, or ours."""
    from great_expectations.expectations.registry import get_expectation_impl

    import lakehouse.adapters.no_rows_expectation  # noqa: F401 - registers it

    return get_expectation_impl(type_)


def data_docs(settings: Settings) -> Path:
    """Start page of the Data Docs."""
    return settings.home / "data_docs" / "index.html"


def _current(settings: Settings, name: str) -> int:
    """Id of the current snapshot; a table that was never written gets an empty one, so that it can be published."""
    table = lake.catalog(settings).load_table(name)
    if table.current_snapshot() is None:
        table.append(table.schema().as_arrow().empty_table())
        table.refresh()
    snapshot = table.current_snapshot()
    if snapshot is None:
        raise FatalError(f"{name} has no snapshot.", hint="Run `wavehouse lake init`.")
    return int(snapshot.snapshot_id)


def _context(settings: Settings) -> Any:
    """A Great Expectations context that keeps suites and results on disk, for the Data Docs, and sign-ins nowhere."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations as gx
    from great_expectations.data_context.types.base import DataContextConfig, FilesystemStoreBackendDefaults

    root = settings.home / "audits" / "great_expectations"
    root.mkdir(parents=True, exist_ok=True)
    defaults = FilesystemStoreBackendDefaults(root_directory=str(root))
    site = {
        "class_name": "SiteBuilder",
        "store_backend": {
            "class_name": "TupleFilesystemStoreBackend",
            "base_directory": str(settings.home / "data_docs"),
        },
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
    }
    config = DataContextConfig(store_backend_defaults=defaults, data_docs_sites={"local": site})
    context = gx.get_context(project_config=config, mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    return context


def _trino(settings: Settings, context: Any) -> Any:
    from urllib.parse import quote

    password = quote(settings.trino.engine_password.get_secret_value(), safe="")
    return context.data_sources.add_sql(
        "lake",
        connection_string=f"trino://engine:{password}@{settings.trino.address}/lake",
        create_temp_table=False,
        kwargs={"connect_args": {"http_session": trino.session(settings), "http_scheme": "https"}},
    )


def _validate(
    context: Any, source: Any, name: str, snapshot_id: int, expectations: Sequence[Expectation], pages: list[Any]
) -> Verdict:
    """The verdict; what has a page in the Data Docs now is added to `pages`."""
    import great_expectations as gx
    from great_expectations.core.run_identifier import RunIdentifier

    namespace, table = name.split(".")
    batch = source.add_table_asset(name, table_name=table, schema_name=namespace).add_batch_definition_whole_table(
        "all"
    )
    made = [
        implementation(e.type)(
            **e.kwargs,
            severity=SEVERITIES[e.severity],
            notes=e.why,
            meta={"number": number, "severity": e.severity, "todo": e.todo},
        )
        for number, e in enumerate(expectations)
    ]
    suite_ = context.suites.add_or_update(gx.ExpectationSuite(name=name, expectations=made))
    definition = gx.ValidationDefinition(name=name, data=batch, suite=suite_)
    definition = context.validation_definitions.add_or_update(definition)
    checkpoint = gx.Checkpoint(name=name, validation_definitions=[definition], result_format="SUMMARY")
    run_id = RunIdentifier(run_name=f"snapshot {snapshot_id}", run_time=datetime.now(UTC))
    result = context.checkpoints.add_or_update(checkpoint).run(run_id=run_id)
    ((page, validation),) = result.run_results.items()
    pages += [page, page.expectation_suite_identifier]
    findings = []
    for outcome in validation.results:
        expectation = expectations[outcome.expectation_config.meta["number"]]
        error = next((v for v in _errors(outcome.exception_info) if v), None)
        if error:
            raise RetryableError(f"{name}: {expectation.type} could not be checked: {error[:300]}")
        if not outcome.success:
            findings.append(
                Finding(
                    severity=expectation.severity,
                    expectation=expectation.type,
                    arguments=expectation.kwargs,
                    observed=_observed(outcome.result),
                    why=expectation.why,
                    todo=expectation.todo,
                )
            )
    return Verdict(name, snapshot_id, len(expectations), tuple(findings))


def _errors(info: Any) -> list[str]:
    """Messages of exceptions met in a check; Great Expectations nests them by metric, or not."""
    if not info:
        return []
    entries = [info] if "raised_exception" in info else list(info.values())
    return [str(entry.get("exception_message")) for entry in entries if entry.get("raised_exception")]


def _observed(result: dict[str, Any]) -> Any:
    """What was seen instead: how many rows a query found, or counts and samples of a column."""
    kept = ("observed_value", "unexpected_count", "partial_unexpected_list")
    return {key: result[key] for key in kept if result.get(key) not in (None, [])}


def _keep(settings: Settings, verdict: Verdict) -> None:
    """One file a snapshot; auditing it again replaces the file."""
    path = settings.home / "audits" / verdict.table / f"{verdict.snapshot_id}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(asdict(verdict) | {"passed": verdict.passed}, indent=2, default=str))
    draft.replace(path)
