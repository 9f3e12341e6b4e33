"""The backlog as numbers over HTTP, for scalers and Prometheus: `uvicorn --factory serving.backlog.app:create_app`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from threading import Event, Thread
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Request, Response

from lakehouse.adapters import feature_backlog, intake
from lakehouse.adapters.repeating import repeat
from lakehouse.config.settings import Settings, load_settings
from lakehouse.domain.capacity import backlog
from lakehouse.errors import RejectedInputError, RetryableError, WavehouseError
from lakehouse.failures import translate
from serving.kit import problems
from serving.kit.app import build, log_to_stdout
from serving.kit.health import Probe

DESCRIPTION = """What waits: files and deliveries in landing, and recordings without features; how much, since when, and
what it will cost in CPU seconds. Reading only. It is counted in the background, and every answer says how old its
figures are. Before the first count, and when the newest is too old to be taken for the present because a store or
database is away, the answer is 503, so that a scaler leaves the fleet as it is."""

#: Average bit rate of what is delivered, in kbit/s, as `wavehouse plan ingest` has it.
KBIT_S = 320.0
#: Prometheus' text format.
TEXT = "text/plain; version=0.0.4; charset=utf-8"

Found = tuple[backlog.Counts, ...]
log = logging.getLogger("serving")


class Counted:
    """What `count` gave last. Requests ask for it and never wait for a count, which lists the whole landing bucket:
    `keep` counts, with a pause of `every_s` seconds after each.

    Figures are told for `stale_s` seconds, or thrice the time that it took to count them where that is longer.
    """

    def __init__(
        self,
        count: Callable[[], Found],
        age: type[backlog.LandingAge | backlog.FeaturesAge],
        *,
        every_s: float,
        stale_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._count, self._age, self._clock = count, age, clock
        self._every_s, self._stale_s = every_s, stale_s
        #: Figures, when their count began, and for how long they are told [s].
        self._last: tuple[Found, float, float] | None = None
        self._failure = ""

    def refresh(self) -> None:
        """Count now.

        Raises:
            WavehouseError: it can't be counted; what was counted before stays.
        """
        began = self._clock()
        try:
            found = self._count()
        except Exception as error:
            shown = error if isinstance(error, WavehouseError) else translate(error)
            self._failure = shown.message
            if isinstance(shown, RejectedInputError):  # nobody's input: the next count may go well
                raise RetryableError(shown.message, hint=shown.hint) from error
            raise shown from error
        self._failure = ""
        self._last = found, began, max(self._stale_s, 3 * (self._clock() - began))

    def keep(self, stop: Event) -> None:
        """Count again and again until `stop` is set."""
        repeat(self.refresh, stop, every_s=self._every_s, say=log.warning)

    def __call__(self) -> Found:
        """The newest figures and their age.

        Raises:
            RetryableError: there are none yet, or they are too old to be taken for the present.
        """
        if self._last is None:
            raise RetryableError(f"It has not been counted yet. {self._failure}".rstrip())
        found, began, told_s = self._last
        age_s = self._clock() - began
        if age_s > told_s:
            raise RetryableError(f"It was counted {age_s:.0f} s ago, and not since. {self._failure}".rstrip())
        return *found, self._age(age_s)

    def check(self) -> None:
        """As a call; for a probe."""
        self()


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

    def features() -> Found:
        return (feature_backlog.pending(settings, datetime.now(UTC)),)

    return assemble(
        settings,
        # Half of the scaler's interval; features are read from the lake, where nothing scales by them.
        landing=Counted(lambda: intake.backlog(settings, KBIT_S), backlog.LandingAge, every_s=15.0, stale_s=300.0),
        features=Counted(features, backlog.FeaturesAge, every_s=300.0, stale_s=1800.0),
    )


def assemble(settings: Settings, *, landing: Counted, features: Counted) -> FastAPI:
    """The application over given counts, which it keeps up to date while it runs. Ready once landing was counted."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        stop = Event()
        # Daemons: a count of a large bucket that is under way holds up no end.
        threads = [Thread(target=counted.keep, args=(stop,), daemon=True) for counted in (landing, features)]
        for thread in threads:
            thread.start()
        yield
        stop.set()
        for thread in threads:
            await asyncio.to_thread(thread.join, 1.0)

    app = build(
        title="Wavehouse backlog",
        version="1.1.0",
        description=DESCRIPTION,
        settings=settings,
        routers=[routes],
        probes=[Probe("landing", landing.check), Probe("features", features.check, required=False)],
        lifespan=lifespan,
    )
    app.state.landing, app.state.features = landing, features
    return app
