"""The control of a cluster, with stations that answer, hang, die and come back."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from cluster_fakes import WALL, FakeWorker, World, key_of

from stream.cluster.model import Access, OutboxState, StationState, WorkerOrders
from stream.errors import KeyFileError, UsageError


def two_nodes(folder: Path, cameras: int = 4, **cluster: object) -> World:
    world = World(folder, cameras, **cluster)
    world.fleet.add("a")
    world.fleet.add("b")
    return world


def settled(world: World) -> World:
    world.run(10)
    assert all(world.places().values())
    return world


# -- the beginning ----------------------------------------------------------------------------------------------------


def test_at_first_start_every_camera_has_a_worker_a_reader_and_a_place(tmp_path: Path) -> None:
    world = settled(two_nodes(tmp_path))

    assert {len(world.cameras_on("a:0")), len(world.cameras_on("b:0"))} == {2}
    place = world.control.place("cam0")
    assert (place.endpoint, place.server) == (f"tcp://{place.worker[0]}:8500", f"server-{place.worker[0]}")
    read = [*world.fleet.readers("a").orders.cameras, *world.fleet.readers("b").orders.cameras]
    assert sorted(read) == ["cam0", "cam1", "cam2", "cam3"]
    assert world.fleet.readers("a").orders.directory == "tcp://10.0.0.1:8480"
    assert world.control.document()["problems"] == []


def test_a_camera_is_read_beside_its_worker_where_that_costs_nothing(tmp_path: Path) -> None:
    world = settled(two_nodes(tmp_path))

    assert list(world.fleet.readers("a").orders.cameras) == world.cameras_on("a:0")


def test_workers_that_still_load_at_first_start_get_their_part(tmp_path: Path) -> None:
    world = two_nodes(tmp_path)
    world.fleet.new_worker = lambda worker: setattr(worker, "state", StationState.STARTING)
    world.run(2)

    assert sorted(map(len, (world.cameras_on("a:0"), world.cameras_on("b:0")))) == [2, 2]
    assert world.camera("cam0")["state"] == "NOT_SCORED"
    assert "is STARTING" in world.camera("cam0")["reason"]


def test_the_worker_that_has_loaded_first_does_not_get_all_cameras(tmp_path: Path) -> None:
    world = two_nodes(tmp_path)

    def slower(worker: FakeWorker) -> None:
        worker.state = StationState.STARTING if worker.disk.name == "b" else StationState.RUNNING

    world.fleet.new_worker = slower
    world.run(2)

    assert sorted(map(len, (world.cameras_on("a:0"), world.cameras_on("b:0")))) == [2, 2]


def test_nothing_is_placed_before_all_stations_were_heard_or_time_is_over(tmp_path: Path) -> None:
    world = two_nodes(tmp_path)
    world.fleet.new_worker = lambda worker: setattr(worker, "mode", "hangs" if worker.disk.name == "b" else "answers")
    world.run(14)

    assert set(world.places().values()) == {""}
    assert world.control.place("cam0").reason == "it has not been given to a worker yet"

    world.run(3)
    assert set(world.places().values()) == {"a:0"}


def test_a_cluster_without_workers_says_so(tmp_path: Path) -> None:
    world = World(tmp_path, 1)
    world.fleet.add("small", cpus=2)
    world.run(2)

    assert world.camera("cam0")["state"] == "NOT_SCORED"
    assert "4 cores (cluster.worker_cpus)" in world.camera("cam0")["reason"]
    assert world.camera("cam0")["reason"] in world.problems()


def test_a_node_has_a_worker_for_each_gpu_or_for_so_many_cores_and_none_where_it_only_reads(tmp_path: Path) -> None:
    world = World(tmp_path, 4)
    world.fleet.add("gpus", cpus=32, gpus=2)
    world.fleet.add("cores", cpus=11)
    world.fleet.add("readers", cpus=32, labels={"spade-role": "readers"})
    settled(world)

    workers = [worker["name"] for worker in world.control.document()["workers"]]
    assert workers == ["cores:0", "cores:1", "gpus:0", "gpus:1"]
    assert [reader["name"] for reader in world.control.document()["readers"]] == [
        "cores:readers",
        "gpus:readers",
        "readers:readers",
    ]
    # A GPU scores 200 frames/s by the default costs, four cores 80.
    assert {w["name"]: w["capacity"] for w in world.control.document()["workers"]}["gpus:0"] == 200.0


def test_a_station_without_a_name_gets_its_configuration_and_nothing_else(tmp_path: Path) -> None:
    world = World(tmp_path, 1)
    world.fleet.new_worker = lambda worker: setattr(worker, "nameless", True)
    world.fleet.add("a")
    world.start(text="secret settings")
    settled(world)

    worker = world.fleet.worker("a")
    assert worker.configured == ["secret settings"]
    assert worker.asked[:2] == ["report", "configure"]
    assert "" not in world.fleet.worker("a").orders.access.nodes


# -- what dies --------------------------------------------------------------------------------------------------------


def test_the_cameras_of_a_worker_that_died_are_scored_elsewhere_at_once(tmp_path: Path) -> None:
    world = settled(two_nodes(tmp_path))
    world.fleet.new_worker = lambda worker: setattr(worker, "mode", "hangs")  # it takes its time to begin again
    world.fleet.worker("a").mode = "dead"

    assert world.run_until(lambda: set(world.places().values()) == {"b:0"}) <= 2
    world.run(1)
    assert world.camera("cam0")["state"] == "LIVE"
    assert sorted(world.fleet.worker("b").orders.cameras) == ["cam0", "cam1", "cam2", "cam3"]


def test_a_worker_that_died_is_started_again_and_gets_cameras_back(tmp_path: Path) -> None:
    world = settled(two_nodes(tmp_path))
    first = world.fleet.worker("a")
    first.mode = "dead"
    world.run(20)

    assert world.fleet.worker("a") is not first
    assert len(world.cameras_on("a:0")) == 2


def test_a_worker_that_dies_again_and_again_is_started_ever_more_seldom(tmp_path: Path) -> None:
    world = settled(two_nodes(tmp_path))
    born: list[float] = []

    def dies(worker: FakeWorker) -> None:
        born.append(world.time.now)
        worker.mode = "dead"

    world.fleet.new_worker = dies
    world.fleet.worker("a").mode = "dead"
    world.run(40)

    pauses = [later - earlier for earlier, later in pairwise(born)]
    assert pauses == sorted(pauses)
    assert pauses[-1] >= 16
    assert "is GONE" in world.problems()


def test_a_node_that_dies_is_named_and_its_outbox_is_missing_until_its_disk_returns(tmp_path: Path) -> None:
    world = settled(two_nodes(tmp_path))
    world.fleet.worker("a").disk.last_seq = 41
    world.run(2)
    world.fleet.kill("a", listed=True)
    took = world.run_until(lambda: set(world.places().values()) == {"b:0"})
    assert took <= 6

    generation, (of_a, of_b) = world.control.outboxes()
    assert (of_a.id, of_a.node, of_a.state, of_a.last_seq, of_a.endpoint) == (
        "outbox-a:0",
        "a",
        OutboxState.MISSING,
        41,
        "",
    )
    assert of_b.state is OutboxState.LIVE

    world.fleet.unlist("a")  # Ray notices at last
    world.run(3)
    nodes = {node["name"]: node["state"] for node in world.control.document()["nodes"]}
    assert nodes == {"a": "GONE", "b": "RUNNING"}
    assert "node a (10.0.0.2) is gone since 2023-" in world.problems()
    assert sorted(world.fleet.readers("b").orders.cameras) == ["cam0", "cam1", "cam2", "cam3"]

    world.fleet.add("a", life=2)
    world.run(20)
    assert [node["name"] for node in world.control.document()["nodes"]] == ["a", "b"]
    assert world.control.outboxes()[0] > generation
    assert [outbox.state for outbox in world.control.outboxes()[1]] == [OutboxState.LIVE, OutboxState.LIVE]
    assert world.problems() == ""
    assert len(world.cameras_on("a:0")) == 2


def test_a_node_that_is_back_before_its_death_was_noticed_is_one_node(tmp_path: Path) -> None:
    world = settled(two_nodes(tmp_path))
    world.fleet.kill("a", listed=True)
    world.run(5)
    world.fleet.add("a", life=2)
    world.run(5)

    document = world.control.document()
    assert [(node["name"], node["state"]) for node in document["nodes"]] == [("a", "RUNNING"), ("b", "RUNNING")]
    assert [(worker["name"], worker["state"]) for worker in document["workers"]] == [
        ("a:0", "RUNNING"),
        ("b:0", "RUNNING"),
    ]


def test_a_station_that_hangs_loses_its_cameras_and_is_told_so_when_it_answers_again(tmp_path: Path) -> None:
    world = settled(two_nodes(tmp_path))
    hung = world.fleet.worker("a")
    hung.mode = "hangs"

    took = world.run_until(lambda: set(world.places().values()) == {"b:0"})
    assert 4 <= took <= 6
    state = {worker["name"]: worker["state"] for worker in world.control.document()["workers"]}
    assert state["a:0"] == "SILENT"
    assert "worker a:0 is SILENT: it has not answered for 4 s" in world.problems()
    assert world.control.outboxes()[1][0].state is OutboxState.MISSING
    assert len(hung.orders.cameras) == 2  # it still has its old ones

    hung.mode = "answers"
    world.run(1)
    assert hung.history[1] == ()  # before it gets any again
    world.run(15)
    assert len(world.cameras_on("a:0")) == 2
    assert world.problems() == ""


def test_a_station_that_hangs_for_long_is_killed_and_started_again(tmp_path: Path) -> None:
    world = settled(two_nodes(tmp_path))
    hung = world.fleet.worker("a")
    hung.mode = "hangs"
    world.run(80)

    assert hung.mode == "dead"
    assert world.fleet.worker("a") is not hung
    assert len(world.cameras_on("a:0")) == 2


def test_a_worker_whose_process_comes_back_soon_keeps_its_cameras_and_one_that_does_not_loses_them(
    tmp_path: Path,
) -> None:
    world = settled(two_nodes(tmp_path))
    worker = world.fleet.worker("a")
    worker.state, worker.reason = StationState.STARTING, "the worker loads its network"
    world.run(8)
    (camera, *_) = world.cameras_on("a:0")
    assert world.camera(camera)["state"] == "NOT_SCORED"
    assert "the worker loads its network" in world.camera(camera)["reason"]

    world.run(5)
    assert set(world.places().values()) == {"b:0"}


def test_a_worker_that_moves_to_another_port_is_found_there(tmp_path: Path) -> None:
    world = settled(two_nodes(tmp_path))
    (camera, *_) = world.cameras_on("a:0")
    before = world.control.place(camera)
    world.fleet.worker("a").port = 8600
    world.run(2)

    after = world.control.place(camera)
    assert (after.worker, after.endpoint) == ("a:0", "tcp://a:8600")
    assert after.generation > before.generation


def test_a_report_that_is_not_well_formed_counts_as_silence(tmp_path: Path) -> None:
    world = settled(two_nodes(tmp_path))
    world.fleet.worker("a").garbled = True
    world.run(3)

    assert set(world.places().values()) == {"b:0"}
    assert "not well formed" in world.problems()


def test_nodes_that_cannot_be_listed_are_as_they_were_and_that_is_said(tmp_path: Path) -> None:
    world = settled(two_nodes(tmp_path))
    before = world.places()
    world.fleet.listing = "Ray does not answer"
    world.run(5)

    assert world.places() == before
    assert "cannot be listed: Ray does not answer" in world.problems()


def test_who_answers_is_alive_whatever_the_list_of_nodes_says(tmp_path: Path) -> None:
    world = settled(two_nodes(tmp_path))
    before = {camera: world.control.place(camera) for camera in world.places()}
    nodes = dict(world.fleet.known)
    world.fleet.known.clear()
    world.run(2)
    world.fleet.known.update(nodes)
    world.run(3)

    assert {camera: world.control.place(camera) for camera in before} == before


# -- moves ------------------------------------------------------------------------------------------------------------


def test_a_camera_that_is_scored_moves_only_when_the_other_worker_is_ready_for_it(tmp_path: Path) -> None:
    world = World(tmp_path, 4)
    world.fleet.add("a")
    settled(world)
    world.fleet.new_worker = lambda worker: setattr(worker, "ready_after", 5.0)
    world.fleet.add("b")
    world.run_until(lambda: bool(world.control.document()["moves"]["moving"]))
    moving = world.control.document()["moves"]["moving"]
    assert {move["source"] for move in moving} == {"a:0"}
    camera = moving[0]["camera"]
    world.run(2)

    assert set(world.places().values()) == {"a:0"}  # its reader still goes there
    assert camera in world.fleet.worker("a").orders.cameras
    assert camera in world.fleet.worker("b").orders.cameras
    assert world.camera(camera)["state"] == "LIVE"

    world.run_until(lambda: world.places()[camera] == "b:0", within=10)
    assert camera in world.fleet.worker("a").orders.cameras  # its reader asks every two seconds
    world.run(5)
    assert camera not in world.fleet.worker("a").orders.cameras
    assert sorted(map(len, (world.cameras_on("a:0"), world.cameras_on("b:0")))) == [2, 2]


def test_a_camera_is_live_while_its_reader_is_on_its_way_to_the_new_worker(tmp_path: Path) -> None:
    world = World(tmp_path, 2)
    world.fleet.add("a")
    settled(world)
    world.fleet.new_worker = lambda worker: worker.own_states.update(cam0="NO_READER", cam1="NO_READER")
    world.fleet.add("b")
    world.run_until(lambda: "b:0" in world.places().values())
    world.run(2)
    (camera,) = world.cameras_on("b:0")
    assert (world.camera(camera)["worker"], world.camera(camera)["state"]) == ("b:0", "LIVE")

    world.run(5)  # it should have arrived long ago
    assert world.camera(camera)["state"] == "NO_READER"


def test_no_more_cameras_than_configured_are_on_the_move_at_once(tmp_path: Path) -> None:
    world = World(tmp_path, 16, moves=2)
    world.fleet.add("a")
    settled(world)
    world.fleet.new_worker = lambda worker: setattr(worker, "ready_after", 1.0)
    world.fleet.add("b")
    most = 0
    for _ in range(120):
        world.run(0.25)
        most = max(most, len(world.control.document()["moves"]["moving"]))

    assert most == 2
    assert len(world.cameras_on("b:0")) >= 7
    assert world.control.document()["moves"] == {"waiting": 0, "moving": [], "done": len(world.cameras_on("b:0"))}


def test_a_camera_stays_where_it_is_scored_when_the_other_worker_does_not_get_ready(tmp_path: Path) -> None:
    world = World(tmp_path, 2)
    world.fleet.add("a")
    settled(world)

    def cannot_fetch(worker: FakeWorker) -> None:
        worker.never_ready = {"cam0", "cam1"}
        worker.fetching = {"cam0": "no such bucket", "cam1": "no such bucket"}

    world.fleet.new_worker = cannot_fetch
    world.fleet.add("b")
    world.run(40)

    assert set(world.places().values()) == {"a:0"}
    assert world.fleet.worker("b").orders.cameras == ()
    assert "stays with worker a:0: worker b:0 was not ready for it in time" in world.problems()
    assert "no such bucket" in world.problems()


def test_the_worker_that_gets_ready_has_the_camera_at_once_when_the_other_dies(tmp_path: Path) -> None:
    world = World(tmp_path, 2)
    world.fleet.add("a")
    settled(world)
    world.fleet.new_worker = lambda worker: setattr(worker, "ready_after", 20.0)
    world.fleet.add("b")
    world.run_until(lambda: bool(world.control.document()["moves"]["moving"]))
    world.fleet.worker("a").mode = "hangs"

    world.run_until(lambda: set(world.places().values()) == {"b:0"}, within=6)
    assert world.control.document()["moves"]["moving"] == []


def test_a_move_ends_when_its_target_dies(tmp_path: Path) -> None:
    world = World(tmp_path, 2)
    world.fleet.add("a")
    settled(world)
    world.fleet.new_worker = lambda worker: setattr(worker, "ready_after", 20.0)
    world.fleet.add("b")
    world.run_until(lambda: bool(world.control.document()["moves"]["moving"]))
    world.fleet.kill("b")
    world.run(6)

    assert set(world.places().values()) == {"a:0"}
    assert world.control.document()["moves"]["moving"] == []


def test_two_workers_that_score_one_camera_for_a_moment_never_make_its_place_go_back(tmp_path: Path) -> None:
    world = settled(two_nodes(tmp_path))
    hung = world.fleet.worker("a")
    (camera, *_) = world.cameras_on("a:0")
    hung.mode = "hangs"
    world.run_until(lambda: world.places()[camera] == "b:0")
    hung.mode = "answers"  # and says that it scores the camera, as before
    world.run(0.25)
    assert camera in hung.ready

    for _ in range(40):  # until it has it again, by a handover; World.run sees that no generation goes back
        world.run(0.25)
        assert camera in world.fleet.worker(world.places()[camera][0]).ready


def test_too_many_cameras_are_scored_all_the_same_and_that_is_a_problem(tmp_path: Path) -> None:
    world = World(tmp_path, 20)  # 20 x 5 frames/s, and four cores score 80
    world.fleet.add("a")
    settled(world)

    assert "worker a:0 has 125% of its time given to cameras, above cluster.fill (80%)" in world.problems()
    assert world.control.document()["workers"][0]["load"] == pytest.approx(1.25)


# -- readers and networks ---------------------------------------------------------------------------------------------


def networks(folder: Path) -> World:
    world = World(folder, [{"id": "in", "network": "plant"}, {"id": "out"}])
    world.fleet.add("a", labels={"spade-network": "plant"})
    world.fleet.add("b")
    return settled(world)


def test_a_camera_is_read_by_a_node_that_reaches_its_network(tmp_path: Path) -> None:
    world = networks(tmp_path)

    assert "in" in world.fleet.readers("a").orders.cameras
    assert "in" not in world.fleet.readers("b").orders.cameras


def test_a_camera_whose_network_no_node_reaches_is_named_and_not_scored(tmp_path: Path) -> None:
    world = networks(tmp_path)
    world.fleet.kill("a")
    world.fleet.worker("b").own_states["in"] = "NO_READER"
    world.run(8)

    assert world.camera("in")["state"] == "NOT_SCORED"
    assert "label one with spade-network=plant" in world.camera("in")["reason"]
    assert world.camera("in")["reader"] == ""
    assert "nobody reads in: no node that answers reaches its network" in world.problems()
    assert world.camera("out")["state"] == "LIVE"


def test_a_camera_that_is_read_from_outside_the_cluster_is_no_problem(tmp_path: Path) -> None:
    world = networks(tmp_path)
    world.fleet.kill("a")
    world.run(8)

    assert world.camera("in")["state"] == "LIVE"
    assert "nobody reads" not in world.problems()


def test_a_camera_whose_reader_does_not_report_says_where_that_reader_is(tmp_path: Path) -> None:
    world = settled(two_nodes(tmp_path))
    for node in "ab":
        world.fleet.worker(node).own_states["cam0"] = "NO_READER"
    world.run(2)

    assert world.camera("cam0")["state"] == "NO_READER"
    assert f"its reader is to run at {world.camera('cam0')['reader']}" in world.camera("cam0")["reason"]


# -- the control itself -----------------------------------------------------------------------------------------------


def test_a_control_that_starts_again_moves_nothing(tmp_path: Path) -> None:
    world = settled(two_nodes(tmp_path, 6))
    before = {camera: world.control.place(camera) for camera in world.places()}
    readers = {node: world.fleet.readers(node).orders.cameras for node in "ab"}
    world.start()

    assert {camera: world.control.place(camera) for camera in before} == before  # from its first moment
    world.run(10)
    assert {camera: world.control.place(camera) for camera in before} == before
    assert {node: world.fleet.readers(node).orders.cameras for node in "ab"} == readers
    assert world.control.document()["moves"]["done"] == 0


def test_a_control_without_its_folder_adopts_what_stations_report(tmp_path: Path) -> None:
    world = settled(two_nodes(tmp_path, 6))
    before = world.places()
    generation = max(world.control.place(camera).generation for camera in before)
    for file in (tmp_path / "cluster").iterdir():
        file.unlink()
    world.start()
    world.generations.clear()  # it knows nothing until stations have answered
    world.run(10)

    assert world.places() == before
    assert world.fleet.worker("a").orders.generation > 0
    assert min(world.control.place(camera).generation for camera in before) > generation
    taken = {camera for node in "ab" for camera in world.fleet.worker(node).orders.cameras}
    assert taken == set(before)


def test_a_station_that_has_newer_orders_than_anybody_gave_gets_still_newer_ones(tmp_path: Path) -> None:
    world = settled(two_nodes(tmp_path))
    worker = world.fleet.worker("a")
    own = worker.orders.cameras
    worker.orders = WorkerOrders(1_000_000, ("other",))
    worker.taken["other"] = 0.0
    world.run(3)

    assert worker.orders.cameras == own
    assert worker.orders.generation > 1_000_000


def test_a_worker_that_died_while_there_was_no_control_loses_its_cameras_when_there_is_one(tmp_path: Path) -> None:
    world = settled(two_nodes(tmp_path))
    world.fleet.kill("a")
    world.start()

    world.run_until(lambda: set(world.places().values()) == {"b:0"}, within=16)
    assert world.control.outboxes()[1][0].state is OutboxState.MISSING


def test_another_configuration_adds_and_removes_cameras_and_leaves_the_others(tmp_path: Path) -> None:
    world = settled(two_nodes(tmp_path))
    before = world.places()
    world.config = world.configuration([{"id": name} for name in ("cam1", "cam2", "cam3", "new")])
    world.control.configure(world.config, "fresh settings")
    world.run(5)

    assert world.places()["new"] in ("a:0", "b:0")
    assert {camera: world.places()[camera] for camera in ("cam1", "cam2", "cam3")} == {
        camera: before[camera] for camera in ("cam1", "cam2", "cam3")
    }
    gone = world.control.place("cam0")
    assert (gone.worker, gone.reason) == ("", "no camera of this name is in the configuration")
    assert "cam0" not in world.control.document()["cameras"]
    for node in "ab":
        assert "cam0" not in world.fleet.worker(node).orders.cameras
        assert "cam0" not in world.fleet.readers(node).orders.cameras
        assert world.fleet.worker(node).configured == ["fresh settings"]
        assert world.fleet.readers(node).configured == ["fresh settings"]


def test_a_station_that_was_started_again_gets_configuration_and_orders_again(tmp_path: Path) -> None:
    world = two_nodes(tmp_path)
    world.start(text="settings")
    settled(world)
    world.fleet.worker("a").mode = "dead"
    world.run(20)

    assert world.fleet.worker("a").configured == ["settings"]
    assert len(world.fleet.worker("a").orders.cameras) == 2


def test_a_configuration_that_a_station_refuses_is_said_and_does_not_cost_it_its_cameras(tmp_path: Path) -> None:
    world = settled(two_nodes(tmp_path))
    before = world.places()
    world.fleet.worker("a").refuses = "configure"
    world.control.configure(world.config, "unfit")
    world.run(10)

    assert world.places() == before
    assert "worker a:0 is RUNNING: worker:id-a-1:0 failed: no configure" in world.problems()
    world.fleet.worker("a").refuses = ""
    world.run(5)
    assert world.problems() == ""


def test_a_worker_that_is_too_many_is_drained_and_ended(tmp_path: Path) -> None:
    world = World(tmp_path, 4)
    world.fleet.add("a", cpus=8)
    settled(world)
    world.cluster["worker_cpus"] = 8
    leaving = world.fleet.worker("a", 1)
    world.control.configure(world.configuration(4))
    world.run(1)
    assert leaving.draining
    leaving.reason = ""
    world.run(3)

    assert leaving.mode == "dead"
    assert [worker["name"] for worker in world.control.document()["workers"]] == ["a:0"]
    assert set(world.places().values()) == {"a:0"}


def test_what_operators_have_set_and_whom_to_let_in_goes_to_every_worker(tmp_path: Path) -> None:
    world = settled(two_nodes(tmp_path))
    world.control.set_operator('{"revision": 3}')
    world.access = Access({"run": "local-run"}, {"reader-key": ("cam0",)}, {"subscriber-key": ("guard",)})
    world.run(7)

    for node in "ab":
        orders = world.fleet.worker(node).orders
        assert orders.operator == '{"revision": 3}'
        assert orders.access.nodes == {"run": "local-run", "a": key_of("a"), "b": key_of("b")}
        assert orders.access.readers == {"reader-key": ("cam0",)}
        assert orders.access.subscribers == {"subscriber-key": ("guard",)}
    assert world.let_in[-1] == {"a": key_of("a"), "b": key_of("b")}


def test_keys_that_cannot_be_read_are_a_problem_and_those_of_before_stay(tmp_path: Path) -> None:
    world = two_nodes(tmp_path)

    def broken() -> Access:
        raise KeyFileError("keys: is open to others")

    settled(world)
    world.control._gatekeeper._issued = broken
    world.run(6)

    assert "keys cannot be handed out: keys: is open to others" in world.problems()
    assert "run" in world.fleet.worker("a").orders.access.nodes


def test_drain_ends_readers_first_and_then_workers(tmp_path: Path) -> None:
    world = settled(two_nodes(tmp_path))
    world.control.drain()
    world.run(1.5)
    assert world.fleet.readers("a").drained
    assert not world.fleet.worker("a").draining
    assert not world.control.drained

    world.run(1.5)
    assert world.fleet.worker("a").draining
    assert not world.control.drained
    for node in "ab":
        world.fleet.worker(node).reason = ""
    world.run(1)
    assert world.control.drained
    assert [outbox.state for outbox in world.control.outboxes()[1]] == [OutboxState.LIVE, OutboxState.LIVE]
    assert world.fleet.readers("a").asked.count("order") == 1  # nothing begins again


def test_a_station_that_does_not_answer_does_not_hold_up_the_end(tmp_path: Path) -> None:
    world = settled(two_nodes(tmp_path))
    world.fleet.worker("a").mode = "hangs"
    world.run(5)
    world.control.drain()
    world.run(3)
    world.fleet.worker("b").reason = ""
    world.run(1)

    assert world.control.drained


def test_an_outbox_whose_disk_will_not_come_back_can_be_forgotten(tmp_path: Path) -> None:
    world = settled(two_nodes(tmp_path))
    with pytest.raises(UsageError, match="is live on a"):
        world.control.forget("outbox-a:0")
    world.fleet.kill("a")
    world.run(6)
    world.control.forget("outbox-a:0")

    assert [outbox.id for outbox in world.control.outboxes()[1]] == ["outbox-b:0"]
    world.start()
    world.run(5)
    assert [outbox.id for outbox in world.control.outboxes()[1]] == ["outbox-b:0"]


def test_the_document_is_json_and_tells_of_everything(tmp_path: Path) -> None:
    world = settled(two_nodes(tmp_path, 2))
    document = json.loads(json.dumps(world.control.document()))

    assert document["written"] == WALL + 10
    assert document["name"] == "spade-stream"
    assert set(document) == {
        *("written", "name", "generation", "nodes", "workers", "readers", "outboxes", "cameras", "moves", "problems")
    }
    (node, _) = document["nodes"]
    assert (node["id"], node["name"], node["state"], node["cpus"]) == ("id-a-1", "a", "RUNNING", 4.0)
    (worker, _) = document["workers"]
    assert worker["load"] == pytest.approx(5 / 80)
    assert worker["node"] == "a"
    camera = document["cameras"]["cam0"]
    assert camera["scored"] == 7
    assert {"worker", "reader", "state", "reason", "since", "generation", "scene", "drops"} <= set(camera)


def test_two_nodes_with_one_folder_are_a_problem_that_says_what_each_needs(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.fleet.add("a")
    world.run(5.0)
    assert "are called" not in world.problems()

    world.fleet.add("a", life=2)  # a second machine whose disk is a copy, or which has mounted the same folder
    world.run(5.0)

    assert "2 nodes are called a (10.0.0.2, 10.0.0.3): each needs a folder of its own" in world.problems()
