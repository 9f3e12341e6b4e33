"""`wavehouse up | down | status | logs | doctor`: the local stack."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lakehouse.cli.output import Output
from lakehouse.config.settings import load_settings
from lakehouse.errors import FatalError

app = typer.Typer()

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


@app.command()
def up(
    only: Annotated[
        str, typer.Option(help="Comma-separated groups (lake, stream, serving, airflow) or services; default: all.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Start the stack and wait until every service answers. Running services are left alone.

    Example: wavehouse up --only lake,stream
    """
    from infra.local import stack

    output = Output(as_json=as_json)
    start = time.monotonic()
    chosen = [name.strip() for name in only.split(",") if name.strip()]
    ready = stack.up(load_settings(), only=chosen, report=output.step)
    output.info(f"{len(ready)} services are up ({time.monotonic() - start:.0f} s)")
    output.result([asdict(item) for item in ready])


@app.command()
def down(as_json: Json = False) -> None:
    """Stop the whole stack. Data stays.

    Example: wavehouse down
    """
    from infra.local import stack

    output = Output(as_json=as_json)
    count = stack.down(load_settings(), report=output.step)
    output.info(f"{count} processes stopped" if count else "Nothing was running.")
    output.result({"stopped": count})


@app.command()
def status(as_json: Json = False) -> None:
    """Show every service: state, process, uptime, restarts, resident memory. Exit code 1 unless all run.

    Example: wavehouse status --json
    """
    from infra.local import stack

    output = Output(as_json=as_json)
    settings = load_settings()
    services = stack.status(settings)
    total = sum(service.memory_mb for service in services)
    output.table(
        f"Wavehouse stack, profile {settings.profile}",
        ["service", "group", "state", "pid", "uptime", "restarts", "memory MB", "expected", "address"],
        [
            (
                s.name,
                s.group,
                f"{s.state} {s.error}".strip(),
                s.pid,
                _duration(s.uptime_s) if s.pid else "",
                s.restarts,
                s.memory_mb if s.pid else "",
                f"<= {s.memory_limit_mb}{' !' if s.memory_mb > s.memory_limit_mb else ''}",
                s.address,
            )
            for s in services
        ],
    )
    goal = f"{total / 1024:.1f} GB resident; the goal at rest is {stack.MEMORY_GOAL_MB / 1024:.0f} GB"
    output.info(goal + ("" if total <= stack.MEMORY_GOAL_MB else " (exceeded)"))
    output.result(
        {"services": [asdict(s) for s in services], "memory_mb": total, "memory_goal_mb": stack.MEMORY_GOAL_MB}
    )
    if any(s.state != "RUNNING" for s in services):
        raise typer.Exit(1)


@app.command()
def logs(
    name: Annotated[str, typer.Argument(help="A service of `wavehouse status`, or `supervisord`.")],
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, help="How many of the last lines.")] = 50,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Keep printing what is added.")] = False,
    as_json: Json = False,
) -> None:
    """Print the end of a service's log.

    Example: wavehouse logs trino -n 100 -f
    """
    from infra.local import stack, supervise

    output = Output(as_json=as_json)
    settings = load_settings()
    path = supervise.log_file(settings, name)
    if not path.is_file():
        known = sorted(p.stem for p in path.parent.glob("*.log"))
        raise FatalError(f"There is no log of '{name}'.", hint=f"There are: {', '.join(known) or 'none yet'}.")
    found = stack.tail(settings, name, lines)
    if as_json:
        output.result({"name": name, "lines": found})
        return
    for line in found:
        typer.echo(line)
    if follow:
        _follow(path)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check memory, disk, ports, JDKs, tools and environments; say what is wrong (exit code 1) and what to do.

    Example: wavehouse doctor
    """
    from infra.local.doctor import examine

    output = Output(as_json=as_json)
    findings = examine(load_settings())
    for finding in findings:
        if not as_json:
            output.error(finding.problem, finding.remedy)
    output.result({"findings": [asdict(finding) for finding in findings]})
    if findings:
        raise typer.Exit(1)
    output.info("Everything the stack needs is there.")


def _duration(seconds: int) -> str:
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{seconds:02}s"


def _follow(place: Path) -> None:
    """Print what is appended to a file, also after it was rotated, until interrupted."""
    stream = place.open(errors="replace")
    stream.seek(0, 2)
    try:
        while True:
            if line := stream.readline():
                typer.echo(line, nl=False)
                continue
            if place.exists() and place.stat().st_ino != os.fstat(stream.fileno()).st_ino:
                stream.close()
                stream = place.open(errors="replace")
            time.sleep(0.3)
    except KeyboardInterrupt:
        return
    finally:
        stream.close()
