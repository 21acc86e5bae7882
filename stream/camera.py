"""What the worker knows of one camera: its state, its alerts, and which frames its reader may forget."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from stream.alerting import CameraAlerts
from stream.engine import NotScored, Scored
from stream.health import CameraHealth
from stream.link import Ended
from stream.messages import Alert, CameraState, FramePacket, Mode, StateEvent
from stream.scorelog import ScoreRow
from stream.view_watch import Placed, ViewWatch

log = logging.getLogger(__name__)

WATCHING = (CameraState.LIVE, CameraState.CONNECTING)
"""States in which an open alert goes on: somebody sees its end, or will in a moment."""


BLIND = 10.0
"""Seconds without a score after which an open alert ends: what passes within them is a hiccup."""


class Tell(Protocol):
    """Told of every change of a camera's state."""

    def __call__(self, event: StateEvent) -> object: ...


@dataclass(frozen=True, slots=True)
class Now:
    """One moment, by both clocks."""

    unix: float  # s, for people
    mono: float  # s, for intervals


def now() -> Now:
    """This moment."""
    return Now(time.time(), time.monotonic())


class WatchedCamera:
    """One camera.

    Args:
        camera: id.
        scene: what it looks at.
        alerts: from its scores to committed messages.
        view: whether it still looks there; None = not watched.
        tell: gets its changes of state.
        clock: what time it is.
    """

    def __init__(
        self,
        camera: str,
        scene: str,
        *,
        alerts: CameraAlerts,
        view: ViewWatch | None,
        tell: Tell,
        clock: Callable[[], Now],
    ) -> None:
        self.camera, self.scene, self.alerts = camera, scene, alerts
        self._view, self._tell, self._clock = view, tell, clock
        self.health = CameraHealth(scene, since=clock().unix)
        self.mode: Mode | None = None  # None: no reader has joined yet
        self.joins = 0  # readers so far
        self.unconfirmed: int | None = None  # seq of the last scored frame that its reader has not been told of
        self._reported: tuple[CameraState, str] | None = None  # what its reader says
        self._dropped: Counter[str] = Counter()  # here, by "stage.reason"
        self._blind_from: float | None = None  # Unix seconds of the first frame in a row that could not be scored
        self._moved = ""  # why its scores would mean nothing

    # -- what its reader says -----------------------------------------------------------------------------------------

    def join(self, mode: Mode) -> None:
        """A reader has joined."""
        log.info("camera %s: reader joined (%s)", self.camera, mode)
        self.mode, self.unconfirmed = mode, None
        self.joins += 1
        self._report(CameraState.CONNECTING, "reader joined")

    def hear(self, event: StateEvent) -> list[Alert]:
        """Its reader reports a state; an open alert ends where nobody sees how it goes on."""
        ended = [] if event.state in WATCHING else self.finish()
        self._report(event.state, event.reason)
        return ended

    def lose(self) -> list[Alert]:
        """Its reader has fallen silent."""
        ended = self.finish()
        self._report(CameraState.NO_READER, "its reader stopped reporting")
        return ended

    def end(self, ended: Ended) -> list[Alert]:
        """Its finite source is at its end, or its reader was stopped."""
        messages = self.finish()
        self._take_drops(ended.drops)
        self._report(CameraState.ENDED, f"broke off: {ended.error}" if ended.error else "end of the source")
        return messages

    def leave(self) -> list[Alert]:
        """It is not in the configuration any more."""
        messages = self.finish()
        self._report(CameraState.ENDED, "removed from the configuration")
        return messages

    # -- its frames ---------------------------------------------------------------------------------------------------

    def look(self, packet: FramePacket, place: Callable[[], Placed | None]) -> str:
        """Why a frame must not be scored: the camera shows another view than the enrolled one. Empty = it may be.

        Args:
            packet: the next frame.
            place: compares it with the enrolled view; asked about once a second.
        """
        # A recording is scored as it was asked for: whoever replays it sees the pictures.
        if self._view is None or self.mode is Mode.REPLAY:
            self._moved = ""
            return ""
        now = self._clock().mono
        if self._view.due(now):
            placement = place()
            # A scene that was enrolled again may be one where nothing can be told.
            fault = self._view.forget() if placement is None else self._view.see(now, placement)
            self._moved = fault.reason if fault else ""
        return self._moved

    def record(
        self, packet: FramePacket, result: Scored | NotScored, *, age_known: bool
    ) -> tuple[ScoreRow, list[Alert]]:
        """Takes a frame's result to the alerts.

        Args:
            packet: the frame.
            result: its score, or why it has none.
            age_known: the frame was captured by this machine's clock.

        Returns:
            Its row in the score log, and what was committed because of it.
        """
        health, committed = self.health, list[Alert]()
        health.last_frame_time, health.last_seq = packet.frame_time, packet.seq
        self._take_drops(packet.drops)
        if isinstance(result, Scored):
            try:
                committed = self.alerts.observe(packet, result)
            except ValueError as error:  # what the policy refuses: a score or a time that is no number
                result = NotScored(f"the score cannot be used: {error}")
                log.error("camera %s, frame %d: %s", packet.camera, packet.seq, result.reason)
        else:
            self.alerts.see(packet)
            committed = self.finish() if self._moved or self._blind_for(packet) > BLIND else []
        # From capture until the alerts that the frame led to are committed.
        age = self._clock().mono - packet.captured_mono if age_known else None
        if age is not None:
            health.ages.append(age)
        self._count(result)
        self._show(problem=result.reason if isinstance(result, NotScored) else "")
        return _row(packet, result, age, self.alerts.open_alert), committed

    def follow(self, before: WatchedCamera) -> None:
        """Goes on where this camera was before its settings changed: its counts, and what its reader has said."""
        scene, self.health = self.health.scene, before.health
        self.health.scene = scene
        self.mode, self.joins, self._reported = before.mode, before.joins, before._reported
        self._dropped = before._dropped
        self._show()

    def finish(self) -> list[Alert]:
        """Ends an open alert; returns what was committed."""
        messages = self.alerts.finish()
        self.health.alert = None
        return messages

    def count_drop(self, reason: str) -> None:
        """Counts a frame that is not scored."""
        self._dropped[reason] += 1
        self.health.drops.update(self._dropped)

    def _blind_for(self, packet: FramePacket) -> float:
        """Seconds over which no frame could be scored, up to this one."""
        self._blind_from = packet.frame_time if self._blind_from is None else min(self._blind_from, packet.frame_time)
        return packet.frame_time - self._blind_from

    def _take_drops(self, of_reader: Mapping[str, int]) -> None:
        # Whole, not merged: what an earlier reader counted is none of this one's.
        self.health.drops = {**of_reader, **self._dropped}

    # -- its state ----------------------------------------------------------------------------------------------------

    def _count(self, result: Scored | NotScored) -> None:
        health = self.health
        if isinstance(result, Scored):
            self._blind_from = None
            health.scored += 1
            health.last_score, health.threshold = result.score.score, result.scene.calibration.threshold
        else:
            health.not_scored += 1
            health.last_score = None
        health.alert = self.alerts.open_alert

    def _report(self, state: CameraState, reason: str) -> None:
        self._reported = state, reason
        self._show()

    def _show(self, *, problem: str = "") -> None:
        """The camera's state: what its reader says, unless frames come that cannot be scored."""
        state, reason = self._reported or (CameraState.LIVE, "frames arrive")
        if state is CameraState.LIVE and self._moved:
            state, reason = CameraState.MOVED, self._moved
        elif state is CameraState.LIVE and problem:
            state, reason = CameraState.NOT_SCORED, problem
        now = self._clock().unix
        if self.health.change(state, reason, now):
            bad = state not in (*WATCHING, CameraState.ENDED)
            log.log(logging.WARNING if bad else logging.INFO, "camera %s is %s: %s", self.camera, state, reason)
            self._tell(StateEvent(self.camera, state, reason, now))


def _row(packet: FramePacket, result: Scored | NotScored, age: float | None, alert: str | None) -> ScoreRow:
    scored = result if isinstance(result, Scored) else None
    explanation = scored.score.explanation() if scored and scored.score.explanation.made else None
    return ScoreRow(
        frame_time=packet.frame_time,
        frame_seq=packet.seq,
        media_time=packet.media_time,
        segment=packet.segment,
        score=scored.score.score if scored else None,
        image_score=explanation.image_score if explanation else None,
        threshold=scored.scene.calibration.threshold if scored else None,
        nearest=explanation.neighbours[0][0] if explanation else None,
        age=age,
        alert=alert or "",
        problem="" if isinstance(result, Scored) else result.reason,
    )
