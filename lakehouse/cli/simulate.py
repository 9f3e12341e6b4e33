"""`wavehouse simulate`: an audience that plays the catalogue, and what finance reports about it."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lakehouse.cli.output import Output
from lakehouse.config.settings import Settings, load_settings
from lakehouse.contracts import SIMULATED_TOPICS
from lakehouse.errors import FatalError, RejectedInputError

if TYPE_CHECKING:
    from lakehouse.adapters.truth_ledger import Run
    from lakehouse.domain.simulation import Scenario

app = typer.Typer(
    help="Make plays, all that comes with them, and revenue to try the platform with.", no_args_is_help=True
)

Users = Annotated[int, typer.Option(help="Listeners.")]
Days = Annotated[int, typer.Option(help="Days of plays.")]
End = Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="Last day (UTC, inclusive).")]
Seed = Annotated[int, typer.Option(help="Same seed, same arguments, same catalogue: same events.")]
BadEvents = Annotated[bool, typer.Option(help="Mix in a few malformed and impossible events.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
LAST_DAY = "2026-10-31"


@app.command()
def plays(
    users: Users = 2000,
    days: Days = 90,
    end: End = LAST_DAY,  # type: ignore[assignment]  # typer parses a default like an argument
    seed: Seed = 42,
    bad_events: BadEvents = True,
    as_json: JsonFlag = False,
) -> None:
    """Send plays and what listeners do besides to Kafka, after writing each event to the truth ledger.

    That is: ads and clicks on them, likes, follows, edits of playlists, and telemetry of a sample of the plays.

    Running it again sends nothing more; after an interruption it sends everything again under the same ids.

    Example: wavehouse simulate plays --users 2000 --days 90 --end 2026-10-31 --seed 42
    """
    from lakehouse.adapters import kafka, truth_ledger
    from lakehouse.domain.simulation import Scenario

    out = Output(as_json=as_json)
    settings = load_settings()
    scenario = Scenario(users, days, end.date(), seed, bad_events)
    with truth_ledger.locked(settings):
        topic_ids = kafka.topic_ids(settings, SIMULATED_TOPICS)
        truth_ledger.require_topics(topic_ids)
        run = truth_ledger.find(settings, scenario.run_id)
        if run is None or not run.is_for(topic_ids) or not run.is_intact():
            run = _write(settings, scenario, topic_ids, out)
        sent = 0
        if run.is_produced:
            out.info(f"Run {scenario.run_id} has been sent before; nothing to do.")
        else:
            out.step(f"Sending the events of run {scenario.run_id}")
            began = time.monotonic()
            sent = truth_ledger.produce(settings, run, _Progress(out))
            run = truth_ledger.mark_produced(run)
            seconds = time.monotonic() - began
            out.info(f"{sent:,} records sent in {seconds:.1f} s ({sent / seconds:,.0f} a second)")
    _show(out, run, sent)


@app.command()
def revenue(
    users: Users = 2000,
    days: Days = 90,
    end: End = LAST_DAY,  # type: ignore[assignment]  # as above
    seed: Seed = 42,
    bad_events: BadEvents = True,
    bad: Annotated[str, typer.Option(help="Deliver this month (YYYY-MM) once more, well-formed but wrong.")] = "",
    good: Annotated[str, typer.Option(help="Deliver this month (YYYY-MM) once more, as it should be.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Deliver finance's files of monthly revenue for a simulation that `simulate plays` has made.

    `--bad` and `--good` deliver one month of the latest such delivery again and look at nothing else.

    Example: wavehouse simulate revenue --users 2000 --days 90 --end 2026-10-31 --seed 42
    """
    from lakehouse.adapters import finance_files, truth_ledger
    from lakehouse.domain.simulation import Scenario
    from lakehouse.domain.simulation.revenue import revenue as reported
    from lakehouse.domain.simulation.revenue import spoiled

    out = Output(as_json=as_json)
    settings = load_settings()
    if bad and good:
        raise RejectedInputError("--bad and --good exclude each other.", reason="bad_argument")
    if period := bad or good:
        lines = finance_files.read_truth(settings, period)
        delivered = [finance_files.deliver(settings, period, spoiled(lines) if bad else lines)]
    else:
        scenario = Scenario(users, days, end.date(), seed, bad_events)
        run = truth_ledger.find(settings, scenario.run_id)
        if run is None:
            raise FatalError(
                f"There is no simulation {scenario.run_id}.",
                hint="Run `wavehouse simulate plays` with the same arguments.",
            )
        lines = reported(scenario.start, scenario.end, run.table("users"), run.table("ad_impressions"))
        delivered = finance_files.deliver_truth(settings, lines)
    for path in delivered:
        out.info(f"Delivered {path}")
    out.result({"delivered": [str(path) for path in delivered]})


class _Progress:
    """A line every ten per cent."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._shown = 0

    def __call__(self, done: int, total: int) -> None:
        if done * 10 // total > self._shown:
            self._shown = done * 10 // total
            self._out.info(f"    {done:,} of {total:,}")


def _write(settings: Settings, scenario: Scenario, topic_ids: dict[str, str], out: Output) -> Run:
    from lakehouse.adapters import lake, truth_ledger
    from lakehouse.domain.simulation import Tracks, simulate

    wanted = ("content_id", "duration_ms", "artist_id", "artist_name", "sha256")
    tracks = Tracks.from_catalog(lake.read(settings, "bronze.catalog_content", columns=wanted))
    out.step(f"Simulating {scenario.users:,} users over {scenario.days} days on {len(tracks)} tracks")
    return truth_ledger.write(settings, scenario, tracks, simulate(scenario, tracks), topic_ids=topic_ids)


def _show(out: Output, run: Run, sent: int) -> None:
    columns = ["records", "events", "duplicates", "late", "bots", "artificial"]
    counts: dict[str, dict[str, Any]] = run.manifest["counts"]
    out.table(
        f"Truth ledger of {run.manifest['run_id']}",
        ["topic", *columns, "bad"],
        [(topic, *(c[name] for name in columns), sum(c["defects"].values())) for topic, c in counts.items()],
    )
    keys = ("run_id", "state", "counts", "received_from", "received_to")
    out.result({key: run.manifest[key] for key in keys} | {"ledger": str(run.path), "sent": sent})
