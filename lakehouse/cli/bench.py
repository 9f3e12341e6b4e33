"""`wavehouse bench`: what our way of doing something costs beside a baseline, measured in one run."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated, Any

import typer

from lakehouse.cli.output import Output
from lakehouse.config.settings import load_settings
from lakehouse.errors import FatalError

app = typer.Typer(help="Compare costs with a baseline: CPU seconds, interleaved in one run.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.callback()
def bench() -> None:
    """Benchmarks. Each is a module of `benchmarks/`; measure on a machine that does nothing else."""
    # Ended from outside, a benchmark stops what it has started, as it does at Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@app.command()
def metadata(
    errors: Annotated[int, typer.Option(min=100, help="Errors to inject.")] = 110_000,
    clean: Annotated[int, typer.Option(min=100, help="Clean records to judge.")] = 50_000,
    recordings: Annotated[int, typer.Option(min=100, help="Fingerprints to compare.")] = 10_000,
    audio: Annotated[
        Path | None, typer.Option(help="Spoil excerpts of the recordings in this folder too, in four formats.")
    ] = None,
    audio_errors: Annotated[int, typer.Option(min=20, help="Excerpts to spoil.")] = 3_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same records.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Inject labelled errors into clean metadata and show which were mended or quarantined under the right code.

    Example: wavehouse bench metadata --audio ~/Music
    """
    from benchmarks import damaged_audio
    from benchmarks import metadata as bench_metadata

    out = Output(as_json=as_json)
    found = bench_metadata.run(errors=errors, clean_records=clean, recordings=recordings, seed=seed)
    _confusion(out, "Errors", found["kinds"])
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
    if audio:
        heard = damaged_audio.run(audio.expanduser(), errors=audio_errors, clean=audio_errors // 3, seed=seed)
        found["audio"] = heard
        _confusion(out, "Errors in audio files", heard["kinds"])
        shares += [
            ("audio: right, %", heard["right_percent"], f">= {heard['goals']['right_percent']}"),
            ("audio: clean refused, %", heard["false_refusals_percent"],
             f"<= {heard['goals']['false_refusals_percent']}"),
        ]  # fmt: skip
    out.table("Shares", ["share", "measured", "goal"], [(name, f"{value:.4f}", goal) for name, value, goal in shares])
    out.result(found)


def _confusion(out: Output, title: str, kinds: list[dict[str, Any]]) -> None:
    """What became of each kind of error; those that nothing could see stand apart."""
    for heading, apart in ((title, False), (f"{title} that leave a valid value: out of reach of one record", True)):
        rows = [
            (k["kind"], k["code"], k["must"], k["injected"], k["right"], f"{100 * k['right'] / k['injected']:.2f}",
             ", ".join(f"{code} {number}" for code, number in k["found_as"].items()))
            for k in kinds if k["out_of_reach"] is apart
        ]  # fmt: skip
        out.table(heading, ["kind", "code", "must", "injected", "right", "%", "found as"], rows)


@app.command()
def stream(
    events: Annotated[
        int, typer.Option(min=1000, help="Plays to send; plain PyFlink reads an eighth of them.")
    ] = 4_000_000,
    rounds: Annotated[int, typer.Option(min=1, help="How often each contender runs.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Events per task-manager CPU second of the stream job, of itself without exactly-once and of plain PyFlink.

    It needs a running stack, topics of its own in it, and memory (1.5 GB) for a second task manager.

    Example: WAVEHOUSE_PROFILE=test wavehouse bench stream --events 2000000
    """
    from benchmarks import stream as bench_stream

    out, settings = Output(as_json=as_json), load_settings()
    found = bench_stream.cost(settings, events=events, rounds=rounds, say=out.info)
    rows = [(name, f"{value:,.0f}") for name, value in found["events_per_cpu_s"].items()]
    out.table("Stream job", ["contender", "events per CPU second"], rows)
    goals = found["goals"]
    ratios = [
        ("times plain PyFlink", f"{found['times_python']:.2f}", goals["times_python"]),
        ("of itself without exactly-once", f"{found['of_without_exactly_once']:.2f}", goals["of_without_exactly_once"]),
    ]
    out.table("Ratios", ["ours", "measured", "goal"], ratios)
    out.result(found)


@app.command()
def latency(
    per_second: Annotated[int, typer.Option(min=100, help="Plays a second.")] = 2_000,
    seconds: Annotated[int, typer.Option(min=1, help="How long to send.")] = 60,
    as_json: AsJson = False,
) -> None:
    """Time from sending a play until a query of ClickHouse shows it.

    It needs a running stack that has no simulated plays.

    Example: WAVEHOUSE_PROFILE=test wavehouse bench latency --seconds 30
    """
    from benchmarks import stream as bench_stream

    out, settings = Output(as_json=as_json), load_settings()
    bench_stream.unused(settings)
    found = bench_stream.latency(settings, per_second=per_second, seconds=seconds, say=out.info)
    out.table("Until visible", ["what", "value"], [(name, f"{value:,.2f}") for name, value in found.items()])
    out.result(found)


@app.command()
def royalties(
    streams: Annotated[int, typer.Option(min=1000, help="Streams of the month.")] = 100_000_000,
    tracks: Annotated[int, typer.Option(min=10, help="Tracks they are of.")] = 1_000_000,
    payees: Annotated[int, typer.Option(min=1, help="Artists of the tracks, who are paid.")] = 50_000,
    listeners: Annotated[int, typer.Option(min=100, help="People who listen.")] = 2_000_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same files.")] = 1,
    rounds: Annotated[int, typer.Option(min=1, help="How often each contender runs.")] = 1,
    keep: Annotated[bool, typer.Option("--keep", help="Leave files and tables for the next run.")] = False,
    as_json: AsJson = False,
) -> None:
    """Royalties of a month at scale: in full, a day's increment, the close after increments, and DuckDB in full.

    It needs a running lake (Trino, MinIO, PostgreSQL) and, at full size, 10 GB of disk. Amounts are compared by row.

    Example: wavehouse bench royalties --streams 1000000 --tracks 100000 --payees 5000 --listeners 50000
    """
    from benchmarks import royalties as bench_royalties
    from benchmarks.royalties_data import Scale

    out, settings = Output(as_json=as_json), load_settings()
    scale = Scale(streams, tracks, payees, listeners, seed)
    found = bench_royalties.run(settings, scale, rounds=rounds, keep=keep, say=out.info)
    rows = [
        (name, f"{cost['cpu_s']:,.1f}", f"{cost['wall_s']:,.1f}", f"{found['peak_gb'][name]:.2f}")
        for name, cost in found["median"].items()
    ]
    out.table(f"Royalties of {streams:,} streams", ["contender", "CPU s", "wall s", "peak GB"], rows)
    goals = found["goals"]
    ratios = [
        ("daily increment / full month", f"{found['increment_of_full']:.3f}", f"<= {goals['increment_of_full']}"),
        ("monthly close / DuckDB in full", f"{found['close_of_duckdb']:.2f}", f"<= {goals['close_of_duckdb']}"),
        ("full month / DuckDB in full", f"{found['full_of_duckdb']:.2f}", ""),
        ("peak memory, Trino and driver, GB", f"{max(found['peak_gb'].values()):.2f}", f"<= {goals['peak_gb']}"),
    ]
    out.table("Ratios of CPU seconds", ["what", "measured", "goal"], ratios)
    out.result(found)


@app.command()
def settlement(
    streams: Annotated[int, typer.Option(min=1000, help="Streams of the month.")] = 10_000_000,
    tracks: Annotated[int, typer.Option(min=10, help="Tracks they are of.")] = 1_000_000,
    payees: Annotated[int, typer.Option(min=1, help="Artists of the tracks, who are paid.")] = 50_000,
    listeners: Annotated[int, typer.Option(min=100, help="People who listen.")] = 200_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same files.")] = 1,
    as_json: AsJson = False,
) -> None:
    """A month at scale settled by `royalties run`, with contracts of every kind, and the auditor's checklist over it.

    It needs a lake of its own: WAVEHOUSE_PROFILE=bench wavehouse up --only lake

    Example: WAVEHOUSE_PROFILE=bench wavehouse bench settlement --streams 1000000 --tracks 100000 --payees 5000
    """
    from benchmarks import settlement as bench_settlement
    from benchmarks.royalties_data import Scale

    out, settings = Output(as_json=as_json), load_settings()
    found = bench_settlement.run(settings, Scale(streams, tracks, payees, listeners, seed), say=out.info)
    rows = [
        (name, f"{cost['cpu_s']:,.0f}", f"{cost['wall_s']:,.0f}", f"{cost['peak_gb']:.2f}")
        for name, cost in found["steps"].items()
    ]
    out.table(f"{found['lines']:,} lines of {streams:,} streams", ["step", "CPU s", "wall s", "peak GB"], rows)
    items = [(item["question"], f"{item['looked_at']:,}", item["wrong"]) for item in found["checklist"]]
    out.table("Checklist", ["question", "looked at", "wrong"], items)
    out.result(found)


@app.command()
def lake(
    commits: Annotated[int, typer.Option(min=10, help="Small commits to make.")] = 10_000,
    rows: Annotated[int, typer.Option(min=1, help="Plays in each.")] = 200,
    as_json: AsJson = False,
) -> None:
    """What a month's aggregate costs after many small commits and maintenance, beside the same rows written ideally,
    and what that maintenance costs beside the commits.

    It needs a running stack (Trino, MinIO, PostgreSQL) and drops the tables it makes.

    Example: WAVEHOUSE_PROFILE=test wavehouse bench lake --commits 1000
    """
    from benchmarks import lake as bench_lake

    out, settings = Output(as_json=as_json), load_settings()
    found = bench_lake.run(settings, commits=commits, rows=rows, say=out.info)
    goals = found["goals"]
    shares = [
        (name, f"{found[name]:.3f}", f"<= {goals[name]}") for name in ("query_times_ideal", "maintenance_of_ingest")
    ]
    out.table(f"After {commits:,} commits", ["ratio of CPU seconds", "measured", "goal"], shares)
    out.result(found)


@app.command()
def ingest(
    gb: Annotated[float, typer.Option(min=0.1, help="Bytes each contender sends a round, in units of 10^9.")] = 1.0,
    rounds: Annotated[int, typer.Option(min=1, help="How often each contender runs.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Our upload beside the object store's own ceiling (a bare client without checksums) and beside minio-py.

    It needs a running object store and removes what it sends.

    Example: wavehouse bench ingest --gb 1 --rounds 3
    """
    from benchmarks import ingest_upload

    out, settings = Output(as_json=as_json), load_settings()
    found = ingest_upload.run(settings, gb=gb, rounds=rounds, say=out.info)
    rows = [
        (name, f"{1 / cost['wall_s']:.3f}", f"{cost['cpu_s']:.3f}") for name, cost in sorted(found["per_gb"].items())
    ]
    out.table(f"Sending {found['gb']:.2f} GB, medians", ["client", "GB a second", "CPU s a GB"], rows)
    met = {name: "met" if value else "MISSED" for name, value in found["met"].items()}
    shares = [
        ("throughput / ceiling", f"{found['throughput_of_ceiling']:.2f}", ">= 0.90", met["throughput_of_ceiling"]),
        ("CPU / minio-py's", f"{found['cpu_of_minio_py']:.2f}", "<= 0.33", met["cpu_of_minio_py"]),
    ]
    out.table("Goals", ["what", "measured", "goal", ""], shares)
    out.result(found)


@app.command()
def burst(
    files: Annotated[int, typer.Option(min=0, help="The first so many files of the burst; 0: all of it.")] = 0,
    seconds: Annotated[float, typer.Option(min=5, help="Sound in each.")] = 30.0,
    load: Annotated[float, typer.Option(min=0.1, help="How many times the workers' capacity arrives.")] = 1.5,
    workers: Annotated[int, typer.Option(min=1, help="Processes that take files from the queue.")] = 2,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks of a worker.")] = 1.0,
    factor: Annotated[float, typer.Option(min=1, help="How far both 99th percentiles may be apart.")] = 2.0,
    seed: Annotated[int, typer.Option(help="Another seed: other files; the same ones are known.")] = 1,
    as_json: AsJson = False,
) -> None:
    """A burst of files through the queue that `wavehouse ingest work` serves, beside the simulation of `plan ingest`.

    The burst is a thousandth of one of 10 TB a day, in compressed time. Ends with an error when a file is lost, or
    when the real and the simulated 99th percentile of waiting (each with a look's interval added) are further apart
    than the factor. It needs a running lake whose catalogue may be thrown away: the files become tracks. Nothing else
    may take files in meanwhile: pause the DAG watch_landing.

    Example: WAVEHOUSE_PROFILE=test wavehouse bench burst --files 60
    """
    from benchmarks import ingest_burst

    out, settings = Output(as_json=as_json), load_settings()
    found = ingest_burst.run(
        settings,
        files=files,
        seconds=seconds,
        load=load,
        workers=workers,
        seed=seed,
        every_s=every,
        factor=factor,
        say=out.info,
    )
    rows = [(name, f"{found[name]['real']:.2f}", f"{found[name]['simulated']:.2f}")
            for name in ("delay_p50_s", "delay_p99_s")]  # fmt: skip
    out.table(f"{found['files']} files, {found['lost']} lost", ["waiting", "real", "simulated"], rows)
    out.info(
        f"Time was compressed {found['compression']:.0f} times; the 99th percentiles are "
        f"{found['p99_apart']:.2f} times apart, {factor:g} are allowed"
    )
    out.result(found)
    if found["within"] and not found["lost"]:
        return
    if as_json:
        raise typer.Exit(FatalError.exit_code)  # the figures are the one document
    if found["lost"]:
        raise FatalError(f"{found['lost']} files were lost.", hint="Does somebody else take files in?")
    raise FatalError(
        f"Real and simulated delays are {found['p99_apart']:.2f} times apart; {factor:g} are allowed.",
        hint="On a machine that other work keeps busy, run it again; else the simulation or the rates are wrong.",
    )


@app.command()
def features(
    audio: Annotated[Path, typer.Option(help="A folder of audio files.", exists=True, file_okay=False)],
    rounds: Annotated[int, typer.Option(min=1, help="How often each file is described by each contender.")] = 1,
    limit: Annotated[int, typer.Option(min=1, help="Files at most, in the order of their names.")] = 1000,
    spark: Annotated[bool, typer.Option("--spark", help="Also measure Spark beside a bare pool of processes.")] = False,
    as_json: AsJson = False,
) -> None:
    """Audio features: seconds of audio a CPU second, decoding included, beside plain librosa on the same files.

    One thread; nothing of the stack is needed. Loudness is judged by ffmpeg, fingerprints by fpcalc, where installed.

    Example: wavehouse bench features --audio ~/Music --rounds 3
    """
    from benchmarks import features as bench_features

    out = Output(as_json=as_json)
    found = bench_features.run(audio, rounds=rounds, limit=limit, say=out.info)
    goals = found["goals"]

    def judged(value: float, goal: float) -> str:
        return "reached" if value >= goal else "MISSED"

    rows = [
        ("times real time per core", f"{found['times_real_time']:.0f}", f">= {goals['times_real_time']:.0f}",
         judged(found["times_real_time"], goals["times_real_time"])),
        ("plain librosa: times real time per core", f"{found['librosa_times_real_time']:.1f}", "", ""),
        ("times plain librosa, same list", f"{found['times_librosa']:.2f}", f">= {goals['times_librosa']:.0f}",
         judged(found["times_librosa"], goals["times_librosa"])),
        ("times librosa's part of the list alone", f"{found['times_librosa_alone']:.2f}", "", ""),
    ]  # fmt: skip
    out.table(f"{found['files']} files, {found['audio_s']:,.0f} s of audio", ["what", "measured", "goal", "is"], rows)
    out.table(
        "Agreement by track",
        ["feature", "compared", "bound", "worst", "within, %", "goal, %", "is"],
        [
            (row["feature"], row["compared"], row["bound"], f"{row['worst']:.5f}", f"{100 * row['share']:.1f}",
             "" if row["goal"] is None else f"{100 * row['goal']:.0f}",
             "" if row["goal"] is None else "MISSED" if row["missed"] else "reached")
            for row in found["agreement"]
        ],
    )  # fmt: skip
    if spark:
        from benchmarks import features_spark

        out.step("Spark beside a pool of processes")
        found["spark"] = added = features_spark.run(audio, rounds=rounds, limit=limit, say=out.info)
        out.table(
            "Spark over a bare pool of processes, CPU seconds",
            ["what", "measured", "goal", "is"],
            [("overhead", f"{100 * added['overhead']:.1f} %", f"<= {100 * added['goal']:.0f} %",
              "reached" if added["overhead"] <= added["goal"] else "MISSED")],
        )  # fmt: skip
    out.result(found)


@app.command("feature-join")
def feature_join(
    rows: Annotated[int, typer.Option(min=1, help="Rows of the spine.")] = 1_000_000,
    tracks: Annotated[int, typer.Option(min=1, help="Tracks in the history.")] = 200_000,
    days: Annotated[int, typer.Option(min=1, help="Days of the history, a row a track each.")] = 50,
    rounds: Annotated[int, typer.Option(min=1, help="How often each contender runs.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Features at moments, joined by our code and by DuckDB's ASOF JOIN on one thread, in memory. Needs no stack.

    Example: wavehouse bench feature-join --rows 1000000
    """
    from benchmarks import feature_join as bench_join

    found = bench_join.run(rows=rows, tracks=tracks, days=days, rounds=rounds)
    out = Output(as_json=as_json)
    out.table(f"{found['spine_rows']:,} rows beside {found['history_rows']:,}", ["what", "value"], list(found.items()))
    out.result(found)
