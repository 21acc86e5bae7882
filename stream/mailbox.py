"""A one-slot mailbox between a reader's capture thread and its link: what gives way when frames come too fast."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from stream.messages import Mode
from stream.sources.base import SourceFrame


@dataclass(frozen=True, slots=True, eq=False)
class Captured:
    """A sampled native frame, with when it was taken."""

    frame: SourceFrame
    frame_time: float  # Unix seconds
    captured_mono: float
    motion: NDArray[np.float16] | None = None  # (GRID, GRID) motion map; None = not known
    drops: Mapping[str, int] = field(default_factory=dict)  # frames lost before this one, by "stage.reason"


class Mailbox:
    """Holds the newest frame. LIVE: a newer one overwrites it, counted as ``reader.overwritten``. REPLAY: the writer
    waits.

    Written by one thread, read by another; ``wake_fd`` becomes readable when there is something to take.
    """

    def __init__(self, mode: Mode) -> None:
        self._mode = mode
        self._changed = threading.Condition()
        self._slot: Captured | None = None
        self._closed = False
        self._drops: Counter[str] = Counter()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)

    @property
    def wake_fd(self) -> int:
        """File descriptor to wait on."""
        return self._wake_read.fileno()

    def put(self, captured: Captured) -> None:
        """Leaves a frame (REPLAY: waits until there is room). After :meth:`close` it is dropped, counted
        ``reader.stopped``.
        """
        with self._changed:
            while self._mode is Mode.REPLAY and self._slot is not None and not self._closed:
                self._changed.wait()
            if self._closed:
                self._drops["reader.stopped"] += 1
                return
            if self._slot is not None:
                self._drops["reader.overwritten"] += 1
            # As they are now: what is dropped from here on comes after this frame, and is told with a later one.
            self._slot = replace(captured, drops=dict(self._drops))
        self.wake()

    def take(self) -> Captured | None:
        """The frame that waits, or None."""
        with self._changed:
            captured, self._slot = self._slot, None
            self._changed.notify()
        return captured

    @property
    def empty(self) -> bool:
        """Nothing waits."""
        with self._changed:
            return self._slot is None

    def count_drop(self, reason: str) -> None:
        """Counts a frame that never got here."""
        with self._changed:
            self._drops[reason] += 1

    @property
    def drops(self) -> dict[str, int]:
        """Frames lost so far, by ``stage.reason``."""
        with self._changed:
            return dict(self._drops)

    def close(self) -> None:
        """Lets a waiting writer go. What waits may still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self.wake()

    def wake(self) -> None:
        """Makes ``wake_fd`` readable."""
        with suppress(OSError):  # it is readable already, or nobody waits any more
            self._wake_write.send(b"\0")

    def clear_wake(self) -> None:
        """Makes ``wake_fd`` wait again."""
        try:
            while self._wake_read.recv(4096):
                pass
        except OSError:
            pass
