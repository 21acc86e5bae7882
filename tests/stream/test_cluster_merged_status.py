"""A cluster's document told as one worker's status: nothing that is wrong there may look well here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cluster_fakes import World

from stream.cluster.merged_status import merged_status, missing_in_words
from stream.cluster.model import OutboxPlace, OutboxState
from stream.console.metrics import metrics_text
from stream.health import CameraHealth
from stream.latency import SECONDS, Histogram

SCENES = {"gate": "yard"}


def document(**parts: Any) -> dict[str, Any]:
    return {"written": 1000.0, "name": "campus", **parts}


def status(problems: tuple[str, ...] = (), **parts: Any) -> dict[str, Any]:
    return merged_status(document(**parts), scenes=SCENES, problems=problems)


def worker(**parts: Any) -> dict[str, Any]:
    told = status(**parts)["worker"]
    assert isinstance(told, dict)
    return told


def a_worker(state: str = "RUNNING", name: str = "node-a:0", **own: Any) -> dict[str, Any]:
    return {"name": name, "node": "node-a", "state": state, "reason": "", "since": 0.0, "status": own}


def test_a_cluster_in_which_all_is_well_is_running() -> None:
    told = worker(nodes=[{"name": "node-a", "state": "RUNNING"}], workers=[a_worker()])
    assert (told["state"], told["reason"]) == ("RUNNING", "")


def test_it_is_as_old_as_the_document_so_that_a_control_that_hangs_shows() -> None:
    assert status()["written"] == 1000.0


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"problems": ["no worker has room for gate"]}, "no worker has room for gate"),
        (
            {"nodes": [{"name": "node-a", "state": "GONE", "since": 60.0}]},
            "node node-a is GONE since 1970-01-01T00:01:00.000Z",
        ),
        ({"nodes": [{"id": "3f9a2c", "name": "", "state": "GONE"}]}, "node 3f9a2c is GONE"),  # it never told its name
        ({"workers": [a_worker("SILENT")]}, "worker node-a:0 is SILENT"),
        (
            {"workers": [{**a_worker("DEGRADED"), "reason": "its disk is full"}]},
            "worker node-a:0 is DEGRADED: its disk is",
        ),
        (
            {"outboxes": [OutboxPlace("ab12", "node-a", OutboxState.MISSING, 60.0, 7).to_json()]},
            "outbox ab12 of node-a is missing since 1970-01-01T00:01:00.000Z",
        ),
    ],
)
def test_what_is_wrong_makes_it_degraded_and_is_named(parts: dict[str, Any], reason: str) -> None:
    told = worker(**parts)
    assert told["state"] == "DEGRADED"
    assert reason in told["reason"]


def test_what_the_collector_says_makes_it_degraded_too() -> None:
    told = worker(problems=("the outbox is full",))
    assert (told["state"], told["reason"]) == ("DEGRADED", "the outbox is full")


def test_what_the_control_says_of_a_node_is_not_said_twice() -> None:
    told = worker(
        problems=("node node-a (10.0.0.7) is gone since noon",),
        nodes=[{"name": "node-a", "state": "GONE", "since": 1.0}],
    )
    assert told["reason"] == "node node-a (10.0.0.7) is gone since noon"


def test_a_worker_is_not_passed_over_because_another_one_s_name_begins_alike() -> None:
    told = worker(problems=("worker a:10 is GONE",), workers=[a_worker("GONE", name="a:1")])
    assert "worker a:1 is GONE" in told["reason"].split("; ")[1]


@pytest.mark.parametrize(
    ("taken", "words"),
    [
        (4, "its alerts 5 to 7 or more come"),
        (7, "what follows alert 7 comes when its disk is back"),
        (None, "its alerts up to 7, as far as they were not collected before, come"),
    ],
)
def test_of_a_missing_outbox_it_says_what_waits_there(taken: int | None, words: str) -> None:
    assert words in missing_in_words(OutboxPlace("ab12", "node-a", OutboxState.MISSING, 60.0, 7), taken)


def test_a_camera_that_no_worker_has_told_of_is_whole_and_not_scored() -> None:
    said = {"worker": "", "state": "NOT_SCORED", "reason": "no worker answers", "since": 60.0}
    camera = status(cameras={"gate": said})["cameras"]["gate"]
    assert (camera["state"], camera["reason"]) == ("NOT_SCORED", "no worker answers")
    assert (camera["since"], camera["scene"]) == ("1970-01-01T00:01:00.000Z", "yard")
    assert set(camera) >= set(CameraHealth("yard").to_json())


def test_what_a_worker_says_of_a_camera_is_kept() -> None:
    own = {**CameraHealth("night").to_json(), "state": "LIVE", "reason": "frames arrive", "scored": 7}
    camera = status(cameras={"gate": {**own, "worker": "node-a:0"}})["cameras"]["gate"]
    assert (camera["scored"], camera["scene"], camera["worker"]) == (7, "night", "node-a:0")


def test_counts_of_all_workers_are_added_up() -> None:
    first, second = Histogram(SECONDS), Histogram(SECONDS)
    first.add(0.004)
    second.add(0.004)
    second.add(60.0)
    told = worker(
        workers=[
            a_worker(pending_messages=2, clips={"made": 1}, latency={"score": first.to_json()}, started=20.0),
            a_worker(
                name="node-b:0",
                pending_messages=3,
                clips={"made": 2, "failed": 1},
                latency={"score": second.to_json()},
                started=10.0,
                scene_failures={"yard": "damaged"},
            ),
        ]
    )
    assert (told["pending_messages"], told["clips"], told["started"]) == (5, {"made": 3, "failed": 1}, 10.0)
    score = told["latency"]["score"]
    assert (score["counts"][0], score["counts"][-1], score["count"]) == (2, 1, 3)
    assert told["scene_failures"] == {"yard": "damaged"}


def test_operators_settings_are_in_force_when_all_workers_have_taken_them() -> None:
    workers = [a_worker(operator_revision=7), a_worker(name="node-b:0", operator_revision=6)]
    assert worker(workers=workers)["operator_revision"] == 6


def test_a_monitor_can_read_it() -> None:
    text = metrics_text(
        status(workers=[a_worker()], cameras={"gate": {"state": "LIVE", "reason": "", "since": 1.0}}), None
    )
    assert b'spade_camera_watched{camera="gate"} 1.0' in text


@pytest.mark.parametrize(
    "damage",
    [
        {"written": "yesterday"},
        {"cameras": {"gate": {"state": "ASLEEP", "reason": "", "since": 1.0}}},
        {"cameras": []},
        {"workers": [7]},
        {"outboxes": [{"id": "ab12"}]},
    ],
)
def test_a_document_that_is_not_well_formed_is_refused(damage: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not well formed"):
        status(**damage)


def test_what_a_real_control_says_of_a_node_that_dies_is_a_status_in_which_no_camera_is_silent(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.fleet.add("a")
    world.fleet.add("b")
    world.run(10)
    before = merged_status(world.control.document(), scenes=SCENES)
    assert (before["worker"]["state"], before["worker"]["reason"]) == ("RUNNING", "")
    world.fleet.kill("a")
    world.fleet.kill("b")
    world.run(10)
    after = merged_status(json.loads(json.dumps(world.control.document())), scenes=SCENES)
    assert after["worker"]["state"] == "DEGRADED"
    assert {camera["state"] for camera in after["cameras"].values()} == {"NOT_SCORED"}
    assert len(after["cameras"]) == 4
    reason = after["worker"]["reason"]
    assert "outbox" in reason
    assert "missing" in reason
    for camera in after["cameras"].values():
        assert camera["reason"]
