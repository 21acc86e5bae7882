"""The cluster's page: whether anything is not watched, where, why, since when, and what is being done about it."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from cluster_document import a_document, a_worker, changed, write_document
from playwright.sync_api import Locator, Page, expect

from stream.console.cluster_file import COLLECT

from .fake_site import BLIND, HOSTILE, Site

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SPREAD = {"oak": ("walkway", "gate"), "elm": ("quad",)}


def tell(site: Site, **changes: Any) -> None:
    """The run has a cluster, and its control says this."""
    path = site.parts.config.processes
    told = json.loads(path.read_text(encoding="utf-8"))
    told["processes"] |= {COLLECT: {"state": "running", "restarts": 0}}
    path.write_text(json.dumps(told), encoding="utf-8")
    write_document(site.parts.config.cluster_document, a_document(SPREAD, now=time.time() + 3600, **changes))
    site.parts.board.refresh()


def without_elm() -> dict[str, Any]:
    """The node elm has died; its camera waits for its turn."""
    well, since = a_document(SPREAD), time.time() - 200
    return {
        "nodes": changed(well["nodes"], "elm", state="GONE", since=since, reason="it does not answer"),
        "workers": changed(well["workers"], "elm", state="GONE"),
        "readers": changed(well["readers"], "elm", state="GONE"),
        "outboxes": changed(well["outboxes"], "elm", state="missing", since=since, taken=1200),
        "moves": {"waiting": 1, "moving": [], "done": 4},
    }


def open_page(page: Page, site: Site) -> Locator:
    """The page, by its tab."""
    page.reload()
    page.get_by_role("link", name="Cluster").click()
    page.get_by_role("heading", name="Cluster").wait_for()
    return page.locator(".verdict")


def node(page: Page, name: str) -> Locator:
    return page.locator(".node").filter(has=page.get_by_role("heading", name=name, exact=True))


def test_one_machine_has_no_such_tab_and_says_so_at_its_address(page: Page, site: Site) -> None:
    expect(page.get_by_role("link", name="Cluster")).to_be_hidden()
    page.goto(f"{site.base}/#/cluster")
    expect(page.get_by_text("This run has one machine.")).to_be_visible()


def test_where_all_is_watched_the_page_says_so_first(page: Page, site: Site) -> None:
    site.camera(BLIND, state="LIVE", reason="")
    tell(site)
    expect(open_page(page, site)).to_have_text("All 3 cameras are watched.")
    expect(page.get_by_role("heading", name="Not watched")).to_have_count(0)
    expect(node(page, "oak")).to_contain_text("Running")
    expect(node(page, "oak")).to_contain_text("3 % of its time")  # 2 cameras of the 80 that it could score
    expect(page.get_by_role("link", name="Cluster").locator(".count")).to_be_hidden()


def test_what_the_control_complains_of_does_not_look_well_though_all_is_watched(page: Page, site: Site) -> None:
    site.camera(BLIND, state="LIVE", reason="")
    tell(site, problems=["worker oak:0 has 130% of its time given to cameras: it passes frames over"])
    verdict = open_page(page, site)
    expect(verdict).to_contain_text("All 3 cameras are watched.")
    expect(verdict).to_contain_text("But not all is well")
    expect(verdict).to_have_class(re.compile("warn"))


def test_a_node_that_died_is_said_with_its_cameras_what_is_done_and_the_alerts_on_its_disk(
    page: Page, site: Site
) -> None:
    site.camera("quad", state="NOT_SCORED", reason="elm is gone")
    tell(site, **without_elm())
    verdict = open_page(page, site)
    expect(verdict).to_contain_text("2 of 3 cameras are not watched.")
    expect(verdict).to_contain_text(re.compile(r"elm is away since \d\d:\d\d:\d\d\. 1 waits for a worker\."))
    group = page.locator(".blind-group").filter(has_text="quad")
    for words in ("Not scored", "scored on elm", "elm is gone", "waits for its turn to be moved"):
        expect(group).to_contain_text(words)
    expect(page.locator(".node").first).to_contain_text("elm")
    expect(node(page, "elm")).to_contain_text(re.compile(r"since .* \(for 3 min\): it does not answer"))
    expect(page.locator(".missing")).to_contain_text("Its alerts 1201 to 1234 are not here yet.")
    expect(page.locator(".missing")).to_contain_text("spade-stream cluster forget out-elm")
    expect(page.get_by_role("link", name="Cluster").locator(".count")).to_have_text("2")


def test_the_page_follows_without_being_loaded_again(page: Page, site: Site) -> None:
    site.camera(BLIND, state="LIVE", reason="")
    tell(site)
    verdict = open_page(page, site)
    expect(verdict).to_contain_text("All 3 cameras are watched.")
    site.camera("quad", state="NOT_SCORED", reason="elm is gone")
    tell(site, **without_elm())
    expect(verdict).to_contain_text("1 of 3 cameras is not watched.")
    tell(site)
    site.camera("quad", state="LIVE", reason="")
    expect(verdict).to_contain_text("All 3 cameras are watched.")


def test_a_control_that_is_not_heard_makes_nothing_look_well(page: Page, site: Site) -> None:
    site.camera(BLIND, state="LIVE", reason="")
    tell(site)
    write_document(site.parts.config.cluster_document, a_document(SPREAD, now=time.time() - 60))
    verdict = open_page(page, site)
    expect(verdict).to_contain_text("How the cluster is doing is not known.")
    expect(verdict).to_have_class(re.compile("bad"))
    muted = page.evaluate("getComputedStyle(document.querySelector('.page-head .muted')).color")
    expect(node(page, "oak").locator(".chip")).to_have_css("color", muted)


def test_a_worker_with_more_than_it_has_time_for_is_red_and_says_so(page: Page, site: Site) -> None:
    tell(site, workers=[a_worker("oak", ["walkway"], load=1.12, state="DEGRADED", reason="too many cameras")])
    open_page(page, site)
    expect(node(page, "oak")).to_contain_text("112 % of its time: more than it has")
    expect(node(page, "oak")).to_contain_text("Works in part")
    expect(node(page, "oak")).to_contain_text("too many cameras")


def test_a_list_that_was_opened_stays_open_with_the_focus_in_it(page: Page, site: Site) -> None:
    tell(site)
    open_page(page, site)
    summary = node(page, "oak").locator("summary")
    summary.focus()
    page.keyboard.press("Enter")
    link = node(page, "oak").get_by_role("link", name="walkway")
    expect(link).to_be_visible()
    link.focus()
    tell(site, workers=[a_worker("oak", SPREAD["oak"], load=0.5), a_worker("elm", SPREAD["elm"])])
    expect(node(page, "oak")).to_contain_text("50 % of its time")
    expect(link).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="walkway")).to_be_visible()


def test_what_a_node_says_is_text(page: Page, site: Site) -> None:
    well = a_document(SPREAD)
    tell(site, problems=[HOSTILE], nodes=changed(well["nodes"], "oak", reason=HOSTILE, address=HOSTILE))
    open_page(page, site)
    expect(page.locator(".cluster-problems")).to_contain_text(HOSTILE)
    assert "broken in" not in page.title()


def test_pictures_and_scores_that_stay_on_a_node_are_not_called_missing(page: Page, site: Site) -> None:
    tell(site)
    page.reload()
    tile = page.locator(".tile").filter(has=page.get_by_role("link", name="quad", exact=True))
    expect(tile).to_contain_text("Live pictures stay on the machine of the cluster that scores the camera: now elm.")
    page.goto(f"{site.base}/#/camera/quad")
    expect(page.locator(".chart")).to_contain_text("Scores stay on the machine of the cluster")


def test_an_alert_of_another_machine_cannot_be_called_normal_and_says_why(page: Page, site: Site) -> None:
    tell(site)
    alert = site.alert(1, outbox="out-elm")
    page.goto(f"{site.base}/#/alerts/{alert}")
    expect(page.get_by_role("button", name="This is normal")).to_be_disabled()
    expect(page.locator(".review-panel")).to_contain_text("stay on the disk of the machine that scored it, elm.")


@pytest.mark.parametrize("look", [{"viewport": {"width": 390, "height": 844}}], ids=["phone"])
def test_nothing_sticks_out_on_a_phone(page: Page, site: Site) -> None:
    site.camera("quad", state="NOT_SCORED", reason="elm is gone")
    tell(site, **without_elm())
    open_page(page, site)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
