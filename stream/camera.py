"""What the worker knows of one camera: its state, its alerts, and which frames its reader may forget."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from stream.alerting import CameraAlerts
from stream.camera_settings import CameraSettings
from stream.camera_view import CameraView, Place
from stream.drift import Seen
from stream.engine import NotScored, Scored
from stream.health import CameraHealth
from stream.link import Ended
from stream.messages import Alert, CameraState, FramePacket, Mode, StateEvent
from stream.operator_settings import CameraOperator
from stream.policy import BLIND
from stream.scene_choice import Switch
from stream.scorelog import ScoreRow

log = logging.getLogger(__name__)

WATCHING = (CameraState.LIVE, CameraState.CONNECTING)
"""States in which an open alert goes on: somebody sees its end, or will in a moment."""


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
        alerts: from its scores to committed messages.
        settings: zones, threshold factor and snooze.
        view: which scene it looks at, and whether it still shows it.
        tell: gets its changes of state.
        clock: what time it is.
    """

    def __init__(
        self,
        camera: str,
        *,
        alerts: CameraAlerts,
        settings: CameraSettings,
        view: CameraView,
        tell: Tell,
        clock: Callable[[], Now],
    ) -> None:
        self.camera, self.alerts, self.settings, self.view = camera, alerts, settings, view
        self._tell, self._clock = tell, clock
        self.health = CameraHealth(view.scene, since=clock().unix, scenes=view.scenes, scene_since=clock().unix)
        self.mode: Mode | None = None  # None: no reader has joined yet
        self.joins = 0  # readers so far
        self.unconfirmed: int | None = None  # seq of the last scored frame that its reader has not been told of
        self._reported: tuple[CameraState, str] | None = None  # what its reader says
        self._dropped: Counter[str] = Counter()  # here, by "stage.reason"
        self._blind_from: float | None = None  # Unix seconds of the first frame in a row that could not be scored

    @property
    def scene(self) -> str:
        """What it looks at now."""
        return self.view.scene

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
        stopped = "end of the source" if self.mode is Mode.REPLAY else "its reader was stopped"
        # A live camera has no end of its own: where its reader breaks off, nobody watches until the next one joins.
        broke_off = CameraState.OFFLINE if self.mode is Mode.LIVE else CameraState.ENDED
        if ended.error:
            self._report(broke_off, f"broke off: {ended.error}")
        else:
            self._report(CameraState.ENDED, stopped)
        return messages

    def leave(self, why: str) -> list[Alert]:
        """It is not this worker's any more."""
        messages = self.finish()
        self._report(CameraState.ENDED, why)
        return messages

    # -- its frames ---------------------------------------------------------------------------------------------------

    def look(self, place: Place) -> str:
        """Why a frame must not be scored: the camera shows another view than the enrolled one, or seems to. Empty = it
        may be.

        Args:
            place: compares the next frame with an enrolled view; asked about once a second.
        """
        # A recording is scored as it was asked for: whoever replays it sees the pictures.
        if self.mode is Mode.REPLAY:
            self.view.trust()
        else:
            self.view.look(self._clock().mono, place)
        return self.view.refusal

    def enter(self, switch: Switch, *, same_view: bool) -> list[Alert]:
        """Another of its scenes is in force from now on. Returns what was committed because of it.

        An open alert goes on where only the light is another one: the policy goes by scores in thresholds, and somebody
        who comes at dusk is one event. It ends where the camera shows another place: nobody sees how it goes on.
        """
        log.info("camera %s: scene %s instead of %s, %s", self.camera, switch.scene, switch.before, switch.reason)
        now = self._clock().unix
        self.health.scene, self.health.scene_since = switch.scene, now
        messages = [] if same_view else self.finish()
        self._show()
        self._tell(StateEvent(self.camera, self.health.state, f"scene {switch.scene}, {switch.reason}", now))
        return messages

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
            self.view.hear(above=result.score.score > result.threshold)
            try:
                committed = self._decide(packet, result)
            except ValueError as error:  # what the policy refuses: a score or a time that is no number
                result = NotScored(f"the score cannot be used: {error}")
                log.error("camera %s, frame %d: %s", packet.camera, packet.seq, result.reason)
        else:
            self.alerts.see(packet)
            committed = self.finish() if self.view.moved or self._blind_for(packet) > BLIND else []
        # From capture until the alerts that the frame led to are committed.
        age = self._clock().mono - packet.captured_mono if age_known else None
        if age is not None:
            health.took(age)
        self._count(result)
        self._show(problem=result.reason if isinstance(result, NotScored) else "")
        return _row(packet, result, age, self.alerts.open_alert), committed

    def _decide(self, packet: FramePacket, scored: Scored) -> list[Alert]:
        """What a score leads to. A snoozed camera's starts no alert: those that it would have started are counted."""
        # By this machine's clock, of a recording too: a snooze is a time in which somebody wants no alerts.
        if not self.settings.snoozed(self._clock().unix):
            self.settings.let_go()
            return self.alerts.observe(packet, scored)
        self.alerts.see(packet)
        self.settings.hold(packet, scored)
        return self.alerts.finish()

    def obey(self, settings: CameraOperator) -> list[Alert]:
        """Takes what operators have set. Returns what was committed: an open alert of a snoozed camera ends at once."""
        if self.settings.take(settings):
            log.info("camera %s: %s", self.camera, self.settings.in_words(self._clock().unix))
        return self.finish() if self.settings.snoozed(self._clock().unix) and self.alerts.open_alert else []

    def status(self) -> dict[str, Any]:
        """JSON-able: how it stands, and what is set."""
        calibrated, factor = self.health.calibrated_threshold, self.settings.threshold_factor
        in_force = {} if calibrated is None else {"threshold": calibrated * factor}  # before its next frame, too
        return {**self.health.to_json(), **in_force, **self.settings.to_json(self._clock().unix)}

    def seen(self, packet: FramePacket, result: Scored | NotScored) -> Seen:
        """A frame that was recorded, as far as slow change goes by it.

        Args:
            packet: the frame.
            result: its score in the whole picture, whatever zones count for alerts.
        """
        quiet = not self.settings.snoozed(self._clock().unix) and self.alerts.open_alert is None
        watched = quiet and self.mode is Mode.LIVE and self.health.state is CameraState.LIVE
        calibrated = result.scene.calibration.threshold if isinstance(result, Scored) else 0.0
        strength = result.score.score / calibrated if isinstance(result, Scored) and calibrated > 0 else None
        return Seen(self.camera, self.scene, packet.frame_time, strength, watched)

    def follow(self, before: WatchedCamera) -> None:
        """Goes on where this camera was before its settings changed: its counts, and what its reader has said."""
        own, self.health = self.health, before.health
        self.health.scene, self.health.scenes, self.health.scene_since = own.scene, own.scenes, own.scene_since
        self.mode, self.joins, self._reported = before.mode, before.joins, before._reported
        self._dropped, self.settings.held = before._dropped, before.settings.held
        self._show()

    def finish(self) -> list[Alert]:
        """Ends an open alert; returns what was committed."""
        messages = self.alerts.finish()
        self.settings.let_go()
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
            health.last_score, health.threshold = result.score.score, result.threshold
            if result.threshold > 0:
                health.strength_histogram.add(result.score.score / result.threshold)
            health.calibrated_threshold = result.scene.calibration.threshold
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
        if state is CameraState.LIVE and self.view.moved:
            state, reason = CameraState.MOVED, self.view.moved
        elif state is CameraState.LIVE and problem:
            state, reason = CameraState.NOT_SCORED, problem
        elif state is CameraState.LIVE and self.view.why:
            reason = f"{reason}; scene {self.scene}, {self.view.why}"
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
        threshold=scored.threshold if scored else None,
        nearest=explanation.neighbours[0][0] if explanation else None,
        age=age,
        alert=alert or "",
        problem="" if isinstance(result, Scored) else result.reason,
    )
