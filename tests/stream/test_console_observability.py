"""The routes for monitors: who may see the metrics, when the run is ready, and what is answered when all is broken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from monitoring_fakes import a_camera, a_status, an_outbox
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.testclient import TestClient

from stream.console.observability import not_ready, outbox_reading, routes
from stream.errors import LinkLost, OutboxError
from stream.messages import CameraState
from stream.outbox import Outbox


def anybody(request: Request) -> bool:
    return True


def with_token(request: Request) -> bool:
    return request.headers.get("authorization") == "Bearer secret"


def client(
    status: Mapping[str, Any] | Exception | None = None,
    outbox: Callable[[], Mapping[str, Any]] | None = an_outbox,
    allowed: Callable[[Request], bool] = anybody,
) -> TestClient:
    def read() -> Mapping[str, Any]:
        if isinstance(status, Exception):
            raise status
        return a_status() if status is None else status

    return TestClient(Starlette(routes=routes(status=read, outbox=outbox, metrics_allowed=allowed)))


def test_metrics_come_in_prometheus_text_format() -> None:
    answer = client().get("/metrics")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'spade_frames_scored_total{camera="gate"} 3.0' in answer.text
    assert 'spade_outbox_pending{subscriber="archive"} 5.0' in answer.text


def test_metrics_are_for_whoever_has_the_token() -> None:
    with_one = client(allowed=with_token)

    refused = with_one.get("/metrics")
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert "gate" not in refused.text
    assert with_one.get("/metrics", headers={"Authorization": "Bearer secret"}).status_code == 200


def test_metrics_are_read_anew_each_time() -> None:
    found = iter([an_outbox(), {**an_outbox(), "last_seq": 13}])
    metrics = client(outbox=lambda: next(found))

    assert "spade_outbox_last_seq 12.0" in metrics.get("/metrics").text
    assert "spade_outbox_last_seq 13.0" in metrics.get("/metrics").text


def test_an_outbox_that_cannot_be_read_does_not_hide_the_rest() -> None:
    def broken() -> Mapping[str, Any]:
        raise OutboxError("the disk is gone")

    text = client(outbox=broken).get("/metrics").text
    assert "spade_outbox_up 0.0" in text
    assert "spade_worker_up 1.0" in text
    assert "spade_outbox" not in client(outbox=None).get("/metrics").text


def test_this_process_is_healthy_whatever_the_others_do() -> None:
    answer = client(LinkLost("no feed answers")).get("/healthz")

    assert (answer.status_code, answer.text) == (200, "ok\n")


def test_a_run_that_watches_every_camera_is_ready() -> None:
    status = a_status(gate=a_camera(), clip=a_camera(CameraState.ENDED, "end of the source"))
    answer = client(status).get("/readyz")

    assert (answer.status_code, answer.json()) == (200, {"ready": True})


@pytest.mark.parametrize("state", sorted(set(CameraState) - {CameraState.LIVE, CameraState.ENDED}))
def test_a_camera_that_is_not_watched_is_named_with_the_reason(state: CameraState) -> None:
    answer = client(a_status(gate=a_camera(), back=a_camera(state, "why it is so"))).get("/readyz")

    assert answer.status_code == 503
    assert answer.json() == {
        "ready": False,
        "reasons": ["not watched: back"],
        "cameras": {"back": f"{state}: why it is so"},
    }


@pytest.mark.parametrize("state", ["NOT_ANSWERING", "NOT_RUNNING", "STOPPED", "FAILED"])
def test_without_a_worker_no_camera_is_watched(state: str) -> None:
    found = not_ready(a_status(worker=state, reason="it is old"))

    assert found["reasons"] == [f"the worker is {state}: it is old", "not watched: gate"]
    assert list(found["cameras"]) == ["gate"]


def test_a_worker_that_cannot_store_what_it_finds_is_not_ready() -> None:
    found = not_ready(a_status(worker="DEGRADED", reason="the disk is full"))

    assert found == {"reasons": ["the worker is DEGRADED: the disk is full"], "cameras": {}}


def test_processes_that_are_down_and_a_supervisor_that_hangs_are_named() -> None:
    status = a_status()
    status["supervisor"] = {"state": "NOT_ANSWERING", "reason": "its last report is 20 s old"}
    status["processes"]["feed"] = {"state": "waiting"}

    assert not_ready(status)["reasons"] == [
        "the supervisor is NOT_ANSWERING: its last report is 20 s old",
        "the process feed is waiting",
    ]


def test_a_status_that_cannot_be_asked_is_not_ready() -> None:
    broken = client(LinkLost("no feed answers"))

    answer = broken.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["reasons"] == ["the worker is NOT_ANSWERING: no feed answers"]
    assert "spade_worker_up 0.0" in broken.get("/metrics").text


def test_strangers_learn_whether_the_run_is_ready_and_not_which_cameras_there_are() -> None:
    answer = client(a_status(gate=a_camera(CameraState.OFFLINE)), allowed=with_token).get("/readyz")

    assert (answer.status_code, answer.json()) == (503, {"ready": False})


def test_nothing_of_it_is_cached() -> None:
    for path in ("/metrics", "/healthz", "/readyz"):
        assert client().get(path).headers["cache-control"] == "no-store"


def test_the_outbox_is_read_with_the_places_of_its_subscribers(tmp_path: Path) -> None:
    with Outbox(tmp_path / "outbox.sqlite", tmp_path / "evidence") as outbox:
        outbox.acknowledge("archive", 0)

    assert outbox_reading(tmp_path / "outbox.sqlite", tmp_path / "evidence")() == {
        "last_seq": 0,
        "alerts": 0,
        "bytes": 0,
        "subscribers": [{"name": "archive", "behind": 0}],
    }
