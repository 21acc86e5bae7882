"""Reviewing alerts: the list, one alert, and "this is normal" with its dry run and its undo."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import av
import pytest
from playwright.sync_api import Page, expect

from stream.clip_video import BEST_CODEC, ClipVideo, View
from stream.console.records import Action
from stream.messages import Region

from .fake_site import SIZE, Site, picture

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def opened(page: Page, site: Site, number: int = 1) -> None:
    """Shows an alert of the walkway that has just been raised."""
    alert = site.alert(number)
    page.goto(f"{site.base}/#/alerts/{alert}")
    page.get_by_role("heading", name="Why it fired").wait_for()


def test_an_alert_that_is_raised_comes_on_top_of_the_list(page: Page, site: Site) -> None:
    site.alert(1, ago=600)
    page.goto(f"{site.base}/#/alerts")
    rows = page.locator(".alert-row")
    expect(rows).to_have_count(1)
    site.alert(2, camera="quad")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("quad")
    expect(page.locator("#announcer")).to_have_text("New alert on quad")
    expect(page.get_by_role("link", name=re.compile("Alerts"))).to_contain_text("2")


def test_a_list_that_is_read_does_not_move_until_it_is_asked_to(page: Page, site: Site) -> None:
    site.alert(1, ago=600)
    page.goto(f"{site.base}/#/alerts")
    page.locator(".alert-row").first.hover()
    site.alert(2, camera="quad")
    page.get_by_role("button", name="Show 1 new alert").wait_for()
    expect(page.locator(".alert-row").first).to_contain_text("walkway")
    page.get_by_role("button", name="Show 1 new alert").click()
    expect(page.locator(".alert-row").first).to_contain_text("quad")


def test_what_is_said_of_an_old_alert_does_not_make_a_new_one_of_it(page: Page, site: Site) -> None:
    for number in range(1, 53):
        site.alert(number, ago=10_000 - number)
    page.goto(f"{site.base}/#/alerts")
    rows = page.locator(".alert-row")
    expect(rows).to_have_count(50)
    for alert in ("walkway-1", "walkway-52"):  # beyond what is shown, and the newest
        said = Action("ada", "review", "walkway", "walkway", alert, {})
        summary = site.parts.store.review(alert, "real", "", said)
        assert summary is not None
        site.parts.hub.publish("alert", summary.to_json())
    expect(rows.first).to_contain_text("Real")
    expect(rows).to_have_count(50)
    expect(page.locator("#announcer")).to_be_empty()


def test_an_alert_that_belongs_to_the_list_again_comes_to_its_place(page: Page, site: Site) -> None:
    for number in (1, 2, 3):
        site.alert(number, ago=1000 - number)
    said = Action("ada", "review", "walkway", "walkway", "walkway-2", {})
    site.parts.store.review("walkway-2", "real", "", said)
    page.goto(f"{site.base}/#/alerts?review=open")
    rows = page.locator(".alert-row")
    expect(rows).to_have_count(2)
    summary = site.parts.store.review("walkway-2", "open", "", said)
    assert summary is not None
    site.parts.hub.publish("alert", summary.to_json())
    expect(rows).to_have_count(3)
    assert [row.get_attribute("data-id") for row in rows.all()] == ["walkway-3", "walkway-2", "walkway-1"]


def test_an_alert_that_comes_while_the_list_is_asked_for_is_in_it(page: Page, site: Site) -> None:
    site.alert(1, ago=600)
    held: list[tuple[Any, Any]] = []
    page.route(re.compile(r"/api/v1/alerts\?.*limit=50"), lambda route: held.append((route, route.fetch())), times=1)
    page.goto(f"{site.base}/#/alerts")
    while not held:
        page.wait_for_timeout(20)
    site.alert(2, camera="quad")  # after the answer was made, and before it arrives
    page.wait_for_timeout(300)
    route, answer = held[0]
    route.fulfill(response=answer)
    expect(page.locator(".alert-row")).to_have_count(2)


def test_an_old_alert_that_is_told_of_while_the_list_is_asked_for_waits_for_its_page(page: Page, site: Site) -> None:
    for number in range(51):
        site.alert(number, ago=1000 + number)
    held: list[tuple[Any, Any]] = []
    page.route(re.compile(r"/api/v1/alerts\?.*limit=50"), lambda route: held.append((route, route.fetch())), times=1)
    page.goto(f"{site.base}/#/alerts")
    while not held:
        page.wait_for_timeout(20)
    site.alert(60, ago=5000)
    page.wait_for_timeout(300)
    route, answer = held[0]
    route.fulfill(response=answer)
    expect(page.get_by_role("button", name="Show older")).to_be_visible()
    expect(page.locator(".alert-row")).to_have_count(50)


def test_filters_stand_in_the_address_and_an_empty_list_says_so(page: Page, site: Site) -> None:
    site.alert(1)
    page.goto(f"{site.base}/#/alerts")
    expect(page.locator(".alert-row")).to_have_count(1)
    page.locator("select[name=camera]").select_option("quad")
    expect(page.locator(".empty")).to_contain_text("No alerts in this range")
    assert "camera=quad" in page.url
    page.locator("select[name=camera]").select_option("walkway")
    page.locator("select[name=review]").select_option("open")
    expect(page.locator(".alert-row")).to_have_count(1)


def test_older_pages_of_the_list_are_added_below(page: Page, site: Site) -> None:
    for number in range(52):
        site.alert(number, ago=1000 + number)
    page.goto(f"{site.base}/#/alerts")
    expect(page.locator(".alert-row")).to_have_count(50)
    page.get_by_role("button", name="Show older").click()
    expect(page.locator(".alert-row")).to_have_count(52)
    expect(page.get_by_role("button", name="Show older")).to_have_count(0)


def test_alerts_are_reviewed_with_keys_alone(page: Page, site: Site) -> None:
    site.alert(1, ago=60)
    site.alert(2)
    page.goto(f"{site.base}/#/alerts")
    page.locator(".alert-row").nth(1).wait_for()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Why it fired").wait_for()
    page.keyboard.press("r")
    expect(page.locator(".alert-head")).to_contain_text("Real")
    page.keyboard.press("j")
    expect(page).to_have_url(re.compile("walkway-1$"))
    page.get_by_role("heading", name="Why it fired").wait_for()
    page.keyboard.press("f")
    expect(page.locator(".alert-head")).to_contain_text("False alarm")
    page.keyboard.press("z")
    expect(page.locator(".alert-head")).to_contain_text("Not reviewed")
    assert [site.parts.store.alert(f"walkway-{n}").review for n in (1, 2)] == ["open", "real"]  # type: ignore[union-attr]


def test_keys_do_nothing_while_somebody_writes_a_note(page: Page, site: Site) -> None:
    opened(page, site)
    page.get_by_label("Note").press_sequentially("rain, fog")
    expect(page.get_by_label("Note")).to_have_value("rain, fog")
    page.get_by_role("button", name="False alarm").click()
    expect(page.locator(".facts")).to_contain_text("rain, fog")
    expect(page.locator(".history")).to_contain_text("operator")


def test_the_mask_is_put_over_the_clean_view_and_taken_off(page: Page, site: Site) -> None:
    opened(page, site)
    mask = page.locator("canvas.mask")
    expect(mask).to_be_visible()
    alpha = "canvas => [[160, 90], [10, 170]].map(([x, y]) => canvas.getContext('2d').getImageData(x, y, 1, 1).data[3])"
    assert mask.evaluate(alpha) == [110, 0]  # in the region and beside it
    page.keyboard.press("m")
    expect(mask).to_have_count(0)
    expect(page.locator(".picture-panel .view")).to_be_visible()


def test_why_it_fired_and_the_nearest_normal_frames_are_shown(page: Page, site: Site) -> None:
    opened(page, site)
    strongest = page.locator(".why li").first
    expect(strongest).to_contain_text("Looks unlike anything normal here")
    expect(strongest).to_contain_text("1.50 \u00d7")
    expect(page.locator(".neighbour")).to_contain_text("Frame 1 of the gallery")


def test_normal_shows_what_it_would_silence_before_it_changes_anything_and_can_be_undone(
    page: Page, site: Site
) -> None:
    opened(page, site)
    gallery = site.parts.config.gallery_of("walkway")
    page.keyboard.press("n")
    page.get_by_role("button", name="Show what it would silence").click()
    dry_run = page.locator(".dry-run")
    expect(dry_run).to_contain_text("silenced 2 alerts")
    expect(dry_run).to_contain_text("1.40 \u00d7 → 0.62 \u00d7")
    expect(dry_run.get_by_role("link", name="walkway-2")).to_have_attribute("href", "#/alerts/walkway-2")
    assert (gallery / "CURRENT").read_text().strip() == "v000001"
    page.get_by_role("button", name="Add it to the gallery").click()
    expect(page.locator(".normal-panel")).to_contain_text("is now version v000002")
    expect(page.locator(".alert-head")).to_contain_text("Normal")
    assert (gallery / "CURRENT").read_text().strip() == "v000002"
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".normal-panel")).to_contain_text("v000001 is in force again")
    expect(page.locator(".alert-head")).to_contain_text("Not reviewed")
    assert (gallery / "CURRENT").read_text().strip() == "v000001"


def test_what_would_silence_an_alert_that_was_called_real_says_so_and_is_no_keypress_away(
    page: Page, site: Site
) -> None:
    site.alert(2)
    opened(page, site, 2)
    page.keyboard.press("r")
    expect(page.locator(".alert-head")).to_contain_text("Real")
    opened(page, site, 1)
    page.keyboard.press("n")
    page.get_by_role("button", name="Show what it would silence").click()
    expect(page.locator(".dry-run .problem")).to_contain_text("1 alert among them that somebody called real")
    expect(page.locator(".rescored li").first).to_contain_text("called real")
    expect(page.get_by_role("button", name="Add it to the gallery")).not_to_be_focused()


def test_a_region_is_chosen_by_clicking_it(page: Page, site: Site) -> None:
    opened(page, site)
    page.keyboard.press("n")
    page.locator(".region").first.click()
    expect(page.get_by_label("Region 1")).to_be_checked()
    expect(page.get_by_label("The whole frame")).not_to_be_checked()
    with page.expect_request(re.compile("/normal$")) as sent:
        page.get_by_role("button", name="Show what it would silence").click()
    assert sent.value.post_data_json == {"regions": [0], "dry_run": True, "seen": 1}


def grown(site: Site, score: float) -> int:
    """The alert goes on, with one thing at another place. Returns the number of its message."""
    last = site.outbox.of_alert("walkway-1")[-1]
    there = Region((220, 130, 40, 30), ((220, 130), (260, 130), (260, 160), (220, 160)), 1200, score)
    site._commit(replace(last, frame_seq=last.frame_seq + 1, score=score, regions=(there,)), picture("walkway", 9), b"")
    return site.outbox.last_seq()


def test_the_picture_and_its_regions_go_with_the_strongest_message_but_not_while_somebody_chooses(
    page: Page, site: Site
) -> None:
    opened(page, site)
    view = page.locator(".big-picture img.view")
    expect(page.locator(".region")).to_have_count(2)
    second = grown(site, 9.0)
    expect(page.locator(".region")).to_have_count(1)
    expect(view).to_have_attribute("src", re.compile(rf"view\.jpg\?seq={second}$"))
    page.keyboard.press("n")
    expect(page.locator(".choice input")).to_have_count(2)
    page.locator(".region").first.click()
    third = grown(site, 12.0)
    expect(page.locator(".facts")).to_contain_text("Messages4")
    with page.expect_request(re.compile("/normal$")) as sent:
        page.get_by_role("button", name="Show what it would silence").click()
    assert sent.value.post_data_json == {"regions": [0], "dry_run": True, "seen": second}
    expect(view).to_have_attribute("src", re.compile(rf"view\.jpg\?seq={second}$"))
    page.get_by_role("button", name="Close").click()
    expect(view).to_have_attribute("src", re.compile(rf"view\.jpg\?seq={third}$"))


def test_a_review_that_somebody_else_made_meanwhile_is_shown_and_not_written_over(
    page: Page, site: Site, complaints: list[str]
) -> None:
    opened(page, site)
    said = Action("ada", "review", "walkway", "walkway", "walkway-1", {})
    site.parts.store.review("walkway-1", "real", "a ladder", said)  # and no event tells of it
    page.keyboard.press("f")
    panel = page.locator(".review-panel")
    expect(panel.get_by_role("alert")).to_contain_text("ada reviewed it as Real (“a ladder”) meanwhile")
    expect(page.locator(".alert-head")).to_contain_text("Real")
    assert site.parts.store.alert("walkway-1").review == "real"  # type: ignore[union-attr]
    page.keyboard.press("f")
    expect(page.locator(".alert-head")).to_contain_text("False alarm")
    expect(panel.get_by_role("alert")).to_be_empty()
    complaints.clear()  # the browser itself notes the answer 409


def test_a_dry_run_that_ends_without_a_result_is_said_in_words(page: Page, site: Site) -> None:
    opened(page, site)
    answer_jobs(page, {"state": "done", "result": None})
    page.keyboard.press("n")
    page.get_by_role("button", name="Show what it would silence").click()
    expect(page.locator(".normal-panel").get_by_role("alert")).to_contain_text("The job has ended without a result")


def test_a_cut_list_says_how_many_alerts_there_are(page: Page, site: Site) -> None:
    opened(page, site)
    one = {"alert_id": "walkway-2", "before": 1.4, "after": 0.6}
    counts = {"silenced_count": 321, "kept_count": 7}
    answer_jobs(page, {"state": "done", "result": {"scene": "walkway", "silenced": [one], "kept": [], **counts}})
    page.keyboard.press("n")
    page.get_by_role("button", name="Show what it would silence").click()
    expect(page.locator(".dry-run")).to_contain_text("silenced 321 alerts of the last 30 days, and kept 7.")
    expect(page.locator(".dry-run")).to_contain_text("Silenced (1 of 321)")


def test_what_went_wrong_after_the_gallery_was_changed_is_said(page: Page, site: Site) -> None:
    opened(page, site)
    page.keyboard.press("n")
    page.get_by_role("button", name="Show what it would silence").click()
    page.get_by_role("button", name="Add it to the gallery").wait_for()
    problems = {"worker_problem": "the worker does not run", "review_problem": "the disk is full"}
    result = {"scene": "walkway", "from": "v000001", "version": "v000002", **problems}
    answer_jobs(page, {"state": "done", "result": result})
    page.get_by_role("button", name="Add it to the gallery").click()
    panel = page.locator(".normal-panel")
    expect(panel).to_contain_text("is now version v000002")
    expect(panel).to_contain_text("Not in force yet: the worker does not run.")
    expect(panel).to_contain_text("The alert is not marked as reviewed: the disk is full.")
    expect(page.locator(".alert-head")).to_contain_text("Not reviewed")


def test_a_job_that_vanished_with_its_console_counts_as_failed(page: Page, site: Site, complaints: list[str]) -> None:
    opened(page, site)
    answer_jobs(page, {"state": "running", "result": None})
    page.route("**/api/v1/jobs/*", lambda route: route.fulfill(status=404, json={"detail": "there is no such job"}))
    page.keyboard.press("n")
    page.get_by_role("button", name="Show what it would silence").click()
    said = page.locator(".normal-panel").get_by_role("alert")
    expect(said).to_contain_text("The console was started again; the job has ended")
    complaints.clear()  # the browser itself notes the answer 404


def a_running_job(page: Page, site: Site) -> list[dict[str, Any]]:
    """Shows the page of jobs with one that runs. Returns what the server says there is; a test may change that."""
    jobs = [{**JOB, "state": "running", "result": None}]
    page.route("**/api/v1/jobs", lambda route: route.fulfill(json={"jobs": jobs}))
    page.goto(f"{site.base}/#/jobs")
    expect(page.locator(".job")).to_contain_text("Running")
    return jobs


def test_the_list_of_jobs_shows_one_that_vanished_with_its_console_as_failed(page: Page, site: Site) -> None:
    jobs = a_running_job(page, site)
    jobs.clear()
    site.cut()
    expect(page.locator(".job")).to_contain_text("Failed")
    expect(page.locator(".job")).to_contain_text("The console was started again; the job has ended")


def test_a_stream_that_breaks_before_the_one_after_it_has_begun_leaves_nothing_stale(page: Page, site: Site) -> None:
    held: list[Any] = []
    # Without live views: the one of the page after the wall.
    page.route(re.compile(r"/api/v1/stream\?$"), lambda route: held.append(route))
    jobs = a_running_job(page, site)
    jobs.clear()
    site.cut()
    while site.parts.hub._all() or not held:
        page.wait_for_timeout(50)
    page.wait_for_timeout(200)  # for the browser to see that the stream of the wall has ended
    held.pop(0).continue_()
    expect(page.locator(".job")).to_contain_text("Failed")


def test_the_clip_plays(page: Page, site: Site) -> None:
    alert = site.alert(1, clip=a_clip())
    page.goto(f"{site.base}/#/alerts/{alert}")
    page.get_by_role("button", name="Clip").click()
    video = page.locator("video")
    expect(video).to_have_attribute("src", "/api/v1/alerts/walkway-1/clip.mp4")
    expect(video).to_have_js_property("error", None)
    expect(video).not_to_have_js_property("currentTime", 0)  # wait_for_function evaluates text, which the page forbids


def test_alerts_of_a_time_of_ones_own_are_listed(page: Page, site: Site) -> None:
    for number, hours in ((1, 1), (2, 5), (3, 9)):
        site.alert(number, ago=hours * 3600)
    page.goto(f"{site.base}/#/alerts")
    expect(page.locator(".alert-row")).to_have_count(3)
    page.get_by_label("When").select_option("custom")
    page.get_by_label("From", exact=True).fill(local(page, hours_ago=6))
    page.get_by_label("To", exact=True).fill(local(page, hours_ago=4))
    page.get_by_label("To", exact=True).blur()
    expect(page.locator(".alert-row")).to_have_count(1)
    expect(page.locator(".alert-row")).to_have_attribute("data-id", "walkway-2")
    page.reload()
    expect(page.locator(".alert-row")).to_have_count(1)


JOB = {
    "id": "made-up",
    "kind": "normal",
    "camera": "walkway",
    "scene": "walkway",
    "alert_id": "walkway-1",
    "user": "operator",
    "started_at": "2026-01-31T18:00:00.000Z",
    "ended_at": None,
    "progress": None,
    "error": None,
}


def answer_jobs(page: Page, ended: dict[str, Any]) -> None:
    """From now on "this is normal" is answered with a job like this, as it was found again afterwards."""
    job = {**JOB, **ended}
    page.route("**/api/v1/alerts/*/normal", lambda route: route.fulfill(json={"job": job}))


def a_clip() -> bytes:
    """Two seconds that a browser plays."""
    if BEST_CODEC not in av.codecs_available:
        pytest.skip("this FFmpeg has no libx264")
    video = ClipVideo(height=180, codec=BEST_CODEC, max_bytes=1 << 20)
    for number in range(20):
        video.add(View(picture("walkway", number), SIZE, number / 10))
    return video.finish()


def local(page: Page, *, hours_ago: float) -> str:
    """A time as the browser's field for it takes it, in the browser's time zone."""
    as_field = (
        "hours => { const at = new Date(Date.now() - hours * 3600e3);"
        " return new Date(at - at.getTimezoneOffset() * 60e3).toISOString().slice(0, 16); }"
    )
    return str(page.evaluate(as_field, hours_ago))
