"""The scoring worker: frames of all cameras in, committed alerts out. One process, one thread that matters.

It takes at most one frame of each camera, lets those cameras send their next one, has the engine score them (side by
side, or all in one forward pass), and hands each result to its camera, in the order in which they were taken. What
cannot be committed (a full disk) waits in order and is tried again; meanwhile the worker says that it is DEGRADED.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from stream.alerting import CameraAlerts, ClipRecorder
from stream.assigned import AssignedWatch
from stream.camera import Now, WatchedCamera, now
from stream.camera_settings import CameraSettings
from stream.camera_view import CameraView
from stream.commits import CommitQueue
from stream.drift import DriftCollector
from stream.engine import NotScored, Pending, Scored, ScoringEngine, ToScore
from stream.health import write_status
from stream.kept_frame import KeptFrame
from stream.latency import StageTimes
from stream.link import Ended, Joined, LinkEvent, LinkServer, Reported, Spoiled
from stream.live_views import LiveViews
from stream.messages import Alert, CameraState, FramePacket, Mode, StateEvent
from stream.operator_settings import SettingsWatch
from stream.outbox import Outbox
from stream.scene_choice import Switch
from stream.score_maps import ScoreMaps
from stream.scorelog import ScoreLog
from stream.worker_settings import WorkerSettings

log = logging.getLogger(__name__)

STATUS_INTERVAL = 1.0
"""Seconds between two status files."""

LAST_TRIES = 6
"""How often a stopping worker tries to commit what could not be committed, 0.2 s apart: a drain gives it 2.5 s."""

NOT_HERE = "not scored by this worker any more"
"""How a camera ends in the outbox of a worker of a cluster: the control says who scores it now."""

_AHEAD = 2
"""Frames taken for each core that scores, so that none waits for the next one to be handed to it."""

_TICK = 0.2  # s, at most this late to notice a stop


class Worker:
    """Ties link, engine, cameras and outbox together.

    Args:
        settings: see there.
        link: bound.
        engine: with its galleries open.
        outbox: where alerts are committed.
        scores: log of every score.
        stopping: polled; True asks for a clean end. May call :meth:`reconfigure`.
        clips: camera id -> what makes its clips, or None where there are to be none.
        clip_counts: clips made, failed and so on, for the status.
        operator: what operators have set; asked once a second. None: nobody can set anything.
        assigned: which cameras are this worker's, in a cluster; whoever polls ``stopping`` asks it. None: all.
        drift: collects frames that may show how scenes slowly change; None: nothing does.
        live: shows every frame to whoever looks; None: there is nothing to look with.
        clock: what time it is.
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
        clips: Callable[[str], ClipRecorder | None] = lambda camera: None,
        clip_counts: Callable[[], Mapping[str, int]] = dict,
        operator: SettingsWatch | None = None,
        assigned: AssignedWatch | None = None,
        drift: DriftCollector | None = None,
        live: LiveViews | None = None,
        clock: Callable[[], Now] = now,
    ) -> None:
        self._settings, self._link, self._engine = settings, link, engine
        self._outbox, self._scores, self._stopping = outbox, scores, stopping
        self._clips, self._clip_counts, self._live, self._clock = clips, clip_counts, live, clock
        self._maps = ScoreMaps(settings.maps)
        self._commits = CommitQueue(outbox, clock=lambda: clock().mono)
        self._operator, self._assigned, self._drift = operator, assigned, drift
        if operator is not None:
            operator()  # before the first frame
        self._cameras = {camera: self._new_camera(camera) for camera in settings.cameras}
        self._waiting: dict[str, FramePacket] = {}  # at most one frame per camera, the longest waiting first
        # By camera: what is being scored, and for the how manyth of its readers; taken first comes first.
        self._running: dict[str, tuple[FramePacket, Pending, int]] = {}
        self._ended: dict[str, Ended] = {}
        self._to_grant: list[str] = []  # cameras whose frame is done
        self._stages = StageTimes()
        self._opener = ThreadPoolExecutor(1, "open-galleries")  # beside the scoring
        self._started, self._status_due, self._problem = clock().unix, 0.0, ""

    def run(self) -> None:
        """Works until told to stop; then scores what is here, ends open alerts and commits them."""
        for alert, evidence in self._outbox.closing_messages():
            log.warning("the worker before this one was killed while an alert was open")
            _log_alerts(filter(None, [self._commits.commit(alert, evidence)]))
        self._end_former()
        state, reason = "FAILED", "it broke off; its message is in the log"
        try:
            while not self._stopping():
                self._round(_TICK)
            self._round(0.0)
            self._collect(len(self._running))
            for camera in self._cameras.values():
                _log_alerts(camera.finish())
            self._commit_the_rest()
            self._confirm()
            state, reason = "STOPPED", "stopped"
        finally:
            self._write_status(state, reason)
            self._scores.close()
            self._opener.shutdown(wait=False, cancel_futures=True)

    # -- one round ----------------------------------------------------------------------------------------------------

    def _round(self, wait: float) -> None:
        for event in self._link.poll(0.0 if self._has_work() else wait):
            self._handle(event)
        for camera in self._link.silent():
            _log_alerts(self._cameras[camera].lose())
        self._begin()
        # Side by side: those that are ready are handed on while the next ones are computed.
        self._collect(1 if self._engine.at_once > 1 else len(self._running))
        mono = self._clock().mono
        _log_alerts(self._commits.retry(mono))
        self._confirm()
        if mono >= self._status_due:
            self._status_due = mono + STATUS_INTERVAL
            self._heed_operators()
            self._write_status("RUNNING", "")

    def _has_work(self) -> bool:
        return bool(self._running) or not all(map(self._held_back, self._waiting))

    def _handle(self, event: LinkEvent) -> None:
        match event:
            case FramePacket():
                if event.camera in self._waiting:  # more than its credit: only a broken reader does that
                    self._cameras[event.camera].count_drop("worker.replaced")
                self._waiting[event.camera] = event
                captured = event.captured_mono if self._settings.shared_clock else None
                self._stages.arrive(event.camera, self._clock().mono, captured=captured)
            case Joined():
                self._join(event)
            case Reported():
                _log_alerts(self._cameras[event.event.camera].hear(event.event))
            case Spoiled():
                log.warning("camera %s: a frame is lost: %s", event.camera, event.reason)
                self._cameras[event.camera].count_drop("link.damaged")
            case Ended():
                self._ended[event.camera] = event

    def _join(self, joined: Joined) -> None:
        """A reader begins anew: nothing that an earlier one has said is its word."""
        camera = self._cameras[joined.camera]
        self._ended.pop(joined.camera, None)
        if self._waiting.pop(joined.camera, None) is not None and joined.mode is Mode.LIVE:
            camera.count_drop("worker.replaced")  # of a recording it comes again
        camera.join(joined.mode)

    def _begin(self) -> None:
        """Takes frames that wait into scoring, one of each camera at a time."""
        at_once = self._engine.at_once
        room = _AHEAD * at_once if at_once > 1 else self._settings.max_batch
        ready = [camera for camera in self._waiting if camera not in self._running and not self._held_back(camera)]
        batch = [self._waiting.pop(camera) for camera in ready[: max(0, room - len(self._running))]]
        for packet in batch:
            self._stages.begin(packet.camera, self._clock().mono)
            if self._works_ahead(packet.camera):
                self._link.grant(packet.camera)
        if batch:
            self._score(batch)

    def _works_ahead(self, camera: str) -> bool:
        """A recording's next frame comes while this one is scored. A live camera's would only be older when its turn
        comes, and one more would be lost with a worker that dies.
        """
        return self._cameras[camera].mode is Mode.REPLAY

    def _held_back(self, camera: str) -> bool:
        """A recording waits while nothing can be committed; of a camera the newest frames go on being scored."""
        return self._cameras[camera].mode is Mode.REPLAY and self._commits.pending > 0

    def _score(self, batch: list[FramePacket]) -> None:
        usable = []
        for packet in batch:
            camera, misshapen = self._cameras[packet.camera], self._misshapen(packet)
            problem = misshapen or self._unusable(packet)
            # One that does not show the scene in force may show another of the camera's scenes, and is compared.
            if misshapen or (problem and not camera.view.due(packet.frame_time)):
                self._record(packet, NotScored(problem), camera.joins)
            else:
                usable.append(packet)
        begun = self._engine.begin([self._to_score(packet) for packet in usable]) if usable else []
        for packet, pending in zip(usable, begun, strict=True):
            self._running[packet.camera] = packet, pending, self._cameras[packet.camera].joins

    def _misshapen(self, packet: FramePacket) -> str:
        """Why a frame cannot even be looked at; empty = it can."""
        side = self._settings.size
        if packet.image.shape == (side, side, 3):
            return ""
        return (
            f"scoring image is {packet.image.shape}, this worker needs ({side}, {side}, 3): "
            "same 'method.size' and 'method.crop'?"
        )

    def _unusable(self, packet: FramePacket) -> str:
        """Why a frame must not be scored by the scene that is in force for it; empty = it may be."""
        camera = self._cameras[packet.camera]
        if (switch := camera.view.at(packet.frame_time)) is not None:
            self._enter(packet, switch)
        return camera.look(lambda scene: self._engine.place(scene, packet.image))

    def _enter(self, packet: FramePacket, switch: Switch) -> None:
        """Another scene of the camera is in force, from this frame on."""
        placement = self._engine.place(switch.before, packet.image)
        same_view = placement is None or placement.in_place is not False
        _log_alerts(self._cameras[packet.camera].enter(switch, same_view=same_view))

    def _to_score(self, packet: FramePacket) -> ToScore:
        camera = self._cameras[packet.camera]
        return ToScore(
            packet.camera,
            camera.scene,
            packet.frame_time,
            packet.segment,
            packet.image,
            packet.motion,
            camera.settings.threshold_factor,
            camera.view.scenes if camera.view.due(packet.frame_time) else (),
        )

    def _chosen(self, packet: FramePacket, result: Scored | NotScored) -> Scored | NotScored:
        """The result by the scene that the picture shows: where that is another one than before, it is scored anew."""
        view = self._cameras[packet.camera].view
        if not view.due(packet.frame_time):
            return result
        if (switch := view.see(packet.frame_time, result.fits)) is not None:
            self._enter(packet, switch)
            return self._engine.score([self._to_score(packet)])[0]
        return NotScored(view.refusal) if view.refusal else result

    def _collect(self, count: int) -> None:
        """Waits for the ``count`` frames that were taken first."""
        for camera in list(self._running)[:count]:
            packet, pending, joins = self._running[camera]
            result = pending()
            self._stages.scored(camera, self._clock().mono)
            del self._running[camera]
            self._record(packet, self._chosen(packet, result), joins)
        self._grant()

    def _grant(self) -> None:
        """Lets live cameras whose frame is done send their next one."""
        self._scores.flush()  # first: a frame whose reader was told that it is done must be in the log
        for camera in self._to_grant:
            self._link.grant(camera)
        self._to_grant.clear()

    def _record(self, packet: FramePacket, result: Scored | NotScored, joins: int) -> None:
        camera, as_scored = self._cameras[packet.camera], result
        if isinstance(result, Scored):
            self._maps.keep(packet.camera, packet.seq, result.score.pixel_scores)  # as it was scored, without zones
            result = camera.settings.in_force(packet, result)
        began = self._clock().mono
        row, committed = camera.record(packet, result, age_known=self._settings.shared_clock)
        if committed:
            self._stages.committed(self._clock().mono - began, row.age)
        _log_alerts(committed)
        self._scores.add(packet.camera, row)
        if self._drift is not None:
            self._drift.see(camera.seen(packet, as_scored), partial(_kept, packet, camera.scene))
        if self._live is not None:
            self._live.show(packet, camera.scene, row, result)
        if joins != camera.joins:  # of a reader that is gone: the next one must not take it for its own
            return
        camera.unconfirmed = packet.seq
        self._confirm_frame(packet.camera)
        if not self._works_ahead(packet.camera):
            self._to_grant.append(packet.camera)

    # -- what readers are told ----------------------------------------------------------------------------------------

    def _confirm_frame(self, name: str) -> None:
        """Lets a reader forget the frames whose alerts are committed."""
        camera = self._cameras[name]
        if camera.unconfirmed is not None and not self._commits.pending_of(name):
            self._link.mark_scored(name, camera.unconfirmed)
            camera.unconfirmed = None

    def _confirm(self) -> None:
        for camera in self._cameras:
            self._confirm_frame(camera)
        for camera in sorted(self._ended.keys() - self._waiting.keys() - self._running.keys()):
            if not self._commits.pending_of(camera):
                self._end(camera, self._ended.pop(camera))

    def _end(self, camera: str, ended: Ended) -> None:
        _log_alerts(self._cameras[camera].end(ended))
        if self._commits.pending_of(camera):  # its last message could not be committed: confirmed later
            self._ended[camera] = ended
            return
        self._write_status("RUNNING", "")
        self._link.finish(camera)

    def _commit_the_rest(self) -> None:
        for _ in range(LAST_TRIES):
            if not self._commits.pending:
                return
            time.sleep(_TICK)
            _log_alerts(self._commits.retry(self._clock().mono))
        _log_alerts(self._commits.close())

    # -- cameras that come and go -------------------------------------------------------------------------------------

    def _new_camera(self, camera: str) -> WatchedCamera:
        settings = self._settings
        scene, after = settings.cameras[camera], settings.moved_after.get(camera)
        made = WatchedCamera(
            camera,
            alerts=CameraAlerts(
                camera,
                settings.policy,
                commit=self._commits.commit,
                clips=self._clips(camera),
            ),
            settings=CameraSettings(camera, fixed=settings.zones.get(camera, ()), policy=settings.policy),
            view=CameraView(camera, scene, plan=settings.plans.get(camera), moved_after=after),
            tell=self._commits.record_event,
            clock=self._clock,
        )
        if self._operator is not None:
            made.obey(self._operator.current.of(camera))
        return made

    def _heed_operators(self) -> None:
        """Hands on what operators have set since it was last asked."""
        if self._operator is None or (fresh := self._operator()) is None:
            return
        for name, camera in self._cameras.items():
            _log_alerts(camera.obey(fresh.of(name)))

    def reconfigure(self, fresh: WorkerSettings) -> None:
        """Takes new settings between two rounds. A camera whose own settings stay goes on as if nothing had happened;
        others lose at most the frame that is on its way. Galleries of new scenes, and new versions of old ones, are
        opened beside the scoring: they take from a tenth of a second to some seconds.
        """
        before, self._settings = self._settings, fresh
        changed = [name for name in self._cameras if before.of(name) != fresh.of(name)]
        dropped = {name: self._drop(name) for name in changed}
        for name, camera in self._cameras.items():
            camera.settings.set_fixed(fresh.zones.get(name, ()))
        self._link.admit(fresh.cameras)
        for name in fresh.cameras.keys() - self._cameras.keys():
            self._cameras[name] = camera = self._new_camera(name)
            if name in dropped:
                camera.follow(dropped[name])
        self._opener.submit(self._open_galleries, dict(fresh.galleries))
        log.info("new configuration: %d camera(s)", len(fresh.cameras))

    def _open_galleries(self, galleries: Mapping[str, Path]) -> None:
        try:
            self._engine.change_scenes(galleries)
        except Exception:  # a bug there must show; the scenes that are open go on
            log.exception("galleries could not be opened")
        self._status_due = 0.0  # whoever waits for them is told at once

    def _end_former(self) -> None:
        """In a cluster: what this outbox says last of a camera must not be that it is live, while another worker scores
        it, or nobody."""
        for told in self._outbox.camera_states() if self._assigned is not None else ():
            if told.state is not CameraState.ENDED and told.camera not in self._cameras:
                self._commits.record_event(StateEvent(told.camera, CameraState.ENDED, NOT_HERE, self._clock().unix))

    def _drop(self, name: str) -> WatchedCamera:
        """Lets go of a camera, and returns it: what is being scored of it is scored, its open alert ends."""
        if name in self._running:
            self._collect(list(self._running).index(name) + 1)
        if self._waiting.pop(name, None) is not None:
            self._cameras[name].count_drop("worker.removed")
        camera = self._cameras.pop(name)
        why = "removed from the configuration" if self._assigned is None else NOT_HERE
        _log_alerts(camera.finish() if name in self._settings.cameras else camera.leave(why))
        self._ended.pop(name, None)
        self._link.dismiss(name)
        self._engine.forget(name)
        if self._drift is not None:
            self._drift.forget(name)
        return camera

    # -- how it stands ------------------------------------------------------------------------------------------------

    def _problems(self) -> Iterable[str]:
        """What keeps this worker from doing all of its work."""
        if self._commits.problem:
            yield f"{self._commits.pending} alert messages wait: {self._commits.problem}"
        if self._scores.problem:
            yield f"scores are not logged: {self._scores.problem}"
        if self._engine.degraded:
            yield self._engine.degraded
        if self._operator is not None and self._operator.problem:
            yield self._operator.problem
        if self._assigned is not None and self._assigned.problem:
            yield self._assigned.problem

    def _ready(self, name: str) -> bool:
        """Whether the next frame of a camera would be scored: the galleries of its scenes are open."""
        scenes, engine = self._cameras[name].view.scenes, self._engine
        open_ones = [scene for scene in scenes if scene in engine.scenes and scene not in engine.failures]
        # A camera that has several scenes is not held up by one that will never be there.
        return bool(open_ones) and all(scene in open_ones or scene in engine.failures for scene in scenes)

    def _write_status(self, state: str, reason: str) -> None:
        problem = "; ".join(self._problems())
        if state == "RUNNING" and problem:
            state, reason = "DEGRADED", problem
        if problem != self._problem:
            self._problem = problem
            log.log(logging.ERROR if problem else logging.INFO, "%s", problem or "all is well again")
        worker: dict[str, Any] = {
            "state": state,
            "reason": reason,
            "pid": os.getpid(),
            "started": self._started,
            "ready_after": self._settings.ready_after,
            "malformed_messages": self._link.malformed,
            "forbidden_messages": self._link.forbidden,
            "link": self._link.guarded(),
            "pending_messages": self._commits.pending,
            "lost_messages": dict(self._commits.lost),
            "lost_score_rows": self._scores.rows_lost,
            "clips": dict(self._clip_counts()),
            "latency": self._stages.to_json(),
            "live_problem": self._live.problem if self._live is not None else "",
            "drift_problem": self._drift.problem if self._drift is not None else "",
            "operator_revision": self._operator.current.revision if self._operator is not None else 0,
            "operator_problem": self._operator.problem if self._operator is not None else "",
            "scene_failures": {scene: str(error) for scene, error in dict(self._engine.failures).items()},
        }
        if self._assigned is not None:
            ready = [name for name in self._cameras if self._ready(name)]
            worker["device"] = self._engine.device
            worker["damaged_scenes"] = self._engine.damaged
            worker["assigned"] = {"generation": self._assigned.current.generation, "ready": ready}
        cameras = {name: camera.status() for name, camera in self._cameras.items()}
        write_status(self._settings.status, {"written": self._clock().unix, "worker": worker, "cameras": cameras})


def _kept(packet: FramePacket, scene: str) -> KeptFrame:
    return KeptFrame(packet.camera, scene, packet.seq, packet.frame_time, packet.image.copy(), packet.motion)


def _log_alerts(alerts: Iterable[Alert]) -> None:
    for alert in alerts:
        _log_alert(alert)


def _log_alert(alert: Alert) -> None:
    log.info(
        "alert %s %s: camera %s, score %.2f x threshold, seq %d",
        alert.alert_id,
        alert.phase,
        alert.camera,
        alert.score / alert.threshold,
        alert.seq,
    )
