"""The sending end of ``bench link``: a process of its own, as every reader is. Told through a pipe what to send."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import zmq

from stream import wire
from stream.endpoints import parse_endpoint
from stream.link_client import LinkClient
from stream.messages import FramePacket, Mode
from stream.wire import Buffer, Kind

SEND_PATIENCE = 30_000
"""Milliseconds for which a message may wait for room: after that, whoever receives has died, and this process ends."""

HIGH_WATER = 8
"""Messages in a socket's own queue: as on the link."""

CAMERA = "bench"


@dataclass(frozen=True, slots=True)
class Way:
    """How messages go."""

    url: str  # where the receiver is bound
    server_key: bytes | None = None  # CURVE key of the receiver; None: nothing is encrypted


@dataclass(frozen=True, slots=True)
class Order:
    """What to send next."""

    way: int | None  # index of the way; None: through the link itself, by its credits
    count: int  # messages
    raw: bool = False  # whole frames, instead of what a reader sends


def run(connection: Connection, ways: Sequence[Way], link: str, packet: FramePacket, raw: bytes) -> None:
    """Sends until the pipe is closed.

    Args:
        connection: orders come from there.
        ways: plain ones.
        link: endpoint of a :class:`stream.link.LinkServer`.
        packet: sent as FRAME.
        raw: pixels of a whole frame.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever gives the orders decides when it is over
    with (
        zmq.Context() as context,
        LinkClient(parse_endpoint(link), camera=CAMERA, mode=Mode.LIVE, monotonic=_stopped) as client,
    ):
        sockets = [_connected(context, way) for way in ways]
        try:
            while True:
                order: Order = connection.recv()
                if order.way is None:
                    _by_credit(client, packet, order.count)
                else:
                    _at_once(sockets[order.way], packet, raw if order.raw else None, order.count)
        except (EOFError, zmq.Again):
            for socket in sockets:
                socket.close(linger=0)


def encoded(packet: FramePacket, raw: bytes | None) -> list[Buffer]:
    """A message: a FRAME, or a whole frame in the same envelope."""
    return wire.encode_frame(packet) if raw is None else wire.encode(Kind.FRAME, {"camera": packet.camera}, [raw])


def _connected(context: zmq.Context[Any], way: Way) -> zmq.Socket[bytes]:
    socket: zmq.Socket[bytes] = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.SNDHWM, HIGH_WATER)
    socket.setsockopt(zmq.SNDTIMEO, SEND_PATIENCE)
    if way.server_key is not None:
        socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()
        socket.curve_serverkey = way.server_key
    socket.connect(way.url)
    return socket


def _at_once(socket: zmq.Socket[bytes], packet: FramePacket, raw: bytes | None, count: int) -> None:
    for _ in range(count):
        socket.send_multipart(encoded(packet, raw), copy=False)


def _by_credit(client: LinkClient, packet: FramePacket, count: int) -> None:
    sent = 0
    while sent < count:
        client.poll(SEND_PATIENCE / 1000)
        if client.wants_frame:
            client.send_frame(packet)
            sent += 1


def _stopped() -> float:
    """A clock for the link's client that stands still: between two orders it is silent for longer than a reader may."""
    return 0.0
