"""`wavehouse features`: what the audio sounds like, from the audio objects to the online feature store."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Annotated, Any

import typer

from lakehouse.cli.output import Output
from lakehouse.config.settings import CHECKOUT, Settings, load_settings
from lakehouse.errors import RetryableError

app = typer.Typer(help="Features of the audio.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

TABLE = "silver_audit.audio_features"
#: Airflow marks a task that ends with this code as skipped.
SKIPPED = 99


def _pending(settings: Settings) -> int:
    """Accepted recordings without features of the current extractor version."""
    import pyarrow.compute as pc

    from lakehouse.adapters import lake
    from lakehouse.domain.audio.features import EXTRACTOR, VERSION

    accepted = lake.read(settings, "bronze.catalog_content", columns=("sha256",))
    version = f"extractor = '{EXTRACTOR}' and extractor_version = '{VERSION}'"
    done = lake.read(settings, TABLE, columns=("sha256",), where=version)
    return len(set(accepted["sha256"].to_pylist()) - set(pc.unique(done["sha256"]).to_pylist()))


@app.command()
def pending(
    skip_when_none: Annotated[
        bool, typer.Option("--skip-when-none", help=f"Exit with {SKIPPED} when there is nothing to do.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Count the accepted recordings that have no features of the current extractor version.

    Example: wavehouse features pending
    """
    number = _pending(load_settings())
    out = Output(as_json=as_json)
    out.info(f"{number} recordings wait for features")
    out.result({"pending": number})
    if skip_when_none and not number:
        raise typer.Exit(SKIPPED)


@app.command()
def extract(as_json: Json = False) -> None:
    """Compute the features of new recordings with Spark, into silver_audit.audio_features.

    A recording that fails is kept in the list of `wavehouse features failures`; the others are not held up.

    Example: wavehouse features extract
    """
    out = Output(as_json=as_json)
    settings = load_settings()
    counts: dict[str, Any] = {"in": 0, "extracted": 0, "failed": 0}
    if _pending(settings):
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


@app.command("publish-online")
def publish_online(as_json: Json = False) -> None:
    """Copy the published features of all tracks to the online feature store.

    Only what the audit let through goes online; a track whose features did not change is written again to the same.

    Example: wavehouse features publish-online
    """
    from lakehouse.adapters import lake, publish
    from lakehouse.adapters.feature_store import FeatureStore
    from lakehouse.domain.audio.features import newest

    settings = load_settings()
    rows = lake.read(settings, TABLE, tag=publish.PUBLISHED)
    store = FeatureStore(settings)
    written = store.publish(newest(rows.to_pylist()))
    store.close()
    out = Output(as_json=as_json)
    out.info(f"{written} tracks online")
    out.result({"tracks": written})
