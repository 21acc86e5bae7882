"""The control of a cluster: who scores and who reads which camera, and what everybody is told of it.

It goes round all stations several times a second and never waits for one. What it decides it keeps in a folder, so that
one that is started again goes on without moving anything. For ``ray_actors``; nothing here knows of Ray.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stream.cluster.cut_off import CutOff
from stream.cluster.fleet import Fleet
from stream.cluster.gatekeeper import Gatekeeper
from stream.cluster.ledger import Counter, OutboxLedger, PlaceLedger
from stream.cluster.model import Access, OutboxPlace, Place, StationState
from stream.cluster.outline import Outline
from stream.cluster.reader_orders import Reading
from stream.cluster.roster import Roster, workers_on
from stream.cluster.scoring import Scoring
from stream.config import Config
from stream.errors import LinkLost

GATHER = 15.0
"""Seconds that the control waits, when it begins, for all stations to answer before it gives cameras out. Whoever
places them before that places them twice."""

READERS_FIRST = 2.0
"""Seconds from the order to drain until workers get it: what readers have sent is to be scored."""

DOCUMENT_WAIT = 0.25
"""Seconds that whoever asks how the cluster is waits for the round of the moment; one takes milliseconds. The directory
tells readers nothing meanwhile."""

_log = logging.getLogger(__name__)


class Control:
    """Decides, and answers whoever asks. :meth:`step` belongs to one thread, everything else to any.

    Args:
        config: of the run.
        fleet: nodes and stations.
        folder: where it keeps what it must not forget; made where it is missing.
        access: who else may connect: readers and subscribers with issued keys, and this machine's own programs.
        directory: endpoint and public key of the directory, for readers.
        text: what stations are configured with (method CONFIGURE); "" = what they were started with. May hold secrets.
        operator: what operators have set until now; None: nothing. Workers would drop what they have otherwise.
        let_in: is given the public keys of all nodes by name, whenever they are others; for the directory's own folder.
        clock: monotonic seconds.
        wall: Unix seconds.
    """

    def __init__(
        self,
        config: Config,
        *,
        fleet: Fleet,
        folder: Path,
        access: Callable[[], Access],
        directory: tuple[str, str],
        text: str = "",
        operator: str | None = None,
        let_in: Callable[[Mapping[str, str]], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._config, self._clock, self._wall = config, clock, wall
        self._operator = operator
        self._lock = threading.RLock()
        self._counter, self._place_ledger = Counter(folder), PlaceLedger(folder)
        self._outboxes = OutboxLedger(folder, self._counter, clock=clock)
        self._places: Mapping[str, Place] = self._place_ledger.places
        placed = {name: place.worker for name, place in self._places.items() if place.worker}
        self._roster = Roster(fleet, wall=wall)
        self._roster.configuration = text
        self._scoring = Scoring(placed, self._counter)
        self._reading = Reading(self._counter, directory)
        self._gatekeeper = Gatekeeper(access, let_in or (lambda nodes: None))
        self._outline = Outline(self._roster, self._scoring)
        self._cut_off = CutOff()
        self._began = clock()
        self._all_heard = False
        self._drained_at: float | None = None  # when it was told to drain; monotonic
        self._document: dict[str, Any] | None = None  # the last one
        self._scoring.configure(config)

    def step(self) -> None:
        """Hears what stations have said, decides, and asks them again. Never waits; called some times a second."""
        with self._lock:
            now = self._clock()
            self._roster.collect(self._config, now)
            self._scoring.look(self._roster, self._config, now)
            self._gatekeeper.look(self._roster, now)
            self._listen(now)
            if self._drained_at is not None:
                self._drain(now)
            elif self._all_heard:
                self._decide(now)
            self._roster.send(now)
            self._outboxes.save()

    def configure(self, config: Config, text: str = "") -> None:
        """Takes another configuration; with a text every station gets it, as it is."""
        with self._lock:
            self._config = config
            self._roster.configuration = text or self._roster.configuration
            self._scoring.configure(config)

    def set_operator(self, text: str | None) -> None:
        """What operators have set (``operator.json``), for every worker; None: nothing."""
        with self._lock:
            self._operator = text

    def drain(self) -> None:
        """Lets readers end, and then workers score, end and commit what they have. Alerts can still be had."""
        with self._lock:
            if self._drained_at is None:
                self._drained_at = self._clock()

    @property
    def drained(self) -> bool:
        """Whether every worker that answers has done so."""
        with self._lock:
            posts = self._scoring.workers.values()
            ended = all(post.state is StationState.LEAVING and not post.reason for post in posts)
            return self._drained_at is not None and ended

    def place(self, camera: str) -> Place:
        """Where a camera is scored."""
        found = self._places.get(camera)
        if found is not None:
            return found
        known = any(each.id == camera for each in self._config.cameras)
        reason = "it has not been given to a worker yet" if known else "no camera of this name is in the configuration"
        return Place(camera, self._counter.value, reason=reason)

    def outboxes(self) -> tuple[int, tuple[OutboxPlace, ...]]:
        """A number that grows with every change, and all outboxes that were ever heard of."""
        return self._outboxes.told()

    def forget(self, outbox: str) -> None:
        """Drops a missing outbox whose disk will not come back.

        Raises:
            UsageError: there is none of this id, or its alerts can be had.
        """
        with self._lock:
            self._outboxes.forget(outbox)
            self._outboxes.save()

    def document(self) -> dict[str, Any]:
        """How the cluster is doing; while a round does not end, how it was before that, as ``written`` says.

        Raises:
            LinkLost: the first round does not end.
        """
        if self._lock.acquire(timeout=DOCUMENT_WAIT):  # who asks must not hang with whatever a round hangs in
            try:
                self._document = self._describe()
            finally:
                self._lock.release()
        if self._document is None:
            raise LinkLost("the control has not gone round once yet")
        return self._document

    def _describe(self) -> dict[str, Any]:
        now, handovers = self._wall(), self._scoring.handovers
        generation, outboxes = self._outboxes.told()
        moving = [
            {"camera": move.camera, "source": move.source, "target": move.target} for move in handovers.moving.values()
        ]
        places = {camera.id: self.place(camera.id) for camera in self._config.cameras}
        waiting = sum(camera.id not in handovers.placed for camera in self._config.cameras)
        return {
            "written": now,
            "name": self._config.cluster.name,
            "generation": max([generation, *(place.generation for place in self._places.values())]),
            "nodes": self._outline.nodes(),
            "workers": self._outline.workers(),
            "readers": self._outline.readers(self._reading.read),
            "outboxes": [outbox.to_json() for outbox in outboxes],
            "cameras": self._outline.cameras(self._config, places, self._reading.read, now),
            "moves": {"waiting": waiting, "moving": moving, "done": handovers.done},
            "problems": self._problems(),
        }

    def _listen(self, now: float) -> None:
        """Takes what was said of outboxes; while it has just begun, of cameras as well."""
        for _, post in self._roster.all():
            self._counter.catch_up(post.report.generation if post.report is not None else 0)
        if not self._all_heard:
            self._scoring.adopt()
            self._reading.adopt(self._roster)
            heard = self._roster.all_heard() and self._scoring.all_here()
            self._all_heard = heard or now - self._began > GATHER
        reported = [outbox for _, report in self._roster.workers_that_answer() for outbox in report.outboxes]
        self._outboxes.hear(reported, now=self._wall(), all_heard=self._all_heard)
        self._roster.forget_gone({outbox.node for outbox in self._outboxes.told()[1]})

    def _decide(self, now: float) -> None:
        config, access = self._config, self._gatekeeper.access
        held = self._cut_off.look(self._roster.all(), now)
        if not held:
            self._scoring.decide(config, now)
        self._tell_places()
        self._scoring.order(self._roster, access, self._operator, copies=config.cluster.copies)
        self._reading.order(self._roster, config, self._scoring, held=held, now=now)

    def _tell_places(self) -> None:
        """What the directory answers from now on."""
        fresh, generation = {}, 0
        for camera in self._config.cameras:
            place, before = self._place_of(camera.id), self._places.get(camera.id)
            if before is None or not _same(before, place):
                generation = generation or self._counter.next()
                fresh[camera.id] = replace(place, generation=generation)
            else:
                fresh[camera.id] = before
        if fresh != self._places:
            self._places = fresh
            self._place_ledger.keep(fresh)

    def _place_of(self, camera: str) -> Place:
        worker, known = self._scoring.handovers.placed.get(camera, ""), self._places.get(camera)
        post = self._scoring.workers.get(worker)
        if post is None and known is not None and known.worker and known.worker == worker:
            return replace(known, generation=0)  # it is held, and is told as it was
        report = post.report if post is not None else None
        if report is None:
            return Place(camera, 0, reason=self._why_nowhere())
        return Place(camera, 0, worker, report.endpoint, report.server)

    def _why_nowhere(self) -> str:
        if self._roster.problem and not self._roster.nodes:
            return self._roster.problem
        if not any(workers_on(node, self._config) for node in self._roster.nodes.values()):
            cores = self._config.cluster.worker_cpus
            return f"no node of the cluster has a GPU, or {cores} cores (cluster.worker_cpus), for a scoring worker"
        return "no scoring worker answers"

    def _drain(self, now: float) -> None:
        """Nothing is ordered any more: a new order would begin again what has ended."""
        late = self._drained_at is not None and now - self._drained_at > READERS_FIRST
        for _, reader in self._roster.readers.items():
            reader.draining = True
        for _, worker in self._roster.workers.items():
            worker.draining, worker.eager = late, True

    def _problems(self) -> list[str]:
        ledgers = (self._counter.problem, self._place_ledger.problem, self._outboxes.problem)
        found = [*filter(None, (self._roster.problem, self._cut_off.problem, self._gatekeeper.problem, *ledgers))]
        found += self._outline.problems(self._config.cluster.fill)
        found += self._scoring.problems
        found += self._reading.problems
        if self._all_heard and not self._scoring.workers:
            found.append(self._why_nowhere())
        return found


def _same(before: Place, now: Place) -> bool:
    """Whether both say the same, whenever; asked for each camera in every round."""
    return (before.worker, before.endpoint, before.server, before.reason) == (
        now.worker,
        now.endpoint,
        now.server,
        now.reason,
    )
