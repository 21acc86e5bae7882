"""How a process of ours is told to stop: SIGTERM or SIGINT once for a clean end, twice at once; or its supervisor
dies.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType


class StopSignal:
    """True once the process was asked to stop. Call it to ask.

    Args:
        parent: process id of the supervisor, where there is one; a child that outlives it would run unwatched.
        getppid: for tests.
    """

    def __init__(self, *, parent: int | None = None, getppid: Callable[[], int] = os.getppid) -> None:
        self._parent, self._getppid = parent, getppid
        self._asked = False

    def install(self) -> None:
        """Takes over SIGTERM and SIGINT of this process."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def ask(self) -> None:
        """Asks for a clean end."""
        self._asked = True

    def __call__(self) -> bool:
        return self._asked or (self._parent is not None and self._getppid() != self._parent)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._asked:  # the second time means now
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self._asked = True
