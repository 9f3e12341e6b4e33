"""The backlog over HTTP: counted beside the requests, told with its age, and 503 where there is nothing new to tell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import Event
from typing import cast

import pytest

from lakehouse.config.settings import load_settings
from lakehouse.domain.capacity import backlog
from lakehouse.errors import RejectedInputError, RetryableError
from serving.backlog.app import Counted, Found, assemble
from tests.asgi import get

FOUND = backlog.Backlog(2, 70, 30.0, 4.5), backlog.Deliveries(1, 9, 12.0)
FEATURES = (backlog.Features(3, 600.0, 60.0, 5.75),)


def counted(found: Found, clock: Callable[[], float] = lambda: 0.0) -> Counted:
    """Figures that were counted at 0 s."""
    age = backlog.FeaturesAge if found == FEATURES else backlog.LandingAge
    made = Counted(lambda: found, age, every_s=15.0, stale_s=300.0, clock=clock)
    made.refresh()
    return made


def test_every_metric_has_its_number_in_both_forms() -> None:
    app = assemble(load_settings("test"), landing=counted(FOUND), features=counted(FEATURES))
    told = get(app, "/v1/backlog").json() | get(app, "/v1/backlog/features").json()
    assert told == backlog.values(*FOUND, *FEATURES, backlog.LandingAge(0.0), backlog.FeaturesAge(0.0))
    assert len(told) == sum(map(len, backlog.METRICS.values()))
    pages = {
        "/metrics": (*FOUND, backlog.LandingAge(0.0)),
        "/metrics/features": (*FEATURES, backlog.FeaturesAge(0.0)),
    }
    for path, found in pages.items():
        answer = get(app, path)
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert answer.text == backlog.exposition(*found)


def test_figures_are_told_with_their_age_until_they_are_too_old_to_scale_by() -> None:
    now, counts = [0.0], [0]

    def count() -> Found:
        counts[0] += 1
        if counts[0] == 2:
            raise RetryableError("The catalogue does not answer.")
        return FOUND

    landing = Counted(count, backlog.LandingAge, every_s=15.0, stale_s=300.0, clock=lambda: now[0])
    app = assemble(load_settings("test"), landing=landing, features=counted(FEATURES))

    def asked() -> tuple[int, str]:
        answer = get(app, "/v1/backlog")
        return answer.status_code, answer.json().get("detail", "")

    ready = get(app, "/readyz")
    assert (ready.status_code, ready.json()["status"]) == (503, "unready")
    assert asked() == (503, "It has not been counted yet.")
    landing.refresh()
    assert get(app, "/readyz").json()["status"] == "ready"
    now[0] = 300.0
    with pytest.raises(RetryableError):
        landing.refresh()
    assert get(app, "/v1/backlog").json() == backlog.values(*FOUND, backlog.LandingAge(300.0))
    now[0] = 300.5
    answer = get(app, "/metrics")
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert asked() == (503, "It was counted 300 s ago, and not since. The catalogue does not answer.")
    assert [get(app, path).status_code for path in ("/healthz", "/readyz")] == [200, 503]
    assert counts == [2]  # no request counts
    landing.refresh()
    assert get(app, "/v1/backlog").json() == backlog.values(*FOUND, backlog.LandingAge(0.0))


def test_a_bucket_that_takes_long_to_list_is_told_until_the_next_count_can_be_over() -> None:
    now = [0.0]

    def count() -> Found:
        now[0] += 400.0
        return FOUND

    landing = Counted(count, backlog.LandingAge, every_s=15.0, stale_s=300.0, clock=lambda: now[0])
    landing.refresh()
    for now[0] in (400.0, 815.0, 1200.0):
        assert landing()[-1] == backlog.LandingAge(now[0])
    now[0] = 1201.0
    with pytest.raises(RetryableError):
        landing()


@pytest.mark.parametrize(
    "error", [ConnectionError("Connection refused"), RejectedInputError("No such name.", reason="bad_object_name")]
)
def test_no_error_of_a_count_ends_the_counting(error: Exception) -> None:
    def count() -> Found:
        raise error

    counting = Counted(count, backlog.LandingAge, every_s=15.0, stale_s=300.0)
    with pytest.raises(RetryableError):
        counting.refresh()


def test_a_service_that_runs_counts_by_itself() -> None:
    over = Event()

    def count() -> Found:
        over.set()
        return FOUND

    landing = Counted(count, backlog.LandingAge, every_s=0.01, stale_s=300.0)
    app = assemble(load_settings("test"), landing=landing, features=counted(FEATURES))

    async def run() -> bool:
        async with app.router.lifespan_context(app):
            assert await asyncio.to_thread(over.wait, 10)
            over.clear()
            return await asyncio.to_thread(over.wait, 10)

    assert asyncio.run(run())
    assert cast(backlog.Backlog, landing()[0]).files == 2
