"""`wavehouse ingest`: audio files from a folder to the landing bucket, and from there into the catalogue."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from lakehouse.cli.options import moment_given
from lakehouse.cli.output import Output
from lakehouse.cli.services import SKIPPED, log, stopped_by_signals
from lakehouse.config.settings import load_settings
from lakehouse.errors import FatalError, RejectedInputError


class Paths(TyperGroup):
    """`wavehouse ingest PATH`: what is no verb but looks like a path goes to the verb `take`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The verb, and what is left of the arguments."""
        first = args[0] if args else ""
        if first not in self.commands and (any(sign in first for sign in "/\\.~") or Path(first).exists()):
            args = ["take", *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=Paths,
    help="Bring audio files, releases and podcasts into the catalogue: `wavehouse ingest PATH-or-s3-URL` takes all "
    "that is there; the verbs do one thing each.",
    no_args_is_help=True,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lakehouse.adapters.catalog_db import Outcome
    from lakehouse.adapters.deliveries import Delivered
    from lakehouse.domain.catalog.quality.catalogue import Entry

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def _uploaded(out: Output, folder: Path) -> None:
    from lakehouse.adapters import ingestion

    done = ingestion.upload(load_settings(), folder)
    if done.refused:
        out.table("Not sent", ["file", "reason", "why"], [tuple(row.values()) for row in done.refused])
    out.info(f"{done.files} files in {folder}: {done.sent} sent to s3://landing, {done.unchanged} there already")
    out.result({"folder": str(folder), **asdict(done)})
    if done.refused:
        raise RejectedInputError(
            f"{len(done.refused)} of {done.files} files were not sent.",
            reason=done.refused[0]["reason"],
            hint="The table says why; the others are there. Mend and run the command again.",
        )


@app.command()
def upload(path: Annotated[Path, typer.Argument(help="A folder, or one file.")], as_json: Json = False) -> None:
    """Put all files of a folder into s3://landing; files that are there already are left alone.

    Example: wavehouse ingest upload ~/Music
    """
    _uploaded(Output(as_json=as_json), path.expanduser())


@app.command("fetch-demo-audio")
def fetch_demo_audio(as_json: Json = False) -> None:
    """Fetch the demo's music (a Debian package of free recordings) and put it into s3://landing.

    Example: wavehouse ingest fetch-demo-audio
    """
    from infra.local.engines import cache_root
    from lakehouse.adapters import demo_audio

    _uploaded(Output(as_json=as_json), demo_audio.fetch(cache_root() / "audio"))


@app.command("list")
def list_waiting(
    batch_size: Annotated[int, typer.Option(min=1, help="Files a batch.")] = 12,
    max_batches: Annotated[int, typer.Option(min=1, help="At most so many; the rest waits for the next run.")] = 1000,
    landed_since: Annotated[
        str, typer.Option(help="Only those that landed from this date, or moment with its offset from UTC, on.")
    ] = "",
    skip_when_none: Annotated[
        bool, typer.Option("--skip-when-none", help=f"Exit with {SKIPPED} when no file waits.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show the landed files that have not been processed, in batches.

    Example: wavehouse ingest list --batch-size 12 --json
    """
    from lakehouse.adapters import ingestion

    since = moment_given(landed_since, hint="--landed-since 2026-03-06T04:00:00Z") if landed_since else None
    keys = [landed.object_key for landed in ingestion.waiting(load_settings(), since)]
    batches = [keys[i : i + batch_size] for i in range(0, len(keys), batch_size)][:max_batches]
    out = Output(as_json=as_json)
    out.table(f"{len(keys)} files wait", ["batch", "file"], [(i, k) for i, b in enumerate(batches, 1) for k in b])
    out.result({"waiting": len(keys), "batches": batches})
    if skip_when_none and not keys:
        raise typer.Exit(SKIPPED)


@app.command()
def backlog(
    kbit_s: Annotated[float, typer.Option(min=1, help="Average bit rate of the deliveries in kbit/s.")] = 320.0,
    most: Annotated[int, typer.Option(min=1, help="Workers that there are at most.")] = 50,
    prometheus: Annotated[bool, typer.Option("--prometheus", help="Print Prometheus' text format.")] = False,
    as_json: Json = False,
) -> None:
    """Show how much waits in landing, since when, what it will cost, and how many workers the scaler would ask for.

    Deliveries (messages and feeds below deliveries/) are counted apart: the service `deliveries` takes them in, one
    after another, and no worker of the scaler does. `wavehouse features pending` shows what waits for features.

    Example: wavehouse ingest backlog --prometheus > /var/lib/node_exporter/wavehouse.prom
    """
    from lakehouse.adapters import intake
    from lakehouse.domain.capacity import backlog as waiting
    from lakehouse.domain.capacity.queue import Fleet

    files, delivered = intake.backlog(load_settings(), kbit_s)
    if prometheus:
        sys.stdout.write(waiting.exposition(files, delivered))
        return
    out = Output(as_json=as_json)
    values = {
        **asdict(files),
        "workers_wanted": Fleet(least=0, most=most).wanted(files.core_s),
        "deliveries": delivered.number,
        "deliveries_bytes": delivered.size_bytes,
        "deliveries_oldest_age_s": delivered.oldest_age_s,
    }
    out.table("Waiting in landing", ["what", "value"], list(values.items()))
    out.result(values)


@app.command()
def batch(
    keys: Annotated[list[str] | None, typer.Argument(help="Keys in s3://landing.")] = None,
    keys_json: Annotated[
        str, typer.Option("--keys", envvar="WAVEHOUSE_INGEST_KEYS", help="Keys as a JSON array, instead of arguments.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Probe and validate landed files: accept them into the catalogue, or keep them in quarantine with a reason.

    A file that has an outcome already keeps it. Of a list (--keys) a file may be gone by now; one that is named must be
    there.

    Example: wavehouse ingest batch "Some Album/01 Track.flac"
    """
    outcomes = _process(Output(as_json=as_json), keys or _parse(keys_json))
    if keys and (gone := [one for one in outcomes if one.reason == "no_such_object"]):
        raise RejectedInputError(
            f"There is no object '{gone[0].object_key}' in s3://landing.",
            reason="no_such_object",
            value=gone[0].object_key,
            hint="See the waiting ones with `wavehouse ingest list`.",
        )


@app.command()
def run(as_json: Json = False) -> None:
    """Process every waiting file in this process: what the DAG ingest_audio does in parallel.

    Example: wavehouse ingest run
    """
    from lakehouse.adapters import ingestion

    _process(Output(as_json=as_json), [landed.object_key for landed in ingestion.waiting(load_settings())])


def _parse(keys_json: str) -> list[str]:
    try:
        keys = json.loads(keys_json)
    except ValueError:
        keys = None
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise RejectedInputError(
            "The keys are not a JSON array of texts.",
            reason="invalid_keys",
            value=keys_json,
            hint="""Give keys as arguments, or --keys '["a.ogg", "b.ogg"]'.""",
        )
    return keys


def _process(out: Output, keys: list[str]) -> list[Outcome]:
    from lakehouse.adapters import ingestion

    outcomes = ingestion.process_batch(load_settings(), keys)
    counts = _show_files(out, outcomes)
    if defects := [one for one in outcomes if one.reason == "internal_error"]:
        raise FatalError(
            f"{len(defects)} of {counts['in']} files could not be judged and still wait; the others are done. "
            f"{defects[0].object_key}: {defects[0].message}",
            hint="Report it with the end of `defects.log`.",
        )
    out.result(counts)
    return outcomes


def _show_files(out: Output, outcomes: list[Outcome]) -> dict[str, Any]:
    """Show what became of files; returns the counts."""
    from lakehouse.adapters import ingestion

    counts = ingestion.count(outcomes)
    rows = [(o.object_key, o.outcome, o.reason, o.message) for o in outcomes if o.outcome != "accepted"]
    if rows:
        out.table("Not accepted", ["file", "outcome", "reason", "why"], rows)
    parts = (f"{counts[name]} {name}" for name in ("accepted", "duplicate", "rejected"))
    out.info(f"{counts['in']} in = {' + '.join(parts)}")
    return counts


@app.command()
def report(as_json: Json = False) -> None:
    """Show what became of everything that landed, and check that ledger, catalogue and store agree.

    Example: wavehouse ingest report
    """
    from lakehouse.adapters import ingestion

    out = Output(as_json=as_json)
    values = ingestion.report(load_settings())
    rows: list[tuple[Any, ...]] = [
        (name, values[name]) for name in ("landed", "waiting", "accepted", "duplicate", "rejected")
    ]
    rows += [(f"  {reason}", number) for reason, number in values["rejected_by_reason"].items()]
    out.table("Audio files", ["outcome", "files"], rows)
    if values["beside"]:
        out.info(f"Beside them: {values['beside']} pictures, lyrics and links. See `wavehouse ingest take --help`.")
    if values["rejections"]:
        out.table(
            "In quarantine",
            ["file", "reason", "why"],
            [(r["object_key"], r["reason"], r["message"]) for r in values["rejections"]],
        )
    out.table("Checks", ["check", "left", "right", "equal"], [tuple(check.values()) for check in values["checks"]])
    out.result(values)
    if wrong := [check["name"] for check in values["checks"] if not check["equal"]]:
        raise FatalError(
            f"The ledger and the catalogue disagree: {'; '.join(wrong)}.",
            hint="Run `wavehouse ingest run`; if it stays, rows were changed by hand.",
        )


@app.command()
def reasons(as_json: Json = False) -> None:
    """Explain the codes that quarantine files, messages and feeds, and how to mend each; `rules` has all codes.

    Example: wavehouse ingest reasons
    """
    from lakehouse.domain.catalog.quality.catalogue import ENTRIES

    _show_codes(Output(as_json=as_json), [entry for entry in ENTRIES.values() if entry.severity == "quarantined"])


@app.command()
def rules(
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the page docs/architecture/metadata-rules.md.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Explain all rules about metadata, files and deliveries: code, severity, example and how to mend each.

    Example: wavehouse ingest rules
    """
    from lakehouse.domain.catalog.quality.catalogue import ENTRIES, as_markdown

    if markdown:
        sys.stdout.write(as_markdown())
        return
    _show_codes(Output(as_json=as_json), ENTRIES.values())


def _show_codes(out: Output, entries: Iterable[Entry]) -> None:
    columns = ["code", "severity", "meaning", "example", "fix"]
    rows = [(e.code, e.severity, e.meaning, e.example, e.fix) for e in entries]
    out.table("Rules", columns, rows)
    out.result([dict(zip(columns, row, strict=True)) for row in rows])


Report = Annotated[Path | None, typer.Option("--report", help="Write every outcome to this JSON file.")]


@app.command()
def take(
    source: Annotated[str, typer.Argument(help="A folder, a file, or s3://landing/...")],
    report_file: Report = None,
    as_json: Json = False,
) -> None:
    """Take in all of a folder or prefix: ERN deliveries, podcast feeds, tagged files with artwork and lyrics beside.

    `take` may be left out. Ends with code 65 when something was refused; everything else is done.

    Example: wavehouse ingest ~/delivery --report outcome.json
    """
    from lakehouse.adapters import intake

    found = intake.take(load_settings(), source)
    out = Output(as_json=as_json)
    if found.files:
        _show_files(out, found.files)
    _finish(out, report_file, asdict(found), found.deliveries + found.companions, found.rejected)


@app.command()
def deliver(
    source: Annotated[str, typer.Argument(help="A folder, or s3://landing/deliveries/...")],
    report_file: Report = None,
    as_json: Json = False,
) -> None:
    """Take in DDEX ERN deliveries (new releases, updates, takedowns) and podcast feeds, each whole or not at all.

    Example: wavehouse ingest deliver ~/delivery --report outcome.json
    """
    from lakehouse.adapters import deliveries

    done = deliveries.deliver(load_settings(), source)
    refused = sum(one.outcome == "rejected" for one in done)
    _finish(Output(as_json=as_json), report_file, [asdict(one) for one in done], done, refused)


def _finish(out: Output, report_file: Path | None, report: Any, shown: list[Delivered], refused: int) -> None:
    """Show and write what became of a delivery.

    Raises:
        RejectedInputError: something was refused; with --json its exit code alone.
    """
    if shown:
        rows = [(one.source, one.release_key, one.outcome, one.reason, one.message) for one in shown]
        out.table("Deliveries", ["message", "release", "outcome", "reason", "why"], rows)
    if report_file:
        report_file.write_text(json.dumps(report, indent=2, default=str, ensure_ascii=False))
    out.result(report)
    if refused and out.as_json:
        raise typer.Exit(RejectedInputError.exit_code)  # the report is the one document
    if refused:
        raise RejectedInputError(
            f"{refused} of what was delivered were refused.",
            reason="deliveries_refused",
            hint="The table says why; the others are done. Mend and send again, or see `wavehouse ingest quarantine`.",
        )


@app.command()
def watch(
    source: Annotated[str, typer.Argument(help="A folder, or s3://landing/...")] = "s3://landing/deliveries/",
    every: Annotated[float, typer.Option(min=1, help="Seconds between two looks.")] = 15,
    as_json: Json = False,
) -> None:
    """Take in messages and feeds as they land, until it is stopped: the service `deliveries` of the stack.

    Example: wavehouse ingest watch --every 15
    """
    from lakehouse.adapters import intake

    out = Output(as_json=as_json)
    intake.watch(load_settings(), stopped_by_signals(), address=source, every_s=every, say=log(out))
    out.result({"stopped": True})


@app.command()
def work(
    every: Annotated[float, typer.Option(min=1, help="Seconds between two looks.")] = 15,
    name: Annotated[str, typer.Option(help="Name of this worker, unlike the others'; default: the host's.")] = "",
    as_json: Json = False,
) -> None:
    """Take in single files as they land, until it is stopped, beside any number of workers that do the same.

    What the DAGs watch_landing and ingest_audio do every few minutes, all the time: `infra/cluster` scales it by the
    backlog.

    Example: wavehouse ingest work --every 15
    """
    import socket

    from lakehouse.adapters import ingestion

    out = Output(as_json=as_json)
    worker = name or socket.gethostname()
    ingestion.work(load_settings(), stopped_by_signals(), every_s=every, worker=worker, say=log(out))
    out.result({"stopped": True})


@app.command()
def history(release: Annotated[str, typer.Argument(help="UPC/EAN or GRid.")], as_json: Json = False) -> None:
    """Show every version of a delivered release: who sent it, when, and what it changed.

    Example: wavehouse ingest history 4006381333931
    """
    from lakehouse.adapters import deliveries

    out = Output(as_json=as_json)
    rows = deliveries.history(load_settings(), _release_key(release))
    columns = ["version", "message_at", "sender", "message_id", "action"]
    if not rows:
        out.info(f"No message about {release} was taken in; `wavehouse ingest quarantine` lists what was refused.")
    out.table(f"Release {release}", columns, [[row[name] for name in columns] for row in rows])
    changed = [(row["version"], c["field"], c["before"], c["after"]) for row in rows[1:] for c in row["changed"]]
    if changed:
        out.table("What changed", ["version", "field", "before", "after"], changed)
    out.result(rows)


@app.command()
def available(
    release: Annotated[str, typer.Argument(help="UPC/EAN or GRid.")],
    territory: Annotated[str, typer.Option(help="ISO 3166-1 alpha-2.")],
    on: Annotated[str, typer.Option("--on", help="A date, or a moment with its offset from UTC.")],
    model: Annotated[str | None, typer.Option(help="DDEX CommercialModelType; default: any.")] = None,
    use: Annotated[str | None, typer.Option(help="DDEX UseType; default: any.")] = None,
    as_json: Json = False,
) -> None:
    """Say whether a release and its tracks may be played somewhere, then, and by which deals.

    A date is its first moment, UTC. A track that deals name alone goes by these, not by the release's.

    Example: wavehouse ingest available 4006381333931 --territory FR --on 2026-03-06 --model SubscriptionModel
    """
    from lakehouse.adapters.catalog_reader import CatalogReader
    from lakehouse.domain.catalog.deliveries.messages import moment, permitting
    from lakehouse.domain.catalog.quality.codes import normalise_territory

    try:
        at, where = moment(on), normalise_territory(territory)
    except ValueError as error:
        raise RejectedInputError(
            f"{error}.", reason="invalid_question", hint="--territory FR --on 2026-03-06"
        ) from error
    reader = CatalogReader(load_settings())
    try:
        row = reader.release(_release_key(release))
    finally:
        reader.close()
    found = permitting(row.windows, where, at, model=model, use=use) if row else []
    out = Output(as_json=as_json)
    state = "available" if found else "not available" if row else "not in the catalogue, or taken down"
    out.info(f"{release} is {state} in {where} at {at.isoformat()}")
    columns = ["territory", "commercial_model", "use_type", "starts_at", "ends_at"]
    out.table("By these deals", columns, [[getattr(window, name) for name in columns] for window in found])
    tracks = []
    for track in row.tracks if row else ():
        own = permitting(row.windows_of(track.content_id), where, at, model=model, use=use) if row else []
        tracks.append({"track_id": track.content_id, "title": track.title, "available": bool(own)})
    out.table("Tracks", ["track", "title", "available"], [tuple(track.values()) for track in tracks])
    deals = [asdict(window) for window in found]
    out.result({"available": bool(found), "visible": row is not None, "deals": deals, "tracks": tracks})


def _release_key(text: str) -> str:
    from lakehouse.domain.catalog.identifiers import release_key

    try:
        return release_key(text)
    except ValueError as error:
        raise RejectedInputError(
            f"{error}.", reason="invalid_icpn", hint="Name a release by UPC, EAN or GRid."
        ) from error


@app.command()
def quarantine(
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100, as_json: Json = False
) -> None:
    """List refused files and messages with their reasons. `inspect` shows one with all that is known of it.

    Example: wavehouse ingest quarantine
    """
    from lakehouse.adapters.catalog_db import CatalogDb

    out = Output(as_json=as_json)
    with CatalogDb(load_settings()) as db:
        files = db.rejections(limit=limit)
        messages = [row for row in db.deliveries() if row["outcome"] == "rejected"][:limit]
    out.table("Files", ["file", "reason", "why"], [(r["object_key"], r["reason"], r["message"]) for r in files])
    shown = [(r["digest"][:KEY_LENGTH], r["source"], r["reason"], r["message"]) for r in messages]
    out.table("Messages", ["key", "message", "reason", "why"], shown)
    out.result({"files": files, "messages": messages})


@app.command()
def findings(limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100, as_json: Json = False) -> None:
    """List what was noticed about accepted audio: the same recording in another encoding, silence, mended tags.

    Nothing is merged or hidden for it; `wavehouse ingest rules` explains the codes.

    Example: wavehouse ingest findings
    """
    from lakehouse.adapters.catalog_db import CatalogDb

    out = Output(as_json=as_json)
    with CatalogDb(load_settings()) as db:
        rows = db.findings(limit=limit)
    columns = ["code", "title", "artist_name", "other_title", "other_artist_name", "value"]
    out.table("Findings", columns, [tuple(row[name] for name in columns) for row in rows])
    out.result(rows)


@app.command()
def inspect(
    key: Annotated[str, typer.Argument(help="Key of a refused file or message.")], as_json: Json = False
) -> None:
    """Show a refused file or message: why, the offending values, and what people did about it.

    Example: wavehouse ingest inspect 3f1d0c2ab9e4
    """
    from lakehouse.adapters.catalog_db import CatalogDb

    out = Output(as_json=as_json)
    with CatalogDb(load_settings()) as db:
        if found := db.refused_message(key):
            found.pop("document")
            found["actions"] = db.message_actions(found["digest"])
        else:
            found = db.quarantined(key)
            found["corrections"] = found["corrections"].as_json()
    rows = [(name, value) for name, value in found.items() if name not in ("actions", "corrections", "beside")]
    out.table(key, ["field", "value"], rows)
    _show_actions(out, found["actions"])
    out.result(found)


@app.command()
def actions(limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100, as_json: Json = False) -> None:
    """Show what people did in the quarantine, the newest first: who, when, why.

    Example: wavehouse ingest actions
    """
    from lakehouse.adapters.catalog_db import CatalogDb

    out = Output(as_json=as_json)
    with CatalogDb(load_settings()) as db:
        rows = db.actions(limit=limit)
    _show_actions(out, rows)
    out.result(rows)


def _show_actions(out: Output, rows: list[dict[str, Any]]) -> None:
    columns = ["at", "actor", "action", "object_key", "note", "value"]
    out.table("Actions", columns, [[row[name] for name in columns] for row in rows])


Actor = Annotated[str, typer.Option("--by", help="Who does it; stands in the audit entry.")]
Note = Annotated[str, typer.Option("--note", help="Why.")]
#: Characters of a message's digest that name it.
KEY_LENGTH = 12


@app.command()
def fix(
    key: Annotated[str, typer.Argument(help="Key of the refused file or message.")],
    by: Actor,
    tags: Annotated[list[str] | None, typer.Option("--set", help="name=value; several times.")] = None,
    accept: Annotated[list[str] | None, typer.Option("--accept", help="A rule to pass over; several times.")] = None,
    note: Note = "",
    as_json: Json = False,
) -> None:
    """Lay right values over those of a refused file (tags) or message (`title`, `A1.title`); `release` judges it again.

    A message that is delivered again is corrected too.

    Example: wavehouse ingest fix "a/b.flac" --set title="Right Title" --set isrc=USS1Z9900001 --by ada
    """
    from lakehouse.adapters import deliveries
    from lakehouse.adapters.catalog_db import CatalogDb
    from lakehouse.domain.catalog.deliveries.corrections import Corrections

    pairs = dict(tag.split("=", 1) for tag in tags or () if "=" in tag)
    if len(pairs) != len(tags or ()) or not (pairs or accept):
        raise RejectedInputError("A tag is not name=value.", reason="invalid_tag", value=tags, hint="--set title=Name")
    settings, at = load_settings(), datetime.now(UTC)
    with CatalogDb(settings) as db:
        laid = Corrections(pairs, frozenset(accept or ()))
        if db.refused_message(key):
            deliveries.fix_message(settings, key, laid, actor=by, note=note, at=at)
        else:
            db.fix(key, laid, actor=by, note=note, at=at)
    out = Output(as_json=as_json)
    out.info(f"{key}: {', '.join([*pairs, *(accept or ())])} will be used")
    out.result({"object_key": key, "tags": pairs, "accepted": accept or []})


@app.command()
def release(
    key: Annotated[str, typer.Argument(help="Key of the refused file or message.")],
    by: Actor,
    note: Note = "",
    as_json: Json = False,
) -> None:
    """Judge a refused file or message again, with its fixes, and take it into the catalogue if it passes.

    Example: wavehouse ingest release "a/b.flac" --by ada --note "title confirmed by the label"
    """
    from lakehouse.adapters import deliveries
    from lakehouse.adapters.catalog_db import CatalogDb

    out, settings, at = Output(as_json=as_json), load_settings(), datetime.now(UTC)
    with CatalogDb(settings) as db:
        message = db.refused_message(key)
    if message:
        done = asdict(deliveries.release_message(settings, message["digest"], actor=by, note=note, at=at))
    else:
        done = deliveries.release_from_quarantine(settings, key, actor=by, note=note, at=at)
    out.info(f"{key}: {done['outcome']}")
    out.result(done)
