"""Asks whether a camera's TCP port answers, so that a camera that comes back is opened at once instead of after the
rest of a long pause. Used by ``programs`` and ``capture``.

A connection is made and closed again; nothing is sent, so that no credentials can leave, and no camera counts it as a
failed login.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from urllib.parse import urlsplit

PROBE_TIMEOUT = 1.0
"""Seconds that a port may take to answer. Cameras are near; what takes longer is not back yet."""

PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
"""Ports where an address names none."""

_AUTHORITY = re.compile(r"(?P<scheme>[A-Za-z]+)://(?P<authority>[^/?#]*)(?P<rest>.*)", re.DOTALL)


class Comeback:
    """Whether a port has come back: closed when it was asked earlier, and open now.

    A port that was open all the time says nothing: the camera answers, and fails for another reason.

    Args:
        is_open: asks the port.
    """

    def __init__(self, is_open: Callable[[], bool]) -> None:
        self._is_open = is_open
        self._was_closed = False

    def seen(self) -> bool:
        """Asks now. True as soon as the port is open after it was closed."""
        if self._is_open():
            return self._was_closed
        self._was_closed = True
        return False


def port_probe(source: str) -> Callable[[], bool] | None:
    """What asks whether the port of this source is open; never raises, never waits long.

    None for sources that are no network address, and for addresses that cannot be taken apart beyond doubt (a password
    with ``@`` or ``/`` in it that is not percent-encoded: part of it might be taken for the host).
    """
    address = _address(source)
    return None if address is None else lambda: _is_open(address)


def _address(source: str) -> tuple[str, int] | None:
    found = _AUTHORITY.fullmatch(source)
    if found is None or found["scheme"].lower() not in PORTS or "@" in found["rest"]:
        return None
    scheme, place = found["scheme"].lower(), found["authority"].rpartition("@")[2]
    try:
        parts = urlsplit(f"{scheme}://{place}")
        port = parts.port
    except ValueError:
        return None
    return (parts.hostname, port or PORTS[scheme]) if parts.hostname else None


def _is_open(address: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(address, timeout=PROBE_TIMEOUT):
            return True
    except (OSError, UnicodeError):  # UnicodeError: a name that no server can be asked for
        return False
