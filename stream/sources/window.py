"""A part of a source, between two times, as a source of its own. Used by ``enroll``, ``evaluate`` and replays."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from stream.errors import UsageError
from stream.sources.base import Source, SourceFrame, SourceInfo

_ROUNDING = 1e-6  # seconds: a frame at 0.3 s belongs to a window from 0.1 + 0.2 s


def windowed(source: Source, *, start: float = 0.0, seconds: float | None = None) -> Source:
    """The frames of ``source`` with ``start <= media_time < start + seconds``, with their own indices and times.

    Args:
        source: is closed together with the window.
        start: seconds since the first frame. Earlier frames are decoded and dropped.
        seconds: length; None = to the end.

    Raises:
        UsageError: ``start`` is negative, or ``seconds`` is not positive.
    """
    if not (math.isfinite(start) and start >= 0):
        raise UsageError(f"start is {start:g} s; it must be 0 or more")
    if seconds is not None and not (math.isfinite(seconds) and seconds > 0):
        raise UsageError(f"seconds is {seconds:g}; the window must be longer than 0 s")
    if start == 0 and seconds is None:
        return source
    return _Window(source, start, math.inf if seconds is None else start + seconds)


class _Window:
    def __init__(self, source: Source, start: float, stop: float) -> None:
        self._source = source
        self._start = start - _ROUNDING
        self._stop = stop - _ROUNDING
        # Where clips begin is known by index, and after a start the frames handed out are no longer counted from 0.
        starts = source.info.segment_starts if start == 0 else ()
        self._info = replace(source.info, frame_count=self._frame_count(source.info), segment_starts=starts)

    @property
    def info(self) -> SourceInfo:
        return self._info

    def frames(self) -> Iterator[SourceFrame]:
        return self._inside(self._source.frames())

    def close(self) -> None:
        self._source.close()

    def _inside(self, frames: Iterator[SourceFrame]) -> Iterator[SourceFrame]:
        for frame in frames:
            if frame.media_time >= self._stop:
                return
            if frame.media_time >= self._start:
                yield frame

    def _frame_count(self, info: SourceInfo) -> int | None:
        # An estimate: exact where frames are evenly spaced, as nothing but decoding knows the others.
        if info.frame_count is None or not info.fps:
            return None
        first = math.ceil(self._start * info.fps)
        last = info.frame_count if math.isinf(self._stop) else math.ceil(self._stop * info.fps)
        return max(0, min(last, info.frame_count) - max(0, first))
