"""What is asked of the simulator, and the catalogue it plays."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lakehouse.domain.ids import Int64s
from lakehouse.errors import RejectedInputError

DAY_MS = 86_400_000
#: A device that was offline has this long to deliver what it recorded.
MAX_LATE_DAYS = 30
MIN_TRACK_MS = 1_000


@dataclass(frozen=True)
class Scenario:
    """The arguments of a run. Equal scenarios on equal catalogues give equal bytes (with the same numpy)."""

    users: int
    days: int
    end: date
    seed: int
    bad_events: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot be simulated.

        Raises:
            RejectedInputError: no users, no days, or a negative seed.
        """
        for name, least in (("users", 1), ("days", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise RejectedInputError(
                    f"--{name} is {getattr(self, name)}, but must be at least {least}.",
                    reason="bad_argument",
                    value=getattr(self, name),
                )

    @property
    def run_id(self) -> str:
        """Name of the run, the same for the same arguments."""
        suffix = "" if self.bad_events else "-clean"
        return f"{self.users}u-{self.days}d-{self.end.isoformat()}-s{self.seed}{suffix}"

    @property
    def start(self) -> date:
        """First day of plays, UTC."""
        return self.end - timedelta(days=self.days - 1)

    @property
    def start_ms(self) -> int:
        """Start of the first day, in milliseconds since 1970 UTC."""
        return int(datetime.combine(self.start, time(), tzinfo=UTC).timestamp()) * 1000

    @property
    def end_ms(self) -> int:
        """End of the last day (exclusive), in milliseconds since 1970 UTC; nothing is played from here on."""
        return self.start_ms + self.days * DAY_MS

    @property
    def horizon_us(self) -> int:
        """Nothing is received from here on, in microseconds since 1970 UTC: late deliveries pass the last day."""
        return (self.end_ms + MAX_LATE_DAYS * DAY_MS) * 1000

    def rng(self, stage: str) -> np.random.Generator:
        """The random stream of one stage, so that a change in one stage leaves the others as they are.

        All arguments enter, so that no two scenarios share an event id.
        """
        entropy = [self.seed, self.users, self.days, self.end.toordinal(), int(self.bad_events), crc32(stage.encode())]
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))


@dataclass(frozen=True, eq=False)
class Tracks:
    """The catalogue as the simulator needs it, ordered by content hash so that ids have no say in popularity."""

    track_id: Int64s
    duration_ms: Int64s
    artist: NDArray[np.int64]
    """Index into `artist_id`."""
    artist_id: Int64s
    fingerprint: str

    @classmethod
    def from_catalog(cls, content: pa.Table) -> Tracks:
        """Playable content of `bronze.catalog_content` (content_id, duration_ms, artist_id, artist_name, sha256).

        Raises:
            RejectedInputError: nothing in it can be played (reason `empty_catalogue`).
        """
        playable = content.filter(pc.greater_equal(content["duration_ms"], MIN_TRACK_MS)).sort_by("sha256")
        if playable.num_rows == 0:
            raise RejectedInputError(
                "The catalogue has no track to play.",
                reason="empty_catalogue",
                hint="Ingest audio first: `wavehouse ingest fetch-demo-audio`, then the DAG ingest_audio.",
            )
        ids = playable["content_id"].to_numpy().astype(np.int64)
        durations = playable["duration_ms"].to_numpy().astype(np.int64)
        names = playable["artist_name"].to_pylist()
        artists = dict(zip(names, playable["artist_id"].to_pylist(), strict=True))
        order = {name: index for index, name in enumerate(artists)}
        digest = hashlib.sha256()
        for row in zip(playable["sha256"].to_pylist(), ids.tolist(), durations.tolist(), names, strict=True):
            digest.update(repr((*row, artists[row[-1]])).encode())
        artist = np.array([order[name] for name in names], dtype=np.int64)
        return cls(ids, durations, artist, np.array([*artists.values()], dtype=np.int64), digest.hexdigest())

    def __len__(self) -> int:
        """Number of tracks."""
        return len(self.track_id)
