"""The catalogue service keeps to its own OpenAPI document, for requests that the document allows and for others."""

from __future__ import annotations

import schemathesis
from hypothesis import settings
from schemathesis import Case
from schemathesis.checks import CHECKS, load_all_checks

from lakehouse.config.settings import load_settings
from serving.catalog.app import assemble
from serving.catalog.service import CatalogService
from tests.fakes.catalog import (
    FEATURES,
    FIRST_ID,
    KEY,
    LYRICS,
    FakeCatalog,
    FakeFeatures,
    FakeLive,
    minute,
    podcast,
    released,
    row,
)  # fmt: skip

load_all_checks()


def served(*, away: bool) -> schemathesis.schemas.BaseSchema:
    """The service's own document, over readers that answer or are away."""
    catalog = FakeCatalog([row(n, title) for n, title in enumerate(["Knolls", "knalla", "Zephyr"])])
    catalog.releases[KEY] = released(catalog.rows[:2])
    catalog.belongings[FIRST_ID] = [LYRICS]
    catalog.feeds = [podcast(60, "Ünder"), podcast(61, "Eins", FIRST_ID + 60, "2026-01-01T00:00:00+00:00")]
    live = FakeLive([(FIRST_ID, "SE", minute(-n, n, n)) for n in range(50)])
    catalog.away = live.away = away
    service = CatalogService(catalog=catalog, features=FakeFeatures({FIRST_ID: FEATURES}), live=live)
    return schemathesis.openapi.from_asgi("/openapi.json", assemble(load_settings("test"), service))


up, down = served(away=False), served(away=True)

#: A range whose end precedes its start, and a cursor that is not ours, fit the document and are refused with 422.
NOT_EXPRESSIBLE = [CHECKS.get_one("positive_data_acceptance")]


@up.parametrize()
@settings(max_examples=60, deadline=None, derandomize=True)
def test_answers_as_documented(case: Case) -> None:
    case.call_and_validate(excluded_checks=NOT_EXPRESSIBLE)


@down.parametrize()
@settings(max_examples=15, deadline=None, derandomize=True)
def test_answers_as_documented_while_engines_are_away(case: Case) -> None:
    response = case.call()
    case.validate_response(response, excluded_checks=[*NOT_EXPRESSIBLE, CHECKS.get_one("not_a_server_error")])
    assert response.status_code != 500
