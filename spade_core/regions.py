"""From a map of pixel scores to what an operator sees: a mask, and the regions in it. NumPy and OpenCV only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

MIN_AREA_FRACTION = 1e-4
"""Regions below this part of the picture are dropped where there is a larger one: 6 pixels of 256 x 256, less than one
cell of the finest level."""

EDGE = 0.5
"""Part of the highest score nearby that a pixel must have: the edge of a blurred object lies at half its height."""

NEARBY = 0.25
"""How far "nearby" is, as a part of the picture's side (full width of the window): as far as one strong object
shines.
"""

CLOSING = 0.1
"""Gaps of this part of a region's larger side are closed when it is narrowed."""

CRUMB = 0.15
"""Parts smaller than this part of the largest are dropped when a region is narrowed."""

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
    scores: NDArray[np.float32],
    *,
    size: tuple[int, int],
    threshold: float,
    grow_threshold: float,
    detail: NDArray[np.float32] | None = None,
) -> tuple[NDArray[np.uint8], tuple[MaskedRegion, ...]]:
    """Cuts the anomalous regions out of a score map by hysteresis.

    A region is a connected set of pixels at or above ``grow_threshold`` (and at or above half of the highest score near
    them) that holds at least one pixel at or above ``threshold``: the scene's alert threshold says *that* something is
    there, the lower one how far it reaches. Where there is a detail map, each region is then narrowed to what stands
    out in it.

    Args:
        scores: (H, W) float32 pixel scores.
        size: (width, height) of the frame to mask, in pixels; maps are scaled to it bilinearly first.
        threshold: score that makes a region.
        grow_threshold: score that belongs to one, at most ``threshold``.
        detail: (h, w) float32 finer map in any unit, higher = odder; None = there is none.

    Returns:
        The mask (height, width) uint8, 255 = anomalous, and its regions, strongest first. The mask is empty exactly
        when there are no regions, and that is exactly when no score reaches ``threshold``.
    """
    scaled = np.asarray(cv2.resize(scores, size, interpolation=cv2.INTER_LINEAR), np.float32)
    above = scaled >= np.maximum(grow_threshold, EDGE * _highest_nearby(scores, size))
    labels, stats, peaks = _labelled(above, scores, scaled)
    if scores.max() >= threshold > peaks.max(initial=-np.inf):  # scaling has flattened the only peak away
        above[_cell_of_peak(scores, size)] = True
        labels, stats, peaks = _labelled(above, scores, scaled)
    fine = None if detail is None else cv2.resize(detail, size, interpolation=cv2.INTER_LINEAR)
    least = MIN_AREA_FRACTION * size[0] * size[1]
    mask = np.zeros((size[1], size[0]), np.uint8)
    regions: list[MaskedRegion] = []
    for label in _wanted(stats[:, cv2.CC_STAT_AREA], peaks, threshold=threshold, least=least):
        x, y, w, h = (int(v) for v in stats[label, :4])
        inside = labels[y : y + h, x : x + w] == label + 1
        if fine is not None:
            inside = _narrowed(inside, np.asarray(fine[y : y + h, x : x + w], np.float32))
        mask[y : y + h, x : x + w][inside] = 255
        regions += _parts(inside, x, y, peak=float(peaks[label]))
    return mask, tuple(sorted(regions, key=lambda region: (region.peak, region.area), reverse=True))


def placed(
    mask: NDArray[np.uint8], regions: Sequence[MaskedRegion], *, at: tuple[int, int], size: tuple[int, int]
) -> tuple[NDArray[np.uint8], tuple[MaskedRegion, ...]]:
    """The mask of a part of a frame as that of the whole frame. What was not scored is not anomalous.

    Args:
        mask: (h, w) uint8 of the part.
        regions: in pixels of the part.
        at: x, y of the part's upper left pixel in the frame.
        size: (width, height) of the frame.

    Returns:
        The mask (height, width) uint8 and the regions, in pixels of the frame.
    """
    x, y = at
    whole = np.zeros((size[1], size[0]), np.uint8)
    whole[y : y + mask.shape[0], x : x + mask.shape[1]] = mask
    return whole, tuple(
        replace(
            region,
            bbox=(region.bbox[0] + x, region.bbox[1] + y, *region.bbox[2:]),
            polygon=tuple((px + x, py + y) for px, py in region.polygon),
        )
        for region in regions
    )


def _labelled(
    above: NDArray[np.bool_], scores: NDArray[np.float32], scaled: NDArray[np.float32]
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    """Connected parts: (H, W) labels from 1, 0 = none; and of each part, from 0, OpenCV's statistics and the peak."""
    count, found, stats, _ = cv2.connectedComponentsWithStats(above.astype(np.uint8), connectivity=8)
    labels = np.asarray(found, np.int32)
    return labels, np.asarray(stats[1:], np.int32), _peaks(scores, scaled, labels, count)[1:]


def _wanted(areas: NDArray[np.int32], peaks: NDArray[np.float32], *, threshold: float, least: float) -> list[int]:
    """The parts that make regions. An alert must show something, so the strongest one may be as small as it likes where
    all are small."""
    odd = np.flatnonzero(peaks >= threshold)
    large = odd[areas[odd] >= least]
    if len(large) == 0 and len(odd):
        large = odd[[int(np.argmax(peaks[odd]))]]
    return [int(label) for label in large]


def _cell_of_peak(scores: NDArray[np.float32], size: tuple[int, int]) -> tuple[slice, slice]:
    """The pixels of the mask that the map's highest pixel covers, at least in part."""
    place = np.unravel_index(int(np.argmax(scores)), scores.shape)
    rows, columns = (
        slice(int(i) * pixels // cells, -(-(int(i) + 1) * pixels // cells))
        for i, pixels, cells in zip(place, size[::-1], scores.shape, strict=True)
    )
    return rows, columns


def _highest_nearby(scores: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """(height, width) highest score within ``NEARBY`` of each pixel."""
    reach = [max(1, round(NEARBY * side)) | 1 for side in scores.shape]
    highest = cv2.dilate(scores, np.ones(reach, np.uint8))
    return np.asarray(cv2.resize(highest, size, interpolation=cv2.INTER_NEAREST), np.float32)


def _narrowed(inside: NDArray[np.bool_], detail: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The part of a region that stands out in the detail map, split from the rest by Otsu's threshold (1979): the one
    that makes the two parts as unlike as they can be. The region itself where nothing in it stands out."""
    values = detail[inside]
    span = float(values.max() - values.min())
    if span <= 0:
        return inside
    bytes_ = np.clip((values - values.min()) / span * 255, 0, 255).astype(np.uint8)
    split, _ = cv2.threshold(bytes_, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    narrow = np.zeros(inside.shape, np.uint8)
    narrow[inside] = bytes_ > split
    # Closed over a tenth of the region: a bicycle is one thing, though one sees through its wheels.
    side = max(3, round(CLOSING * max(inside.shape))) | 1
    closed = cv2.morphologyEx(narrow, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    kept = _without_crumbs((closed > 0) & inside)
    return kept if kept.any() else inside


def _without_crumbs(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8), connectivity=8)
    if count <= 2:
        return inside
    areas = stats[1:, cv2.CC_STAT_AREA]
    large = np.flatnonzero(areas >= CRUMB * areas.max()) + 1
    return np.isin(labels, large)


def _parts(inside: NDArray[np.bool_], x: int, y: int, *, peak: float) -> list[MaskedRegion]:
    """Each connected part as a region of its own; all of them carry the peak of what they were cut from."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8), connectivity=8)
    parts = []
    for label in range(1, count):
        px, py, w, h, area = (int(v) for v in stats[label])
        part = labels[py : py + h, px : px + w] == label
        parts.append(MaskedRegion((x + px, y + py, w, h), _outline(part, x + px, y + py), area, peak))
    return parts


def _peaks(
    scores: NDArray[np.float32], scaled: NDArray[np.float32], labels: NDArray[np.int32], count: int
) -> NDArray[np.float32]:
    """(count,) highest score of each label. Scaling flattens peaks, so the map itself is asked too: else a frame whose
    score is just above the threshold would alert without a region."""
    peaks = np.full(count, -np.inf, np.float32)
    np.maximum.at(peaks, labels.ravel(), scaled.ravel())
    height, width = scores.shape
    # A pixel of the map lies where its centre does: at its corner the scaled map is a mixture of four of them.
    rows = (2 * np.arange(height) + 1) * labels.shape[0] // (2 * height)
    columns = (2 * np.arange(width) + 1) * labels.shape[1] // (2 * width)
    np.maximum.at(peaks, labels[np.ix_(rows, columns)].ravel(), scores.ravel())
    return peaks


def _outline(inside: NDArray[np.bool_], x: int, y: int) -> tuple[tuple[int, int], ...]:
    contours, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=(x, y))
    outline = cv2.approxPolyDP(max(contours, key=cv2.contourArea), CONTOUR_TOLERANCE, True)
    return tuple((int(px), int(py)) for px, py in outline.reshape(-1, 2))
