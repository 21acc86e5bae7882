"""The sign of life between a process and its supervisor: bytes in a pipe that only the two of them hold.

ZeroMQ's heartbeats, and any other thread, go on while the main thread hangs. So the main thread itself writes, each
time its loop asks whether to stop (``stream.stopping``). Used by ``stopping`` and ``child``, one for each end.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

PULSE_EVERY = 0.5
"""Least seconds between two beats: often enough for any limit on silence, too seldom to cost anything."""

BEAT = b"."
RELOADED = b"r"
"""Says that the configuration which SIGHUP announced is in force."""

_AT_ONCE = 4096  # bytes read from the pipe in one call


class Pulse:
    """The process's end. Never blocks: a supervisor that does not read loses nothing but beats.

    Args:
        descriptor: the pipe that the supervisor handed over.
        monotonic: clock, s.
    """

    def __init__(self, descriptor: int, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        os.set_blocking(descriptor, False)
        os.set_inheritable(descriptor, False)  # a process of ours must not speak for us
        self._descriptor, self._monotonic = descriptor, monotonic
        self._due = 0.0

    def beat(self) -> None:
        """A sign of life; to be called in every round of the main loop."""
        now = self._monotonic()
        if now >= self._due:
            self._due = now + PULSE_EVERY
            self.say(BEAT)

    def say(self, word: bytes) -> None:
        """Writes ``BEAT`` or ``RELOADED``."""
        try:
            os.write(self._descriptor, word)
        except BlockingIOError:  # nobody reads, and the pipe is full: what is in it says enough
            pass
        except BrokenPipeError:  # the supervisor is gone; StopSignal notices that by itself
            pass


class Listener:
    """The supervisor's end, for one life of one process."""

    def __init__(self) -> None:
        self._here, self._there = os.pipe()
        os.set_blocking(self._here, False)

    @property
    def descriptor(self) -> int:
        """For the process: to be passed on to it when it is started, under this number."""
        return self._there

    def started(self) -> None:
        """Lets go of the process's end, once the process has it."""
        if self._there >= 0:
            os.close(self._there)
            self._there = -1

    def heard(self) -> bytes:
        """What has come since the last call; does not wait."""
        words = b""
        while True:
            try:
                more = os.read(self._here, _AT_ONCE)
            except BlockingIOError:
                return words
            words += more
            if not more:  # the process has ended
                return words

    def close(self) -> None:
        """To be called when the process has ended. May be called twice."""
        self.started()
        if self._here >= 0:
            os.close(self._here)
            self._here = -1
