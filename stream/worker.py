"""The scoring worker: frames of all cameras in, committed alerts out. One process, one thread that matters.

It takes at most one frame of each camera, lets those cameras send their next one, has the engine score them (side by
side, or all in one forward pass), and hands each result to its camera's policy, in the order in which they were taken.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.alerting import CameraAlerts
from stream.engine import NotScored, Pending, Scored, ScoringEngine, ToScore
from stream.health import CameraHealth, write_status
from stream.link import Ended, Joined, LinkEvent, LinkServer, Reported
from stream.messages import Alert, CameraState, FramePacket
from stream.outbox import Outbox
from stream.policy import PolicySettings
from stream.scorelog import ScoreLog, ScoreRow

log = logging.getLogger(__name__)

STATUS_INTERVAL = 1.0
"""Seconds between two status files."""

_WATCHING = (CameraState.LIVE, CameraState.CONNECTING)

_AHEAD = 2
"""Frames taken for each core that scores, so that none waits for the next one to be handed to it."""

_TICK = 0.2  # s, at most this late to notice a stop


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What the worker needs to know besides its parts."""

    cameras: Mapping[str, str]  # camera id -> scene
    policy: PolicySettings
    size: int  # S, side of the scoring image
    max_batch: int  # frames scored at once
    maps: Path | None  # folder for score maps, None = none are kept
    status: Path
    ready_after: float | None  # s from the beginning of the process until it could score; None = not known
    shared_clock: bool  # readers run on this machine, so that their monotonic times compare with ours


class Worker:
    """Ties link, engine, policies and outbox together.

    Args:
        settings: see there.
        link: bound.
        engine: with its galleries open.
        outbox: where alerts are committed.
        scores: log of every score.
        stopping: polled; True asks for a clean end.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        link: LinkServer,
        engine: ScoringEngine,
        outbox: Outbox,
        scores: ScoreLog,
        stopping: Callable[[], bool],
    ) -> None:
        self._settings, self._link, self._engine = settings, link, engine
        self._outbox, self._scores, self._stopping = outbox, scores, stopping
        now = time.time()
        self._health = {camera: CameraHealth(scene, since=now) for camera, scene in settings.cameras.items()}
        self._reported: dict[str, tuple[CameraState, str]] = {}  # what the readers say
        self._alerts = {
            camera: CameraAlerts(camera, scene, settings.policy, commit=outbox.commit)
            for camera, scene in settings.cameras.items()
        }
        self._waiting: dict[str, FramePacket] = {}  # at most one frame per camera, the longest waiting first
        self._running: dict[str, tuple[FramePacket, Pending]] = {}  # by camera; being scored, taken first comes first
        self._ended: dict[str, Ended] = {}
        self._started = now
        self._status_due = 0.0

    def run(self) -> None:
        """Works until told to stop; then scores what is here, ends open alerts and commits them."""
        for alert in self._outbox.end_open_alerts():
            log.warning("the worker before this one was killed while an alert was open")
            _log_alert(alert)
        state, reason = "FAILED", "it broke off; its message is in the log"
        try:
            while not self._stopping():
                self._round(_TICK)
            self._round(0.0)
            self._collect(len(self._running))
            for camera in self._alerts:
                self._finish(camera)
            state, reason = "STOPPED", "stopped"
        finally:
            self._write_status(state, reason)
            self._scores.close()

    def _round(self, wait: float) -> None:
        for event in self._link.poll(0.0 if self._waiting or self._running else wait):
            self._handle(event)
        for camera in self._link.silent():
            self._reported[camera] = (CameraState.NO_READER, "its reader stopped reporting")
            self._finish(camera)
            self._show_state(camera)
        self._begin()
        # Side by side: those that are ready are handed on while the next ones are computed.
        self._collect(1 if self._engine.at_once > 1 else len(self._running))
        for camera in sorted(self._ended.keys() - self._waiting.keys() - self._running.keys()):
            self._end(camera, self._ended.pop(camera))
        if time.monotonic() >= self._status_due:
            self._status_due = time.monotonic() + STATUS_INTERVAL
            self._write_status("RUNNING", "")

    def _handle(self, event: LinkEvent) -> None:
        match event:
            case FramePacket():
                if event.camera in self._waiting:  # more than its credit: only a broken reader does that
                    self._count_drop(event.camera, "worker.replaced")
                self._waiting[event.camera] = event
            case Joined():
                log.info("camera %s: reader joined (%s)", event.camera, event.mode)
                self._reported[event.camera] = (CameraState.CONNECTING, "reader joined")
                self._show_state(event.camera)
            case Reported():
                self._reported[event.event.camera] = (event.event.state, event.event.reason)
                if event.event.state not in _WATCHING:  # nobody sees the event's end any more
                    self._finish(event.event.camera)
                self._show_state(event.event.camera)
            case Ended():
                self._ended[event.camera] = event

    def _begin(self) -> None:
        """Takes frames that wait into scoring, one of each camera at a time."""
        at_once = self._engine.at_once
        room = _AHEAD * at_once if at_once > 1 else self._settings.max_batch
        ready = [camera for camera in self._waiting if camera not in self._running]
        batch = [self._waiting.pop(camera) for camera in ready[: max(0, room - len(self._running))]]
        for packet in batch:
            self._link.grant(packet.camera)
        if batch:
            self._score(batch)

    def _collect(self, count: int) -> None:
        """Waits for the ``count`` frames that were taken first."""
        for camera in list(self._running)[:count]:
            packet, pending = self._running[camera]
            result = pending()
            del self._running[camera]
            self._record(packet, result)
        if count:
            self._scores.flush()  # before the next credit lets the reader forget these frames

    def _score(self, batch: list[FramePacket]) -> None:
        side = self._settings.size
        fitting = [packet for packet in batch if packet.image.shape == (side, side, 3)]
        for packet in batch:
            if packet.image.shape != (side, side, 3):
                reason = (
                    f"scoring image is {packet.image.shape}, this worker needs ({side}, {side}, 3): "
                    "same 'method.size' and 'method.crop'?"
                )
                self._record(packet, NotScored(reason))
        begun = self._engine.begin([self._to_score(packet) for packet in fitting]) if fitting else []
        for packet, pending in zip(fitting, begun, strict=True):
            self._running[packet.camera] = packet, pending

    def _to_score(self, packet: FramePacket) -> ToScore:
        scene = self._settings.cameras[packet.camera]
        return ToScore(packet.camera, scene, packet.frame_time, packet.segment, packet.image, packet.motion)

    def _record(self, packet: FramePacket, result: Scored | NotScored) -> None:
        health, alerts = self._health[packet.camera], self._alerts[packet.camera]
        health.last_frame_time, health.last_seq = packet.frame_time, packet.seq
        health.drops.update(packet.drops)
        if isinstance(result, Scored):
            try:
                committed = alerts.observe(packet, result)
            except ValueError as error:  # what the reader sent beside the scoring image is no picture of that size
                result = NotScored(f"the evidence cannot be drawn: {error}")
                log.error("camera %s, frame %d: %s", packet.camera, packet.seq, result.reason)
        # From capture until the alerts that the frame led to are committed.
        age = time.monotonic() - packet.captured_mono if self._settings.shared_clock else None
        if age is not None:
            health.ages.append(age)
        if isinstance(result, Scored):
            health.scored += 1
            health.last_score, health.threshold = result.score.score, result.scene.calibration.threshold
            for alert in committed:
                _log_alert(alert)
            self._keep_map(packet, result)
        else:
            health.not_scored += 1
            health.last_score = None
        health.alert = alerts.open_alert
        self._show_state(packet.camera, problem=result.reason if isinstance(result, NotScored) else "")
        self._scores.add(packet.camera, _row(packet, result, age, alerts.open_alert))
        self._link.mark_scored(packet.camera, packet.seq)

    def _keep_map(self, packet: FramePacket, result: Scored) -> None:
        if self._settings.maps is not None:
            folder = self._settings.maps / packet.camera
            folder.mkdir(parents=True, exist_ok=True)
            np.save(folder / f"{packet.seq:08d}.npy", map_to_keep(result.score.pixel_scores), allow_pickle=False)

    def _end(self, camera: str, ended: Ended) -> None:
        self._finish(camera)
        self._health[camera].drops.update(ended.drops)
        reason = f"broke off: {ended.error}" if ended.error else "end of the source"
        self._reported[camera] = (CameraState.ENDED, reason)
        self._show_state(camera)
        self._write_status("RUNNING", "")
        self._link.finish(camera)

    def _finish(self, camera: str) -> None:
        for alert in self._alerts[camera].finish():
            _log_alert(alert)
        self._health[camera].alert = None

    def _show_state(self, camera: str, *, problem: str = "") -> None:
        """The camera's state: what its reader says, unless frames come that cannot be scored."""
        health = self._health[camera]
        state, reason = self._reported.get(camera, (CameraState.LIVE, "frames arrive"))
        if problem and state is CameraState.LIVE:
            state, reason = CameraState.NOT_SCORED, problem
        if health.change(state, reason, time.time()):
            bad = state not in (*_WATCHING, CameraState.ENDED)
            log.log(logging.WARNING if bad else logging.INFO, "camera %s is %s: %s", camera, state, reason)

    def _count_drop(self, camera: str, reason: str) -> None:
        drops = self._health[camera].drops
        drops[reason] = drops.get(reason, 0) + 1

    def _write_status(self, state: str, reason: str) -> None:
        failures = {scene: str(error) for scene, error in self._engine.failures.items()}
        worker: dict[str, Any] = {
            "state": state,
            "reason": reason,
            "pid": os.getpid(),
            "started": self._started,
            "ready_after": self._settings.ready_after,
            "malformed_messages": self._link.malformed,
            "scene_failures": failures,
        }
        cameras = {camera: health.to_json() for camera, health in self._health.items()}
        write_status(self._settings.status, {"written": time.time(), "worker": worker, "cameras": cameras})


def map_to_keep(pixel_scores: NDArray[np.float32]) -> NDArray[np.floating]:
    """A score map as it is kept: in half precision, half the disk and finer (1 part in 2,000) than any figure made of
    it, unless a score is too high for that.
    """
    fits = pixel_scores.max() <= np.finfo(np.float16).max
    return pixel_scores.astype(np.float16) if fits else pixel_scores


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


def _log_alert(alert: Alert) -> None:
    log.info(
        "alert %s %s: camera %s, score %.2f x threshold, seq %d",
        alert.alert_id,
        alert.phase,
        alert.camera,
        alert.score / alert.threshold,
        alert.seq,
    )
