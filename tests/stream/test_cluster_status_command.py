"""``cluster status``: what is not well is said, and decides the exit code."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from stream.cluster import status_command
from stream.cluster.ray_control import FOLLOWED_WITHIN
from stream.cluster.status_command import RUN_SILENT, add_cluster, bar, cluster_status, lines, trouble
from stream.errors import LinkLost, UsageError
from stream.stopping import StopSignal

WELL: dict[str, Any] = {
    "name": "campus",
    "nodes": [
        {
            "id": "a" * 40,
            "name": "vm-1",
            "address": "10.0.0.1",
            "state": "RUNNING",
            "cpus": 8.0,
            "gpus": 1.0,
            "labels": {"spade-network": "north", "ray.io/node-id": "a"},
        }
    ],
    "workers": [
        {
            "name": "vm-1:0",
            "node": "vm-1",
            "state": "RUNNING",
            "reason": "",
            "cameras": ["gate", "yard"],
            "load": 0.5,
            "capacity": 200.0,
            "cached": ["gate", "yard"],
            "fetching": {},
        }
    ],
    "readers": [
        {"name": "vm-1:readers", "node": "vm-1", "state": "RUNNING", "reason": "", "cameras": ["gate", "yard"]}
    ],
    "outboxes": [{"id": "0b", "node": "vm-1", "state": "live", "since": 0.0, "last_seq": 3}],
    "cameras": {"gate": {"state": "LIVE", "reason": ""}, "yard": {"state": "ENDED", "reason": "its end"}},
    "moves": {"waiting": 0, "moving": [], "done": 2},
    "problems": [],
}


def changed(**parts: Any) -> dict[str, Any]:
    return {**WELL, **parts}


def test_a_cluster_that_is_well_has_no_trouble() -> None:
    assert trouble(WELL) == []


def test_a_camera_that_is_not_watched_is_trouble_with_its_reason() -> None:
    document = changed(cameras={"gate": {"state": "NOT_SCORED", "reason": "no worker"}})

    assert trouble(document) == ["camera gate is NOT_SCORED: no worker"]


def test_a_missing_outbox_is_trouble_with_its_node_and_time() -> None:
    document = changed(outboxes=[{"id": "0b", "node": "vm-1", "state": "missing", "since": 0.0, "last_seq": 3}])

    assert trouble(document) == ["outbox 0b of vm-1 is missing since 1970-01-01T00:00:00.000Z"]


@pytest.mark.parametrize("state", ["GONE", "SILENT", "DEGRADED", "LEAVING"])
def test_a_worker_that_does_not_work_is_trouble(state: str) -> None:
    document = changed(workers=[{**WELL["workers"][0], "state": state, "reason": "why"}])

    assert trouble(document) == [f"worker vm-1:0 is {state}: why"]


def test_problems_of_the_control_come_first() -> None:
    document = changed(problems=["overload"], cameras={"gate": {"state": "OFFLINE"}})

    assert trouble(document) == ["overload", "camera gate is OFFLINE"]


def test_people_see_nodes_workers_and_loads() -> None:
    text = "\n".join(lines(WELL))

    assert "cluster campus: 2 of 2 cameras watched" in text
    assert "spade-network=north" in text
    assert "ray.io" not in text
    assert "#####.....  50 %" in text
    assert "outboxes: 1 of 1 live" in text
    assert "!" not in text


def test_people_see_what_is_on_the_move() -> None:
    document = changed(moves={"waiting": 1, "moving": [{"camera": "gate"}], "done": 0})

    assert "1 on the move, 1 waiting" in next(iter(lines(document)))


@pytest.mark.parametrize(
    ("load", "shown"), [(0.0, ".........."), (0.26, "###......."), (1.0, "##########"), (3.0, "##########")]
)
def test_a_load_is_a_bar_that_ends_when_it_is_full(load: float, shown: str) -> None:
    assert bar(load) == shown


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_cluster(parser.add_subparsers())
    return parser.parse_args(["cluster", *words])


def reached(monkeypatch: pytest.MonkeyPatch, document: Callable[[], dict[str, Any]]) -> None:
    monkeypatch.setattr(status_command, "connected", lambda address: nullcontext())
    monkeypatch.setattr(status_command, "document_of", lambda ray, cluster: document())
    monkeypatch.setattr(StopSignal, "install", lambda self: None)


@pytest.mark.parametrize(("document", "code"), [(WELL, 0), (changed(problems=["overload"]), 1)])
def test_the_exit_code_says_whether_all_is_well(
    document: dict[str, Any], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reached(monkeypatch, lambda: document)

    assert cluster_status(parsed("status", "auto", "--json"), StopSignal()) == code
    assert json.loads(capsys.readouterr().out) == document


def test_a_directory_is_asked_with_a_key_and_not_without() -> None:
    with pytest.raises(UsageError, match="--key"):
        cluster_status(parsed("status", "tcp://10.0.0.1:8480"), StopSignal())


@pytest.mark.parametrize("words", [("forget", "0b", "tcp://h:1"), ("stop", "tcp://h:1")])
def test_what_changes_a_cluster_needs_ray(words: tuple[str, ...]) -> None:
    arguments = parsed(*words)

    with pytest.raises(UsageError, match="needs Ray's address"):
        arguments.run(arguments, StopSignal())


def test_a_watch_goes_on_while_the_control_is_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looks, stop = [0], StopSignal()

    def document() -> dict[str, Any]:
        looks[0] += 1
        if looks[0] == 1:
            raise LinkLost("the control has not answered for 10 s")
        stop.ask()
        return WELL

    reached(monkeypatch, document)
    monkeypatch.setattr(status_command, "WATCH_EVERY", 0.0)

    assert cluster_status(parsed("status", "auto", "--watch"), stop) == 0
    shown = capsys.readouterr().out
    assert "! the control has not answered for 10 s" in shown
    assert "2 of 2 cameras watched" in shown


def test_a_cluster_whose_control_is_dead_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> dict[str, Any]:
        raise LinkLost("the control does not answer (ActorDiedError)")

    reached(monkeypatch, nobody)

    with pytest.raises(LinkLost, match="ActorDiedError") as lost:
        cluster_status(parsed("status"), StopSignal())
    assert lost.value.exit_code == 1


def test_what_a_camera_says_does_nothing_to_the_terminal() -> None:
    document = changed(cameras={"gate": {"state": "OFFLINE", "reason": "no\x1b[2J\rroute"}})

    assert "! camera gate is OFFLINE: no [2J route" in list(lines(document))


@pytest.mark.parametrize(("followed", "left"), [(True, False), (False, True)])
def test_a_cluster_is_stopped_only_where_no_run_would_start_it_again(
    followed: bool, left: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []
    told = json.dumps({"followed": followed, "drained": True})
    reached(monkeypatch, lambda: WELL)
    monkeypatch.setattr(status_command, "RUN_SILENT", 0.0)
    monkeypatch.setattr(status_command, "control_of", lambda ray, name: SimpleNamespace())
    monkeypatch.setattr(status_command, "ask", lambda ray, control, method: told)

    def kill_all(ray: object, name: str) -> list[str]:
        ended.append(name)
        return ended

    monkeypatch.setattr(status_command, "kill_all", kill_all)
    arguments = parsed("stop")

    if left:
        assert arguments.run(arguments, StopSignal()) == 0
    else:
        with pytest.raises(UsageError, match="a run has the cluster 'spade-stream'"):
            arguments.run(arguments, StopSignal())
    assert ended == (["spade-stream"] if left else [])


def test_a_run_that_lives_is_never_taken_for_a_dead_one() -> None:
    assert FOLLOWED_WITHIN < RUN_SILENT
