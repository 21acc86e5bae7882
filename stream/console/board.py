"""What every camera is doing, for the browsers: the worker's status, the configuration and what operators set, in one
place. A thread asks once a second and tells the hub what has changed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stream.config import Config
from stream.config_sections import CameraSection
from stream.console.cluster_blind import Places
from stream.console.cluster_file import ClusterFile
from stream.console.cluster_view import cluster_view, troubles
from stream.console.events import Hub
from stream.console.galleries import Galleries
from stream.health import read_status
from stream.messages import CameraState, StateEvent, iso_time
from stream.operator_settings import CameraOperator, OperatorSettings, SettingsWatch
from stream.sinks.facts import read_facts
from stream.station import read_processes

LOOK_EVERY = 1.0
"""Seconds between two looks: as often as the worker writes its status."""

_SCORING = ("RUNNING", "DEGRADED")  # states of a worker that scores

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Look:
    """How things stood at one moment."""

    status: Mapping[str, Any]  # as ``read_status`` gives it
    processes: Mapping[str, Any]  # as ``read_processes`` gives it
    cameras: Mapping[str, Mapping[str, Any]]  # by id, as the API shows them
    revision: int  # of the operators' settings
    settings_problem: str  # why their file is not in force; "" = it is


class Board:
    """Knows how things stand. Any thread may ask.

    Args:
        config: in force.
        galleries: of its scenes.
        hub: is told of changes.
        clock: Unix seconds.
    """

    def __init__(
        self, config: Config, *, galleries: Galleries, hub: Hub, clock: Callable[[], float] = time.time
    ) -> None:
        self._config, self._galleries, self._hub, self._clock = config, galleries, hub, clock
        self._watch = SettingsWatch(config.operator_settings)
        self._cluster = ClusterFile(config.cluster_document)
        self._lock = threading.Lock()
        self._told: dict[str, tuple[Any, ...]] = {}
        self._told_revision: int | None = None
        self._feed: dict[str, Any] = {"connected": False}
        self._look = self._fresh()

    @property
    def look(self) -> Look:
        """How things stood at the last look."""
        return self._look

    @property
    def settings(self) -> OperatorSettings:
        """What operators have set, as of the last look."""
        return self._watch.current

    def refresh(self) -> Look:
        """Looks again, and tells the hub what changed."""
        with self._lock:
            self._look = look = self._fresh()
            for camera, shown in look.cameras.items():
                if self._told.get(camera) != (mark := _mark(shown)):
                    self._told[camera] = mark
                    self._hub.publish("camera", shown)
            if look.revision != self._told_revision:
                self._told_revision = look.revision
                self._hub.publish("settings", {"revision": look.revision})
            return look

    def hear(self, event: StateEvent) -> None:
        """A camera's change of state that came over the feed: the status will say so, too, within a second."""
        shown = self._look.cameras.get(event.camera)
        if shown is not None and shown["state"] != str(event.state):
            self.refresh()

    def hear_feed(self, *, connected: bool, last_seq: int) -> None:
        """Whether alerts come."""
        before = self._feed.get("connected")
        self._feed = {"connected": connected, "last_seq": last_seq}
        if before != connected:
            self._hub.publish("feed", {"connected": connected})

    @property
    def feed_answers(self) -> bool:
        """Whether alerts come as they happen."""
        return bool(self._feed["connected"])

    def status(self) -> dict[str, Any]:
        """The whole machine, for the API."""
        look = self._look
        return {
            "worker": {"operator_problem": look.settings_problem or None, **look.status["worker"]},
            "supervisor": look.processes.get("supervisor", {}),
            "processes": look.processes.get("processes", {}),
            "config": look.processes.get("config", {}),
            "feed": self._feed,
            "sinks": self.sinks(),
            "cluster": self._cluster_in_brief(),
        }

    def cluster(self) -> Mapping[str, Any] | None:
        """What the control of the cluster says; None where this run has none."""
        return self._document(self._look.processes)

    def _document(self, processes: Mapping[str, Any]) -> Mapping[str, Any] | None:
        return self._cluster.read(processes.get("processes", {}))

    def cluster_page(self) -> dict[str, Any] | None:
        """The same for people; None where this run has no cluster."""
        document = self.cluster()
        return None if document is None else cluster_view(document, self._look.cameras, now=self._clock())

    def _cluster_in_brief(self) -> dict[str, Any] | None:
        document = self.cluster()
        if document is None:
            return None
        return {"name": str(document.get("name", "")), "troubles": troubles(document, now=self._clock())}

    def sinks(self) -> dict[str, dict[str, Any]]:
        """What every sink says of itself."""
        return read_facts(self._config.sink_folder, [sink.name for sink in self._config.sinks])

    def run(self, stop: threading.Event) -> None:
        """Looks again and again."""
        while not stop.wait(LOOK_EVERY):
            try:
                self.refresh()
            except Exception:  # one bad look must not end all later ones
                _log.exception("how the cameras are doing cannot be told")

    def _fresh(self) -> Look:
        now = self._clock()
        status, processes = read_status(self._config.status, now=now), read_processes(self._config.processes, now=now)
        self._watch()
        settings, document = self._watch.current, self._document(processes)
        places = None if document is None else Places(document)
        cameras = {
            camera.id: {
                **self._camera(camera, status, settings.of(camera.id), now),
                "node": None if places is None else places.scored_on(camera.id),  # None: this machine
            }
            for camera in self._config.cameras
        }
        return Look(status, processes, cameras, settings.revision, self._watch.problem)

    def _camera(
        self, camera: CameraSection, status: Mapping[str, Any], operator: CameraOperator, now: float
    ) -> dict[str, Any]:
        said = status.get("cameras", {}).get(camera.id, {})
        worker = status["worker"]
        state = said.get("state", str(CameraState.NO_READER))
        reason = said.get("reason", "the worker knows nothing of it yet")
        if worker["state"] not in _SCORING and state != CameraState.ENDED:
            # What the worker said last is not how things are: nobody watches that place.
            state, reason = str(CameraState.NOT_SCORED), _worker_in_words(worker)
        score, threshold = said.get("last_score"), said.get("threshold")
        snoozed = operator.snoozed_until if (operator.snoozed_until or 0.0) > now else None
        scene = str(said.get("scene", camera.scene_name))
        gallery, problem = self._galleries.in_force(scene)
        failures = worker.get("scene_failures", {})
        return {
            "id": camera.id,
            "scene": scene,
            "scenes": list(camera.scene_names),
            "state": state,
            "reason": reason,
            "since": said.get("since"),
            "watched": state == CameraState.LIVE,
            "mode": camera.mode,
            "score": score,
            "threshold": threshold,
            "calibrated_threshold": said.get("calibrated_threshold"),
            "strength": score / threshold if score is not None and threshold else None,
            "threshold_factor": operator.threshold_factor,
            "alert": said.get("alert"),
            "snoozed_until": None if snoozed is None else iso_time(snoozed),
            "snooze_reason": operator.snooze_reason if snoozed is not None else "",
            "zones": [zone.to_json() for zone in operator.zones],
            "fixed_zones": [zone.to_json() for zone in camera.zones],
            "scored": said.get("scored", 0),
            "not_scored": said.get("not_scored", 0),
            "dropped": _lost(said.get("drops", {})),
            "age_p50": said.get("age_p50"),
            "age_p95": said.get("age_p95"),
            "last_frame_time": said.get("last_frame_time"),
            "gallery": gallery,
            "gallery_problem": failures.get(scene) or problem,
        }


def _lost(drops: Mapping[str, int]) -> int:
    """Frames that were lost; those between two samples are passed over on purpose."""
    return sum(count for reason, count in drops.items() if reason != "reader.sampled_out")


def _worker_in_words(worker: Mapping[str, Any]) -> str:
    said = str(worker.get("reason") or "")
    return f"the worker is {worker['state']}{': ' if said else ''}{said}"


def _mark(shown: Mapping[str, Any]) -> tuple[Any, ...]:
    """What of a camera is worth an event; scores and counts are not."""
    names = ("state", "reason", "scene", "alert", "threshold", "threshold_factor", "snoozed_until", "gallery_problem")
    return (*(shown[name] for name in (*names, "node")), repr(shown["zones"]), repr(shown["gallery"]))
