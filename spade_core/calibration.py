"""Thresholds from normal footage alone: no anomaly is ever needed, or used, to set one.

The gallery's own frames cannot serve (each is its own nearest neighbour), so a contiguous part of the normal footage is
held out of the gallery and scored against it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spade_core.errors import CalibrationError, GalleryCorrupt

MIN_HELD_OUT = 20
"""Fewer held-out frames than this say nothing about a tail."""

TAIL_FRACTION = 0.1
"""Part of the held-out frames that the tail is fitted to: enough of them to average, few enough to be a tail."""

LEAST_SCALE = 0.02
"""The tail's scale is at least this part of ``u``: footage that hardly changes would else give a threshold of no width.
"""

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
    exceedance: float  # the part of normal frames that was asked to lie above the threshold
    held_out: int  # frames it was set from
    median: float  # of the held-out frames' scores
    highest: float  # of the held-out frames' scores
    parameters: Mapping[str, Any]  # of the scorer that made the scores: a threshold is good for that one only
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
                exceedance=float(data["exceedance"]),
                held_out=int(data["held_out"]),
                median=float(data["median"]),
                highest=float(data["highest"]),
                parameters=dict(data["parameters"]),
                usual=float(data["usual"]),
                scales={str(name): float(value) for name, value in data["scales"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise GalleryCorrupt(f"calibration is not well formed: {type(error).__name__}: {error}") from None


def calibrate(
    frame_scores: NDArray[np.floating],
    *,
    exceedance: float,
    parameters: Mapping[str, Any],
) -> Calibration:
    """Sets the thresholds so that the wanted part of normal frames lies above (see :func:`tail_threshold`).

    Args:
        frame_scores: (M,) highest pixel score of each held-out frame.
        exceedance: wanted part of normal frames above the threshold, in (0, TAIL_FRACTION).
        parameters: of the scorer.

    Raises:
        CalibrationError: fewer than ``MIN_HELD_OUT`` frames, scores that are not finite, or footage without any change.
    """
    check_held_out(len(frame_scores), exceedance)
    if not np.isfinite(frame_scores).all():
        raise CalibrationError("scores of the held-out frames are not finite: the features or the gallery are damaged")
    check_change(frame_scores)
    threshold = tail_threshold(frame_scores, exceedance)
    return Calibration(
        threshold=threshold,
        grow_threshold=grow_threshold(frame_scores, threshold),
        exceedance=exceedance,
        held_out=len(frame_scores),
        median=float(np.median(frame_scores)),
        highest=float(frame_scores.max()),
        usual=usual_level(frame_scores),
        parameters=dict(parameters),
    )


def grow_threshold(frame_scores: NDArray[np.floating], threshold: float) -> float:
    """How far masks reach; see ``GROW_FLOOR``."""
    return min(threshold, max(GROW_FLOOR * threshold, float(np.median(frame_scores))))


def usual_level(frame_scores: NDArray[np.floating]) -> float:
    """The score that nine of ten normal frames stay below."""
    return float(np.quantile(frame_scores, 1 - TAIL_FRACTION))


def check_held_out(frames: int, exceedance: float) -> None:
    """Raises CalibrationError where so many held-out frames cannot give a threshold, or the wanted part is out of
    bounds.
    """
    if not 0 < exceedance < TAIL_FRACTION:
        raise CalibrationError(f"exceedance = {exceedance}: must be above 0 and below {TAIL_FRACTION}")
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


def tail_threshold(values: NDArray[np.floating], exceedance: float) -> float:
    """The value that the wanted part of normal values lies above.

    A part such as 1 in 1,000 can't be counted in a few hundred held-out frames, so it is extrapolated: above its 90 %
    quantile ``u`` the distribution's tail is taken as exponential (peaks over threshold with shape 0), with the mean
    excess as its scale. It assumes that the held-out footage shows what is normal at that hour, and a tail no heavier
    than that.

    Args:
        values: (M,) highest score of each held-out frame.
        exceedance: wanted part above, in (0, TAIL_FRACTION).
    """
    start = float(np.quantile(values, 1 - TAIL_FRACTION))
    scale = max(float((values[values >= start] - start).mean()), LEAST_SCALE * start)
    return start + scale * math.log(TAIL_FRACTION / exceedance)
