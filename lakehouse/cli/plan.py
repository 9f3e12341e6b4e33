"""`wavehouse plan`: how much machinery a volume needs, from measured rates."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from lakehouse.cli.output import Output
from lakehouse.errors import FatalError, RejectedInputError

app = typer.Typer(help="How much machinery a volume needs, from measured rates.", no_args_is_help=True)

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

#: NFR-S2: new audio waits less than this, in seconds.
GOAL_S = 900.0
#: The smallest fleet is looked for among up to this many times the cores that the day keeps busy on average.
SEARCH_TIMES = 8


@app.command()
def ingest(
    tb_per_day: Annotated[float, typer.Option(help="New audio a day, in units of 10^12 bytes.")] = 10.0,
    kbit_s: Annotated[float, typer.Option(help="Average bit rate of the deliveries in kbit/s.")] = 320.0,
    rates: Annotated[Path | None, typer.Option(help="Rates of your machines, as `plan rates --json` prints.")] = None,
    batch_audio_s: Annotated[float, typer.Option(help="Audio a task takes, in seconds.")] = 6000.0,
    failure_hours: Annotated[float, typer.Option(help="Mean hours between failures of one worker.")] = 24.0,
    outages: Annotated[int, typer.Option(min=0, help="Times a day that the store or the database is away.")] = 2,
    outage_minutes: Annotated[float, typer.Option(min=0.1, help="Mean minutes that each of these lasts.")] = 5.0,
    seed: Annotated[int, typer.Option(help="Same seed: the same day.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Cores and memory for a volume of new audio, and how long it waits on a bursty day with failures.

    The day is simulated event by event: a wave, three bursts of half an hour at four times the usual rate, workers
    that follow the backlog and die, outages in which nobody works. Shown is the smallest fleet whose 99th percentile
    of waiting is below 15 minutes; ends with an error where none of eight times the busy cores is.

    Example: wavehouse plan ingest --tb-per-day 10 --kbit-s 320
    """
    from lakehouse.domain.capacity import ingest as capacity
    from lakehouse.domain.capacity import queue

    out = Output(as_json=as_json)
    found = capacity.rates(_read(rates)) if rates else capacity.measured()
    plan = capacity.plan(tb_per_day, kbit_s, found)
    busy = math.ceil(plan.busy_cores)
    day = queue.Day(
        core_s=plan.audio_s_per_day * found.core_s_per_audio_s, batch_core_s=batch_audio_s * found.core_s_per_audio_s
    )
    batches = list(queue.deliveries(day, seed))
    out.step(f"Simulating a day of {len(batches):,} batches")
    limits = queue.Fleet(least=math.ceil(busy / 4), most=max(busy * SEARCH_TIMES, 2), failure_s=failure_hours * 3600)
    away = queue.outages(outages, outage_minutes * 60, seed)
    found_fleet = queue.smallest_fleet(batches, limits, GOAL_S, seed=seed, away=away)
    fleet = found_fleet or limits
    outcome = queue.replay(batches, fleet, seed, away)
    result = {
        "times_real_time": round(plan.times_real_time, 1),
        "busy_cores": round(plan.busy_cores, 2),
        "most_cores": fleet.most,
        "memory_bytes": fleet.most * found.memory_bytes_per_core,
        "batches": outcome.arrived,
        "done": outcome.done,
        "tried_again": outcome.tried_again,
        "outages": len(away),
        "outages_s": round(sum(one.ends_s - one.starts_s for one in away), 1),
        "cut_off": outcome.cut_off,
        "core_hours": round(outcome.worker_s / 3600, 1),
        "delay_p50_s": round(outcome.delay_s(50), 1),
        "delay_p99_s": round(outcome.delay_s(99), 1),
        "delay_max_s": round(outcome.delay_s(100), 1),
        "goal_s": GOAL_S,
        "goal_met": found_fleet is not None,
    }
    out.table(f"Ingest of {tb_per_day:g} TB a day at {kbit_s:g} kbit/s", ["what", "value"], list(result.items()))
    out.result(result)
    if found_fleet is None:
        if as_json:
            raise typer.Exit(FatalError.exit_code)  # the plan is the one document
        raise FatalError(
            f"The goal is missed: even {fleet.most} cores keep 1 % of the batches waiting for "
            f"{outcome.delay_s(99):.0f} s and longer; {GOAL_S:.0f} s are allowed.",
            hint="More cores do not help against long outages or batches; see --outage-minutes and --batch-audio-s.",
        )


@app.command("rates")
def rates_(
    audio: Annotated[Path, typer.Option(help="A folder of tagged audio files.", exists=True, file_okay=False)],
    as_json: JsonFlag = False,
) -> None:
    """Measure what one core of this machine does: seconds of audio a CPU second, probed, and features extracted.

    With --json the document is a file for `plan ingest --rates`, with the overhead and memory of the built-in rates.

    Example: wavehouse plan rates --audio ~/Music --json > rates.json
    """
    from benchmarks import ingest_rates
    from lakehouse.domain.capacity import ingest as capacity

    out = Output(as_json=as_json)
    out.step(f"Measuring on files of {audio}")
    measured = ingest_rates.run(audio, out.info)
    out.table("Rates of one core", ["what", "value"], list(measured.items()))
    out.result(vars(capacity.measured()) | {k: v for k, v in measured.items() if k in capacity.Rates.__annotations__})


def _read(path: Path) -> dict[str, float]:
    import json

    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise RejectedInputError(
            f"{path} cannot be read as JSON: {error}",
            reason="bad_rates",
            hint="Make it with `wavehouse plan rates --json`.",
        ) from error
    if not isinstance(values, dict):
        raise RejectedInputError(f"{path} holds no rates.", reason="bad_rates", value=str(values)[:80])
    return values
