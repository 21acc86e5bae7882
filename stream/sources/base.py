"""What a source of frames is: one small interface for files, folders, cameras and the synthetic scene.

Each implementation opens in its constructor (and raises a :class:`stream.errors.SourceError` there), then hands out
native frames one by one. Sampling, resizing and pacing are the reader's business.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

DAMAGE_PATIENCE = 30.0
"""Seconds for which a camera may send data without one whole frame. Cameras with "smart" codecs send a key frame, from
which decoding can begin, only every 10 to 20 s."""


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What is known of a source once it is open."""

    name: str  # for people and logs; holds no credentials
    width: int  # pixels
    height: int  # pixels
    fps: float | None  # nominal native rate; None where the source does not say
    frame_count: int | None  # exact length; None for endless or unknown ones
    live: bool  # True: frames come in real time whether or not they are read
    segment_starts: tuple[int, ...] = ()  # frame index at which each clip begins, for sources made of several clips


@dataclass(frozen=True, slots=True, eq=False)
class SourceFrame:
    """One native frame."""

    index: int  # 0-based count of native frames since the source was opened
    media_time: float  # seconds since the first frame by the source's own clock; never runs backwards
    image: NDArray[np.uint8]  # (H, W, 3) BGR
    segment: str = ""  # clip name for sources made of several clips


@runtime_checkable
class Source(Protocol):
    """An open source of frames."""

    @property
    def info(self) -> SourceInfo:
        """What is known of it."""
        ...

    def frames(self) -> Iterator[SourceFrame]:
        """Native frames in order, to the end of the source. May be called once.

        Raises:
            SourceStalled: no frame within the read time-out.
            SourceCorrupt: what comes cannot be decoded, or the source ends before its declared end. Frames before
                the fault have been handed out.
        """
        ...

    def close(self) -> None:
        """Releases the device, file or connection. May be called twice, and from another thread to stop ``frames``."""
        ...
