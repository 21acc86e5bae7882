"""What is wrong with the machine is said over every page, in words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from .fake_site import Site

pytestmark = [pytest.mark.browser, pytest.mark.slow]

WELL: dict[str, Any] = {
    "worker": {"state": "RUNNING", "reason": ""},
    "supervisor": {"state": "RUNNING"},
    "processes": {"worker": {"state": "running", "restarts": 0}, "reader walkway": {"state": "starting"}},
    "config": {},
    "sinks": {"pager": {"failing_since": None, "last_error": ""}},
    "feed": {"connected": True},
}


def told(page: Page, **news: Any) -> list[str]:
    """The banners where the status says this."""
    page.route("**/api/v1/status", lambda route: route.fulfill(json={**WELL, **news}))
    with page.expect_response("**/api/v1/status"):
        page.reload()
    page.get_by_role("heading", name="Wall").wait_for()
    page.wait_for_timeout(100)
    return page.locator(".trouble:visible").all_inner_texts()


def test_where_all_is_well_nothing_is_said(page: Page) -> None:
    assert told(page) == []


@pytest.mark.parametrize(
    ("news", "words"),
    [
        (
            {"supervisor": {"state": "NOT_ANSWERING", "reason": "its last report is 42 s old"}},
            "The supervisor does not answer: its last report is 42 s old. A process that ends is not started again.",
        ),
        (
            {"processes": {"reader walkway": {"state": "waiting", "restarts": 3, "last_exit": "exit code 1"}}},
            "Process reader walkway has ended (exit code 1). It is started again; restarts so far: 3.",
        ),
        (
            {"processes": {"sink pager": {"state": "hung", "restarts": 0, "last_exit": None}}},
            "Process sink pager did not answer and was ended. It is started again.",
        ),
        (
            {"worker": {"state": "NOT_RUNNING", "reason": ""}},
            "No camera is scored: the worker does not run, and does not say why.",
        ),
        (
            {"worker": {"state": "DEGRADED", "reason": "scores are not logged: no space left"}},
            "Scoring works in part only: scores are not logged: no space left.",
        ),
        (
            {"worker": {"state": "RUNNING", "reason": "", "live_problem": "its socket is taken"}},
            "Live views: its socket is taken",
        ),
        (
            {"worker": {"state": "RUNNING", "reason": "", "operator_problem": "operator.json is damaged"}},
            "Operator settings: operator.json is damaged",
        ),
        ({"config": {"error": "cameras: none", "loaded": None}}, "Configuration: cameras: none"),
    ],
    ids=["supervisor", "reader", "hung", "worker", "degraded", "live", "operator", "config"],
)
def test_a_trouble_is_said_in_words(page: Page, news: dict[str, Any], words: str) -> None:
    assert told(page, **news) == [words]


def test_a_feed_that_does_not_answer_is_said_as_soon_as_it_is_known(page: Page, site: Site) -> None:
    banner = page.get_by_text("No connection to the alert feed: new alerts do not arrive here.")
    site.parts.board.hear_feed(connected=False, last_seq=0)
    expect(banner).to_be_visible()
    site.parts.board.hear_feed(connected=True, last_seq=0)
    expect(banner).to_have_count(0)


def test_a_sink_that_takes_nothing_is_named_with_the_time_and_the_reason(page: Page) -> None:
    sink = {"failing_since": "2026-01-31T18:00:00.000Z", "last_error": "connection refused"}
    (said,) = told(page, sinks={"pager": sink})
    assert said.startswith("Sink pager takes no alerts since 31 Jan") or "Jan 31" in said
    assert said.endswith(": connection refused.")


def test_a_problem_that_makes_the_worker_degraded_is_said_once(page: Page) -> None:
    damaged = "operator.json is damaged"
    worker = {"state": "DEGRADED", "reason": damaged, "operator_problem": damaged}
    assert told(page, worker=worker) == [f"Scoring works in part only: {damaged}."]


def test_a_real_status_of_a_process_that_is_down_is_said(page: Page, site: Site) -> None:
    path = site.parts.config.processes
    processes = json.loads(path.read_text(encoding="utf-8"))
    processes["processes"]["reader quad"] = {"state": "waiting", "restarts": 1, "last_exit": "signal 11"}
    path.write_text(json.dumps(processes), encoding="utf-8")
    site.parts.board.refresh()
    page.reload()
    expect(page.locator(".trouble", has_text="Process reader quad has ended (signal 11)")).to_be_visible()


def test_alerts_that_retention_removed_unseen_are_told_until_somebody_has_read_it(page: Page, site: Site) -> None:
    site.live()
    site.parts.hub.publish("lost", {"first": 7, "last": 12})
    banner = page.locator(".trouble", has_text="Alert messages 7 to 12 were removed")
    expect(banner).to_contain_text("before the console saw them")
    page.goto(f"{site.base}/#/alerts")
    expect(banner).to_be_visible()
    banner.get_by_role("button", name="Dismiss").click()
    expect(banner).to_have_count(0)
