"""Camera events for a sink, and what no event can say: that worker or feed do not answer, so that nobody watches.

A worker that dies cannot tell it, and the last state of every camera would go on to read LIVE where it was passed on.
For ``programs``, in place of an ``EventBoard``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from stream.messages import CameraState, StateEvent
from stream.sinks.events import EventBoard

PATIENCE_S = 10.0
"""Seconds for which something may be wrong before it is told: a worker that is started anew is back by then, mostly."""

_LOOK_S = 1.0


class WatchedBoard(EventBoard):
    """An event board on which every camera is ``NO_READER`` while something is wrong.

    Args:
        cameras: that are told of.
        ask: what is wrong, in words that do not change while it lasts; empty: nothing.
        clock: monotonic seconds.
        wall: Unix seconds.
    """

    def __init__(
        self,
        cameras: Iterable[str],
        ask: Callable[[], str],
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(clock=clock)
        self._cameras, self._ask, self._wall = tuple(cameras), ask, wall
        self._now = clock
        self._real: dict[str, StateEvent] = {}  # the latest of every camera, as the feed says
        self._well = self._look_due = clock()
        self._told = ""  # what is wrong, as it was told

    def note(self, event: StateEvent) -> None:
        """An event of the feed; see :meth:`EventBoard.note`. While something is wrong it waits for the end of that."""
        self._real[event.camera] = event
        if not self._told:
            super().note(event)

    def refresh(self) -> None:
        """Looks whether something is wrong, at most once a second."""
        now = self._now()
        if now < self._look_due:
            return
        self._look_due = now + _LOOK_S
        problem = self._ask()
        if not problem:
            self._well = now
        if problem == self._told or (problem and now - self._well < PATIENCE_S):
            return
        self._told = problem
        for event in self._lost(problem) if problem else self._real.values():
            super().note(event)

    def _lost(self, problem: str) -> Iterable[StateEvent]:
        return [StateEvent(camera, CameraState.NO_READER, problem, self._wall()) for camera in self._cameras]
