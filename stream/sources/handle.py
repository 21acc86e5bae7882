"""Lets one thread use a device or decoder while any other may close it.

Closing a decoder in which another thread is waiting for data crashes the process; so whoever is inside does the closing
on the way out. Used by the sources that hold such a handle.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Handle:
    """Guards calls into something that must not be released while one of them runs.

    Args:
        release: frees it; is called once, never while a guarded call runs.
    """

    def __init__(self, release: Callable[[], object]) -> None:
        self._release = release
        self._lock = threading.Lock()
        self._closing = False
        self._released = False

    @property
    def closing(self) -> bool:
        """Whether :meth:`close` has been called."""
        return self._closing

    def run(self, call: Callable[[], T]) -> T | None:
        """What ``call`` returns; None without calling it once :meth:`close` has been called."""
        try:
            with self._lock:
                return None if self._closing else call()
        finally:
            if self._closing:
                self._release_unless_busy()

    def close(self) -> None:
        """Never waits: a guarded call that runs now is the last one, and releases at its end."""
        self._closing = True
        self._release_unless_busy()

    def _release_unless_busy(self) -> None:
        if not self._lock.acquire(blocking=False):
            return
        try:
            if not self._released:
                self._released = True
                self._release()
        finally:
            self._lock.release()
