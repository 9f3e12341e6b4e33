"""`wavehouse royalties`: a month's settlement, from calculation over approval to the closed books."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lakehouse.cli import royalties_dsr
from lakehouse.cli.options import Period
from lakehouse.cli.output import Output
from lakehouse.config.settings import load_settings
from lakehouse.errors import FatalError

if TYPE_CHECKING:
    from lakehouse.adapters.royalties_trace import AccountSide, EntryTrace
    from lakehouse.domain.royalties.settlement import Line

app = typer.Typer(help="Royalties: settle a month, approve it, close it, trace it.", no_args_is_help=True)
app.add_typer(royalties_dsr.app)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command()
def migrate(as_json: Json = False) -> None:
    """Bring the payout ledger's tables to the newest revision.

    Example: wavehouse royalties migrate
    """
    from lakehouse.adapters import royalties_ledger

    out = Output(as_json=as_json)
    applied = royalties_ledger.migrate(load_settings())
    out.info(f"Applied: {', '.join(applied)}" if applied else "The payout ledger is up to date")
    out.result({"applied": applied})


@app.command()
def periods(as_json: Json = False) -> None:
    """Where each period stands, and which settlement it was calculated as.

    Example: wavehouse royalties periods
    """
    from dataclasses import asdict, astuple

    from lakehouse.adapters.royalties_ledger import Ledger

    out = Output(as_json=as_json)
    with Ledger(load_settings()) as ledger:
        known = ledger.periods()
    out.table("Periods", ["period", "state", "settlement", "decided by"], map(astuple, known))
    out.result([asdict(entry) for entry in known])


@app.command()
def steps(
    period: Period,
    as_json: Json = False,
) -> None:
    """Who did what with a period, and when: calculated, rejected (open again), approved, closed.

    Example: wavehouse royalties steps --period 2026-10
    """
    from dataclasses import asdict, astuple

    from lakehouse.adapters.royalties_ledger import Ledger

    out = Output(as_json=as_json)
    with Ledger(load_settings()) as ledger:
        taken = ledger.steps(period)
    out.table(f"Steps of {period}", ["state", "settlement", "by", "at (UTC)"], map(astuple, taken))
    out.result([asdict(step) for step in taken])


ByOption = Annotated[str, typer.Option("--by", help="Who answers for it.")]
Contracts = Annotated[Path | None, typer.Option("--contracts", help="Book of contracts, YAML or JSON.")]
Rates = Annotated[Path | None, typer.Option("--rates", help="Exchange rates, CSV: day,base,quote,rate,source.")]


@app.command()
def validate(contracts: Contracts = None, rates: Rates = None, as_json: Json = False) -> None:
    """Check contracts and exchange rates before they are used: forms, clauses, shares, dates. Needs no engine.

    The first thing that breaks a rule is named with its clause, or with its row. What depends on a month (a rate or a
    clause that it lacks) is found by `run`.

    Example: wavehouse royalties validate --contracts book.yaml --rates rates.csv
    """
    from lakehouse.adapters.royalties_files import read_book, read_rates
    from lakehouse.domain.royalties.contracts import build

    out = Output(as_json=as_json)
    if contracts is None and rates is None:
        raise FatalError("No file is named.", hint="Give --contracts, --rates or both.")
    found: dict[str, int] = {}
    if contracts:
        book = build(read_book(contracts))
        clauses = sum(len(row.terms) + len(row.accounting) for row in book.agreements.values())
        found |= {"payees": len(book.payees), "agreements": len(book.agreements)}
        found |= {"clauses": clauses, "rights": len(book.rights)}
    if rates:
        found["rates"] = len(read_rates(rates))
    out.info("Sound: " + ", ".join(f"{number:,} {what}" for what, number in found.items()))
    out.result(found)


@app.command()
def run(
    period: Period,
    by: ByOption = "wavehouse",
    contracts: Contracts = None,
    rates: Rates = None,
    as_json: Json = False,
) -> None:
    """Settle a month from what is published, and keep the result for approval. Again gives the same, byte for byte.

    Contracts and rates are those given, else those in <home>/deliveries/royalties (contracts.yaml or .json, rates.csv),
    else the demo's, which are nobody's.

    Example: wavehouse royalties run --period 2026-10
    """
    from lakehouse.adapters import royalties, royalties_files
    from lakehouse.domain.royalties.summary import summary

    out = Output(as_json=as_json)
    settings = load_settings()
    contracts = contracts or royalties_files.delivered_book(settings)
    rates = rates or royalties_files.delivered_rates(settings)
    used = {"contracts": contracts, "rates": rates}
    settled, changed = royalties.run(
        settings,
        period,
        by=by,
        book=royalties_files.read_book(contracts) if contracts else None,
        rates=royalties_files.read_rates(rates) if rates else None,
        say=out.info,
    )
    pools = settled.settlement.pools
    shown = summary(pools, settled.settlement.entries, royalties.pools_before(settings, period))
    out.table(
        f"Pools of {period} (amounts in minor units)",
        ["country", "tier", "currency", "net", "claimed", "retained", "streams", "unlicensed"],
        [
            (
                p.key.country,
                p.key.tier,
                p.key.currency,
                p.net_minor,
                p.claimed_minor,
                p.retained_minor,
                p.streams,
                p.unlicensed_streams,
            )
            for p in pools
        ],
    )
    out.table(f"Pools of {period} by currency (in units)", *shown.pools)
    out.table(f"Accounts of {period} by currency (in units)", *shown.accounts)
    for note in shown.notes:
        out.info(note)
    for what, path in used.items():
        if path:
            out.info(f"Settled by the {what} in {path}")
        else:
            out.info(
                f"WARNING: settled by the demo's {what}, nobody's real ones. Give --{what}, or deliver them into "
                f"{royalties_files.deliveries(settings)}"
            )
    out.info(f"{period} is calculated as {settled.state.digest}{'' if changed else ', as before'}")
    out.info(f"Next: wavehouse royalties approve --period {period} --by NAME")
    out.result(
        {
            "period": period,
            "digest": settled.state.digest,
            "changed": changed,
            "lines": settled.settlement.line_count,
            "pools": len(pools),
            **{what: str(path) if path else "demo" for what, path in used.items()},
            "summary": shown.to_markdown(),
        }
    )


@app.command()
def approve(
    period: Period,
    by: ByOption,
    digest: Annotated[
        str | None, typer.Option(help="The settlement that was looked at; refused if it changed.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Sign the calculated settlement of a month.

    Example: wavehouse royalties approve --period 2026-10 --by "Ada Lovelace"
    """
    from lakehouse.adapters import royalties

    out = Output(as_json=as_json)
    changed = royalties.approve(load_settings(), period, by=by, digest=digest)
    out.info(f"{period} is approved" if changed else f"{period} was approved before")
    out.result({"period": period, "changed": changed})


@app.command()
def reject(period: Period, by: ByOption, as_json: Json = False) -> None:
    """Don't accept the settlement of a month: it is open again.

    Example: wavehouse royalties reject --period 2026-10 --by "Ada Lovelace"
    """
    from lakehouse.adapters import royalties

    out = Output(as_json=as_json)
    royalties.reject(load_settings(), period, by=by)
    out.info(f"{period} is open again")
    out.result({"period": period})


@app.command()
def close(period: Period, by: ByOption = "wavehouse", as_json: Json = False) -> None:
    """Book the approved settlement of a month in the ledger and close it for good. Closing twice is refused.

    Example: wavehouse royalties close --period 2026-10
    """
    from lakehouse.adapters import royalties

    out = Output(as_json=as_json)
    number, postings = royalties.close(load_settings(), period, by=by)
    out.info(f"{period} is closed; booking {number} has {len(postings)} entries")
    out.result({"period": period, "booking": number, "entries": len(postings)})


@app.command()
def trace(
    period: Period,
    payee: Annotated[str, typer.Option(help="Payee id.")],
    line: Annotated[int | None, typer.Option(help="Number of a line; see below.")] = None,
    entry: Annotated[int | None, typer.Option(help="Number of a booking; see below.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many plays to show at most.")] = 20,
    as_json: Json = False,
) -> None:
    """From a payee's line to its pool, its weight, the clause that decided, and the plays behind it.

    From a booking on the account (reserve, recoupment, true-up, tax ...) to the clause and the balances it comes from;
    from a correction to the line it corrects, what that was and became, and the plays that came or went; from one of an
    account to the closed booking, and the clauses and exchange rates of both. Without --line and --entry both are
    listed with their numbers.

    Example: wavehouse royalties trace --payee 7012 --period 2026-10 --line 1
    """
    from dataclasses import asdict

    from lakehouse.adapters import royalties, royalties_trace

    out = Output(as_json=as_json)
    settings = load_settings()
    settled = royalties.kept(settings, period)
    if line is not None and entry is not None:
        raise FatalError("Both a line and an entry are named.", hint="Give --line or --entry.")
    bookings = royalties_trace.entries_of(settled, payee)
    if entry is not None:
        if not 1 <= entry <= len(bookings):
            raise FatalError(f"There are entries 1 to {len(bookings)}.", hint="Without --entry they are listed.")
        _show_entry(out, royalties_trace.trace_entry(settings, settled, bookings[entry - 1], limit=limit), entry)
        return
    # Of an account that only moves balances there are bookings, but no line.
    lines = royalties.lines_of(settings, settled, payee) if line is not None or not bookings else []
    if line is None:
        lines = lines or list(royalties.lines(settings, settled, payee=payee))
        columns = ["line", "country", "tier", "track", "model", "rule", "clause", "streams", "amount", "currency"]
        rows = [
            (
                n,
                w.key.country,
                w.key.tier,
                w.track_id,
                w.model,
                w.rule,
                w.clause,
                w.streams,
                w.amount_minor,
                w.key.currency,
            )
            for n, w in enumerate(lines, start=1)
        ]
        out.table(f"Lines of {payee} in {period} (amounts in minor units)", columns, rows)
        of_entry = ["entry", "agreement", "kind", "refers to", "clause", "amount", "currency"]
        booked = [
            (n, e.agreement_id, e.kind, e.refers_to, e.clause, e.amount_minor, e.currency)
            for n, e in enumerate(bookings, start=1)
        ]
        out.table(f"Bookings of {payee} in {period} (amounts in minor units)", of_entry, booked)
        out.result(
            {
                "lines": [dict(zip(columns, row, strict=True)) for row in rows],
                "entries": [dict(zip(of_entry, row, strict=True)) for row in booked],
            }
        )
        return
    if not 1 <= line <= len(lines):
        raise FatalError(f"There are lines 1 to {len(lines)}.", hint="Without --line they are listed.")
    found = royalties.trace(settings, settled, lines[line - 1], limit=limit)
    of = found.line
    out.table(
        f"Line {line} of {payee} in {period}",
        ["what", "is"],
        [
            ("line", of.line_id),
            (
                "amount",
                f"{of.amount_minor} minor units of {of.key.currency}, {float(of.exact_minor):.6f} before rounding",
            ),
            (
                "pool",
                f"net {found.pool.net_minor}, claimed {found.pool.claimed_minor}, kept {found.pool.retained_minor}",
            ),
            ("weight", f"{float(of.weight):.9f} of the pool's licensed weight under {of.model}"),
            ("clause", f"{of.clause}: {found.clause}"),
            ("rule that decided", of.rule),
            ("streams", f"{of.streams}; plays in the lake: {found.plays_in_all}"),
        ],
    )
    out.table(
        f"Plays (first {len(found.plays)} of {found.plays_in_all})",
        ["event_id", "played_at", "user_id", "ms_played", "context"],
        [tuple(play.values()) for play in found.plays],
    )
    out.result(
        of._asdict()
        | {
            "key": asdict(of.key),
            "line_id": of.line_id,
            "pool": asdict(found.pool),
            "pool_weight": str(found.pool_weight),
            "terms": found.clause,
            "plays": found.plays,
            "plays_in_all": found.plays_in_all,
        }
    )


def _plain(value: Any) -> dict[str, Any] | None:
    """A dataclass as a dictionary that reads well, fractions as text; None of nothing."""
    from dataclasses import asdict
    from fractions import Fraction

    if value is None:
        return None
    return {name: str(part) if isinstance(part, Fraction) else part for name, part in asdict(value).items()}


def _told(side: AccountSide) -> dict[str, Any]:
    return {
        "digest": side.digest,
        "amount_minor": side.amount_minor,
        "clause": side.clause,
        "terms": _plain(side.rules),
        "exchange_rate": None if side.exchange_rate is None else str(side.exchange_rate),
    }


def _account_side(side: AccountSide) -> str:
    told = f"settlement {side.digest}: {side.amount_minor} minor units"
    if side.clause:
        told += f", {side.clause}: {_plain(side.rules)}"
    return told if side.exchange_rate is None else f"{told}, converted at {side.exchange_rate}"


def _show_entry(out: Output, found: EntryTrace, number: int) -> None:
    """A booking, what it follows from and, of a correction, both sides."""
    from dataclasses import asdict

    of, entry = found.origin, found.origin.entry
    rows: list[tuple[str, object]] = [
        ("amount", f"{entry.amount_minor} minor units of {entry.currency}"),
        ("kind", entry.kind),
        ("refers to", entry.refers_to),
        ("rule", of.rule),
        *of.basis.items(),
    ]
    if of.rules:
        rows.append(("clause", f"{of.clause}: {_plain(of.rules)}"))
    for what, balance in (("balance before", of.opening), ("balance after", of.closing)):
        if balance:
            rows.append((what, f"of {balance.period}: {_plain(balance)}"))
    out.table(f"Booking {number} of {entry.payee_id} in {entry.period}", ["what", "is"], rows)

    def told(line: Line | None) -> str:
        if line is None:
            return "no such line"
        return (
            f"{line.amount_minor} minor units, {line.streams} streams, weight {float(line.weight):.9f}, {line.clause}"
        )

    for one in found.corrections:
        made = one.correction
        out.table(
            f"Correction of {made.from_period}, round {made.round}: {made.reason}",
            ["what", "is"],
            [
                ("line", made.corrects),
                ("amount", f"{made.amount_minor} minor units of {made.currency}"),
                ("as closed", f"settlement {made.from_digest}: {told(one.before.line)}"),
                ("calculated anew", f"settlement {made.to_digest}: {told(one.after.line)}"),
                ("corrected before", one.earlier_minor),
                ("pool as closed", _plain(one.before.pool)),
                ("pool anew", _plain(one.after.pool)),
            ],
        )
        for what, plays, in_all in (
            ("came", one.plays_added, one.plays_added_in_all),
            ("went", one.plays_removed, one.plays_removed_in_all),
        ):
            out.table(
                f"Plays of the line that {what} (first {len(plays)} of {in_all})",
                ["event_id", "played_at", "user_id", "ms_played", "context"],
                [tuple(play.values()) for play in plays],
            )
    for of_account in found.of_accounts:
        changed = of_account.correction
        out.table(
            f"Correction of {changed.from_period}, round {changed.round}: {changed.reason}",
            ["what", "is"],
            [
                ("account", f"{changed.agreement_id}/{changed.payee_id} in {changed.of_period}"),
                ("corrects", f"{changed.kind} {changed.refers_to}".rstrip()),
                ("amount", f"{changed.amount_minor} minor units of {changed.currency}"),
                ("as closed", _account_side(of_account.before)),
                ("as it should be", _account_side(of_account.after)),
                ("corrected before", of_account.earlier_minor),
            ],
        )
    out.result(
        {
            "entry": _plain(entry),
            "rule": of.rule,
            "basis": of.basis,
            "clause": of.clause,
            "terms": _plain(of.rules),
            "opening": _plain(of.opening),
            "closing": _plain(of.closing),
            "account_corrections": [
                asdict(row.correction)
                | {"earlier_minor": row.earlier_minor}
                | {side: _told(shown) for side, shown in (("before", row.before), ("after", row.after))}
                for row in found.of_accounts
            ],
            "corrections": [
                asdict(one.correction)
                | {
                    "earlier_minor": one.earlier_minor,
                    **{
                        side: {
                            "digest": shown.digest,
                            "amount_minor": shown.line.amount_minor if shown.line else 0,
                            "streams": shown.line.streams if shown.line else 0,
                            "clause": shown.line.clause if shown.line else "",
                            "pool": _plain(shown.pool),
                        }
                        for side, shown in (("before", one.before), ("after", one.after))
                    },
                    "plays_added": one.plays_added,
                    "plays_added_in_all": one.plays_added_in_all,
                    "plays_removed": one.plays_removed,
                    "plays_removed_in_all": one.plays_removed_in_all,
                }
                for one in found.corrections
            ],
        }
    )


@app.command()
def compare(period: Period, as_json: Json = False) -> None:
    """What each payee would earn were all agreements of one model, and who gains and loses beside pro rata.

    What is in suspense has rows of its own: with the claimant of what is disputed, with nobody for what is unclaimed.

    Example: wavehouse royalties compare --period 2026-10
    """
    from lakehouse.adapters import royalties
    from lakehouse.domain.royalties.models import MODELS, PRO_RATA

    out = Output(as_json=as_json)
    settings = load_settings()
    found = royalties.compare(settings, royalties.kept(settings, period))
    rows = [
        {"payee_id": payee, "account": account, "currency": currency}
        | sums
        | {f"{model}_change": sums[model] - sums[PRO_RATA] for model in MODELS if model != PRO_RATA}
        for (payee, account, currency), sums in sorted(found.items(), key=lambda item: (-item[1][PRO_RATA], item[0]))
    ]
    out.table(
        f"Models side by side, {period} (minor units)", list(rows[0]) if rows else [], [tuple(r.values()) for r in rows]
    )
    out.result(rows)


@app.command()
def restate(
    period: Period,
    reason: Annotated[str, typer.Option(help="Why: late plays, a fraud decision, a corrected contract ...")],
    contracts: Contracts = None,
    rates: Rates = None,
    as_closed: Annotated[
        bool, typer.Option("--as-closed", help="Take corrections of contracts and rates back that are not given.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compute a closed month again; what differs goes into the next open month, each piece pointing to its line.

    Contracts and rates that are not given are those it was restated with last, or else closed with. Where others say
    other than its accounts do (a reserve, tax, guarantee, advance, exchange rate), the bookings and balances that
    differ are corrected as well, in that month and in the closed ones after it, which began with its balances.

    Example: wavehouse royalties restate --period 2026-09 --reason "late plays"
    """
    from dataclasses import asdict

    from lakehouse.adapters import royalties
    from lakehouse.adapters.royalties_files import read_book, read_rates

    out = Output(as_json=as_json)
    found = royalties.correct(
        load_settings(),
        period,
        reason=reason,
        book=read_book(contracts) if contracts else None,
        rates=read_rates(rates) if rates else None,
        as_closed=as_closed,
        say=out.info,
    )
    out.table(
        f"Adjustments of {period}, in {found.into}",
        ["line", "payee", "minor units", "currency"],
        [(row.corrects, row.payee_id, row.amount_minor, row.key.currency) for row in found.adjustments],
    )
    if found.account_adjustments:
        out.table(
            f"Adjustments of accounts, in {found.into}",
            ["corrects", "agreement", "payee", "minor units", "currency", "clause"],
            [
                (row.name, row.agreement_id, row.payee_id, row.amount_minor, row.currency, row.clause)
                for row in found.account_adjustments
            ],
        )
    if not (found.adjustments or found.account_adjustments):
        out.info(f"{period} is as it was: nothing to adjust")
    out.result(
        {
            "period": period,
            "into": found.into,
            "adjustments": [asdict(row) for row in found.adjustments],
            "account_adjustments": [asdict(row) for row in found.account_adjustments],
        }
    )


@app.command()
def recompute(period: Period, as_json: Json = False) -> None:
    """Compute a kept settlement again from the inputs kept beside it. Exit code 1 when a byte differs.

    Example: wavehouse royalties recompute --period 2026-10
    """
    from lakehouse.adapters import royalties

    out = Output(as_json=as_json)
    before, again = royalties.recompute(load_settings(), period, say=out.info)
    out.info(f"kept     {before}\ncomputed {again}\n{'equal' if before == again else 'DIFFERENT'}")
    out.result({"kept": before, "computed": again, "equal": before == again})
    if before != again:
        raise typer.Exit(1)


@app.command()
def statement(
    period: Period,
    payee: Annotated[str, typer.Option(help="Payee id.")],
    folder: Annotated[Path, typer.Option("--to", help="Folder for the two files.")] = Path(),
    as_json: Json = False,
) -> None:
    """Write a payee's statement of a month, as CSV and as an HTML page that prints. Again gives the same bytes.

    Example: wavehouse royalties statement --payee 7012 --period 2026-10 --to statements
    """
    from lakehouse.adapters import royalties
    from lakehouse.domain.royalties import statement as rendering

    out = Output(as_json=as_json)
    settings = load_settings()
    made = royalties.statement(settings, royalties.kept(settings, period), payee)
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for suffix, text in (("csv", rendering.to_csv(made)), ("html", rendering.to_html(made))):
        path = folder / f"statement-{period}-{payee}.{suffix}"
        path.write_bytes(text.encode())
        files.append(str(path))
        out.info(f"Written: {path}")
    out.result({"period": period, "payee_id": payee, "files": files})


@app.command()
def checklist(
    period: Period,
    sql: Annotated[
        bool, typer.Option("--sql", help="Print the queries for this month instead of asking them.")
    ] = False,
    as_json: Json = False,
) -> None:
    """An auditor's questions about a settled month, asked of the lake and the ledger. Exit code 1 when one fails.

    Example: wavehouse royalties checklist --period 2026-10
    """
    from dataclasses import asdict

    from lakehouse.adapters import royalties, royalties_checklist

    out = Output(as_json=as_json)
    settings = load_settings()
    if sql:
        settled = royalties.kept(settings, period)
        asked = royalties_checklist.queries(settled, royalties_checklist.cuts(settings, settled))
        found = [(question, query) for question, portions in asked for query in portions]
        if not as_json:
            typer.echo("\n".join(f"{query.strip()};\n" for _, query in found))
        out.result([{"question": question, "sql": query} for question, query in found])
        return
    items = royalties_checklist.checklist(settings, period, say=out.info)
    rows = [(item.question, item.looked_at, item.wrong, "NO" if item.wrong else "yes") for item in items]
    out.table(f"Checklist of {period}", ["question", "looked at", "wrong", "holds"], rows)
    out.result([asdict(item) for item in items])
    if any(item.wrong for item in items):
        raise typer.Exit(1)
