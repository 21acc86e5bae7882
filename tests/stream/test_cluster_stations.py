"""The stations of a node, with processes that a test only writes down: what they start, change, report and leave.

With real processes they run in ``e2e/test_cluster_station``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from pipeline_fakes import Clock, wait_until
from test_cluster_worker_files import FakeCache

from stream.assigned import Assigned, read_assigned
from stream.child import ChildSpec, Stage
from stream.cluster import outbox_shelf, reader_station, worker_station
from stream.cluster.model import ReaderOrders, StationState, WorkerOrders
from stream.cluster.node_folder import NodeFolder
from stream.cluster.node_galleries import NodeGalleries
from stream.cluster.outbox_id import known_outbox_id
from stream.cluster.reader_station import ReaderStation
from stream.cluster.station_setting import StationSetting
from stream.cluster.worker_station import LEFT_OVER_AFTER, WorkerStation
from stream.config import load_config
from stream.errors import ConfigError, OutboxError, StateBusy, UsageError
from stream.health import write_status
from stream.outbox import Outbox

SECRET = {"CAM_PASSWORD": "hunter2"}
FOREVER = "campus:?seed=1"
DIRECTORY, SERVER = "tcp://10.1.0.1:8480", "s" * 40


class Written:
    """Stands for Processes: what it was asked for, and what the test says of the processes."""

    made: list[Written]

    def __init__(self, name: str, children: Sequence[ChildSpec] = ()) -> None:
        self.name, self.children = name, tuple(children)
        self.changes: list[tuple[set[str], set[str], set[str]]] = []  # names, restarted, told
        self.reports: dict[str, dict[str, Any]] = {}
        self.problem, self.closed = "", False
        Written.made.append(self)

    def change(
        self,
        children: Sequence[ChildSpec],
        *,
        restart: frozenset[str] = frozenset(),
        tell: frozenset[str] = frozenset(),
    ) -> None:
        self.children = tuple(children)
        self.changes.append((self.names, set(restart), set(tell)))

    @property
    def names(self) -> set[str]:
        return {child.name for child in self.children}

    def report(self) -> dict[str, dict[str, Any]]:
        return self.reports

    def close(self) -> None:
        self.closed = True


class Bench:
    """A node, and stations on it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock, self.cache = folder, Clock(), FakeCache()
        self.stations: list[Any] = []
        Written.made = []

    def text(self, *cameras: str, **sections: Any) -> str:
        found = [{"id": name, "source": f"{FOREVER}&tag=${{CAM_PASSWORD}}", "scene": "yard"} for name in cameras]
        return yaml.safe_dump({"cameras": found, **sections})

    def setting(self, *cameras: str, **sections: Any) -> StationSetting:
        text = self.text(*(cameras or ("gate", "roof")), **sections)
        return StationSetting(
            text, "127.0.0.1", base=str(self.folder), environment=SECRET, folder=str(self.folder / "node")
        )

    def worker(self, *, index: int = 0, gpus: float = 0.0, **sections: Any) -> WorkerStation:
        station = WorkerStation(
            self.setting(**sections),
            index=index,
            gpus=gpus,
            galleries=lambda config, path: NodeGalleries(config, path, cache=lambda *_: self.cache),
            monotonic=self.clock,
        )
        self.stations.append(station)
        return station

    def readers(self, **sections: Any) -> ReaderStation:
        self.stations.append(ReaderStation(self.setting(**sections)))
        station: ReaderStation = self.stations[-1]
        return station

    def until(self, condition: Callable[[], Any]) -> None:
        """Time goes on until it holds."""

        def step() -> None:
            self.clock.now += 0.5
            time.sleep(0.002)

        wait_until(condition, step=step)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(worker_station, "Processes", Written)
    monkeypatch.setattr(reader_station, "Processes", Written)
    here = Bench(tmp_path)
    yield here
    for station in here.stations:
        station.close()


def words(child: ChildSpec) -> tuple[str, ...]:
    """What a process is told to do."""
    assert child.argv[:3] == (sys.executable, "-m", "stream")
    return child.argv[3 : child.argv.index("--base")]


# The worker


def test_a_worker_starts_its_scoring_before_it_has_any_camera(bench: Bench) -> None:
    station = bench.worker()
    score, feeds = Written.made
    config = bench.folder / "node" / "worker-0" / "run" / "config.yaml"
    assigned = config.with_name("assigned.json")

    (worker,), (feed,) = score.children, feeds.children
    assert words(worker) == ("score", str(config), "--assigned", str(assigned))
    assert words(feed) == ("feed", str(config))
    assert worker.argv[-2:] == ("--supervisor", str(os.getpid()))
    assert read_assigned(assigned) == Assigned()
    report = station.report()
    assert (report.state, report.generation, report.ready) == (StationState.STARTING, 0, ())


def test_its_processes_know_the_secrets_and_nobody_else_does(bench: Bench) -> None:
    station = bench.worker()
    specs = [child for processes in Written.made for child in processes.children]

    assert all(spec.environment is not None and spec.environment["CAM_PASSWORD"] == "hunter2" for spec in specs)
    assert "hunter2" not in f"{specs} {station.report().to_text()} {bench.setting()}"
    files = [path for path in (bench.folder / "node").rglob("*") if path.is_file()]
    assert [path for path in files if b"hunter2" in path.read_bytes()] == []


def test_its_processes_are_reached_at_the_nodes_address(bench: Bench) -> None:
    report = bench.worker(cluster={"ports": "24500-24519"}).report()
    config = load_config(bench.folder / "node" / "worker-0" / "run" / "config.yaml", SECRET)

    assert config.link_endpoint == report.endpoint
    assert config.feed.endpoint == report.outboxes[0].endpoint
    ports = [int(endpoint.removeprefix("tcp://127.0.0.1:")) for endpoint in (report.endpoint, config.feed.endpoint)]
    assert len(set(ports)) == 2
    assert all(24500 <= port <= 24519 for port in ports)


@pytest.mark.parametrize(("gpus", "threads", "device"), [(0.0, 3, "cpu"), (1.0, None, "auto")])
def test_a_worker_on_cores_has_as_many_as_it_was_given(
    bench: Bench, gpus: float, threads: int | None, device: str
) -> None:
    bench.worker(gpus=gpus, cluster={"worker_cpus": 3})
    config = load_config(bench.folder / "node" / "worker-0" / "run" / "config.yaml", SECRET)

    assert (config.worker.threads, config.backbone.device) == (threads, device)


def test_orders_are_taken_and_older_ones_ignored(bench: Bench) -> None:
    station = bench.worker()
    bench.cache.here = {"yard": "v000001"}
    assigned = bench.folder / "node" / "worker-0" / "run" / "assigned.json"

    station.order(WorkerOrders(4, cameras=("gate",)))
    bench.until(lambda: read_assigned(assigned).cameras == ("gate",))
    station.order(WorkerOrders(3, cameras=("roof",)))

    assert station.report().generation == 4
    bench.until(lambda: station.report().cached == ("yard",))
    assert read_assigned(assigned).cameras == ("gate",)


def test_it_reports_what_its_process_says_and_for_which_cameras_it_is_ready(bench: Bench) -> None:
    station = bench.worker()
    score, feeds = Written.made
    score.reports = {"worker": {"state": "running", "pid": 7}}
    feeds.reports = {"feed": {"state": "running", "pid": 8}}
    station.order(WorkerOrders(4, cameras=("gate",)))
    worker = {"state": "RUNNING", "reason": "", "pid": 7, "assigned": {"generation": 4, "ready": ["gate"]}}
    said = {"written": time.time(), "worker": worker, "cameras": {"gate": {"state": "LIVE"}}}
    write_status(bench.folder / "node" / "worker-0" / "status.json", said)

    report = station.report()

    assert (report.state, report.ready, report.cameras) == (
        StationState.RUNNING,
        ("gate",),
        {"gate": {"state": "LIVE"}},
    )
    assert report.status["pid"] == 7
    assert set(report.processes) == {"worker", "feed"}


def test_a_new_configuration_is_told_to_the_worker_while_it_runs(bench: Bench) -> None:
    station = bench.worker()
    score, feeds = Written.made

    station.configure(bench.text("gate", "roof", "yard"), SECRET)

    assert score.changes == [({"worker"}, set(), {"worker"})]
    assert feeds.changes == [({"feed"}, set(), set())]
    config = load_config(bench.folder / "node" / "worker-0" / "run" / "config.yaml", SECRET)
    assert [camera.id for camera in config.cameras] == ["gate", "roof", "yard"]


def test_another_method_or_another_secret_starts_processes_anew(bench: Bench) -> None:
    station = bench.worker()
    score, feeds = Written.made

    station.configure(bench.text("gate", "roof", method={"size": 128}), SECRET)
    station.configure(bench.text("gate", "roof", method={"size": 128}), {"CAM_PASSWORD": "other"})

    assert score.changes == [({"worker"}, {"worker"}, set()), ({"worker"}, {"worker"}, set())]
    assert feeds.changes[-1] == ({"feed"}, {"feed"}, set())
    assert [child.environment["CAM_PASSWORD"] for child in score.children if child.environment] == ["other"]


def test_a_wrong_configuration_leaves_everything_as_it_was(bench: Bench) -> None:
    station = bench.worker()
    file = bench.folder / "node" / "worker-0" / "run" / "config.yaml"
    before = file.read_text()

    with pytest.raises(ConfigError):
        station.configure(bench.text("gate", "gate"), SECRET)
    with pytest.raises(ConfigError):
        station.configure(bench.text("gate"), {})  # the secret is not there

    assert file.read_text() == before
    assert [processes.changes for processes in Written.made] == [[], []]


def test_a_worker_that_leaves_stops_scoring_and_goes_on_serving_its_alerts(bench: Bench) -> None:
    station = bench.worker()
    score, feeds = Written.made

    station.drain()
    bench.until(lambda: score.changes)
    station.configure(bench.text("gate"), SECRET)  # what comes late does not start it again

    assert (score.names, feeds.names) == (set(), {"feed"})
    assert station.report().state is StationState.LEAVING


def test_the_first_worker_serves_what_others_have_left_and_only_after_a_while(bench: Bench) -> None:
    left = bench.folder / "node" / "worker-5"
    NodeFolder(bench.folder / "node").claim(5).close()
    Outbox(left / "outbox.sqlite", left / "evidence").close()
    station = bench.worker()
    feeds = Written.made[1]
    began = bench.clock.now

    bench.until(lambda: "feed worker-5" in feeds.names)

    assert bench.clock.now - began >= LEFT_OVER_AFTER
    own, other = station.report().outboxes
    config = load_config(bench.folder / "node" / "worker-0" / "run" / "feed-worker-5.yaml", SECRET)
    assert (config.state, config.feed.endpoint) == (left, other.endpoint)
    assert own.id != other.id

    again = bench.worker(index=5)  # its worker is back
    bench.until(lambda: feeds.names == {"feed"})
    assert again.report().outboxes[0].id == other.id
    assert len(station.report().outboxes) == 1


def test_other_workers_serve_their_own_outbox_only(bench: Bench) -> None:
    left = bench.folder / "node" / "worker-5"
    NodeFolder(bench.folder / "node").claim(5).close()
    Outbox(left / "outbox.sqlite", left / "evidence").close()
    station = bench.worker(index=1)

    began = bench.clock.now
    bench.until(lambda: bench.clock.now > began + 2 * LEFT_OVER_AFTER)

    assert len(station.report().outboxes) == 1


def test_a_worker_comes_back_to_its_name_and_its_outbox(bench: Bench) -> None:
    before = bench.worker().report()
    bench.stations.pop().close()

    after = bench.worker().report()

    assert (after.worker, after.node, after.outboxes[0].id) == (before.worker, before.node, before.outboxes[0].id)


def test_a_worker_that_cannot_begin_leaves_its_folder_to_the_next_try(bench: Bench) -> None:
    with pytest.raises(ConfigError):
        WorkerStation(StationSetting("cameras: []", "127.0.0.1", folder=str(bench.folder / "node")))

    assert bench.worker().report().worker.endswith(":0")


def test_a_worker_whose_outbox_is_damaged_goes_on_with_another_and_says_so_until_it_is_restored(bench: Bench) -> None:
    before = bench.worker().report()
    bench.stations.pop().close()
    outbox = bench.folder / "node" / "worker-0" / "outbox.sqlite"
    whole = outbox.read_bytes()
    outbox.write_bytes(b"something else" * 100)

    station = bench.worker()
    score, feeds = Written.made[-2:]

    report = station.report()
    assert report.worker.endswith(":1")
    assert report.outboxes[0].id != before.outboxes[0].id
    assert score.names == {"worker"}
    bench.until(lambda: "not a database" in station.report().reason)
    assert outbox.read_bytes() == b"something else" * 100  # for whoever can make something of it

    outbox.write_bytes(whole)
    bench.until(lambda: feeds.names == {"feed", "feed worker-0"})
    assert station.report().outboxes[1].id == before.outboxes[0].id
    assert "database" not in station.report().reason


def test_on_a_disk_that_takes_no_outbox_at_all_a_worker_does_not_begin(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(state: Path) -> str:
        raise OutboxError(f"{state}: the outbox cannot be opened: no room. Free some disk space")

    monkeypatch.setattr(outbox_shelf, "open_outbox", full)
    with pytest.raises(OutboxError, match="Free some disk space"):
        bench.worker()

    monkeypatch.undo()
    NodeFolder(bench.folder / "node").claim(0).close()  # nobody holds it


def test_an_outbox_that_is_replaced_while_it_is_served_is_another_one_and_its_processes_start_anew(
    bench: Bench,
) -> None:
    station = bench.worker()
    score, feeds = Written.made
    before = station.report().outboxes[0]
    state = bench.folder / "node" / "worker-0"
    (state / "outbox.sqlite").unlink()
    Outbox(state / "outbox.sqlite", state / "evidence").close()

    bench.until(lambda: station.report().outboxes[0].id != before.id)

    assert score.changes == [({"worker"}, {"worker"}, set())]
    assert feeds.changes == [({"feed"}, {"feed"}, set())]
    after = station.report().outboxes[0]
    assert after.id == known_outbox_id(state / "outbox.sqlite") != before.id
    assert after.endpoint == before.endpoint


def test_an_outbox_that_was_left_here_and_is_taken_away_is_not_made_anew(bench: Bench) -> None:
    left = bench.folder / "node" / "worker-5"
    NodeFolder(bench.folder / "node").claim(5).close()
    Outbox(left / "outbox.sqlite", left / "evidence").close()
    station = bench.worker()
    feeds = Written.made[1]
    bench.until(lambda: "feed worker-5" in feeds.names)
    assert next(child for child in feeds.children if child.name == "feed worker-5").stage is Stage.SINKS

    (left / "outbox.sqlite").unlink()
    bench.until(lambda: feeds.names == {"feed"})

    assert not (left / "outbox.sqlite").exists()
    assert len(station.report().outboxes) == 1


def test_what_a_station_is_started_with_shows_no_password_that_stands_in_the_configuration() -> None:
    assert "hunter2" not in repr(StationSetting("cameras: [{source: 'rtsp://me:hunter2@cam/1'}]", "127.0.0.1"))


# The readers


def orders(generation: int, *cameras: str, directory: str = DIRECTORY) -> ReaderOrders:
    return ReaderOrders(generation, cameras, directory, SERVER)


def test_each_camera_has_a_reader_that_asks_the_directory(bench: Bench) -> None:
    station = bench.readers()
    (processes,) = Written.made

    station.order(orders(1, "gate"))

    (reader,) = processes.children
    config = bench.folder / "node" / "readers" / "run" / "config.yaml"
    where = ("--cluster", DIRECTORY, "--directory-key", SERVER)
    assert words(reader) == ("read", str(config), "--camera", "gate", *where)
    assert (reader.name, reader.stage, reader.ends) == ("reader gate", Stage.READERS, False)
    assert reader.environment is not None
    assert reader.environment["CAM_PASSWORD"] == "hunter2"
    assert "hunter2" not in config.read_text() + str(reader)


def test_readers_of_cameras_that_stay_are_left_alone(bench: Bench) -> None:
    station = bench.readers()
    (processes,) = Written.made

    station.order(orders(1, "gate"))
    station.order(orders(2, "gate", "roof"))
    station.order(orders(3, "gate", "roof"))  # nothing new
    station.order(orders(1, "roof"))  # too late

    assert processes.changes == [({"reader gate"}, set(), set()), ({"reader gate", "reader roof"}, set(), set())]
    assert station.report().generation == 3


def test_a_store_that_this_node_cannot_use_leaves_everything_as_it_was(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    station = bench.worker()
    file = bench.folder / "node" / "worker-0" / "run" / "config.yaml"
    before = file.read_text()

    def fails(*_: object) -> NodeGalleries:
        raise UsageError("nothing here knows gs://")

    monkeypatch.setattr(station, "_make_galleries", fails)
    for _ in range(2):  # told again, it is no less wrong
        with pytest.raises(UsageError, match="gs://"):
            station.configure(bench.text("gate", gallery={"store": "gs://campus/galleries"}), SECRET)

    assert file.read_text() == before
    assert [processes.changes for processes in Written.made] == [[], []]


def test_another_directory_is_asked_by_all_of_them(bench: Bench) -> None:
    station = bench.readers()
    (processes,) = Written.made
    station.order(orders(1, "gate"))

    station.order(orders(2, "gate", directory="tcp://10.1.0.2:8480"))

    assert processes.changes[-1] == ({"reader gate"}, {"reader gate"}, set())


def test_only_readers_whose_camera_is_changed_start_anew(bench: Bench) -> None:
    station = bench.readers()
    (processes,) = Written.made
    station.order(orders(1, "gate", "roof"))
    text = yaml.safe_load(bench.text("gate", "roof"))
    text["cameras"][0]["fps"] = 2

    station.configure(yaml.safe_dump(text), SECRET)

    assert processes.changes[-1] == ({"reader gate", "reader roof"}, {"reader gate"}, set())


def test_a_camera_that_this_node_does_not_know_is_reported(bench: Bench) -> None:
    station = bench.readers()

    station.order(orders(1, "gate", "cellar"))

    report = station.report()
    assert report.state is StationState.DEGRADED
    assert "cellar" in report.reason


def test_a_reader_that_has_died_is_reported_with_its_process(bench: Bench) -> None:
    station = bench.readers()
    (processes,) = Written.made
    station.order(orders(1, "gate", "roof"))
    dead = {"state": "waiting", "pid": None, "restarts": 2, "last_exit": "signal 11"}
    processes.reports = {"reader gate": {"state": "running", "restarts": 0}, "reader roof": dead}

    report = station.report()

    assert (report.state, report.cameras["roof"]) == (StationState.DEGRADED, dead)
    assert "reader of roof" in report.reason
    assert "signal 11" in report.reason
    json.loads(report.to_text())


def test_readers_that_leave_take_no_camera_any_more(bench: Bench) -> None:
    station = bench.readers()
    (processes,) = Written.made
    station.order(orders(1, "gate"))

    station.drain()
    station.order(orders(2, "gate"))

    assert processes.names == set()
    assert station.report().state is StationState.LEAVING


def test_a_node_has_one_station_of_readers(bench: Bench) -> None:
    bench.readers()

    with pytest.raises(StateBusy):
        ReaderStation(bench.setting())
