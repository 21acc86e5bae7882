"""``bench cluster --assignment``: a small cluster that is reckoned with, and what its rows say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stream.bench import cluster_hall
from stream.bench.cluster_assignment import AssignmentOptions, run_assignment
from stream.bench.cluster_hall import Hall, Node, mixed_nodes
from stream.bench.result import BenchResult, Row
from stream.cli import main
from stream.cluster.assignment import CameraLoad, WorkerLoad
from stream.cluster_section import ClusterSection
from stream.errors import StreamError, UsageError

SECTION = ClusterSection()
OPTIONS = AssignmentOptions(cameras=40, nodes=5, seed=7)


def on() -> bool:
    return False


def node(name: str) -> Node:
    return Node([WorkerLoad(f"{name}:0", name, 0.01, 1.0)])


def hall(cameras: int, nodes: int) -> Hall:
    """Cameras of 10 frames/s on workers of 100; nobody is alive yet."""
    known = {f"c{number}": CameraLoad(f"c{number}", (f"c{number}",), 10.0) for number in range(cameras)}
    return Hall(SECTION, known, {name: node(name) for name in [f"n{number}" for number in range(nodes)]}, clock=float)


@pytest.fixture(scope="module")
def result() -> BenchResult:
    return run_assignment(OPTIONS, stopping=on)


def rows(result: BenchResult) -> dict[str, Row]:
    return {row.name: row for row in result.rows}


def test_cameras_without_a_worker_wait_for_one() -> None:
    assert hall(4, 2).homeless == 4


def test_a_start_gives_everybody_a_worker_and_its_gallery() -> None:
    small = hall(4, 2)
    small.alive.update(small.nodes)
    found = small.settle(stopping=on)

    assert (small.homeless, found.rests, found.moves) == (0, True, 4)
    assert small.loads == pytest.approx({"n0:0": 0.2, "n1:0": 0.2})
    assert small.nodes["n0"].cached == small.nodes["n1"].cached == set(small.cameras)


def test_a_dead_nodes_cameras_are_scored_at_once_where_the_copies_are() -> None:
    small = hall(4, 2)
    small.alive.update(small.nodes)
    small.settle(stopping=on)
    small.alive.discard("n0")
    assert small.homeless == 2
    found = small.settle(stopping=on)

    assert (small.homeless, found.moves) == (0, 2)
    assert found.scored * cluster_hall.ROUND <= cluster_hall.OPEN
    assert small.loads == pytest.approx({"n1:0": 0.4})


def test_a_node_that_joins_takes_over_a_few_cameras_at_a_time_while_the_others_score_them() -> None:
    small = hall(12, 2)
    small.alive.add("n0")
    small.settle(stopping=on)
    small.alive.add("n1")
    found = small.settle(stopping=on)

    assert (found.moves, found.placed, found.scored, found.at_once) == (6, 0, 0, SECTION.moves)
    assert small.loads == pytest.approx({"n0:0": 0.6, "n1:0": 0.6})


def test_a_node_fetches_one_gallery_after_the_other() -> None:
    lone = node("n")
    lone.fetch(["a", "b"], 0.0)
    lone.fetch(["a", "b"], cluster_hall.FETCH - 0.1)
    assert (lone.cached, lone.idle) == (set(), False)
    lone.fetch(["a", "b"], cluster_hall.FETCH)
    assert (lone.cached, lone.idle) == ({"a"}, False)
    lone.fetch(["a", "b"], 2 * cluster_hall.FETCH)
    assert (lone.cached, lone.idle) == ({"a", "b"}, True)


def test_nodes_are_of_several_kinds() -> None:
    made = mixed_nodes(10, SECTION)
    gpus = [name for name, each in made.items() if each.workers[0].lanes == 1]

    assert len(made) == 10
    assert [len(made[name].workers) for name in gpus] == [2, 1, 1]
    assert sum(len(each.workers) for each in made.values()) == 4 + 4 * 2 + 3 * 4


def test_everything_that_happens_has_its_row_and_ends_at_rest(result: BenchResult) -> None:
    assert len(rows(result)) == len(result.rows) == 9
    assert all("rest" not in row.note for row in result.rows)
    for row in result.rows:
        assert (row.figures["moves"] or 0) >= (row.figures["homeless"] or 0)
        assert (row.figures["at_once"] or 0) <= SECTION.moves


def test_who_dies_leaves_cameras_behind_and_who_joins_does_not(result: BenchResult) -> None:
    found = rows(result)

    assert found["40 cameras, 5 nodes start"].figures["homeless"] == 40
    assert (found["3 nodes die at once"].figures["homeless"] or 0) > 0
    assert [found[name].figures["homeless"] for name in ("it comes back", "1 new nodes join")] == [0, 0]


def test_the_same_seed_gives_the_same_moves(result: BenchResult) -> None:
    again = run_assignment(OPTIONS, stopping=on)

    for row, other in zip(result.rows, again.rows, strict=True):
        assert {**row.figures, "plan_ms": 0} == {**other.figures, "plan_ms": 0}


def test_a_cluster_that_does_not_come_to_rest_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_hall, "MOST_ROUNDS", 1)
    found = run_assignment(OPTIONS, stopping=on)

    assert found.rows[0].note == "does not come to rest"


def test_too_few_nodes_are_refused() -> None:
    with pytest.raises(UsageError, match="--nodes 4: must be 5 or more"):
        run_assignment(AssignmentOptions(10, 4, 7), stopping=on)


def test_it_can_be_stopped() -> None:
    with pytest.raises(StreamError, match="stopped"):
        run_assignment(OPTIONS, stopping=lambda: True)


def test_the_command_prints_the_table_and_writes_the_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "cluster", "--assignment", "--cameras", "20", "--nodes", "5", "--json", str(tmp_path / "a.json")]

    assert main(words) == 0
    assert "20 cameras, 5 nodes start" in capsys.readouterr().out
    assert json.loads((tmp_path / "a.json").read_text())["kind"] == "cluster-assignment"
