"""Commits that can wait: what the outbox cannot take now is kept in memory, in order, and tried again. For ``worker``.

A full disk must neither stop the scoring nor lose an alert as long as memory allows, and no commit may be claimed that
did not happen. So :meth:`CommitQueue.commit` returns None for an alert that waits, and whoever goes on must look at
:attr:`CommitQueue.problem` and :meth:`CommitQueue.pending_of`. One thread uses an object.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from stream.errors import AlertRefused, OutboxError
from stream.evidence import local_lost, size_of, without_local
from stream.messages import Alert, Evidence, Phase, StateEvent

MAX_BYTES = 256 << 20
"""Bytes of pictures that may wait: some minutes of alerts on every camera, and no worker is killed for its memory."""

MAX_MESSAGES = 512
"""Messages that may wait, with or without pictures."""

FIRST_RETRY = 0.5
"""Seconds before the first repetition; doubled each time."""

LAST_RETRY = 5.0
"""Seconds between repetitions at most: alerts go out soon after there is room again."""

RETRY_FOR = 1.0
"""Seconds of work in one call: between two calls a worker shows that it lives, and scores what has come."""

_NOTHING: Final = Evidence(b"", b"")

_log = logging.getLogger(__name__)


class Store(Protocol):
    """What the queue needs of a :class:`stream.outbox.Outbox`."""

    def commit(self, alert: Alert, evidence: Evidence) -> Alert:
        """Stores an alert; raises OutboxError where it cannot."""
        ...

    def record_event(self, event: StateEvent) -> int:
        """Stores a camera event; raises OutboxError where it cannot."""
        ...


@dataclass(slots=True, eq=False)
class _Waiting:
    """A message that is not committed."""

    alert: Alert
    evidence: Evidence


class CommitQueue:
    """Stands before the outbox, and keeps what it does not take.

    What has to be given up when too much waits goes in this order: of updates what only this machine keeps (clean view
    and scoring input), their other pictures, the updates; then the same of the other messages; the oldest first. Each
    is counted in :attr:`lost`.

    Args:
        outbox: where everything goes.
        clock: monotonic seconds.
        max_bytes: of pictures that may wait.
        max_messages: that may wait.
    """

    def __init__(
        self,
        outbox: Store,
        *,
        clock: Callable[[], float] = time.monotonic,
        max_bytes: int = MAX_BYTES,
        max_messages: int = MAX_MESSAGES,
    ) -> None:
        self._outbox, self._clock = outbox, clock
        self._max_bytes, self._max_messages = max_bytes, max_messages
        self._waiting: deque[_Waiting] = deque()
        self._bytes = 0  # of their pictures
        self._events: dict[str, StateEvent] = {}  # the latest of each camera that is not recorded
        self._lost: Counter[str] = Counter()
        self._problem = ""
        self._failures = 0  # in a row
        self._due = 0.0
        self._taken = 0  # that had waited, since the problem began

    @property
    def problem(self) -> str:
        """Why something waits, with the remedy, until all of it is committed; "" where nothing does."""
        return self._problem

    @property
    def pending(self) -> int:
        """Alert messages that wait."""
        return len(self._waiting)

    @property
    def lost(self) -> Mapping[str, int]:
        """What was given up so far: ``start``, ``update``, ``end`` count messages; ``frames`` counts messages that
        cannot be scored again, ``pictures`` those that go out without any picture; ``event`` counts camera events that
        a later one of the same camera replaced, or that cannot be stored.
        """
        return dict(self._lost)

    def pending_of(self, camera: str) -> bool:
        """Whether an alert message of this camera waits: its frames must not be called finished."""
        return any(waiting.alert.camera == camera for waiting in self._waiting)

    def commit(self, alert: Alert, evidence: Evidence) -> Alert | None:
        """Commits an alert behind all that wait. None: it waits too, or was given up; no commit may be claimed."""
        if not self._waiting:
            try:
                return self._store(alert, evidence)
            except OutboxError as error:
                self._failed(error)
        self._waiting.append(_Waiting(alert, evidence))
        self._bytes += size_of(evidence)
        self._make_room()
        return None

    def record_event(self, event: StateEvent) -> None:
        """Records that a camera changed its state; of what cannot be recorded now, the latest of each camera waits."""
        if not self._events and not self._problem:
            try:
                self._record(event)
                return
            except OutboxError as error:
                self._failed(error)
        if self._events.pop(event.camera, None) is not None:
            self._lost["event"] += 1
        self._events[event.camera] = event

    def retry(self, now: float) -> list[Alert]:
        """Commits what waits, if it is time to try again. Returns what was committed, in order.

        After ``RETRY_FOR`` seconds it leaves the rest to the next call.

        Args:
            now: by the clock of this object.
        """
        if not self._problem or now < self._due:
            return []
        self._due = now  # goes on with the next call, unless this one fails
        return self._work_off(until=self._clock() + RETRY_FOR)

    def close(self) -> list[Alert]:
        """Tries once more, and gives up what is still not taken: counted, and told in the log. Returns as ``retry``."""
        committed = self._work_off(until=math.inf) if self._problem else []
        for waiting in self._waiting:
            self._count_lost(str(waiting.alert.phase), waiting.alert)
        self._waiting.clear()
        self._bytes = 0
        return committed

    def _work_off(self, *, until: float) -> list[Alert]:
        committed = []
        try:
            for alert in self._commit_waiting(until):
                committed.append(alert)
            self._record_waiting(until)
        except OutboxError as error:
            self._failed(error)
        else:
            self._failures = 0
        self._taken += len(committed)
        if not self._waiting and not self._events:
            _log.warning("the outbox takes commits again; %d alert messages had waited", self._taken)
            self._problem, self._taken = "", 0
        return committed

    def _record_waiting(self, until: float) -> None:
        for camera, event in list(self._events.items()):
            if self._waiting or self._clock() >= until:
                return
            self._record(event)
            del self._events[camera]

    def _commit_waiting(self, until: float) -> Iterator[Alert]:
        while self._waiting and self._clock() < until:
            first = self._waiting[0]
            stored = self._store(first.alert, first.evidence)
            self._waiting.popleft()
            self._bytes -= size_of(first.evidence)
            if stored is not None:
                yield stored

    def _store(self, alert: Alert, evidence: Evidence) -> Alert | None:
        """None where the alert itself is refused: trying it again would hold up all that follow for ever."""
        try:
            stored = self._outbox.commit(alert, evidence)
        except AlertRefused as error:
            _log.error("%s", error)
        else:
            if local_lost(stored, evidence):
                self._count_lost("frames", alert)
            return stored
        # What no receiver gets must not cost it the pictures that it would get.
        if size_of(needed := without_local(evidence)) < size_of(evidence):
            self._count_lost("frames", alert)
            return self._store(alert, needed)
        if size_of(evidence):
            self._count_lost("pictures", alert)
            return self._store(alert, _NOTHING)
        self._count_lost(str(alert.phase), alert)
        return None

    def _record(self, event: StateEvent) -> None:
        try:
            self._outbox.record_event(event)
        except AlertRefused as error:
            _log.error("%s", error)
            self._lost["event"] += 1

    def _failed(self, error: OutboxError) -> None:
        if not self._problem:
            _log.error("%s. Until then alerts wait in memory", str(error).rstrip("."))
        self._problem = str(error)
        self._due = self._clock() + min(FIRST_RETRY * 2**self._failures, LAST_RETRY)
        self._failures = min(self._failures + 1, 10)  # 2**10 is beyond any pause

    def _make_room(self) -> None:
        for updates in (True, False):
            self._give_up("frames", updates, without_local)
            self._give_up("pictures", updates, lambda evidence: _NOTHING)
            if len(self._waiting) > self._max_messages:
                self._give_up_messages(updates)

    def _give_up(self, what: str, updates: bool, keep: Callable[[Evidence], Evidence]) -> None:
        """Leaves of pictures only what ``keep`` leaves, until the rest may wait."""
        for waiting in self._of(updates):
            if self._bytes <= self._max_bytes:
                return
            kept = keep(waiting.evidence)
            if freed := size_of(waiting.evidence) - size_of(kept):
                self._bytes -= freed
                waiting.evidence = kept
                self._count_lost(what, waiting.alert)

    def _give_up_messages(self, updates: bool) -> None:
        for waiting in self._of(updates):
            if len(self._waiting) <= self._max_messages:
                return
            self._waiting.remove(waiting)
            self._bytes -= size_of(waiting.evidence)
            self._count_lost(str(waiting.alert.phase), waiting.alert)

    def _of(self, updates: bool) -> list[_Waiting]:
        return [waiting for waiting in self._waiting if (waiting.alert.phase is Phase.UPDATE) is updates]

    def _count_lost(self, what: str, alert: Alert) -> None:
        self._lost[what] += 1
        _log.error("camera %s, alert %s: %s given up", alert.camera, alert.alert_id, what)
