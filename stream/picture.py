"""Whether a camera's pictures still show something: the same one twice, a frozen one, or a lens with something on it.

Used by ``capture`` on live cameras only; pure, and time is handed in. About once a second it looks at a part of the
picture's own pixels. The top and the bottom tenth do not count, for cameras write a clock and a name there, which go on
over a frozen sensor and a covered lens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.messages import CameraState
from stream.stillness import Stillness
from stream.structure import Structure

LOOK_EVERY = 1.0
"""Seconds between two looks. Over a second the noise of a sensor is new, and a walker has gone his own width."""

LOOK_WIDTH = 480
"""Pixels that are looked at across the picture, as they are: averaging would hide what a sensor's noise says."""

WRITING = 10
"""The top and the bottom part, one in so many, hold what cameras write into their pictures."""

_ROWS = 8  # rows that are compared first: where they differ, the picture does


@dataclass(frozen=True, slots=True)
class PictureFault:
    """What is wrong with the pictures."""

    state: CameraState  # FROZEN or OBSCURED
    reason: str  # a sentence for the operator


class PictureWatch:
    """Watches the pictures of one camera, of one size.

    Args:
        frozen_after: seconds without a change after which the picture is frozen; None = never.
        obscured_after: seconds without structure after which the lens is covered; None = never.
    """

    def __init__(self, *, frozen_after: float | None, obscured_after: float | None) -> None:
        self._stillness = None if frozen_after is None else Stillness(frozen_after)
        self._structure = None if obscured_after is None else Structure(obscured_after)
        self._before: NDArray[np.uint8] | None = None
        self._looked = -math.inf  # s, time of the last look
        self._fault: PictureFault | None = None
        self.repeated = False  # whether the frame seen last is bit for bit the one before it

    def see(self, image: NDArray[np.uint8], time: float) -> PictureFault | None:
        """What is wrong, with this frame and those before it; None = nothing.

        Args:
            image: (H, W, 3) uint8 BGR, always of one size; must not be written to afterwards.
            time: seconds, monotonic.
        """
        self.repeated = self._before is not None and _same(self._before, image)
        self._before = image
        if not 0 <= time - self._looked < LOOK_EVERY:
            self._looked = time
            self._fault = self._look(image, time)
        return self._fault

    def _look(self, image: NDArray[np.uint8], time: float) -> PictureFault | None:
        height, width = image.shape[:2]
        step, edge = max(1, round(width / LOOK_WIDTH)), height // WRITING
        pixels = np.ascontiguousarray(image[edge : height - edge : step, ::step, 1])  # green: the least noise of three
        # Both look at every picture, or one would have to begin anew when the other has had its say.
        still = self._stillness.look(pixels, time) if self._stillness else None
        bare = self._structure.look(pixels, time) if self._structure else None
        if bare is not None:  # a covered lens does not move either, and this says more
            return PictureFault(CameraState.OBSCURED, bare)
        return None if still is None else PictureFault(CameraState.FROZEN, still)


def _same(before: NDArray[np.uint8], image: NDArray[np.uint8]) -> bool:
    if before.shape != image.shape:
        return False
    step = max(1, len(image) // _ROWS)
    return np.array_equal(before[::step], image[::step]) and cv2.norm(before, image, cv2.NORM_INF) == 0
