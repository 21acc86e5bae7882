"""All pages: they open without a complaint, in both themes and at phone width, and show what is hostile as text."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from .fake_site import HOSTILE, Site

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PAGES = ("wall", "alerts", "alerts/walkway-1", "camera/walkway", "camera/gate", "jobs", "audit")
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}


def visit(page: Page, site: Site, name: str) -> None:
    """Opens a page and waits until it has its content."""
    page.goto(f"{site.base}/#/{name}")
    expect(page.locator("main h1").first).to_be_visible()
    expect(page.locator(".loading, .ghost")).to_have_count(0)


def test_a_stranger_signs_in_with_the_token_and_sees_the_wall(stranger: Page, site: Site) -> None:
    stranger.goto(site.base)
    stranger.get_by_label("Token").fill("wrong")
    stranger.get_by_role("button", name="Sign in", exact=True).click()
    expect(stranger.get_by_role("alert")).to_contain_text("wrong token")
    stranger.get_by_label("Token").fill(site.login.partition("token=")[2])
    stranger.get_by_role("button", name="Sign in", exact=True).click()
    expect(stranger.get_by_role("heading", name="Wall")).to_be_visible()


def test_signing_out_shows_the_login_and_nothing_else(page: Page) -> None:
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in", exact=True)).to_be_visible()
    expect(page.get_by_text("walkway")).to_have_count(0)


@pytest.mark.parametrize(
    "look",
    [{"color_scheme": "light"}, {"color_scheme": "dark"}, {**PHONE, "color_scheme": "light"}],
    ids=["light", "dark", "phone"],
)
def test_every_page_opens_without_a_complaint_and_without_scrolling_sideways(
    page: Page, site: Site, look: dict[str, object]
) -> None:
    site.alert(1)
    site.parts.store.review("walkway-1", "real", HOSTILE, _review("walkway-1"))
    site.live()
    for name in PAGES:
        visit(page, site, name)
        too_wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(too_wide) == 0, name
        assert page.evaluate("document.title").endswith("spade-stream"), name  # no script of a hostile text has run
    assert page.evaluate("document.documentElement.dataset.theme") == look["color_scheme"]


def test_hostile_texts_are_shown_as_texts(page: Page, site: Site) -> None:
    site.alert(1)
    site.parts.store.review("walkway-1", "real", HOSTILE, _review("walkway-1"))
    visit(page, site, "wall")
    expect(page.locator(".cover", has_text="Not watched")).to_contain_text(HOSTILE)
    visit(page, site, "alerts/walkway-1")
    expect(page.locator(".facts")).to_contain_text(HOSTILE)
    expect(page.locator(".why")).to_contain_text(HOSTILE[:60])
    visit(page, site, "audit")
    expect(page.locator("table")).to_contain_text(HOSTILE)
    assert page.locator("main img[src=x]").count() == 0


@pytest.mark.parametrize("look", [{"color_scheme": "dark"}])
def test_the_theme_is_the_systems_until_somebody_chooses(page: Page, site: Site) -> None:
    theme = "document.documentElement.dataset.theme"
    assert page.evaluate(theme) == "dark"
    page.get_by_role("button", name="Theme: as the system").click()
    assert page.evaluate(theme) == "light"
    page.reload()
    page.get_by_role("heading", name="Wall").wait_for()
    assert page.evaluate(theme) == "light"


def test_the_keys_of_a_page_are_shown_and_lead_to_others(page: Page) -> None:
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("heat on or off")
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("a")
    expect(page.get_by_role("heading", name="Alerts")).to_be_visible()
    page.keyboard.press("g")
    page.keyboard.press("w")
    expect(page.get_by_role("heading", name="Wall")).to_be_visible()


def test_an_alert_that_is_gone_says_so_and_what_to_do(page: Page, site: Site, complaints: list[str]) -> None:
    page.goto(f"{site.base}/#/alerts/never-was")
    expect(page.get_by_role("alert")).to_contain_text("there is no alert 'never-was'")
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    complaints.clear()  # the browser itself notes the answer 404


def _review(alert_id: str):  # type: ignore[no-untyped-def]
    from stream.console.records import Action

    return Action("ada", "review", "walkway", "walkway", alert_id, {"note": HOSTILE})
