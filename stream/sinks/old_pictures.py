"""What a ``jsonl`` sink gives up again: its pictures and clips, some days after they were written. Lines stay.

A clock that is wrong must cost nothing, as in ``retention``: nothing goes for its age in the first hour, and in the
hour after the clock was set; what was written by the wrong clock gets the time of the right one.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from stream.errors import SinkError
from stream.retention import CLOCK_SET, DAY, SETTLED

EVERY_S = 3600.0
"""Seconds between two looks for old pictures."""

_log = logging.getLogger(__name__)


class OldPictures:
    """Looks after one folder of pictures.

    Args:
        folder: need not be there yet.
        days: after which a file is removed; None: never.
        wall: Unix seconds.
        monotonic: clock, s.
    """

    def __init__(
        self, folder: Path, days: float | None, *, wall: Callable[[], float], monotonic: Callable[[], float]
    ) -> None:
        self._folder, self._days, self._wall, self._monotonic = folder, days, wall, monotonic
        self._began = monotonic()
        self._due = self._began + SETTLED
        self._offset = wall() - self._began
        self._trouble: SinkError | None = None

    def tend(self) -> SinkError | None:
        """Removes what is too old, once an hour. Returns what stands in the way; None: nothing."""
        self._heed_clock()
        if self._days is None or self._monotonic() < self._due:
            return self._trouble
        self._due = self._monotonic() + EVERY_S
        self._trouble = None
        try:
            self._remove_older(self._days)
        except OSError as error:
            self._trouble = SinkError(
                f"{error.filename or self._folder}: pictures older than {self._days:g} days cannot be removed: "
                f"{error.strerror}. Check the permissions"
            )
        return self._trouble

    def _heed_clock(self) -> None:
        now, before = self._monotonic(), self._offset
        self._offset = self._wall() - now
        if abs(jump := self._offset - before) <= CLOCK_SET:
            return
        self._due = now + SETTLED
        _log.warning("the clock was set by %+.0f s: no picture is removed in the next hour", jump)
        try:
            self._date_anew(self._began + before - CLOCK_SET, now + before, jump)
        except OSError as error:
            _log.warning("%s: pictures keep the time of a wrong clock: %s", self._folder, error)

    def _date_anew(self, first: float, last: float, jump: float) -> None:
        # What this process wrote until now, and one shortly before it; of what is older nobody knows by which clock.
        for entry in self._ours():
            with suppress(FileNotFoundError):
                if first <= (written := entry.stat().st_mtime) <= last:
                    os.utime(entry.path, (written + jump, written + jump))

    def _remove_older(self, days: float) -> None:
        removed, moment = 0, self._wall() - days * DAY
        for entry in self._ours():
            with suppress(FileNotFoundError):  # somebody else was faster
                if entry.stat().st_mtime < moment:
                    os.unlink(entry.path)
                    removed += 1
        if removed:
            _log.info("%s: removed %d picture(s) older than %g days", self._folder, removed, days)

    def _ours(self) -> Iterator[os.DirEntry[str]]:
        """This sink's files, by their names."""
        if not self._folder.is_dir():
            return
        with os.scandir(self._folder) as entries:
            for entry in entries:
                named = entry.name[:9].isdigit() and entry.name.endswith((".jpg", ".png", ".mp4"))
                if named and entry.is_file(follow_symlinks=False):
                    yield entry
