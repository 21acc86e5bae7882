"""How well a picture fits a scene's gallery, in a unit that compares between galleries.

The distance of its pooled features to the nearest normal frame says little alone: a busy square is farther from its own
gallery than an empty corridor is. So it is divided by what the gallery's own frames have, each part of the footage held
out against the rest of it, as :mod:`spade_core.placement` does with views. No label and no other scene is used.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spade_core.gallery import Gallery
from spade_core.retrieval import NearestFrames

QUANTILE = 0.9
"""Of the distances between held-out frames and the rest; nine of ten normal frames fit to 1 or better."""

FOLDS = 4
"""Contiguous parts of the footage, as neighbours in time show the same people."""

MOST_FRAMES = 2000
"""Frames that the unit is measured on, evenly spaced: 0.2 s at 1,280 features."""


class SceneFit:
    """Compares pictures with one gallery.

    Args:
        gallery: of the scene.
    """

    def __init__(self, gallery: Gallery) -> None:
        self._nearest = NearestFrames(np.asarray(gallery.pooled))
        self.unit = held_out_distance(np.asarray(gallery.pooled)[in_order_of_time(gallery)])

    def __call__(self, pooled: NDArray[np.float32]) -> float:
        """The fit of a picture: 0 = seen before exactly like that, 1 = as far off as one of ten normal frames is.

        Args:
            pooled: (1, D) float32 pooled features.

        Raises:
            InputError: they are not such an array, or not finite.
        """
        distances, _ = self._nearest.search(pooled, 1)
        return float(np.sqrt(distances[0, 0])) / self.unit


def in_order_of_time(gallery: Gallery) -> NDArray[np.int64]:
    """(N,) indices of a gallery's frames: one that was drawn at random is in no order."""
    key = sorted(range(len(gallery)), key=lambda i: (gallery.frames[i].source, gallery.frames[i].index))
    return np.asarray(key, np.int64)


def held_out_distance(pooled: NDArray[np.float32]) -> float:
    """The distance that nine of ten frames keep to the other parts of the footage.

    Args:
        pooled: (N, D) float32 pooled features in the order of time, N >= 1.

    Returns:
        Above 0 always: of one frame, or of copies of one, the smallest positive number.
    """
    step = -(-len(pooled) // MOST_FRAMES)
    frames = np.ascontiguousarray(pooled[::step], np.float32)
    parts = np.array_split(np.arange(len(frames)), min(FOLDS, len(frames)))
    if len(parts) < 2:
        return float(np.finfo(np.float32).tiny)
    found = [nearest_distances(frames[part], np.delete(frames, part, axis=0)) for part in parts]
    return max(float(np.quantile(np.concatenate(found), QUANTILE)), float(np.finfo(np.float32).tiny))


def nearest_distances(queries: NDArray[np.float32], normal: NDArray[np.float32]) -> NDArray[np.float32]:
    """(B,) distances (not squared) of (B, D) queries to the nearest of (N, D) normal frames."""
    products = queries @ normal.T
    squared = (queries**2).sum(axis=1)[:, None] + (normal**2).sum(axis=1)[None] - 2 * products
    return np.asarray(np.sqrt(np.maximum(squared.min(axis=1), 0)), np.float32)
