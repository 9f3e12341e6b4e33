"""`wavehouse bench`: what our way of doing something costs beside a baseline, measured in one run."""

from __future__ import annotations

from typing import Annotated

import typer

from lakehouse.cli.output import Output

app = typer.Typer(help="Compare costs with a baseline: CPU seconds, interleaved in one run.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.callback()
def bench() -> None:
    """Benchmarks. Each is a module of `benchmarks/`; `make bench` runs all of them."""


@app.command()
def metadata(
    errors: Annotated[int, typer.Option(min=100, help="Errors to inject.")] = 110_000,
    clean: Annotated[int, typer.Option(min=100, help="Clean records to judge.")] = 50_000,
    recordings: Annotated[int, typer.Option(min=100, help="Fingerprints to compare.")] = 10_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same records.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Inject labelled errors into clean metadata and show which were mended or quarantined under the right code.

    Example: wavehouse bench metadata --errors 20000
    """
    from benchmarks import metadata as bench_metadata

    out = Output(as_json=as_json)
    found = bench_metadata.run(errors=errors, clean_records=clean, recordings=recordings, seed=seed)
    for title, apart in (("Errors", False), ("Errors that leave a valid value: out of reach of one record", True)):
        rows = [
            (k["kind"], k["code"], k["must"], k["injected"], k["right"], f"{100 * k['right'] / k['injected']:.2f}",
             ", ".join(f"{code} {number}" for code, number in k["found_as"].items()))
            for k in found["kinds"] if k["out_of_reach"] is apart
        ]  # fmt: skip
        out.table(title, ["kind", "code", "must", "injected", "right", "%", "found as"], rows)
    by_rule = found["duplicates"]["by_rule"].items()
    out.table(
        f"Same recordings among {found['duplicates']['recordings']}",
        ["rule", "expected", "found", "false"],
        [(code, *counts.values()) for code, counts in by_rule],
    )
    merged = found["duplicates"]["false_merges_percent"]
    shares = [
        ("right, %", found["right_percent"], f">= {found['goals']['right_percent']}"),
        ("right with those out of reach, %", found["right_percent_with_out_of_reach"], ""),
        ("clean refused, %", found["false_refusals_percent"], f"<= {found['goals']['false_refusals_percent']}"),
        ("merged wrongly, %", merged, f"<= {found['goals']['false_merges_percent']}"),
    ]  # fmt: skip
    out.table("Shares", ["share", "measured", "goal"], [(name, f"{value:.4f}", goal) for name, value, goal in shares])
    out.result(found)
