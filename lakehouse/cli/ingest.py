"""`wavehouse ingest`: audio files from a folder to the landing bucket, and from there into the catalogue."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from lakehouse.cli.output import Output
from lakehouse.config.settings import load_settings
from lakehouse.errors import FatalError, RejectedInputError

app = typer.Typer(help="Bring audio files into the catalogue.", no_args_is_help=True)

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
    as_json: Json = False,
) -> None:
    """Show the landed files that have not been processed, in batches.

    Example: wavehouse ingest list --batch-size 12 --json
    """
    from lakehouse.adapters import ingestion

    keys = [landed.object_key for landed in ingestion.waiting(load_settings())]
    batches = [keys[i : i + batch_size] for i in range(0, len(keys), batch_size)][:max_batches]
    out = Output(as_json=as_json)
    out.table(f"{len(keys)} files wait", ["batch", "file"], [(i, k) for i, b in enumerate(batches, 1) for k in b])
    out.result({"waiting": len(keys), "batches": batches})


@app.command()
def backlog(
    kbit_s: Annotated[float, typer.Option(min=1, help="Average bit rate of the deliveries in kbit/s.")] = 320.0,
    most: Annotated[int, typer.Option(min=1, help="Workers that there are at most.")] = 50,
    prometheus: Annotated[bool, typer.Option("--prometheus", help="Print Prometheus' text format.")] = False,
    as_json: Json = False,
) -> None:
    """Show how much waits in landing, since when, what it will cost, and how many workers the scaler would ask for.

    Example: wavehouse ingest backlog --prometheus > /var/lib/node_exporter/wavehouse.prom
    """
    from lakehouse.adapters import ingestion
    from lakehouse.domain.capacity import backlog as waiting
    from lakehouse.domain.capacity.ingest import measured
    from lakehouse.domain.capacity.queue import Fleet

    landed = [(one.size_bytes, one.received_at) for one in ingestion.waiting(load_settings())]
    found = waiting.backlog(landed, datetime.now(UTC), measured(), kbit_s)
    if prometheus:
        sys.stdout.write(waiting.exposition(found))
        return
    out = Output(as_json=as_json)
    values = {**asdict(found), "workers_wanted": Fleet(least=0, most=most).wanted(found.core_s)}
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

    A file that has an outcome already keeps it.

    Example: wavehouse ingest batch "Some Album/01 Track.flac"
    """
    wanted = keys or _parse(keys_json)
    _process(Output(as_json=as_json), wanted)


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


def _process(out: Output, keys: list[str]) -> None:
    from lakehouse.adapters import ingestion

    outcomes = ingestion.process_batch(load_settings(), keys)
    counts = ingestion.count(outcomes)
    rows = [(o.object_key, o.outcome, o.reason, o.message) for o in outcomes if o.outcome != "accepted"]
    if rows:
        out.table("Not accepted", ["file", "outcome", "reason", "why"], rows)
    parts = (f"{counts[name]} {name}" for name in ("accepted", "duplicate", "rejected"))
    out.info(f"{counts['in']} in = {' + '.join(parts)}")
    out.result(counts)


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
    """Explain the reason codes of refused files and how to mend each.

    Example: wavehouse ingest reasons
    """
    from lakehouse.domain.audio.reasons import Reason

    out = Output(as_json=as_json)
    out.table("Reasons", ["code", "meaning", "what to do"], [(r.code, r.meaning, r.fix) for r in Reason])
    out.result([{"code": r.code, "meaning": r.meaning, "fix": r.fix} for r in Reason])


@app.command()
def rules(
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the page docs/architecture/metadata-rules.md.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Explain the rules about metadata: code, severity, example and how to mend each.

    Example: wavehouse ingest rules
    """
    from lakehouse.domain.catalog.quality.rules import Rule, as_markdown

    if markdown:
        sys.stdout.write(as_markdown())
        return
    out = Output(as_json=as_json)
    columns = ["code", "severity", "meaning", "example", "fix"]
    rows = [(r.code, r.severity, r.meaning, r.example, r.fix) for r in Rule]
    out.table("Rules", columns, rows)
    out.result([dict(zip(columns, row, strict=True)) for row in rows])


@app.command()
def deliver(
    source: Annotated[str, typer.Argument(help="A folder, or s3://landing/deliveries/...")],
    report_file: Annotated[Path | None, typer.Option("--report", help="Write every outcome to this JSON file.")] = None,
    as_json: Json = False,
) -> None:
    """Take in DDEX ERN deliveries: new releases, updates and takedowns, each whole or not at all.

    Example: wavehouse ingest deliver ~/delivery --report outcome.json
    """
    from lakehouse.adapters import deliveries

    out = Output(as_json=as_json)
    rows = [asdict(done) for done in deliveries.deliver(load_settings(), source)]
    shown = [(r["source"], r["release_key"], r["outcome"], r["reason"], r["message"]) for r in rows]
    out.table("Deliveries", ["message", "release", "outcome", "reason", "why"], shown)
    if report_file:
        report_file.write_text(json.dumps(rows, indent=2, default=str, ensure_ascii=False))
    out.result(rows)
    if refused := sum(row["outcome"] == "rejected" for row in rows):
        raise RejectedInputError(
            f"{refused} of {len(rows)} messages were refused.",
            reason="deliveries_refused",
            hint="The table says why; the others are done. Mend and send again.",
        )


@app.command()
def history(release: Annotated[str, typer.Argument(help="UPC/EAN or GRid.")], as_json: Json = False) -> None:
    """Show every version of a delivered release: who sent it, when, and what it did.

    Example: wavehouse ingest history 4006381333931
    """
    from lakehouse.adapters.catalog_db import CatalogDb

    out = Output(as_json=as_json)
    with CatalogDb(load_settings()) as db:
        rows = db.history(release)
    columns = ["version", "message_at", "sender", "message_id", "action"]
    out.table(f"Release {release}", columns, [[row[name] for name in columns] for row in rows])
    out.result(rows)


@app.command()
def quarantine(
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100, as_json: Json = False
) -> None:
    """List refused files and messages with their reasons.

    Example: wavehouse ingest quarantine
    """
    from lakehouse.adapters.catalog_db import CatalogDb

    out = Output(as_json=as_json)
    with CatalogDb(load_settings()) as db:
        files = db.rejections(limit=limit)
        messages = [row for row in db.deliveries() if row["outcome"] == "rejected"][:limit]
    out.table("Files", ["file", "reason", "why"], [(r["object_key"], r["reason"], r["message"]) for r in files])
    out.table("Messages", ["message", "reason", "why"], [(r["source"], r["reason"], r["message"]) for r in messages])
    out.result({"files": files, "messages": messages})


@app.command()
def findings(limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100, as_json: Json = False) -> None:
    """List what was noticed about accepted audio: the same recording in another encoding, silence, clipping.

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


Actor = Annotated[str, typer.Option("--by", help="Who does it; stands in the audit entry.")]
Note = Annotated[str, typer.Option("--note", help="Why.")]


@app.command()
def fix(
    key: Annotated[str, typer.Argument(help="Key of the refused file.")],
    tags: Annotated[list[str], typer.Option("--set", help="name=value; several times.")],
    by: Actor,
    note: Note = "",
    as_json: Json = False,
) -> None:
    """Lay right tags over those of a refused file; `wavehouse ingest release` then judges it again.

    Example: wavehouse ingest fix "a/b.flac" --set title="Right Title" --set isrc=USS1Z9900001 --by ada
    """
    from lakehouse.adapters.catalog_db import CatalogDb

    pairs = dict(tag.split("=", 1) for tag in tags if "=" in tag)
    if len(pairs) != len(tags):
        raise RejectedInputError("A tag is not name=value.", reason="invalid_tag", value=tags, hint="--set title=Name")
    with CatalogDb(load_settings()) as db:
        db.fix(key, pairs, actor=by, note=note, at=datetime.now(UTC))
    out = Output(as_json=as_json)
    out.info(f"{key}: {', '.join(pairs)} will be used")
    out.result({"object_key": key, "tags": pairs})


@app.command()
def release(
    key: Annotated[str, typer.Argument(help="Key of the refused file.")],
    by: Actor,
    note: Note = "",
    as_json: Json = False,
) -> None:
    """Judge a refused file again, with its fixes, and take it into the catalogue if it passes.

    Example: wavehouse ingest release "a/b.flac" --by ada --note "title confirmed by the label"
    """
    from lakehouse.adapters import deliveries

    out = Output(as_json=as_json)
    done = deliveries.release_from_quarantine(load_settings(), key, actor=by, note=note, at=datetime.now(UTC))
    out.info(f"{key}: {done['outcome']}")
    out.result(done)
