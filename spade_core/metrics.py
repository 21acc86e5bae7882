"""Figures of merit that the field uses, from plain arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def roc_auc(scores: NDArray[np.floating], labels: NDArray[np.bool_]) -> float | None:
    """Area under the ROC curve: the chance that an anomalous sample scores above a normal one, ties counted half.

    Args:
        scores: any shape, higher = more anomalous.
        labels: same shape, True = anomalous.

    Returns:
        0..1, or None where one of the two classes is absent (the figure does not exist then).
    """
    if scores.shape != labels.shape:
        raise ValueError(f"scores have shape {scores.shape}, labels {labels.shape}")
    if not np.isfinite(scores).all():
        raise ValueError("scores hold values that are not finite")
    positive, negative = scores[labels], np.sort(scores[~labels])
    if positive.size == 0 or negative.size == 0:
        return None
    below = np.searchsorted(negative, positive, side="left").sum(dtype=np.float64)
    not_above = np.searchsorted(negative, positive, side="right").sum(dtype=np.float64)
    return float((below + not_above) / 2 / positive.size / negative.size)
