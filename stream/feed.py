"""The feed: hands committed alerts to any number of subscribers, each from its own place, over one ROUTER socket.

It runs as a process of its own that commits nothing, so that it outlives the worker, and a slow subscriber can
hold up neither the scoring nor another subscriber. Messages (metas as JSON, see ``wire``)::

    subscriber                                   feed
    SUBSCRIBE {name: str|null, since: int|null,  ALERT ...       in order, at most WINDOW unacknowledged
               events: bool, outbox: str|null,   EVENT ...       camera states, where asked for; not acknowledged
               had: str|null}
    ACK       {seq}      cumulative              GAP {first, last}         removed by retention, gone for good
    BEAT      {}         every BEAT_S            CAUGHT_UP {seq}           everything committed at SUBSCRIBE was sent
    STATUS    {}         no SUBSCRIBE needed     STATUS {...}, BEAT {}
                                                 REFUSED {reason, again, older}  again: SUBSCRIBE once more, from a new
                                                         socket; older: the numbers here are not those that were had

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

from stream.curve import CurveServer, Peer
from stream.endpoints import parse_endpoint
from stream.errors import OutboxError, WireError
from stream.guard import Limits
from stream.messages import Alert, StateEvent
from stream.outbox import OutboxReader
from stream.places import Places
from stream.retention import Retention
from stream.seldom import Seldom
from stream.server_socket import ServerSocket
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

LIMITS = Limits(held=4 << 20, held_in_all=64 << 20)
"""Bytes that subscribers' connections may hold in memory; the feed's own messages to them do not count."""

MAX_PER_KEY = 8
"""Subscriptions under one issued key, so that its holder cannot take all the room."""

COLLECTOR = "collect"
"""The name under which a cluster's run collects its alerts. Whoever takes it over and acknowledges would lose them for
the run, so where an outbox belongs to a cluster no issued key may have it."""

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
    peer: Peer  # whose key it subscribed under
    cursor: int  # everything up to here was sent, or reported as a gap
    target: int  # last number committed when it subscribed
    heard: float  # clock when its last message came
    caught_up: bool = False
    sent: int = 0  # alerts, counted over the connection
    states: deque[StateEvent] | None = None  # what every camera was doing when it subscribed; None = wants no events
    event_cursor: int = 0  # every later camera event is yet to be sent
    unacked: deque[int] = field(default_factory=deque)  # numbers in flight, ascending


class FeedServer:
    """Serves one outbox on one endpoint.

    Args:
        endpoint: ``ipc://`` or ``tcp://`` address, claimed and bound at once.
        outbox: this object only reads, but notes acknowledgements of named subscribers; the caller closes it.
        status: what STATUS answers; the feed adds its own state under ``feed``.
        retention: gets its turn in every round; None where another process does that, or nobody.
        secure: whose key may subscribe under which name; None where the endpoint itself is the guard.
        outbox_id: of an outbox that has one; whoever asks for another one is refused.
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
        retention: Retention | None = None,
        secure: CurveServer | None = None,
        outbox_id: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outbox, self._outbox_id = outbox, outbox_id
        self._status = status
        self._retention = retention
        self._clock = clock
        self._subscribers: dict[bytes, _Subscriber] = {}
        self._counts: Counter[str] = Counter()
        self._complaints = Seldom(_log, clock)
        self._last_event = 0  # as of this round
        self._places = Places(outbox, clock=clock)
        self._next_beat = clock() + BEAT_S
        options = {
            zmq.SNDHWM: _SEND_QUEUE,
            zmq.MAXMSGSIZE: _MAX_REQUEST_BYTES,
            # Without MANDATORY a message to a peer that left vanishes; without HANDOVER a peer that comes back under
            # a fixed identity, before its dead connection is noticed, is ignored for ever.
            zmq.ROUTER_MANDATORY: 1,
            zmq.ROUTER_HANDOVER: 1,
        }
        self._socket = ServerSocket(parse_endpoint(endpoint), options=options, limits=LIMITS, secure=secure)
        self.endpoint = self._socket.address

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
        self._places.note()
        if self._retention is not None:
            self._retention.step()

    def state(self) -> dict[str, Any]:
        """What STATUS tells under ``feed``: subscribers with their places, and what went wrong."""
        retention = {} if self._retention is None else {"retention": self._retention.state()}
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
            "counts": dict(self._counts) | ({"not_noted": n} if (n := self._places.failures) else {}),
            "problem": self._places.problem,
            **retention,
            **({"guard": guard} if (guard := self._socket.counts()) else {}),
        }

    def close(self) -> None:
        """Gives the endpoint up; what was acknowledged was noted in the round that it came in. May be called twice."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # -- requests -----------------------------------------------------------------------------------------------------

    def _receive(self) -> None:
        for _ in range(_REQUESTS_PER_ROUND):
            received = self._socket.receive()
            if received is None:
                return
            try:
                self._answer(received.identity, received.peer, decode(received.parts))
            except WireError as error:
                self._counts["malformed"] += 1
                self._complaints.warn(f"request that is not well formed: {error}")

    def _answer(self, identity: bytes, sender: Peer, request: Envelope) -> None:
        if not sender.known:
            self._forget(identity)
            self._refuse(identity, "this key was revoked")
            return
        if request.kind is Kind.STATUS:
            self._send(identity, self._status_answer())
            return
        if request.kind is Kind.SUBSCRIBE:
            self._subscribe(identity, sender, request.meta)
            return
        if request.kind not in (Kind.ACK, Kind.BEAT):
            raise WireError(f"a feed takes no {request.kind.name}")
        subscriber = self._subscribers.get(identity)
        # Whoever takes the identity of another connection may not speak for it: its acknowledgements would lose alerts.
        if subscriber is None or subscriber.peer.key != sender.key:
            reason = f"not subscribed (any more): the feed was restarted, or heard nothing for {FORGET_S:.0f} s"
            self._refuse(identity, reason, again=True)
            return
        subscriber.heard = self._clock()
        if request.kind is Kind.ACK:
            self._acknowledge(subscriber, request.meta)

    def _subscribe(self, identity: bytes, sender: Peer, meta: Mapping[str, Any]) -> None:
        try:
            name, since = check_subscription(meta.get("name"), meta.get("since"))
            events = check_events(meta.get("events", False))
            check_outbox(meta.get("outbox"), self._outbox_id)
            had = check_had(meta.get("had"))
        except ValueError as error:
            self._refuse(identity, str(error))
            return
        if name is not None and not sender.may_be(name):
            self._refuse(identity, f"this key may not subscribe as {name!r}: give the name it was issued for, or none")
            return
        if name == COLLECTOR and self._outbox_id and not sender.any_name:
            self._refuse(identity, f"as {name!r} the run of the cluster collects alerts: issue a key for another name")
            return
        last = self._outbox.last_seq()
        if since is not None and (reason := self._went_back(since, had, last)):
            # Sending only what comes after `since` would lose everything that this outbox numbers below it.
            self._refuse(identity, reason, older=True)
            return
        if identity not in self._subscribers and len(self._subscribers) >= MAX_SUBSCRIBERS:
            self._refuse(identity, f"{MAX_SUBSCRIBERS} subscribers are connected already")
            return
        if not sender.any_name and sum(s.peer == sender for s in self._subscribers.values()) >= MAX_PER_KEY:
            self._refuse(identity, f"this key has {MAX_PER_KEY} subscriptions already")
            return
        place = 0 if name is None else self._register(identity, name)
        if place is None:
            return
        start = since if since is not None else last if name is None else place
        self._subscribers[identity] = subscriber = _Subscriber(
            name, sender, cursor=start, target=last, heard=self._clock()
        )
        if events:
            subscriber.event_cursor = self._outbox.last_event()
            subscriber.states = deque(self._outbox.camera_states())
        self._counts["subscribed"] += 1
        _log.info("subscriber %s from %d on", name or "(no name)", start)

    def _went_back(self, since: int, had: str | None, last: int) -> str:
        """Why ``since`` cannot be a number of this outbox as it is now; "" where nothing speaks against it."""
        if since > last:
            return f"since {since} is ahead of this outbox, which ends at {last}: is it another one?"
        if had is None or since == 0:
            return ""
        try:
            found = self._outbox.read_after(since - 1, limit=1)
        except OutboxError:  # that alert was had already: it need not be readable for what follows
            return ""
        if not found or found[0].seq != since or (here := known_by(found[0])) == had:
            return ""
        return f"alert {since} of this outbox is {here}, not {had}: it is an older copy that went on, or another one"

    def _register(self, identity: bytes, name: str) -> int | None:
        """The place of a name, which from now on holds up retention; None where it was refused."""
        self._take_over(identity, name)
        try:
            return self._places.register(name)
        except OutboxError as error:
            self._refuse(identity, f"the name {name!r} cannot be registered now: {error}", again=True)
            return None

    def _take_over(self, identity: bytes, name: str) -> None:
        """One name, one connection: two would move each other's place, and alerts would be lost."""
        for other in [i for i, s in self._subscribers.items() if s.name == name and i != identity]:
            self._refuse(other, f"another subscriber took over the name {name!r}: give each subscriber its own name")
            self._subscribers.pop(other, None)

    def _acknowledge(self, subscriber: _Subscriber, meta: Mapping[str, Any]) -> None:
        seq = meta.get("seq")
        if not is_seq(seq) or seq > subscriber.cursor:
            raise WireError(f"ACK of {seq!r}, but only {subscriber.cursor} numbers were sent")
        while subscriber.unacked and subscriber.unacked[0] <= seq:
            subscriber.unacked.popleft()
        if subscriber.name is not None:
            self._places.acknowledge(subscriber.name, seq)

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
        last, self._last_event = self._outbox.last_seq(), self._outbox.last_event()
        for identity, subscriber in list(self._subscribers.items()):
            if not self._socket.knows(subscriber.peer):  # its key was revoked since
                self._forget(identity)
                continue
            room = min(WINDOW - len(subscriber.unacked), _BURST)
            if room > 0 and subscriber.cursor < last:
                self._send_alerts(identity, subscriber, last, room)
            if identity not in self._subscribers:
                continue  # it left meanwhile
            if subscriber.states is not None and not self._send_events(identity, subscriber, subscriber.states):
                continue
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

    def _send_events(self, identity: bytes, subscriber: _Subscriber, states: deque[StateEvent]) -> bool:
        """First what every camera is doing, then what changed since. Returns whether the first is through."""
        for _ in range(min(len(states), _BURST)):
            if not self._send(identity, encode(Kind.EVENT, states[0].to_json())):
                return False
            states.popleft()
        if states or subscriber.event_cursor >= self._last_event:
            return not states
        for event in self._outbox.events_after(subscriber.event_cursor, limit=_BURST):
            if not self._send(identity, encode(Kind.EVENT, event.to_json())):
                return False
            subscriber.event_cursor = event.id
        return True

    def _send_gap(self, identity: bytes, subscriber: _Subscriber, up_to: int) -> bool:
        """Reports the numbers after the cursor up to ``up_to`` as gone, if there are any."""
        if subscriber.cursor >= up_to:
            return True
        sent = self._send(identity, encode(Kind.GAP, {"first": subscriber.cursor + 1, "last": up_to}))
        if sent:
            subscriber.cursor = up_to
        return sent

    def _refuse(self, identity: bytes, reason: str, *, again: bool = False, older: bool = False) -> None:
        self._counts["refused"] += 1
        self._send(identity, encode(Kind.REFUSED, {"reason": reason, "again": again, "older": older}))

    def _send(self, identity: bytes, parts: list[Buffer]) -> bool:
        """False where the peer is gone, or reads so little that its queue is full; then it is forgotten."""
        try:
            self._socket.send(identity, parts)
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
            _log.info("subscriber %s is gone at %d", subscriber.name or "(no name)", subscriber.cursor)


def check_subscription(name: object, since: object) -> tuple[str | None, int | None]:
    """Both, if they may stand in a SUBSCRIBE. Raises ValueError naming the one that may not."""
    if name is not None and not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise ValueError(f"subscriber name {str(name)[:80]!r} must be 1 to 64 letters, digits or any of _ . -")
    if since is not None and not is_seq(since):
        raise ValueError(f"since {str(since)[:80]!r} must be a sequence number, 0 or more")
    return name, since


def check_events(value: object) -> bool:
    """Whether a SUBSCRIBE asks for camera events. Raises ValueError where it says neither."""
    if not isinstance(value, bool):
        raise ValueError(f"events {str(value)[:80]!r} must be true or false")
    return value


def check_outbox(asked: object, own: str) -> None:
    """Raises ValueError where a SUBSCRIBE asks for another outbox than this one: their numbers mean other alerts."""
    if asked is None or asked == own:
        return
    here = f"is outbox {own!r}" if own else "has no id"
    raise ValueError(f"this {here}, not {str(asked)[:80]!r}, which moved: ask the directory of the cluster again")


def check_had(value: object) -> str | None:
    """What a SUBSCRIBE says of the alert that it had last. Raises ValueError where it is no text."""
    if value is not None and not isinstance(value, str):
        raise ValueError(f"had {str(value)[:80]!r} must be a text")
    return value


def known_by(alert: Alert) -> str:
    """What tells an alert message from any other one, whichever number it has."""
    return f"{alert.alert_id[:500]} {alert.phase} {alert.frame_seq}"  # has to fit into a request


def is_seq(value: object) -> TypeGuard[int]:
    """Whether a value from outside can be a sequence number."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_SEQ
