"""A cluster that is only reckoned with: nodes, caches and a clock that are numbers; the rules are the real ones.

Every round is what the control does in one: cameras of dead workers lose them, handovers that are ready are completed,
moves are planned. For ``cluster_assignment``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from stream.cluster.assignment import CameraLoad, WorkerLoad, plan_moves, prefetch, used
from stream.cluster.handover import Handovers
from stream.cluster_section import ClusterSection

ROUND = 0.25
"""Seconds of one round, the control's."""

FETCH = 3.0
"""Seconds that a node takes to fetch a gallery, supposed: 300 MB over a network of 1 Gbit/s. One at a time."""

OPEN = 1.0
"""Seconds until a worker scores a camera whose gallery lies on its disk, supposed."""

MOST_ROUNDS = 20_000
"""After so many the cluster does not come to rest."""


@dataclass(slots=True)
class Settling:
    """What it took until all was at rest."""

    moves: int = 0  # cameras that were given to another worker
    rounds: int = 0  # until the last move was made
    placed: int = 0  # rounds until no camera was without a worker
    scored: int = 0  # rounds until no camera waited for its new worker to be ready, handed over ones aside
    at_once: int = 0  # most cameras that were handed over at the same time
    rests: bool = False
    plan_s: list[float] = field(default_factory=list)  # each planning
    prefetch_s: list[float] = field(default_factory=list)


class Node:
    """A machine's disk and its workers."""

    def __init__(self, workers: Sequence[WorkerLoad]) -> None:
        self.workers = tuple(workers)
        self.cached: set[str] = set()
        self._fetching: tuple[str, float] | None = None  # scene, and when it is there

    def fetch(self, wanted: Iterable[str], now: float) -> None:
        """Goes on with the first of these scenes that is not there."""
        if self._fetching is not None and now >= self._fetching[1]:
            self.cached.add(self._fetching[0])
            self._fetching = None
        if self._fetching is None:
            scene = next((scene for scene in wanted if scene not in self.cached), None)
            self._fetching = None if scene is None else (scene, now + FETCH)

    @property
    def idle(self) -> bool:
        """Nothing is to be fetched."""
        return self._fetching is None


class Hall:
    """The cluster. ``cameras`` and ``alive`` may be changed between two calls of :meth:`settle`.

    Args:
        section: rules: fill, moves, copies.
        cameras: by name.
        nodes: all there are or will be, by name.
        clock: seconds, for how long planning takes: of processor time, which others on the machine do not change.
    """

    def __init__(
        self,
        section: ClusterSection,
        cameras: Mapping[str, CameraLoad],
        nodes: Mapping[str, Node],
        *,
        clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self._section, self.cameras, self.nodes, self._clock = section, dict(cameras), nodes, clock
        self.alive: set[str] = set()
        self._handovers = Handovers({})
        self._now = 0.0
        self._since: dict[str, float] = {}  # camera -> when it was given to the worker that it goes to
        self._wanted: dict[str, list[str]] = {}  # node -> scenes
        self._wanted_for: object = None  # where cameras and workers were for that

    @property
    def workers(self) -> dict[str, WorkerLoad]:
        """Those of the nodes that are alive."""
        return {
            worker.name: replace(worker, cached=frozenset(node.cached))
            for name, node in self.nodes.items()
            if name in self.alive
            for worker in node.workers
        }

    @property
    def homeless(self) -> int:
        """Cameras without a worker."""
        workers = {worker.name for name in self.alive for worker in self.nodes[name].workers}
        return sum(self._handovers.placed.get(camera) not in workers for camera in self.cameras)

    @property
    def loads(self) -> dict[str, float]:
        """Load of every worker."""
        return used(self.cameras, self.workers, self._handovers.placed)

    def settle(self, *, stopping: Callable[[], bool]) -> Settling:
        """Rounds until all cameras are scored, loads are even, and every copy is where it shall be."""
        found = Settling()
        for count in range(1, MOST_ROUNDS + 1):
            moved = self._round(found)
            self._take_down(found, count, moved)
            found.rests = not (moved or self._on_the_way) and all(self.nodes[name].idle for name in self.alive)
            if found.rests or stopping():
                return found
        return found

    @property
    def _on_the_way(self) -> bool:
        return bool(self._handovers.moving or self._handovers.settling)

    def _take_down(self, found: Settling, count: int, moved: int) -> None:
        found.moves += moved
        found.rounds = count if moved else found.rounds
        found.placed = count if self.homeless else found.placed
        found.scored = count if self.homeless or self._handovers.settling else found.scored
        found.at_once = max(found.at_once, len(self._handovers.moving))

    def _round(self, found: Settling) -> int:
        """Returns how many cameras were moved."""
        self._now += ROUND
        workers = self.workers
        self._handovers.keep_cameras(self.cameras)
        self._handovers.keep_workers(workers)
        self._handovers.finish(lambda camera, worker: self._ready(camera, workers[worker]), now=self._now)
        placed = self._going()
        began = self._clock()
        moving = {*self._handovers.moving, *self._handovers.settling}
        section = self._section
        moves = plan_moves(self.cameras, workers, placed, moving=moving, most=section.moves, fill=section.fill)
        found.plan_s.append(self._clock() - began)
        for move in moves:
            self._since[move.camera] = self._now
            if move.source is None:
                self._handovers.place(move.camera, move.target, now=self._now)
            else:
                self._handovers.begin(move.camera, move.target, now=self._now)
        self._fetch(workers, found)
        return len(moves)

    def _going(self) -> dict[str, str]:
        """Where every camera is, or is on its way to."""
        return {**self._handovers.placed, **{move.camera: move.target for move in self._handovers.moving.values()}}

    def _ready(self, camera: str, worker: WorkerLoad) -> bool:
        return worker.cached.issuperset(self.cameras[camera].scenes) and self._now - self._since[camera] >= OPEN

    def _fetch(self, workers: Mapping[str, WorkerLoad], found: Settling) -> None:
        asked = self._going(), workers.keys()
        if asked != self._wanted_for:  # as the control does it: when something has changed
            self._wanted_for, self._wanted = asked, self._wants(workers, found)
        for name in self.alive:
            self.nodes[name].fetch(self._wanted[name], self._now)

    def _wants(self, workers: Mapping[str, WorkerLoad], found: Settling) -> dict[str, list[str]]:
        """Scenes that every node is to have: first those of its own cameras."""
        placed = self._going()
        began = self._clock()
        spare = prefetch(self.cameras, workers, placed, copies=self._section.copies)
        found.prefetch_s.append(self._clock() - began)
        wanted: dict[str, list[str]] = {name: [] for name in self.alive}
        for camera, worker in placed.items():
            wanted[workers[worker].node] += self.cameras[camera].scenes
        for worker, scenes in spare.items():
            wanted[workers[worker].node] += scenes
        return wanted


def mixed_nodes(count: int, section: ClusterSection, *, first: int = 0) -> dict[str, Node]:
    """Nodes of several kinds: of ten, one has two GPUs, two have one, four have two workers by cores, three four."""
    return {
        f"node-{index:03}": Node(_workers(f"node-{index:03}", index % 10, section))
        for index in range(first, first + count)
    }


def _workers(node: str, kind: int, section: ClusterSection) -> list[WorkerLoad]:
    if kind < 3:
        cost, lanes, number = section.frame_cost.gpu, 1.0, 2 if kind == 0 else 1
    else:
        cost, lanes, number = section.frame_cost.cpu, float(section.worker_cpus), 4 if kind in (3, 5, 7) else 2
    return [WorkerLoad(f"{node}:{index}", node, cost, lanes) for index in range(number)]
