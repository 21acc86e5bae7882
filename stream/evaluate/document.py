"""``metrics.json`` and ``curves.json``: the figures of a run under stable names (``docs/evaluation.md``)."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from stream import __version__
from stream.evaluate.figures import (
    CAUSAL_SECONDS,
    FrameFigures,
    alert_figures,
    frame_figures,
    mean_over,
    per_clip,
    per_scene,
)
from stream.evaluate.maps import Curve, MapFigures
from stream.evaluate.plan import Plan
from stream.evaluate.scored import ScoredScene, frames_digest
from stream.messages import iso_time

SCHEMA = "spade-stream/metrics/1"
"""Name and version of ``metrics.json``. The number grows when a key changes its meaning or disappears."""

_LIBRARIES = ("torch", "numpy", "opencv-python-headless", "faiss-cpu", "faiss-gpu", "openvino", "av", "anomalib")


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What is known of a run besides its scores."""

    frames_per_second: float | None
    problems: tuple[str, ...]
    started_at: float  # Unix seconds
    seconds: float  # of the whole evaluation


def metrics_of(plan: Plan, scenes: Sequence[ScoredScene], maps: MapFigures, facts: RunFacts) -> dict[str, Any]:
    """What ``metrics.json`` holds. Fractions are 0..1; None where the figure does not exist."""
    by_scene, late = plan.dataset.kind == "images", plan.config.alerts.min_duration
    frames = frame_figures(scenes, plan.which, by_scene=by_scene)
    alerting = [clip for scene in scenes if scene.threshold is not None for clip in scene.clips]
    alerts = alert_figures(alerting, late=late)
    scene_rows = per_scene(scenes, maps, plan.which, by_scene=by_scene, late=late)
    return {
        "schema": SCHEMA,
        "dataset": plan.dataset.name,
        "method": plan.options.method or plan.config.method.name,
        "backbone": plan.config.backbone.name,
        "frames": sum(len(clip.indices) for scene in scenes for clip in scene.clips),
        "frame_score": "map" if plan.which == "peaks" else "image",
        "frame_auc_micro": frames.micro,
        "frame_auc_micro_causal": frames.micro_causal,
        "frame_auc_macro": frames.macro,
        "frame_auc_macro_causal": frames.macro_causal,
        "frame_auc_micro_map": frame_figures(scenes, "peaks", by_scene=by_scene).micro,
        "frame_auc_micro_image": frame_figures(scenes, "image_scores", by_scene=by_scene).micro,
        # The field takes each category of images for a test set of its own.
        "pixel_auc": mean_over(scene_rows, "pixel_auc") if by_scene else maps.total.auc,
        "pro": mean_over(scene_rows, "pro") if by_scene else maps.total.pro,
        "rbdc": maps.rbdc,
        "tbdc": maps.tbdc,
        "scene_mean": {name: mean_over(scene_rows, name) for name in ("frame_auc_micro", "pixel_auc", "pro")},
        "events": None if alerts is None else alerts.events,
        "event_recall": None if alerts is None else alerts.recall,
        "alerts": None if alerts is None else alerts.alerts,
        "false_alerts": None if alerts is None else alerts.false_alerts,
        "false_alerts_per_hour": None if alerts is None else alerts.false_alerts_per_hour,
        "median_delay": None if alerts is None else alerts.median_delay,
        "false_alarms_per_day_asked": plan.config.gallery.false_alarms_per_day if alerting else None,
        "frames_per_second": facts.frames_per_second,
        "gallery_frames": sum(scene.gallery_frames for scene in scenes),
        "per_scene": scene_rows,
        "per_clip": per_clip(scenes, plan.which, late=late),
        "incomplete": list(facts.problems),
        "settings": _settings(plan, scenes),
        "versions": _versions(),
        "started_at": iso_time(facts.started_at),
        "seconds": facts.seconds,
    }


def curves_of(plan: Plan, scenes: Sequence[ScoredScene], maps: MapFigures) -> dict[str, Any]:
    """What ``curves.json`` holds: of each curve x and y, or None where it does not exist."""
    frames: FrameFigures = frame_figures(scenes, plan.which, by_scene=plan.dataset.kind == "images")
    regions = maps.regions
    return {
        "frame_roc": _points(frames.roc),
        "frame_roc_causal": _points(frames.roc_causal),
        "pixel_roc": _points(maps.total.roc),
        "pro": _points(maps.total.pro_curve),
        "rbdc": _points(regions.region_line if regions else None),
        "tbdc": _points(regions.track_line if regions else None),
    }


def _settings(plan: Plan, scenes: Sequence[ScoredScene]) -> dict[str, Any]:
    from stream.engine import runtime_of  # loads torch

    config, options = plan.config, plan.options
    return {
        "runtime": runtime_of(config),
        "every": options.every,
        "scenes": [scene.name for scene in scenes],
        "capacity": options.capacity,
        "causal_seconds": CAUSAL_SECONDS,
        "frames_digest": frames_digest(scenes),
        "method": config.method.model_dump(mode="json") if not options.is_peer else dict(plan.preprocess.describe()),
        "holdout": config.gallery.holdout,
        "alerts": asdict(config.alerts.settings()),
        "labels_known": plan.dataset.labels_known,
        "has_masks": plan.dataset.has_masks,
        "kind": plan.dataset.kind,
    }


def _versions() -> Mapping[str, str]:
    found = {"spade-stream": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _points(curve: Curve | None) -> dict[str, list[float]] | None:
    if curve is None:
        return None
    x, y = (np.round(values, 6).tolist() for values in curve)
    return {"x": x, "y": y}
