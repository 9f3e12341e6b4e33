"""`wavehouse royalties read-dsr` and `write-dsr`: sales reports in DDEX's flat-file standard; part of `royalties`."""

from __future__ import annotations

from calendar import monthrange
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lakehouse.cli.options import Period
from lakehouse.cli.output import Output
from lakehouse.domain.royalties.dsr.records import CURRENT, VERSIONS
from lakehouse.domain.royalties.periods import CLOSED
from lakehouse.errors import RejectedInputError

if TYPE_CHECKING:
    from lakehouse.domain.royalties.dsr.writing import Party

app = typer.Typer(help="Sales reports (DDEX DSR).", no_args_is_help=True)


@app.command("read-dsr")
def read_dsr(
    files: Annotated[list[Path], typer.Argument(help="All files of one report (.tsv or .tsv.gz), in any order.")],
    any_name: Annotated[bool, typer.Option("--any-name", help="Don't hold file names against the standard.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Violations to show; all are counted.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Check a sales report of anybody against the standard: each violation with line and cell. Fails if there is one.

    Example: wavehouse royalties read-dsr DSR_Label_Wavehouse_Premium_2026-10_DE_1of1_20261102T030000.tsv
    """
    from lakehouse.adapters import sales_reports
    from lakehouse.domain.royalties.dsr import names
    from lakehouse.domain.royalties.dsr.reading import Reading, Violation

    def number(path: Path) -> tuple[int, str]:
        try:
            return names.parse(path.name).number, path.name
        except RejectedInputError:
            return 0, path.name

    out = Output(as_json=as_json)
    shown: list[Violation] = []
    count = 0

    def keep(violation: Violation) -> None:
        nonlocal count
        count += 1
        if len(shown) < limit:
            shown.append(violation)

    with sales_reports.new_on_disk() as is_new:
        reading = Reading(is_new)
        for path in sorted(files, key=number):
            try:
                for violation in reading.read(path.name, sales_reports.lines(path), check_name=not any_name):
                    keep(violation)
            except RejectedInputError as error:
                keep(Violation(path.name, 0, "", "", error.reason, error.message))
        for violation in reading.finish():
            keep(violation)
    counted = {
        "files": len(files),
        "lines": reading.lines,
        "summaries": reading.summaries,
        "blocks": reading.blocks,
        "uses": int(reading.uses) if reading.uses == reading.uses.to_integral_value() else str(reading.uses),
        "violations": count,
    }
    header = {name: value for name, value in reading.header.items() if value}
    out.table("Report", ["", ""], [*header.items(), *counted.items()])
    if shown:
        out.table(
            f"Violations{f', the first {limit}' if count > limit else ''}",
            ["file", "line", "record", "cell", "rule", "what", "value"],
            [(v.file, v.line or "", v.record, v.cell, v.rule, v.message, v.value) for v in shown],
        )
    out.result({"header": header, **counted, "shown": [asdict(violation) for violation in shown]})
    if count:
        raise typer.Exit(RejectedInputError.exit_code)


@app.command("write-dsr")
def write_dsr(
    period: Period,
    sender: Annotated[str, typer.Option(help="Our DDEX Party Identifier and name: PADPIDA...::Name.")],
    recipient: Annotated[str, typer.Option(help="The licensor's, likewise.")],
    created_at: Annotated[str, typer.Option(help="Moment the report is dated with, as 2026-11-02T03:00:00Z.")],
    territory: Annotated[str, typer.Option(help="One market (ISO 3166-1), or all.")] = "",
    payee: Annotated[
        str, typer.Option(help="Only recordings that this payee holds or licenses, by the contracts settled with.")
    ] = "",
    service: Annotated[str, typer.Option(help="Name of the service, without spaces and underscores.")] = "Wavehouse",
    message_id: Annotated[str, typer.Option(help="Identifier of the message; from period and moment if none.")] = "",
    folder: Annotated[Path, typer.Option("--to", help="Folder to write into.")] = Path(),
    version: Annotated[
        str, typer.Option("--profile-version", help="Of the Basic Audio Profile: 1.4 or 1.2.")
    ] = CURRENT,
    message_version: Annotated[
        str,
        typer.Option(help="Versions of parts 1, 2 and 8 of the standard, as the recipient wants them: dsrf/.../..."),
    ] = "",
    gz: Annotated[bool, typer.Option("--gz", help="Compress the file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Write the month's streams of all catalogued tracks as a sales report (Basic Audio Profile). The same options and
    data give the same bytes.

    A month that was settled (`royalties run`) is reported as it was settled, and every stream of the report is
    accounted for in the settlement; of a closed month the report never changes.

    Example: wavehouse royalties write-dsr --period 2026-10 --sender PADPIDA2014111801Y::Wavehouse
    --recipient PADPIDA2013020802I::Label --created-at 2026-11-02T03:00:00Z --territory DE --to reports
    """
    from lakehouse.adapters import sales_reports
    from lakehouse.config.settings import load_settings
    from lakehouse.domain.royalties.dsr.writing import Header, file_name, render

    out = Output(as_json=as_json)
    if version not in VERSIONS:
        raise RejectedInputError(
            f"--profile-version: {version} is none of {', '.join(VERSIONS)}.", reason="dsr_option", value=version
        )
    first = _moment(f"{period}-01", "--period").date()
    moment = _moment(created_at, "--created-at")
    last = date(first.year, first.month, monthrange(first.year, first.month)[1])
    header = Header(
        message_id=message_id
        or "-".join(filter(None, (period, territory or "all", payee, f"{moment:%Y%m%dT%H%M%SZ}"))),
        created_at=moment,
        first_on=first,
        last_on=last,
        sender=_party(sender, "--sender"),
        recipient=_party(recipient, "--recipient"),
        service=service,
        version=version,
        message_version=message_version,
    )
    settings = load_settings()
    of = sales_reports.subject(settings, period, territory, payee)
    contexts = sales_reports.contexts(settings, of, service)
    units = sales_reports.reconcile(settings, of, contexts)
    path = folder / (str(file_name(header, territory or "Worldwide")) + (".gz" if gz else ""))
    sales_reports.write(path, render(header, contexts, sales_reports.recordings(settings, of)))
    streams = sum(context.usages for context in contexts)
    out.table("Sales report", ["file", "contexts", "streams"], [(path, len(contexts), streams)])
    if of.settled is None or units is None:
        out.info(f"{period} is not settled: this is what is published now, a later report may differ.")
    else:
        unknown = "" if units.unknown is None else f"; {units.unknown} more are of tracks the catalogue doesn't know"
        out.info(
            f"Streams: {units.reported} reported = {units.settled} settled "
            f"+ {units.unlicensed} in which nobody holds a right{unknown}."
        )
        stands = "closed: the report stays as it is" if of.settled.state.state == CLOSED else "not closed yet"
        counted = of.settled.inputs.counting_policy
        out.info(f"As settled: {of.settled.state.digest}{counted and f', counted by {counted}'}, {stands}.")
    out.result(
        {
            "file": str(path),
            "contexts": len(contexts),
            "streams": streams,
            "settlement": of.settled.state.digest if of.settled else None,
            "state": of.settled.state.state if of.settled else "open",
            "counting_policy": of.settled.inputs.counting_policy or None if of.settled else None,
            "units": asdict(units) if units else None,
        }
    )


def _moment(text: str, option: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise RejectedInputError(
            f"{option}: '{text}' is no such time.", reason="dsr_option", hint="See --help for the form."
        ) from error
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _party(text: str, option: str) -> Party:
    from lakehouse.domain.royalties.dsr.writing import Party

    dpid, separator, name = text.partition("::")
    if not (separator and name):
        raise RejectedInputError(
            f"{option}: '{text}' must be PADPIDA...::Name.", reason="dsr_option", hint="See --help for the form."
        )
    return Party(dpid, name)
