"""Peers that mean no good, for soaks of a pipeline on this machine: junk, idle connections, one that is deaf."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import zmq

from stream.errors import StreamError
from stream.subscriber import request_status
from stream.wire import Kind, encode

IDLE_CONNECTIONS = 200
"""Connections that say nothing."""

JUNK_CONNECTIONS = 20
"""Connections that send bytes which are no ZeroMQ greeting."""

_JUNK_BYTES = 4096  # sent by each at each turn
_TURN = 0.2  # s between two turns
_ANSWER = 5.0  # s that a feed may take to answer while it is flooded


def flood(port: int, seconds: float, *, pause: Callable[[float], None], seed: int) -> str:
    """Opens idle and junk connections to a port of this machine, and asks the feed there for its status meanwhile.

    Args:
        port: of the feed.
        seconds: how long.
        pause: waits so many seconds.
        seed: of the junk.

    Returns:
        Why the feed did not answer, or "".
    """
    noise = random.Random(seed)
    until = time.monotonic() + seconds
    problem = ""
    with ExitStack() as opened:
        for _ in range(IDLE_CONNECTIONS):
            _open(port, opened)
        junk: list[socket.socket | None] = [None] * JUNK_CONNECTIONS
        while time.monotonic() < until:
            junk = [_talk(peer or _open(port, opened), noise) for peer in junk]
            pause(_TURN)
        try:
            request_status(f"tcp://127.0.0.1:{port}", _ANSWER)
        except StreamError as error:
            problem = f"flooded, {error}"
    return problem


@contextmanager
def deaf_subscriber(endpoint: str) -> Iterator[Callable[[], None]]:
    """Subscribes to everything and never reads; gives a function that sends a sign of life."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as peer:
        peer.linger = 0
        peer.rcvhwm = 1
        peer.connect(endpoint)
        peer.send_multipart(encode(Kind.SUBSCRIBE, {"name": None, "since": 0}))

        def beat() -> None:
            with suppress(zmq.Again):  # nobody takes it: then there is nothing to keep alive
                peer.send_multipart(encode(Kind.BEAT, {}), zmq.NOBLOCK)

        yield beat


def _open(port: int, opened: ExitStack) -> socket.socket | None:
    try:
        return opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=1.0))
    except OSError:  # refused: that is the feed's right
        return None


def _talk(peer: socket.socket | None, noise: random.Random) -> socket.socket | None:
    """Sends junk; None where the other side has hung up, as it should."""
    if peer is None:
        return None
    try:
        peer.sendall(noise.randbytes(_JUNK_BYTES))
    except OSError:
        return None
    return peer
