"""Bounds what hostile peers can make a TCP server socket hold, before and after they are let in. For ``server_socket``.

ZeroMQ's MAXMSGSIZE bounds one part of a message, not the message: a peer that sends part after part and never the last
one fills the memory, and the program sees nothing of it. So a thread watches each connection from outside: the bytes
that the kernel has received over it, against the bytes that came out as messages. What lies between the two is held in
memory. A connection that holds too much is shut, counted and logged. So are connections beyond a number.
"""

from __future__ import annotations

import logging
import os
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import zmq

from stream.seldom import Seldom
from stream.tcp import MEASURES, TcpConnection, adopt

HANDSHAKE_S = 5.0
"""Seconds for a handshake (a round trip or two); ZeroMQ's own default is 30."""

FIRST_WORD_S = 15.0
"""Seconds until a connection has said its first word. Honest peers speak as soon as they are let in."""

FIRST_BYTES = 64 * 1024
"""Bytes that may come in before the first message comes out: handshake, HELLO and some beats are less than 3 KB."""

CONNECTIONS = 256
"""Connections of one server: more than the cameras or subscribers that one machine serves."""

_LOOK_S = 0.1  # between two looks at all connections; one costs some microseconds a connection
_LOOK_CLOSER_S = 0.02  # where much is held: loopback brings 1 GB a second
_PART_OVERHEAD = 64  # bytes: a part's header is 9 at most, with CURVE 42
_EARLY_S = 10.0  # how long the first words of a connection are kept that the thread has not heard of yet
_LOG_S = 10.0  # between two lines: a flood of connections must not become a flood of lines
_EVENT = struct.Struct("=Hi")
_FAILED = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH
_EVENTS = zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED | _FAILED
_MONITOR_QUEUE = 10_000  # events; ZeroMQ's I/O thread waits where they are not taken

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """What connections may hold in memory: bytes that came in and did not come out as messages."""

    held: int  # one connection
    held_in_all: int  # all of them together; beyond it the one that holds most is shut
    connections: int = CONNECTIONS  # at once


@dataclass(slots=True)
class _Watched:
    link: TcpConnection
    since: float  # clock
    received: int = 0  # bytes, as the kernel said at the last look
    out: int = 0  # bytes of them known to have come out as messages
    settled: int = 0  # bytes received before the server was last seen without a message to read
    key: str = ""  # public key of the peer
    spoke: bool = False  # a message of it has come out
    shut: bool = False

    @property
    def held(self) -> int:
        return 0 if self.shut else self.received - self.out


@dataclass(slots=True)
class _Early:
    """What came out of a connection before the thread had heard of it."""

    inode: int  # of the connection: its descriptor may be another's a moment later
    at: float  # clock, of the first message
    key: str  # public key of the peer
    out: int = 0  # bytes


class Guard:
    """Watches the connections of one server socket, in a thread of its own; the server tells it what it has received.

    Args:
        context: of the socket.
        socket: not bound yet.
        name: in logs.
        limits: what connections may hold.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        context: zmq.Context[Any],
        socket: zmq.Socket[bytes],
        *,
        name: str,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name, self._limits, self._clock, self._socket = name, limits, clock, socket
        socket.setsockopt(zmq.HANDSHAKE_IVL, int(HANDSHAKE_S * 1000))
        socket.setsockopt(zmq.BACKLOG, limits.connections)
        address = f"inproc://guard-{id(self)}"
        socket.monitor(address, _EVENTS)
        self._events: zmq.Socket[bytes] = context.socket(zmq.PAIR)
        self._events.linger = 0
        self._events.rcvhwm = _MONITOR_QUEUE
        self._events.connect(address)
        self._lock = threading.Lock()
        self._watched: dict[int, _Watched] = {}  # by the descriptor that ZeroMQ uses, in the order in which they came
        self._early: dict[int, _Early] = {}  # the same, in the order in which they spoke
        self._counts: Counter[str] = Counter()
        self._empty_at = clock()  # when the server was last seen without a message to read
        self._failing = False  # the next connection that ends was not let in
        self._measures = MEASURES
        self._complaints = Seldom(_log, clock, pause=_LOG_S, others="others before it")
        self._port = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"guard of {name}", daemon=True)

    def start(self, port: int) -> None:
        """Begins to watch, once the socket is bound to this port."""
        self._port = port
        if not self._measures:
            self._say_off()
        self._thread.start()

    def close(self) -> None:
        """Ends the watch; called by the socket's thread before the socket is closed. May be called twice."""
        if self._stopping.is_set():
            return
        self._socket.disable_monitor()  # first: without a reader its queue would fill and hold up ZeroMQ
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._events.close(linger=0)
        for watched in self._watched.values():
            watched.link.close()
        self._watched.clear()

    def counts(self) -> dict[str, int]:
        """Connections at this moment, and how many were shut or not let in, by reason."""
        with self._lock:
            return {"connections": len(self._watched), **self._counts}

    def took(self, parts: Sequence[zmq.Frame], key: str) -> None:
        """The server has received this message (with ``copy=False``) under this public key."""
        try:
            descriptor = int(parts[-1].get(zmq.SRCFD))
        except (zmq.ZMQError, ValueError):
            return
        size = sum(len(part) + _PART_OVERHEAD for part in parts)
        with self._lock:
            watched = self._watched.get(descriptor)
            if watched is None or not watched.link.is_still(descriptor):
                self._keep_early(descriptor, key, size)
                return
            watched.spoke, watched.key = True, key
            # It ended after all that was received before the server last had nothing to read. That makes up for what
            # never comes out as a message (headers, heartbeats), and would add up over weeks.
            watched.out = max(watched.out + size, watched.settled)

    def empty(self) -> None:
        """The server has found no message to read."""
        with self._lock:
            self._empty_at = self._clock()
            for watched in self._watched.values():
                watched.settled = watched.received

    def shut_keys(self, unwanted: Callable[[str], bool]) -> None:
        """Shuts the connections of peers whose public key is not wanted any more."""
        with self._lock:
            for watched in self._watched.values():
                if watched.spoke and unwanted(watched.key):
                    self._shut(watched, "revoked", "its key was revoked")

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        pause, due = _LOOK_S, self._clock()
        while not self._stopping.is_set():
            try:
                if self._events.poll(int(pause * 1000)):
                    self._note(*_EVENT.unpack(self._events.recv_multipart()[0]))
                if self._clock() >= due:
                    pause = self._look(self._clock())
                    due = self._clock() + pause
            except Exception:  # a guard that has died protects nobody, and its full queue would stop the server
                _log.exception("guard of %s goes on after an error", self._name)

    def _note(self, event: int, value: int) -> None:
        with self._lock:
            if event == zmq.EVENT_ACCEPTED:
                self._accept(value)
            elif event == zmq.EVENT_DISCONNECTED:
                self._forget(value)
            else:
                self._failing = True

    def _accept(self, descriptor: int) -> None:
        self._drop(descriptor)
        link = adopt(descriptor, local_port=self._port)
        if link is None:  # it has ended already
            return
        self._watched[descriptor] = new = _Watched(link, self._clock())
        early = self._early.get(descriptor)  # kept: this may be news of one that has ended, whose number was free again
        if early is not None and early.inode == link.inode:
            new.spoke, new.key, new.out = True, early.key, early.out
        if sum(not watched.shut for watched in self._watched.values()) > self._limits.connections:
            # Who has not said a word had time enough, and is more likely one of many idle ones than who comes now.
            idle = (watched for watched in self._watched.values() if not watched.spoke and not watched.shut)
            self._shut(next(idle, new), "too_many", f"{self._limits.connections} connections are open")

    def _keep_early(self, descriptor: int, key: str, size: int) -> None:
        """A busy machine may let the server receive a message before this thread hears that somebody connected."""
        try:
            inode = os.fstat(descriptor).st_ino
        except OSError:  # it has ended already
            return
        early = self._early.get(descriptor)
        if early is None or early.inode != inode:
            self._early.pop(descriptor, None)
            early = self._early[descriptor] = _Early(inode, self._clock(), key)
        early.key, early.out = key, early.out + size
        if len(self._early) > self._limits.connections:
            del self._early[next(iter(self._early))]

    def _drop_early(self, now: float) -> None:
        if not self._events.poll(0):  # else one of them may be told of in a moment
            self._early = {number: early for number, early in self._early.items() if now - early.at < _EARLY_S}

    def _forget(self, descriptor: int) -> None:
        watched, failed = self._watched.get(descriptor), self._failing
        self._failing = False
        if failed and not (watched is not None and watched.shut):
            # It may have ended before this thread could look at it at all.
            address = watched.link.address if watched is not None else "an unknown address"
            self._count(address, "not_let_in", "was not let in: it has no key for this, or does not speak ZMTP")
        self._drop(descriptor)

    def _drop(self, descriptor: int) -> None:
        if watched := self._watched.pop(descriptor, None):
            watched.link.close()

    def _look(self, now: float) -> float:
        """Looks at every connection; returns the seconds until the next time."""
        with self._lock:
            self._drop_early(now)
            for descriptor in [n for n, watched in self._watched.items() if not watched.link.is_still(n)]:
                self._drop(descriptor)
            for watched in self._watched.values():
                self._measure(watched)
                self._judge(watched, now)
            held = sorted(self._watched.values(), key=lambda watched: watched.held)
            total = sum(watched.held for watched in held)
            if total > self._limits.held_in_all:
                self._shut(held[-1], "held_in_all", f"all connections hold {total >> 20} MB, it {held[-1].held >> 20}")
        return _LOOK_CLOSER_S if total > self._limits.held // 8 else _LOOK_S

    def _measure(self, watched: _Watched) -> None:
        received = watched.link.bytes_received() if self._measures else None
        if received is None:
            if self._measures and not watched.shut:
                self._measures = False
                self._say_off()
            return
        watched.received = received
        watched.out = min(watched.out, received)  # overheads are counted generously

    def _judge(self, watched: _Watched, now: float) -> None:
        if watched.held > (self._limits.held if watched.spoke else FIRST_BYTES):
            self._shut(watched, "held", f"{watched.held} bytes came in that make no message")
        elif not watched.spoke and self._empty_at > watched.since + FIRST_WORD_S:
            self._shut(watched, "silent", f"not a word in {now - watched.since:.0f} s")

    def _shut(self, watched: _Watched, reason: str, text: str) -> None:
        if not watched.shut:
            watched.link.shut()
            self._count(watched.link.address, reason, f"shut: {text}")
            watched.shut = True

    def _count(self, address: str, reason: str, text: str) -> None:
        self._counts[reason] += 1
        self._complaints.warn(f"{self._name}: connection from {address} {text}")

    def _say_off(self) -> None:
        _log.warning("%s: this system does not tell what a connection received; memory is not guarded", self._name)
