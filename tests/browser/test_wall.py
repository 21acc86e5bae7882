"""The wall: pictures, heat and scores; and that nothing old or blind looks live."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from .fake_site import Site

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def tile(page: Page, camera: str) -> Locator:
    """A camera's tile."""
    return page.locator(".tile").filter(has=page.get_by_role("link", name=camera, exact=True))


def test_a_live_view_comes_with_its_score(page: Page, site: Site) -> None:
    expect(tile(page, "walkway")).to_contain_text("Waiting for the first picture")
    site.live("walkway", strength=0.42)
    expect(tile(page, "walkway").get_by_alt_text("Live view of walkway")).to_be_visible()
    expect(tile(page, "walkway").locator(".bar-value")).to_have_text("0.42 \u00d7")


def test_heat_lies_over_the_picture_until_it_is_switched_off(page: Page, site: Site) -> None:
    site.live("walkway")
    heat = tile(page, "walkway").locator(".heat")
    expect(heat).to_be_visible()
    page.keyboard.press("h")
    expect(heat).to_be_hidden()
    expect(page.get_by_role("button", name="Heat")).to_have_attribute("aria-pressed", "false")


def test_a_camera_that_is_not_watched_says_why_in_place_of_the_picture(page: Page, site: Site) -> None:
    site.live("walkway")
    picture = tile(page, "walkway").get_by_alt_text("Live view of walkway")
    expect(picture).to_be_visible()
    site.camera("walkway", state="STALLED", reason="no frame for 12 s")
    expect(tile(page, "walkway").locator(".cover")).to_contain_text("Not watched")
    expect(tile(page, "walkway").locator(".cover")).to_contain_text("No frames arrive: no frame for 12 s")
    expect(picture).to_be_hidden()
    expect(page.get_by_role("status").filter(has_text="3 cameras")).to_contain_text("2 not watched")


def test_an_old_picture_is_grey_and_says_its_age(page: Page, site: Site) -> None:
    site.live("walkway", age=42)
    expect(tile(page, "walkway")).to_contain_text(re.compile(r"Not live: this picture is 4\d s old"))
    expect(tile(page, "walkway").locator(".live-picture")).to_have_class(re.compile("stale"))
    site.live("walkway")
    expect(tile(page, "walkway").locator(".live-picture")).not_to_have_class(re.compile("stale"))


def test_an_alert_rings_the_tile_and_leads_to_it(page: Page, site: Site) -> None:
    alert = site.alert(1)
    site.live("walkway", strength=1.6, alert=alert)
    expect(tile(page, "walkway")).to_have_class(re.compile("alerting"))
    tile(page, "walkway").get_by_role("link", name="Alert").click()
    expect(page.get_by_role("heading", name="walkway")).to_be_visible()
    expect(page.get_by_role("heading", name="Why it fired")).to_be_visible()


def test_a_lost_connection_covers_everything(page: Page, site: Site, complaints: list[str]) -> None:
    page.context.set_offline(True)
    site.cut()
    expect(page.get_by_role("alert")).to_contain_text("No connection to the console")
    assert page.locator("main").get_attribute("inert") is not None
    page.context.set_offline(False)
    expect(page.get_by_text("No connection to the console")).to_be_hidden()
    complaints.clear()  # the browser itself notes each request that failed


def test_cameras_are_walked_through_with_keys(page: Page) -> None:
    tile(page, "quad").wait_for()
    page.keyboard.press("j")
    expect(page.get_by_role("link", name="walkway", exact=True)).to_be_focused()
    page.keyboard.press("j")
    expect(page.get_by_role("link", name="quad", exact=True)).to_be_focused()
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="walkway")).to_be_visible()
