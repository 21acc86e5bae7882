"""Processes that a station keeps going, supervised by a thread of its own: a station lives in a process of Ray's, whose
main thread is not ours. For the stations.

What one supervisor gives up for good on a single machine is tried again here: a cluster has nobody beside each node.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stream.child import ChildSpec
from stream.errors import StreamError
from stream.supervisor import DRAIN_BY, Change, Supervisor

log = logging.getLogger(__name__)

AGAIN_AFTER = 10.0
"""Seconds until processes that were given up are tried again: short enough for a disk that comes back, long enough not
to fill the log."""

CLOSE_WITHIN = max(DRAIN_BY.values()) + 1.0
"""Seconds that an end may take, s: the supervisor kills what hangs before that."""

_POLL = 0.1  # s between looks while it waits to try again


class Processes:
    """A set of processes and the thread that keeps them going. Every method may be called from any thread.

    Args:
        name: of the thread.
        children: what to run first.
        again_after: s, see ``AGAIN_AFTER``; for tests.
        monotonic: clock.
        supervisor: makes one; for tests.
    """

    def __init__(
        self,
        name: str,
        children: Sequence[ChildSpec] = (),
        *,
        again_after: float = AGAIN_AFTER,
        monotonic: Callable[[], float] = time.monotonic,
        supervisor: Callable[..., Supervisor] = Supervisor,
    ) -> None:
        self._again_after, self._monotonic, self._supervisor = again_after, monotonic, supervisor
        self._lock = threading.Lock()
        self._children = tuple(children)  # that are to run
        self._next: Change | None = None  # that the supervisor has not taken yet
        self._report: dict[str, dict[str, Any]] = {}
        self._problem = ""
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def problem(self) -> str:
        """Why nothing of it runs now; empty: it does."""
        with self._lock:
            return self._problem

    def report(self) -> dict[str, dict[str, Any]]:
        """How every process is doing, by name, as in ``processes.json``."""
        with self._lock:
            return self._report

    def change(
        self,
        children: Sequence[ChildSpec],
        *,
        restart: frozenset[str] = frozenset(),
        tell: frozenset[str] = frozenset(),
    ) -> None:
        """Runs these from now on; see :class:`stream.supervisor.Change`. Does not wait for it."""
        with self._lock:
            waiting = self._next  # one that nobody has taken yet: what it asks for is not forgotten
            if waiting is not None:
                restart, tell = restart | waiting.restart, tell | waiting.tell
            self._children, self._next = tuple(children), Change(tuple(children), restart, tell - restart)

    def close(self) -> None:
        """Ends all of it in order, and waits for that. May be called twice."""
        self._closing.set()
        self._thread.join(CLOSE_WITHIN)

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._supervise()
            except Exception as error:  # whatever it is: the cameras of this node are without anybody until it goes on
                if not isinstance(error, StreamError):
                    log.exception("the supervisor broke off")
                self._tell(str(error) or type(error).__name__)
                self._wait()

    def _supervise(self) -> None:
        with self._lock:
            children, self._next, self._problem = self._children, None, ""
        supervisor: Supervisor = self._supervisor(children, stays=True, on_tick=lambda: self._tick(supervisor))
        supervisor.run(self._closing.is_set)

    def _tick(self, supervisor: Supervisor) -> None:
        report = supervisor.report()
        with self._lock:
            self._report = report
            change = None if supervisor.changing else self._next
            if change is not None:
                self._next = None
        if change is not None:
            supervisor.change(change)

    def _tell(self, why: str) -> None:
        log.error("%s; tried again in %.0f s", why, self._again_after)
        with self._lock:
            self._problem = f"{why}; tried again in {self._again_after:.0f} s"

    def _wait(self) -> None:
        """Until it is time to try again, or there is something else to try."""
        until = self._monotonic() + self._again_after
        while self._monotonic() < until and not self._closing.wait(_POLL):
            with self._lock:
                if self._next is not None:
                    return


def in_words(name: str, report: Mapping[str, Any] | None) -> str:
    """Why a process is not at work; empty where it is.

    Args:
        name: how people call it.
        report: its entry in ``processes.json``; None: there is none yet.
    """
    state = (report or {}).get("state", "starting")
    if state == "running":
        return ""
    last = (report or {}).get("last_exit")
    return f"{name} is {state}" + (f" (it died before: {last}; its message is in the log of this node)" if last else "")
