"""Complaints that a stranger can cause as often as he likes, told seldom: else they fill the disk. For ``feed``."""

from __future__ import annotations

import logging
from collections.abc import Callable

PAUSE = 60.0
"""Seconds between two lines of one kind."""


class Seldom:
    """Logs the first of a kind at once, and then one a while, with how many there were in between.

    Args:
        log: where to.
        clock: seconds, monotonic.
    """

    def __init__(self, log: logging.Logger, clock: Callable[[], float]) -> None:
        self._log, self._clock = log, clock
        self._due = float("-inf")
        self._untold = 0

    def warn(self, text: str) -> None:
        """Logs a warning, or counts it."""
        now = self._clock()
        if now < self._due:
            self._untold += 1
            return
        more = f" (and {self._untold} more like it before)" if self._untold else ""
        self._due, self._untold = now + PAUSE, 0
        self._log.warning("%s%s", text, more)
