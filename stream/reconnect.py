"""A live camera that is opened again when it drops out, for programs that watch one for a while, such as ``enroll``.

A reader has its own, endless way of doing that (``capture``). Here somebody waits for the end, so that patience ends,
too; and what the camera showed before it dropped out goes on to count.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from stream.capture import RETRY_FIRST, RETRY_MOST
from stream.errors import SourceError, SourceStalled, SourceUnauthorized
from stream.sources.base import Source, SourceFrame, SourceInfo

log = logging.getLogger(__name__)

PATIENCE = 600.0
"""Seconds that a camera may be away at a stretch: it restarts in one or two minutes, a switch in five."""

OUTAGE = 10.0
"""Seconds of media time from the last frame before an outage to the first one after it, however long it was: nothing is
compared over so long a gap, and what was asked for is so much footage, not so much waiting."""


class ReconnectingSource:
    """Frames of a camera over all its outages; indices and times go on.

    Args:
        open_source: opens the camera. The first failure to do so is raised at once. What turns out not to be live (a
            file on a web server) is read once.
        wait: waits for some seconds; may raise, to stop.
        clock: seconds, monotonic.

    Raises:
        SourceError: see ``open_source``.
    """

    def __init__(
        self,
        open_source: Callable[[], Source],
        *,
        wait: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open, self._wait, self._clock = open_source, wait, clock
        self._source: Source | None = open_source()
        self._info = self._source.info
        self._closed = threading.Event()
        self._index, self._time = 0, 0.0  # of the next frame's place after what was handed out

    @property
    def info(self) -> SourceInfo:
        return self._info

    def frames(self) -> Iterator[SourceFrame]:
        """As :meth:`Source.frames`. Raises SourceError only where the camera stays away, or refuses the credentials."""
        heard, pause, handed_out = self._clock(), RETRY_FIRST, False
        while True:
            try:
                if self._source is None:
                    self._source = self._open()
                for frame in self._renumbered(self._source):
                    heard, pause, handed_out = self._clock(), RETRY_FIRST, True
                    yield frame
                return
            except SourceError as error:
                self._let_go()
                if self._closed.is_set():
                    return
                if not (handed_out and self._info.live) or isinstance(error, SourceUnauthorized):
                    raise
                if self._clock() - heard + pause > PATIENCE:
                    raise SourceStalled(self._given_up(error)) from None
                log.warning("%s; opened again in %.0f s", error, pause)
            self._wait(pause)
            pause = min(2 * pause, RETRY_MOST)

    def close(self) -> None:
        self._closed.set()
        self._let_go()

    def _renumbered(self, source: Source) -> Iterator[SourceFrame]:
        index, offset = self._index, self._time
        for frame in source.frames():
            moved = replace(frame, index=index + frame.index, media_time=offset + frame.media_time)
            self._index, self._time = moved.index + 1, moved.media_time + OUTAGE
            yield moved

    def _let_go(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            source.close()

    def _given_up(self, error: SourceError) -> str:
        watched = max(0.0, self._time - OUTAGE)
        return (
            f"{error}; the camera has been away for {PATIENCE / 60:.0f} minutes, after {watched / 60:.1f} minutes of "
            "footage: not used. Try again when it is steady, or record it and enroll from the file"
        )
