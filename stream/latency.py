"""How long frames take, and how strong their scores are, counted in fixed buckets: what a monitor draws quantiles of.

Counts only ever grow, so that whoever looks at them seldom loses nothing in between. Used by ``worker`` and ``camera``.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of durations, s: from a quick stage to a frame that is too old to be of use."""

STRENGTHS = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
"""Upper bounds of scores in thresholds: fine around 1, where alerts begin."""

STAGES = ("capture_to_worker", "queue", "score", "commit", "capture_to_commit")
"""Stages of a frame in the worker. The first and the last need a clock that reader and worker share; the last two are
measured on frames that led to an alert message."""


class Histogram:
    """Counts values by fixed upper bounds, each of which belongs to its bucket (Prometheus' ``le``).

    Args:
        bounds: rising, finite. What is above the last one is counted, too.
    """

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Counts a value. What is no number, or makes the sum none, is counted above all bounds and left out of it."""
        if not math.isfinite(self._sum + value):  # the sum is told in JSON, which has no infinity
            self._counts[-1] += 1
            return
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def to_json(self) -> dict[str, Any]:
        """``le``: the bounds; ``counts``: values of each bucket alone, and above the last; ``sum`` and ``count``."""
        return {
            "le": list(self._bounds),
            "counts": list(self._counts),
            "sum": self._sum,
            "count": sum(self._counts),
        }


class StageTimes:
    """Seconds that the frames of one worker spend in each stage. Times are monotonic seconds of this machine."""

    def __init__(self) -> None:
        self._stages = {stage: Histogram(SECONDS) for stage in STAGES}
        self._arrived: dict[str, float] = {}  # by camera: the frame that waits
        self._began: dict[str, float] = {}  # by camera: the frame that is being scored

    def arrive(self, camera: str, now: float, *, captured: float | None) -> None:
        """A frame has come from its reader.

        Args:
            camera: id.
            now: when.
            captured: when it was captured; None where that is another machine's time.
        """
        self._arrived[camera] = now
        if captured is not None:
            self._stages["capture_to_worker"].add(now - captured)

    def begin(self, camera: str, now: float) -> None:
        """The frame that waits is taken into scoring."""
        self._began[camera] = now
        if (arrived := self._arrived.pop(camera, None)) is not None:
            self._stages["queue"].add(now - arrived)

    def scored(self, camera: str, now: float) -> None:
        """Its result is there."""
        if (began := self._began.pop(camera, None)) is not None:
            self._stages["score"].add(now - began)

    def committed(self, seconds: float, age: float | None) -> None:
        """It led to an alert message, which is committed.

        Args:
            seconds: that deciding, drawing and committing took.
            age: seconds since it was captured; None where that is not known.
        """
        self._stages["commit"].add(seconds)
        if age is not None:
            self._stages["capture_to_commit"].add(age)

    def to_json(self) -> Mapping[str, Any]:
        """The histogram of every stage."""
        return {stage: histogram.to_json() for stage, histogram in self._stages.items()}
