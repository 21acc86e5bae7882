"""What one connection to a camera shows: the motion in it, its size, and whether it is worth scoring.

Used by ``capture``. On a live camera, pictures that say nothing (frozen, covered, repeated) are found here, and why is
reported. A recording is left alone: every frame of it is scored, whatever it shows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spade_core.motion import MotionMeter
from stream.messages import CameraState
from stream.picture import PictureFault, PictureWatch
from stream.sources.base import SourceFrame

Size = tuple[int, int]

_DROPPED = {CameraState.FROZEN: "reader.frozen", CameraState.OBSCURED: "reader.obscured"}


@dataclass(frozen=True, slots=True)
class Watching:
    """How a live camera's pictures are watched; see :class:`stream.picture.PictureWatch`."""

    frozen_after: float | None = 30.0  # s without a change; None = never frozen
    obscured_after: float | None = 5.0  # s without structure; None = never covered

    def begin(self) -> PictureWatch:
        """A watch that has seen nothing yet."""
        return PictureWatch(frozen_after=self.frozen_after, obscured_after=self.obscured_after)


class Lookout:
    """Sees every native frame of one connection.

    Args:
        name: of the source, for reports.
        new_meter: makes what measures motion.
        watching: of the pictures; None = a recording.
        size: width and height of what the camera showed before it was opened again.
        report: told of every change of state.
    """

    def __init__(
        self,
        name: str,
        *,
        new_meter: Callable[[], MotionMeter],
        watching: Watching | None,
        size: Size | None,
        report: Callable[[CameraState, str], None],
    ) -> None:
        self._name, self._new_meter, self._watching, self._report = name, new_meter, watching, report
        self._meter, self._watch = new_meter(), watching.begin() if watching else None
        self._started = False
        self._fault: PictureFault | None = None
        self.size = size  # of the frame seen last

    def see(self, frame: SourceFrame, now: float) -> str | None:
        """Why the frame is not to be scored, as the name of a drop; None = it may be.

        Args:
            frame: the next native one.
            now: seconds, monotonic: a camera's own clock may stand still as its picture does.
        """
        self._see_size(frame.image)
        if self._watch is not None:
            self._see_fault(self._watch.see(frame.image, now))
            if self._fault is not None:
                return _DROPPED[self._fault.state]
            if self._watch.repeated:  # as motion it would be none, and then twice as much
                return "reader.duplicate"
        self._meter.see(frame.image, frame.media_time, frame.segment)
        return None

    def motion(self) -> NDArray[np.float16] | None:
        """The motion map at the frame seen last; see :meth:`spade_core.motion.MotionMeter.measure`."""
        return self._meter.measure()

    def _see_size(self, image: NDArray[np.uint8]) -> None:
        size, before = (image.shape[1], image.shape[0]), self.size
        changed = before is not None and size != before
        if self._started and not (changed and self._watching):
            return
        self.size = size
        if self._started and self._watching:
            self._meter, self._watch, self._fault = self._new_meter(), self._watching.begin(), None
        self._started = True
        was = f" (was {before[0]}x{before[1]})" if before and changed else ""
        self._report(CameraState.LIVE, f"{self._name}: {size[0]}x{size[1]}{was}")

    def _see_fault(self, fault: PictureFault | None) -> None:
        before, self._fault = self._fault, fault
        if fault is not None and (before is None or fault.state is not before.state):
            self._report(fault.state, fault.reason)
        if fault is None and before is not None and self.size:
            width, height = self.size
            self._report(CameraState.LIVE, f"{self._name}: {width}x{height}; the picture is good again")
