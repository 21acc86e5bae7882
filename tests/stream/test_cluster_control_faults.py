"""What must not go wrong when something else does: a worker cannot score, the control is cut off or stood still."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any

from cluster_fakes import STEP, FakeWorker, World

from stream.cluster.fleet import Node
from stream.cluster.handover import FETCH_WITHIN, READY_WITHIN
from stream.cluster.model import StationState
from stream.cluster.trust import FALLS


def cluster(folder: Path, nodes: str, cameras: int = 4, **settings: object) -> World:
    world = World(folder, cameras, **settings)
    for name in nodes:
        world.fleet.add(name)
    world.run(10)
    assert all(world.places().values())
    return world


def all_workers(world: World, change: Callable[[FakeWorker], None]) -> None:
    for station in world.fleet.stations.values():
        if isinstance(station, FakeWorker):
            change(station)


# -- a worker that works, and does not score a camera ------------------------------------------------------------------


def test_a_camera_whose_gallery_its_worker_cannot_open_is_scored_by_one_that_can(tmp_path: Path) -> None:
    world = cluster(tmp_path, "ab")
    world.fleet.worker("b").cached = ("cam0", "cam1", "cam2", "cam3")
    bad = world.cameras_on("a:0")[0]
    world.fleet.worker("a").never_ready.add(bad)
    world.run(READY_WITHIN - 1)
    assert world.places()[bad] == "a:0"  # it may still come

    world.run(5)
    assert world.places()[bad] == "b:0"
    assert world.camera(bad)["state"] == "LIVE"
    world.run(60)
    assert world.places()[bad] == "b:0"


def test_a_camera_that_nobody_can_score_stays_where_it_is_and_is_tried_seldom(tmp_path: Path) -> None:
    world = cluster(tmp_path, "abcdef", cameras=1)
    home = world.places()["cam0"]
    all_workers(world, lambda worker: worker.never_ready.add("cam0"))
    world.run(250)

    assert world.places() == {"cam0": home}
    assert world.camera("cam0")["state"] == "NOT_SCORED"
    tried = [name for name in "abcdef" if world.fleet.worker(name).history[-1:] and name != home[0]]
    tried = [name for name in tried if ("cam0",) in world.fleet.worker(name).history]
    assert len(tried) == 2


def test_a_worker_that_failed_for_a_blind_camera_still_gets_others(tmp_path: Path) -> None:
    world = cluster(tmp_path, "ab")
    bad = world.cameras_on("a:0")[0]
    all_workers(world, lambda worker: worker.never_ready.add(bad))
    world.run(2 * READY_WITHIN + 5)

    assert "was not ready" not in world.problems()  # the camera is to blame, or its gallery: cluster status names it


def test_a_worker_that_falls_again_and_again_loses_its_cameras_at_once(tmp_path: Path) -> None:
    world = cluster(tmp_path, "ab")
    worker = world.fleet.worker("b")
    for _ in range(FALLS):
        worker.state = StationState.STARTING
        world.run(3)  # less than it may take to start again
        worker.state = StationState.RUNNING
        world.run(3)

    assert world.cameras_on("b:0") == []
    assert "worker b:0 fell out of work 3 times" in world.problems()
    world.run(60)
    assert world.cameras_on("b:0") == []
    world.run(300)
    assert len(world.cameras_on("b:0")) == 2


# -- moving a camera that is scored ------------------------------------------------------------------------------------


def test_a_camera_whose_worker_has_new_orders_on_their_way_is_still_scored_there(tmp_path: Path) -> None:
    world = World(tmp_path, 4)
    world.fleet.add("a")
    world.run(10)
    world.fleet.new_worker = lambda worker: setattr(worker, "state", StationState.STARTING)
    world.fleet.add("b")
    world.run(5)
    world.fleet.worker("a").mode = "hangs"  # for a moment: it is late with its answer
    world.control.set_operator("settings")
    world.fleet.worker("b").ready_after = 5.0
    world.fleet.worker("b").state = StationState.RUNNING
    world.run(1.5)

    assert len(world.control.document()["moves"]["moving"]) == 2
    assert set(world.places().values()) == {"a:0"}


def test_a_worker_that_gets_on_with_fetching_a_gallery_is_waited_for(tmp_path: Path) -> None:
    world = World(tmp_path, 4)
    world.fleet.add("a")
    world.run(10)
    world.fleet.new_worker = lambda worker: setattr(worker, "ready_after", 100.0)
    world.fleet.add("b")
    world.run(5)
    for percent in range(100):
        world.fleet.worker("b").fetching = {f"cam{n}": f"{percent} % is fetched" for n in range(4)}
        world.run(1)
    world.run(5)

    assert len(world.cameras_on("b:0")) == 2


def test_a_worker_that_says_another_thing_each_time_is_not_waited_for_without_end(tmp_path: Path) -> None:
    world = World(tmp_path, 2)
    world.fleet.add("a")
    world.run(10)
    world.fleet.new_worker = lambda worker: worker.never_ready.update(("cam0", "cam1"))
    world.fleet.add("b")
    world.run(1)
    for second in range(round(FETCH_WITHIN) + 10):
        world.fleet.worker("b").fetching = {f"cam{n}": f"{second} % is fetched" for n in range(2)}
        world.run(1)

    assert world.control.document()["moves"]["moving"] == []
    assert "was not ready for it in time" in world.problems()


def test_a_camera_that_is_removed_while_it_moves_is_nobodys(tmp_path: Path) -> None:
    world = World(tmp_path, 4)
    world.fleet.add("a")
    world.run(10)
    world.fleet.new_worker = lambda worker: setattr(worker, "ready_after", 20.0)
    world.fleet.add("b")
    world.run_until(lambda: bool(world.control.document()["moves"]["moving"]))
    world.config = world.configuration([{"id": "other"}])
    world.control.configure(world.config)
    world.run(30)

    ordered = [*world.fleet.worker("a").orders.cameras, *world.fleet.worker("b").orders.cameras]
    assert ordered == ["other"]


# -- the control itself ------------------------------------------------------------------------------------------------


def test_a_control_that_is_cut_off_for_a_while_moves_nothing(tmp_path: Path) -> None:
    world = cluster(tmp_path, "abcd", cameras=8)
    places = {camera: world.control.place(camera) for camera in world.places()}
    read = {name: world.fleet.readers(name).orders.cameras for name in "abcd"}
    for station in world.fleet.stations.values():
        station.mode = "hangs"
    world.run(20)
    assert world.camera("cam0")["state"] == "NOT_SCORED"
    assert "the control itself may be cut off" in world.problems()
    for name in "abcd":  # one after the other is there again
        for station in (world.fleet.worker(name), world.fleet.readers(name)):
            station.mode = "answers"
        world.run(1)
    world.run(20)

    assert {camera: world.control.place(camera) for camera in places} == places
    assert {name: world.fleet.readers(name).orders.cameras for name in "abcd"} == read
    assert world.problems() == ""


def test_when_most_nodes_are_away_for_good_the_others_take_over(tmp_path: Path) -> None:
    world = cluster(tmp_path, "abcd", cameras=8)
    for name in "bcd":
        world.fleet.kill(name, mode="hangs", listed=True)

    assert world.run_until(lambda: len(world.cameras_on("a:0")) == 8) <= 12


def test_one_node_with_most_of_the_workers_may_die_and_is_not_waited_for(tmp_path: Path) -> None:
    world = World(tmp_path, 8)
    world.fleet.add("big", gpus=8)
    world.fleet.add("a")
    world.fleet.add("b")
    world.run(10)
    world.fleet.kill("big", mode="hangs", listed=True)

    assert world.run_until(lambda: set(world.places().values()) <= {"a:0", "b:0"}) <= 6


def test_a_control_that_stood_still_takes_nobody_for_dead(tmp_path: Path) -> None:
    world = cluster(tmp_path, "ab")
    places = {camera: world.control.place(camera) for camera in world.places()}
    for station in world.fleet.stations.values():
        station.mode = "hangs"  # their answers are there, and nobody had time to take them
    world.run(1.5)
    world.time.now += 30
    world.run(STEP)
    states = {worker["state"] for worker in world.control.document()["workers"]}
    for station in world.fleet.stations.values():
        station.mode = "answers"
    world.run(5)

    assert states == {"RUNNING"}
    assert {camera: world.control.place(camera) for camera in places} == places


def test_the_first_node_of_a_cluster_that_begins_anew_does_not_get_all_cameras(tmp_path: Path) -> None:
    world = cluster(tmp_path, "ab")
    places = world.places()
    for name in "ab":
        world.fleet.kill(name)
    world.fleet.add("a", life=2)
    world.start()
    world.run(5)
    world.fleet.add("b", life=2)
    world.run(10)

    assert world.places() == places


def test_what_operators_have_set_is_in_the_first_orders_of_a_control_that_starts_again(tmp_path: Path) -> None:
    world = World(tmp_path, 1)
    world.fleet.add("a")
    world.start(operator="settings")
    world.run(10)

    assert world.fleet.worker("a").orders.operator == "settings"


# -- readers -----------------------------------------------------------------------------------------------------------


def test_readers_go_slowly_to_a_node_that_joins_and_then_nothing_moves(tmp_path: Path) -> None:
    world = World(tmp_path, [{"id": f"cam{n}", "source": f"rtsp://10.0.0.9/{n}"} for n in range(12)], moves=2)
    world.fleet.add("a")
    world.run(10)
    world.fleet.add("b")
    world.run(25)
    assert world.fleet.readers("b").orders.cameras == ()  # it may be gone again in a moment

    world.run(20)
    assert len(world.fleet.readers("b").orders.cameras) == 2
    world.run(120)
    after = world.fleet.readers("b").orders
    assert len(after.cameras) == 5  # 7 and 5: not worth a move
    world.run(60)
    assert world.fleet.readers("b").orders == after


def test_a_camera_that_nobody_could_read_for_a_while_goes_back_to_its_station(tmp_path: Path) -> None:
    world = World(tmp_path, [{"id": "cam0", "network": "plant"}])
    for name in "cde":
        world.fleet.add(name)
    labels = {"spade-network": "plant", "spade-role": "readers"}
    world.fleet.add("b", labels=labels)
    world.run(10)
    world.fleet.add("a", labels=labels)
    world.run(5)
    for name in "ab":
        world.fleet.readers(name).mode = "hangs"
    world.run(10)
    assert world.control.document()["cameras"]["cam0"]["reader"] == ""
    for name in "ab":
        world.fleet.readers(name).mode = "answers"
    world.run(5)

    assert world.fleet.readers("b").orders.cameras == ("cam0",)


# -- reports that are not as they should be ----------------------------------------------------------------------------


def test_one_node_whose_key_is_not_well_formed_keeps_no_other_from_being_let_in(tmp_path: Path) -> None:
    world = World(tmp_path, 2)
    world.fleet.add("a")
    world.fleet.add("../b")
    world.run(10)

    assert set(world.let_in[-1]) == {"a"}
    assert "is not let in by the others: '../b' is not a name" in world.problems()


def test_no_node_takes_the_place_of_the_machine_that_runs_the_cluster(tmp_path: Path) -> None:
    world = cluster(tmp_path, "a")
    world.fleet.add("run")
    world.run(10)

    assert world.fleet.worker("a").orders.access.nodes["run"] == "local-run"


def test_a_camera_whose_worker_dies_while_it_moves_goes_to_one_that_has_its_gallery(tmp_path: Path) -> None:
    world = cluster(tmp_path, "ab", cameras=8)
    every = tuple(f"cam{n}" for n in range(8))
    for name in "ab":
        world.fleet.worker(name).cached = every
    # One with an empty disk, which would have to fetch.
    world.fleet.new_worker = lambda worker: worker.never_ready.update(every)
    world.fleet.add("c")
    world.run_until(lambda: bool(world.control.document()["moves"]["moving"]))
    source = world.control.document()["moves"]["moving"][0]["source"][0]
    world.fleet.kill(source)
    world.run_until(lambda: source not in "".join(world.places().values()))
    world.run(5)

    left = "ab".replace(source, "")
    assert {camera: at for camera, at in world.places().items() if at != f"{left}:0"} == {}


# -- a round that hangs ------------------------------------------------------------------------------------------------


def test_whoever_asks_how_the_cluster_is_does_not_hang_with_the_round(tmp_path: Path) -> None:
    world = cluster(tmp_path, "ab")
    before = world.control.document()
    hangs, goes_on = Event(), Event()

    def nodes() -> list[Node]:  # Ray's head is away, or the disk of the state folder
        hangs.set()
        goes_on.wait()
        return []

    world.fleet.nodes = nodes  # type: ignore[method-assign]
    world.time.now += 10
    stuck = Thread(target=world.control.step)
    stuck.start()
    assert hangs.wait(20)
    told: list[dict[str, Any]] = []
    asks = Thread(target=lambda: told.append(world.control.document()))
    asks.start()
    asks.join(20)
    goes_on.set()
    stuck.join()
    asks.join()

    assert told == [before]
    assert world.control.document()["written"] > before["written"]
