"""`wavehouse features train`, `models`, `use` and `predict`: genre and mood of the tracks; part of `features`."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lakehouse.cli.output import Output
from lakehouse.config.settings import load_settings
from lakehouse.errors import FatalError

if TYPE_CHECKING:
    from lakehouse.domain.audio.classifier import Model

app = typer.Typer(help="Genre and mood.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

#: Rejected rows shown to people; the report has all.
SHOWN = 20
#: Digits of a model's id shown to people; any beginning that is not ambiguous names it.
SHORT = 12


class Target(StrEnum):
    """What a label is about."""

    GENRE = "genre"
    MOOD = "mood"


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
