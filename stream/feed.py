"""The feed: hands committed alerts to any number of subscribers, each from its own place, over one ROUTER socket.

It runs as a process of its own that only reads the outbox, so that it outlives the worker, and a slow subscriber can
hold up neither the scoring nor another subscriber. Messages (metas as JSON, see ``wire``)::

    subscriber                                   feed
    SUBSCRIBE {name: str|null, since: int|null}  ALERT ...       in order, at most WINDOW unacknowledged
    ACK       {seq}      cumulative              GAP {first, last}         removed by retention, gone for good
    BEAT      {}         every BEAT_S            CAUGHT_UP {seq}           everything committed at SUBSCRIBE was sent
    STATUS    {}         no SUBSCRIBE needed     STATUS {...}, BEAT {}
                                                 REFUSED {reason, again}   again: SUBSCRIBE once more, from a new socket

``since`` null means: with a name, after what was acknowledged under it; without one, what is committed from now on.
"""

from __future__ import annotations

import logging
import re
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeGuard

import zmq

from stream.endpoints import SecureSocket, bind, claim, parse_endpoint
from stream.errors import WireError
from stream.outbox import OutboxReader
from stream.wire import Buffer, Envelope, Kind, decode, encode, encode_alert

WINDOW = 32
"""Unacknowledged alerts per subscriber: hides the round trip at any rate seen, and bounds what a stalled one can hold
in socket buffers to some tens of megabytes."""

BEAT_S = 1.0
"""Seconds between signs of life, both ways. ZeroMQ's own heartbeats are answered by its I/O thread even when the
program hangs."""

FORGET_S = 10.0
"""A subscriber silent for so long is forgotten; it finds out with its next message, and subscribes again."""

POLL_S = 0.05
"""The longest a new commit waits to be noticed; one indexed row is read each time."""

MAX_SUBSCRIBERS = 64
"""Times WINDOW pictures: what the feed may hold in socket buffers altogether."""

_MAX_REQUEST_BYTES = 4096  # requests are some dozen bytes; MAXMSGSIZE holds per part
_REQUESTS_PER_ROUND = 256  # so that a flood of requests cannot keep alerts from being sent
_BURST = 8  # alerts to one subscriber before the next one's turn
_SEND_QUEUE = 4 * WINDOW  # messages per peer; beats, gaps and answers come on top of the window
_MAX_SEQ = 2**63 - 1  # SQLite's
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Subscriber:
    """The state of one connection."""

    name: str | None
    cursor: int  # everything up to here was sent, or reported as a gap
    target: int  # last number committed when it subscribed
    heard: float  # clock when its last message came
    caught_up: bool = False
    sent: int = 0  # alerts, counted over the connection
    acked: int | None = None  # highest acknowledged number not yet noted in the outbox
    unacked: deque[int] = field(default_factory=deque)  # numbers in flight, ascending


class FeedServer:
    """Serves one outbox on one endpoint.

    Args:
        endpoint: ``ipc://`` or ``tcp://`` address, claimed and bound at once.
        outbox: this object only reads, but notes acknowledgements of named subscribers; the caller closes it.
        status: what STATUS answers; the feed adds its own state under ``feed``.
        secure: sets the CURVE keys before binding.
        clock: monotonic seconds.

    Raises:
        EndpointBusy: another process serves this endpoint.
        UsageError: the endpoint is not well formed or cannot be bound.
    """

    def __init__(
        self,
        endpoint: str,
        outbox: OutboxReader,
        status: Callable[[], Mapping[str, Any]],
        *,
        secure: SecureSocket | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outbox = outbox
        self._status = status
        self._clock = clock
        self._subscribers: dict[bytes, _Subscriber] = {}
        self._counts: Counter[str] = Counter()
        self._next_beat = clock() + BEAT_S
        parsed = parse_endpoint(endpoint)
        self._claim = claim(parsed)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            self._socket = self._context.socket(zmq.ROUTER)
            self._socket.linger = 0  # what was not delivered is sent again after the next SUBSCRIBE
            self._socket.sndhwm = _SEND_QUEUE
            self._socket.setsockopt(zmq.MAXMSGSIZE, _MAX_REQUEST_BYTES)
            # Without MANDATORY a message to a peer that left vanishes; without HANDOVER a peer that comes back under
            # a fixed identity, before its dead connection is noticed, is ignored for ever.
            self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
            self._socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
            if secure is not None:
                secure(self._context, self._socket)
            self.endpoint = bind(self._socket, parsed)
        except BaseException:
            self._context.destroy(linger=0)
            self._claim.close()
            raise

    def run(self, stop: Callable[[], bool]) -> None:
        """Serves until ``stop()`` is true; it is asked at least every ``POLL_S``.

        Raises:
            OutboxError: the outbox cannot be read any more.
        """
        while not stop():
            self.step(POLL_S)

    def step(self, wait: float) -> None:
        """One round: waits at most ``wait`` seconds for requests, answers them, then sends what is due."""
        if self._socket.poll(0 if self._backlog() else int(wait * 1000)):
            self._receive()
        now = self._clock()
        self._forget_silent(now)
        self._serve()
        if now >= self._next_beat:
            self._next_beat = now + BEAT_S
            for identity in list(self._subscribers):
                self._send(identity, encode(Kind.BEAT, {}))
        self._note_places()

    def state(self) -> dict[str, Any]:
        """What STATUS tells under ``feed``: subscribers with their places, and counts of what went wrong."""
        return {
            "last_seq": self._outbox.last_seq(),
            "subscribers": [
                {
                    "name": s.name,
                    "cursor": s.cursor,
                    "in_flight": len(s.unacked),
                    "sent": s.sent,
                    "caught_up": s.caught_up,
                }
                for s in self._subscribers.values()
            ],
            "acknowledged": self._outbox.acknowledged(),
            "counts": dict(self._counts),
        }

    def close(self) -> None:
        """Gives the endpoint up; what was acknowledged was noted in the round that it came in. May be called twice."""
        self._context.destroy(linger=0)
        self._claim.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # -- requests -----------------------------------------------------------------------------------------------------

    def _receive(self) -> None:
        for _ in range(_REQUESTS_PER_ROUND):
            try:
                identity, *parts = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                self._answer(identity, decode(parts))
            except WireError as error:
                self._counts["malformed"] += 1
                _log.warning("request that is not well formed: %s", error)

    def _answer(self, identity: bytes, request: Envelope) -> None:
        if request.kind is Kind.STATUS:
            self._send(identity, self._status_answer())
            return
        if request.kind is Kind.SUBSCRIBE:
            self._subscribe(identity, request.meta)
            return
        if request.kind not in (Kind.ACK, Kind.BEAT):
            raise WireError(f"a feed takes no {request.kind.name}")
        subscriber = self._subscribers.get(identity)
        if subscriber is None:
            reason = f"not subscribed (any more): the feed was restarted, or heard nothing for {FORGET_S:.0f} s"
            self._refuse(identity, reason, again=True)
            return
        subscriber.heard = self._clock()
        if request.kind is Kind.ACK:
            self._acknowledge(subscriber, request.meta)

    def _subscribe(self, identity: bytes, meta: Mapping[str, Any]) -> None:
        try:
            name, since = check_subscription(meta.get("name"), meta.get("since"))
        except ValueError as error:
            self._refuse(identity, str(error))
            return
        last = self._outbox.last_seq()
        if since is not None and since > last:
            # Sending only what comes after `since` would lose everything that this outbox numbers below it.
            self._refuse(identity, f"since {since} is ahead of this outbox, which ends at {last}: is it another one?")
            return
        if identity not in self._subscribers and len(self._subscribers) >= MAX_SUBSCRIBERS:
            self._refuse(identity, f"{MAX_SUBSCRIBERS} subscribers are connected already")
            return
        if name is not None:
            self._take_over(identity, name)
            self._outbox.acknowledge(name, 0)  # registers it; a place never moves back
        start = since if since is not None else last if name is None else self._outbox.acknowledged()[name]
        self._subscribers[identity] = _Subscriber(name, cursor=start, target=last, heard=self._clock())
        self._counts["subscribed"] += 1
        _log.info("subscriber %s from %d on", name or "(no name)", start)

    def _take_over(self, identity: bytes, name: str) -> None:
        """One name, one connection: two would move each other's place, and alerts would be lost."""
        for other in [i for i, s in self._subscribers.items() if s.name == name and i != identity]:
            self._note_places()
            self._refuse(other, f"another subscriber took over the name {name!r}: give each subscriber its own name")
            self._subscribers.pop(other, None)

    def _acknowledge(self, subscriber: _Subscriber, meta: Mapping[str, Any]) -> None:
        seq = meta.get("seq")
        if not is_seq(seq) or seq > subscriber.cursor:
            raise WireError(f"ACK of {seq!r}, but only {subscriber.cursor} numbers were sent")
        while subscriber.unacked and subscriber.unacked[0] <= seq:
            subscriber.unacked.popleft()
        if subscriber.name is not None:
            subscriber.acked = max(seq, subscriber.acked or 0)

    def _status_answer(self) -> list[Buffer]:
        try:
            return encode(Kind.STATUS, {**self._status(), "feed": self.state()})
        except Exception as error:  # whatever the injected callable raises, alerts must go on
            self._counts["status_failed"] += 1
            _log.exception("the status cannot be told")
            return encode(Kind.REFUSED, {"reason": f"status failed: {type(error).__name__}", "again": False})

    # -- sending ------------------------------------------------------------------------------------------------------

    def _backlog(self) -> bool:
        last = self._outbox.last_seq()
        return any(s.cursor < last and len(s.unacked) < WINDOW for s in self._subscribers.values())

    def _serve(self) -> None:
        last = self._outbox.last_seq()
        for identity, subscriber in list(self._subscribers.items()):
            room = min(WINDOW - len(subscriber.unacked), _BURST)
            if room > 0 and subscriber.cursor < last:
                self._send_alerts(identity, subscriber, last, room)
            if not subscriber.caught_up and subscriber.cursor >= subscriber.target:
                subscriber.caught_up = self._send(identity, encode(Kind.CAUGHT_UP, {"seq": subscriber.target}))

    def _send_alerts(self, identity: bytes, subscriber: _Subscriber, last: int, room: int) -> None:
        alerts = self._outbox.read_after(subscriber.cursor, limit=room)
        for stored in alerts:
            alert, evidence = self._outbox.deliverable(stored)
            if not self._send_gap(identity, subscriber, alert.seq - 1):
                return
            if not self._send(identity, encode_alert(alert, evidence)):
                return
            subscriber.cursor = alert.seq
            subscriber.unacked.append(alert.seq)
            subscriber.sent += 1
        if not alerts:
            self._send_gap(identity, subscriber, last)

    def _send_gap(self, identity: bytes, subscriber: _Subscriber, up_to: int) -> bool:
        """Reports the numbers after the cursor up to ``up_to`` as gone, if there are any."""
        if subscriber.cursor >= up_to:
            return True
        sent = self._send(identity, encode(Kind.GAP, {"first": subscriber.cursor + 1, "last": up_to}))
        if sent:
            subscriber.cursor = up_to
        return sent

    def _refuse(self, identity: bytes, reason: str, *, again: bool = False) -> None:
        self._counts["refused"] += 1
        self._send(identity, encode(Kind.REFUSED, {"reason": reason, "again": again}))

    def _send(self, identity: bytes, parts: list[Buffer]) -> bool:
        """False where the peer is gone, or reads so little that its queue is full; then it is forgotten."""
        try:
            self._socket.send_multipart([identity, *parts], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                raise
            self._counts["queue_full" if error.errno == zmq.EAGAIN else "left"] += 1
            self._forget(identity)
            return False
        return True

    # -- keeping house ------------------------------------------------------------------------------------------------

    def _forget_silent(self, now: float) -> None:
        for identity in [i for i, s in self._subscribers.items() if now - s.heard > FORGET_S]:
            self._counts["silent"] += 1
            self._forget(identity)

    def _forget(self, identity: bytes) -> None:
        subscriber = self._subscribers.pop(identity, None)
        if subscriber is not None:
            self._note_place(subscriber)
            _log.info("subscriber %s is gone at %d", subscriber.name or "(no name)", subscriber.cursor)

    def _note_places(self) -> None:
        # Once a round, not once a message: each is a synchronous write, and a lost one only repeats some alerts.
        for subscriber in self._subscribers.values():
            self._note_place(subscriber)

    def _note_place(self, subscriber: _Subscriber) -> None:
        if subscriber.name is not None and subscriber.acked is not None:
            self._outbox.acknowledge(subscriber.name, subscriber.acked)
            subscriber.acked = None


def check_subscription(name: object, since: object) -> tuple[str | None, int | None]:
    """Both, if they may stand in a SUBSCRIBE. Raises ValueError naming the one that may not."""
    if name is not None and not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise ValueError(f"subscriber name {str(name)[:80]!r} must be 1 to 64 letters, digits or any of _ . -")
    if since is not None and not is_seq(since):
        raise ValueError(f"since {str(since)[:80]!r} must be a sequence number, 0 or more")
    return name, since


def is_seq(value: object) -> TypeGuard[int]:
    """Whether a value from outside can be a sequence number."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_SEQ
