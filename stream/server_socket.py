"""The server's end of the link and of the feed: one owned endpoint, CURVE where it is asked for, and a guard on TCP.

Used by ``link`` and ``feed``; one thread owns an object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import zmq

from stream.curve import ANYBODY, CurveServer, Peer
from stream.endpoints import Endpoint, bind, claim, parse_endpoint
from stream.guard import Guard, Limits
from stream.wire import Buffer


@dataclass(frozen=True, slots=True)
class Received:
    """One message."""

    identity: bytes  # of the connection, to answer it
    parts: list[bytes]
    peer: Peer  # whose key it came under


class ServerSocket:
    """A bound ROUTER.

    Args:
        endpoint: claimed and bound at once.
        options: ZeroMQ socket options, by number.
        limits: what connections over TCP may hold.
        secure: who is let in; this object closes it. None: whoever can reach the endpoint.

    Raises:
        EndpointBusy: another process owns the endpoint.
        UsageError: it cannot be bound.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        options: Mapping[zmq.SocketOption, int],
        limits: Limits,
        secure: CurveServer | None = None,
    ) -> None:
        self._secure = secure
        self._guard: Guard | None = None
        self._claim = claim(endpoint)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        try:
            self._bind(endpoint, options, limits)
        except BaseException:
            self.close()
            raise

    def _bind(self, endpoint: Endpoint, options: Mapping[zmq.SocketOption, int], limits: Limits) -> None:
        for option, value in {zmq.LINGER: 0, **options}.items():
            self._socket.setsockopt(option, value)
        if self._secure is not None:
            self._secure(self._context, self._socket)
        if endpoint.path is not None:
            self.address = bind(self._socket, endpoint)
            return
        self._guard = Guard(self._context, self._socket, name=str(endpoint), limits=limits)
        self.address = bind(self._socket, endpoint)
        self._guard.start(parse_endpoint(self.address).port)

    def poll(self, milliseconds: int) -> bool:
        """Whether there is a message to receive, waiting for it so long at most."""
        if self._secure is not None and self._secure.refresh() and self._guard is not None:
            lets_in = self._secure.lets_in
            self._guard.shut_keys(lambda key: not lets_in(key))
        found = bool(self._socket.poll(milliseconds))
        if not found and self._guard is not None:
            self._guard.empty()
        return found

    def receive(self) -> Received | None:
        """The next message, or None if there is none now."""
        try:
            identity, *parts = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return None
        peer = ANYBODY if self._secure is None else self._secure.peer_of(parts[-1])
        if self._guard is not None:
            self._guard.took(parts, peer.key)
        return Received(identity.bytes, [part.bytes for part in parts], peer)

    def send(self, identity: bytes, parts: Sequence[Buffer]) -> None:
        """Queues a message for a connection. Raises zmq.ZMQError where it is gone, or its queue is full."""
        self._socket.send_multipart([identity, *parts], zmq.NOBLOCK)

    def knows(self, peer: Peer) -> bool:
        """Whether a peer's key still is one that is let in."""
        return self._secure is None or self._secure.lets_in(peer.key)

    def counts(self) -> dict[str, int]:
        """Connections at this moment, and those that were shut or not let in, by reason. Empty without a guard."""
        return {} if self._guard is None else self._guard.counts()

    def close(self) -> None:
        """Frees the endpoint. May be called twice."""
        if self._guard is not None:
            self._guard.close()
        if self._secure is not None:
            self._secure.close()
        self._context.destroy(linger=0)
        self._claim.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
