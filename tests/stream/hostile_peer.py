"""Peers that keep to no rules: they write the bytes of ZeroMQ's protocol (ZMTP 3.0, mechanism NULL) by themselves.

As a program: ``hostile_peer.py ADDRESS SECONDS BYTES`` says HELLO as camera gate, and then sends part after part of
one message that never ends, as fast as it goes; where it is cut off, it comes back.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from collections.abc import Sequence

from stream.wire import Kind, encode

_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
_MORE, _LONG, _COMMAND = 1, 2, 4


def connect(address: str) -> socket.socket:
    """A bare TCP connection to ``tcp://host:port``."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def shake_hands(peer: socket.socket) -> None:
    """Raises OSError where it is cut off."""
    ready = b"\x05READY\x0bSocket-Type" + struct.pack("!I", 6) + b"DEALER"
    peer.sendall(_GREETING + bytes([_COMMAND, len(ready)]) + ready)
    # Messages that come before the other side has said READY, too, are refused: its READY has to be read first.
    _read(peer, len(_GREETING))
    _read(peer, _read(peer, 2)[1])


def _read(peer: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        more = peer.recv(length - len(data))
        if not more:
            raise ConnectionResetError("cut off")
        data += more
    return data


def part(data: bytes, *, more: bool) -> bytes:
    return struct.pack("!BQ", _LONG | (_MORE if more else 0), len(data)) + data


def message(parts: Sequence[bytes]) -> bytes:
    return b"".join(part(data, more=number < len(parts)) for number, data in enumerate(parts, start=1))


def hello(camera: str = "gate") -> bytes:
    return message([bytes(data) for data in encode(Kind.HELLO, {"camera": camera, "mode": "live"})])


def send_endlessly(address: str, *, seconds: float, size: int) -> tuple[int, int]:
    """Bytes sent, and connections made."""
    deadline, block = time.monotonic() + seconds, part(b"x" * size, more=True)
    block *= max(1, 65536 // len(block))
    sent = connections = 0
    while time.monotonic() < deadline:
        try:
            with connect(address) as peer:
                connections += 1
                shake_hands(peer)
                peer.sendall(hello())
                time.sleep(0.2)  # let it be heard: before that, next to nothing is taken
                while time.monotonic() < deadline:
                    peer.sendall(block)
                    sent += len(block)
        except OSError:
            time.sleep(0.01)  # cut off
    return sent, connections


if __name__ == "__main__":
    total, made = send_endlessly(sys.argv[1], seconds=float(sys.argv[2]), size=int(sys.argv[3]))
    print(f"{total} {made}")
