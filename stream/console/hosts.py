"""Which ``Host`` and ``Origin`` a request may carry. Pure.

A page of somebody else's can make a browser send requests here under a name that the page's owner has pointed at this
machine (DNS rebinding). Such a request carries that name as its host. An address in digits cannot be pointed anywhere.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

LOCAL_NAMES = frozenset({"localhost", "ip6-localhost"})
"""Names that every machine has for itself."""


def host_of(header: str) -> str:
    """The name or address in a ``Host`` header, in small letters, without port and brackets; empty where malformed."""
    text = header.strip().lower()
    if text.startswith("["):
        address, bracket, port = text[1:].partition("]")
        return address if bracket and _is_port_suffix(port) else ""
    name, colon, port = text.partition(":")
    return name if _is_port_suffix(colon + port) else ""


def is_known(header: str, names: Collection[str]) -> bool:
    """Whether a ``Host`` header names this machine: an address, a local name, or one of ``names``."""
    host = host_of(header)
    return bool(host) and (_is_address(host) or host in LOCAL_NAMES or host in names)


def is_same_origin(origin: str, host_header: str) -> bool:
    """Whether an ``Origin`` header is of a page that came from the very host and port that the request goes to.

    The scheme is not compared: behind a proxy that ends TLS this process sees another one than the browser does.
    """
    scheme, separator, rest = origin.strip().lower().partition("://")
    return bool(separator) and scheme in ("http", "https") and rest == host_header.strip().lower()


def is_loopback_address(text: str) -> bool:
    """Whether an address is of this machine alone."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool(address.is_loopback or (mapped is not None and mapped.is_loopback))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _is_port_suffix(text: str) -> bool:
    return text == "" or (text.startswith(":") and text[1:].isascii() and text[1:].isdigit() and len(text) <= 6)
