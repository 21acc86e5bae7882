"""From scored frames and labels to the figures of ``metrics.json``. Pure: reads nothing but what it is given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from spade_core.metrics import (
    AlertFigures,
    Event,
    causal_average,
    events_from_labels,
    judge_alerts,
    macro_auc,
    roc_auc,
    roc_curve,
)
from spade_core.motion import MEMORY
from stream.evaluate.maps import CURVE_POINTS, Curve, MapFigures
from stream.evaluate.scored import ScoredClip, ScoredScene

CAUSAL_SECONDS = MEMORY
"""Time constant of the causal average. Not set on any test set: it is the one that motion is averaged with, half a
walker's step, whatever the frame rate."""

EVENT_JOIN = 1.0
"""Seconds: labels that pause for less are one event. Annotators let go of somebody behind a post."""

Which = Literal["peaks", "image_scores"]
"""The two scores that a frame has: the highest pixel score, and that of the whole image."""


@dataclass(frozen=True, slots=True)
class FrameFigures:
    """How well frames are told apart by one score; 0..1, None where a class is absent."""

    micro: float | None  # over all frames together, no clip normalised
    micro_causal: float | None
    macro: float | None  # mean over the clips (of images: the scenes) that have both classes
    macro_causal: float | None
    roc: Curve | None
    roc_causal: Curve | None


def frame_figures(scenes: Sequence[ScoredScene], which: Which, *, by_scene: bool) -> FrameFigures:
    """Frame-level figures, raw and causally averaged.

    Args:
        scenes: scored.
        which: of the two scores.
        by_scene: the macro figure is a mean over scenes: where a clip is a folder of images of one kind.
    """
    groups = [[c for c in scene.clips if _counts(c)] for scene in scenes]
    groups = [group for group in groups if group] if by_scene else [[clip] for group in groups for clip in group]
    if not groups:
        return FrameFigures(None, None, None, None, None, None)
    labels = [np.concatenate([_labels(clip) for clip in group]) for group in groups]
    raw = [np.concatenate([_scores(clip, which) for clip in group]) for group in groups]
    # Single images have no past.
    causal = raw if by_scene else [causal_average(s, causal_weight(g[0])) for s, g in zip(raw, groups, strict=True)]
    all_labels, all_raw, all_causal = np.concatenate(labels), np.concatenate(raw), np.concatenate(causal)
    return FrameFigures(
        micro=roc_auc(all_raw, all_labels),
        micro_causal=None if by_scene else roc_auc(all_causal, all_labels),
        macro=macro_auc(list(zip(raw, labels, strict=True))),
        macro_causal=None if by_scene else macro_auc(list(zip(causal, labels, strict=True))),
        roc=roc_curve(all_raw, all_labels, points=CURVE_POINTS),
        roc_causal=None if by_scene else roc_curve(all_causal, all_labels, points=CURVE_POINTS),
    )


def causal_weight(clip: ScoredClip) -> float:
    """Weight of the newest frame in the causal average of a clip: 0.28 where frames are 0.1 s apart."""
    if len(clip.times) < 2:
        return 1.0
    return 1 - math.exp(-float(np.median(np.diff(clip.times))) / CAUSAL_SECONDS)


def events_of(clip: ScoredClip) -> list[Event]:
    """What happens in a clip, by its labels over all native frames; empty where it is not labelled."""
    if clip.truth is None:
        return []
    times = np.arange(len(clip.truth)) / clip.fps
    return [Event(clip.name, start, end) for start, end in events_from_labels(clip.truth, times, join=EVENT_JOIN)]


def alert_figures(clips: Sequence[ScoredClip], *, late: float) -> AlertFigures | None:
    """The alert stream of labelled clips against their events; None where no clip is labelled.

    Args:
        clips: with their alerts.
        late: seconds after an event's end in which an alert still counts as its own: as long as it takes to confirm.
    """
    labelled = [clip for clip in clips if clip.truth is not None]
    if not labelled:
        return None
    events = {clip.name: events_of(clip) for clip in labelled}
    normal = 0.0
    for clip in labelled:
        times = np.arange(len(clip.truth if clip.truth is not None else ())) / clip.fps
        inside = np.zeros(len(times), np.bool_)
        for event in events[clip.name]:
            inside |= (times >= event.start) & (times <= event.end)
        normal += float(np.count_nonzero(~inside)) / clip.fps
    return judge_alerts(
        [event for found in events.values() for event in found],
        [alert for clip in labelled for alert in clip.alerts],
        normal,
        late=late,
    )


def per_clip(scenes: Sequence[ScoredScene], which: Which, *, late: float) -> list[dict[str, Any]]:
    """One row of figures for every clip."""
    rows = []
    for scene in scenes:
        for clip in scene.clips:
            labels, scores = clip.labels, _scores(clip, which)
            alerts = alert_figures([clip], late=late) if scene.threshold is not None else None
            auc = causal = None
            if labels is not None and len(scores):
                auc, causal = roc_auc(scores, labels), roc_auc(causal_average(scores, causal_weight(clip)), labels)
            rows.append(
                {
                    "scene": scene.name,
                    "clip": clip.clip.name,
                    "frames": len(scores),
                    "anomalous_frames": None if labels is None else int(labels.sum()),
                    "frame_auc": auc,
                    "frame_auc_causal": causal,
                    "events": None if alerts is None else alerts.events,
                    "events_found": None if alerts is None else alerts.found,
                    "alerts": None if alerts is None else alerts.alerts,
                    "false_alerts": None if alerts is None else alerts.false_alerts,
                }
            )
    return rows


def per_scene(
    scenes: Sequence[ScoredScene], maps: MapFigures, which: Which, *, by_scene: bool, late: float
) -> list[dict[str, Any]]:
    """One row of figures for every scene."""
    rows = []
    for scene in scenes:
        frames = frame_figures([scene], which, by_scene=by_scene)
        alerts = alert_figures(scene.clips, late=late) if scene.threshold is not None else None
        rows.append(
            {
                "scene": scene.name,
                "clips": len(scene.clips),
                "frames": sum(len(clip.indices) for clip in scene.clips),
                "gallery_frames": scene.gallery_frames,
                "threshold": scene.threshold,
                "frame_auc_micro": frames.micro,
                "frame_auc_micro_causal": frames.micro_causal,
                "frame_auc_macro": frames.macro,
                "pixel_auc": maps.scenes[scene.name].auc,
                "pro": maps.scenes[scene.name].pro,
                "event_recall": None if alerts is None else alerts.recall,
                "events": None if alerts is None else alerts.events,
                "false_alerts": None if alerts is None else alerts.false_alerts,
            }
        )
    return rows


def mean_over(rows: Sequence[dict[str, Any]], name: str) -> float | None:
    """Plain mean of a figure over the rows that have it."""
    values = [row[name] for row in rows if row[name] is not None]
    return sum(values) / len(values) if values else None


def _counts(clip: ScoredClip) -> bool:
    return clip.truth is not None and len(clip.indices) > 0


def _scores(clip: ScoredClip, which: Which) -> NDArray[np.float64]:
    return clip.peaks if which == "peaks" else clip.image_scores


def _labels(clip: ScoredClip) -> NDArray[np.bool_]:
    labels = clip.labels
    if labels is None:
        raise ValueError(f"clip {clip.name} has no labels")
    return labels
