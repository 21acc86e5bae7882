"""The assignment against clusters of every make: whoever dies or joins, it comes to rest, and at rest it is even."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from stream.cluster.assignment import GAP, REAL_STEP, CameraLoad, Move, WorkerLoad, plan_moves, prefetch, share, used

FILL = 0.8
ENOUGH = 2000  # rounds: far more than any of these clusters needs

SCENES = st.sampled_from([f"s{number}" for number in range(6)])
RATES = st.sampled_from([0.5, 1.0, 2.0, 5.0, 10.0, 25.0]) | st.floats(0.01, 240)
KINDS = st.sampled_from([(0.005, 1.0), (0.05, 4.0), (0.05, 2.0), (0.9, 1.0)]) | st.tuples(
    st.floats(1e-3, 10), st.floats(0.5, 64)
)

Cameras = dict[str, CameraLoad]
Workers = dict[str, WorkerLoad]


@st.composite
def some_cameras(draw: st.DrawFn, *, least: int = 0) -> Cameras:
    chosen = draw(
        st.lists(st.tuples(st.lists(SCENES, min_size=1, max_size=2, unique=True), RATES), min_size=least, max_size=25)
    )
    return {f"c{i}": CameraLoad(f"c{i}", tuple(scenes), fps) for i, (scenes, fps) in enumerate(chosen)}


@st.composite
def some_workers(draw: st.DrawFn, *, least: int = 1) -> Workers:
    chosen = draw(st.lists(st.tuples(KINDS, st.frozensets(SCENES)), min_size=least, max_size=7))
    return {
        f"w{i}": WorkerLoad(f"w{i}", f"node{i // 2}", cost, lanes, cached)
        for i, ((cost, lanes), cached) in enumerate(chosen)
    }


def places(cameras: Cameras) -> st.SearchStrategy[dict[str, str]]:
    """Anywhere, also at workers that are gone, or nowhere."""
    anywhere = st.sampled_from([f"w{number}" for number in range(8)])
    return st.dictionaries(st.sampled_from(sorted(cameras)), anywhere) if cameras else st.just({})


@st.composite
def clusters(draw: st.DrawFn) -> tuple[Cameras, Workers, dict[str, str]]:
    cameras = draw(some_cameras())
    return cameras, draw(some_workers()), draw(places(cameras))


def settled(
    cameras: Cameras, workers: Workers, placed: dict[str, str], *, most: int = 4
) -> tuple[dict[str, str], list[Move]]:
    """Where everybody is in the end, each round's moves being done before the next; and all moves that it took."""
    placed, made = dict(placed), list[Move]()
    for _ in range(ENOUGH):
        moves = plan_moves(cameras, workers, placed, moving=(), most=most, fill=FILL)
        if not moves:
            return placed, made
        made += moves
        placed.update((move.camera, move.target) for move in moves)
    raise AssertionError(f"no rest after {ENOUGH} rounds")


@given(clusters(), st.integers(1, 6))
def test_it_comes_to_rest_with_every_camera_placed(cluster: tuple[Cameras, Workers, dict[str, str]], most: int) -> None:
    cameras, workers, placed = cluster
    end, _ = settled(cameras, workers, placed, most=most)

    assert {camera for camera in end if end[camera] in workers} >= cameras.keys()
    assert plan_moves(cameras, workers, end, moving=(), most=most, fill=FILL) == []


@given(clusters())
def test_every_move_for_even_loads_lowers_the_larger_of_two(cluster: tuple[Cameras, Workers, dict[str, str]]) -> None:
    cameras, workers, placed = cluster
    placed = dict(placed)
    _, moves = settled(cameras, workers, placed)
    for move in moves:
        before = used(cameras, workers, placed)
        placed[move.camera] = move.target
        now = used(cameras, workers, placed)
        if move.source is not None:
            step = REAL_STEP * share(cameras[move.camera], workers[move.source])
            assert max(now[move.source], now[move.target]) <= (before[move.source] - step) * (1 + 1e-9) + 1e-12
            by = sorted(now.values(), reverse=True), sorted(before.values(), reverse=True)
            assert by[0] < by[1]


@given(clusters())
def test_no_placing_comes_twice(cluster: tuple[Cameras, Workers, dict[str, str]]) -> None:
    cameras, workers, placed = cluster
    placed = dict(placed)
    _, moves = settled(cameras, workers, placed, most=1)
    seen = {tuple(sorted(placed.items()))}
    for move in moves:
        placed[move.camera] = move.target
        now = tuple(sorted(placed.items()))
        assert now not in seen
        seen.add(now)


@given(clusters())
def test_at_rest_no_two_workers_differ_by_what_a_camera_could_even_out(
    cluster: tuple[Cameras, Workers, dict[str, str]],
) -> None:
    cameras, workers, placed = cluster
    end, _ = settled(cameras, workers, placed)
    load = used(cameras, workers, end)
    for camera, source in end.items():
        for target in workers if camera in cameras else ():
            taken = load[target] + share(cameras[camera], workers[target])
            step = REAL_STEP * share(cameras[camera], workers[source])
            real = taken < (load[source] - step) * (1 - 1e-9)
            worth = load[source] - load[target] > GAP * load[source] * (1 + 1e-9)
            assert not (real and worth), f"{camera} of {source} would better be at {target}: {load}"
            assert not (real and load[source] > FILL and taken <= FILL)


@given(st.integers(0, 40), st.integers(1, 6))
def test_equal_cameras_on_equal_workers_end_within_a_camera_or_a_tenth(cameras: int, workers: int) -> None:
    known = {f"c{i}": CameraLoad(f"c{i}", ("s",), 2.0) for i in range(cameras)}
    working = {f"w{i}": WorkerLoad(f"w{i}", f"w{i}", 0.05, 4.0) for i in range(workers)}
    end, _ = settled(known, working, dict.fromkeys(known, "w0"))
    counts = Counter({worker: 0 for worker in working})
    counts.update(end.values())

    assert max(counts.values()) - min(counts.values()) <= max(1, GAP * max(counts.values()))


@given(clusters(), st.integers(0, 8), st.sets(st.sampled_from([f"c{i}" for i in range(25)])))
def test_never_more_are_on_the_move_than_may_and_who_moves_is_left_alone(
    cluster: tuple[Cameras, Workers, dict[str, str]], most: int, moving: set[str]
) -> None:
    cameras, workers, placed = cluster
    busy = {camera for camera in moving if camera in cameras and placed.get(camera) in workers}
    moves = plan_moves(cameras, workers, placed, moving=moving, most=most, fill=FILL)
    moved = [move.camera for move in moves]

    handed_over = [move for move in moves if move.source is not None]
    assert not handed_over or len(moves) + len(busy) <= most
    assert len(set(moved)) == len(moved)
    assert busy.isdisjoint(moved)
    for move in moves:
        home = placed.get(move.camera)
        assert move.source == (home if home in workers else None)
        assert move.target in workers
        assert move.target != move.source


@given(clusters(), st.integers(1, 6))
def test_all_homeless_cameras_go_at_once_before_all_others(
    cluster: tuple[Cameras, Workers, dict[str, str]], most: int
) -> None:
    cameras, workers, placed = cluster
    homeless = sum(placed.get(camera) not in workers for camera in cameras)
    moves = plan_moves(cameras, workers, placed, moving=(), most=most, fill=FILL)
    without = [move.source is None for move in moves]

    assert sum(without) == homeless
    assert without == sorted(without, reverse=True)


@given(clusters(), st.randoms(use_true_random=False))
def test_the_order_in_which_things_are_named_decides_nothing(
    cluster: tuple[Cameras, Workers, dict[str, str]], chance: random.Random
) -> None:
    cameras, workers, placed = cluster

    def shuffled(known: dict[str, object]) -> dict[str, object]:
        return dict(chance.sample(sorted(known.items()), len(known)))

    usual = plan_moves(cameras, workers, placed, moving=(), most=6, fill=FILL)
    others = plan_moves(*map(shuffled, cluster), moving=(), most=6, fill=FILL)  # type: ignore[arg-type]

    assert others == usual
    assert prefetch(*map(shuffled, cluster), copies=2) == prefetch(cameras, workers, placed, copies=2)  # type: ignore[arg-type]


@given(some_cameras(least=1), st.integers(2, 6), st.integers(0, 5))
def test_a_worker_that_dies_at_rest_moves_its_own_cameras_first(cameras: Cameras, count: int, dead: int) -> None:
    workers = {f"w{i}": WorkerLoad(f"w{i}", f"w{i}", 0.05, 4.0) for i in range(count)}
    rest, _ = settled(cameras, workers, {})
    left = {name: worker for name, worker in workers.items() if name != f"w{dead}"}
    hit = {camera for camera, worker in rest.items() if worker not in left}
    _, moves = settled(cameras, left, rest)

    assert {move.camera for move in moves[: len(hit)]} == hit


@given(st.integers(1, 40), st.integers(1, 5))
def test_a_worker_that_joins_at_rest_costs_as_many_moves_as_it_gets_cameras(cameras: int, workers: int) -> None:
    known = {f"c{i}": CameraLoad(f"c{i}", ("s",), 5.0) for i in range(cameras)}
    working = {f"w{i}": WorkerLoad(f"w{i}", f"w{i}", 0.05, 4.0) for i in range(workers)}
    rest, _ = settled(known, working, {})
    joined = {**working, "new": WorkerLoad("new", "new", 0.05, 4.0)}
    end, moves = settled(known, joined, rest)

    assert len(moves) == sum(worker == "new" for worker in end.values())


@given(clusters(), st.integers(1, 4))
def test_every_scene_is_on_as_many_nodes_as_it_shall_be_and_on_no_more_for_that(
    cluster: tuple[Cameras, Workers, dict[str, str]], copies: int
) -> None:
    cameras, workers, placed = cluster
    spare = prefetch(cameras, workers, placed, copies=copies)
    nodes = {worker.node for worker in workers.values()}
    assert spare.keys() == workers.keys()
    for scene in {scene for camera in cameras.values() for scene in camera.scenes}:
        own = {
            workers[placed[name]].node
            for name, camera in cameras.items()
            if scene in camera.scenes and placed.get(name) in workers
        }
        extra = [workers[worker].node for worker, scenes in spare.items() for each in scenes if each == scene]
        assert own.isdisjoint(extra)
        assert len(set(extra)) == len(extra)
        assert len(own) + len(extra) == max(len(own), min(copies, len(nodes)))
