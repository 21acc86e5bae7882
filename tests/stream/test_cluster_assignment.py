"""Which worker scores which camera: rules with values that can be checked by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stream.cluster.assignment import (
    EVERY_FRAME,
    CameraLoad,
    Move,
    WorkerLoad,
    camera_load,
    plan_moves,
    prefetch,
    share,
    used,
)
from stream.config import build_config


def worker(name: str, *, cost: float = 0.01, lanes: float = 1.0, node: str = "", cached: str = "") -> WorkerLoad:
    """100 frames/s, unless it says something else."""
    return WorkerLoad(name, node or name, cost, lanes, frozenset(cached.split()))


def workers(*known: WorkerLoad) -> dict[str, WorkerLoad]:
    return {each.name: each for each in known}


def camera(name: str, fps: float = 10.0) -> CameraLoad:
    return CameraLoad(name, (name,), fps)


def cameras(*known: CameraLoad) -> dict[str, CameraLoad]:
    return {each.name: each for each in known}


def many(count: int, fps: float = 10.0) -> dict[str, CameraLoad]:
    return cameras(*(camera(f"c{number:02}", fps) for number in range(count)))


def plan(
    known: dict[str, CameraLoad],
    working: dict[str, WorkerLoad],
    placed: dict[str, str],
    *,
    moving: tuple[str, ...] = (),
    most: int = 100,
    fill: float = 0.8,
) -> list[Move]:
    return plan_moves(known, working, placed, moving=moving, most=most, fill=fill)


def after(moves: list[Move], placed: dict[str, str]) -> dict[str, str]:
    return {**placed, **{move.camera: move.target for move in moves}}


def configured(**values: Any) -> CameraLoad:
    data = {"cameras": [{"id": "gate", "source": "0", **values}]}
    return camera_load(build_config(data, where="site.yaml", base=Path("/site"), environment={}).cameras[0])


def test_a_share_is_the_part_of_a_workers_time_that_a_camera_takes() -> None:
    gpu, four_cores = worker("gpu", cost=0.005), worker("cpu", cost=0.05, lanes=4)

    assert [gpu.capacity, four_cores.capacity] == pytest.approx([200, 80])
    assert share(camera("gate", 10), gpu) == pytest.approx(0.05)
    assert share(camera("gate", 10), four_cores) == pytest.approx(0.125)


def test_what_a_worker_has_is_added_up_and_what_is_not_there_does_not_count() -> None:
    placed = {"c00": "a", "c01": "a", "c02": "gone", "removed": "a"}

    assert used(many(3), workers(worker("a"), worker("b")), placed) == pytest.approx({"a": 0.2, "b": 0.0})


def test_a_camera_of_the_configuration_asks_for_its_rate_and_all_its_scenes() -> None:
    day_and_night = [{"scene": "day", "hours": "06:00-20:00"}, {"scene": "night"}]

    assert configured(fps=2, scenes=day_and_night) == CameraLoad("gate", ("day", "night"), 2)


def test_a_camera_whose_every_frame_is_scored_counts_as_a_fast_one() -> None:
    assert configured(fps=None).fps == EVERY_FRAME
    assert configured(fps=None, folder_fps=60).fps == 60


def test_a_homeless_camera_goes_to_the_least_loaded_worker() -> None:
    placed = {"c00": "a", "c01": "a", "c02": "b"}

    assert plan(many(4), workers(worker("a"), worker("b")), placed) == [Move("c03", None, "b")]


def test_a_camera_whose_worker_is_gone_is_homeless() -> None:
    assert plan(many(1), workers(worker("a")), {"c00": "dead"}) == [Move("c00", None, "a")]


def test_a_worker_that_has_the_gallery_comes_first_as_long_as_it_stays_within_fill() -> None:
    known, placed = cameras(camera("x", 40), camera("gate", 20)), {"x": "a"}
    working = workers(worker("a", cached="gate"), worker("b"))

    assert plan(known, working, placed, most=1, fill=0.61) == [Move("gate", None, "a")]
    assert plan(known, working, placed, most=1, fill=0.59) == [Move("gate", None, "b")]


def test_every_scene_of_a_camera_must_be_there_for_that() -> None:
    known = {"x": camera("x", 40), "gate": CameraLoad("gate", ("day", "night"), 20)}
    half, whole = (workers(worker("a", cached=scenes), worker("b")) for scenes in ("day", "day night"))

    assert plan(known, half, {"x": "a"}, most=1) == [Move("gate", None, "b")]
    assert plan(known, whole, {"x": "a"}, most=1) == [Move("gate", None, "a")]


def test_everybody_is_placed_even_where_that_is_too_much() -> None:
    moves = plan(many(30), workers(worker("a"), worker("b")), {})
    placed = after(moves, {})

    assert len(placed) == 30
    assert used(many(30), workers(worker("a"), worker("b")), placed) == pytest.approx({"a": 1.5, "b": 1.5})


def test_without_a_worker_nothing_is_planned() -> None:
    assert plan(many(3), {}, {"c00": "dead"}) == []


def test_no_more_cameras_move_at_once_than_may() -> None:
    working, placed = workers(worker("a"), worker("b"), worker("c")), dict.fromkeys(many(9), "a")

    assert len(plan(many(9), working, placed, most=4)) == 4
    assert len(plan(many(9), working, {**placed, "c00": "b"}, moving=("c00",), most=4)) == 3
    assert plan(many(9), working, {**placed, "c00": "b"}, moving=("c00",), most=1) == []


def test_all_homeless_cameras_go_at_once_and_no_others_with_them() -> None:
    placed = {"c00": "a", "c01": "a", "c02": "a"}

    moves = plan(many(9), workers(worker("a"), worker("b")), placed, most=4)

    assert [(move.camera, move.source) for move in moves] == [(f"c0{number}", None) for number in range(3, 9)]


def test_homeless_cameras_do_not_wait_for_those_that_are_on_the_move() -> None:
    known, working, placed = many(4), workers(worker("a"), worker("b")), {"c00": "a", "c01": "a", "c02": "a"}

    assert plan(known, working, placed, moving=("c00", "c01"), most=1) == [Move("c03", None, "b")]


def test_a_moving_camera_whose_target_dies_is_moved_again() -> None:
    assert plan(many(1), workers(worker("a")), {"c00": "dead"}, moving=("c00",), most=1) == [Move("c00", None, "a")]


def test_homeless_cameras_come_before_even_loads_and_the_fastest_before_the_others() -> None:
    known = cameras(camera("a-slow", 1), camera("fast", 20), *(camera(f"x{number}") for number in range(4)))
    placed = {f"x{number}": "a" for number in range(4)}

    moves = plan(known, workers(worker("a"), worker("b")), placed, most=2)

    assert moves == [Move("fast", None, "b"), Move("a-slow", None, "b")]


def test_a_worker_that_joins_gets_its_part_and_nobody_else_moves() -> None:
    known, working = many(12), workers(worker("a"), worker("b"), worker("new"))
    placed = {name: "a" if index < 6 else "b" for index, name in enumerate(known)}

    moves = plan(known, working, placed)
    placed = after(moves, placed)

    assert {move.target for move in moves} == {"new"}
    assert used(known, working, placed) == pytest.approx({"a": 0.4, "b": 0.4, "new": 0.4})
    assert plan(known, working, placed) == []


def test_a_worker_twice_as_fast_gets_twice_as_much() -> None:
    known, working = many(12, 5.0), workers(worker("slow"), worker("fast", cost=0.005))

    load = used(known, working, after(plan(known, working, {}), {}))

    assert load == pytest.approx({"slow": 0.2, "fast": 0.2})


def test_a_single_camera_stays_where_it_is() -> None:
    assert plan(many(1), workers(worker("a"), worker("b")), {"c00": "a"}) == []


def test_a_camera_is_not_moved_for_less_than_half_its_share() -> None:
    # 3 x 10 against x: with 16 the larger load would fall by 4, less than half a share; with 15 by 5.
    working = workers(worker("a"), worker("b"))
    placed = {"c00": "a", "c01": "a", "c02": "a", "x": "b"}

    assert plan({**many(3), "x": camera("x", 16)}, working, placed) == []
    assert plan({**many(3), "x": camera("x", 14)}, working, placed) == [Move("c00", "a", "b")]


def test_a_camera_is_not_moved_for_a_gap_below_a_tenth() -> None:
    # 40 against 37 and 35 cameras of one size: 7.5 and 12.5 percent.
    known, working = many(77, 1.0), workers(worker("a"), worker("b"))
    names = list(known)
    near = {name: "a" if index < 40 else "b" for index, name in enumerate(names)}

    assert plan(known, working, near) == []
    assert plan(many(75, 1.0), working, {name: near[name] for name in names[:75]}) == [Move("c00", "a", "b")]


def test_a_worker_beyond_fill_is_relieved_for_a_smaller_gap() -> None:
    known, working = many(77, 1.0), workers(worker("a"), worker("b"))
    placed = {name: "a" if index < 40 else "b" for index, name in enumerate(known)}

    assert plan(known, working, placed, fill=0.39) == [Move("c00", "a", "b")]
    assert plan(known, working, placed, fill=0.37) == []  # the other one would be beyond it, too


def test_a_load_that_changes_by_a_little_moves_nothing() -> None:
    known, working = many(20), workers(worker("a", lanes=2), worker("b", lanes=2))
    placed = after(plan(known, working, {}), {})

    assert plan({**known, "c00": camera("c00", 15)}, working, placed) == []


def test_what_needs_no_copy_of_a_gallery_is_moved_first() -> None:
    placed = dict.fromkeys(many(4), "a")

    moves = plan(many(4), workers(worker("a"), worker("b", cached="c02 c03")), placed)

    assert moves == [Move("c02", "a", "b"), Move("c03", "a", "b")]


def test_cameras_on_the_move_are_left_alone() -> None:
    placed = dict.fromkeys(many(4), "a")

    moves = plan(many(4), workers(worker("a"), worker("b")), placed, moving=("c00", "c01"))

    assert moves == [Move("c02", "a", "b"), Move("c03", "a", "b")]


def test_a_spare_copy_lies_on_another_node_than_the_camera() -> None:
    working = workers(worker("a0", node="a"), worker("a1", node="a"), worker("b0", node="b"), worker("b1", node="b"))

    spare = prefetch(many(1), working, {"c00": "a1"}, copies=2)

    assert spare["a0"] == spare["a1"] == ()
    assert sorted(spare["b0"] + spare["b1"]) == ["c00"]


def test_nobody_keeps_spare_copies_where_one_is_enough_or_where_no_other_node_is() -> None:
    working = workers(worker("a"), worker("b"))

    assert prefetch(many(2), working, {"c00": "a", "c01": "b"}, copies=1) == {"a": (), "b": ()}
    assert prefetch(many(1), workers(worker("a")), {"c00": "a"}, copies=3) == {"a": ()}


def test_a_scene_that_two_nodes_use_has_its_copies() -> None:
    known = {name: CameraLoad(name, ("yard",), 1.0) for name in ("gate", "door")}
    spare = prefetch(known, workers(worker("a"), worker("b"), worker("c")), {"gate": "a", "door": "b"}, copies=2)

    assert spare == {"a": (), "b": (), "c": ()}


def test_the_copies_of_a_camera_without_a_worker_are_kept_all_the_same() -> None:
    spare = prefetch(many(1), workers(worker("a"), worker("b"), worker("c")), {}, copies=2)

    assert sorted(scene for scenes in spare.values() for scene in scenes) == ["c00", "c00"]


def test_the_copies_of_one_nodes_cameras_are_spread_over_the_others() -> None:
    working = workers(*(worker(f"w{number}") for number in range(6)))

    spare = prefetch(many(50), working, dict.fromkeys(many(50), "w0"), copies=2)

    assert spare["w0"] == ()
    assert all(3 <= len(spare[name]) <= 20 for name in working if name != "w0")  # 10 each on average


def test_a_node_that_leaves_moves_only_the_copies_that_it_had() -> None:
    placed = dict.fromkeys(many(50), "w0")
    working = workers(*(worker(f"w{number}") for number in range(6)))

    before = prefetch(many(50), working, placed, copies=2)
    left = prefetch(many(50), {name: each for name, each in working.items() if name != "w5"}, placed, copies=2)

    assert before["w5"]
    for name, scenes in left.items():
        assert set(before[name]) <= set(scenes)
        assert set(scenes) - set(before[name]) <= set(before["w5"])
