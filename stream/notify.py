"""Tells the service manager how the run is doing: systemd's notification protocol, one datagram a message.

Outside a service nobody listens, and everything here does nothing. Used by ``station``.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

log = logging.getLogger(__name__)

WATCHDOG_EVERY = 5.0
"""Seconds between two signs of life: a sixth of the unit's ``WatchdogSec``, so that a busy machine is no alarm."""


class Notifier:
    """Speaks to systemd.

    Args:
        address: what stands in ``NOTIFY_SOCKET``: an absolute path, or ``@name`` for an abstract socket; None or ""
            where there is no service manager.
        monotonic: clock, s; systemd compares RELOADING with the same one.
    """

    def __init__(self, address: str | None, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic, self._watchdog_due = monotonic, 0.0
        self._address = f"\0{address[1:]}" if address and address[0] == "@" else address
        self._socket: socket.socket | None = None
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)

    def ready(self, status: str) -> None:
        """The start is done, or a reload is."""
        self._say("READY=1", f"STATUS={status}")

    def status(self, text: str) -> None:
        """One line for ``systemctl status``."""
        self._say(f"STATUS={text}")

    def reloading(self) -> None:
        """A new configuration is being taken; :meth:`ready` ends that."""
        self._say("RELOADING=1", f"MONOTONIC_USEC={int(self._monotonic() * 1e6)}")

    def stopping(self) -> None:
        """The drain has begun."""
        self._say("STOPPING=1", "STATUS=draining")

    def watchdog(self) -> None:
        """A sign of life of the main loop; may be called as often as one likes."""
        now = self._monotonic()
        if now >= self._watchdog_due:
            self._watchdog_due = now + WATCHDOG_EVERY
            self._say("WATCHDOG=1")

    def close(self) -> None:
        """May be called twice."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _say(self, *lines: str) -> None:
        if self._socket is None or not self._address:
            return
        # A line break would begin another assignment.
        message = "\n".join(" ".join(line.splitlines()) for line in lines)
        try:
            self._socket.sendto(message.encode(), self._address)
        except OSError as error:  # the run is worth more than what is told of it; systemd's watchdog sees the silence
            log.warning("the service manager cannot be told %s: %s", lines[0], error.strerror)
