"""Recordings that wait for features, from the lake: what `spark_jobs.extract_features` would take."""

from __future__ import annotations

from datetime import datetime

from lakehouse.adapters import lake
from lakehouse.config.settings import Settings
from lakehouse.domain.audio.features import EXTRACTOR, VERSION
from lakehouse.domain.capacity import backlog
from lakehouse.domain.capacity.ingest import measured

TABLE = "silver_audit.audio_features"


def pending(settings: Settings, now: datetime) -> backlog.Features:
    """Accepted recordings in the lake without features of the current extractor version, as they stand at `now`.

    Raises:
        FatalError: the lake has no tables yet.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    accepted = lake.read(settings, "bronze.catalog_content", columns=("sha256", "duration_ms", "created_at"))
    version = f"extractor = '{EXTRACTOR}' and extractor_version = '{VERSION}'"
    done = lake.read(settings, TABLE, columns=("sha256",), where=version)
    is_open = pc.invert(pc.is_in(accepted["sha256"], pa.array(pc.unique(done["sha256"]))))
    rows = accepted.filter(is_open).to_pydict()
    return backlog.features(zip(rows["duration_ms"], rows["created_at"], strict=True), now, measured())
