"""`wavehouse features`: what the audio sounds like, from the audio objects to the online feature store."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lakehouse.cli import features_labels
from lakehouse.cli.output import Output, duration
from lakehouse.cli.services import SKIPPED
from lakehouse.config.settings import CHECKOUT, Settings, load_settings
from lakehouse.errors import RejectedInputError, RetryableError

if TYPE_CHECKING:
    from lakehouse.adapters.feature_store import Reading

app = typer.Typer(help="Features of the audio.", no_args_is_help=True)
app.add_typer(features_labels.app)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command()
def pending(
    skip_when_none: Annotated[
        bool, typer.Option("--skip-when-none", help=f"Exit with {SKIPPED} when there is nothing to do.")
    ] = False,
    prometheus: Annotated[bool, typer.Option("--prometheus", help="Print Prometheus' text format.")] = False,
    as_json: Json = False,
) -> None:
    """Count the accepted recordings that have no features of the current extractor version, and how long they wait.

    They wait since they landed; recordings of releases since the date of their message.

    Example: wavehouse features pending
    """
    from lakehouse.adapters import feature_backlog
    from lakehouse.domain.capacity import backlog

    found = feature_backlog.pending(load_settings(), datetime.now(UTC))
    if prometheus:
        sys.stdout.write(backlog.exposition(found))
        return
    out = Output(as_json=as_json)
    out.info(
        f"{found.recordings} recordings ({found.audio_s:,.0f} s of audio) wait for features, the oldest for "
        f"{found.oldest_age_s:,.0f} s; they will cost {found.core_s:,.0f} CPU seconds"
    )
    out.result({"pending": found.recordings} | {k: v for k, v in asdict(found).items() if k != "recordings"})
    if skip_when_none and not found.recordings:
        raise typer.Exit(SKIPPED)


@app.command()
def extract(as_json: Json = False) -> None:
    """Compute the features of new recordings with Spark, into silver_audit.audio_features.

    A recording that fails is kept in the list of `wavehouse features failures`; the others are not held up.

    Example: wavehouse features extract
    """
    from lakehouse.adapters import feature_backlog

    out = Output(as_json=as_json)
    settings = load_settings()
    counts: dict[str, Any] = {"in": 0, "extracted": 0, "failed": 0}
    if feature_backlog.pending(settings, datetime.now(UTC)).recordings:
        counts = _run_job(settings, "extract_features")
    out.info(f"{counts['in']} in = {counts['extracted']} extracted + {counts['failed']} failed")
    out.result(counts)


def _run_job(settings: Settings, name: str) -> dict[str, Any]:
    """Run a Spark job as a process of its own (a JVM starts and ends with it); returns its result.

    Raises:
        RetryableError: it failed; the message is its last line, the hint names its log.
    """
    log = settings.run / "logs" / f"spark-{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as stderr:
        done = subprocess.run(
            [sys.executable, "-m", f"spark_jobs.{name}"],
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            check=False,
        )
    if done.returncode:
        raise RetryableError(
            f"The Spark job {name} failed: {_cause(log.read_text()) or f'exit code {done.returncode}'}",
            hint=f"Run the command again; it goes on where it stopped. The whole story: {log}",
        )
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def _cause(log: str) -> str:
    """The line of a log that says most about a failure: the JVM's innermost cause, else the last line of its own."""
    lines = [line for line in log.splitlines() if line and not line[0].isspace()]
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    return (causes or lines or [""])[-1]


@app.command()
def failures(as_json: Json = False) -> None:
    """Show the recordings that an extractor failed on, and its message.

    Example: wavehouse features failures
    """
    from lakehouse.adapters.catalog_db import CatalogDb

    out = Output(as_json=as_json)
    with CatalogDb(load_settings()) as db:
        rows = db.extraction_failures()
    out.table(
        "Failed extractions", ["sha256", "extractor", "version", "message"], [tuple(row.values()) for row in rows]
    )
    out.info(f"{len(rows)} failed")
    out.result(rows)


@app.command("views")
def list_views(as_json: Json = False) -> None:
    """Show the feature views: what they describe, from which table, and how old their values may be.

    Example: wavehouse features views
    """
    from lakehouse.contracts import load
    from lakehouse.domain.features.views import views

    out = Output(as_json=as_json)
    rows: list[dict[str, Any]] = [
        {
            "view": view.name,
            "entity": view.entity,
            "table": view.table,
            "owner": load(view.table).owner,
            "max_age_s": view.max_age and view.max_age.total_seconds(),
            "columns": {column: load(view.table).column(column).doc for column in view.columns},
        }
        for view in views().values()
    ]
    shown = [(*tuple(row.values())[:-1], ", ".join(row["columns"])) for row in rows]
    out.table("Feature views", ["view", "entity", "table", "owner", "max age [s]", "columns"], shown)
    out.result(rows)


@app.command()
def record(as_json: Json = False) -> None:
    """Note that the published audio features are available from now on, in silver_audit.audio_features_history.

    Run after `publish`; only tracks with other features than before get a row.

    Example: wavehouse features record
    """
    from lakehouse.adapters import feature_history

    recorded = feature_history.record(load_settings(), datetime.now(UTC))
    out = Output(as_json=as_json)
    out.info(f"{recorded} tracks have features that are new")
    out.result({"recorded": recorded})


@app.command()
def join(
    spine: Annotated[
        Path, typer.Option(help="CSV or Parquet with the entity (track_id) and the moment (at) of each row.")
    ],
    out_file: Annotated[Path, typer.Option("--out", help="Parquet file to write.")],
    view_names: Annotated[str, typer.Option("--views", help="Comma-separated; without it all.")] = "",
    as_json: Json = False,
) -> None:
    """Put beside each row of a file the features as they were known at its moment, never later ones.

    The rows keep their order and their other columns. A value is null where none was known, or only one older than the
    view allows (`wavehouse features views`).

    Example: wavehouse features join --spine labels.csv --views track_popularity --out training.parquet
    """
    from pyarrow import parquet

    from lakehouse.adapters import feature_history
    from lakehouse.domain.features.views import named

    views = named(_names(view_names))
    joined = feature_history.join(
        feature_history.read_spine(spine, views), views, feature_history.reader(load_settings())
    )
    parquet.write_table(joined, out_file)
    nulls = {view.name: joined[view.joined("event_at")].null_count for view in views}
    out = Output(as_json=as_json)
    out.info(f"{joined.num_rows} rows in {out_file}")
    out.table("Rows without a value", ["view", "rows"], list(nulls.items()))
    out.result({"rows": joined.num_rows, "without_value": nulls})


@app.command()
def materialize(
    view_names: Annotated[str, typer.Option("--views", help="Comma-separated; without it all.")] = "",
    as_json: Json = False,
) -> None:
    """Copy the newest published values of feature views to the online store; again, it writes the same.

    Example: wavehouse features materialize --views track_audio
    """
    from lakehouse.adapters import feature_history
    from lakehouse.adapters.feature_store import FeatureStore, encoded
    from lakehouse.domain.features.views import named

    settings, now = load_settings(), datetime.now(UTC)
    store = FeatureStore(settings)
    written = {
        view.name: store.write(view.name, encoded(view, feature_history.newest_values(settings, view, now)))
        for view in named(_names(view_names))
    }
    store.close()
    out = Output(as_json=as_json)
    out.table("Online", ["view", "entities"], list(written.items()))
    out.result(written)


@app.command()
def online(
    track_id: Annotated[int, typer.Argument(help="The track.")],
    view_names: Annotated[str, typer.Option("--views", help="Comma-separated; without it all.")] = "",
    at: Annotated[str, typer.Option(help="Moment to judge the age at, ISO 8601; without it now.")] = "",
    as_json: Json = False,
) -> None:
    """Read the online features of a track, with their age. Values older than a view allows are withheld, and said so.

    Example: wavehouse features online 1152921504606846977 --at 2026-11-01T08:00:00Z
    """
    from lakehouse.adapters.feature_store import FeatureStore, reading
    from lakehouse.domain.features.views import named

    moment = _moment(at)
    views = named(_names(view_names))
    store = FeatureStore(load_settings())
    found = {view.name: reading(view, store.read(view.name, [track_id])[track_id], moment) for view in views}
    store.close()
    out = Output(as_json=as_json)
    for view in views:
        answer = found[view.name]
        out.table(f"{view.name}: {_told(answer, view.max_age)}", ["feature", "value"], list(answer.values.items()))
    out.result(
        {
            name: {
                "status": answer.status,
                "event_at": answer.event_at and answer.event_at.isoformat(),
                "age_s": answer.age and answer.age.total_seconds(),
                "values": answer.values,
            }
            for name, answer in found.items()
        }
    )


def _told(answer: Reading, max_age: timedelta | None) -> str:
    """How an online read went, for people; `max_age` is the bound of its view."""
    if answer.event_at is None or answer.age is None:
        return answer.status
    of = f"of {answer.event_at.astimezone(UTC):%F %T} UTC"
    match answer.status:
        case "early":
            return f"early, {of}, which is {duration(-answer.age)} after the moment asked for; withheld"
        case "stale" if max_age:
            return f"stale, {duration(answer.age)} old ({of}), and {duration(max_age)} are allowed; withheld"
    return f"{answer.status}, {duration(answer.age)} old ({of})"


@app.command()
def staleness(
    view_names: Annotated[str, typer.Option("--views", help="Comma-separated; without it all.")] = "",
    at: Annotated[str, typer.Option(help="Moment to judge the age at, ISO 8601; without it now.")] = "",
    as_json: Json = False,
) -> None:
    """Compare the online store with the newest published values; exit code 1 unless all are equal and fresh.

    Example: wavehouse features staleness
    """
    from lakehouse.adapters import feature_history
    from lakehouse.adapters.feature_store import FeatureStore, compared
    from lakehouse.domain.features.views import named

    settings, moment = load_settings(), _moment(at)
    store = FeatureStore(settings)
    rows = [
        {"view": view.name}
        | compared(view, feature_history.newest_values(settings, view, datetime.now(UTC)), store.read, moment)
        for view in named(_names(view_names))
    ]
    store.close()
    out = Output(as_json=as_json)
    out.table("Online beside the lake", list(rows[0]), [tuple(row.values()) for row in rows])
    out.result(rows)
    if any(row["different"] or row["missing"] or row["stale"] for row in rows):
        raise typer.Exit(1)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _moment(text: str) -> datetime:
    """The moment of an option; now without one."""
    if not text:
        return datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise RejectedInputError(
            f"--at '{text}' is no moment.", reason="bad_moment", hint="Write it like 2026-11-01T08:00:00Z."
        )
    return moment
