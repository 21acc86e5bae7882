"""Thresholds from normal footage alone: no anomaly is ever needed, or used, to set one.

The gallery's own frames cannot serve (each is its own nearest neighbour), so a contiguous part of the normal footage is
held out of the gallery and scored against it. How a threshold follows from these scores is in ``alarms``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spade_core.alarms import (
    CONFIDENCE,
    MOST_PER_DAY,
    AlarmRule,
    HeldOutAlarms,
    Timeline,
    alarm_threshold,
    held_out_alarms,
)
from spade_core.errors import CalibrationError, GalleryCorrupt

MIN_HELD_OUT = 20
"""Fewer held-out frames than this say nothing about a tail."""

USUAL_QUANTILE = 0.9
"""Part of normal frames that score below what is called usual."""

SAME = 1e-6
"""Scores that differ by less than this part of the highest are the same score, but for rounding."""

GROW_FLOOR = 0.5
"""A mask reaches as far as pixels score higher than the highest pixel of half of all normal frames, but never below
this part of the threshold: the edge of an object that the Gaussian blurred lies at half its height."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a scene's normal footage says about its scores. Scores are squared L2 distances (eq. 3, smoothed)."""

    threshold: float  # a frame whose highest pixel score is above this is anomalous
    grow_threshold: float  # a mask reaches as far as this score; <= threshold
    false_alarms_per_day: float  # per camera, as asked for
    held_out: int  # frames it was set from
    median: float  # of the held-out frames' scores
    highest: float  # of the held-out frames' scores
    parameters: Mapping[str, Any]  # of the scorer that made the scores: a threshold is good for that one only
    alarms: HeldOutAlarms  # how well the footage supports that rate
    scales: Mapping[str, float] = field(default_factory=dict)  # of the method's channels, where it has several
    usual: float = 0.0  # nine of ten held-out frames score below this: an alert is over when scores are back there

    def to_json(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Calibration:
        """Inverse of :meth:`to_json`. Raises GalleryCorrupt where a field is missing or of the wrong kind."""
        try:
            return cls(
                threshold=float(data["threshold"]),
                grow_threshold=float(data["grow_threshold"]),
                false_alarms_per_day=float(data["false_alarms_per_day"]),
                held_out=int(data["held_out"]),
                median=float(data["median"]),
                highest=float(data["highest"]),
                parameters=dict(data["parameters"]),
                alarms=HeldOutAlarms.from_json(data["alarms"]),
                usual=float(data["usual"]),
                scales={str(name): float(value) for name, value in data["scales"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise GalleryCorrupt(f"calibration is not well formed: {type(error).__name__}: {error}") from None


def calibrate(
    frame_scores: NDArray[np.floating],
    timeline: Timeline,
    *,
    false_alarms_per_day: float,
    rule: AlarmRule,
    parameters: Mapping[str, Any],
) -> Calibration:
    """Sets the thresholds so that normal footage raises as few alarms as is wanted.

    Args:
        frame_scores: (M,) highest pixel score of each held-out frame.
        timeline: of these frames.
        false_alarms_per_day: wanted, above 0 and at most ``MOST_PER_DAY``.
        rule: of the alert policy that the scores will go to.
        parameters: of the scorer.

    Raises:
        CalibrationError: fewer than ``MIN_HELD_OUT`` frames, scores that are not finite, or footage without any change.
    """
    check_held_out(len(frame_scores), false_alarms_per_day)
    if not np.isfinite(frame_scores).all():
        raise CalibrationError("scores of the held-out frames are not finite: the features or the gallery are damaged")
    check_change(frame_scores)
    highest = float(frame_scores.max())

    def threshold_of(frames: slice) -> float:
        check_held_out(len(frame_scores[frames]), false_alarms_per_day)
        threshold = alarm_threshold(frame_scores[frames], timeline[frames], rule, per_day=false_alarms_per_day)
        return threshold or highest  # 0 where nothing at all lasts for a minimum duration

    threshold = threshold_of(slice(None))
    return Calibration(
        threshold=threshold,
        grow_threshold=grow_threshold(frame_scores, threshold),
        false_alarms_per_day=false_alarms_per_day,
        held_out=len(frame_scores),
        median=float(np.median(frame_scores)),
        highest=highest,
        usual=usual_level(frame_scores),
        parameters=dict(parameters),
        alarms=held_out_alarms(
            timeline,
            rule,
            per_day=false_alarms_per_day,
            scored_by=lambda frames: frame_scores / threshold_of(frames),
        ),
    )


def grow_threshold(frame_scores: NDArray[np.floating], threshold: float) -> float:
    """How far masks reach; see ``GROW_FLOOR``."""
    return min(threshold, max(GROW_FLOOR * threshold, float(np.median(frame_scores))))


def usual_level(frame_scores: NDArray[np.floating]) -> float:
    """The score that nine of ten normal frames stay below."""
    return float(np.quantile(frame_scores, USUAL_QUANTILE))


def check_held_out(frames: int, false_alarms_per_day: float) -> None:
    """Raises CalibrationError where so many held-out frames cannot give a threshold, or the wanted rate is out of
    bounds.
    """
    if not 0 < false_alarms_per_day <= MOST_PER_DAY:
        raise CalibrationError(
            f"false_alarms_per_day = {false_alarms_per_day}: must be above 0 and at most {MOST_PER_DAY:g}"
        )
    if frames < MIN_HELD_OUT:
        raise CalibrationError(
            f"{frames} held-out normal frame(s); at least {MIN_HELD_OUT} are needed to set a threshold: "
            "enroll longer footage, at a higher rate, or hold out a larger part"
        )


def check_change(frame_scores: NDArray[np.floating]) -> None:
    """Raises CalibrationError where all held-out frames score the same, zero or not.

    Every real sensor has noise, so such frames are copies of one picture. Their score is nothing but what half
    precision rounded off the gallery's features: against a threshold set on it, the first living frame would alert.

    Args:
        frame_scores: (M,) highest score of each held-out frame, M > 0.
    """
    lowest, highest = float(frame_scores.min()), float(frame_scores.max())
    if highest - lowest <= SAME * highest:
        raise CalibrationError(
            f"all {len(frame_scores)} held-out frames score the same ({highest:.3g}): the source looks frozen. Check "
            "that the picture moves, then enroll again"
        )


def in_words(calibration: Calibration) -> list[str]:
    """Lines that tell people what was asked for, what it rests on, and what was seen."""
    alarms, asked = calibration.alarms, calibration.false_alarms_per_day
    lines = [
        f"asked for {asked:g} false alarm(s) a day; set from {alarms.hours * 60:.3g} min of held-out normal footage"
    ]
    if alarms.extrapolated > 1:
        lines.append(
            f"that footage shows alarms down to {asked * alarms.extrapolated:.3g} a day; {asked:g} a day is "
            f"extrapolated {alarms.extrapolated:.2g}-fold: hold out more to rely on it"
        )
    if alarms.seen is None:
        lines.append("too little footage to see how often one half raises alarms against the threshold of the other")
    else:
        lines.append(
            f"seen: {alarms.seen} alarm(s) in halves of it, each against the threshold of the other: "
            f"{alarms.seen_per_day:.3g} a day, with {CONFIDENCE:.0%} confidence below {alarms.upper_per_day:.3g}"
        )
    return lines
