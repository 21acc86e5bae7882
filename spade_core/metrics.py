"""Figures of merit that the field uses, from plain arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spade_core.errors import InputError


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
    if scores.shape != labels.shape:
        raise InputError(f"scores have shape {scores.shape}, labels {labels.shape}")
    if labels.dtype != np.bool_:  # 0 and 1 as integers would be taken as positions
        raise InputError(f"labels must be bool, got {labels.dtype}")
    if not np.isfinite(scores).all():
        raise InputError("scores hold values that are not finite")
    positive, negative = scores[labels], np.sort(scores[~labels])
    if positive.size == 0 or negative.size == 0:
        return None
    below = np.searchsorted(negative, positive, side="left").sum(dtype=np.float64)
    not_above = np.searchsorted(negative, positive, side="right").sum(dtype=np.float64)
    return float((below + not_above) / 2 / positive.size / negative.size)
