"""Which live frames may show how a scene slowly changes: quiet ones, now and then, far from anything that was told of.

Pure: the worker hands in every frame with its score and the camera's state; what comes out is kept by ``drift_store``
until ``drift_follow`` decides about it. A candidate waits in memory until the time after it was quiet, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from stream.kept_frame import KeptFrame

DAY = 86_400.0
"""Seconds."""

QUIET = 0.7
"""Highest score of a candidate, in thresholds as they were calibrated. Someone who loiters is above it most of the
time; what drifts comes there long before it raises alerts."""

CALM = 300.0
"""Seconds before and after a candidate in which nothing may have been above the threshold, and the camera must have
been watched without a break: who was told of came from somewhere and went somewhere."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One frame of a camera, as far as drift goes by it."""

    camera: str
    scene: str
    time: float  # Unix seconds, of the frame
    strength: float | None  # score in calibrated thresholds; None = it has none
    watched: bool  # the camera is live, nobody snoozed it, no alert is open


@dataclass(slots=True)
class _Camera:
    disturbed: float  # s, when something last spoke against its frames
    last: float  # s, its last frame
    waiting: KeptFrame | None = None


class DriftCollector:
    """Takes the frames of all cameras; one object per worker.

    Args:
        per_day: candidates wanted of a scene and day; 0 = none are collected.
        keep: called with each candidate, once it is one.
        problem: why the last one could not be kept, in words; "" where it was.
    """

    def __init__(self, per_day: int, keep: Callable[[KeptFrame], None], *, problem: Callable[[], str] = str) -> None:
        self.per_day, self._keep, self._problem = per_day, keep, problem
        self._cameras: dict[str, _Camera] = {}
        self._due: dict[str, float] = {}  # scene -> s, when the next one is wanted

    @property
    def problem(self) -> str:
        """Why candidates are being lost now; "" = they are not."""
        return self._problem() if self.per_day > 0 else ""

    def see(self, seen: Seen, frame: Callable[[], KeptFrame]) -> None:
        """The next frame of a camera. ``frame`` makes it to be kept; asked for a candidate only."""
        camera = self._cameras.get(seen.camera)
        if camera is None or not 0 <= seen.time - camera.last < CALM:
            # Nobody knows what was before the first frame, nor in a gap.
            camera = self._cameras[seen.camera] = _Camera(seen.time, seen.time)
        camera.last = seen.time
        if self._disturbs(seen):
            camera.disturbed, camera.waiting = seen.time, None
        elif camera.waiting is not None:
            self._ripen(camera, seen)
        elif self._wanted(camera, seen):
            camera.waiting = frame()

    def forget(self, camera: str) -> None:
        """The camera begins anew: what waits of it is dropped."""
        self._cameras.pop(camera, None)

    def _disturbs(self, seen: Seen) -> bool:
        # A score that is no number is no quiet one.
        return not seen.watched or seen.strength is None or not seen.strength <= 1

    def _wanted(self, camera: _Camera, seen: Seen) -> bool:
        return (
            self.per_day > 0
            and seen.time - camera.disturbed >= CALM
            and seen.time >= self._due.get(seen.scene, -math.inf)
            and seen.strength is not None
            and seen.strength <= QUIET
        )

    def _ripen(self, camera: _Camera, seen: Seen) -> None:
        waiting = camera.waiting
        if waiting is None or seen.time - waiting.frame_time < CALM:
            return
        camera.waiting = None
        if seen.time >= self._due.get(waiting.scene, -math.inf):  # else another camera of the scene was first
            self._due[waiting.scene] = waiting.frame_time + DAY / max(1, self.per_day)
            self._keep(waiting)
