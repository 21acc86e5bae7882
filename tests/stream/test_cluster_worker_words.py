"""What a worker of a cluster says of itself: never that all is well where one of its processes does not speak."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from stream.cluster.model import StationState, WorkerOrders
from stream.cluster.worker_words import damaged, misses_its_gpu, own_status, ready, state_of
from stream.health import write_status

RUNNING = {"state": "running", "pid": 7, "last_exit": None}
DEAD = {"state": "waiting", "pid": None, "last_exit": "signal 9"}


def status(state: str = "RUNNING", reason: str = "", **worker: Any) -> dict[str, Any]:
    return {"worker": {"state": state, "reason": reason, **worker}, "cameras": {}}


def of(said: Any, *, worker: Any = None, feed: Any = None, leaving: bool = False, problems: Any = ()) -> Any:
    processes = {"worker": worker or RUNNING, "feed": feed or RUNNING}
    return state_of(said, processes, leaving=leaving, problems=problems)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (of(status()), (StationState.RUNNING, "")),
        (of(status("DEGRADED", "the disk is full")), (StationState.DEGRADED, "the disk is full")),
        (of(status(), problems=["a key is damaged"]), (StationState.DEGRADED, "a key is damaged")),
        (of(None), (StationState.STARTING, "the worker loads its network")),
        (
            of(status("NOT_ANSWERING", "its last status is 20 s old")),
            (StationState.STARTING, "its last status is 20 s old"),
        ),
        (of(status(), leaving=True), (StationState.LEAVING, "its last frames are scored and committed")),
        (of(None, worker={"pid": None}, leaving=True), (StationState.LEAVING, "")),
    ],
)
def test_its_state_and_why(found: Any, expected: Any) -> None:
    assert found == expected


def test_a_worker_that_died_is_starting_and_says_what_it_died_of() -> None:
    state, reason = of(None, worker=DEAD)

    assert state is StationState.STARTING
    assert "signal 9" in reason


def test_without_its_feed_nobody_gets_its_alerts() -> None:
    state, reason = of(status(), feed=DEAD)

    assert state is StationState.DEGRADED
    assert reason.startswith("its feed is waiting")


def test_what_an_earlier_process_said_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    write_status(path, {"written": time.time(), "worker": {"state": "RUNNING", "pid": 7}, "cameras": {}})

    found = own_status(path, RUNNING)
    assert found is not None
    assert found["worker"]["pid"] == 7
    assert own_status(path, {**RUNNING, "pid": 8}) is None
    assert own_status(path, DEAD) is None
    assert own_status(path, None) is None
    assert own_status(tmp_path / "none.json", RUNNING) is None


def test_it_is_ready_only_for_cameras_that_are_still_its_own() -> None:
    said = status(assigned={"generation": 3, "ready": ["gate", "roof"]})

    assert ready(said, WorkerOrders(4, cameras=("gate", "yard"))) == ("gate",)
    assert ready(status(), WorkerOrders(4, cameras=("gate",))) == ()
    assert ready(None, WorkerOrders(4, cameras=("gate",))) == ()


@pytest.mark.parametrize(("device", "misses"), [("cuda:0", False), ("cpu", True), ("", False)])
def test_a_worker_with_a_gpu_that_computes_elsewhere_says_so(device: str, misses: bool) -> None:
    assert bool(misses_its_gpu(status(device=device))) is misses


def test_damaged_galleries_are_named() -> None:
    assert damaged(status(damaged_scenes=["day"])) == ("day",)
    assert damaged(None) == ()
