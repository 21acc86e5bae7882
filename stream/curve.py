"""CURVE on the sockets of the link and of the feed: who is at the other end, and that nobody else is let in.

ZeroMQ's CURVE fails open: without an authenticator in the socket's own context, or without an enforced domain, any key
is accepted. :class:`CurveServer` sets all four things that it needs (measured; the tests take each away), and then says
for every message whose key it came under. A key of the link does not open the feed, nor the other way round.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import zmq
from zmq.auth.thread import ThreadAuthenticator

from stream.keys import Access, KeyFolder, Role, SecretKey, access_stamp, read_access

RELOAD_S = 1.0
"""Seconds between looks at the folder of public keys: how long a revoked key still opens the door."""

_DOMAINS = {Role.READER: "link", Role.SUBSCRIBER: "feed", Role.LOCAL: "directory"}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Peer:
    """Who sent a message."""

    key: str  # public key (Z85); empty on an endpoint without CURVE
    names: frozenset[str]  # cameras, or the subscriber's name
    any_name: bool  # this machine's own programs, and everybody on an endpoint without CURVE

    @property
    def known(self) -> bool:
        """Whether it may do anything at all. False: its key was revoked while it was connected."""
        return self.any_name or bool(self.names)

    def may_be(self, name: str) -> bool:
        """Whether it may speak as this camera or subscriber."""
        return self.any_name or name in self.names


ANYBODY = Peer("", frozenset(), any_name=True)
"""The other end where the endpoint itself is the guard: a socket in a private folder, loopback, or ``insecure``."""


class CurveServer:
    """Lets in who has a key, on one server socket.

    Args:
        keys: the server's folder, as read.
        role: READER for the link, SUBSCRIBER for the feed, LOCAL for a directory that answers both.
        clock: monotonic seconds.
    """

    def __init__(self, keys: KeyFolder, role: Role, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._keys, self._role, self._clock = keys, role, clock
        self._domain = _DOMAINS[role]
        self._access = keys.access
        # Stamped before it is read anew, so that what changes in between is seen by the next look.
        self._stamp: object = None
        self._next_look = clock()
        self._authenticator: ThreadAuthenticator | None = None

    def __call__(self, context: zmq.Context[Any], socket: zmq.Socket[bytes]) -> None:
        """Guards a socket of this context, before it is bound."""
        # The authenticator first: it has to be there before anybody can connect.
        self._authenticator = ThreadAuthenticator(context)
        self._authenticator.start()
        self._authenticator.configure_curve_callback(domain=self._domain, credentials_provider=_Door(self._lets_in))
        socket.setsockopt(zmq.ZAP_DOMAIN, self._domain.encode())
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_PUBLICKEY, self._keys.server.public.encode())
        socket.setsockopt(zmq.CURVE_SECRETKEY, self._keys.server.secret.encode())

    def close(self) -> None:
        """Ends the authenticator; nobody is let in any more. To be called before the context ends. May be called
        twice."""
        if self._authenticator is not None:
            self._authenticator.stop()
            self._authenticator = None

    def peer_of(self, frame: zmq.Frame) -> Peer:
        """Whose key a part of a message (received with ``copy=False``) came under, by the access of this moment."""
        try:
            key = str(frame.get("User-Id"))
        except zmq.ZMQError:
            return Peer("", frozenset(), any_name=False)  # cannot be behind CURVE; then nobody
        return self._peer(key)

    def refresh(self) -> bool:
        """Reads the public keys again if they have changed; looks at most every ``RELOAD_S``. True: they have."""
        now = self._clock()
        if now < self._next_look:
            return False
        self._next_look = now + RELOAD_S
        stamp = access_stamp(self._keys.path)
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        access = read_access(self._keys.path, self._keys.local.public)
        for problem in access.problems:
            _log.error("key file that lets nobody in: %s", problem)
        changed = access != self._access
        self._access = access
        if changed:
            _log.info("%s: keys were changed; %d let in", self._domain, len(access.of(self._role)))
        return changed

    def lets_in(self, key: str) -> bool:
        """Whether this public key opens this door at this moment."""
        return self._peer(key).known

    def names_of(self, peer: Peer, role: Role) -> frozenset[str]:
        """What a peer may be called in one role, at this moment: a directory's peers have any of several."""
        return self._access.names(role, peer.key)

    def _lets_in(self, domain: str, key: bytes) -> bool:
        # In the authenticator's thread, where an exception would end it, and with it every later handshake.
        return domain == self._domain and self.lets_in(key.decode("ascii", "replace"))

    def _peer(self, key: str) -> Peer:
        access: Access = self._access
        return Peer(key, access.names(self._role, key), any_name=access.may_all(key))


class CurveClient:
    """Sets a client's keys on each of its sockets: it talks to the one server that its key file names."""

    def __init__(self, key: SecretKey) -> None:
        self._key = key

    def __call__(self, context: zmq.Context[Any], socket: zmq.Socket[bytes]) -> None:
        """Before the socket connects."""
        socket.setsockopt(zmq.CURVE_SERVERKEY, self._key.server.encode())
        socket.setsockopt(zmq.CURVE_PUBLICKEY, self._key.public.encode())
        socket.setsockopt(zmq.CURVE_SECRETKEY, self._key.secret.encode())


@dataclass(frozen=True, slots=True)
class _Door:
    """What pyzmq asks about each key."""

    callback: Callable[[str, bytes], bool]  # domain, key as Z85
