"""Brings the alerts of a whole cluster into the outbox of the machine that runs it, from where its feed, sinks and
console go on as if they were made here; and says how the cluster is doing, where one worker would.

For ``collect_command``.

**Numbers.** This outbox numbers what it gets in the order in which it comes: a subscriber of its feed has one number to
remember. Which outbox an alert was committed in first stands in its field ``outbox``; of one outbox the order is kept.

**Once.** An alert is acknowledged to its outbox when it is stored here, and not before. What comes again, because that
acknowledgement was lost, is the same message (alert_id, phase, frame_seq), and is stored once.

**Pictures** that travel are stored beside it. ``view`` and ``frame`` stay where the alert was made.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

from stream.cluster.camera_events import CameraEvents, EventStore
from stream.cluster.collected import Collected
from stream.cluster.merged_status import merged_status, missing_in_words
from stream.cluster.open_alerts import OpenAlerts
from stream.cluster.subscriber import ClusterSubscriber, OutboxGap, Received
from stream.errors import AlertRefused, OutboxError
from stream.feed import COLLECTOR
from stream.health import write_status
from stream.messages import Alert, Evidence

NAME = COLLECTOR
"""Under which every outbox remembers how far it was collected."""

TELL_EVERY = 1.0
"""Seconds between two status files, as of a worker."""

POLL_S = 0.2
"""The longest that a round waits."""

WORK_FOR = 1.0
"""Seconds of storing in one round, should very many alerts be ended at once: between two a sign of life is given."""

FIRST_RETRY, LAST_RETRY = 0.5, 5.0
"""Seconds before an outbox that takes nothing is tried again; doubled each time, up to the second."""

DRAIN_FOR = 4.0
"""Seconds in which a collector that is stopped still takes what is committed; its supervisor gives it a little more.
What is left comes with the next run."""

_NOTHING: Final = Evidence(b"", b"")

_log = logging.getLogger(__name__)


class Store(EventStore, Protocol):
    """What is needed of a :class:`stream.outbox.Outbox`."""

    def commit(self, alert: Alert, evidence: Evidence) -> Alert:
        """Stores an alert; raises OutboxError where it cannot."""
        ...

    def closing_messages(self, wanted: Callable[[Alert], bool], /) -> list[tuple[Alert, Evidence]]:
        """What ends those alerts that are open and wanted."""
        ...


@dataclass(frozen=True, slots=True)
class Files:
    """Where the collector says how things are."""

    status: Path  # as a worker's
    document: Path  # of the whole cluster
    collected: Path  # how far each outbox is


class Collector:
    """One run's collector. One thread uses it.

    Args:
        subscriber: to all outboxes, by the name of ``NAME``.
        outbox: of this machine.
        document: what the control said last of the cluster; None: nothing yet.
        files: see there.
        scenes: of every camera of the configuration.
        clock: monotonic seconds.
        wall: Unix seconds.
    """

    def __init__(
        self,
        subscriber: ClusterSubscriber,
        outbox: Store,
        *,
        document: Callable[[], Mapping[str, Any] | None],
        files: Files,
        scenes: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._subscriber, self._outbox, self._document = subscriber, outbox, document
        self._files, self._scenes, self._clock, self._wall = files, scenes, clock, wall
        self._collected = Collected(files.collected)
        self._events = CameraEvents(outbox, wall=wall)
        self._open = OpenAlerts(outbox.closing_messages, clock=clock)
        self._waiting: deque[Received] = deque()  # not stored yet; one of an outbox, and whatever ends alerts here
        self._problem = ""
        self._retry_at = 0.0
        self._pause = FIRST_RETRY
        self._tell_at = clock()
        self._noted: set[OutboxGap] = set()  # gaps that are in the file and the log
        self.lost: Counter[str] = Counter()  # messages that can never be stored: "pictures" of them, or by phase

    def run(self, stopping: Callable[[], bool], *, drain: float = DRAIN_FOR) -> None:
        """Collects until it is stopped; then takes what is committed by then, for ``drain`` seconds at most."""
        while not stopping():
            self.step(POLL_S)
        self._subscriber.renew()  # an outbox says what it holds at that moment when somebody subscribes
        end = self._clock() + drain
        while self._clock() < end and not self.caught_up:
            self.step(POLL_S)
            stopping()  # a sign of life
        if not self.caught_up:
            _log.warning("not everything that is committed was collected; the rest comes with the next run")
        self.tell(stopped=True)

    @property
    def caught_up(self) -> bool:
        """All that was committed in the outboxes that are there is stored here."""
        return not self._waiting and self._subscriber.caught_up

    def step(self, wait: float) -> None:
        """One round: takes an alert if one comes within ``wait`` seconds, and says how things are when that is due."""
        if self._clock() >= self._tell_at:
            self._tell_at = self._clock() + TELL_EVERY
            self.tell()
        if self._waiting:
            self._work_off(wait)
        elif (received := self._subscriber.poll(wait)) is not None:
            self._waiting.append(received)
            self._work_off(0)

    # -- alerts -------------------------------------------------------------------------------------------------------

    def _work_off(self, wait: float) -> None:
        """Stores what waits, in order. What is not stored is not acknowledged, and nothing more is asked for."""
        if (pause := self._retry_at - self._clock()) > 0:
            self._subscriber.listen()
            time.sleep(min(pause, wait))
            return
        until = self._clock() + WORK_FOR
        while self._waiting and self._clock() < until:
            first = self._waiting[0]
            try:
                self._store(first.alert, first.evidence)
            except OutboxError as error:
                self._failed(str(error))
                return
            self._waiting.popleft()
            if first.outbox:
                self._collected.take(first.outbox, first.alert.seq)
                self._subscriber.ack(first.outbox, first.alert.seq)
        self._works()

    def _works(self) -> None:
        if self._problem:
            _log.warning("the outbox of this machine takes alerts again")
        self._problem, self._pause = "", FIRST_RETRY

    def _store(self, alert: Alert, evidence: Evidence) -> None:
        """Raises OutboxError where it is to be tried again. What can never be stored must not hold up the others."""
        try:
            stored = self._outbox.commit(alert, evidence)
        except AlertRefused as error:
            _log.error("%s", error)
            self._store_less(alert, evidence)
            return
        _log.info("alert %s %s of outbox %s: seq %d", alert.alert_id, alert.phase, alert.outbox, stored.seq)

    def _store_less(self, alert: Alert, evidence: Evidence) -> None:
        if evidence is not _NOTHING:
            self._store(alert, _NOTHING)  # may have to be tried again, and is counted once
            self.lost["pictures"] += 1
        else:
            self.lost[str(alert.phase)] += 1

    def _failed(self, reason: str) -> None:
        if not self._problem:
            _log.error("%s. Until then alerts wait where they were made", reason.rstrip("."))
        self._problem = reason
        self._retry_at = self._clock() + self._pause
        self._pause = min(2 * self._pause, LAST_RETRY)

    # -- how things are -----------------------------------------------------------------------------------------------

    def tell(self, *, stopped: bool = False) -> None:
        """Writes what is known of the cluster, and records what its cameras do."""
        self._note_gaps()
        self._end_open_alerts()
        self._collected.write()
        document = self._document()
        if document is None:
            return  # what an earlier run has written grows old, and says so by itself
        try:
            known = self._completed(document)
            status = merged_status(known, scenes=self._scenes, problems=list(self._problems()))
        except ValueError as error:
            _log.error("%s", error)
            return
        except (AttributeError, TypeError) as error:
            _log.error("the cluster's document is not well formed: %s", error)
            return
        if not stopped:
            self._events.tell(status["cameras"])
        if stopped:
            status = {**status, "worker": {**status["worker"], "state": "STOPPED", "reason": "the run was stopped"}}
        write_status(self._files.status, status)
        write_status(self._files.document, known)

    def _problems(self) -> Iterator[str]:
        if self._problem:
            yield f"alerts of the cluster wait: {self._problem}"
        if self._events.problem:
            yield f"camera events wait: {self._events.problem}"
        for outbox, reason in self._subscriber.problems.items():
            yield f"outbox {outbox}: {reason}" if outbox else reason
        for place in self._subscriber.missing:
            taken = self._collected.outboxes.get(place.id)
            yield missing_in_words(place, None if taken is None else taken.seq)
        yield from _gaps_in_words(self._subscriber.gaps)
        if self.lost:
            words = ", ".join(f"{count} {kind}" for kind, count in sorted(self.lost.items()))
            yield f"could not be stored here and never will be: {words}; the log says why"

    def _completed(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """The document, with what was collected of each outbox."""
        problems = self._subscriber.problems
        outboxes = []
        for outbox in document.get("outboxes", ()):
            taken = self._collected.outboxes.get(outbox.get("id"))
            own = {"taken": None, "gaps": []} if taken is None else taken.to_json()
            outboxes.append({**outbox, **own, "problem": problems.get(outbox.get("id"), "")})
        return {**document, "outboxes": outboxes}

    def _note_gaps(self) -> None:
        for found in self._subscriber.gaps:
            if found in self._noted:  # the file remembers the newest of an outbox only
                continue
            self._noted.add(found)
            if self._collected.lose(found.outbox, found.gap):
                first, last = found.gap.first, found.gap.last
                _log.error("outbox %s: alerts %d to %d are gone for good (its retention)", found.outbox, first, last)

    def _end_open_alerts(self) -> None:
        waits = self._problem and (self._waiting or self._clock() < self._retry_at)
        if not self._subscriber.connected or waits:
            return
        places = self._subscriber.outboxes
        missing = {place.id for place in self._subscriber.missing}
        known = {place.id for place in places}
        try:
            messages = self._open.due(live=known - missing, known=known)
        except OutboxError as error:
            self._failed(str(error))
            return
        if not self._waiting:  # what failed was this, and nobody else may ever try again
            self._works()
        # Of no outbox: there is nobody to acknowledge them to.
        self._waiting.extend(Received("", replace(alert, seq=0), evidence) for alert, evidence in messages)


def _gaps_in_words(gaps: Sequence[OutboxGap]) -> Iterator[str]:
    """One line for each outbox: what is gone stays a problem of this run, as what could not be stored does."""
    count: Counter[str] = Counter()
    for found in gaps:
        count[found.outbox] += found.gap.last - found.gap.first + 1
    for outbox, missed in sorted(count.items()):
        yield (
            f"outbox {outbox}: {missed} alerts are gone for good: its retention removed them before they were "
            "collected; give 'retention' there more room or more days"
        )
