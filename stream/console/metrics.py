"""How the whole run stands, as Prometheus metrics: made of what worker, supervisor and outbox say, when somebody asks.

Nothing is counted here, so nothing is lost or counted twice when this process is restarted; a camera that is gone from
the status is gone from the metrics. What is not known is left out: it is never 0. Pure; used by ``observability``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from stream import __version__
from stream.console.metrics_cluster import tell_cluster
from stream.messages import CameraState, unix_time

SCORING = ("RUNNING", "DEGRADED")
"""States of the worker in which it scores."""

WORKER_STATES = (*SCORING, "STOPPED", "FAILED", "NOT_ANSWERING", "NOT_RUNNING")
"""All of them."""

UNKNOWN = "UNKNOWN"
"""State of a camera whose worker does not say how it is now."""

WATCHED = (CameraState.LIVE, CameraState.ENDED)
"""States that are no reason to look after a camera: it is watched, or its recording is at its end."""


LOST = ("start", "update", "end", "pictures", "frames", "event")
"""What a worker counts as lost: ``commits.CommitQueue``."""

CLIPS = ("made", "failed", "views_dropped", "views_broken")
"""What a worker counts of clips: ``clips.Clips.counts``."""

DROPS = (
    *(f"reader.{reason}" for reason in ("sampled_out", "duplicate", "frozen", "obscured", "overwritten", "stopped")),
    *("link.lost", "link.damaged", "worker.replaced", "worker.removed"),
)
"""Why a frame may not be scored, by ``stage.reason``."""


@dataclass(frozen=True, slots=True)
class Described:
    """What one metric is."""

    kind: type[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]
    text: str
    labels: tuple[str, ...] = ()


_C, _G, _H = CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
_CAMERA = ("camera",)

METRICS: Mapping[str, Described] = {
    "spade_build_info": Described(_G, "Always 1; the label tells which version answers.", ("version",)),
    "spade_worker_up": Described(_G, "1 while the worker scores, also where it is degraded."),
    "spade_worker_state": Described(_G, "1 for the state that the worker is in, 0 for all others.", ("state",)),
    "spade_worker_start_time_seconds": Described(_G, "Unix time at which the worker began."),
    "spade_worker_waiting_messages": Described(_G, "Alert messages that cannot be committed now and wait in memory."),
    "spade_worker_lost_messages_total": Described(_C, "What the worker had to give up, by kind.", ("kind",)),
    "spade_worker_lost_score_rows_total": Described(_C, "Rows of the score log that could not be written."),
    "spade_link_refused_messages_total": Described(_C, "Messages of readers that were not taken.", ("reason",)),
    "spade_scene_failed": Described(_G, "1 for each scene that cannot be scored.", ("scene",)),
    "spade_clips_total": Described(_C, "Clips of alerts made or failed, and views that they lack.", ("result",)),
    "spade_stage_seconds": Described(_H, "Time that a frame spends in a stage of the worker.", ("stage",)),
    "spade_camera_state": Described(_G, "1 for the state that a camera is in, 0 for all others.", ("camera", "state")),
    "spade_camera_watched": Described(_G, "0 for a camera that nobody watches now, whatever the reason.", _CAMERA),
    "spade_camera_alert_open": Described(_G, "1 while an alert of the camera is open.", _CAMERA),
    "spade_camera_snoozed": Described(_G, "1 while an operator holds back the camera's alerts.", _CAMERA),
    "spade_camera_held_by_snooze_total": Described(_C, "Alerts that a snooze has held back.", _CAMERA),
    "spade_camera_threshold_factor": Described(_G, "What an operator multiplied the threshold by.", _CAMERA),
    "spade_camera_score_strength": Described(_G, "Score of the last frame in thresholds, where it has one.", _CAMERA),
    "spade_camera_last_frame_timestamp_seconds": Described(_G, "Unix time of the last frame that came.", _CAMERA),
    "spade_frames_captured_total": Described(_C, "Native frames, up to the last that reached the worker.", _CAMERA),
    "spade_frames_scored_total": Described(_C, "Frames that got a score.", _CAMERA),
    "spade_frames_not_scored_total": Described(_C, "Frames that reached the worker and got no score.", _CAMERA),
    "spade_frames_dropped_total": Described(
        _C, "Frames that were passed over or lost, by where and why.", ("camera", "stage", "reason")
    ),
    "spade_frame_age_seconds": Described(
        _H, "Time from a frame's capture until its result, and what it led to, is stored.", _CAMERA
    ),
    "spade_score_strength": Described(_H, "Scores of frames in thresholds.", _CAMERA),
    "spade_supervisor_up": Described(_G, "1 while a supervisor keeps the processes going and says so."),
    "spade_process_up": Described(_G, "1 while a process runs or was done.", ("process",)),
    "spade_process_restarts_total": Described(_C, "How often a process was started again.", ("process",)),
    "spade_process_hangs_total": Described(_C, "How often a process was killed because it hung.", ("process",)),
    "spade_config_last_reload_successful": Described(_G, "0 while a new configuration was refused."),
    "spade_sink_failing": Described(_G, "1 while a sink takes nothing.", ("sink",)),
    "spade_sink_delivered_total": Described(_C, "Alert messages that a sink has taken.", ("sink",)),
    "spade_sink_rejected_total": Described(_C, "Alert messages that a sink refused for good.", ("sink",)),
    "spade_sink_laid_aside": Described(
        _G, "Alert messages that a sink refused for good and that lie aside.", ("sink",)
    ),
    "spade_outbox_up": Described(_G, "1 while the store of alerts can be read."),
    "spade_outbox_last_seq": Described(_G, "Number of the last alert message ever committed."),
    "spade_outbox_alerts": Described(_G, "Alert messages that are kept."),
    "spade_outbox_bytes": Described(_G, "Bytes of their pictures."),
    "spade_outbox_pending": Described(_G, "Alert messages that a subscriber has not taken yet.", ("subscriber",)),
    "spade_cluster_control_up": Described(_G, "1 while the control of the cluster is heard."),
    "spade_cluster_node_up": Described(_G, "0 for a node that is gone, or does not answer.", ("node",)),
    "spade_cluster_worker_up": Described(_G, "1 while a scoring worker is at work.", ("node", "worker")),
    "spade_cluster_worker_load_ratio": Described(_G, "Part of its time that its cameras take.", ("node", "worker")),
    "spade_cluster_outbox_missing": Described(_G, "1 for alerts on a disk that is away.", ("node", "outbox")),
    "spade_cluster_cameras_waiting": Described(_G, "Cameras that no worker has."),
    "spade_cluster_moves_total": Described(_C, "Cameras that went from one worker to another."),
}
"""Every metric by its full name."""


def metrics_text(status: Mapping[str, Any], outbox: Mapping[str, Any] | None, *, outbox_known: bool = True) -> bytes:
    """All metrics in Prometheus' text format.

    Args:
        status: what worker, supervisor and sinks say (``health.read_status``, ``station.read_processes`` and, under
            ``sinks``, ``sinks.facts.read_facts``); under ``cluster``, where there is one, its ``document`` and whether
            that is ``fresh``.
        outbox: as ``outbox info --json`` tells it; None where it could not be read.
        outbox_known: False where nobody asks for the outbox, so that nothing is said of it.
    """
    families = _Families()
    families.set("spade_build_info", 1, __version__)
    _worker(families, status.get("worker", {}))
    up = status.get("worker", {}).get("state") in SCORING
    for name, camera in status.get("cameras", {}).items():
        _camera(families, name, camera, up=up)
    _processes(families, status)
    _sinks(families, status.get("sinks", {}))
    if (cluster := status.get("cluster")) is not None:
        tell_cluster(families, cluster["document"], fresh=cluster["fresh"])
    if outbox_known:
        _outbox(families, outbox)
    return generate_latest(families)


class _Families(Collector):
    """Collects values under the names of ``METRICS``; those without a value are left out."""

    def __init__(self) -> None:
        self._found: dict[str, Any] = {}

    def set(self, name: str, value: float | None, *labels: str) -> None:
        """Notes a value; None, or what is no number, is not known."""
        if value is not None and not math.isnan(value):
            self._family(name).add_metric(labels, float(value))

    def one_of(self, name: str, states: tuple[str, ...], state: str, *labels: str) -> None:
        """Notes 1 for a state and 0 for all others."""
        for other in dict.fromkeys((*states, state)):
            self.set(name, other == state, *labels, other)

    def histogram(self, name: str, told: Mapping[str, Any] | None, *labels: str) -> None:
        """Notes a histogram as ``latency.Histogram`` tells it."""
        if told is not None:
            bounds = [*map(str, map(float, told["le"])), "+Inf"]
            counts = accumulate(told["counts"])  # Prometheus counts in each bucket what is in those before it, too
            self._family(name).add_metric(labels, list(zip(bounds, counts, strict=True)), told["sum"])

    def collect(self) -> Iterator[Metric]:
        """In the order of ``METRICS``."""
        return (self._found[name] for name in METRICS if name in self._found)

    def _family(self, name: str) -> Any:
        if name not in self._found:
            described = METRICS[name]
            self._found[name] = described.kind(name, described.text, labels=described.labels)
        return self._found[name]


def _worker(families: _Families, worker: Mapping[str, Any]) -> None:
    state = worker.get("state", "NOT_RUNNING")
    families.set("spade_worker_up", state in SCORING)
    families.one_of("spade_worker_state", WORKER_STATES, state)
    families.set("spade_worker_start_time_seconds", worker.get("started"))
    families.set("spade_worker_waiting_messages", worker.get("pending_messages"))
    families.set("spade_worker_lost_score_rows_total", worker.get("lost_score_rows"))
    for kind, count in _with_zeros(worker.get("lost_messages"), LOST).items():
        families.set("spade_worker_lost_messages_total", count, kind)
    for reason in ("malformed", "forbidden"):
        families.set("spade_link_refused_messages_total", worker.get(f"{reason}_messages"), reason)
    for scene in worker.get("scene_failures", {}):
        families.set("spade_scene_failed", 1, scene)
    for result, count in _with_zeros(worker.get("clips"), CLIPS).items():
        families.set("spade_clips_total", count, result)
    for stage, told in worker.get("latency", {}).items():
        families.histogram("spade_stage_seconds", told, stage)


def _with_zeros(told: Mapping[str, int] | None, known: tuple[str, ...]) -> Mapping[str, int]:
    """Counts by name, and 0 for what was not counted yet: an increase shows only where something was told before."""
    return {} if told is None else {**dict.fromkeys(known, 0), **told}


def camera_state(camera: Mapping[str, Any], *, up: bool) -> str:
    """What a camera is doing; what a worker said that does not scores any more says nothing of now."""
    state = str(camera.get("state", UNKNOWN))
    return state if up or state == CameraState.ENDED else UNKNOWN


def _camera(families: _Families, name: str, camera: Mapping[str, Any], *, up: bool) -> None:
    state = camera_state(camera, up=up)
    families.one_of("spade_camera_state", (*CameraState, UNKNOWN), state, name)
    families.set("spade_camera_watched", state in WATCHED, name)
    families.set("spade_camera_alert_open", camera.get("alert") is not None, name)
    families.set("spade_camera_snoozed", camera.get("snoozed_until") is not None, name)
    families.set("spade_camera_held_by_snooze_total", camera.get("held_by_snooze"), name)
    families.set("spade_camera_threshold_factor", camera.get("threshold_factor"), name)
    families.set("spade_camera_score_strength", strength_of(camera), name)
    if (last := camera.get("last_frame_time")) is not None:
        families.set("spade_camera_last_frame_timestamp_seconds", unix_time(last), name)
    _frames(families, name, camera)
    families.histogram("spade_frame_age_seconds", camera.get("age_histogram"), name)
    families.histogram("spade_score_strength", camera.get("strength_histogram"), name)


def strength_of(camera: Mapping[str, Any]) -> float | None:
    """Score of a camera's last frame in thresholds; None where it has none."""
    score, threshold = camera.get("last_score"), camera.get("threshold")
    return None if score is None or not threshold else float(score) / float(threshold)


def _frames(families: _Families, name: str, camera: Mapping[str, Any]) -> None:
    if (last := camera.get("last_seq")) is not None:
        families.set("spade_frames_captured_total", last + 1, name)  # they are numbered from 0
    families.set("spade_frames_scored_total", camera.get("scored"), name)
    families.set("spade_frames_not_scored_total", camera.get("not_scored"), name)
    for drop, count in _with_zeros(camera.get("drops"), DROPS).items():
        stage, _, reason = drop.partition(".")
        families.set("spade_frames_dropped_total", count, name, stage, reason)


def _processes(families: _Families, status: Mapping[str, Any]) -> None:
    families.set("spade_supervisor_up", status.get("supervisor", {}).get("state", "NOT_ANSWERING") != "NOT_ANSWERING")
    for name, process in status.get("processes", {}).items():
        families.set("spade_process_up", process.get("state") not in DOWN, name)
        families.set("spade_process_restarts_total", process.get("restarts"), name)
        families.set("spade_process_hangs_total", process.get("hung"), name)
    if "config" in status:
        families.set("spade_config_last_reload_successful", not status["config"].get("error"))


def _sinks(families: _Families, sinks: Mapping[str, Any]) -> None:
    for name, sink in sinks.items():
        families.set("spade_sink_failing", sink.get("failing_since") is not None, name)
        families.set("spade_sink_delivered_total", sink.get("delivered"), name)
        families.set("spade_sink_rejected_total", sink.get("rejected_total"), name)
        families.set("spade_sink_laid_aside", sink.get("rejected"), name)


def _outbox(families: _Families, outbox: Mapping[str, Any] | None) -> None:
    families.set("spade_outbox_up", outbox is not None)
    if outbox is None:
        return
    families.set("spade_outbox_last_seq", outbox.get("last_seq"))
    families.set("spade_outbox_alerts", outbox.get("alerts"))
    families.set("spade_outbox_bytes", outbox.get("bytes"))
    for subscriber in outbox.get("subscribers", ()):
        families.set("spade_outbox_pending", subscriber["behind"], subscriber["name"])


DOWN = ("starting", "waiting", "hung")
"""States of a process that does not do its work: see ``child.Child.state``."""

Reading = Callable[[], Mapping[str, Any]]
"""Reads how things stand now."""
