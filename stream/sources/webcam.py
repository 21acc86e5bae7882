"""A camera plugged into this machine, through OpenCV. Used through ``open_source``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.errors import SourceStalled, SourceUnreachable
from stream.sources.base import SourceFrame, SourceInfo
from stream.sources.handle import Handle


class Capture(Protocol):
    """The part of ``cv2.VideoCapture`` that is used here."""

    def isOpened(self) -> bool: ...  # noqa: N802 - OpenCV's name
    def read(self) -> tuple[bool, NDArray[np.uint8] | None]: ...
    def get(self, prop: int) -> float: ...
    def release(self) -> None: ...


class WebcamSource:
    """Live frames of one webcam. ``media_time`` is the time of reading: webcams carry no clock.

    Args:
        index: number of the camera, as the operating system counts them from 0.
        clock: seconds, monotonic.
        open_capture: opens the device.

    Raises:
        SourceUnreachable: there is no such camera, or another program holds it.
    """

    def __init__(
        self,
        index: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        open_capture: Callable[[int], Capture] | None = None,
    ) -> None:
        self._clock = clock
        self._capture: Capture = (open_capture or _open_device)(index)
        if not self._capture.isOpened():
            self._capture.release()
            raise SourceUnreachable(
                f"webcam {index} cannot be opened: see that it is plugged in, that no other program holds it, "
                "and that this user may read it (group 'video')"
            )
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self._info = SourceInfo(
            name=f"webcam {index}",
            width=int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
            height=int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
            fps=fps if fps > 0 else None,
            frame_count=None,
            live=True,
        )
        self._handle = Handle(self._capture.release)
        self._started = False

    @property
    def info(self) -> SourceInfo:
        return self._info

    def frames(self) -> Iterator[SourceFrame]:
        if self._started:
            raise RuntimeError(f"{self._info.name}: frames() may be called once; open the source again")
        self._started = True
        return self._frames()

    def close(self) -> None:
        self._handle.close()

    def _frames(self) -> Iterator[SourceFrame]:
        first: float | None = None
        index = 0
        while (result := self._handle.run(self._capture.read)) is not None:
            good, image = result
            if not good or image is None:
                raise SourceStalled(f"{self._info.name} gives no frames after {index}: is it still plugged in?")
            now = self._clock()
            first = now if first is None else first
            yield SourceFrame(index, now - first, image)
            index += 1


def _open_device(index: int) -> Capture:
    return cv2.VideoCapture(index)  # type: ignore[return-value]  # its stubs type images more loosely
