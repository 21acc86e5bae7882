"""The console's API, asked as a browser does: every route, and what must not get through."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from console_fakes import (
    CAMERAS,
    SIZE,
    THRESHOLD,
    a_config,
    a_row,
    built,
    caught_up,
    commit,
    heat,
    picture,
    write_status,
)
from starlette.testclient import TestClient

from stream.config import Config
from stream.config_sections import CameraSection
from stream.console import budget
from stream.console.app import make_app
from stream.console.auth import Gate
from stream.console.commands import monitor_routes
from stream.console.guard import MOST_BODY
from stream.console.launcher import Launcher
from stream.console.parts import Parts
from stream.console.records import Action
from stream.console.store import Store
from stream.console.token import FILE
from stream.console.users import set_user
from stream.errors import ConsoleStoreError, SinkError
from stream.live import LiveFrame
from stream.messages import CameraState, StateEvent, iso_time
from stream.operator_settings import read_settings
from stream.outbox import Outbox
from stream.scorelog import ScoreLog
from stream.sinks.facts import SinkFacts, facts_path

HOST = "http://localhost:8470"
PROGRAM = ("sh", "-c", """echo '{"result": {"version": "v000002"}}'""", "spade-stream")


class Desk:
    """One console in a folder, and a browser that is logged in."""

    def __init__(self, config: Config, parts: Parts) -> None:
        self.config, self.parts = config, parts
        app = make_app(parts, routes=monitor_routes(config, parts))
        self.stranger = TestClient(app, base_url=HOST, client=("127.0.0.1", 50000), follow_redirects=False)
        self.browser = TestClient(app, base_url=HOST, client=("127.0.0.1", 50001), follow_redirects=False)
        answer = self.browser.post("/api/v1/login", json={"token": self.token})
        assert answer.status_code == 200, answer.text
        self.csrf = {"X-Spade-CSRF": answer.json()["csrf"]}

    @property
    def token(self) -> str:
        return (self.config.state / "run" / FILE).read_text().strip()

    def get(self, path: str, **options: Any) -> Any:
        answer = self.browser.get(path, **options)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def send(self, method: str, path: str, body: Any, *, code: int = 200) -> Any:
        answer = self.browser.request(method, path, json=body, headers=self.csrf)
        assert answer.status_code == code, answer.text
        return answer.json()

    def actions(self) -> list[tuple[str, Any]]:
        return [(entry["action"], entry["detail"]) for entry in self.get("/api/v1/audit")["entries"]][:-1]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    config = a_config(tmp_path)
    now = time.time()
    write_status(config, now=now)
    with Outbox(config.outbox, config.evidence) as outbox:
        for number in range(1, 4):
            commit(outbox, number, at=now - 1000 + number)
        outbox.record_event(StateEvent("north-gate", CameraState.LIVE, "frames arrive", now - 500))
    pages = tmp_path / "static"
    pages.mkdir()
    (pages / "index.html").write_text("<!doctype html><title>console</title>")
    (pages / "app.js").write_text("'use strict';")
    (pages / "secret.key").write_text("no page")
    (tmp_path / "outside.js").write_text("outside")
    with built(config, program=PROGRAM, pages=pages) as parts:
        caught_up(config, parts)
        yield Desk(config, parts)


ALERT = "/api/v1/alerts/north-gate-0002"


# -- who gets in -----------------------------------------------------------------------------------------------------


def test_every_route_but_a_few_needs_a_login(desk: Desk) -> None:
    open_routes = {
        "/",
        "/login",
        "/favicon.ico",
        "/api/v1/login",
        "/healthz",
        "/readyz",
        "/metrics",
        "/static/{name:path}",
    }
    app = desk.stranger.app._app  # type: ignore[attr-defined]
    asked = 0
    for route in app.router.routes:
        for leaf in getattr(getattr(route, "original_router", None), "routes", [route]):
            if leaf.path in open_routes:
                continue
            for method in leaf.methods:
                path = leaf.path.replace("{camera}", "north-gate").replace("{alert_id}", "north-gate-0002")
                path = path.replace("{kind}", "mask.png").replace("{scene}", "north-gate").replace("{job_id}", "a")
                assert desk.stranger.request(method, path.replace("{number}", "0")).status_code == 401, path
                asked += 1
    assert asked > 25


def test_the_token_of_a_program_needs_no_csrf(desk: Desk) -> None:
    headers = {"Authorization": f"Bearer {desk.token}"}
    answer = desk.stranger.post(f"{ALERT}/review", json={"verdict": "real"}, headers=headers)
    assert answer.status_code == 200
    assert answer.json()["reviewed_by"] == "operator"
    assert desk.stranger.get("/api/v1/me", headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_a_browser_has_to_send_the_word_of_its_session(desk: Desk) -> None:
    for headers in ({}, {"X-Spade-CSRF": "0" * 64}):
        answer = desk.browser.post(f"{ALERT}/review", json={"verdict": "real"}, headers=headers)
        assert answer.status_code == 403
        assert "x-spade-csrf" in answer.json()["detail"]
    assert desk.get("/api/v1/me")["csrf"] == desk.csrf["X-Spade-CSRF"]
    desk.send("POST", f"{ALERT}/review", {"verdict": "real"})


@pytest.mark.parametrize(
    "header", [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]
)
def test_a_page_of_another_site_changes_nothing_and_logs_nobody_in(desk: Desk, header: dict[str, str]) -> None:
    answer = desk.browser.post(f"{ALERT}/review", json={"verdict": "real"}, headers={**desk.csrf, **header})
    assert answer.status_code == 403
    assert desk.stranger.post("/api/v1/login", json={"token": desk.token}, headers=header).status_code == 403
    same = {"Origin": HOST, "Sec-Fetch-Site": "same-origin"}
    assert (
        desk.browser.post(f"{ALERT}/review", json={"verdict": "real"}, headers={**desk.csrf, **same}).status_code == 200
    )


def test_a_form_of_another_site_is_no_json(desk: Desk) -> None:
    answer = desk.stranger.post(
        "/api/v1/login", content=json.dumps({"token": desk.token}), headers={"Content-Type": "text/plain"}
    )
    assert answer.status_code == 422
    assert desk.token not in answer.text


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:8470", ""])
def test_a_name_that_was_pointed_here_is_refused(desk: Desk, host: str) -> None:
    answer = desk.browser.get("/api/v1/me", headers={"Host": host})
    assert answer.status_code == 421
    assert "console.names" in answer.json()["detail"]


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(desk: Desk) -> None:
    answer = desk.stranger.post("/api/v1/login", json={"token": desk.token})
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "secure" not in cookie, "HTTP on loopback"


def test_after_logging_out_the_cookie_is_worth_nothing(desk: Desk) -> None:
    cookie = {"Cookie": f"spade_session_8470={desk.browser.cookies['spade_session_8470']}"}
    assert desk.stranger.get("/api/v1/me", headers=cookie).status_code == 200
    desk.send("POST", "/api/v1/logout", {})
    assert desk.stranger.get("/api/v1/me", headers=cookie).status_code == 401


@pytest.mark.parametrize("other", ['a="{unclosed', "x[y]=1", "ä=ö", "=", ";;", "a" * 9000 + "=1"])
def test_the_oddest_cookies_of_other_programs_log_nobody_out(desk: Desk, other: str) -> None:
    cookie = f"{other}; spade_session_8470={desk.browser.cookies['spade_session_8470']}; {other}"
    assert desk.stranger.get("/api/v1/me", headers={"Cookie": cookie.encode()}).status_code == 200


def test_the_browser_keeps_the_cookie_for_longer_than_any_session_lasts(desk: Desk) -> None:
    answer = desk.stranger.post("/api/v1/login", json={"token": desk.token})
    assert "max-age=34560000" in answer.headers["set-cookie"].lower()


def test_the_link_logs_in_and_leaves_the_address(desk: Desk) -> None:
    answer = desk.stranger.get(f"/login?token={desk.token}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert desk.stranger.get("/api/v1/me").json()["user"] == "operator"
    other = desk.stranger.get("/login?token=wrong")
    assert (other.status_code, other.headers["location"]) == (303, "/login")
    assert "set-cookie" not in other.headers


@pytest.mark.parametrize("kind", ["image", "iframe", "script", "empty"])
def test_the_link_is_nothing_for_a_page_of_somebody_else(desk: Desk, kind: str) -> None:
    link = f"/login?token={desk.token}"
    assert desk.stranger.get(link, headers={"Sec-Fetch-Dest": kind}).status_code == 403
    assert desk.stranger.get(link, headers={"Sec-Fetch-Dest": "document"}).status_code == 303


def test_guessing_passwords_is_slowed_down_and_the_token_comes_in_all_the_same(tmp_path: Path) -> None:
    set_user(tmp_path / "users", "anna", "correct horse battery")
    config = a_config(tmp_path, users=str(tmp_path / "users"))
    write_status(config, now=time.time())
    with built(config) as parts:
        client = TestClient(make_app(parts), base_url=HOST, client=("127.0.0.1", 50000))

        def code(**said: str) -> int:
            return client.post("/api/v1/login", json=said).status_code

        assert [code(user="anna", password=f"guess {n}") for n in range(6)] == [401] * 5 + [429]
        answer = client.post("/api/v1/login", json={"user": "anna", "password": "correct horse battery"})
        assert answer.status_code == 429
        assert 0 < int(answer.headers["retry-after"]) <= 60
        token = (config.state / "run" / FILE).read_text().strip()
        assert [code(token="wrong") for _ in range(9)] == [401] * 9
        assert code(token=token) == 200


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/static/app.js",
        "/nowhere",
        "/api/v1/me",
        "/api/v1/alerts/none",
        "/healthz",
        "/metrics",
        f"{ALERT}/mask.png",
    ],
)
def test_every_answer_has_its_headers(desk: Desk, path: str) -> None:
    for client in (desk.browser, desk.stranger):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == ("no-cache" if path.startswith("/static") else "no-store")


def test_a_bug_is_told_without_its_insides_and_with_headers(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise RuntimeError("rtsp://viewer:hunter22@192.0.2.1")

    monkeypatch.setattr(type(desk.parts.board), "status", lambda self: broken())
    client = TestClient(desk.browser.app, base_url=HOST, raise_server_exceptions=False, cookies=desk.browser.cookies)
    answer = client.get("/api/v1/status")
    assert answer.status_code == 500
    assert "hunter22" not in answer.text
    assert "content-security-policy" in answer.headers


def test_a_request_that_is_too_long_is_not_read(desk: Desk) -> None:
    long = json.dumps({"verdict": "real", "note": "x" * MOST_BODY}).encode()
    headers = {**desk.csrf, "Content-Type": "application/json"}
    assert desk.browser.post(f"{ALERT}/review", content=long, headers=headers).status_code == 413

    def unannounced() -> Iterator[bytes]:
        yield long[:1000]
        yield long[1000:]

    assert desk.browser.post(f"{ALERT}/review", content=unannounced(), headers=headers).status_code == 413


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/login", {"token": "hunter22", "extra": 1}),
        ("/api/v1/login", {"user": "anna", "password": ["hunter22"]}),
        (f"{ALERT}/review", {"verdict": "normal"}),
        (f"{ALERT}/review", {"verdict": "real", "note": "x" * 2001}),
        (f"{ALERT}/review", {}),
        (f"{ALERT}/normal", {"regions": [-1]}),
        ("/api/v1/cameras/north-gate/enroll", {"seconds": 1e9}),
        ("/api/v1/galleries/north-gate/use", {"version": "../../etc"}),
    ],
)
def test_what_is_out_of_bounds_is_refused_in_words_that_repeat_nothing(desk: Desk, path: str, body: Any) -> None:
    answer = desk.browser.post(path, json=body, headers=desk.csrf)
    assert answer.status_code == 422
    assert isinstance(answer.json()["detail"], str)
    assert "hunter22" not in answer.text


# -- pages -----------------------------------------------------------------------------------------------------------


def test_pages_have_fixed_types(desk: Desk) -> None:
    for path, kind in (("/", "text/html; charset=utf-8"), ("/login", "text/html; charset=utf-8")):
        assert desk.stranger.get(path).headers["content-type"] == kind
    assert desk.stranger.get("/static/app.js").headers["content-type"] == "text/javascript; charset=utf-8"


@pytest.mark.parametrize(
    "name",
    [
        "../outside.js",
        "%2e%2e/outside.js",
        "..%2foutside.js",
        "....//outside.js",
        "secret.key",
        "/etc/passwd",
        "",
        "link.js",
        ".",
        "%00.js",
        "x" * 5000 + ".js",
    ],
)
def test_no_name_leads_out_of_the_pages(desk: Desk, name: str, tmp_path: Path) -> None:
    (tmp_path / "static" / "link.js").symlink_to(tmp_path / "outside.js")
    answer = desk.stranger.get(f"/static/{name}")
    assert answer.status_code in (401, 404), answer.text  # some are cut short to a path that is not open
    assert "outside" not in answer.text.replace("outside.js", "")


# -- cameras ---------------------------------------------------------------------------------------------------------


def test_cameras_say_plainly_which_are_blind(desk: Desk) -> None:
    cameras = {camera["id"]: camera for camera in desk.get("/api/v1/cameras")["cameras"]}
    assert list(cameras) == list(CAMERAS)
    assert [cameras[name]["watched"] for name in CAMERAS] == [True, True, False, False, False]
    gate = cameras["north-gate"]
    assert (gate["state"], gate["score"], gate["threshold"], gate["strength"]) == ("LIVE", 1.0, THRESHOLD, 0.4)
    assert gate["dropped"] == 3, "frames between two samples are not lost"
    assert "no gallery here" in gate["gallery_problem"]
    assert "hunter22" not in json.dumps(cameras)


def test_when_the_worker_does_not_answer_no_camera_looks_watched(desk: Desk) -> None:
    write_status(desk.config, now=time.time() - 100)
    cameras = desk.get("/api/v1/cameras")["cameras"]
    assert [camera["watched"] for camera in cameras] == [False] * 5
    assert cameras[0]["state"] == "NOT_SCORED"
    assert "NOT_ANSWERING" in cameras[0]["reason"]


def test_the_status_tells_of_worker_and_feed(desk: Desk) -> None:
    status = desk.get("/api/v1/status")
    assert status["worker"]["state"] == "RUNNING"
    assert status["feed"] == {"connected": False}
    assert set(status) == {"worker", "supervisor", "processes", "config", "feed", "sinks", "cluster"}
    assert status["cluster"] is None, "it is one machine"


def test_the_status_tells_of_sinks_that_take_nothing(desk: Desk) -> None:
    assert desk.get("/api/v1/status")["sinks"] == {}, "none has told anything yet"
    SinkFacts(facts_path(desk.config.sink_folder, "printer"), kind="stdout").failed(SinkError("out of paper"))

    told = desk.get("/api/v1/status")["sinks"]["printer"]

    assert told["failing_since"] is not None
    assert told["last_error"] == "out of paper"


def test_a_live_view_comes_with_the_frame_that_it_is_of(desk: Desk) -> None:
    assert desk.browser.get("/api/v1/cameras/north-gate/view.jpg").status_code == 404
    assert desk.parts.watcher.wanted() == {"north-gate"}, "asking makes it watched"
    view = picture(1)
    box = (0.0, 0.0, 1.0, 1.0)
    frame = LiveFrame("north-gate", "north-gate", 7, 100.0, 1.0, 2.0, None, "", SIZE, box, view, heat(0.5))
    desk.parts.watcher.take(frame)
    answer = desk.browser.get("/api/v1/cameras/north-gate/view.jpg")
    assert answer.content == view
    assert (answer.headers["content-type"], answer.headers["x-frame-seq"]) == ("image/jpeg", "7")
    assert desk.browser.get("/api/v1/cameras/north-gate/heat.png").content == frame.heat_png
    assert desk.browser.get("/api/v1/cameras/library-steps/heat.png").status_code == 204


def test_the_live_views_of_all_cameras_are_asked_for_without_their_names(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[frozenset[str]] = []
    join = desk.parts.hub.join
    monkeypatch.setattr(desk.parts.hub, "join", lambda cameras: asked.append(cameras) or join(cameras))
    desk.parts.hub.close()  # so that each stream ends at once
    for live in ("*", "north-gate,nowhere", ""):
        assert desk.browser.get("/api/v1/stream", params={"live": live}).status_code == 200
    assert asked == [frozenset(CAMERAS), {"north-gate"}, frozenset()]


@pytest.mark.parametrize("camera", ["nowhere", "..%2f..", "a b"])
def test_a_camera_that_is_none_has_nothing(desk: Desk, camera: str) -> None:
    for path in ("view.jpg", "scores", "budget"):
        assert desk.browser.get(f"/api/v1/cameras/{camera}/{path}").status_code in (404, 422)


def test_scores_come_with_events_and_alerts(desk: Desk) -> None:
    now = time.time()
    log = ScoreLog(desk.config.scores)
    for number in range(60):
        log.add("north-gate", a_row(now - 600 + number, number, score=1.0 + number / 10))
    log.close()
    found = desk.get("/api/v1/cameras/north-gate/scores", params={"from": iso_time(now - 3600), "to": iso_time(now)})
    assert found["threshold"] == THRESHOLD
    assert max(bucket["max"] for bucket in found["buckets"]) == pytest.approx(6.9)
    assert [event["state"] for event in found["events"]] == ["LIVE"]
    assert [alert["alert_id"] for alert in found["alerts"]] == [f"north-gate-000{n}" for n in (1, 2, 3)]
    assert found["alerts"][0]["peak"] == pytest.approx(1.9 + 1 / 3)


@pytest.mark.parametrize(
    "span", [{"from": "yesterday"}, {"from": "2026-01-02", "to": "2026-01-01"}, {"from": "1999-01-01"}]
)
def test_a_span_that_is_none_is_refused(desk: Desk, span: dict[str, str]) -> None:
    assert desk.browser.get("/api/v1/cameras/north-gate/scores", params=span).status_code == 422


def test_the_last_day_that_there_is_may_be_asked_for(desk: Desk) -> None:
    span = {"from": "9999-12-31T00:00:00Z", "to": "9999-12-31T23:00:00Z"}
    assert desk.get("/api/v1/cameras/north-gate/scores", params=span)["buckets"] == []


def test_the_budget_counts_alerts_at_other_sensitivities(desk: Desk) -> None:
    now = time.time()
    log = ScoreLog(desk.config.scores)
    for number in range(3600):
        peak = {1000: 1.2, 2000: 1.6, 3000: 3.0}.get(number // 10 * 10, 0.1)
        log.add("north-gate", a_row(now - 3600 + number, number, score=peak * THRESHOLD))
    log.close()
    found = desk.get("/api/v1/cameras/north-gate/budget", params={"days": 1})
    assert (found["calibrated_threshold"], found["factor"], found["days"]) == (THRESHOLD, 1.0, 1)
    assert found["covered_days"] == pytest.approx(3599 / 86400)
    alerts = {round(point["factor"], 2): point["alerts"] for point in found["curve"]}
    assert (alerts[1.0], alerts[1.52], alerts[2.0], alerts[4.0]) == (3, 2, 1, 0)


def test_rows_of_a_gallery_that_nobody_knows_any_more_are_counted(desk: Desk) -> None:
    now = time.time()
    log = ScoreLog(desk.config.scores)
    for number in range(100):
        row = a_row(now - 200 + number, number, score=0.1 * THRESHOLD)
        log.add("north-gate", row if number < 60 else replace(row, threshold=7.7))
    log.close()

    found = desk.get("/api/v1/cameras/north-gate/budget")

    assert (found["not_comparable_rows"], found["covered_days"]) == (40, pytest.approx(59 / 86400))


def test_the_budget_goes_by_the_calibrated_threshold_while_a_new_factor_is_on_its_way(desk: Desk) -> None:
    desk.send("PUT", "/api/v1/cameras/north-gate/sensitivity", {"factor": 2.0, "revision": 0})

    found = desk.get("/api/v1/cameras/north-gate/budget")

    # The worker's status still has the threshold of before.
    assert (found["calibrated_threshold"], found["factor"]) == (THRESHOLD, 2.0)


def test_a_curve_is_made_once_and_shown_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Any] = []
    real = budget.read_rows

    def counted(path: Path, **options: Any) -> Any:
        read.append((path.name, options))
        return real(path, **options)

    monkeypatch.setattr(budget, "read_rows", counted)
    now = time.time()
    log = ScoreLog(desk.config.scores)
    log.add("north-gate", a_row(now - 2, 1, score=1.0))
    log.flush()
    first = desk.get("/api/v1/cameras/north-gate/budget")
    assert desk.get("/api/v1/cameras/north-gate/budget") == first
    assert len(read) == 1
    log.add("north-gate", a_row(now - 1, 2, score=1.0))
    log.close()
    desk.parts.budgets._clock = lambda: time.time() + budget.GOOD_FOR + 1
    assert desk.get("/api/v1/cameras/north-gate/budget")["covered_days"] == pytest.approx(1 / 86_400, rel=0.01)
    assert len(read) == 2
    assert read[1][1]["start"] > 0, "only what is new is read"


def test_scores_that_cannot_be_read_are_told_in_words(desk: Desk) -> None:
    folder = desk.config.scores / "north-gate"
    folder.mkdir(parents=True)
    (folder / f"{iso_time(time.time())[:10]}.csv").write_text("other,columns\n")
    answer = desk.browser.get("/api/v1/cameras/north-gate/budget")
    assert answer.status_code == 503
    assert "its columns are not those" in answer.json()["detail"]


def test_setting_the_sensitivity_is_in_force_and_in_the_trail(desk: Desk) -> None:
    answer = desk.send("PUT", "/api/v1/cameras/north-gate/sensitivity", {"factor": 1.5, "revision": 0})
    assert answer == {"revision": 1}
    assert read_settings(desk.config.operator_settings).of("north-gate").threshold_factor == 1.5
    assert desk.get("/api/v1/cameras")["cameras"][0]["threshold_factor"] == 1.5
    assert desk.actions() == [("sensitivity", {"before": 1.0, "after": 1.5})]


def test_of_two_who_change_at_once_the_second_is_told(desk: Desk) -> None:
    path = "/api/v1/cameras/north-gate/sensitivity"
    desk.send("PUT", path, {"factor": 1.5, "revision": 0})
    assert "changed meanwhile" in desk.send("PUT", path, {"factor": 3.0, "revision": 0}, code=409)["detail"]
    assert len(desk.actions()) == 1, "what did not happen has no entry"


@pytest.mark.parametrize("factor", [0.1, 21, "NaN", None, "1e999"])
def test_a_sensitivity_out_of_bounds_is_refused(desk: Desk, factor: Any) -> None:
    desk.send("PUT", "/api/v1/cameras/north-gate/sensitivity", {"factor": factor}, code=422)


TRIANGLE = {"name": "street", "kind": "ignore", "polygon": [[0, 0], [0.5, 0], [0, 0.5]]}


def test_zones_are_drawn_and_taken_back(desk: Desk) -> None:
    path = "/api/v1/cameras/north-gate/zones"
    assert desk.send("PUT", path, {"zones": [TRIANGLE], "revision": 0}) == {"revision": 1}
    assert desk.get("/api/v1/cameras")["cameras"][0]["zones"] == [TRIANGLE]
    desk.send("PUT", path, {"zones": [], "revision": 1})
    assert desk.get("/api/v1/cameras")["cameras"][0]["zones"] == []
    assert desk.actions() == [
        ("zones", {"before": [TRIANGLE], "after": []}),
        ("zones", {"before": [], "after": [TRIANGLE]}),
    ]


@pytest.mark.parametrize(
    "change",
    [{"kind": "delete"}, {"polygon": [[0, 0], [1, 1]]}, {"polygon": [[0, 0], [2, 0], [0, 1]]}, {"name": ""}, {"x": 1}],
)
def test_a_zone_that_is_none_is_refused(desk: Desk, change: dict[str, Any]) -> None:
    desk.send("PUT", "/api/v1/cameras/north-gate/zones", {"zones": [{**TRIANGLE, **change}]}, code=422)


def test_zones_that_leave_nothing_to_watch_are_refused(desk: Desk) -> None:
    everything = {**TRIANGLE, "polygon": [[0, 0], [1, 0], [1, 1], [0, 1]]}
    answer = desk.send("PUT", "/api/v1/cameras/north-gate/zones", {"zones": [everything]}, code=422)
    assert "leave nothing of the picture to watch" in answer["detail"]


def test_a_camera_is_snoozed_and_woken(desk: Desk) -> None:
    path = "/api/v1/cameras/north-gate/snooze"
    desk.send("PUT", path, {"minutes": 30, "reason": "works at the gate"})
    camera = desk.get("/api/v1/cameras")["cameras"][0]
    assert camera["snooze_reason"] == "works at the gate"
    assert camera["snoozed_until"] > iso_time(time.time() + 29 * 60)
    assert desk.browser.delete(path, headers=desk.csrf).status_code == 200
    assert desk.get("/api/v1/cameras")["cameras"][0]["snoozed_until"] is None
    assert [action for action, _ in desk.actions()] == ["wake", "snooze"]


# -- alerts ----------------------------------------------------------------------------------------------------------


def test_alerts_are_listed_page_by_page(desk: Desk) -> None:
    first = desk.get("/api/v1/alerts", params={"limit": 2})
    assert [alert["alert_id"][-1] for alert in first["alerts"]] == ["3", "2"]
    assert first["counts"] == {"open": 3}
    second = desk.get("/api/v1/alerts", params={"limit": 2, "before": first["next"]})
    assert [alert["alert_id"][-1] for alert in second["alerts"]] == ["1"]
    assert second["next"] is None


@pytest.mark.parametrize(
    "query", ["before=xx", "before=W10=", "limit=0", "limit=501", "review=maybe", "from=soon", "camera=a/b"]
)
def test_a_question_that_is_none_is_refused(desk: Desk, query: str) -> None:
    assert desk.browser.get(f"/api/v1/alerts?{query}").status_code == 422


def test_an_alert_comes_with_all_that_is_kept_of_it(desk: Desk) -> None:
    alert = desk.get(ALERT)
    assert [message["phase"] for message in alert["messages"]] == ["start", "update", "end"]
    assert alert["source_size"] == list(SIZE)
    assert alert["regions"][0]["area"] == 5760
    assert alert["neighbours"][0]["thumbnail"] == f"{ALERT}/neighbours/0.jpg"
    assert alert["history"] == []
    assert alert["gallery_version"] is None


def test_pictures_are_of_the_strongest_message_unless_one_is_named(desk: Desk) -> None:
    messages = desk.get(ALERT)["messages"]
    snapshot = desk.browser.get(f"{ALERT}/snapshot.jpg")
    assert snapshot.headers["content-type"] == "image/jpeg"
    assert snapshot.content == (desk.config.evidence / messages[1]["snapshot"]).read_bytes()
    first = desk.browser.get(f"{ALERT}/mask.png", params={"seq": messages[0]["seq"]})
    assert first.content == (desk.config.evidence / messages[0]["mask"]).read_bytes()
    assert desk.browser.get(f"{ALERT}/mask.png", params={"seq": 999}).status_code == 404
    assert desk.browser.get(f"{ALERT}/clip.mp4").status_code == 404


def test_parts_of_a_picture_may_be_asked_for_as_players_do(desk: Desk) -> None:
    answer = desk.browser.get(f"{ALERT}/snapshot.jpg", headers={"Range": "bytes=0-9"})
    assert (answer.status_code, len(answer.content)) == (206, 10)


@pytest.mark.parametrize(
    "path",
    ["/../secret", "/%2e%2e/x", "/..%2f..%2fetc%2fpasswd", "/mask.png/..%2f..", "/neighbours/..%2f0.jpg", "/x.sqlite"],
)
def test_no_address_of_a_picture_leads_elsewhere(desk: Desk, path: str) -> None:
    assert desk.browser.get(f"{ALERT}{path}").status_code in (404, 422)


def test_a_link_in_the_evidence_folder_does_not_lead_out_of_it(desk: Desk, tmp_path: Path) -> None:
    named = desk.get(ALERT)["messages"]
    (tmp_path / "secret").write_text("secret")
    for message in named:
        path = desk.config.evidence / message["mask"]
        path.unlink()
        path.symlink_to(tmp_path / "secret")
    assert desk.browser.get(f"{ALERT}/mask.png").status_code == 404


def test_a_review_is_noted_with_who_and_when(desk: Desk) -> None:
    told: list[Any] = []
    desk.parts.hub.publish = lambda event, data: told.append((event, dict(data)))  # type: ignore[method-assign]
    summary = desk.send("POST", f"{ALERT}/review", {"verdict": "false", "note": "<script>a cat</script>"})
    assert (summary["review"], summary["reviewed_by"], summary["note"]) == (
        "false",
        "operator",
        "<script>a cat</script>",
    )
    assert told == [("alert", summary)]
    assert desk.get("/api/v1/alerts", params={"review": "false"})["alerts"] == [summary]
    history = desk.get(ALERT)["history"]
    assert history[0]["detail"] == {"before": "open", "after": "false", "note": "<script>a cat</script>"}
    desk.send("POST", f"{ALERT}/review", {"verdict": "open"})
    assert desk.get("/api/v1/alerts")["counts"] == {"open": 3}


def test_of_two_who_review_at_once_the_second_is_told_who_was_first(desk: Desk) -> None:
    seen = {key: desk.get(ALERT)[key] for key in ("review", "reviewed_at")}
    first = desk.send("POST", f"{ALERT}/review", {"verdict": "real", "expected": seen})
    refused = desk.send("POST", f"{ALERT}/review", {"verdict": "false", "expected": seen}, code=409)
    assert "operator has called it real meanwhile" in refused["detail"]
    assert desk.get(ALERT)["review"] == "real"
    seen = {key: first[key] for key in ("review", "reviewed_at")}
    desk.send("POST", f"{ALERT}/review", {"verdict": "false", "expected": seen})
    assert len(desk.actions()) == 2


@pytest.mark.parametrize("query", ["audit?before=1" + "0" * 20, "alerts/north-gate-0002/mask.png?seq=1" + "0" * 20])
def test_numbers_that_the_store_cannot_hold_are_refused(desk: Desk, query: str) -> None:
    assert desk.browser.get(f"/api/v1/{query}").status_code == 422


def test_a_cursor_with_a_number_without_end_is_refused(desk: Desk) -> None:
    before = base64.urlsafe_b64encode(b"[1" + b"0" * 400 + b', "a"]').decode()
    assert desk.browser.get("/api/v1/alerts", params={"before": before}).status_code == 422


def test_a_cursor_with_half_a_character_is_refused(desk: Desk) -> None:
    before = base64.urlsafe_b64encode(b'[1.0, "\\ud800"]').decode()
    assert desk.browser.get("/api/v1/alerts", params={"before": before}).status_code == 422


def test_an_alert_that_is_none_is_not_there(desk: Desk) -> None:
    assert desk.browser.get("/api/v1/alerts/none").status_code == 404
    desk.send("POST", "/api/v1/alerts/none/review", {"verdict": "real"}, code=404)
    desk.send("POST", "/api/v1/alerts/none/normal", {"dry_run": True}, code=404)
    desk.send("POST", "/api/v1/alerts/--help/normal", {"dry_run": True}, code=422)


# -- jobs ------------------------------------------------------------------------------------------------------------


def finished(desk: Desk, job: dict[str, Any]) -> dict[str, Any]:
    deadline = time.monotonic() + 10
    while (found := desk.get(f"/api/v1/jobs/{job['id']}"))["state"] == "running":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return dict(found)


def test_what_was_marked_normal_is_reviewed_so_once_the_job_is_done(desk: Desk) -> None:
    job = desk.send("POST", f"{ALERT}/normal", {"regions": [0], "dry_run": False})["job"]
    done = finished(desk, job)
    assert (done["kind"], done["state"], done["scene"], done["alert_id"]) == (
        "normal",
        "done",
        "north-gate",
        "north-gate-0002",
    )
    assert done["result"]["worker_told"] is False, "there is no run here"
    assert desk.get(ALERT)["review"] == "normal"
    assert [action for action, _ in desk.actions()] == ["review", "normal"]


def test_the_trail_says_how_a_job_ended(desk: Desk) -> None:
    finished(desk, desk.send("POST", "/api/v1/galleries/north-gate/use", {"version": "v000002"})["job"])
    ((action, detail),) = desk.actions()
    assert (action, detail["after"]) == ("use", "v000002")
    assert {**detail["ended"], "at": None} == {"state": "done", "at": None, "error": None, "version": "v000002"}


def test_a_review_that_came_while_the_job_ran_stays_and_the_job_says_so(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def tell(launcher: Any) -> str:
        desk.parts.store.review("north-gate-0002", "real", "", Action("ben", "review"))
        told.append("worker")
        return ""

    monkeypatch.setattr(Launcher, "tell_worker", tell)
    done = finished(desk, desk.send("POST", f"{ALERT}/normal", {"dry_run": False})["job"])
    assert (done["state"], done["result"]["worker_told"]) == ("done", True)
    assert "ben has called it real meanwhile" in done["result"]["review_problem"]
    assert desk.get(ALERT)["review"] == "real"


def test_where_the_review_cannot_be_stored_the_worker_is_told_all_the_same(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise ConsoleStoreError("the disk is full")

    monkeypatch.setattr(Launcher, "tell_worker", lambda launcher: "")
    monkeypatch.setattr(Store, "review", full)
    done = finished(desk, desk.send("POST", f"{ALERT}/normal", {"dry_run": False})["job"])
    assert done["state"] == "done", "the gallery is changed"
    assert (done["result"]["worker_told"], done["result"]["review_problem"]) == (True, "the disk is full")


def test_a_job_of_before_a_restart_is_said_to_have_ended(desk: Desk) -> None:
    answer = desk.browser.get("/api/v1/jobs/0123456789ab")
    assert (answer.status_code, answer.json()["detail"]) == (
        404,
        "the console was started again; what ran then has ended",
    )


def test_a_dry_run_marks_nothing(desk: Desk) -> None:
    finished(desk, desk.send("POST", f"{ALERT}/normal", {"dry_run": True})["job"])
    assert desk.get(ALERT)["review"] == "open"


def words_of(desk: Desk, requests: Sequence[tuple[str, dict[str, Any]]]) -> list[tuple[str, ...]]:
    """The command lines of the jobs that these requests start, up to what all of them have."""
    started: list[tuple[str, ...]] = []
    run = type(desk.parts.jobs).start

    def noted(jobs: Any, task: Any, **options: Any) -> Any:
        started.append(task.argv[len(PROGRAM) :])
        return run(jobs, task, **options)

    type(desk.parts.jobs).start = noted  # type: ignore[method-assign]
    try:
        for path, body in requests:
            finished(desk, desk.send("POST", path, body)["job"])
    finally:
        type(desk.parts.jobs).start = run  # type: ignore[method-assign]
    return [argv[: argv.index("--progress")] for argv in started]


ORIGIN = ("--base", "/", "--named", "site.yaml")


def test_jobs_are_started_with_the_words_of_the_command_line(desk: Desk) -> None:
    requests = [
        ("/api/v1/cameras/north-gate/enroll", {"seconds": 600}),
        (f"{ALERT}/normal", {"regions": [1, 3], "seen": 5, "dry_run": True}),
        ("/api/v1/galleries/north-gate/use", {"version": "v000001"}),
        ("/api/v1/galleries/north-gate/follow", {"dry_run": True}),
    ]
    assert words_of(desk, requests) == [
        ("enroll", "site.yaml", "--camera", "north-gate", "--seconds", "600", *ORIGIN),
        (
            *("gallery", "normal", "site.yaml", "north-gate-0002"),
            *("--region", "1", "--region", "3", "--seen", "5", "--dry-run", *ORIGIN),
        ),
        ("gallery", "use", str(desk.config.gallery_of("north-gate")), "v000001"),
        ("gallery", "follow", "site.yaml", "--scene", "north-gate", "--dry-run", *ORIGIN),
    ]
    assert [action for action, _ in desk.actions()] == ["follow", "use", "normal", "enroll"]


def test_of_a_camera_with_several_scenes_the_scene_is_always_named(tmp_path: Path) -> None:
    scenes = [{"scene": "day"}, {"scene": "night"}]
    gate = CameraSection.model_validate({"id": "gate", "source": "rtsp://192.0.2.1/gate", "scenes": scenes})
    config = a_config(tmp_path).model_copy(update={"cameras": [gate]})
    write_status(config, now=time.time())
    with built(config, program=("true",)) as parts:
        path = "/api/v1/cameras/gate/enroll"
        words = words_of(Desk(config, parts), [(path, {"seconds": 60}), (path, {"seconds": 60, "scene": "night"})])

    assert [line[line.index("--scene") + 1] for line in words] == ["day", "night"]


def test_what_somebody_called_real_is_named_to_what_scores_the_history_again(desk: Desk) -> None:
    desk.send("POST", f"{ALERT}/review", {"verdict": "real", "note": ""})

    [words] = words_of(desk, [(f"{ALERT}/normal", {"regions": None, "dry_run": True})])

    expected = ("gallery", "normal", "site.yaml", "north-gate-0002", "--dry-run", "--real", "north-gate-0002", *ORIGIN)
    assert words == expected


def test_a_scene_without_a_gallery_has_no_versions(desk: Desk) -> None:
    assert desk.get("/api/v1/galleries/north-gate") == {"scene": "north-gate", "in_force": None, "versions": []}
    assert desk.browser.get("/api/v1/galleries/nowhere").status_code == 404
    assert desk.get("/api/v1/galleries/north-gate/follow") == {"candidates": 0, "oldest": None, "newest": None}


def test_candidates_are_counted_by_their_files(desk: Desk) -> None:
    folder = desk.config.state / "drift" / "north-gate"
    folder.mkdir(parents=True)
    (folder / "a.npz").write_bytes(b"x")
    assert desk.get("/api/v1/galleries/north-gate/follow")["candidates"] == 1


def test_a_job_that_is_none_is_not_there(desk: Desk) -> None:
    assert desk.get("/api/v1/jobs") == {"jobs": []}
    assert desk.browser.get("/api/v1/jobs/abc").status_code == 404
    desk.send("POST", "/api/v1/jobs/abc/cancel", None, code=404)


# -- monitors --------------------------------------------------------------------------------------------------------


def test_health_and_metrics_are_for_this_machine(desk: Desk) -> None:
    assert desk.stranger.get("/healthz").status_code == 200
    assert desk.stranger.get("/readyz").status_code == 503, "some cameras are blind"
    assert "spade" in desk.stranger.get("/metrics").text
    app = desk.stranger.app
    assert TestClient(app, base_url=HOST, client=("192.0.2.9", 1)).get("/metrics").status_code == 401
    assert desk.stranger.get("/metrics", headers={"X-Forwarded-For": "192.0.2.9"}).status_code == 401


def test_the_token_of_the_metrics_is_not_tried_as_that_of_the_console(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("nobody asks who that is")

    monkeypatch.setattr(Gate, "by_bearer", never)
    for path in ("/healthz", "/readyz", "/metrics"):
        assert desk.stranger.get(path, headers={"Authorization": f"Bearer {'m' * 40}"}).status_code != 401


def test_metrics_may_have_a_token_of_their_own(tmp_path: Path) -> None:
    secret = tmp_path / "metrics"
    secret.write_text("m" * 40)
    secret.chmod(0o600)
    config = a_config(tmp_path, metrics_token=str(secret))
    write_status(config, now=time.time())
    with built(config) as parts:
        client = TestClient(
            make_app(parts, routes=monitor_routes(config, parts)), base_url=HOST, client=("127.0.0.1", 1)
        )
        assert client.get("/metrics").status_code == 401
        assert client.get("/metrics", headers={"Authorization": f"Bearer {'m' * 40}"}).status_code == 200
        assert client.get("/api/v1/me", headers={"Authorization": f"Bearer {'m' * 40}"}).status_code == 401


def test_the_api_describes_itself_to_who_is_logged_in(desk: Desk) -> None:
    described = desk.get("/api/v1/openapi.json")
    assert "/api/v1/alerts/{alert_id}/review" in described["paths"]
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert desk.browser.get(path).status_code == 404
