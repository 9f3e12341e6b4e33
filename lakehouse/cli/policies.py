"""`wavehouse policies`: what counts as a stream, under which rule, and what artificial plays amount to."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from lakehouse.cli.options import Period
from lakehouse.cli.output import Output
from lakehouse.config.settings import load_settings

app = typer.Typer(help="Counting policies and artificial plays.", no_args_is_help=True)

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command("list")
def list_(as_json: JsonFlag = False) -> None:
    """List the counting policies and the rules that recognise artificial plays.

    Example: wavehouse policies list
    """
    from lakehouse.domain.listening import rules

    out = Output(as_json=as_json)
    default = rules.policy().label
    paid = [{"from_period": entry.from_period, "policy": entry.policy.label} for entry in rules.royalty_policies()]
    uses = {default: ["streams and live counts"]}
    for entry in paid:
        uses.setdefault(entry["policy"], []).append(f"royalties from {entry['from_period']}")
    out.table(
        "Counting policies",
        ["policy", "used for", "counts when", "leaves out", "once in", "of the same", "source"],
        [
            (
                p.label,
                ", ".join(uses.get(p.label, ())),
                " and ".join(c.when for c in p.conditions),
                ", ".join(p.exclude),
                p.once_in.replace("_", " "),
                ", ".join(p.once_per),
                p.source,
            )
            for p in rules.policies()
        ],
    )
    out.table(
        "Rules for artificial plays",
        ["rule", "version", "meaning", "thresholds"],
        [
            (r.name, r.version, r.meaning, ", ".join(f"{k} {v}" for k, v in r.thresholds.items()))
            for r in rules.artificial_rules()
        ],
    )
    out.result(
        {
            "default": default,
            "royalties": paid,
            "policies": [asdict(p) | {"label": p.label} for p in rules.policies()],
            "rules": [asdict(r) for r in rules.artificial_rules()],
        }
    )


@app.command()
def compare(
    period: Period,
    by_country: Annotated[bool, typer.Option("--by-country", help="One line a country and policy.")] = False,
    plays: Annotated[int, typer.Option(min=0, help="Show so many plays that the policies disagree on.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Show for the same plays what each policy counts, and by which reason rows differ.

    Example: wavehouse policies compare --period 2026-10 --by-country
    """
    from lakehouse.adapters import policies

    out = Output(as_json=as_json)
    settings = load_settings()
    verdicts = policies.compare(settings, period, by_country=by_country)
    totals = policies.totals(verdicts)
    where = ["country"] if by_country else []
    out.table(
        f"Plays of {period} under each policy",
        [*where, "policy", "plays", "counts", "not counted, by the first reason"],
        [
            (
                *(t[column] for column in where),
                t["policy"],
                f"{t['plays']:,}",
                f"{t['counts']:,}",
                ", ".join(f"{why} {n:,}" for why, n in t["not_counted"].items()),
            )
            for t in totals
        ],
    )
    differing = [v for v in verdicts if not v.agreed]
    if differing:
        labels = list(differing[0].verdicts)
        out.table(
            "Where they differ",
            [*where, "plays", *labels],
            [(*(getattr(v, column) for column in where), f"{v.plays:,}", *v.verdicts.values()) for v in differing],
        )
    shown = policies.plays(settings, period, plays) if plays else []
    if shown:
        out.table(
            "Plays they disagree on",
            ["play", "track", "ms played", *shown[0]["verdicts"]],
            [(p["event_id"], p["track_id"], p["ms_played"], *p["verdicts"].values()) for p in shown],
        )
    out.result({"period": period, "policies": totals, "verdicts": [asdict(v) for v in verdicts], "plays": shown})


@app.command()
def impact(period: Period, as_json: JsonFlag = False) -> None:
    """What artificial plays amount to by track and by rights holder; a play under two rules stands under both.

    Streams are what would bear royalties but for the flags. Rights holders are the payees of the book of contracts that
    the month, or else the newest one, was settled by; where nothing was settled yet, the artists of the catalogue.

    Example: wavehouse policies impact --period 2026-10
    """
    from lakehouse.adapters import policies, royalties

    out = Output(as_json=as_json)
    settings = load_settings()
    by_track = policies.impact(settings, period, "track_id")
    found = royalties.book_for(settings, period)
    if found is None:
        who, by_payee = "artists of the catalogue", policies.impact(settings, period, "payee_id")
    else:
        who, by_payee = f"payees of the contracts of {found[0]}", policies.impact_by_payee(settings, period, found[1])
    for title, rows in (("track", by_track), (f"rights holder ({who})", by_payee)):
        out.table(
            f"Artificial plays of {period} by {title}", list(rows[0]) if rows else [], [tuple(r.values()) for r in rows]
        )
    out.result({"period": period, "rights_holders": who, "by_track_id": by_track, "by_payee_id": by_payee})
