"""`wavehouse events`: topics and schemas of the event stream."""

from __future__ import annotations

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
    out.info(f"{len(subjects)} schemas registered, compatibility BACKWARD")
    out.result({"created": created, "subjects": subjects})


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
