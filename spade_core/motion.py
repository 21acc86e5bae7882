"""Motion between native frames: what a single frame cannot show (someone running looks like someone walking).

The reader measures it, because only there do frames follow each other closely; the worker compares it with the scene's
own normal motion, place by place. NumPy and OpenCV only.

A walker's limbs swing faster than the walker walks, and flow is noisy on things a dozen pixels wide. So velocities, not
speeds, are averaged: over about the width of a body, where swinging limbs cancel, and over the last third of a second
along the motion itself, which follows whatever moves instead of smearing it.
"""

from __future__ import annotations

import math
from collections import deque

import cv2
import numpy as np
from numpy.typing import NDArray

from spade_core.preprocess import Preprocess

GRID = 64
"""Cells of a motion map per side: as fine as the finest pyramid level at 256 pixels."""

FLOW_WIDTH = 320
"""Pixels across the picture in which flow is measured: a walker is then a dozen pixels wide."""

FINEST_SCALE = 1
"""Flow is refined down to half of ``FLOW_WIDTH`` (DIS counts scales in halvings). The fast preset stops one scale
earlier, where a walker is three pixels wide and moves with the ground: on UCSD Ped2 that costs 0.1 of frame AUC."""

DESCENTS, REFINEMENTS = 8, 2
"""Iterations of DIS's patch search and of its variational refinement: half of the fast preset's, and no worse here, for
what they find is averaged anyway. 5 ms a frame instead of 7."""

INTERVAL = 0.1
"""Seconds over which displacement is measured. From one frame to the next of a 30 fps camera a walker moves by less
than the flow's noise, so an older frame is taken there."""

LEAST_INTERVAL = INTERVAL / 10
"""Seconds; displacement over less is not known: scaled up to ``INTERVAL`` it would be the flow's noise, tenfold. Only
where a stream begins can frames be compared that follow each other so closely."""

MEMORY = 0.3
"""Seconds, time constant of the average over time: about half a step, so that the two legs' swings cancel."""

BODY = 3.6
"""Sigma of the Gaussian over velocities, in flow pixels: half of a walker's width, so that a body counts as one."""

MOVING = 0.25
"""Flow pixels per ``INTERVAL`` from which a place counts as moving: flow's noise on a still picture lies below."""

NEIGHBOURHOOD = GRID / 14
"""Sigma, in cells, over which the usual speed is averaged. Perspective changes it slowly over the picture, and people
go where nobody went while the scene was enrolled: a place alone knows too little."""

UNSEEN = 1e-3
"""Where less than this part of normal frames moved, the usual speed leans on that of the whole scene."""

NOISE_FLOOR = 0.15
"""Flow pixels per ``INTERVAL`` added to the usual speed: far away, where that is small, noise would else count."""

NOTHING_MOVES = 1.0
"""Usual speed in flow pixels per ``INTERVAL`` of a scene in which nothing ever moved: a walker's, some way off."""

_HISTORY = 64  # frames kept at most, for cameras of several hundred frames per second
_COARSE = 2  # velocities are averaged in a picture so many times smaller than the flow's: they are smooth


class MotionMeter:
    """Measures motion along one stream of native frames.

    Args:
        preprocess: what scoring images are made with; where it crops, motion is that of the part that is scored.
        memory: seconds, time constant of the average over time; 0 = none.
    """

    def __init__(self, preprocess: Preprocess | None = None, *, memory: float = MEMORY) -> None:
        self._preprocess, self._memory = preprocess or Preprocess(), memory
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._flow.setFinestScale(FINEST_SCALE)
        self._flow.setGradientDescentIterations(DESCENTS)
        self._flow.setVariationalRefinementIterations(REFINEMENTS)
        self._past: deque[tuple[float, NDArray[np.uint8]]] = deque(maxlen=_HISTORY)
        self._velocity: NDArray[np.float32] | None = None  # (h, w, 2) flow pixels per INTERVAL, averaged
        self._measured = -math.inf  # s, time of the frame that it was last brought up to
        self._segment = ""

    def see(self, image: NDArray[np.uint8], time: float, segment: str = "") -> None:
        """Takes the next native frame; every frame must pass here, wanted or not.

        Args:
            image: (H, W, 3) uint8 BGR.
            time: seconds, by the source's clock.
            segment: clip; motion is never measured from one clip to another.
        """
        x, y, width, height = self._preprocess.part(image.shape[1], image.shape[0])
        gray = _flow_picture(image[y : y + height, x : x + width])
        past = self._past
        if segment != self._segment or (past and past[-1][1].shape != gray.shape):
            past.clear()
        if past and not 0 <= time - past[-1][0] < 5 * INTERVAL:  # after a gap, what moved in it is not known
            past.clear()
        if not past:
            self._velocity, self._measured = None, -math.inf
        self._segment = segment
        # The one just old enough stays: it is what the next frames are compared with.
        while len(past) > 1 and time - past[1][0] >= INTERVAL * 0.9:
            past.popleft()
        past.append((time, gray))
        # At every INTERVAL and not only at sampled frames, so that motion means the same at any sampling rate.
        if time - past[0][0] >= LEAST_INTERVAL and time - self._measured >= INTERVAL * 0.9:
            self._update()

    def measure(self) -> NDArray[np.float16] | None:
        """The motion at the frame seen last.

        Returns:
            (GRID, GRID) float16, flow pixels per ``INTERVAL``, always finite; None where there is no frame to compare
            with, or only one that is too close or too long ago.
        """
        if self._velocity is None:
            return None
        speed = cv2.magnitude(self._velocity[..., 0], self._velocity[..., 1])
        cells = cv2.resize(speed, (GRID, GRID), interpolation=cv2.INTER_AREA)
        return np.asarray(np.minimum(cells, np.finfo(np.float16).max), np.float16)

    def _update(self) -> None:
        (then, before), (now, current) = self._past[0], self._past[-1]
        flow = self._flow.calc(before, current, None)  # type: ignore[call-overload]
        size = (max(1, flow.shape[1] // _COARSE), max(1, flow.shape[0] // _COARSE))
        coarse = cv2.resize(flow, size, interpolation=cv2.INTER_AREA) * np.float32(INTERVAL / (now - then))
        velocity = np.asarray(cv2.GaussianBlur(coarse, (0, 0), BODY / _COARSE), np.float32)
        if self._velocity is not None and self._memory > 0:
            elapsed = now - self._measured
            new = 1 - math.exp(-elapsed / self._memory)
            velocity = new * velocity + (1 - new) * _carried(
                self._velocity, along=velocity, intervals=elapsed / INTERVAL
            )
        self._velocity, self._measured = np.asarray(velocity, np.float32), now


def usual_speed(maps: NDArray[np.floating]) -> NDArray[np.float32]:
    """How fast what moves at a place, and around it, usually moves in normal frames.

    Args:
        maps: (N, GRID, GRID) motion maps of normal frames; rows of NaN (no motion known) are passed over.

    Returns:
        (GRID, GRID) float32, above 0: mean speed of what moves (``MOVING``), averaged over the ``NEIGHBOURHOOD`` by how
        often something moves there, plus ``NOISE_FLOOR``. Flow pixels per ``INTERVAL``.
    """
    total, moves = np.zeros((GRID, GRID), np.float32), np.zeros((GRID, GRID), np.float32)
    frames = 0
    for block in (maps[start : start + 256] for start in range(0, len(maps), 256)):
        known = block[~np.isnan(block).any(axis=(1, 2))].astype(np.float32)
        moving = known > MOVING
        total += np.where(moving, known, 0).sum(axis=0, dtype=np.float32)
        moves += moving.sum(axis=0, dtype=np.float32)
        frames += len(known)
    if not moves.any():
        return np.full((GRID, GRID), NOTHING_MOVES, np.float32)
    scene = float(total.sum() / moves.sum())
    unseen = UNSEEN * frames
    usual = (_around(total) + unseen * scene) / (_around(moves) + unseen)
    return np.asarray(usual + NOISE_FLOOR, np.float32)


def confirmed_speed(
    usual: NDArray[np.float32], maps: NDArray[np.floating], *, scale: float
) -> NDArray[np.float32]:
    """The usual speed of a scene in which somebody called what these frames show normal.

    One frame among thousands would not move a mean. So the usual speed is raised where it has to be for each of these
    speeds to be no more than ``scale`` times it, which is what normal footage reaches.

    Args:
        usual: (GRID, GRID) from :func:`usual_speed`.
        maps: (M, GRID, GRID) motion maps; rows of NaN are passed over.
        scale: usual speeds, above 0.
    """
    known = maps[~np.isnan(maps).any(axis=(1, 2))].astype(np.float32)
    if not len(known):
        return usual
    return np.asarray(np.maximum(usual, known.max(axis=0) / np.float32(scale)), np.float32)


def _around(cells: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(cells, (0, 0), NEIGHBOURHOOD), np.float32)


def _carried(past: NDArray[np.float32], *, along: NDArray[np.float32], intervals: float) -> NDArray[np.float32]:
    """(h, w, 2) velocities of ``intervals`` ago, each moved to where it has gone since; ``along`` in flow pixels."""
    height, width = past.shape[:2]
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    way = along * np.float32(intervals / _COARSE)
    came_from = (columns - way[..., 0], rows - way[..., 1])
    return np.asarray(cv2.remap(past, *came_from, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


def _flow_picture(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    height = max(16, round(image.shape[0] * FLOW_WIDTH / image.shape[1]))
    return np.asarray(cv2.resize(gray, (FLOW_WIDTH, height), interpolation=cv2.INTER_AREA), np.uint8)
