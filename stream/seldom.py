"""Complaints that strangers can cause as often as they like, told seldom: else they fill the disk."""

from __future__ import annotations

import logging
from collections.abc import Callable

PAUSE = 60.0
"""Seconds between two lines of one kind, unless told otherwise."""


class Seldom:
    """Logs the first of a kind at once, and then one a while, with how many there were in between.

    Args:
        log: where to.
        clock: seconds, monotonic.
        pause: seconds between two lines.
        others: what those in between are called.
    """

    def __init__(
        self,
        log: logging.Logger,
        clock: Callable[[], float],
        *,
        pause: float = PAUSE,
        others: str = "more like it before",
    ) -> None:
        self._log, self._clock, self._pause, self._others = log, clock, pause, others
        self._due = float("-inf")
        self._untold = 0

    def warn(self, text: str) -> None:
        """Logs a warning, or counts it."""
        now = self._clock()
        if now < self._due:
            self._untold += 1
            return
        more = f" (and {self._untold} {self._others})" if self._untold else ""
        self._due, self._untold = now + self._pause, 0
        self._log.warning("%s%s", text, more)
