"""Camera events on their way to a sink: of each camera the latest, kept until it is told. For the runner."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from stream.errors import SinkError, SinkRefused
from stream.messages import StateEvent
from stream.sinks.base import EventSink

FIRST_RETRY_S, LAST_RETRY_S = 1.0, 30.0
"""Wait after the first event that could not be told; it doubles up to the second."""

_ROUND_S = 5.0  # s after which alerts have their turn again, and the supervisor its sign of life

_log = logging.getLogger(__name__)


class EventBoard:
    """Holds at most one event a camera: what a camera did meanwhile nobody has to hear.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._latest: dict[str, StateEvent] = {}
        self._due, self._wait = clock(), FIRST_RETRY_S

    @property
    def waiting(self) -> int:
        """Cameras whose state is not told yet."""
        return len(self._latest)

    def note(self, event: StateEvent) -> None:
        """Takes the place of what was noted of this camera before."""
        self._latest.pop(event.camera, None)  # so that it comes last
        self._latest[event.camera] = event

    def refresh(self) -> None:
        """Called in every round of the runner, before :meth:`tell`."""

    def tell(self, sink: EventSink) -> SinkError | None:
        """Tells what waits, unless the last failure is too fresh. Returns the failure, if there was one."""
        if not self._latest or self._clock() < self._due:
            return None
        refused: SinkError | None = None
        end = self._clock() + _ROUND_S
        for event in list(self._latest.values()):
            try:
                sink.tell(event)
            except SinkRefused as error:  # for good: it must not keep back those of other cameras
                _log.error("state of camera %s cannot be told: %s", event.camera, error)
                refused = error
            except SinkError as error:
                _log.warning("state of camera %s not told, again in %g s: %s", event.camera, self._wait, error)
                self._due, self._wait = self._clock() + self._wait, min(2 * self._wait, LAST_RETRY_S)
                return error
            del self._latest[event.camera]
            if self._clock() > end:
                break
        self._wait = FIRST_RETRY_S
        return refused
