"""The latest live view of each camera that somebody looks at, in memory only.

An old view would look like a live one: when nobody watches a camera any more, and when no new view has come for a
while, its last one is dropped.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from stream.console.events import Hub
from stream.live import LiveFrame
from stream.messages import iso_time

STAY = 15.0
"""Seconds for which a camera stays watched after somebody asked for its picture."""

STALE = 10.0
"""Seconds after which a view that no newer one has followed is dropped."""

_POLL_S = 0.2

_log = logging.getLogger(__name__)


class Views(Protocol):
    """What is needed of a :class:`stream.live.LiveSubscriber`."""

    def watch(self, cameras: Iterable[str]) -> None:
        """From now on these."""
        ...

    def poll(self, timeout: float) -> LiveFrame | None:
        """The next view."""
        ...


class Watcher:
    """Any thread may ask for views; one runs :meth:`run`.

    Args:
        cameras: ids that there are.
        subscribe: to the worker's live views.
        hub: says what browsers watch, and is told of new views.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        cameras: Iterable[str],
        *,
        subscribe: Callable[[], AbstractContextManager[Views]],
        hub: Hub,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cameras, self._subscribe, self._hub, self._clock = frozenset(cameras), subscribe, hub, clock
        self._lock = threading.Lock()
        self._latest: dict[str, tuple[LiveFrame, float]] = {}
        self._asked: dict[str, float] = {}

    def latest(self, camera: str) -> LiveFrame | None:
        """The camera's newest view; None where there is none yet. Asking makes it watched for a while."""
        now = self._clock()
        with self._lock:
            if camera in self._cameras:
                self._asked[camera] = now
            frame, came = self._latest.get(camera, (None, 0.0))
        return frame if frame is not None and now - came < STALE else None

    def take(self, frame: LiveFrame) -> None:
        """Shows a new view."""
        with self._lock:
            self._latest[frame.camera] = (frame, self._clock())
        self._hub.publish_live(frame.camera, described(frame))

    def wanted(self) -> frozenset[str]:
        """Cameras that somebody looks at now; the views of the others are dropped."""
        now = self._clock()
        with self._lock:
            self._asked = {camera: asked for camera, asked in self._asked.items() if now - asked < STAY}
            wanted = (self._hub.watched() | self._asked.keys()) & self._cameras
            self._latest = {
                camera: view for camera, view in self._latest.items() if camera in wanted and now - view[1] < STALE
            }
        return frozenset(wanted)

    def run(self, stop: threading.Event) -> None:
        """Receives views until told to stop."""
        while not stop.is_set():
            try:
                with self._subscribe() as views:
                    while not stop.is_set():
                        views.watch(self.wanted())
                        if (frame := views.poll(_POLL_S)) is not None:
                            self.take(frame)
            except Exception:  # a bug must show, and the next try may work
                _log.exception("live views do not come")
                stop.wait(STALE)


def described(frame: LiveFrame) -> dict[str, Any]:
    """A view without its pictures, for the event stream."""
    scored = frame.score is not None and frame.threshold
    return {
        "camera": frame.camera,
        "scene": frame.scene,
        "frame_seq": frame.frame_seq,
        "frame_time": iso_time(frame.frame_time),
        "score": frame.score,
        "threshold": frame.threshold,
        "strength": frame.score / frame.threshold if scored and frame.score is not None and frame.threshold else None,
        "alert": frame.alert,
        "problem": frame.problem,
        "heat_box": list(frame.heat_box),
        "source_size": list(frame.source_size),
        "has_heat": bool(frame.heat_png),
    }
