"""The backlog as numbers over HTTP, for scalers and Prometheus: `uvicorn --factory serving.backlog.app:create_app`."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Lock
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Request, Response

from lakehouse.adapters import feature_backlog, intake
from lakehouse.config.settings import Settings, load_settings
from lakehouse.domain.capacity import backlog
from lakehouse.errors import WavehouseError
from lakehouse.failures import translate
from serving.kit import problems
from serving.kit.app import build, log_to_stdout

DESCRIPTION = """What waits: files and deliveries in landing, and recordings without features; how much, since when, and
what it will cost in CPU seconds. Reading only. A store or database that is away is answered with 503, so that a scaler
leaves the fleet as it is."""

#: Average bit rate of what is delivered, in kbit/s, as `wavehouse plan ingest` has it.
KBIT_S = 320.0
#: Prometheus' text format.
TEXT = "text/plain; version=0.0.4; charset=utf-8"

Found = tuple[backlog.Backlog | backlog.Deliveries | backlog.Features, ...]


class Counted:
    """What `count` gives, counted again after `every_s` seconds at the earliest, and never twice at once: a count lists
    the whole landing bucket.
    """

    def __init__(self, count: Callable[[], Found], every_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._count, self._every_s, self._clock = count, every_s, clock
        self._lock = Lock()
        self._found: Found = ()
        self._at = -every_s

    def __call__(self) -> Found:
        """The newest count.

        Raises:
            WavehouseError: it can't be counted now; an old count would be taken for the present.
        """
        with self._lock:
            if self._clock() - self._at >= self._every_s or not self._found:
                self._found = ()
                try:
                    self._found = self._count()
                except WavehouseError:
                    raise
                except Exception as error:
                    raise translate(error) from error
                self._at = self._clock()
            return self._found


routes = APIRouter(tags=["backlog"], responses=problems.responses(503))


def _landing(request: Request) -> Found:
    return request.app.state.landing()  # type: ignore[no-any-return]


def _features(request: Request) -> Found:
    return request.app.state.features()  # type: ignore[no-any-return]


Landing = Annotated[Found, Depends(_landing)]
Features = Annotated[Found, Depends(_features)]


@routes.get("/v1/backlog", summary="Files and deliveries that wait in landing")
def ingest_backlog(found: Landing) -> dict[str, float]:
    """The value of each metric, by its name."""
    return backlog.values(*found)


@routes.get("/v1/backlog/features", summary="Recordings that wait for features")
def features_backlog(found: Features) -> dict[str, float]:
    """The value of each metric, by its name."""
    return backlog.values(*found)


@routes.get("/metrics", summary="Files and deliveries, for Prometheus", response_class=Response)
def ingest_metrics(found: Landing) -> Response:
    """Text exposition format 0.0.4."""
    return Response(backlog.exposition(*found), media_type=TEXT)


@routes.get("/metrics/features", summary="Recordings, for Prometheus", response_class=Response)
def features_metrics(found: Features) -> Response:
    """Text exposition format 0.0.4."""
    return Response(backlog.exposition(*found), media_type=TEXT)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service on the engines of `settings` (default: the profile of the environment)."""
    log_to_stdout()
    settings = settings or load_settings()
    return assemble(
        settings,
        # Half of the scaler's interval; features are read from the lake, where nothing scales by them.
        landing=Counted(lambda: intake.backlog(settings, KBIT_S), every_s=15.0),
        features=Counted(lambda: (feature_backlog.pending(settings, datetime.now(UTC)),), every_s=300.0),
    )


def assemble(settings: Settings, *, landing: Callable[[], Found], features: Callable[[], Found]) -> FastAPI:
    """The application over given counts."""
    app = build(
        title="Wavehouse backlog", version="1.0.0", description=DESCRIPTION, settings=settings, routers=[routes]
    )
    app.state.landing, app.state.features = landing, features
    return app
