"""Pages that nobody sees hold no connection and have nothing drawn for them; seen again, they catch up."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from .fake_site import Site

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CAN_HIDE = """
Object.defineProperty(document, "hidden", { get: () => window.isHidden === true });
window.hide = (hidden) => { window.isHidden = hidden; document.dispatchEvent(new Event("visibilitychange")); };
"""
"""A browser without a screen shows all its pages: what a change of tabs does to one is done to it by this."""

MOST_STREAMS = 6  # connections that a browser has for one server


@pytest.fixture
def stranger(stranger: Page) -> Page:
    """Its pages can be hidden."""
    stranger.context.add_init_script(CAN_HIDE)
    return stranger


def hide(page: Page, hidden: bool = True) -> None:
    """Another tab is chosen, or this one again."""
    page.evaluate("hidden => window.hide(hidden)", hidden)


def until(holds: Callable[[], bool], what: str) -> None:
    """Waits for the server's side."""
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)


def streams(site: Site) -> int:
    """Event streams that are open."""
    return sum(not browser.closed for browser in site.parts.hub._browsers)


def test_a_hidden_page_lets_go_of_its_stream_and_nothing_is_drawn_for_it(page: Page, site: Site) -> None:
    site.live("walkway")
    hide(page)
    until(lambda: streams(site) == 0, "the stream is closed")
    assert site.parts.hub.watched() == frozenset()
    hide(page, False)
    until(lambda: "walkway" in site.parts.hub.watched(), "the wall is watched again")
    assert streams(site) == 1


def test_a_page_that_is_seen_again_says_that_it_is_behind_until_it_knows_what_happened(page: Page, site: Site) -> None:
    site.alert(1, ago=60)
    page.goto(f"{site.base}/#/alerts")
    expect(page.locator(".alert-row")).to_have_count(1)
    page.locator(".alert-row a").first.focus()
    hide(page)
    until(lambda: streams(site) == 0, "the stream is closed")
    site.alert(2, camera="quad")
    held: list[Route] = []
    page.route("**/api/v1/stream*", lambda route: held.append(route))
    hide(page, False)
    expect(page.get_by_text("It is catching up")).to_be_visible()
    expect(page.locator(".alert-row")).to_have_count(1)
    held[0].continue_()
    page.unroute("**/api/v1/stream*")
    expect(page.get_by_text("It is catching up")).to_be_hidden()
    expect(page.locator(".alert-row")).to_have_count(2)
    expect(page.locator(".alert-row a").nth(1)).to_be_focused()
    expect(page.get_by_text("No connection to the console")).to_be_hidden()


def test_an_alert_that_somebody_reviewed_while_its_page_was_hidden_shows_that(page: Page, site: Site) -> None:
    from stream.console.records import Action

    site.alert(1)
    page.goto(f"{site.base}/#/alerts/walkway-1")
    page.get_by_role("heading", name="Why it fired").wait_for()
    hide(page)
    until(lambda: streams(site) == 0, "the stream is closed")
    site.parts.store.review("walkway-1", "real", "", Action("ada", "review", "walkway", "walkway", "walkway-1", {}))
    hide(page, False)
    expect(page.locator(".alert-head")).to_contain_text("Real")


def test_more_tabs_than_a_browser_has_connections_work_where_one_is_seen(page: Page, site: Site) -> None:
    for _ in range(MOST_STREAMS):
        hide(page)
        page = page.context.new_page()
        page.goto(f"{site.base}/#/alerts")
        page.get_by_role("heading", name="Alerts").wait_for()
    site.alert(1)
    expect(page.locator(".alert-row")).to_have_count(1)
    assert streams(site) == 1


def test_a_page_that_opens_hidden_waits_with_its_stream_until_it_is_seen(page: Page, site: Site) -> None:
    hide(page)
    other = page.context.new_page()
    other.add_init_script("window.isHidden = true")
    other.goto(f"{site.base}/#/wall")
    other.get_by_role("heading", name="Wall").wait_for()
    until(lambda: streams(site) == 0, "no stream is open")
    hide(other, False)
    until(lambda: streams(site) == 1, "its stream is open")
    site.live("walkway")
    expect(other.get_by_alt_text("Live view of walkway")).to_be_visible()


def test_streams_that_have_not_begun_do_not_pile_up_while_somebody_goes_from_page_to_page(
    page: Page, site: Site
) -> None:
    site.live("walkway")
    waiting: set[object] = set()
    page.route("**/api/v1/stream*", lambda route: None)  # a slow line: no answer yet
    page.on("request", lambda request: waiting.add(request) if "/api/v1/stream" in request.url else None)
    page.on("requestfailed", lambda request: waiting.discard(request))

    page.evaluate(
        """async () => {
            const { stream } = await import("/static/js/stream.js");
            for (let number = 0; number < 8; number++) stream.watch([`camera-${number}`]);
        }"""
    )
    page.wait_for_timeout(500)

    assert len(waiting) == 1
