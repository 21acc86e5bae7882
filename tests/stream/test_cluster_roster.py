"""Which stations a cluster is to have, and which nodes it has had."""

from __future__ import annotations

from pathlib import Path

import pytest
from cluster_fakes import World

from stream.cluster.fleet import Node
from stream.cluster.roster import GONE_SHOWN, reads_on, workers_on


@pytest.mark.parametrize(
    ("cpus", "gpus", "labels", "expected"),
    [
        (3, 0, {}, 0),
        (4, 0, {}, 1),
        (11, 0, {}, 2),
        (64, 2, {}, 2),  # the cores of a node with GPUs are for decoding
        (64, 0.5, {}, 16),
        (64, 2, {"spade-role": "readers"}, 0),
    ],
)
def test_how_many_workers_a_node_has(
    tmp_path: Path, cpus: float, gpus: float, labels: dict[str, str], expected: int
) -> None:
    config = World(tmp_path, 1).config

    assert workers_on(Node("id", "10.0.0.2", True, cpus, gpus, labels), config) == expected


def test_without_gpus_in_the_configuration_workers_go_by_cores(tmp_path: Path) -> None:
    config = World(tmp_path, 1, gpus=False).config

    assert workers_on(Node("id", "10.0.0.2", True, 8, 2, {}), config) == 2


def test_a_node_reads_where_some_camera_may_be_read() -> None:
    plain, plant = Node("1", "", True, 4, 0, {}), Node("2", "", True, 4, 0, {"spade-network": "plant"})

    assert [reads_on(plain, {"plant"}), reads_on(plant, {"plant"}), reads_on(plain, {"plant", None})] == [
        False,
        True,
        True,
    ]


def test_a_node_that_left_an_outbox_behind_is_listed_until_that_is_forgotten(tmp_path: Path) -> None:
    world = World(tmp_path, 1)
    world.fleet.add("a")
    world.fleet.add("b")
    world.run(5)
    world.fleet.kill("a")
    world.run(8)
    world.time.now += GONE_SHOWN
    world.run(1)
    assert [node["name"] for node in world.control.document()["nodes"]] == ["b", "a"]

    world.control.forget("outbox-a:0")
    world.run(1)
    assert [node["name"] for node in world.control.document()["nodes"]] == ["b"]


def test_two_nodes_that_share_a_folder_are_a_problem_and_one_of_them_works(tmp_path: Path) -> None:
    world = World(tmp_path, 1)
    world.fleet.add("a")
    world.fleet.add("a", life=2)
    world.run(5)

    assert "two stations are called a:0: no two nodes may share a folder" in world.problems()
    assert world.places() == {"cam0": "a:0"}


def test_a_node_without_stations_leaves_nothing_behind(tmp_path: Path) -> None:
    world = World(tmp_path, [{"id": "cam", "network": "plant"}])
    world.fleet.add("a")
    world.fleet.add("small", cpus=1)
    world.run(5)
    world.fleet.unlist("small")
    world.run(5)

    assert world.control._roster.since.keys() == {"id-a-1"}
