"""RBDC and TBDC, the region- and track-based criteria of Ramachandra & Jones, "Street Scene: A new dataset and
evaluation protocol for video anomaly detection" (WACV 2020), in one pass over the score maps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from spade_core.errors import InputError
from spade_core.metrics.curves import Curve, area_below, cut_at
from spade_core.metrics.tracks import GroundTruthRegion, box_overlaps, boxes_of

ALPHA = 0.1
"""Part of a track's regions that must be detected for the track to be (the paper's value)."""

BETA = 0.1
"""Intersection over union from which a detection meets a ground-truth region (the paper's value)."""

MOST_FALSE_REGIONS = 1.0
"""False-positive regions per frame up to which the curves count (the paper's value)."""

BELOW_FRACTION = 0.2
"""Part of the thresholds that lie below every frame's highest score: where nearly all frames are anomalous, false
positives become frequent only there."""


def region_thresholds(frame_peaks: NDArray[np.floating], count: int = 100) -> NDArray[np.float64]:
    """Thresholds to sweep, which must be known before the maps pass by.

    Most are quantiles of the frames' highest scores: from one to the next the same number of frames begins to fire, so
    the false positives per frame grow in even steps, however the scores are spread. The rest divide the way from the
    lowest of them down to 0 evenly (there are none where it is not above 0).

    Args:
        frame_peaks: (N,) highest score of each frame.
        count: thresholds to make, at least 2.

    Returns:
        Distinct thresholds, rising, at most ``count``; the last one is the highest score of all.

    Raises:
        InputError: there are no scores, one is not finite, or the count is too small.
    """
    if count < 2:
        raise InputError(f"a curve needs 2 thresholds or more, got {count}")
    if frame_peaks.size == 0:
        raise InputError("thresholds are made of the frames' highest scores, and there are none")
    if not np.isfinite(frame_peaks).all():
        raise InputError("the frames' highest scores hold values that are not finite")
    # A quantile between two scores would do as well, but a score itself is reached exactly.
    ranks = np.linspace(0, 1, count - round(count * BELOW_FRACTION))
    quantiles = np.quantile(frame_peaks.astype(np.float64), ranks, method="inverted_cdf")
    lowest = max(float(quantiles[0]), 0.0)
    below = np.linspace(0, lowest, round(count * BELOW_FRACTION) + 2)[1:-1] if lowest else quantiles[:0]
    return np.unique(np.concatenate([below, quantiles]))


@dataclass(frozen=True, slots=True, eq=False)
class RegionCurves:
    """How the rates go with the threshold: one operating point each, highest threshold first."""

    thresholds: NDArray[np.float64]  # (T,) falling
    fpr: NDArray[np.float64]  # (T,) false-positive regions per frame, over all frames; may exceed 1
    rbdr: NDArray[np.float64]  # (T,) part of the ground-truth regions that are detected
    tbdr: NDArray[np.float64]  # (T,) part of the tracks that are detected

    @property
    def region_line(self) -> Curve:
        """RBDR against FPR from 0 to 1, as RBDC integrates it (see :class:`RegionTally`)."""
        return _line(self.fpr, self.rbdr)

    @property
    def track_line(self) -> Curve:
        """TBDR against FPR from 0 to 1, as TBDC integrates it (see :class:`RegionTally`)."""
        return _line(self.fpr, self.tbdr)


class RegionTally:
    """Counts detected and false regions at each threshold, frame by frame.

    Definitions (Ramachandra & Jones 2020): the detections at threshold t are the bounding boxes of the 8-connected
    parts of the map at or above t. A ground-truth region is detected if its IoU with any detection of its frame is at
    least beta = 0.1; a detection is a false positive if its IoU with every ground-truth region of its frame is below
    beta. A track is detected if at least alpha = 0.1 of its regions are. RBDR(t) and TBDR(t) are the detected parts of
    all regions and of all tracks, FPR(t) is the number of false positives divided by the number of *all* frames, and
    RBDC and TBDC are the areas below RBDR and TBDR against FPR for FPR from 0 to 1.

    What the definition leaves open: the curve starts at (0, 0), a threshold that nothing reaches (where the highest
    threshold has no false positive, it rises there to that threshold's rate at once), and goes in straight lines from
    point to point; where the lowest threshold has an FPR below 1 it goes on level, and where the next point lies beyond
    1 the line is cut at 1. A lower threshold can melt regions together and so lower FPR: then the best rate that any
    threshold gives at an FPR or below it counts.
    """

    def __init__(self, thresholds: NDArray[np.floating]) -> None:
        """
        Args:
            thresholds: (T,) in the scores' unit, in any order (see :func:`region_thresholds`).

        Raises:
            InputError: there are none, or one is not finite.
        """
        if thresholds.ndim != 1 or thresholds.size == 0 or not np.isfinite(thresholds).all():
            raise InputError(f"thresholds must be (T,) finite values, at least one, got {thresholds}")
        self._thresholds = np.unique(thresholds.astype(np.float64))  # rising
        self._frames = 0
        self._false = np.zeros(len(self._thresholds), np.int64)
        self._sizes: dict[str, int] = {}  # regions of each track
        self._hits: dict[str, NDArray[np.int64]] = {}  # (T,) of them detected

    def add(self, scores: NDArray[np.floating], regions: Sequence[GroundTruthRegion]) -> None:
        """Counts one frame.

        Args:
            scores: (H, W) float32, higher = more anomalous.
            regions: what is anomalous in it, boxes in pixels of the map; empty = a normal frame.

        Raises:
            InputError: scores are not (H, W) or not finite, or a box has no pixel. Nothing is counted then.
        """
        if scores.ndim != 2 or scores.size == 0:
            raise InputError(f"scores must have shape (H, W), got {scores.shape}")
        if not np.isfinite(scores).all():
            raise InputError("scores hold values that are not finite")
        truth = boxes_of(regions)
        if (truth[:, 2:] < 1).any():
            raise InputError(f"a region's box has no pixel: {[region.bbox for region in regions]}")
        self._frames += 1
        for region in regions:
            self._sizes[region.track] = self._sizes.get(region.track, 0) + 1
            self._hits.setdefault(region.track, np.zeros(len(self._thresholds), np.int64))
        for i, detections in self._detections(scores):
            meets = box_overlaps(detections, truth) >= BETA
            self._false[i] += np.count_nonzero(~meets.any(axis=1))
            for j in np.flatnonzero(meets.any(axis=0)):
                self._hits[regions[int(j)].track][i] += 1

    def merge(self, other: RegionTally) -> None:
        """Adds what another tally has counted, as if all its frames had been added here; tracks of one name are one.

        Raises:
            InputError: its thresholds are others.
        """
        if not np.array_equal(self._thresholds, other._thresholds):
            raise InputError("tallies with different thresholds cannot be merged: give both the same ones")
        self._frames += other._frames
        self._false += other._false
        for track, size in other._sizes.items():
            self._sizes[track] = self._sizes.get(track, 0) + size
            self._hits[track] = self._hits.get(track, 0) + other._hits[track]

    def rbdc(self) -> float | None:
        """Region-based detection criterion, 0..1; None where no frame has a region."""
        curves = self.curves()
        return None if curves is None else area_below(curves.region_line)

    def tbdc(self) -> float | None:
        """Track-based detection criterion, 0..1; None where no frame has a region."""
        curves = self.curves()
        return None if curves is None else area_below(curves.track_line)

    def curves(self) -> RegionCurves | None:
        """The rates at each threshold; None where no frame has a region."""
        if not self._sizes:
            return None
        sizes = np.array(list(self._sizes.values()), np.int64)
        hits = np.stack([self._hits[track] for track in self._sizes])  # (tracks, T)
        return RegionCurves(
            thresholds=self._thresholds[::-1],
            fpr=(self._false / self._frames)[::-1],
            rbdr=(hits.sum(axis=0) / sizes.sum())[::-1],
            tbdr=(hits / sizes[:, None] >= ALPHA).mean(axis=0)[::-1],
        )

    def _detections(self, scores: NDArray[np.floating]) -> Iterable[tuple[int, NDArray[np.int64]]]:
        """Position of each threshold that the frame reaches, and the (M, 4) boxes of what lies at or above it."""
        row_peaks, column_peaks = scores.max(axis=1), scores.max(axis=0)
        reached = int(np.searchsorted(self._thresholds, float(scores.max()), side="right"))
        for i, threshold in enumerate(self._thresholds[:reached]):
            # Only the part of the map that can hold anything: most thresholds are reached in a few places.
            rows, columns = np.flatnonzero(row_peaks >= threshold), np.flatnonzero(column_peaks >= threshold)
            top, left = int(rows[0]), int(columns[0])
            boxes = _boxes(scores[top : rows[-1] + 1, left : columns[-1] + 1] >= threshold)
            yield i, boxes + np.array([left, top, 0, 0])


def _boxes(above: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(M, 4) boxes of the 8-connected parts."""
    # 16-bit labels take a third less time. A block of 2 x 2 pixels never holds two parts: so many are enough.
    blocks = -(-above.shape[0] // 2) * -(-above.shape[1] // 2)
    label = cv2.CV_16U if blocks < np.iinfo(np.uint16).max - 1 else cv2.CV_32S
    _, _, stats, _ = cv2.connectedComponentsWithStats(above.astype(np.uint8), connectivity=8, ltype=label)
    return stats[1:, :4].astype(np.int64)


def _line(fpr: NDArray[np.float64], rate: NDArray[np.float64]) -> Curve:
    order = np.lexsort((rate, fpr))
    best = np.maximum.accumulate(rate[order])  # no threshold must be used that is worse and no cheaper
    return cut_at((np.append(0.0, fpr[order]), np.append(0.0, best)), MOST_FALSE_REGIONS)
