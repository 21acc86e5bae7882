"""Where somebody is at a time: straight legs between points on the ground, each reached at its own time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np

_TURN = 0.3  # seconds before and after a corner in which it is rounded


@dataclass(frozen=True, slots=True)
class Step:
    """One moment on a path."""

    x: float  # metres
    z: float  # metres
    heading: float  # radians, 0 = +x, turning to +z
    speed: float  # metres per second
    distance: float  # metres since the path began


class Path:
    """Ground points (x, z) in metres, and the times in seconds at which they are passed; equal points are a rest."""

    def __init__(self, times: Sequence[float], points: Sequence[tuple[float, float]]) -> None:
        self._times = np.asarray(times, np.float64)
        self._points = np.asarray(points, np.float64)
        legs = np.hypot(*np.diff(self._points, axis=0).T)
        self._distances = np.concatenate([[0.0], np.cumsum(legs)])

    @classmethod
    def steady(cls, start: float, speed: float, points: Sequence[tuple[float, float]]) -> Path:
        """At one speed (metres per second) through all points, from the time ``start``."""
        legs = [math.dist(a, b) for a, b in pairwise(points)]
        return cls([start + length / speed for length in accumulate(legs, initial=0.0)], points)

    @property
    def start(self) -> float:
        """Seconds."""
        return float(self._times[0])

    @property
    def end(self) -> float:
        """Seconds."""
        return float(self._times[-1])

    def covers(self, time: float) -> bool:
        """Whether ``time`` lies between its start (included) and its end (not included)."""
        return self.start <= time < self.end

    def at(self, time: float) -> Step:
        """Position, smoothed heading and speed at ``time``, which is held within the path's own."""
        (x, z), before, after = self._point(time), self._point(time - _TURN), self._point(time + _TURN)
        span = min(time + _TURN, self.end) - max(time - _TURN, self.start)
        dx, dz = after[0] - before[0], after[1] - before[1]
        moved = math.hypot(dx, dz)
        if moved < 0.02:  # resting, or turning on the spot: looks where it will go, or where it came from
            dx, dz = self._way(time)
        distance = float(np.interp(time, self._times, self._distances))
        return Step(x, z, math.atan2(dz, dx), moved / max(span, 1e-6), distance)

    def _point(self, time: float) -> tuple[float, float]:
        return (
            float(np.interp(time, self._times, self._points[:, 0])),
            float(np.interp(time, self._times, self._points[:, 1])),
        )

    def _way(self, time: float) -> tuple[float, float]:
        legs = np.diff(self._points, axis=0)
        moving = np.flatnonzero(np.abs(legs).sum(axis=1) > 1e-6)
        past = moving[self._times[moving] <= time]
        leg = legs[past[-1] if len(past) else moving[0]]
        return float(leg[0]), float(leg[1])
