"""Changes of the cameras' states in a cluster, recorded as one worker would. For ``collector``.

Each worker's outbox has events of its own, but of a camera that has moved it says "removed", while another one says
"live": which of them is true only the control knows. So events are made of its word, once a second.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from stream.errors import AlertRefused, OutboxError
from stream.messages import CameraState, StateEvent, unix_time

RECORD_FOR = 1.0
"""Seconds of recording in one call: each event is a synchronous write, and with a node hundreds of cameras change."""

_log = logging.getLogger(__name__)


class EventStore(Protocol):
    """What is needed of a :class:`stream.outbox.Outbox`."""

    def record_event(self, event: StateEvent) -> int:
        """Stores a camera event; raises OutboxError where it cannot."""
        ...

    def camera_states(self) -> list[StateEvent]:
        """The latest event of every camera."""
        ...


class CameraEvents:
    """What was recorded of each camera last.

    Args:
        outbox: where events are recorded.
        wall: Unix seconds.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        outbox: EventStore,
        *,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outbox, self._wall, self._clock = outbox, wall, clock
        self._states = {event.camera: event.state for event in outbox.camera_states()}
        self._scenes: dict[str, str] = {}  # of cameras that were told of since this object was made
        self.problem = ""  # why something is not recorded yet; "" = all is

    def tell(self, cameras: Mapping[str, Mapping[str, Any]]) -> None:
        """Records what has changed. What cannot be recorded now, or not within ``RECORD_FOR``, is tried again with the
        next call, as it is then.

        Args:
            cameras: by id, as in ``status.json``.
        """
        self.problem = ""
        until = self._clock() + RECORD_FOR
        try:
            for camera, said in cameras.items():
                self._tell(camera, said)
                if self._clock() > until:
                    return
            for camera in set(self._scenes) - set(cameras):
                gone = StateEvent(camera, CameraState.ENDED, "removed from the configuration", self._wall())
                self._record(gone)
                del self._scenes[camera]
        except OutboxError as error:
            self.problem = str(error)

    def _tell(self, camera: str, said: Mapping[str, Any]) -> None:
        state, scene = CameraState(said["state"]), str(said.get("scene", ""))
        before = self._scenes.get(camera)
        reason = str(said.get("reason", ""))
        if self._states.get(camera) is not state:
            self._record(StateEvent(camera, state, reason, self._time_of(said)))
        elif before is not None and before != scene:
            self._record(StateEvent(camera, state, f"scene {scene}", self._wall()))
        self._scenes[camera] = scene

    def _record(self, event: StateEvent) -> None:
        bad = event.state not in (CameraState.LIVE, CameraState.CONNECTING, CameraState.ENDED)
        level = logging.WARNING if bad else logging.INFO
        try:
            self._outbox.record_event(event)
        except AlertRefused as error:  # this one never: the next change may
            _log.error("%s", error)
        _log.log(level, "camera %s is %s: %s", event.camera, event.state, event.reason)
        self._states[event.camera] = event.state

    def _time_of(self, said: Mapping[str, Any]) -> float:
        """When the state began; by another machine's clock, but never in the future of this one."""
        try:
            began = unix_time(str(said["since"]))
        except (KeyError, ValueError):
            return self._wall()
        return min(began, self._wall()) if began > 0 else self._wall()
