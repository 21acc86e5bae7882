"""How a process of ours is told what to do: SIGTERM or SIGINT once for a clean end, twice at once; or its supervisor
dies; SIGHUP to read its configuration again.

Asking :class:`StopSignal` is also the process's sign of life. Every main loop asks in every round, and a loop that does
not come round any more is what the supervisor has to notice.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

from stream.pulse import RELOADED, Pulse


class StopSignal:
    """True once the process was asked to stop. Call it to ask; from the main thread that is a sign of life as well.

    Args:
        parent: process id of the supervisor, where there is one; a child that outlives it would run unwatched.
        pulse: to the supervisor, where it listens.
        getppid: for tests.
    """

    def __init__(
        self, *, parent: int | None = None, pulse: Pulse | None = None, getppid: Callable[[], int] = os.getppid
    ) -> None:
        self._parent, self._getppid = parent, getppid
        self.pulse = pulse
        self._asked = False
        self._last_act: Callable[[], None] = lambda: None

    def install(self) -> None:
        """Takes over SIGTERM and SIGINT of this process."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def ask(self) -> None:
        """Asks for a clean end."""
        self._asked = True

    def at_second(self, act: Callable[[], None]) -> None:
        """What to do when the second signal comes, before the process dies of it. It must not wait for anything."""
        self._last_act = act

    def __call__(self) -> bool:
        # Another thread may ask too, but its life says nothing of the main thread's.
        if self.pulse is not None and threading.current_thread() is threading.main_thread():
            self.pulse.beat()
        return self._asked or (self._parent is not None and self._getppid() != self._parent)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._asked:  # the second time means now
            signal.signal(number, signal.SIG_DFL)
            self._last_act()
            os.kill(os.getpid(), number)
        self._asked = True


class ReloadSignal:
    """True once for each time that the process was asked to read its configuration again (SIGHUP). Call it to ask.

    Args:
        pulse: to the supervisor, where it listens.
        on_lost_terminal: called instead where the terminal is gone that the program was started from: the system then
            sends the same signal, and nobody could press Ctrl-C any more. Not where the signal was ignored before, as
            ``nohup`` does it: then the program is to go on without its terminal.
        has_terminal: for tests.
    """

    def __init__(
        self,
        *,
        pulse: Pulse | None = None,
        on_lost_terminal: Callable[[], None] = lambda: None,
        has_terminal: Callable[[], bool] | None = None,
    ) -> None:
        self._pulse, self._on_lost_terminal = pulse, on_lost_terminal
        self._has_terminal = has_terminal or _has_terminal
        self._had_terminal = self._has_terminal()
        self._outlives_terminal = False
        self._asked = False

    def install(self) -> None:
        """Takes over SIGHUP of this process."""
        self._outlives_terminal = signal.signal(signal.SIGHUP, self._on_signal) is signal.SIG_IGN

    def done(self) -> None:
        """Says to the supervisor that the new configuration is in force."""
        if self._pulse is not None:
            self._pulse.say(RELOADED)

    def __call__(self) -> bool:
        asked, self._asked = self._asked, False
        return asked

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self._had_terminal or self._has_terminal():
            self._asked = True
        elif self._outlives_terminal:
            self._had_terminal = False  # what comes later was sent by somebody
        else:
            self._on_lost_terminal()


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
