"""A camera's page: scores, the false-alarm budget, zones, snooze, enrolment."""

from __future__ import annotations

import re
import time
from dataclasses import replace

import pytest
from playwright.sync_api import Page, Request, Route, expect

from stream.messages import unix_time
from stream.operator_settings import OperatorSettings, change_settings, with_zones

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
    walkway.get_by_role("heading", name="Sensitivity").scroll_into_view_if_needed()
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


def test_who_works_with_keys_keeps_the_place_when_somebody_else_changes_the_zones(walkway: Page, site: Site) -> None:
    test_a_zone_is_drawn_with_keys_alone(walkway, site)
    corners = walkway.get_by_role("button", name="Move the corners of zone 1")
    corners.focus()

    def add(settings: OperatorSettings) -> OperatorSettings:
        zones = settings.of("walkway").zones
        return with_zones(settings, "walkway", (*zones, replace(zones[0], name="of somebody else")), fixed=())

    change_settings(site.parts.config.operator_settings, add)
    expect(walkway.get_by_role("button", name="Move the corners of of somebody else")).to_be_visible()
    expect(corners).to_be_focused()


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


def budgets(page: Page) -> list[str]:
    """What is asked for of stored scores from now on: camera and days."""
    asked: list[str] = []

    def note(request: Request) -> None:
        if found := re.search(r"cameras/(\w+)/budget\?days=(\d+)", request.url):
            asked.append(" ".join(found.groups()))

    page.on("request", note)
    return asked


TALL = {"viewport": {"width": 1280, "height": 2400}}  # all panels are in view


@pytest.mark.parametrize("look", [TALL])
def test_stored_scores_are_counted_for_the_camera_that_somebody_stays_with_and_no_other(page: Page, site: Site) -> None:
    asked = budgets(page)
    page.clock.install()
    page.goto(f"{site.base}/#/camera/walkway")
    for camera in ("walkway", "quad", "gate"):
        page.get_by_role("heading", name=camera).wait_for()
        page.get_by_text("counted once you look at this").wait_for()
        page.keyboard.press("j")
    page.clock.run_for(1500)
    expect(page.get_by_text("There are no stored scores")).to_be_visible()
    assert asked == ["gate 1"]


def test_stored_scores_are_not_counted_while_their_panel_is_out_of_view(walkway: Page, site: Site) -> None:
    asked = budgets(walkway)
    walkway.wait_for_timeout(1500)
    assert asked == []
    walkway.get_by_role("heading", name="Sensitivity").scroll_into_view_if_needed()
    expect(walkway.get_by_label("False-alarm budget")).to_be_visible()
    assert asked == ["walkway 1"]


def test_a_week_of_scores_is_counted_when_it_is_asked_for_and_so_few_are_called_too_few(
    walkway: Page, site: Site
) -> None:
    asked = budgets(walkway)
    walkway.get_by_role("button", name="Look at the last 7 days").click()
    panel = walkway.locator(".panel", has=walkway.get_by_role("heading", name="Sensitivity"))
    expect(panel).to_contain_text("This is too little to judge a day by")
    expect(panel).not_to_contain_text("a day.")
    assert asked == ["walkway 7"]


def test_a_server_that_cannot_count_now_is_told_in_words_and_asked_again(
    walkway: Page, site: Site, complaints: list[str]
) -> None:
    busy = {"detail": "scores of another camera are being counted"}
    walkway.route("**/budget?*", lambda route: route.fulfill(status=503, json=busy), times=1)
    walkway.get_by_role("button", name="Look at the last 7 days").click()
    expect(walkway.get_by_role("alert")).to_contain_text(f"{busy['detail']}. Try again in a while.")
    walkway.get_by_role("button", name="Try again").click()
    expect(walkway.get_by_label("False-alarm budget")).to_be_visible()
    complaints.clear()  # the browser itself notes the answer 503


def test_a_page_that_is_left_gives_up_its_count_of_stored_scores(walkway: Page, site: Site) -> None:
    held: list[Route] = []
    walkway.route("**/budget?*", lambda route: held.append(route))
    walkway.get_by_role("button", name="Look at the last 7 days").click()
    expect(walkway.get_by_text("Counting alerts on the stored scores")).to_be_visible()
    with walkway.expect_event("requestfailed", lambda request: "budget" in request.url):
        walkway.goto(f"{site.base}/#/wall")


def test_a_corner_of_a_zone_is_moved_with_keys_alone(walkway: Page, site: Site) -> None:
    test_a_zone_is_drawn_with_keys_alone(walkway, site)
    before = site.parts.board.refresh().cameras["walkway"]["zones"][0]["polygon"]
    walkway.get_by_role("button", name="Move the corners of zone 1").press("Enter")
    expect(walkway.get_by_role("button", name="Corner 1 of 3")).to_be_focused()
    walkway.keyboard.press("Tab")
    for key in ("ArrowRight", "Shift+ArrowUp", "ArrowUp"):
        walkway.keyboard.press(key)
    expect(walkway.get_by_role("button", name="Corner 2 of 3")).to_be_focused()
    with walkway.expect_response(re.compile("/zones$")):
        walkway.get_by_role("button", name="Save zones").click()
    (x, y), others = before[1], [before[0], before[2]]
    after = site.parts.board.refresh().cameras["walkway"]["zones"][0]["polygon"]
    assert after[1] == pytest.approx([x + 0.01, y - 0.06])
    assert [after[0], after[2]] == others


def test_the_picture_of_a_camera_that_was_moved_is_shown_when_somebody_asks_for_it(walkway: Page, site: Site) -> None:
    picture = walkway.get_by_alt_text("Live view of walkway")
    deadline = time.monotonic() + 20
    while not picture.is_visible():  # the page before this one may still be the one that listens
        assert time.monotonic() < deadline
        site.live("walkway")
        walkway.wait_for_timeout(200)
    site.camera("walkway", state="MOVED", reason="by 40 pixels")
    expect(picture).to_be_hidden()
    walkway.get_by_role("button", name="Show the picture all the same").click()
    expect(picture).to_be_visible()
    expect(walkway.locator(".blind-note")).to_have_text("Not watched: Camera was moved: by 40 pixels")
    site.camera("walkway", state="LIVE", reason="")
    expect(walkway.locator(".blind-note")).to_be_hidden()
    site.camera("walkway", state="OFFLINE", reason="")
    expect(walkway.locator(".cover")).to_contain_text("Not watched")
    expect(walkway.get_by_role("button", name="Show the picture all the same")).to_have_count(0)


def test_a_snooze_lasts_until_the_time_that_was_given(walkway: Page, site: Site) -> None:
    in_two_hours = (
        "(() => { const at = new Date(Date.now() + 7200e3);"
        " return new Date(at - at.getTimezoneOffset() * 60e3).toISOString().slice(0, 16); })()"
    )
    walkway.get_by_label("Until").fill(walkway.evaluate(in_two_hours))
    walkway.get_by_role("button", name="Snooze until then").click()
    expect(walkway.locator(".snoozed-note")).to_contain_text("Snoozed until")
    until = site.parts.board.refresh().cameras["walkway"]["snoozed_until"]
    assert unix_time(until) == pytest.approx(time.time() + 7200, abs=130)  # a minute is lost in the field
