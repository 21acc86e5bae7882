"""A camera's page: scores, the false-alarm budget, zones, snooze, enrolment."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from .fake_site import Site

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture
def walkway(page: Page, site: Site) -> Page:
    """The page of the walkway."""
    page.goto(f"{site.base}/#/camera/walkway")
    page.get_by_role("heading", name="walkway").wait_for()
    return page


def zones_of(site: Site) -> list[tuple[str, str, int]]:
    """Name, kind and number of points of each that operators have drawn."""
    zones = site.parts.board.refresh().cameras["walkway"]["zones"]
    return [(zone["name"], zone["kind"], len(zone["polygon"])) for zone in zones]


def test_the_scores_are_drawn_with_threshold_and_alerts(walkway: Page, site: Site) -> None:
    site.alert(1, ago=900)
    walkway.get_by_role("button", name="6 h").click()
    expect(walkway.locator(".chart .threshold")).to_have_count(1)
    expect(walkway.locator(".chart .band").first).to_be_attached()
    assert "range=6h" in walkway.url
    walkway.locator(".chart .mark").first.click()
    expect(walkway.get_by_role("heading", name="Why it fired")).to_be_visible()


def test_the_budget_slider_tells_how_many_alerts_there_would_have_been_and_sets_the_threshold(
    walkway: Page, site: Site
) -> None:
    slider = walkway.get_by_label("False-alarm budget")
    alerts = walkway.locator(".panel", has=slider).locator(".lead")
    expect(alerts).to_contain_text("6 alerts in the last 6 h")
    slider.press("Home")
    expect(alerts).to_contain_text("0 alerts in the last 6 h")
    walkway.get_by_role("button", name="Apply").click()
    expect(walkway.locator(".toast")).to_contain_text("Sensitivity of walkway")
    assert site.parts.board.refresh().cameras["walkway"]["threshold_factor"] > 1


def test_a_zone_is_drawn_with_the_mouse_named_and_saved(walkway: Page, site: Site) -> None:
    site.live("walkway")
    walkway.get_by_role("button", name="Add a zone").click()
    surface = walkway.get_by_label("Surface for drawing zones")
    box = surface.bounding_box()
    assert box is not None
    for x, y in ((0.2, 0.2), (0.6, 0.2), (0.6, 0.7), (0.1, 0.1)):
        surface.click(position={"x": x * box["width"], "y": y * box["height"]})
    walkway.get_by_role("button", name="Undo point").click()
    walkway.get_by_role("button", name="Close zone").click()
    walkway.get_by_label("Name of the zone").fill("road")
    walkway.get_by_role("button", name="Save zones").click()
    expect(walkway.locator(".toast")).to_contain_text("saved")
    assert zones_of(site) == [("road", "ignore", 3)]
    walkway.reload()
    expect(walkway.get_by_label("Name of the zone")).to_have_value("road")


def test_a_zone_is_drawn_with_keys_alone(walkway: Page, site: Site) -> None:
    walkway.get_by_role("button", name="Add a zone").press("Enter")
    expect(walkway.get_by_label("Surface for drawing zones")).to_be_focused()
    for key in ("Enter", "Shift+ArrowRight", "Enter", "Shift+ArrowDown", "Enter", "c"):
        walkway.keyboard.press(key)
    walkway.get_by_label("What zone 1 does").select_option("watch")
    walkway.get_by_role("button", name="Save zones").click()
    expect(walkway.locator(".toast")).to_contain_text("saved")
    assert zones_of(site) == [("zone 1", "watch", 3)]


def test_a_zone_is_deleted(walkway: Page, site: Site) -> None:
    test_a_zone_is_drawn_with_keys_alone(walkway, site)
    walkway.get_by_role("button", name="Delete zone 1").click()
    with walkway.expect_response(re.compile("/zones$")):
        walkway.get_by_role("button", name="Save zones").click()
    expect(walkway.get_by_text("No zones: everything")).to_be_visible()
    expect(walkway.get_by_role("button", name="Save zones")).to_be_disabled()
    assert zones_of(site) == []


def test_a_snooze_is_said_on_the_picture_and_ends_when_it_is_told_to(walkway: Page, site: Site) -> None:
    walkway.get_by_label("Why").fill("window cleaning")
    walkway.get_by_role("button", name="1 h", exact=True).last.click()
    expect(walkway.locator(".snoozed-note")).to_contain_text(re.compile(r"Snoozed until .*: window cleaning"))
    walkway.get_by_role("button", name="End the snooze").click()
    expect(walkway.locator(".snoozed-note")).to_be_hidden()
    expect(walkway.get_by_label("Why")).to_be_visible()


def test_an_enrolment_shows_its_coverage_grow(walkway: Page, site: Site) -> None:
    walkway.get_by_role("button", name="Start the enrolment").click()
    expect(walkway.locator(".coverage")).to_contain_text("Coverage: 97 %")
    (site.folder / "enrolled").touch()
    expect(walkway.locator(".panel", has=walkway.get_by_role("heading", name="Enrolment"))).to_contain_text(
        "Done: version v000002, 40 frames."
    )


def test_an_older_version_of_the_gallery_is_put_in_force(walkway: Page, site: Site) -> None:
    from gallery_files import build

    build(site.parts.config.gallery_of("walkway"), range(5))
    walkway.reload()
    walkway.get_by_role("button", name="Use version v000001").click()
    expect(walkway.locator(".toast")).to_contain_text("Version v000001 of walkway is in force")
    expect(walkway.locator("tr.in-force")).to_contain_text("v000001")
