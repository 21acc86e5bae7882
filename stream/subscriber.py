"""The client of the feed: every alert in order, across restarts of either side. For sinks, the console and integrators.

::

    with AlertSubscriber("ipc:///run/spade/feed.ipc", name="archive") as alerts:
        for alert, evidence in alerts:
            ...  # acknowledged when the next one is asked for

One thread uses an object. Signs of life are sent only by ``poll`` and ``listen`` of :class:`AlertSubscriber`; a
program that calls neither for longer than the feed's patience is subscribed again by its next call, and misses nothing.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import zmq

from stream.endpoints import SecureSocket, parse_endpoint
from stream.errors import LinkLost, OutboxWentBack, UsageError, WireError
from stream.feed import BEAT_S, WINDOW, check_subscription, is_seq, known_by
from stream.messages import Alert, Evidence, StateEvent
from stream.wire import MAX_PART_BYTES, Envelope, Kind, decode, decode_alert, encode

SILENT_S = 3 * BEAT_S
"""The feed beats every BEAT_S; after three that did not come, the connection is made anew, again and again."""

_MAX_UNREADABLE = 3  # the same place, damaged so often, is not bad luck on the way
_RECEIVE_QUEUE = 4 * WINDOW  # messages; the feed's window is the real bound
_SHORT_QUEUE = 2  # messages, where little may be in memory: the next one comes while one is worked on

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Gap:
    """Alerts that retention removed before this subscriber had them."""

    first: int  # sequence number
    last: int  # sequence number, included


class AlertSubscriber:
    """An endless iterator of ``(Alert, Evidence)``. A lost picture is empty, and the alert's file name for it None.

    Args:
        endpoint: the feed's ``ipc://`` or ``tcp://`` address. The feed need not be there yet.
        since: the last sequence number already had; 0 for everything kept. None: after what was acknowledged under
            ``name``, or without a name from now on.
        name: who asks, unique; the feed remembers its place.
        on_event: called by :meth:`poll` and :meth:`listen` with what every camera is doing, again after each new
            connection, and with every change from then on; None: such events are not asked for.
        secure: sets the CURVE keys of each new socket before it connects.
        outbox: id of the outbox that must be there, so that its numbers are never mixed up with another one's; None:
            whichever is.
        had: what the alert of number ``since`` is :func:`known_by <stream.feed.known_by>`, so that an outbox that gave
            that number out a second time is noticed; None: not known.
        ahead: how many alerts are read before they are asked for, and so are in memory; what more there is waits with
            the feed.
        context: shared with others, who close it; None: one of its own.
        clock: monotonic seconds.

    Raises:
        UsageError: endpoint, since or name is not well formed.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        since: int | None = None,
        name: str | None = None,
        on_event: Callable[[StateEvent], None] | None = None,
        secure: SecureSocket | None = None,
        outbox: str | None = None,
        had: str | None = None,
        ahead: int = WINDOW,
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        try:
            self._name, self._last = check_subscription(name, since)
        except ValueError as error:
            raise UsageError(str(error)) from None
        self._endpoint = parse_endpoint(endpoint)
        self._on_event = on_event
        self._secure = secure
        self._outbox = outbox
        self._clock = clock
        self._had = None if since is None or had is None else (since, had)
        self._ahead = ahead
        self._gaps: list[Gap] = []
        self._ready: deque[tuple[Alert, Evidence]] = deque()  # read, and not handed out yet
        self._handed_out: int | None = None
        self._unreadable = 0
        self._put_off = ""  # the reason with which the feed last did that
        self._connected = self._caught_up = False
        self._shares = context is not None
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context() if context is None else context
        self._socket: zmq.Socket[bytes] | None = None
        self._heard = self._next_beat = self._subscribed = 0.0

    @property
    def last_seq(self) -> int | None:
        """The last number handed out or reported as a gap: where the next subscription goes on. None: not known yet."""
        return self._ready[0][0].seq - 1 if self._ready else self._last

    @property
    def had(self) -> str | None:
        """What the alert of number :attr:`last_seq` is known by; None: not known."""
        return self._had[1] if self._had is not None and self._had[0] == self.last_seq else None

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """What was lost for good, in order."""
        return tuple(self._gaps)

    @property
    def connected(self) -> bool:
        """Whether the feed was heard within the last ``SILENT_S`` of waiting."""
        return self._connected

    @property
    def caught_up(self) -> bool:
        """Whether everything has come that was committed when the present connection subscribed."""
        return self._caught_up and not self._ready

    @property
    def socket(self) -> zmq.Socket[bytes] | None:
        """For who waits for several subscribers at once; only this object reads it. Another one after a reconnect."""
        return self._socket

    def poll(self, timeout: float) -> tuple[Alert, Evidence] | None:
        """The next alert, or None after ``timeout`` seconds. Asking acknowledges the one handed out before.

        Raises:
            OutboxWentBack: the numbers of this outbox are not those that were had; going on would lose alerts.
            LinkLost: the feed refuses this subscriber, or sends what this version cannot read; with the reason.
                A feed that is absent is not an error: see :attr:`connected`.
        """
        if self._handed_out is not None:
            self.ack(self._handed_out)
        deadline = self._clock() + timeout
        if self._ready:
            self.listen()
        while not self._ready:
            socket = self._keep_alive()
            now = self._clock()
            pause = max(0.0, min(deadline, self._next_beat) - now)
            if socket.poll(int(pause * 1000) + (pause > 0)):
                self._take(socket.recv_multipart())
            elif self._clock() >= deadline:
                return None
        alert, evidence = self._ready.popleft()
        self._handed_out = alert.seq
        self._had = alert.seq, known_by(alert)
        return alert, evidence

    def listen(self) -> None:
        """Takes what has come, without waiting, for a program that works on one alert for long: events are told, signs
        of life sent. Acknowledges nothing, and hands nothing out: alerts wait for :meth:`poll`, in order.

        Raises:
            LinkLost: as :meth:`poll`.
        """
        socket = self._keep_alive()
        # The feed's own window ends this; one that keeps to none must not fill the memory.
        while self._socket is socket and len(self._ready) <= self._ahead and socket.poll(0):
            self._take(socket.recv_multipart())

    def ack(self, seq: int) -> None:
        """Tells the feed that everything up to ``seq`` is safe here. Lost on the way, it only costs a repetition."""
        if self._handed_out is not None and seq >= self._handed_out:
            self._handed_out = None
        self._send(Kind.ACK, {"seq": seq})

    def close(self) -> None:
        """Leaves without acknowledging what was handed out last. May be called twice."""
        # A little patience: the last acknowledgement may still be on its way to the feed.
        linger = int(BEAT_S * 1000) if self._connected else 0
        if self._shares and self._socket is not None:
            self._socket.close(linger=linger)
        elif not self._shares and not self._context.closed:
            self._context.destroy(linger=linger)
        self._socket = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __iter__(self) -> Iterator[tuple[Alert, Evidence]]:
        return self

    def __next__(self) -> tuple[Alert, Evidence]:
        while True:
            found = self.poll(BEAT_S)
            if found is not None:
                return found

    # -- the connection -----------------------------------------------------------------------------------------------

    def _keep_alive(self) -> zmq.Socket[bytes]:
        """The socket, with a beat sent if one is due; a new one where the feed has been silent for too long."""
        now = self._clock()
        socket = self._socket
        # What waits in the socket was sent while this program was busy elsewhere, and is a sign of life too.
        if socket is None or (now - self._heard > SILENT_S and not socket.poll(0)):
            if self._connected:
                _log.warning("feed %s is silent; subscribing again after %s", self._endpoint, self._last)
            return self._subscribe()
        if now >= self._next_beat:
            self._next_beat = now + BEAT_S
            self._send(Kind.BEAT, {})
        return socket

    def _subscribe(self) -> zmq.Socket[bytes]:
        # A new socket each time: whatever the old connection still carries can no longer be mistaken for an answer.
        self._disconnect()
        self._put_back()
        socket = self._context.socket(zmq.DEALER)
        self._socket = socket
        socket.linger = 0
        socket.rcvhwm = _RECEIVE_QUEUE if self._ahead >= WINDOW else _SHORT_QUEUE
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_PART_BYTES)
        if self._secure is not None:
            self._secure(self._context, socket)
        socket.connect(self._endpoint.url)
        now = self._clock()
        self._heard, self._next_beat = now, now + BEAT_S
        events = {} if self._on_event is None else {"events": True}
        self._subscribed = now
        outbox = {} if self._outbox is None else {"outbox": self._outbox}
        had = {} if self.had is None else {"had": self.had}
        self._send(Kind.SUBSCRIBE, {"name": self._name, "since": self._last, **events, **outbox, **had})
        return socket

    def _put_back(self) -> None:
        """What was not handed out comes once more with a new connection, whose window begins after what was."""
        if self._ready:
            last = self._last = self._ready[0][0].seq - 1
            self._gaps = [gap for gap in self._gaps if gap.last <= last]
            self._ready.clear()

    def _disconnect(self) -> None:
        self._connected = self._caught_up = False
        if self._socket is not None:
            self._socket.close(linger=0)
            self._socket = None

    def _send(self, kind: Kind, meta: dict[str, Any]) -> None:
        if self._socket is None:
            return
        try:
            self._socket.send_multipart(encode(kind, meta), zmq.NOBLOCK)
        except zmq.Again:
            # The queue is full of what an absent feed did not take. The next connection begins with a SUBSCRIBE.
            _log.debug("%s not sent: the feed takes nothing", kind.name)

    # -- messages -----------------------------------------------------------------------------------------------------

    def _take(self, parts: list[bytes]) -> None:
        self._heard = self._clock()
        self._connected = True
        try:
            self._understand(decode(parts))
        except WireError as error:
            self._unreadable += 1
            if self._unreadable >= _MAX_UNREADABLE:
                raise LinkLost(
                    f"feed {self._endpoint} sends after {self._last} what cannot be read: {error}. "
                    "Check that both sides have the same version"
                ) from error
            _log.warning("feed %s: message that is not well formed: %s; subscribing again", self._endpoint, error)
            self._subscribe()

    def _understand(self, message: Envelope) -> None:
        meta = message.meta
        if message.kind is Kind.ALERT:
            self._alert(*decode_alert(message))
        elif message.kind is Kind.GAP:
            self._gap(_seq(meta, "first"), _seq(meta, "last"))
        elif message.kind is Kind.CAUGHT_UP:
            self._catch_up(_seq(meta, "seq"))
        elif message.kind is Kind.REFUSED:
            if meta.get("again") is not True:
                self._disconnect()
                kind = OutboxWentBack if meta.get("older") is True else LinkLost
                raise kind(f"feed {self._endpoint} refuses: {str(meta.get('reason'))[:500]}")
            self._refused(str(meta.get("reason"))[:500])
        elif message.kind is Kind.EVENT and self._on_event is not None:
            self._on_event(_event(meta))
        elif message.kind is not Kind.BEAT:
            raise WireError(f"a feed sends no {message.kind.name} to a subscriber")

    def _alert(self, alert: Alert, evidence: Evidence) -> None:
        if self._last is not None and alert.seq <= self._last:
            if alert.seq < self._first_unsafe():
                self._send(Kind.ACK, {"seq": alert.seq})
            return
        if self._last is not None and alert.seq != self._last + 1:
            raise WireError(f"alert {alert.seq} follows {self._last} without a GAP")
        self._last = alert.seq
        self._unreadable = 0
        self._ready.append((alert, evidence))

    def _first_unsafe(self) -> int:
        """The first number that nobody has called safe."""
        if self._handed_out is not None:
            return self._handed_out
        return self._ready[0][0].seq if self._ready else (self._last or 0) + 1

    def _refused(self, reason: str) -> None:
        """Subscribes again: at once where that is new, else with the answer to the next beat."""
        if self._clock() - self._subscribed >= BEAT_S:
            self._subscribe()
        else:
            self._connected = False
            if reason != self._put_off:
                _log.warning("feed %s takes no subscription yet: %s", self._endpoint, reason)
            self._put_off = reason

    def _gap(self, first: int, last: int) -> None:
        if self._last is not None:
            first = max(first, self._last + 1)
        if first > last:
            return
        self._gaps.append(Gap(first, last))
        self._last = last
        _log.warning("feed %s: alerts %d to %d are gone for good (retention)", self._endpoint, first, last)

    def _catch_up(self, seq: int) -> None:
        if self._last is not None and seq > self._last:
            raise WireError(f"caught up with {seq}, but nothing came after {self._last}")
        # Tells a subscriber that asked for "from now on" where that is, should the feed die before the first alert.
        self._last = max(seq, self._last or 0)
        self._caught_up = True
        self._unreadable = 0


def request_status(endpoint: str, timeout: float, *, secure: SecureSocket | None = None) -> dict[str, Any]:
    """What the feed's STATUS answers, waiting ``timeout`` seconds at most.

    Raises:
        LinkLost: no answer, or a refusal.
        WireError: an answer that is not well formed.
    """
    parsed = parse_endpoint(endpoint)
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_PART_BYTES)
        if secure is not None:
            secure(context, socket)
        # Where the feed does not let this key in, there is nobody to send to.
        socket.sndtimeo = int(timeout * 1000)
        socket.connect(parsed.url)
        with suppress(zmq.Again):
            socket.send_multipart(encode(Kind.STATUS, {}))
        if not socket.poll(int(timeout * 1000)):
            checks = "check that it runs, and " + ("asks for no key" if secure is None else "lets this key in")
            raise LinkLost(f"feed {parsed} gave no status within {timeout:g} s: {checks}; --connect names another one")
        answer = decode(socket.recv_multipart())
    if answer.kind is not Kind.STATUS:
        raise LinkLost(f"feed {parsed} refuses: {str(answer.meta.get('reason'))[:500]}")
    return dict(answer.meta)


def _seq(meta: Any, field: str) -> int:
    value = meta.get(field)
    if not is_seq(value):
        raise WireError(f"{field} {value!r} is no sequence number")
    return value


def _event(meta: Any) -> StateEvent:
    try:
        return StateEvent.from_json(meta)
    except ValueError as error:
        raise WireError(str(error)) from None
