"""SPADE as the paper writes it, for checking the fast path: float64, one value at a time, nothing rearranged.

NumPy alone. Letters: C channels, H W map, P = H * W locations, N gallery frames, K retrieved frames.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def retrieve(pooled: NDArray[np.floating], gallery: NDArray[np.floating], k: int) -> list[tuple[int, float]]:
    """The K nearest of N frames to one: (index, squared L2 distance), nearest first.

    Args:
        pooled: (D,) of the frame.
        gallery: (N, D).
    """
    distances = [(squared_distance(pooled, row), index) for index, row in enumerate(gallery)]
    return [(index, distance) for distance, index in sorted(distances)[:k]]


def image_score(pooled: NDArray[np.floating], gallery: NDArray[np.floating], k: int) -> float:
    """Eq. 2 for one frame."""
    return sum(distance for _, distance in retrieve(pooled, gallery, k)) / k


def image_score_of(pooled: NDArray[np.floating], gallery: NDArray[np.floating], frames: Sequence[int]) -> float:
    """Eq. 2 for one frame against K frames that somebody else chose (table 7: at random)."""
    return sum(squared_distance(pooled, gallery[index]) for index in frames) / len(frames)


def concatenated_pyramid(levels: Sequence[NDArray[np.floating]], chosen: Sequence[int] | None = None) -> Array:
    """F(x, p): (P, C) for levels (C_l, H_l, W_l), finest first.

    Args:
        levels: the whole pyramid.
        chosen: numbers of the levels to use, 1 = finest (table 6); the finest of them gives the locations. None: all.
    """
    used = [level for number, level in enumerate(levels, start=1) if chosen is None or number in chosen]
    height, width = used[0].shape[1:]
    maps = [bilinear(channel, height, width) for level in used for channel in level]
    return np.array([[plane[y, x] for plane in maps] for y in range(height) for x in range(width)])


def pixel_scores(query: Array, references: Sequence[Array], kappa: int) -> Array:
    """Eq. 3: (P,) from (P, C) of the frame and K times (P, C) of the retrieved frames."""
    everywhere = [feature for reference in references for feature in reference]
    scores = []
    for feature in query:
        nearest = sorted(squared_distance(feature, other) for other in everywhere)[:kappa]
        scores.append(sum(nearest) / kappa)
    return np.array(scores)


def squared_distance(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Squared L2 distance of two vectors."""
    difference = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    return math.fsum(difference * difference)


def bilinear(plane: NDArray[np.floating], height: int, width: int) -> Array:
    """(height, width) from (H, W) as PyTorch does it with ``align_corners=False``.

    Pixels are squares: the centre of pixel i lies at i + 1/2. A place before the first centre takes the first value,
    one behind the last centre the last.
    """
    result = np.empty((height, width))
    for y in range(height):
        above, below, down = _between(y, height, plane.shape[0])
        for x in range(width):
            left, right, across = _between(x, width, plane.shape[1])
            top = (1 - across) * float(plane[above, left]) + across * float(plane[above, right])
            bottom = (1 - across) * float(plane[below, left]) + across * float(plane[below, right])
            result[y, x] = (1 - down) * top + down * bottom
    return result


def _between(index: int, length: int, source_length: int) -> tuple[int, int, float]:
    place = max(0.0, (index + 0.5) * source_length / length - 0.5)
    first = min(math.floor(place), source_length - 1)
    return first, min(first + 1, source_length - 1), place - first


def gaussian(plane: Array, sigma: float) -> Array:
    """(H, W) smoothed: weights exp(-d² / 2 sigma²) out to four sigma; beyond the border the picture is mirrored."""
    reach = (round(8 * sigma + 1) | 1) // 2
    weights = [math.exp(-d * d / (2 * sigma * sigma)) for d in range(-reach, reach + 1)]
    weights = [weight / sum(weights) for weight in weights]
    for axis in (0, 1):
        length = plane.shape[axis]
        lines = np.moveaxis(plane, axis, 0)
        smoothed = np.zeros(lines.shape)
        for index in range(length):
            for offset, weight in zip(range(-reach, reach + 1), weights, strict=True):
                smoothed[index] += weight * lines[_mirrored(index + offset, length)]
        plane = np.moveaxis(smoothed, 0, axis)
    return plane


def _mirrored(index: int, length: int) -> int:
    index %= 2 * length
    return index if index < length else 2 * length - 1 - index
