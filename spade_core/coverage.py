"""How well a gallery covers its scene while it is being made: how much new footage still adds, and when it is ready.

A frame is *known* when some frame seen at least ``APART`` seconds before looks no less like it than the picture of one
second ago does, in nine of ten cases: the distance of their pooled features is at most the ``QUANTILE`` of all
distances over ``STEP`` seconds so far. So the yardstick is the scene's own, for a busy square and an empty corridor
alike, and footage that goes on changing is never known, however evenly it changes. Frames close in time prove nothing:
they show the same walkers.

Coverage is the known part of the last minute. What it cannot tell is what has not happened yet: the school bus at four,
rain, night.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from spade_core.errors import InputError

APART = 10.0
"""Seconds: a walker crosses a scene in about ten."""

STEP = 1.0
"""Seconds over which a scene's usual change is measured: walkers move by a step or two, nobody comes or goes."""

QUANTILE = 0.9
"""Of the distances over ``STEP``: in a scene that is empty most of the time, the few who pass set the yardstick."""

WINDOW = 60.0
"""Seconds of the latest footage that coverage is about."""

LEAST_FRAMES = 30
"""Fewer frames in the window say nothing. So there is no coverage of footage sampled less than every other second."""

COVERED = 0.95
"""Coverage from which new footage adds little. A minute holds about 20 frames that are independent of each other, so
that 1 cannot be asked for.
"""

LASTING = 120.0
"""Seconds that coverage must stay there: two windows that have no frame in common."""

LEAST_FOOTAGE = 180.0
"""Seconds that must be watched at least."""

REMEMBERED = 2048
"""Frames that stand for all before, evenly spaced: 10 MB, and some milliseconds a frame."""

_STEPS = 4096  # latest distances over STEP that are kept


class Coverage:
    """Watches pooled features come in. One object per enrolment."""

    def __init__(self) -> None:
        self._kept = np.empty((0, 0), np.float32)  # (REMEMBERED, D)
        self._times = np.empty(REMEMBERED)  # s
        self._count, self._stride, self._seen = 0, 1, 0
        self._recent: deque[tuple[float, NDArray[np.float32]]] = deque()  # back to STEP ago
        self._steps: deque[float] = deque(maxlen=_STEPS)
        self._window: deque[tuple[float, bool]] = deque()  # time, whether the frame was known
        self._begin = self._now = 0.0
        self._covered_since: float | None = None
        self._curve: list[tuple[float, float]] = []

    def see(self, pooled: NDArray[np.float32], time: float) -> None:
        """Takes the next normal frame.

        Args:
            pooled: (D,) float32 pooled features.
            time: seconds by the source's clock; frames come in order.

        Raises:
            InputError: D is not that of the frames before.
        """
        if self._seen == 0:
            self._kept, self._begin = np.empty((REMEMBERED, len(pooled)), np.float32), time
        if pooled.shape != self._kept.shape[1:]:
            raise InputError(f"pooled features have shape {pooled.shape}; those before had {self._kept.shape[1:]}")
        self._now = time
        self._measure_step(pooled, time)
        # Kept frames are in order of time, so those far enough away come first.
        older = int(np.searchsorted(self._times[: self._count], time - APART, side="right"))
        if older and self._steps:
            nearest = float(np.linalg.norm(self._kept[:older] - pooled, axis=1).min())
            self._window.append((time, nearest <= float(np.quantile(self._steps, QUANTILE))))
        elif time - self._begin >= APART:  # nothing to measure with: frames come too seldom
            self._window.clear()
        while self._window and time - self._window[0][0] > WINDOW:
            self._window.popleft()
        self._keep(pooled, time)
        self._note_progress()

    @property
    def value(self) -> float | None:
        """Coverage at this moment, 0..1; None while there is too little footage to say."""
        if len(self._window) < LEAST_FRAMES or self._now - self._begin < WINDOW:
            return None
        return 1.0 - self.new_frames / len(self._window)

    @property
    def window_seconds(self) -> float:
        """How far back :attr:`value` and :attr:`new_frames` look."""
        return self._now - self._window[0][0] if self._window else 0.0

    @property
    def new_frames(self) -> int:
        """Frames of the window that were not known."""
        return sum(not known for _, known in self._window)

    @property
    def is_covered(self) -> bool:
        """New footage adds little."""
        return self.value is not None and self.value >= COVERED

    @property
    def is_lasting(self) -> bool:
        """That has been so for ``LASTING`` seconds, in at least ``LEAST_FOOTAGE`` seconds of footage: watch no more."""
        since = self._covered_since
        return since is not None and self._now - since >= LASTING and self._now - self._begin >= LEAST_FOOTAGE

    @property
    def curve(self) -> tuple[tuple[float, float], ...]:
        """(minutes of footage, coverage), one pair a minute."""
        return tuple(self._curve)

    def _measure_step(self, pooled: NDArray[np.float32], time: float) -> None:
        recent = self._recent
        while len(recent) > 1 and time - recent[1][0] >= STEP - 1e-3:  # the one just old enough stays
            recent.popleft()
        if recent and STEP - 1e-3 <= time - recent[0][0] <= 2.5 * STEP:
            self._steps.append(float(np.linalg.norm(recent[0][1] - pooled)))
        recent.append((time, pooled.copy()))

    def _keep(self, pooled: NDArray[np.float32], time: float) -> None:
        if self._count == REMEMBERED:  # every second one goes
            self._count, self._stride = REMEMBERED // 2, self._stride * 2
            self._kept[: self._count], self._times[: self._count] = self._kept[::2].copy(), self._times[::2].copy()
        if self._seen % self._stride == 0:
            self._kept[self._count], self._times[self._count] = pooled, time
            self._count += 1
        self._seen += 1

    def _note_progress(self) -> None:
        value = self.value
        if value is None or value < COVERED:
            self._covered_since = None
        elif self._covered_since is None:
            self._covered_since = self._now
        minutes = float(int((self._now - self._begin) / 60))
        if value is not None and minutes > (self._curve[-1][0] if self._curve else 0):
            self._curve.append((minutes, round(value, 3)))
