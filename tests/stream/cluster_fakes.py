"""A cluster without Ray: nodes and stations that answer, hang, die and come back, and a clock turned by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stream.cluster.control import Control
from stream.cluster.fleet import CONFIGURE, DRAIN, ORDER, Node
from stream.cluster.model import (
    Access,
    OutboxPlace,
    OutboxState,
    ReaderOrders,
    ReaderReport,
    StationState,
    WorkerOrders,
    WorkerReport,
)
from stream.config import Config, build_config
from stream.errors import StationLost, StreamError


def key_of(node: str) -> str:
    """Public key of a node's own programs."""
    return f"local-{node}".ljust(40, "0")


STEP = 0.25  # s between two rounds of the control
WALL = 1_700_000_000.0  # Unix seconds when a test begins
DIRECTORY = ("tcp://10.0.0.1:8480", "directory-key")


class Time:
    """Seconds, turned by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def clock(self) -> float:
        return self.now

    def wall(self) -> float:
        return WALL + self.now - 100.0


@dataclass
class Disk:
    """What a node keeps when it dies."""

    name: str
    last_seq: int = 0


@dataclass
class FakeStation:
    """What both kinds do."""

    name: str
    disk: Disk
    time: Time
    mode: str = "answers"  # or hangs, unavailable, dead
    configured: list[str] = field(default_factory=list)
    refuses: str = ""  # a method that it cannot do
    asked: list[str] = field(default_factory=list)
    open_calls: int = 0

    def ask(self, method: str, text: str = "") -> FakeAnswer:
        self.open_calls += 1
        assert self.open_calls == 1, "two questions at once"
        self.asked.append(method)
        return FakeAnswer(self, method, text)

    def kill(self) -> None:
        self.mode = "dead"

    def do(self, method: str, text: str) -> str:
        raise NotImplementedError


@dataclass
class FakeAnswer:
    station: FakeStation
    method: str
    text: str = field(repr=False)

    def done(self) -> bool:
        return self.station.mode != "hangs"

    def result(self) -> str:
        station = self.station
        station.open_calls -= 1
        if station.mode == "dead":
            raise StationLost(f"{station.name} is dead", dead=True)
        if station.mode == "unavailable":
            raise StationLost(f"{station.name} cannot be reached", dead=False)
        if station.refuses == self.method:
            raise StationLost(f"{station.name} failed: no {self.method}", dead=False)
        return station.do(self.method, self.text)


@dataclass
class FakeWorker(FakeStation):
    index: int = 0
    state: StationState = StationState.RUNNING
    reason: str = ""
    orders: WorkerOrders = field(default_factory=lambda: WorkerOrders(0))
    history: list[tuple[str, ...]] = field(default_factory=list)  # cameras of the orders that it took
    taken: dict[str, float] = field(default_factory=dict)  # camera -> when it was ordered
    ready_after: float = 0.0  # s from the order to a camera's being ready
    never_ready: set[str] = field(default_factory=set)
    port: int = 8500
    cached: tuple[str, ...] = ()
    fetching: dict[str, str] = field(default_factory=dict)
    own_states: dict[str, str] = field(default_factory=dict)  # of cameras that are not LIVE
    draining: bool = False
    garbled: bool = False
    nameless: bool = False  # it waits for its configuration

    @property
    def durable(self) -> str:
        return f"{self.disk.name}:{self.index}"

    @property
    def ready(self) -> tuple[str, ...]:
        since = self.time.now - self.ready_after
        return tuple(c for c in self.orders.cameras if self.taken[c] <= since and c not in self.never_ready)

    def do(self, method: str, text: str) -> str:
        if method == CONFIGURE:
            self.configured.append(text)
            self.nameless = False
        elif method == ORDER:
            fresh = WorkerOrders.from_text(text)
            if fresh.generation >= self.orders.generation:
                self.orders = fresh
                self.history.append(fresh.cameras)
                self.taken = {camera: self.taken.get(camera, self.time.now) for camera in fresh.cameras}
        elif method == DRAIN:
            self.draining, self.state, self.reason = True, StationState.LEAVING, "its last frames are scored"
        return "no report" if self.garbled else self.report().to_text()

    def report(self) -> WorkerReport:
        if self.nameless:
            return WorkerReport("", "", StationState.STARTING, "it waits", 0, "", "", "", ())
        outbox = OutboxPlace(
            f"outbox-{self.durable}",
            self.disk.name,
            OutboxState.LIVE,
            self.time.wall(),
            self.disk.last_seq,
            f"tcp://{self.disk.name}:{self.port + 50}",
            f"server-{self.disk.name}",
        )
        return WorkerReport(
            self.durable,
            self.disk.name,
            self.state,
            self.reason,
            self.orders.generation,
            f"tcp://{self.disk.name}:{self.port}",
            f"server-{self.disk.name}",
            key_of(self.disk.name),
            (outbox,),
            {camera: self._camera(camera) for camera in self.orders.cameras},
            self.ready if self.state is StationState.RUNNING else (),
            self.cached,
            self.fetching,
        )

    def _camera(self, camera: str) -> dict[str, Any]:
        live = "LIVE" if camera in self.ready else "NOT_SCORED"
        reason = "" if camera in self.ready else "its gallery is being fetched"
        state = self.own_states.get(camera, live)
        return {"state": state, "reason": reason, "since": "2023-11-14T22:13:20.000Z", "scored": 7}


@dataclass
class FakeReaders(FakeStation):
    orders: ReaderOrders = field(default_factory=lambda: ReaderOrders(0))
    drained: bool = False

    def do(self, method: str, text: str) -> str:
        if method == CONFIGURE:
            self.configured.append(text)
        elif method == ORDER:
            fresh = ReaderOrders.from_text(text)
            self.orders = fresh if fresh.generation >= self.orders.generation else self.orders
        elif method == DRAIN:
            self.drained = True
        return ReaderReport(
            f"{self.disk.name}:readers",
            self.disk.name,
            StationState.RUNNING,
            "",
            self.orders.generation,
            key_of(self.disk.name),
            {camera: {"state": "running"} for camera in self.orders.cameras},
        ).to_text()


class FakeFleet:
    """Nodes that a test adds and kills."""

    def __init__(self, time: Time) -> None:
        self.time = time
        self.known: dict[str, Node] = {}
        self.disks: dict[str, Disk] = {}  # by node id
        self.stations: dict[tuple[str, str, int], FakeWorker | FakeReaders] = {}
        self.new_worker: Callable[[FakeWorker], None] = lambda worker: None  # how workers are that start from now on
        self.listing = ""  # why nodes cannot be listed

    def add(
        self, name: str, *, life: int = 1, cpus: float = 4, gpus: float = 0, labels: Mapping[str, str] | None = None
    ) -> str:
        """A node joins; returns its id. ``life``: 2 when it comes back with its disk."""
        id = f"id-{name}-{life}"
        earlier = [disk for disk in self.disks.values() if disk.name == name]
        self.disks[id] = earlier[0] if earlier else Disk(name)
        self.known[id] = Node(id, f"10.0.0.{len(self.known) + 2}", True, cpus, gpus, labels or {})
        return id

    def kill(self, name: str, *, mode: str = "dead", listed: bool = False) -> None:
        """A node dies; ``listed``: the list of nodes does not know it yet."""
        for (id, _, _), station in self.stations.items():
            if self.disks[id].name == name:
                station.mode = mode
        if not listed:
            self.unlist(name)

    def unlist(self, name: str) -> None:
        for id in [id for id in self.known if self.disks[id].name == name]:
            del self.known[id]

    def nodes(self) -> list[Node]:
        if self.listing:
            raise StreamError(self.listing)
        return list(self.known.values())

    def start_worker(self, node: Node, index: int) -> FakeWorker:
        found = self.stations.get((node.id, "worker", index))
        if not isinstance(found, FakeWorker) or found.mode == "dead":
            found = FakeWorker(f"worker:{node.id}:{index}", self.disks[node.id], self.time, index=index)
            self.new_worker(found)
            self.stations[node.id, "worker", index] = found
        found.open_calls = 0  # of a control that is there no more
        return found

    def start_readers(self, node: Node) -> FakeReaders:
        found = self.stations.get((node.id, "readers", 0))
        if not isinstance(found, FakeReaders) or found.mode == "dead":
            found = FakeReaders(f"readers:{node.id}", self.disks[node.id], self.time)
            self.stations[node.id, "readers", 0] = found
        found.open_calls = 0
        return found

    def worker(self, node: str, index: int = 0) -> FakeWorker:
        """The worker of a node's latest life."""
        return [
            station
            for (id, _, number), station in self.stations.items()
            if isinstance(station, FakeWorker) and self.disks[id].name == node and number == index
        ][-1]

    def readers(self, node: str) -> FakeReaders:
        return [
            station
            for (id, _, _), station in self.stations.items()
            if isinstance(station, FakeReaders) and self.disks[id].name == node
        ][-1]


class World:
    """A control and its cluster."""

    def __init__(self, folder: Path, cameras: int | Iterable[Mapping[str, Any]] = 4, **cluster: Any) -> None:
        self.folder, self.time, self.cluster = folder, Time(), cluster
        self.fleet = FakeFleet(self.time)
        self.config = self.configuration(cameras)
        self.access = Access(nodes={"run": "local-run"})
        self.let_in: list[dict[str, str]] = []
        self.generations: dict[str, int] = {}  # the last one of each camera's place
        self.control = self.start()

    def configuration(self, cameras: int | Iterable[Mapping[str, Any]]) -> Config:
        if isinstance(cameras, int):
            cameras = [{"id": f"cam{n}"} for n in range(cameras)]
        each = [{"source": f"synthetic://{camera['id']}", "fps": 5, **camera} for camera in cameras]
        data = {"state": str(self.folder), "cameras": each, "cluster": self.cluster}
        return build_config(data, where="test", base=self.folder, environment={})

    def start(self, text: str = "", operator: str | None = None) -> Control:
        """A control, the first one or one that is started again."""
        self.control = Control(
            self.config,
            fleet=self.fleet,
            folder=self.folder / "cluster",
            access=lambda: self.access,
            directory=DIRECTORY,
            text=text,
            operator=operator,
            let_in=lambda nodes: self.let_in.append(dict(nodes)),
            clock=self.time.clock,
            wall=self.time.wall,
        )
        return self.control

    def run(self, seconds: float) -> None:
        """Lets the control go round for so long. No place ever goes back to an older generation meanwhile."""
        for _ in range(round(seconds / STEP)):
            self.time.now += STEP
            self.control.step()
            for camera in self.config.cameras:
                generation = self.control.place(camera.id).generation
                assert generation >= self.generations.get(camera.id, 0), f"the place of {camera.id} went back"
                self.generations[camera.id] = generation

    def run_until(self, condition: Callable[[], bool], *, within: float = 60.0) -> float:
        """The same until something holds; returns how long that took."""
        began = self.time.now
        while not condition():
            assert self.time.now - began < within, "it did not come to that"
            self.run(STEP)
        return self.time.now - began

    def places(self) -> dict[str, str]:
        """Worker of each camera, as the directory says it."""
        return {camera.id: self.control.place(camera.id).worker for camera in self.config.cameras}

    def cameras_on(self, worker: str) -> list[str]:
        return sorted(camera for camera, name in self.places().items() if name == worker)

    def camera(self, name: str) -> dict[str, Any]:
        """What the document says of a camera."""
        found: dict[str, Any] = self.control.document()["cameras"][name]
        return found

    def problems(self) -> str:
        return "\n".join(self.control.document()["problems"])
