"""A time limit over a whole HTTP request. For ``webhook``.

httpx limits each step: a server that sends one byte now and then could hold an alert, and all behind it, for ever.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import httpx

_CONNECTED = ("connect_tcp.complete", "start_tls.complete")  # of httpcore's events


class Deadline:
    """Within the ``with`` block, ends the connection of a request after some seconds, so that it fails.

    Args:
        seconds: for all of it.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True
        self.over = False

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """What httpx calls as a request goes on: ``extensions={"trace": deadline.trace}``."""
        if event.endswith(_CONNECTED):
            self._socket = info["return_value"].get_extra_info("socket")
        if self.over:
            raise httpx.ReadTimeout(f"not done within {self._seconds:g} s")

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._timer.cancel()

    def _end(self) -> None:
        self.over = True
        if self._socket is not None:
            with suppress(OSError):  # it has just ended by itself
                # Not the method of an SSL socket, which would take its state away from under the other thread.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
