"""The baseline: pro-rata royalties of a month by DuckDB on two threads, from files of plays to amounts by track.

Run as a program of its own, so that its CPU seconds and memory are its own:
python -m benchmarks.royalties_duckdb FOLDER RESULT SHARE_BPS
"""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa

THREADS = 2

#: Everybody gets the whole units of the exact share; what is left goes, a unit each, to the largest remainders.
SQL = """
copy (
    with listened as (
        select country, track_id, count(*) as streams
        from read_parquet('{folder}/plays-*.parquet')
        where
            ms_played >= 30000
            and event_id not in (select event_id from read_parquet('{folder}/play_flags-*.parquet'))
        group by all
    ),
    paid as (
        select listened.*, tracks.artist_id as payee_id
        from listened join read_parquet('{folder}/tracks.parquet') as tracks using (track_id)
    ),
    pools as (
        select country, any_value(currency) as currency, sum(revenue_minor)::hugeint * {share_bps} // 10000 as pool
        from read_parquet('{folder}/revenue.parquet') group by country
    ),
    totals as (select country, sum(streams)::hugeint as total from paid group by country),
    parts as (
        select
            paid.*, currency, pool,
            pool * streams // total as whole,
            pool * streams % total as rest
        from paid join pools using (country) join totals using (country)
    ),
    placed as (
        select
            *,
            row_number() over (partition by country order by rest desc, track_id) as place,
            pool - sum(whole) over (partition by country) as units_left
        from parts
    )
    select
        country, track_id, payee_id, streams::bigint as streams, currency,
        (whole + if(place <= units_left, 1, 0))::bigint as amount_minor
    from placed
) to '{result}' (format parquet)
"""


def run(folder: Path, result: Path, share_bps: int) -> None:
    """Write the royalties of the files in `folder` to `result`."""
    import duckdb

    with duckdb.connect(config={"threads": THREADS}) as connection:
        connection.execute(SQL.format(folder=folder, result=result, share_bps=int(share_bps)))


def differences(ours: pa.Table, result: Path) -> int:
    """How many rows are in one of both alone; `ours` has the columns of the result in its order."""
    import duckdb

    with duckdb.connect(config={"threads": THREADS}) as connection:
        connection.register("ours", ours)
        theirs = f"select * from read_parquet('{result}')"  # noqa: S608 - a path of ours
        found = connection.execute(
            f"select count(*) from ((from ours except all {theirs}) union all ({theirs} except all from ours))"  # noqa: S608
        ).fetchone()
        return int(found[0]) if found else 0


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
