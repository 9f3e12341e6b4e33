"""The backlog over HTTP: counted now and then, never told from an old count, and 503 while the engines are away."""

from __future__ import annotations

import pytest

from lakehouse.config.settings import load_settings
from lakehouse.domain.capacity import backlog
from lakehouse.errors import RetryableError
from serving.backlog.app import Counted, Found, assemble
from tests.asgi import get

FOUND = backlog.Backlog(2, 70, 30.0, 4.5), backlog.Deliveries(1, 9, 12.0)
FEATURES = (backlog.Features(3, 600.0, 60.0, 5.75),)


def test_every_metric_has_its_number_in_both_forms() -> None:
    app = assemble(load_settings("test"), landing=lambda: FOUND, features=lambda: FEATURES)
    told = get(app, "/v1/backlog").json() | get(app, "/v1/backlog/features").json()
    assert told == backlog.values(*FOUND, *FEATURES)
    assert len(told) == sum(map(len, backlog.METRICS.values()))
    for path, found in (("/metrics", FOUND), ("/metrics/features", FEATURES)):
        answer = get(app, path)
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert answer.text == backlog.exposition(*found)


def test_a_count_is_kept_for_a_while_and_no_old_one_is_told_in_an_outage() -> None:
    counts, now = iter([FOUND, RetryableError("The catalogue does not answer."), FEATURES]), [0.0]

    def count() -> Found:
        match next(counts):
            case RetryableError() as error:
                raise error
            case found:
                return found

    counted = Counted(count, every_s=15.0, clock=lambda: now[0])
    app = assemble(load_settings("test"), landing=counted, features=tuple)
    for now[0] in (0.0, 14.9):
        assert get(app, "/v1/backlog").json() == backlog.values(*FOUND)
    now[0] = 15.0
    answer = get(app, "/v1/backlog")
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert get(app, "/healthz").status_code == 200
    assert get(app, "/metrics").text == backlog.exposition(*FEATURES)  # asked again at once


def test_what_a_driver_raises_is_an_outage_too() -> None:
    def count() -> Found:
        raise ConnectionError("Connection refused")

    with pytest.raises(RetryableError):
        Counted(count, every_s=15.0)()
