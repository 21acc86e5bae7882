"""Figures over all pixels of all maps, in bounded memory: a test set has billions of pixels, too many to sort."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from spade_core.errors import InputError
from spade_core.metrics.curves import Curve, area_below, cut_at, thinned

BIN_BITS = 21
"""Leading bits of a float32 that name its bin: sign, exponent and 12 bits of the fraction. Scores that differ by more
than 2^-12 of their size (0.024 %) always lie in different bins; three histograms take 48 MiB, whatever is added."""

PRO_LIMIT = 0.3
"""False positive rate up to which the PRO curve counts (Bergmann et al. 2020): what lies beyond is of no use."""

_DROPPED_BITS = np.uint32(32 - BIN_BITS)
_SIGN = np.uint32(1 << 31)


class PixelTally:
    """Counts pixels by score, and tells ROC, AUC and PRO from the counts.

    PRO, the per-region overlap (Bergmann et al. 2020, MVTec AD), is the mean over the true regions of the part of each
    that scores at or above a threshold, so that a small region weighs as much as a large one. A true region is an
    8-connected part of one frame's mask. The false positive rate beside it counts every normal pixel, those of
    anomalous frames too.
    """

    def __init__(self) -> None:
        self._normal = np.zeros(1 << BIN_BITS, np.int64)
        self._anomalous = np.zeros(1 << BIN_BITS, np.int64)
        self._overlap = np.zeros(1 << BIN_BITS, np.float64)  # each anomalous pixel as 1 / area of its region
        self._regions = 0

    def add(self, scores: NDArray[np.floating], mask: NDArray[np.bool_] | None) -> None:
        """Counts one frame.

        Args:
            scores: (H, W) float32, higher = more anomalous.
            mask: (H, W) bool, True = anomalous; None = all of it is normal.

        Raises:
            InputError: shapes differ, the mask is not bool, or a score is not finite. Nothing is counted then.
        """
        if scores.ndim != 2:
            raise InputError(f"scores must have shape (H, W), got {scores.shape}")
        if not np.isfinite(scores).all():
            raise InputError("scores hold values that are not finite")
        if mask is not None:
            _check_mask(mask, scores.shape)
        bins = _bins(scores)
        if mask is None or not mask.any():
            _count(self._normal, bins.ravel())
            return
        _count(self._normal, bins[~mask])
        _count(self._anomalous, bins[mask])
        count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
        areas = stats[:, cv2.CC_STAT_AREA].astype(np.float64)
        np.add.at(self._overlap, bins[mask], 1.0 / areas[labels[mask]])
        self._regions += count - 1

    def merge(self, other: PixelTally) -> None:
        """Adds what another tally has counted, as if all its frames had been added here."""
        self._normal += other._normal
        self._anomalous += other._anomalous
        self._overlap += other._overlap
        self._regions += other._regions

    def auc(self) -> float | None:
        """Area under the ROC curve over all pixels, 0..1; pixels of one bin count as ties, half. None where no pixel is
        normal or none is anomalous."""
        curve = self.roc()
        return None if curve is None else area_below(curve)

    def roc(self, *, points: int | None = None) -> Curve | None:
        """The ROC curve over all pixels, from (0, 0) to (1, 1).

        Args:
            points: keep at most so many, evenly spread along the curve, the ends among them; None = one for each bin.

        Returns:
            False and true positive rate, (P,) float64 each; None where no pixel is normal or none is anomalous.

        Raises:
            InputError: ``points`` is below two.
        """
        used = np.flatnonzero(self._normal | self._anomalous)[::-1]
        normal, anomalous = np.cumsum(self._normal[used]), np.cumsum(self._anomalous[used])
        if used.size == 0 or normal[-1] == 0 or anomalous[-1] == 0:
            return None
        return thinned((np.append(0.0, normal / normal[-1]), np.append(0.0, anomalous / anomalous[-1])), points)

    def pro(self, limit: float = PRO_LIMIT) -> float | None:
        """The area below :meth:`pro_curve`, divided by ``limit``: 0..1, 1 = every region found whole before any false
        positive. None where no pixel is normal or none is anomalous."""
        curve = self.pro_curve(limit)
        return None if curve is None else area_below(curve) / limit

    def pro_curve(self, limit: float = PRO_LIMIT, *, points: int | None = None) -> Curve | None:
        """Mean per-region overlap against the false positive rate, from (0, 0) to ``limit``.

        Args:
            limit: of the false positive rate, in (0, 1]; the last point lies there, on the line to the next one.
            points: keep at most so many, as in :meth:`roc`.

        Returns:
            False positive rate 0..limit and overlap 0..1, (P,) float64 each; None where no pixel is normal or none is
            anomalous.

        Raises:
            InputError: the limit is out of its bounds, or ``points`` is below two.
        """
        if not 0 < limit <= 1:
            raise InputError(f"the limit must be a false positive rate above 0 and at most 1, got {limit}")
        used = np.flatnonzero(self._normal | self._anomalous)[::-1]
        normal = np.cumsum(self._normal[used])
        if used.size == 0 or normal[-1] == 0 or self._regions == 0:
            return None
        # The sum of all pixels of a region may miss 1 by rounding.
        overlap = np.minimum(np.cumsum(self._overlap[used]) / self._regions, 1.0)
        curve = (np.append(0.0, normal / normal[-1]), np.append(0.0, overlap))
        return thinned(cut_at(curve, limit), points)

    def threshold_at_fpr(self, rate: float) -> float | None:
        """The lowest score that at most this part of the normal pixels reaches.

        Args:
            rate: wanted false positive rate, 0..1.

        Returns:
            A threshold for ``score >= threshold``, in the scores' unit, at a bin's lower edge (see ``BIN_BITS``);
            None where no pixel is normal.

        Raises:
            InputError: the rate is out of its bounds.
        """
        if not 0 <= rate <= 1:
            raise InputError(f"a false positive rate lies between 0 and 1, got {rate}")
        used = np.flatnonzero(self._normal)[::-1]
        if used.size == 0:
            return None
        reached = np.cumsum(self._normal[used])
        too_many = np.flatnonzero(reached > rate * reached[-1])
        lowest = used[too_many[0]] + 1 if too_many.size else used[-1]
        return _lower_edge(int(lowest))


def _check_mask(mask: NDArray[np.bool_], shape: tuple[int, ...]) -> None:
    if mask.shape != shape:
        raise InputError(f"scores have shape {shape}, the mask {mask.shape}")
    if mask.dtype != np.bool_:  # 0 and 255 as integers would be taken as positions
        raise InputError(f"the mask must be bool, got {mask.dtype}")


def _count(histogram: NDArray[np.int64], bins: NDArray[np.intp]) -> None:
    np.add.at(histogram, bins, np.ones(bins.shape, np.int64))  # far faster with an array of ones than with a lone 1


def _bins(scores: NDArray[np.floating]) -> NDArray[np.intp]:
    """The bin of each score, higher = higher score: a float's bits, read as an integer, are in the order of its value
    once the sign is flipped (and, where it is negative, all the rest)."""
    bits = (np.ascontiguousarray(scores, np.float32) + np.float32(0)).view(np.uint32)  # the sum makes -0 a 0
    rising = np.where(bits & _SIGN, ~bits, bits | _SIGN)
    return (rising >> _DROPPED_BITS).astype(np.intp)


def _lower_edge(index: int) -> float:
    """The lowest score of a bin: the inverse of :func:`_bins`."""
    rising = np.array([index], np.uint32) << _DROPPED_BITS
    bits = np.where(rising & _SIGN, rising ^ _SIGN, ~rising)
    return float(bits.astype(np.uint32).view(np.float32)[0])
