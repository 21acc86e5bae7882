"""What the kernel knows of a TCP connection that ZeroMQ holds, and room for many. For ``guard`` and ``programs``.

ZeroMQ tells the number of a connection's descriptor, which may be given to another connection, or to a file, a moment
later. So a copy of the descriptor is made and looked at before it is trusted.
"""

from __future__ import annotations

import os
import resource
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass

MEASURES = hasattr(socket, "TCP_INFO")
"""Whether this platform tells how many bytes a connection has received."""

FILES_WANTED = 8192
"""Descriptors: two for each connection of a guarded server, and room for galleries, evidence and libraries."""

_BYTES_RECEIVED = struct.Struct("128xQ")  # tcpi_bytes_received in Linux's tcp_info, since 4.1


@dataclass(frozen=True, slots=True)
class TcpConnection:
    """A connection, by a descriptor of our own. It stays open until :meth:`close`, whoever else closes it."""

    socket: socket.socket
    inode: int  # two descriptors with the same one are the same connection
    address: str  # of the peer, host:port

    def bytes_received(self) -> int | None:
        """Bytes that came in over it, or None where the kernel does not tell."""
        try:
            info = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
            received: int = _BYTES_RECEIVED.unpack_from(info)[0]
        except (OSError, AttributeError, struct.error):
            return None
        return received

    def is_still(self, descriptor: int) -> bool:
        """Whether a descriptor of this process still is this connection."""
        try:
            return os.fstat(descriptor).st_ino == self.inode
        except OSError:
            return False

    def shut(self) -> None:
        """Ends it for whoever holds it. What the peer still sends then makes the kernel reset it."""
        with suppress(OSError):  # it may have ended already
            self.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Gives our own descriptor back."""
        self.socket.close()


def adopt(descriptor: int, *, local_port: int) -> TcpConnection | None:
    """The connection behind a descriptor, if it is one that came to this port."""
    try:
        copy = os.dup(descriptor)
    except OSError:
        return None
    try:
        own = socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        return None
    try:
        if own.family in (socket.AF_INET, socket.AF_INET6) and own.getsockname()[1] == local_port:
            host, port = own.getpeername()[:2]
            return TcpConnection(own, os.fstat(copy).st_ino, f"{host}:{port}")
    except OSError:
        pass  # it has ended meanwhile
    own.close()
    return None


def raise_file_limit(wanted: int = FILES_WANTED) -> int:
    """Raises this process's limit of open files to what is wanted, or as far as it may; returns the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft == resource.RLIM_INFINITY or soft >= target:
        return soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
    return target
