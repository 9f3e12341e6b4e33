"""`wavehouse features`: what the audio sounds like, from the audio objects to the online feature store."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lakehouse.cli.output import Output
from lakehouse.config.settings import CHECKOUT, Settings, load_settings
from lakehouse.errors import FatalError, RetryableError

if TYPE_CHECKING:
    from lakehouse.domain.audio.classifier import Model

app = typer.Typer(help="Features of the audio.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

TABLE = "silver_audit.audio_features"
#: Airflow marks a task that ends with this code as skipped.
SKIPPED = 99
#: Rejected rows shown to people; the report has all.
SHOWN = 20
#: Digits of a model's id shown to people; any beginning that is not ambiguous names it.
SHORT = 12


class Target(StrEnum):
    """What a label is about."""

    GENRE = "genre"
    MOOD = "mood"


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


@app.command()
def train(
    target: Annotated[Target, typer.Option(help="What the labels are about.")],
    labels: Annotated[Path, typer.Option(help="CSV in UTF-8 with a header: track_id or isrc, and label.")],
    report: Annotated[Path | None, typer.Option(help="Write each rejected row, one JSON line each.")] = None,
    use: Annotated[bool, typer.Option(help="Predict with it from now on, if it tells more than the baseline.")] = True,
    as_json: Json = False,
) -> None:
    """Learn genre or mood from labelled tracks, and measure the model on artists it did not learn from.

    A bad row is named and left out. The same labels and features are the same model. Then run `features predict`.

    Example: wavehouse features train --target mood --labels moods.csv
    """
    from lakehouse.adapters import track_labels

    out = Output(as_json=as_json)
    settings = load_settings()
    examples, rejected = track_labels.labelled(settings, labels)
    for bad in rejected[:SHOWN]:
        out.info(f"{bad.message} ({bad.reason})")
    if len(rejected) > SHOWN:
        out.info(f"... and {len(rejected) - SHOWN} more; --report lists all.")
    out.info(f"{len(examples) + len(rejected)} rows = {len(examples)} used + {len(rejected)} rejected")
    refused = [{"reason": bad.reason, "message": bad.message, "value": bad.value} for bad in rejected]
    if report:
        report.write_text("".join(json.dumps(row) + "\n" for row in refused), encoding="utf-8")
    trained = track_labels.train(track_labels.models(settings, target), target, examples, use=use)
    model = trained.model
    _show_metrics(out, model)
    out.info(f"Model {model.id[:SHORT]} is {'new' if trained.is_new else 'known already'}.")
    if trained.in_use:
        out.info("It is in use: `wavehouse features predict` applies it.")
    elif not model.beats_baseline:
        out.info("It tells no more than how common each label is, so it is kept and not used.")
    out.result(
        model.card()
        | {
            "beats_baseline": model.beats_baseline,
            "is_new": trained.is_new,
            "in_use": trained.in_use,
            "rows": {
                "used": len(examples),
                "rejected": len(rejected),
                "rejected_by_reason": dict(sorted(Counter(bad.reason for bad in rejected).items())),
            },
        }
    )


def _show_metrics(out: Output, model: Model) -> None:
    metrics, training = model.metrics, model.training
    out.table(
        f"{model.target.capitalize()}, cross-validated on artists that were not learned from: "
        f"{training['recordings']} recordings, {training['artists']} artists",
        ["what", "model", "commonest label"],
        [
            (name, f"{metrics[name]:.3f}", f"{metrics['baseline'][name]:.3f}")
            for name in ("accuracy", "macro_f1", "log_loss")
        ]
        + [
            ("log loss gained", f"{metrics['log_loss_gain']:.3f} ± {metrics['log_loss_gain_error']:.3f}", ""),
            ("expected calibration error", f"{metrics['expected_calibration_error']:.3f}", ""),
            ("accuracy by fold", ", ".join(f"{value:.3f}" for value in metrics["accuracy_by_fold"]), ""),
            ("probabilities", "calibrated" if training["calibrated"] else "not calibrated: too few labels", ""),
        ],
    )
    out.table(
        "By label",
        ["label", "precision", "recall", "F1", "recordings", "artists"],
        [
            (
                label,
                *(f"{row[name]:.3f}" for name in ("precision", "recall", "f1")),
                row["support"],
                training["labels"][label]["artists"],
            )
            for label, row in metrics["by_label"].items()
        ],
    )


@app.command()
def models(as_json: Json = False) -> None:
    """List the models that tell genre and mood, what was measured of them, and which are in use.

    Example: wavehouse features models
    """
    from lakehouse.adapters import track_labels

    out = Output(as_json=as_json)
    settings = load_settings()
    shown: list[tuple[object, ...]] = []
    listed: list[dict[str, Any]] = []
    for target in Target:
        registry = track_labels.models(settings, target)
        in_use = registry.in_use()
        for model_id, model in registry.all():
            entry = {"id": model_id, "target": target.value, "in_use": model_id == in_use}
            head = (target.value, model_id[:SHORT], "in use" if entry["in_use"] else "")
            if isinstance(model, FatalError):
                listed.append(entry | {"error": model.message})
                shown.append((*head, model.message))
                continue
            metrics = model.metrics
            listed.append(model.card() | entry | {"beats_baseline": model.beats_baseline})
            shown.append(
                (
                    *head,
                    f"{len(model.labels)} of {model.training['recordings']} recordings",
                    *(f"{metrics[m]:.3f} ({metrics['baseline'][m]:.3f})" for m in ("accuracy", "macro_f1", "log_loss")),
                    f"{metrics['expected_calibration_error']:.3f}",
                    f"{model.extractor} {model.extractor_version}",
                )
            )
    columns = ["target", "model", "", "labels", "accuracy", "macro F1", "log loss", "calibration error", "features"]
    padded = [(*row, *[""] * (len(columns) - len(row))) for row in shown]
    out.table("Models (in brackets: to say the commonest label always)", columns, padded)
    out.info(f"{len(listed)} models")
    out.result(listed)


@app.command("use")
def use_(
    model: Annotated[str, typer.Argument(help="Id of a model or its beginning; `none`: predict with no model.")],
    target: Annotated[Target, typer.Option(help="What it tells.")],
    as_json: Json = False,
) -> None:
    """Choose the model that predicts from now on: an earlier one, or none. Then run `features predict`.

    Example: wavehouse features use 3f9c2a --target genre
    """
    from lakehouse.adapters import track_labels

    out = Output(as_json=as_json)
    registry = track_labels.models(load_settings(), target)
    chosen = None if model == "none" else registry.find(model)
    if chosen:
        registry.get(chosen)  # one that can't predict is not chosen
    registry.use(chosen)
    out.info(f"{target.value}: {f'model {chosen[:SHORT]}' if chosen else 'no model'} is in use")
    out.result({"target": target.value, "model": chosen})


@app.command()
def predict(
    target: Annotated[Target | None, typer.Option(help="Only this; both if none.")] = None,
    as_json: Json = False,
) -> None:
    """Write genre and mood of all tracks to silver_audit.track_labels; what the model said before is kept.

    Without a model the genre is the tag's, and label_source says so.

    Example: wavehouse features predict
    """
    from lakehouse.adapters import track_labels

    out = Output(as_json=as_json)
    settings = load_settings()
    done = [track_labels.predict(settings, one) for one in ([target] if target else Target)]
    for found in done:
        by = f"model {found.model_version[:SHORT]}" if found.model_version else "no model"
        out.info(
            f"{found.target} ({by}): {found.tracks} tracks = {found.predicted} predicted + {found.kept} kept "
            f"+ {found.from_tag} from the tag + {found.unlabelled} without"
        )
    out.result({found.target: asdict(found) for found in done})
