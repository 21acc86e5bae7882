"""One connection of a browser: who says nothing does not keep it, and no address has them all. For ``server``."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from stream.console.hosts import is_loopback_address

MOST_CONNECTIONS = 256
"""Connections at once; more are answered with 503."""

MOST_OF_ADDRESS = 128
"""Of these from one address; more are closed at once. Not of this machine: there may be a proxy for everybody."""

REQUEST_WITHIN = 10.0
"""Seconds for a request's headers, from the connection or its first byte on. Between two requests fewer."""


class Connection(H11Protocol):
    """Uvicorn's, with a deadline for headers and a limit for each address. Belongs to the event loop."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        address = _address(self)
        others = sum(_address(other) == address for other in self.connections)
        if others > MOST_OF_ADDRESS and not is_loopback_address(address):
            transport.abort()
            return
        self._await_request()

    def data_received(self, data: bytes) -> None:
        if not self._is_answering and self._deadline is None:
            self._await_request()
        super().data_received(data)
        if self._is_answering:
            self._forget_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_deadline()
        super().connection_lost(exc)

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _await_request(self) -> None:
        self._deadline = self.loop.call_later(REQUEST_WITHIN, self._give_up)

    def _give_up(self) -> None:
        self._deadline = None
        if not self._is_answering:
            self.transport.abort()

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _address(connection: Any) -> str:
    client = connection.client
    return str(client[0]) if client else ""
