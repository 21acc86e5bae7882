"""From a map of pixel scores to what an operator sees: a mask, and the regions in it. NumPy and OpenCV only."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

MIN_AREA_FRACTION = 1e-4
"""Regions below this part of the picture are dropped: 6 pixels of 256 x 256, less than one cell of the finest level."""

CONTOUR_TOLERANCE = 1.5
"""Pixels that a polygon may lie off the mask's edge; keeps polygons at tens of points."""


@dataclass(frozen=True, slots=True)
class MaskedRegion:
    """One connected anomalous region, in pixels of the mask."""

    bbox: tuple[int, int, int, int]  # x, y, width, height
    polygon: tuple[tuple[int, int], ...]  # outer contour
    area: int  # pixels
    peak: float  # highest score inside


def mask_regions(
    scores: NDArray[np.float32], *, size: tuple[int, int], threshold: float, grow_threshold: float
) -> tuple[NDArray[np.uint8], tuple[MaskedRegion, ...]]:
    """Cuts the anomalous regions out of a score map by hysteresis.

    A region is a connected set of pixels at or above ``grow_threshold`` that holds at least one pixel at or above
    ``threshold``: the scene's alert threshold says *that* something is there, the lower one how far it reaches.

    Args:
        scores: (H, W) float32 pixel scores.
        size: (width, height) of the frame to mask, in pixels; the map is scaled to it bilinearly first.
        threshold: score that makes a region.
        grow_threshold: score that belongs to one, at most ``threshold``.

    Returns:
        The mask (height, width) uint8, 255 = anomalous, and its regions, strongest first. The mask is empty exactly
        when there are no regions.
    """
    scaled = cv2.resize(scores, size, interpolation=cv2.INTER_LINEAR)
    count, labels, stats, _ = cv2.connectedComponentsWithStats((scaled >= grow_threshold).astype(np.uint8), connectivity=8)
    peaks = _peaks(scores, scaled, labels, count)
    least = max(1.0, MIN_AREA_FRACTION * size[0] * size[1])
    mask = np.zeros((size[1], size[0]), np.uint8)
    regions: list[MaskedRegion] = []
    for label in range(1, count):
        x, y, w, h, area = (int(v) for v in stats[label])
        if area < least or peaks[label] < threshold:
            continue
        inside = labels[y : y + h, x : x + w] == label
        mask[y : y + h, x : x + w][inside] = 255
        regions.append(MaskedRegion((x, y, w, h), _outline(inside, x, y), area, float(peaks[label])))
    return mask, tuple(sorted(regions, key=lambda region: region.peak, reverse=True))


def _peaks(
    scores: NDArray[np.float32], scaled: NDArray[np.float32], labels: NDArray[np.int32], count: int
) -> NDArray[np.float32]:
    """(count,) highest score of each label. Scaling flattens peaks, so the map itself is asked too: else a frame whose
    score is just above the threshold would alert without a region."""
    peaks = np.full(count, -np.inf, np.float32)
    np.maximum.at(peaks, labels.ravel(), scaled.ravel())
    height, width = scores.shape
    rows = np.arange(height) * labels.shape[0] // height
    columns = np.arange(width) * labels.shape[1] // width
    np.maximum.at(peaks, labels[np.ix_(rows, columns)].ravel(), scores.ravel())
    return peaks


def _outline(inside: NDArray[np.bool_], x: int, y: int) -> tuple[tuple[int, int], ...]:
    contours, _ = cv2.findContours(
        inside.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=(x, y)
    )
    outline = cv2.approxPolyDP(max(contours, key=cv2.contourArea), CONTOUR_TOLERANCE, True)
    return tuple((int(px), int(py)) for px, py in outline.reshape(-1, 2))
