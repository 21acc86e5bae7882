"""Nodes and answers as Ray tells them, and what the control is to make of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from stream.cluster.fleet import Node
from stream.cluster.ray_fleet import RayAnswer, RayFleet, RayStation, as_node, kill_all
from stream.errors import StationLost, StreamError


class RayError(Exception):
    pass


class ActorUnavailableError(RayError):
    pass


class ActorDiedError(RayError):
    pass


class NodeDiedError(RayError):
    pass


class OutOfMemoryError(RayError):
    pass


class RayTaskError(RayError):
    cause = ValueError("port 8500 is taken\nby somebody")


KINDS = (RayError, ActorUnavailableError, ActorDiedError, NodeDiedError, OutOfMemoryError, RayTaskError)


class FakeRay:
    """Has one answer to everything."""

    exceptions = SimpleNamespace(**{kind.__name__: kind for kind in KINDS})

    def __init__(self, answer: object = "", *, nodes: list[dict[str, Any]] | None = None) -> None:
        self.answer, self.listed, self.asked = answer, nodes or [], 0
        self.killed: list[str] = []
        self.util = SimpleNamespace(list_named_actors=lambda: ["control:a", "worker:a:0:0", "worker:b:0:0"])

    def nodes(self) -> list[dict[str, Any]]:
        self.asked += 1
        return self.listed

    def wait(self, references: list[object], timeout: float) -> tuple[list[object], list[object]]:
        return (references, []) if self.answer is not None else ([], references)

    def get(self, reference: object, timeout: float) -> object:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def get_actor(self, name: str, namespace: str) -> str:
        return name

    def kill(self, actor: str, no_restart: bool) -> None:
        self.killed.append(actor)


TOLD = {
    "NodeID": "ab" * 28,
    "Alive": True,
    "NodeManagerAddress": "10.0.0.2",
    "Resources": {"CPU": 8.0, "GPU": 2.0, "memory": 1e9},
    "Labels": {"spade-network": "north"},
}


def test_a_node_has_what_placement_needs() -> None:
    assert as_node(TOLD) == Node("ab" * 28, "10.0.0.2", True, 8.0, 2.0, {"spade-network": "north"})


def test_a_dead_node_that_ray_still_lists_has_nothing() -> None:
    told = {"NodeID": "cd", "Alive": False, "NodeManagerAddress": "10.0.0.3", "Resources": {}}

    assert as_node(told) == Node("cd", "10.0.0.3", False, 0.0, 0.0, {})


def test_ray_is_asked_for_its_nodes_once_a_second() -> None:
    now = [10.0]
    ray = FakeRay(nodes=[TOLD])
    fleet = RayFleet(ray, "a", worker=object, readers=object, worker_cpus=4, gpus=True, clock=lambda: now[0])

    for at in (10.0, 10.5, 10.9, 11.1):
        now[0] = at
        assert [node.address for node in fleet.nodes()] == ["10.0.0.2"]

    assert ray.asked == 2


def test_a_ray_that_does_not_say_which_nodes_there_are_is_an_error_that_the_control_survives() -> None:
    ray = FakeRay()
    ray.nodes = _raise  # type: ignore[method-assign]
    fleet = RayFleet(ray, "a", worker=object, readers=object, worker_cpus=4, gpus=True)

    with pytest.raises(StreamError, match="Ray does not say which nodes there are"):
        fleet.nodes()


def _raise() -> NoReturn:
    raise ConnectionError("the head is away")


def test_an_answer_is_done_when_ray_has_it() -> None:
    assert not RayAnswer(FakeRay(None), "w", object()).done()
    assert RayAnswer(FakeRay("text"), "w", object()).done()
    assert RayAnswer(FakeRay("text"), "w", object()).result() == "text"


@pytest.mark.parametrize(
    ("failure", "dead", "words"),
    [
        (ActorUnavailableError(), False, "w cannot be reached"),
        (ActorDiedError(), True, "w is dead"),
        (NodeDiedError(), True, "w is dead"),
        (RayTaskError(), False, "w failed: port 8500 is taken$"),
        (RayError(), False, r"w does not answer \(RayError\)"),
    ],
)
def test_what_ray_raises_says_whether_the_station_is_gone(failure: Exception, dead: bool, words: str) -> None:
    with pytest.raises(StationLost, match=words) as lost:
        RayAnswer(FakeRay(failure), "w", object()).result()

    assert lost.value.dead is dead


def test_a_station_that_cannot_be_asked_is_lost_for_now() -> None:
    def refuses(*_: str) -> None:
        raise ActorUnavailableError

    actor = SimpleNamespace(ask=SimpleNamespace(remote=refuses))

    with pytest.raises(StationLost, match="cannot be asked") as lost:
        RayStation(FakeRay(), "w", actor).ask("report")
    assert not lost.value.dead


def test_only_actors_of_this_cluster_are_ended() -> None:
    ray = FakeRay()

    assert kill_all(ray, "a", but="control:a") == ["worker:a:0:0"]
    assert ray.killed == ["worker:a:0:0"]
