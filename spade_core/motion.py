"""Motion between native frames: what a single frame cannot show (someone running looks like someone walking).

The reader measures it, because only there do frames follow each other closely; the worker compares it with the scene's
own normal motion, place by place. NumPy and OpenCV only.
"""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np
from numpy.typing import NDArray

GRID = 64
"""Cells of a motion map per side: as fine as the finest pyramid level at 256 pixels."""

FLOW_WIDTH = 320
"""Pixels across the picture in which flow is measured: a walker is then a dozen pixels wide, and flow costs 3 ms."""

INTERVAL = 0.1
"""Seconds over which displacement is measured. From one frame to the next of a 30 fps camera a walker moves by less
than the flow's noise, so an older frame is taken there."""

LEAST_INTERVAL = INTERVAL / 10
"""Seconds; displacement over less is not known: scaled up to ``INTERVAL`` it would be the flow's noise, tenfold. Only
where a stream begins can frames be compared that follow each other so closely."""

BLUR = 2.0
"""Sigma of the Gaussian over the flow's magnitude, in flow pixels: flow is ragged at the edges of what moves."""

NORMAL_QUANTILE = 0.999
"""The part of normal frames that move less at a place than its normal level."""

NOISE_FLOOR = 1.0
"""Flow pixels per ``INTERVAL`` added to a place's normal level: below that, motion is noise, foliage and light."""

_HISTORY = 64  # frames kept at most, for cameras of several hundred frames per second


class MotionMeter:
    """Measures motion along one stream of native frames."""

    def __init__(self) -> None:
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._past: deque[tuple[float, NDArray[np.uint8]]] = deque(maxlen=_HISTORY)
        self._segment = ""

    def see(self, image: NDArray[np.uint8], time: float, segment: str = "") -> None:
        """Takes the next native frame; every frame must pass here, wanted or not.

        Args:
            image: (H, W, 3) uint8 BGR.
            time: seconds, by the source's clock.
            segment: clip; motion is never measured from one clip to another.
        """
        gray = _flow_picture(image)
        is_new = segment != self._segment or (self._past and self._past[-1][1].shape != gray.shape)
        if is_new:
            self._past.clear()
        self._segment = segment
        # The one just old enough stays: it is what the next frames are compared with.
        while len(self._past) > 1 and time - self._past[1][0] >= INTERVAL * 0.9:
            self._past.popleft()
        self._past.append((time, gray))

    def measure(self) -> NDArray[np.float16] | None:
        """The motion at the frame seen last.

        Returns:
            (GRID, GRID) float16, flow pixels per ``INTERVAL``, always finite; None where there is no frame to compare
            with, or only one that is too close or too long ago.
        """
        if len(self._past) < 2:
            return None
        (then, before), (now, current) = self._past[0], self._past[-1]
        if not LEAST_INTERVAL <= now - then < 5 * INTERVAL:  # after a gap, what moved in it is not known
            return None
        flow = self._flow.calc(before, current, None)  # type: ignore[call-overload]
        speed = cv2.GaussianBlur(cv2.magnitude(flow[..., 0], flow[..., 1]), (0, 0), BLUR) * (INTERVAL / (now - then))
        cells = cv2.resize(speed, (GRID, GRID), interpolation=cv2.INTER_AREA)
        return np.asarray(np.minimum(cells, np.finfo(np.float16).max), np.float16)


def normal_motion(maps: NDArray[np.floating]) -> NDArray[np.float32]:
    """The level of motion that is normal at each place.

    Args:
        maps: (N, GRID, GRID) motion maps of normal frames; rows of NaN (no motion known) are passed over.

    Returns:
        (GRID, GRID) float32: the ``NORMAL_QUANTILE`` of each place and its direct neighbours, plus ``NOISE_FLOOR``.
    """
    known = maps[~np.isnan(maps).any(axis=(1, 2))].astype(np.float32)
    if len(known) == 0:
        return np.full((GRID, GRID), NOISE_FLOOR, np.float32)
    levels = np.quantile(known, NORMAL_QUANTILE, axis=0).astype(np.float32)
    return np.asarray(cv2.dilate(levels, np.ones((3, 3), np.uint8)) + NOISE_FLOOR, np.float32)


def _flow_picture(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    height = max(16, round(image.shape[0] * FLOW_WIDTH / image.shape[1]))
    return np.asarray(cv2.resize(gray, (FLOW_WIDTH, height), interpolation=cv2.INTER_AREA), np.uint8)
