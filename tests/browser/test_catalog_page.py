"""The human page of the catalogue service in Chromium."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi import FastAPI
from playwright.sync_api import Page, expect

from lakehouse.config.settings import Settings, load_settings
from serving.catalog.app import assemble
from serving.catalog.service import CatalogService
from tests.fakes.catalog import FEATURES, FIRST_ID, T0, FakeCatalog, FakeFeatures, FakeLive, minute, row

pytestmark = pytest.mark.browser
Serve = Callable[[FastAPI], str]


def world() -> tuple[FastAPI, FakeLive]:
    """Three tracks; hour h before T0 has h plays of the first one."""
    counts = [(FIRST_ID, "SE", minute(-60 * h, h, h)) for h in range(1, 24)]
    counts += [(FIRST_ID + 1, "US", minute(0, 40, 30)), (FIRST_ID + 2, "US", minute(-600, 7, 7))]
    live = FakeLive(counts)
    catalog = FakeCatalog([row(n, title) for n, title in enumerate(["Knolls", "Ærøskøbing", "雨"])])
    features = FakeFeatures({FIRST_ID: FEATURES})
    return assemble(load_settings("test"), CatalogService(catalog=catalog, features=features, live=live)), live


def test_the_ranking_leads_to_the_chart_of_each_track(page: Page, serve: Serve) -> None:
    app, _ = world()
    page.goto(serve(app))
    expect(page.locator("#top tbody tr")).to_have_count(3)
    expect(page.locator("#top tbody tr").first).to_contain_text("Knolls")
    # hours 11:00 of the day before .. 11:00, one bar each, the highest as high as the chart
    expect(page.locator("#chart rect")).to_have_count(23)
    heights = [float(bar.get_attribute("height") or 0) for bar in page.locator("#chart rect").all()]
    assert max(heights) == 180
    assert heights == sorted(heights, reverse=True)
    expect(page.get_by_text("120 BPM")).to_be_visible()

    page.get_by_role("link", name="雨").click()
    expect(page).to_have_title("雨 · Wavehouse live")
    expect(page.locator("#chart rect")).to_have_count(1)
    expect(page.get_by_role("link", name="雨")).to_have_attribute("aria-current", "true")


def test_a_market_is_chosen_by_keyboard(page: Page, serve: Serve) -> None:
    app, _ = world()
    page.goto(serve(app))
    page.get_by_role("textbox", name="Market").focus()
    page.keyboard.type("US")
    page.keyboard.press("Enter")
    expect(page.locator("#top caption")).to_have_text("Most streamed tracks in US")
    expect(page.locator("#top tbody tr")).to_have_count(2)


def test_the_chart_has_a_name_and_its_numbers_as_text(page: Page, serve: Serve) -> None:
    app, _ = world()
    page.goto(serve(app))
    chart = page.get_by_role("img", name="Knolls, plays by the hour")
    expect(chart).to_be_visible()
    page.get_by_text("The numbers").click()
    hour = T0 - timedelta(hours=23)
    expect(page.locator("details tr", has_text=f"{hour:%Y-%m-%d %H:%M}")).to_contain_text("23")


def test_fits_a_narrow_screen(page: Page, serve: Serve, tmp_path: Path) -> None:
    app, _ = world()
    page.set_viewport_size({"width": 340, "height": 800})
    page.goto(serve(app))
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_an_engine_away_is_said_in_words(browser: object, serve: Serve) -> None:
    from playwright.sync_api import Browser

    assert isinstance(browser, Browser)
    app, live = world()
    live.away = True
    page = browser.new_page()  # not the fixture: a 503 is an error on the console
    page.goto(serve(app))
    expect(page.get_by_role("status")).to_contain_text("FakeLive is away.")
    page.close()


@pytest.mark.stack
def test_the_stack_serves_the_page(page: Page, played: Settings) -> None:
    page.goto(played.catalog_api.http)
    expect(page.locator("#top tbody tr").first).to_be_visible()
    expect(page.locator("#chart rect").first).to_be_visible()
    expect(page.get_by_text("BPM")).to_be_visible()
    title = page.locator("#top tbody tr a").first.inner_text()
    expect(page).to_have_title(f"{title} · Wavehouse live")
