"""Scales and thresholds of the ``campus`` method, from normal frames that the gallery does not hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spade_core.alarms import AlarmRule, Timeline, alarm_threshold, held_out_alarms
from spade_core.calibration import (
    MIN_HELD_OUT,
    Calibration,
    check_change,
    check_held_out,
    grow_threshold,
    usual_level,
)
from spade_core.campus import CampusScorer, Channels, SceneMemory
from spade_core.errors import CalibrationError
from spade_core.extractor import Features

SCALE_QUANTILE = 0.9
"""Appearance and motion are scaled by this quantile of the held-out frames' highest values, so that they weigh
alike.
"""

LEAST_MOTION = 1.0
"""Motion is scaled by at least the usual speed: in a still scene noise would else count as much as something moving."""

LEAST_PERSISTENCE = 0.75
"""What lasts must be odder than this part of what passes (the scale of appearance): half a minute of held-out footage
may hold nobody who stands still for a while, or who walks straight towards the camera."""


@dataclass(frozen=True, slots=True, eq=False)
class Peaks:
    """Highest values of M frames."""

    moving: NDArray[np.floating]  # (M,) of appearance and motion together, in their scales; NaN = motion not known
    lasting: NDArray[np.floating]  # (M,) of persistence, feature distance; NaN until the memory is filled
    passing: NDArray[np.floating]  # (M,) of appearance, feature distance

    def __len__(self) -> int:
        return len(self.moving)

    def __getitem__(self, frames: slice) -> Peaks:
        return Peaks(self.moving[frames], self.lasting[frames], self.passing[frames])

    def fused(self, thresholds: Mapping[str, float]) -> NDArray[np.float64]:
        """(M,) scores: 1 = threshold."""
        moving = self.moving / thresholds["moving"]
        alone = np.where(np.isnan(moving), self.passing / thresholds["passing"], moving)
        return np.asarray(np.fmax(alone, self.lasting / thresholds["persistence"]), np.float64)


class CampusCalibrator:
    """Collects held-out normal frames and sets scales and thresholds from them. See
    :class:`spade_core.methods.Calibrator`.
    """

    def __init__(self, scorer: CampusScorer) -> None:
        self._scorer = scorer
        self._memory = SceneMemory(scorer.parameters.persistence)
        self._samples: list[Channels] = []
        self._times: list[float] = []
        self._segments: list[str] = []

    def add(self, features: Features, *, motion: NDArray[np.float16] | None, time: float, segment: str) -> None:
        """Takes the next held-out frame."""
        if self._segments and segment != self._segments[-1]:
            self._memory = SceneMemory(self._scorer.parameters.persistence)
        self._samples.append(self._scorer.channels(features, motion=motion, time=time, memory=self._memory))
        self._times.append(time)
        self._segments.append(segment)

    def finish(self, *, false_alarms_per_day: float, rule: AlarmRule) -> Calibration:
        """The calibration. Raises CalibrationError where there were too few frames."""
        check_held_out(len(self._samples), false_alarms_per_day)
        timeline = Timeline.of(self._times, self._segments)
        scales = scales_of(self._scorer, self._samples)
        peaks = peaks_of(self._scorer, self._samples, scales)

        def thresholds_of(frames: slice) -> dict[str, float]:
            check_held_out(len(peaks[frames]), false_alarms_per_day)
            return thresholds(
                peaks[frames],
                timeline[frames],
                least_lasting=LEAST_PERSISTENCE * scales["appearance"],
                false_alarms_per_day=false_alarms_per_day,
                rule=rule,
            )

        found = thresholds_of(slice(None))
        scores = peaks.fused(found)
        return Calibration(
            threshold=1.0,
            grow_threshold=grow_threshold(scores, 1.0),
            false_alarms_per_day=false_alarms_per_day,
            held_out=len(self._samples),
            median=float(np.median(scores)),
            highest=float(scores.max()),
            usual=usual_level(scores),
            parameters=dict(self._scorer.parameters.describe()),
            alarms=held_out_alarms(
                timeline,
                rule,
                per_day=false_alarms_per_day,
                scored_by=lambda frames: peaks.fused(thresholds_of(frames)),
            ),
            scales={**scales, **found},
        )


def scales_of(scorer: CampusScorer, samples: Sequence[Channels]) -> dict[str, float]:
    """Scales of appearance and motion: what each reaches in held-out normal frames.

    Raises:
        CalibrationError: nothing changes from one frame to the next.
    """
    appearance = np.array([scorer.smoothed(sample.appearance).max() for sample in samples])
    motion = [scorer.smoothed(sample.motion).max() for sample in samples if sample.motion is not None]
    scales = {
        "appearance": max(float(np.quantile(appearance, SCALE_QUANTILE)), 1e-6),
        "motion": max(float(np.quantile(motion, SCALE_QUANTILE)) if motion else 0.0, LEAST_MOTION),
    }
    check_change(appearance)
    return scales


def peaks_of(scorer: CampusScorer, samples: Sequence[Channels], scales: Mapping[str, float]) -> Peaks:
    """Highest values in each frame. ``scales`` as :func:`scales_of` sets them."""
    moving = [scorer.moving(sample, scales) for sample in samples]
    lasting = np.array([scorer.smoothed(sample.persistence).max() for sample in samples])
    wanted = "persistence" in scorer.parameters.channels
    return Peaks(
        moving=np.array([np.nan if pixels is None else pixels.max() for pixels in moving], np.float64),
        lasting=np.where(lasting > 0, lasting, np.nan) if wanted else np.full(len(samples), np.nan),
        passing=np.array([scorer.smoothed(sample.appearance).max() for sample in samples]),
    )


def thresholds(
    peaks: Peaks, timeline: Timeline, *, least_lasting: float, false_alarms_per_day: float, rule: AlarmRule
) -> dict[str, float]:
    """Thresholds of both sums: either may alert, so each gets half of the alarms.

    Args:
        peaks: of M held-out frames.
        timeline: of them.
        least_lasting: the threshold for what lasts is not below this.
        false_alarms_per_day: wanted of both together.
        rule: of the alert policy.

    Raises:
        CalibrationError: nowhere do frames follow one another for long enough.
    """
    each = false_alarms_per_day / 2
    passing = alarm_threshold(peaks.passing, timeline, rule, per_day=each)
    # Footage too short to show what lasts: then it may be as odd as what passes. The same where motion is never known.
    shown = np.isfinite(peaks.lasting).sum() >= MIN_HELD_OUT
    lasting = alarm_threshold(peaks.lasting, timeline, rule, per_day=each) if shown else passing
    known = np.isfinite(peaks.moving).sum() >= MIN_HELD_OUT
    if not known and np.isfinite(peaks.moving).any():
        raise CalibrationError(
            f"motion is known in only {np.isfinite(peaks.moving).sum()} of {len(peaks)} held-out frames: the footage "
            "is cut into pieces too short, or its times are wrong"
        )
    return {
        "moving": alarm_threshold(peaks.moving, timeline, rule, per_day=each) if known else 1.0,
        "passing": passing,
        "persistence": max(lasting, least_lasting),
    }
