"""Figures from one score and one label a sample: frames first of all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spade_core.errors import InputError
from spade_core.metrics.curves import Curve, thinned


def roc_auc(scores: NDArray[np.floating], labels: NDArray[np.bool_]) -> float | None:
    """Area under the ROC curve: the chance that an anomalous sample scores above a normal one, ties counted half.

    Args:
        scores: any shape, higher = more anomalous.
        labels: same shape, True = anomalous.

    Returns:
        0..1, or None where one of the two classes is absent (the figure does not exist then).

    Raises:
        InputError: shapes differ, labels are not bool, or a score is not finite.
    """
    _check(scores, labels)
    positive, negative = scores[labels], np.sort(scores[~labels])
    if positive.size == 0 or negative.size == 0:
        return None
    below = np.searchsorted(negative, positive, side="left").sum(dtype=np.float64)
    not_above = np.searchsorted(negative, positive, side="right").sum(dtype=np.float64)
    return float((below + not_above) / 2 / positive.size / negative.size)


def roc_curve(
    scores: NDArray[np.floating], labels: NDArray[np.bool_], *, points: int | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """The ROC curve, from (0, 0) to (1, 1), one point for each distinct score; the area below it is :func:`roc_auc`.

    Args:
        scores: any shape, higher = more anomalous.
        labels: same shape, True = anomalous.
        points: keep at most so many, evenly spread along the curve, the ends among them; None = all.

    Returns:
        False and true positive rate, (P,) float64 each, 0..1, both rising; None where one of the two classes is absent.

    Raises:
        InputError: as :func:`roc_auc`, or ``points`` is below two.
    """
    _check(scores, labels)
    flat, truth = scores.ravel(), labels.ravel()
    anomalous = int(np.count_nonzero(truth))
    normal = truth.size - anomalous
    if anomalous == 0 or normal == 0:
        return None
    order = np.argsort(flat)[::-1]
    falling = flat[order]
    lowest_of_tie = np.append(np.flatnonzero(falling[1:] != falling[:-1]), truth.size - 1)
    found = np.cumsum(truth[order])[lowest_of_tie]
    false = lowest_of_tie + 1 - found
    curve: Curve = (np.append(0.0, false / normal), np.append(0.0, found / anomalous))
    return thinned(curve, points)


def macro_auc(clips: Sequence[tuple[NDArray[np.floating], NDArray[np.bool_]]]) -> float | None:
    """The plain mean of :func:`roc_auc` over the clips that hold both classes: all others say nothing and are left out.

    Args:
        clips: scores and labels of each clip.

    Returns:
        0..1, or None where no clip holds both classes.

    Raises:
        InputError: as :func:`roc_auc`.
    """
    values = [value for scores, labels in clips if (value := roc_auc(scores, labels)) is not None]
    return sum(values) / len(values) if values else None


def causal_average(scores: NDArray[np.floating], weight: float) -> NDArray[np.float64]:
    """Scores of one clip, averaged over its past alone: s_0 = x_0, s_t = (1 - w) s_{t-1} + w x_t.

    Args:
        scores: (N,) x, in the order of time.
        weight: w, of the newest score, in (0, 1]; 1 = no smoothing.

    Returns:
        (N,) float64 s.

    Raises:
        InputError: scores are not (N,) or not finite (a frame that was not scored: leave it out, or the figure would
            hide it), or the weight is out of its bounds.
    """
    if not 0 < weight <= 1:
        raise InputError(f"the newest score's weight must be above 0 and at most 1, got {weight}")
    if scores.ndim != 1:
        raise InputError(f"scores of one clip must have shape (N,), got {scores.shape}")
    _check_finite(scores)
    averaged = scores.astype(np.float64)
    for i in range(1, len(averaged)):
        averaged[i] = (1 - weight) * averaged[i - 1] + weight * averaged[i]
    return averaged


def _check(scores: NDArray[np.floating], labels: NDArray[np.bool_]) -> None:
    if scores.shape != labels.shape:
        raise InputError(f"scores have shape {scores.shape}, labels {labels.shape}")
    if labels.dtype != np.bool_:  # 0 and 1 as integers would be taken as positions
        raise InputError(f"labels must be bool, got {labels.dtype}")
    _check_finite(scores)


def _check_finite(scores: NDArray[np.floating]) -> None:
    if not np.isfinite(scores).all():
        raise InputError("scores hold values that are not finite")
