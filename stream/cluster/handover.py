"""Which worker scores each camera, and how a camera goes from one to another without a gap. For ``control``.

A camera that is being scored stays where it is until the worker that takes it over says that it is ready; meanwhile
both have it in their orders, and its reader sends to the old one. A camera that nobody scores goes at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

READY_WITHIN = 30.0
"""Seconds that a worker has to get ready for a camera. One that another still scores stays there after that."""

FETCH_WITHIN = 300.0
"""The same, as long as the gallery that it fetches for the camera comes nearer: a large one may take minutes."""

LINGER = 4.0
"""Seconds for which the worker before still scores a camera after the directory names the new one: its reader asks
every 2 s, and then waits for word of the frames under way."""


@dataclass(frozen=True, slots=True)
class Handover:
    """A camera on its way between two workers."""

    camera: str
    source: str  # scores it until the other is ready
    target: str
    began: float  # monotonic seconds
    came_nearer: float  # the same: when it began, or the target last got on with fetching what it needs


@dataclass(frozen=True, slots=True)
class Outcome:
    """How handovers went since the last look."""

    done: tuple[Handover, ...] = ()
    given_up: tuple[Handover, ...] = ()  # their targets were not ready in time: the sources go on


class Handovers:
    """The workers of all cameras.

    Args:
        placed: worker of each camera, from before.
    """

    def __init__(self, placed: Mapping[str, str]) -> None:
        self._placed = dict(placed)
        self._last = dict(placed)  # also of those that have none now
        self._moving: dict[str, Handover] = {}
        self._settling: dict[str, float] = {}
        self._lingering: dict[str, tuple[str, float]] = {}  # camera -> the worker before, and until when; monotonic
        self.done = 0  # cameras that came to another worker than the one before, so far

    @property
    def placed(self) -> Mapping[str, str]:
        """Worker of each camera that has one: the one that its reader is sent to."""
        return self._placed

    @property
    def moving(self) -> Mapping[str, Handover]:
        """Cameras on their way, by id."""
        return self._moving

    @property
    def untouched(self) -> bool:
        """Whether no camera was ever placed."""
        return not self._last

    @property
    def awaited(self) -> set[str]:
        """Workers whose next word somebody waits for."""
        return {move.target for move in self._moving.values()} | {self._placed[camera] for camera in self._settling}

    @property
    def settling(self) -> Collection[str]:
        """Cameras that were placed a moment ago, and whose worker is not ready yet."""
        return self._settling.keys()

    def still_scored_by(self, camera: str) -> str | None:
        """The worker before, as long as the camera's reader may not have heard of the new one."""
        return self._lingering[camera][0] if camera in self._lingering else None

    def has_cameras(self, worker: str) -> bool:
        """Whether any camera is placed there."""
        return worker in self._placed.values()

    def keep_cameras(self, cameras: Collection[str]) -> None:
        """Forgets all other cameras."""
        for camera in (self._placed.keys() | self._lingering.keys()) - set(cameras):
            self._placed.pop(camera, None)
            self._moving.pop(camera, None)
            self._settling.pop(camera, None)
            self._lingering.pop(camera, None)

    def keep_workers(self, workers: Collection[str]) -> None:
        """Takes the cameras of all other workers away. Where one was on its way, the other end has it."""
        for move in list(self._moving.values()):
            if move.source not in workers or move.target not in workers:
                del self._moving[move.camera]
                if move.target in workers:
                    self._put(move.camera, move.target)
        for camera, worker in list(self._placed.items()):
            if worker not in workers:
                del self._placed[camera]
                self._settling.pop(camera, None)

    def adopt(self, camera: str, worker: str) -> None:
        """Leaves a camera where it is found."""
        self._put(camera, worker)

    def place(self, camera: str, worker: str, *, now: float) -> None:
        """Gives a camera that nobody scores to a worker, at once."""
        self._put(camera, worker)
        self._settling[camera] = now

    def begin(self, camera: str, target: str, *, now: float) -> None:
        """Lets a worker get ready for a camera that another one scores."""
        source = self._placed[camera]
        if source != target:
            self._moving[camera] = Handover(camera, source, target, now, now)

    def call_off(self, camera: str) -> None:
        """Ends its move: it stays where it is."""
        del self._moving[camera]

    def comes_nearer(self, camera: str, *, now: float) -> None:
        """The target of a move gets on with what it needs: it is given more time."""
        self._moving[camera] = replace(self._moving[camera], came_nearer=now)

    def finish(self, ready: Callable[[str, str], bool], *, now: float) -> Outcome:
        """Completes what can be completed, and gives up what takes too long.

        Args:
            ready: whether a worker would score a camera's frames now: ``ready(camera, worker)``.
            now: monotonic seconds.
        """
        done, given_up = [], []
        for move in list(self._moving.values()):
            if ready(move.camera, move.target):
                self._put(move.camera, move.target)
                self._lingering[move.camera] = (move.source, now + LINGER)
                done.append(move)
            elif now - move.came_nearer > READY_WITHIN or now - move.began > FETCH_WITHIN:
                given_up.append(move)
        for move in (*done, *given_up):
            del self._moving[move.camera]
        self._lingering = {camera: left for camera, left in self._lingering.items() if now < left[1]}
        self._settling = {
            camera: began
            for camera, began in self._settling.items()
            if now - began <= READY_WITHIN and not ready(camera, self._placed[camera])
        }
        return Outcome(tuple(done), tuple(given_up))

    def cameras_of(self) -> dict[str, tuple[str, ...]]:
        """What each worker that has any is to score or to get ready for, in order of their names."""
        found: dict[str, set[str]] = {}
        for camera, worker in self._placed.items():
            found.setdefault(worker, set()).add(camera)
        for move in self._moving.values():
            found.setdefault(move.target, set()).add(move.camera)
        for camera, (worker, _) in self._lingering.items():
            found.setdefault(worker, set()).add(camera)
        return {worker: tuple(sorted(cameras)) for worker, cameras in found.items()}

    def _put(self, camera: str, worker: str) -> None:
        self.done += self._last.get(camera, worker) != worker
        self._placed[camera] = self._last[camera] = worker
