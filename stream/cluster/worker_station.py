"""A scoring worker of a cluster: the station that keeps its processes going on one node, and obeys the control.

Everything here may be called from any thread, and nothing but :meth:`WorkerStation.close` waits. The network is loaded
as soon as the station is there, cameras or not, so that a takeover has to wait for nothing but the gallery.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from stream.cluster import worker_words
from stream.cluster.model import StationState, WorkerOrders, WorkerReport
from stream.cluster.node_folder import NodeFolder
from stream.cluster.node_galleries import NodeGalleries
from stream.cluster.outbox_shelf import claim_usable
from stream.cluster.processes import Processes
from stream.cluster.station_setting import StationSetting
from stream.cluster.worker_files import WorkerFiles
from stream.cluster.worker_parts import WorkerParts
from stream.config import Config
from stream.reload import FEED, WORKER

log = logging.getLogger(__name__)

LEFT_OVER_AFTER = 10.0
"""Seconds after which an outbox that nobody serves is served here: a worker that is started anew is back before."""

LOOK_EVERY = 1.0
"""Seconds between looks at what changes slowly: numbers of outboxes, ports, which galleries lie here."""

_TICK = 0.1  # s: how late new orders and new galleries are noticed


class WorkerStation:
    """One scoring worker, its feed, and what they need on this node.

    Args:
        setting: see there.
        index: number of this worker on its node, from 0. The first one also serves outboxes that others have left.
        gpus: that it was given; 0: it scores on cores.
        galleries: finds galleries on this node; for tests.
        monotonic: clock.

    Raises:
        ConfigError: the configuration is wrong.
        UsageError, KeyFileError: the node's folder cannot be used.
        OutboxError: no outbox can be made on this disk.
    """

    def __init__(
        self,
        setting: StationSetting,
        *,
        index: int = 0,
        gpus: float = 0.0,
        galleries: Callable[[Config, Path], NodeGalleries] = NodeGalleries,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic, self._serves_left_over, self._make_galleries = monotonic, index == 0, galleries
        with ExitStack() as undo:  # what is claimed here must be free for another try
            self._node = NodeFolder(setting.node_folder())
            self._key = self._node.key_folder().local.public
            self._folder = claim_usable(self._node, index)
            undo.callback(self._folder.close)
            self.name = f"{self._node.name}:{self._folder.number}"
            assigned = self._folder.run.path / "assigned.json"
            self._parts = WorkerParts(setting, node=self._node, folder=self._folder, assigned=assigned, gpus=gpus)
            self._galleries = galleries(self._parts.user, self._node.cache)
            undo.callback(self._galleries.close)
            self._files = WorkerFiles(self._node, self._folder.path, assigned, self._galleries)
            undo.pop_all()
        self._lock = threading.Lock()  # of what changes files and processes; may be held for some seconds
        self._order_lock = threading.Lock()  # of nothing but that
        self._orders, self._gpus = WorkerOrders(0), gpus
        self._leaving = self._left = False
        self._counted = False  # its outbox was looked at since its worker ended
        self._cached: tuple[str, ...] = ()
        self._free_since: dict[Path, float] = {}  # of other workers' state folders, by the monotonic clock
        self._look_due = 0.0
        self._files.take(self._orders, self._parts.user)  # what stood there was said to another life of this worker
        self._score = Processes(f"score {self.name}", self._parts.score())
        self._feeds = Processes(f"feeds {self.name}", self._parts.feeds())
        self._wake, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"station {self.name}", daemon=True)
        self._thread.start()

    # -- what the control says ----------------------------------------------------------------------------------------

    def order(self, orders: WorkerOrders) -> None:
        """Does this from now on; orders that are older than those in force are ignored."""
        with self._order_lock:
            if orders.generation < self._orders.generation:
                return
            self._orders = orders
        self._wake.set()

    def configure(self, text: str, environment: Mapping[str, str]) -> None:
        """Takes another configuration while it runs, as a reload does.

        Raises:
            ConfigError: it is wrong, or cannot be taken while the system runs; the old one stays in force.
            UsageError: its store of galleries cannot be used on this node; likewise.
        """
        with self._lock:
            before, fresh = self._parts.user, self._parts.user_of(text, environment)
            with ExitStack() as unused:
                galleries = self._galleries
                if (before.gallery, before.scenes) != (fresh.gallery, fresh.scenes):
                    galleries = self._make_galleries(fresh, self._node.cache)
                    unused.callback(galleries.close)
                steps = self._parts.take(text, environment)
                unused.pop_all()
            if galleries is not self._galleries:
                self._galleries.close()
                self._galleries = self._files.galleries = galleries
            self._go_on(steps.restart, tell=steps.tell_worker)
        self._wake.set()

    def drain(self) -> None:
        """Scores what is here, ends and commits open alerts, and takes no camera any more; alerts can still be had."""
        self._leaving = True
        self._wake.set()

    def close(self) -> None:
        """Ends everything in order, and waits for it. May be called twice."""
        self._closing.set()
        self._wake.set()
        self._thread.join()
        self._score.close()
        self._feeds.close()
        self._galleries.close()
        self._folder.close()

    def report(self) -> WorkerReport:
        """How it stands."""
        orders, leaving, cached = self._orders, self._leaving, self._cached
        processes, parts = self._reports(), self._parts
        status = worker_words.own_status(parts.config.status, processes.get(WORKER))
        given_up = (self._score.problem, self._feeds.problem)
        slow = worker_words.misses_its_gpu(status) if self._gpus else ""
        problems = list(filter(None, [self._files.problem, slow, *parts.shelf.problems.values(), *given_up]))
        state, reason = worker_words.state_of(
            status, processes, leaving=leaving, problems=problems, counted=self._counted
        )
        at_work = state in (StationState.RUNNING, StationState.DEGRADED) and status is not None
        return WorkerReport(
            worker=self.name,
            node=self._node.name,
            state=state,
            reason=reason,
            generation=orders.generation,
            endpoint=parts.link,
            server=parts.server,
            key=self._key,
            outboxes=parts.shelf.places(),
            cameras=dict(status["cameras"]) if status else {},
            ready=worker_words.ready(status, orders) if at_work else (),
            cached=cached,
            fetching=self._galleries.state(),
            status=dict(status["worker"]) if status else {},
            processes=processes,
        )

    # -- what it does by itself ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait(_TICK)
            self._wake.clear()
            try:
                with self._lock:
                    self._tick()
            except Exception:  # a bug must not leave the processes of this node without anybody
                log.exception("the station of worker %s", self.name)
                self._closing.wait(LOOK_EVERY)

    def _tick(self) -> None:
        if self._leaving and not self._left:
            self._left = True
            self._score.change(())
        self._files.take(self._orders, self._parts.user)
        now = self._monotonic()
        if now >= self._look_due or (self._ended and not self._counted):
            self._look_due = now + LOOK_EVERY
            self._look(now)

    def _look(self, now: float) -> None:
        if replaced := self._parts.renew_outboxes():
            self._go_on(replaced, tell=False)
        ended = self._ended  # before its outbox is looked at
        self._parts.shelf.look()
        self._counted = ended
        self._cached = tuple(sorted(self._galleries.cached()))
        status = worker_words.own_status(self._parts.config.status, self._score.report().get(WORKER))
        self._files.distrust(worker_words.damaged(status))
        if moved := self._parts.leave_lost_ports(self._reports()):
            log.warning("another program has taken a port of %s: it gets another one", ", ".join(sorted(moved)))
            self._go_on(moved, tell=False)
        if self._serves_left_over and self._parts.shelf.keep(self._left_over(now), own=self._folder.path):
            self._feeds.change(self._parts.feeds())

    @property
    def _ended(self) -> bool:
        """Its worker was told to end, and has."""
        return self._left and self._score.report().get(WORKER, {}).get("pid") is None

    def _left_over(self, now: float) -> list[Path]:
        """State folders that have been nobody's for a while."""
        free = self._node.left_over()
        self._free_since = {state: self._free_since.get(state, now) for state in free}
        return [state for state, since in self._free_since.items() if now - since >= LEFT_OVER_AFTER]

    def _go_on(self, restart: frozenset[str], *, tell: bool) -> None:
        """Runs what the configuration in force asks for."""
        if not self._left:
            told = frozenset({WORKER} if tell else ())
            self._score.change(self._parts.score(), restart=restart & {WORKER}, tell=told)
        feeds = self._parts.feeds()
        names = frozenset(feed.name for feed in feeds)
        self._feeds.change(feeds, restart=names if FEED in restart else names & restart)

    def _reports(self) -> dict[str, dict[str, Any]]:
        return {**self._score.report(), **self._feeds.report()}
