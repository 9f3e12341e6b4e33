"""`wavehouse events`: topics and schemas of the event stream."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from lakehouse.cli.output import Output
from lakehouse.config.settings import load_settings

app = typer.Typer(help="Topics and schemas of the event stream.", no_args_is_help=True)

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command()
def init(as_json: JsonFlag = False) -> None:
    """Create the topics that the contracts define and register their schemas; what is there already is left alone.

    Example: wavehouse events init
    """
    from lakehouse.adapters import kafka

    out = Output(as_json=as_json)
    settings = load_settings()
    created = kafka.init_topics(settings)
    subjects = kafka.init_subjects(settings)
    out.info(f"{len(created)} topics created" + (": " + ", ".join(created) if created else ""))
    out.info(f"{len(subjects)} schemas registered, each held to the compatibility of its contract")
    out.result({"created": created, "subjects": subjects})


@app.command()
def check(as_json: JsonFlag = False) -> None:
    """Ask the registry whether the contracts' schemas may follow the registered ones. Exit code 1 when one may not.

    Example: wavehouse events check
    """
    from lakehouse.adapters import kafka

    out = Output(as_json=as_json)
    states = kafka.check_subjects(load_settings())
    out.table(
        "Schemas of topics",
        ["topic", "compatibility", "held to", "compatible", "why not"],
        [(s.topic, s.compatibility, s.held_to, "NO" if s.faults else "yes", "; ".join(s.faults)) for s in states],
    )
    out.result([asdict(s) | {"sound": s.is_sound} for s in states])
    if not all(s.is_sound for s in states):
        raise typer.Exit(1)


@app.command()
def topics(as_json: JsonFlag = False) -> None:
    """List the topics with their partitions and the records ever written to them.

    Example: wavehouse events topics
    """
    from lakehouse.adapters import kafka

    out = Output(as_json=as_json)
    settings = load_settings()
    ids = kafka.topic_ids(settings, [contract.name for contract in kafka.topic_contracts()])
    rows = []
    for topic in ids:
        ends = kafka.end_offsets(settings, topic)
        rows.append({"topic": topic, "partitions": len(ends), "records": sum(ends.values())})
    out.table("Topics", ["topic", "partitions", "records"], [tuple(row.values()) for row in rows])
    out.result(rows)
