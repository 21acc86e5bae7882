"""Where the sockets of the link and of the feed live: checked addresses, and one owner for each.

ZeroMQ lets a second ``ipc://`` bind take an endpoint away from the first without a word, and lets anybody who may enter
the folder connect. So whoever binds calls :func:`claim` first. Used by ``config``, ``link``, ``feed`` and ``cli``.
"""

from __future__ import annotations

import ipaddress
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import zmq

from stream.errors import EndpointBusy, UsageError
from stream.lockfile import Taken, take

MAX_IPC_PATH_BYTES = 107
"""``sun_path`` of a Unix socket holds 108 bytes, the closing zero included."""

_FOLDER_MODE = 0o700  # who can enter the folder can read every alert picture
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH

SecureSocket = Callable[["zmq.Context[Any]", "zmq.Socket[bytes]"], None]
"""Sets the CURVE keys of a socket (and what its context needs) before it binds or connects."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A checked ZeroMQ address; ``str()`` gives it back."""

    url: str  # as ZeroMQ takes it
    path: Path | None  # socket file, for ipc
    host: str  # without brackets, for tcp; "*" = every interface
    port: int  # for tcp; 0 = any free one (to bind only)

    def __str__(self) -> str:
        return self.url


class Claim:
    """The right to bind an endpoint, held until :meth:`close` or the end of the process. Not inherited over exec."""

    def __init__(self, lock: int | None) -> None:
        self._lock = lock

    def close(self) -> None:
        """Gives the endpoint up. May be called twice."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def parse_endpoint(text: str) -> Endpoint:
    """A checked ``ipc:///absolute/path`` or ``tcp://address:port`` (IPv6 in brackets, ``*`` allowed for both parts).

    Raises:
        UsageError: neither of these, or an ipc path longer than a Unix socket can have.
    """
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in ("ipc", "tcp"):
        raise UsageError(f"endpoint {_shown(text)!r}: use ipc:///absolute/path or tcp://address:port")
    return _parse_ipc(text, rest) if scheme == "ipc" else _parse_tcp(text)


def is_loopback(endpoint: Endpoint) -> bool:
    """Whether only this machine can reach it. Names other than ``localhost`` are not resolved and count as remote."""
    if endpoint.path is not None or endpoint.host == "localhost":
        return True
    try:
        return ipaddress.ip_address(endpoint.host).is_loopback
    except ValueError:
        return False


def connect_address(text: str) -> str:
    """Where to connect on this machine, to what is bound at this address: where one binds is not where one connects.

    Raises:
        UsageError: as :func:`parse_endpoint`.
    """
    parsed = parse_endpoint(text)
    if parsed.path is None and parsed.host in ("*", "0.0.0.0", "::"):
        return f"tcp://127.0.0.1:{parsed.port}"
    return text


def claim(endpoint: Endpoint) -> Claim:
    """Makes this process the one owner of an endpoint, before it binds.

    For ipc the folder is made (0700) or checked, and a lock file beside the socket is locked; for tcp the kernel
    already refuses a second bind, and the claim is empty.

    Raises:
        EndpointBusy: another process owns it; its process id is named.
        UsageError: the folder belongs to somebody else, others may write to it, or it cannot be made.
    """
    if endpoint.path is None:
        return Claim(None)
    try:
        _private_folder(endpoint.path.parent)
        return Claim(_lock(endpoint, endpoint.path.with_name(endpoint.path.name + ".lock")))
    except OSError as error:
        raise UsageError(
            f"endpoint {endpoint}: {error.strerror}: {error.filename}. Choose a folder that this user may write to"
        ) from error


def bind(socket: zmq.Socket[bytes], endpoint: Endpoint) -> str:
    """Binds and returns the address really bound (a port 0 or ``*`` becomes the one chosen). Claim it first.

    Raises:
        EndpointBusy: something else listens there.
        UsageError: the address does not belong to this machine, or may not be used.
    """
    try:
        socket.bind(endpoint.url)
    except zmq.ZMQError as error:
        if error.errno == zmq.EADDRINUSE:
            raise EndpointBusy(f"endpoint {endpoint} is in use already: stop it or choose another") from error
        raise UsageError(
            f"endpoint {endpoint} cannot be bound: {error.strerror}. Give an IP address of this machine, or *"
        ) from error
    return socket.getsockopt_string(zmq.LAST_ENDPOINT)


def _parse_ipc(text: str, rest: str) -> Endpoint:
    path = Path(rest)
    if not path.is_absolute() or not path.name or rest.endswith("/") or "\0" in rest:
        raise UsageError(
            f"endpoint {text!r}: the ipc path must be absolute and name a file, as ipc:///run/spade/feed.ipc"
        )
    length = len(os.fsencode(rest))
    if length > MAX_IPC_PATH_BYTES:
        raise UsageError(
            f"endpoint {text!r}: the ipc path has {length} bytes, a Unix socket takes {MAX_IPC_PATH_BYTES}: "
            "choose a shorter folder"
        )
    return Endpoint(url=text, path=path, host="", port=0)


def _parse_tcp(text: str) -> Endpoint:
    wrong = UsageError(f"endpoint {_shown(text)!r}: tcp needs exactly tcp://address:port (port 1..65535, or * to bind)")
    # urlsplit takes no "*" for a port; ZeroMQ reads 0 and * alike.
    try:
        parts = urlsplit(text[:-1] + "0" if text.endswith(":*") else text)
        port = parts.port
    except ValueError:
        raise wrong from None
    exact = not (parts.path or parts.query or parts.fragment or "@" in parts.netloc)
    if port is None or not parts.hostname or not exact or any(c.isspace() for c in text):
        raise wrong
    return Endpoint(url=text, path=None, host=parts.hostname, port=port)


def _shown(text: str) -> str:
    """The text without what may be a user name and a password."""
    head, at, tail = text.rpartition("@")
    scheme, separator, _ = head.rpartition("://")
    return f"{scheme}{separator}...@{tail}" if at else text


def _private_folder(folder: Path) -> None:
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)
    state = folder.stat()
    if not stat.S_ISDIR(state.st_mode):
        raise UsageError(f"{folder} is not a folder: sockets need a folder of their own")
    if state.st_uid != os.geteuid():
        raise UsageError(
            f"folder {folder} belongs to user {state.st_uid}, this is user {os.geteuid()}: whoever owns it could take "
            "the sockets over. Choose a folder of this user"
        )
    if state.st_mode & _WRITABLE_BY_OTHERS:
        raise UsageError(
            f"folder {folder} may be written by others (mode {stat.S_IMODE(state.st_mode):04o}): run chmod 700 {folder}"
        )


def _lock(endpoint: Endpoint, path: Path) -> int:
    try:
        return take(path)
    except Taken as taken:
        raise EndpointBusy(
            f"endpoint {endpoint} is owned by process {taken.owner}: stop that process or choose another endpoint"
        ) from None
