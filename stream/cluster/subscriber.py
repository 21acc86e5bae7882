"""The client of a whole cluster's alerts: one iterator over all its outboxes, in order within each of them.

::

    with ClusterSubscriber("tcp://run.example:8480", key="archive.key", name="archive") as alerts:
        for received in alerts:
            ...  # received.outbox, received.alert, received.evidence; acknowledged when the next one is asked for

Every worker of a cluster keeps its alerts in an outbox of its own, with numbers of its own. An outbox whose machine is
gone is named in :attr:`ClusterSubscriber.missing`; when its disk is back, its alerts go on from where they were.

One thread uses an object. Signs of life are sent only by ``poll`` and ``listen``, as in :mod:`stream.subscriber`.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import zmq

from stream.cluster.directory_client import DirectoryAddress, DirectoryClient
from stream.cluster.directory_watch import DirectoryWatch
from stream.cluster.model import OutboxPlace, OutboxState
from stream.cluster.outbox_line import OutboxLine, check_since, first_number
from stream.endpoints import SecureSocket, parse_endpoint
from stream.errors import UsageError
from stream.feed import BEAT_S, COLLECTOR, check_subscription
from stream.keys import SecretKey, load_secret
from stream.messages import Alert, Evidence, StateEvent
from stream.subscriber import AlertSubscriber, Gap

READ_AHEAD = 0
"""Alerts of one outbox that are read before they are asked for: each may have a clip, and there may be many outboxes
that have much to give at once. With what ZeroMQ holds some four of each are in memory."""

WAIT_S = 0.25
"""The longest that a wait goes without a look at the directory and at the feeds' signs of life."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Received:
    """An alert message, and where it came from."""

    outbox: str  # id
    alert: Alert  # its ``seq`` is a number of that outbox
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class OutboxGap:
    """Alerts that retention removed from an outbox before this subscriber had them."""

    outbox: str  # id
    gap: Gap


class ClusterSubscriber:
    """An endless iterator of :class:`Received`.

    Args:
        directory: ``tcp://HOST:PORT`` of the cluster's directory, which need not be there yet.
        key: that the directory and all machines of the cluster let in, or the file that holds it.
        name: who asks, unique; each outbox remembers the place of its own. Not "collect", the name of the run.
        since: by outbox, the last sequence number already had, and 0 for those that it does not hold; or 0 for
            everything kept of all. None: after what was acknowledged under ``name``, or without a name from now on.
        on_event: told the outbox and what a camera is doing there; None: such events are not asked for.
        on_outbox: told of every outbox when it is first heard of, comes back or goes missing.
        watch: what asks the directory; None: one of its own.
        collects: this is the run's collector, who alone may have its name.
        clock: monotonic seconds.

    Raises:
        UsageError: directory, since or name is not well formed.
        KeyFileError: the key cannot be used.
    """

    def __init__(
        self,
        directory: str,
        *,
        key: SecretKey | Path | str,
        name: str | None = None,
        since: Mapping[str, int] | int | None = None,
        on_event: Callable[[str, StateEvent], None] | None = None,
        on_outbox: Callable[[OutboxPlace], None] | None = None,
        watch: DirectoryWatch | None = None,
        collects: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._since = check_since(since)
        try:
            self._name, _ = check_subscription(name, None)
        except ValueError as error:
            raise UsageError(str(error)) from None
        if self._name == COLLECTOR and not collects:
            raise UsageError(f"name {COLLECTOR!r}: under it the run collects its alerts; choose another one")
        self._address = DirectoryAddress(directory, key if isinstance(key, SecretKey) else load_secret(Path(key)))
        self._on_event, self._on_outbox, self._clock = on_event, on_outbox, clock
        self._client: DirectoryClient | None = None
        if watch is None:
            self._client = DirectoryClient(directory, secure=self._address.secure(), clock=clock)
            watch = DirectoryWatch(self._client, clock=clock)
        self._watch = watch
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._lines: dict[str, OutboxLine] = {}
        self._turns: deque[str] = deque()  # ids of outboxes; the first is asked first
        self._handed_out: tuple[str, int] | None = None
        self._known: tuple[OutboxPlace, ...] | None = None
        self._old_gaps: list[OutboxGap] = []  # of outboxes that were forgotten
        self._old_places: dict[str, tuple[int, str | None]] = {}  # likewise the last number of each, and what has it
        self._listen_at = clock() + BEAT_S

    # -- how it stands ------------------------------------------------------------------------------------------------

    @property
    def outboxes(self) -> tuple[OutboxPlace, ...]:
        """All that the directory has told of."""
        return tuple(line.place for line in self._lines.values())

    @property
    def missing(self) -> tuple[OutboxPlace, ...]:
        """Those whose alerts cannot be had now: what nobody has fetched waits on a disk that is away."""
        return tuple(line.place for line in self._lines.values() if line.missing)

    @property
    def places(self) -> dict[str, int]:
        """The last number handed out, by outbox: where to go on with ``since``."""
        return {name: last for name, line in self._lines.items() if (last := line.last_seq) is not None}

    @property
    def gaps(self) -> tuple[OutboxGap, ...]:
        """What was lost for good."""
        return (
            *self._old_gaps,
            *(OutboxGap(name, gap) for name, line in self._lines.items() for gap in line.gaps),
        )

    @property
    def problems(self) -> dict[str, str]:
        """Why something that should be there is not: by outbox, and under "" the directory's."""
        found = {"": self._watch.problem, **{name: line.problem for name, line in self._lines.items()}}
        return {name: problem for name, problem in found.items() if problem}

    @property
    def connected(self) -> bool:
        """The directory has told of the outboxes, at least once."""
        return self._known is not None

    @property
    def caught_up(self) -> bool:
        """Whether everything has come that was committed in each outbox that is there; see :attr:`missing`."""
        return self.connected and all(line.caught_up for line in self._lines.values() if not line.missing)

    # -- alerts -------------------------------------------------------------------------------------------------------

    def poll(self, timeout: float) -> Received | None:
        """The next alert, or None after ``timeout`` seconds. Asking acknowledges the one handed out before.

        Outboxes take turns. One that is away, or refuses, holds up no other: see :attr:`missing` and
        :attr:`problems`.
        """
        if self._handed_out is not None:
            self.ack(*self._handed_out)
        if self._clock() >= self._listen_at:  # with many outboxes and a slow disk the turn of each comes seldom
            self.listen()
        deadline = self._clock() + timeout
        while True:
            self._follow()
            if (received := self._next()) is not None:
                self._handed_out = received.outbox, received.alert.seq
                return received
            left = deadline - self._clock()
            if left <= 0:
                return None
            self._wait(min(left, WAIT_S))

    def listen(self) -> None:
        """Takes what has come, without waiting, for a program that works on one alert for long: hands nothing out, and
        acknowledges nothing."""
        self._listen_at = self._clock() + BEAT_S
        self._follow()
        for line in self._lines.values():
            line.listen()

    def ack(self, outbox: str, seq: int) -> None:
        """Tells an outbox that everything up to ``seq`` of it is safe here."""
        if self._handed_out is not None and self._handed_out[0] == outbox and seq >= self._handed_out[1]:
            self._handed_out = None
        if (line := self._lines.get(outbox)) is not None:
            line.ack(seq)

    def renew(self) -> None:
        """Subscribes again everywhere, so that :attr:`caught_up` is about what is committed by now."""
        for line in self._lines.values():
            line.renew()

    def close(self) -> None:
        """Leaves without acknowledging what was handed out last. May be called twice."""
        for line in self._lines.values():
            line.close()
        if self._client is not None:
            self._client.close()
        # Sockets that were closed end when the last acknowledgement is out, or after their linger.
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __iter__(self) -> Iterator[Received]:
        return self

    def __next__(self) -> Received:
        while True:
            if (received := self.poll(BEAT_S)) is not None:
                return received

    def _next(self) -> Received | None:
        """Asks each outbox in turn; the one that gave something comes last the next time."""
        for _ in range(len(self._turns)):
            name = self._turns[0]
            self._turns.rotate(-1)
            if (found := self._lines[name].poll()) is not None:
                alert, evidence = found
                return Received(name, replace(alert, outbox=name), evidence)
        return None

    def _wait(self, seconds: float) -> None:
        poller = zmq.Poller()
        for line in self._lines.values():
            if (socket := line.socket) is not None:
                poller.register(socket, zmq.POLLIN)
        poller.poll(max(1, int(seconds * 1000)))

    # -- the outboxes -------------------------------------------------------------------------------------------------

    def _follow(self) -> None:
        """What the directory says of the outboxes."""
        self._watch.step()
        told = self._watch.outboxes
        if told is None or told is self._known:
            return
        first, self._known = self._known is None, told
        for place in told:
            before = self._lines.get(place.id)
            if before is None:
                self._lines[place.id] = self._line(place, first=first)
                self._turns.append(place.id)
            else:
                changed = before.place.state is not place.state
                before.move(place)
                if not changed:
                    continue
            self._tell(place)
        self._forget(set(self._lines) - {place.id for place in told})

    def _line(self, place: OutboxPlace, *, first: bool) -> OutboxLine:
        since, had = self._start(place, first=first)
        return OutboxLine(
            place,
            subscribe=self._subscribe,
            since=since,
            had=had,
            remembered=self._name is not None and self._since is None,
            clock=self._clock,
        )

    def _start(self, place: OutboxPlace, *, first: bool) -> tuple[int | None, str | None]:
        """The number after which an outbox is asked for first, and what has it."""
        if (last := self._old_places.pop(place.id, None)) is not None:
            return last  # it was forgotten, and is there again all the same
        return first_number(place, since=self._since, named=self._name is not None, first=first), None

    def _subscribe(self, place: OutboxPlace, since: int | None, had: str | None) -> AlertSubscriber:
        secure: SecureSocket | None = self._address.secure_to(place.server) if place.server else None
        if secure is None and parse_endpoint(place.endpoint).path is None:  # a private folder guards itself
            raise UsageError("the directory names no key of its machine")
        return AlertSubscriber(
            place.endpoint,
            since=since,
            name=self._name,
            on_event=None if self._on_event is None else partial(self._on_event, place.id),
            secure=secure,
            outbox=place.id,
            had=had,
            ahead=READ_AHEAD,
            context=self._context,
            clock=self._clock,
        )

    def _tell(self, place: OutboxPlace) -> None:
        if place.state is OutboxState.MISSING:
            _log.warning("outbox %s is missing with %s: what nobody has fetched waits there", place.id, place.node)
        else:
            _log.info("outbox %s is at %s", place.id, place.endpoint)
        if self._on_outbox is not None:
            self._on_outbox(place)

    def _forget(self, names: Iterable[str]) -> None:
        """Those that an operator has called lost for good."""
        for name in names:
            _log.warning("outbox %s was forgotten: the directory names it no more", name)
            line = self._lines.pop(name)
            line.close()
            if line.last_seq is not None:
                self._old_places[name] = line.last_seq, line.had
            self._turns.remove(name)
            self._old_gaps += [OutboxGap(name, gap) for gap in line.gaps]
