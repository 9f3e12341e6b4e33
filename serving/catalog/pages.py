"""The human page of the service: what is played most, and when. Rendered on the server, no scripts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lakehouse.errors import RetryableError
from serving.catalog.models import MAX_ID, Minute
from serving.catalog.routes import Service
from serving.kit.app import meaning

HOUR = timedelta(hours=1)
templates = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")), autoescape=True, undefined=StrictUndefined
)
templates.globals["meaning"] = meaning
router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class Bar:
    """One bar of the chart. Sizes are in the units of the SVG's view box."""

    hour: datetime
    plays: int
    x: float
    y: float
    width: float
    height: float


@router.get("/", response_class=HTMLResponse)
def page(
    service: Service,
    track: Annotated[int | None, Query(ge=1, le=MAX_ID)] = None,
    country: Annotated[str, Query(pattern="^([A-Z]{2})?$")] = "",
) -> HTMLResponse:
    """Top tracks of the last 24 hours of data and the plays of one of them by the hour."""
    values: dict[str, object] = {
        "away": None,
        "top": None,
        "live": None,
        "chosen": None,
        "bars": [],
        "country": country,
    }
    status = 200
    try:
        top = service.top(None, None, country=country or None, limit=10)
        chosen_id = track or next((int(item.track_id) for item in top.items if item.title), None)
        values["top"] = top
        if chosen_id is not None:
            # The chart covers the range of the ranking, for the whole world.
            live = service.live(chosen_id, top.start, top.end)
            values |= {"live": live, "chosen": service.track(chosen_id), "bars": bars(by_hour(live.minutes))}
    except RetryableError as error:
        values["away"], status = error.message, 503
    headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'"}
    return HTMLResponse(templates.get_template("index.html").render(values), status, headers)


def by_hour(minutes: Sequence[Minute]) -> list[tuple[datetime, int]]:
    """Plays by UTC hour, from the first hour with a play to the last; hours without one are zero."""
    counts: dict[datetime, int] = {}
    for minute in minutes:
        hour = minute.window_start.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        counts[hour] = counts.get(hour, 0) + minute.plays
    if not counts:
        return []
    first, hours = min(counts), (max(counts) - min(counts)) // HOUR + 1
    return [(first + n * HOUR, counts.get(first + n * HOUR, 0)) for n in range(hours)]


def bars(counts: Sequence[tuple[datetime, int]], *, width: float = 720, height: float = 180) -> list[Bar]:
    """The counts as bars that fill `width` and, the highest, `height`."""
    highest = max((plays for _, plays in counts), default=0) or 1
    step = width / max(len(counts), 1)
    return [
        Bar(
            hour=hour,
            plays=plays,
            x=round(number * step + step * 0.1, 2),
            y=round(height - height * plays / highest, 2),
            width=round(step * 0.8, 2),
            height=round(height * plays / highest, 2),
        )
        for number, (hour, plays) in enumerate(counts)
    ]
