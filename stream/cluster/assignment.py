"""Which worker scores which camera, and keeps which galleries ready: pure rules over what is known of both. For the
control; no clock, no network.

A worker has ``lanes`` seconds of work in a second, and a frame takes ``cost`` of them, so a camera takes the part
``fps * cost / lanes`` of a worker's time: its share. What the cameras of a worker take together is its load. GPUs and
cores are compared by it.

- A camera whose worker is gone is homeless. Homeless cameras go first, the most frames first: to a worker whose node
  has their galleries and stays within ``fill``; if there is none, to whichever is least loaded afterwards. There is
  always one: a camera that is scored too seldom is better than one that nobody watches.
- Then loads are evened out. A camera goes from a worker to a less loaded one if two things hold. It is worth it: the
  gap is ``GAP`` of the larger load, or the larger load is beyond ``fill`` and the other worker takes the camera within
  it. And it is a real step: the other worker ends below where the first began, by half the camera's share at least.

Both workers of such a move end below where the more loaded one began. So the list of all loads, from the largest down,
falls with every move (as words do in a dictionary). No placing comes twice, and as there are finitely many, it comes to
rest. At rest no move is planned: a load that changes by a little moves nothing.

Spare copies of galleries are kept so that a takeover need not wait for one. Nodes and scenes stand on a ring, where
their names put them (consistent hashing). A scene's spare copies lie with the nodes that follow it there and have none
yet. So a node that comes or goes moves only the copies next to it, and those of a node's cameras are spread over many
others: when it dies, its cameras are, too.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b

from stream.config_sections import CameraSection

EVERY_FRAME = 25.0
"""Frames per second of a camera that has all its frames scored, where nothing else is known: what most cameras give."""

GAP = 0.1
"""Part of a worker's load by which another's is lower before a camera is moved for it. Less is not felt: costs are
known no better, and each move makes a camera wait for a moment."""

REAL_STEP = 0.5
"""Part of the camera's share by which a move must lower the larger load: a smaller gain is not worth a move."""


POINTS = 64
"""Places of each node on the ring: with fewer, some would get many more copies than others."""


@dataclass(frozen=True, slots=True)
class WorkerLoad:
    """What the assignment knows of a worker."""

    name: str
    node: str  # machine that it runs on: its workers share the copies of galleries
    cost: float  # s of one lane for a frame, > 0
    lanes: float  # s of work that it does in a second, > 0: 1 for a GPU, ``worker_cpus`` for cores
    cached: frozenset[str] = frozenset()  # scenes whose gallery lies on its disk

    @property
    def capacity(self) -> float:
        """Frames per second that it scores when it does nothing else."""
        return self.lanes / self.cost


@dataclass(frozen=True, slots=True)
class CameraLoad:
    """What the assignment knows of a camera."""

    name: str
    scenes: tuple[str, ...]  # whose galleries it needs
    fps: float  # frames per second that are scored, > 0


@dataclass(frozen=True, slots=True)
class Move:
    """A camera that is to be scored elsewhere."""

    camera: str
    source: str | None  # None: it was nowhere, or its worker is gone
    target: str


def camera_load(camera: CameraSection) -> CameraLoad:
    """What a camera of the configuration asks for. Without ``fps`` it counts as fast: too much is the safe side."""
    fps = camera.fps if camera.fps is not None else max(EVERY_FRAME, camera.folder_fps)
    return CameraLoad(camera.id, camera.scene_names, fps)


def share(camera: CameraLoad, worker: WorkerLoad) -> float:
    """Part of the worker's time that the camera takes: 0.1 = a tenth, above 1 = more than it has."""
    return camera.fps / worker.capacity


def used(
    cameras: Mapping[str, CameraLoad], workers: Mapping[str, WorkerLoad], placed: Mapping[str, str]
) -> dict[str, float]:
    """The load of every worker. Above 1 it cannot keep up, and frames of its cameras are dropped.

    Args:
        cameras, workers: by name.
        placed: camera -> worker. Names that are not in the other two are ignored.
    """
    board = _Board(cameras, workers, placed)
    return dict(board.load)


def plan_moves(
    cameras: Mapping[str, CameraLoad],
    workers: Mapping[str, WorkerLoad],
    placed: Mapping[str, str],
    *,
    moving: Collection[str],
    most: int,
    fill: float,
) -> list[Move]:
    """What is to be moved now, in this order. The same for the same arguments, in whatever order they come.

    Args:
        cameras: all that are to be scored, by name.
        workers: those that work, by name.
        placed: camera -> worker; of one that is moving, where it moves to.
        moving: cameras that are on the move already, or whose new worker is not ready yet: they are left alone, and
            count against ``most``. One whose target is gone is homeless like any other.
        most: cameras that may be on the move at the same time, so that the others are scored undisturbed. Homeless
            ones count, but all of them go at once: nobody watches them, so their waiting would spare nobody.
        fill: load up to which a worker is given cameras, as long as there is room elsewhere.

    Returns:
        At most one move of each camera. Nothing: all is at rest, or as many as may be are on the move, or there is no
        worker.
    """
    board = _Board(cameras, workers, placed)
    if not workers:
        return []
    fixed = {camera for camera in moving if camera in board.at}
    moves = [board.settle(camera, fill) for camera in board.homeless()]
    fixed.update(move.camera for move in moves)
    while len(fixed) < most and (move := board.next_step(fixed, fill)) is not None:
        moves.append(move)
        fixed.add(move.camera)
    return moves


def prefetch(
    cameras: Mapping[str, CameraLoad], workers: Mapping[str, WorkerLoad], placed: Mapping[str, str], *, copies: int
) -> dict[str, tuple[str, ...]]:
    """Scenes that each worker keeps ready besides those of its own cameras.

    Args:
        cameras, workers: by name.
        placed: camera -> worker. Names that are not in the other two are ignored.
        copies: nodes that shall have a copy of each scene; fewer nodes than that: all of them.

    Returns:
        For every worker its scenes, sorted; of a node's workers only one is told to keep a scene.
    """
    of_node: dict[str, list[str]] = {}
    for worker in sorted(workers):
        of_node.setdefault(workers[worker].node, []).append(worker)
    ring = sorted((_point(f"{node}/{index}"), node) for node in of_node for index in range(POINTS))
    spare: dict[str, list[str]] = {worker: [] for worker in workers}
    for scene, holders in sorted(_holders(cameras, workers, placed).items()):
        place = _point(scene)
        for node in _following(ring, place):
            if len(holders) >= copies:
                break
            if node not in holders:
                holders.add(node)
                spare[of_node[node][place % len(of_node[node])]].append(scene)
    return {worker: tuple(scenes) for worker, scenes in spare.items()}


class _Board:
    """Who is where, changed by what is planned."""

    def __init__(
        self, cameras: Mapping[str, CameraLoad], workers: Mapping[str, WorkerLoad], placed: Mapping[str, str]
    ) -> None:
        self._cameras, self._workers = cameras, workers
        self.at = {camera: worker for camera, worker in placed.items() if camera in cameras and worker in workers}
        self._members: dict[str, set[str]] = {worker: set() for worker in workers}
        for camera, worker in self.at.items():
            self._members[worker].add(camera)
        self.load = {worker: self._sum(worker) for worker in workers}

    def homeless(self) -> list[str]:
        """Cameras without a worker, those with the most frames first: the small ones still fit in afterwards."""
        waiting = [camera for camera in self._cameras if camera not in self.at]
        return sorted(waiting, key=lambda camera: (-self._cameras[camera].fps, camera))

    def settle(self, name: str, fill: float) -> Move:
        """Gives a homeless camera to the worker that suits it."""
        camera = self._cameras[name]
        after = {worker: self.load[worker] + share(camera, known) for worker, known in self._workers.items()}
        ready = [worker for worker in after if after[worker] <= fill and not self._missing(camera, worker)]
        target = min(ready or after, key=lambda worker: (after[worker], self._missing(camera, worker), worker))
        self._put(name, target)
        return Move(name, None, target)

    def next_step(self, fixed: Collection[str], fill: float) -> Move | None:
        """The next camera that evens out the loads, moved; from the most loaded worker that one can leave."""
        rising = sorted(self._workers, key=lambda worker: (self.load[worker], worker))
        for source in reversed(rising):
            candidates = self._by_rate(source, fixed)
            for target in rising if candidates else ():
                if self.load[target] >= self.load[source]:
                    break
                if camera := self._best(candidates, source, target, fill):
                    self._put(camera.name, target)
                    return Move(camera.name, source, target)
        return None

    def _by_rate(self, worker: str, fixed: Collection[str]) -> list[CameraLoad]:
        """Cameras of a worker that may be moved, those with the fewest frames first."""
        free = [self._cameras[camera] for camera in self._members[worker] if camera not in fixed]
        return sorted(free, key=lambda camera: (camera.fps, camera.name))

    def _best(self, candidates: list[CameraLoad], source: str, target: str, fill: float) -> CameraLoad | None:
        """The camera whose move leaves the two workers most alike, of those that need no gallery fetched if there are
        such.
        """
        worth = self.load[source] - self.load[target] >= GAP * self.load[source]
        if not worth and self.load[source] <= fill:
            return None
        found = []
        for camera in candidates:
            left, taken = (self._after(camera, source, -1), self._after(camera, target, +1))
            if taken > self.load[source] - REAL_STEP * (self.load[source] - left):
                break  # those that follow have more frames
            if worth or taken <= fill:
                found.append((self._missing(camera, target), max(left, taken), camera.name))
        return self._cameras[min(found)[2]] if found else None

    def _after(self, camera: CameraLoad, worker: str, sign: int) -> float:
        return self.load[worker] + sign * share(camera, self._workers[worker])

    def _missing(self, camera: CameraLoad, worker: str) -> int:
        """Galleries of the camera that the worker would have to fetch."""
        return len(set(camera.scenes) - self._workers[worker].cached)

    def _put(self, camera: str, target: str) -> None:
        source = self.at.get(camera)
        self.at[camera] = target
        self._members[target].add(camera)
        self.load[target] = self._sum(target)
        if source is not None:
            self._members[source].discard(camera)
            self.load[source] = self._sum(source)

    def _sum(self, worker: str) -> float:
        # Rounded once, at the end: the order in which cameras come must not decide anything.
        return math.fsum(share(self._cameras[camera], self._workers[worker]) for camera in self._members[worker])


def _holders(
    cameras: Mapping[str, CameraLoad], workers: Mapping[str, WorkerLoad], placed: Mapping[str, str]
) -> dict[str, set[str]]:
    """Nodes that need each scene for their own cameras."""
    found: dict[str, set[str]] = {scene: set() for camera in cameras.values() for scene in camera.scenes}
    for name, camera in cameras.items():
        if worker := workers.get(placed.get(name, "")):
            for scene in camera.scenes:
                found[scene].add(worker.node)
    return found


def _following(ring: list[tuple[int, str]], place: int) -> Iterator[str]:
    """Nodes from a place of the ring on, once round; each comes as often as it stands there."""
    start = bisect(ring, (place, ""))
    yield from (ring[(start + step) % len(ring)][1] for step in range(len(ring)))


def _point(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest())
