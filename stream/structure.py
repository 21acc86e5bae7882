"""Whether there is anything to see in a picture, or the lens is covered. Used by ``picture``; pure.

A cap, a hand or paint on a lens leaves black, one colour, or a blur without edges; noise may lie over it. So noise is
averaged away first, over blocks of pixels and over the last looks, and then only what bends counts: the Laplacian of
the blocks' means, which a smooth shading does not have.

Measured, part of the blocks with an edge: Ped2 0.21 and more, the PETS recording 0.71, at 12% of its brightness 0.32
(0.09 with noise of 6 grey levels), at 5% 0.12, the synthetic campus 0.69. Black with noise of 4 to 10 grey levels, as
it is or through x264: 0.002 at most from the second look on.
"""

from __future__ import annotations

import math
from collections import deque

import cv2
import numpy as np
from numpy.typing import NDArray

BLOCK = 8
"""Pixels (of those that are looked at) a side over which noise is averaged."""

LOOKS = 5
"""Looks over which noise is averaged, too."""

EDGE = 3.0
"""Grey levels: Laplacian of a block beside a real edge, where there is no noise."""

NOISE_MARGIN = 4.0
"""The same in standard deviations of the noise that is left."""

LEAST, ENOUGH = 0.01, 0.02
"""Part of the blocks with an edge: below the first the lens is covered, from the second on it is free again."""

RECOVERY = 1.0
"""Seconds for which there must be something to see again, so that the state does not flap."""

OTHER_PICTURE = 8.0
"""Grey levels of mean difference from which a look shows another picture, and is not averaged with those before."""

DARK = 32.0
"""Mean grey level below which a picture is called black."""


class Structure:
    """Judges one camera, one look after the other.

    Args:
        after: seconds without structure after which the lens is covered.
    """

    def __init__(self, after: float) -> None:
        self._after = after
        self._past: deque[NDArray[np.float32]] = deque(maxlen=LOOKS)
        self._bare_since: float | None = None  # s; None = there is something to see
        self._good_since: float | None = None  # s, while the lens counts as covered; None = still bare
        self._covered = False

    def look(self, pixels: NDArray[np.uint8], time: float) -> str | None:
        """Why nothing can be seen, in words; None = something can.

        Args:
            pixels: (H, W) uint8, always of one size.
            time: seconds, monotonic.
        """
        share = self.share(pixels)
        self._note(share, time)
        if not self._covered or self._bare_since is None:
            return None
        return _in_words(float(pixels.mean()), time - self._bare_since)

    def share(self, pixels: NDArray[np.uint8]) -> float:
        """Part of the blocks, 0..1, with an edge in this look and those averaged with it."""
        size = (max(3, pixels.shape[1] // BLOCK), max(3, pixels.shape[0] // BLOCK))
        blocks = np.asarray(cv2.resize(pixels.astype(np.float32), size, interpolation=cv2.INTER_AREA), np.float32)
        if self._past and float(cv2.absdiff(blocks, self._past[-1]).mean()) > OTHER_PICTURE:
            self._past.clear()
        self._past.append(blocks)
        bends = np.abs(cv2.Laplacian(np.mean(self._past, axis=0), cv2.CV_32F)[1:-1, 1:-1])
        return float(np.mean(bends > max(EDGE, NOISE_MARGIN * self._noise())))

    def _noise(self) -> float:
        """Standard deviation of the Laplacian by the noise that averaging left, grey levels."""
        if len(self._past) < 2:
            return 0.0
        # The median passes over what moves. Of the difference of two normal values it is 0.954 standard deviations.
        difference = np.median(cv2.absdiff(self._past[-1], self._past[-2])) / 0.954
        return float(difference) * math.sqrt(20 / len(self._past))  # 20: squares of 4, -1, -1, -1, -1

    def _note(self, share: float, time: float) -> None:
        if share >= (ENOUGH if self._covered else LEAST):
            self._good_since = time if self._good_since is None else self._good_since
            if not self._covered or time - self._good_since >= RECOVERY:
                self._bare_since, self._covered = None, False
            return
        self._good_since = None
        self._bare_since = time if self._bare_since is None else self._bare_since
        self._covered = self._covered or time - self._bare_since >= self._after


def _in_words(brightness: float, seconds: float) -> str:
    if brightness < DARK:
        return f"the picture has been black for {seconds:.0f} s: is the lens covered, or is there no light?"
    return f"nothing has been to see in the picture for {seconds:.0f} s: is something on or before the lens?"
