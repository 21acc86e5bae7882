"""A recording played over and over (``loop:PATH``): a camera without end where there is none, for long runs.

Index and media time run on from one round to the next, in the same segment, as at a camera that goes on. Between two
rounds the scene jumps; see ``SEAM`` for why that alarms nobody.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

from stream.sources.base import Source, SourceFrame, SourceInfo

SEAM = 0.6
"""Seconds from the last frame of a round to the first of the next. Longer than the 0.5 s over which motion is measured,
so that what jumps there is no motion: to everything behind the source it is a camera that left out a few frames."""


class LoopSource:
    """Frames of a finite source, again and again.

    Args:
        open_round: opens the source; called once at once, and for every round.

    Raises:
        SourceError: the source cannot be opened.
    """

    def __init__(self, open_round: Callable[[], Source]) -> None:
        self._open = open_round
        self._round = open_round()
        info = self._round.info
        self._info = replace(info, name=f"loop of {info.name}", frame_count=None, segment_starts=())
        self._seam = max(SEAM, 1 / info.fps if info.fps else 0.0)
        self._started, self._closed = False, threading.Event()

    @property
    def info(self) -> SourceInfo:
        """What is known of it."""
        return self._info

    def frames(self) -> Iterator[SourceFrame]:
        """Frames without end, until :meth:`close`. Ends where a round has no frame at all."""
        if self._started:
            raise RuntimeError(f"{self._info.name}: frames() may be called once; open the source again")
        self._started = True
        return self._frames()

    def close(self) -> None:
        """Ends :meth:`frames`."""
        self._closed.set()
        self._round.close()

    def _frames(self) -> Iterator[SourceFrame]:
        index, time = 0, 0.0
        while True:
            last: SourceFrame | None = None
            for frame in self._round.frames():
                last = SourceFrame(index + frame.index, time + frame.media_time, frame.image, frame.segment)
                yield last
            if last is None or self._closed.is_set():
                return
            index, time = last.index + 1, last.media_time + self._seam
            self._next_round()

    def _next_round(self) -> None:
        self._round.close()
        self._round = self._open()
        if self._closed.is_set():  # while it was being opened
            self._round.close()
