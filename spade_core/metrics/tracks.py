"""Ground-truth regions with tracks, from masks alone, and how much boxes overlap."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from spade_core.errors import InputError

LEAST_PIXELS = 6
"""A mask's part with fewer pixels is no region: a crumb of the annotation, or an object of which a corner shows."""


@dataclass(frozen=True, slots=True)
class GroundTruthRegion:
    """What is anomalous in one frame, and what it is the same thing as in other frames."""

    track: str  # regions with this name, in whatever frame, are one thing over time
    bbox: tuple[int, int, int, int]  # x, y, width, height in pixels of the score map


def tracks_from_masks(masks: Iterable[NDArray[np.bool_]], *, clip: str = "") -> list[list[GroundTruthRegion]]:
    """Makes regions and tracks of one clip's masks.

    Street Scene's measures need tracks, and most data sets ship only masks. This stands in for track annotations, so
    that no file from elsewhere is needed: a region is an 8-connected part of a mask with at least ``LEAST_PIXELS``
    pixels, and it goes on the track of the region of the frame before whose box overlaps its own most (pairs are taken
    greedily, largest IoU first, each region once). A region that overlaps none begins a track; a frame without it ends
    one. So two things that touch are one region while they do, and one that is hidden for a frame comes back as a new
    track: figures over these tracks are not exactly those over hand-made ones.

    Args:
        masks: (H, W) bool of each frame, in the order of time, True = anomalous; taken one by one.
        clip: set before the names of the tracks, so that those of different clips differ.

    Returns:
        The regions of each frame.

    Raises:
        InputError: a mask is not (H, W) bool.
    """
    frames: list[list[GroundTruthRegion]] = []
    before: list[GroundTruthRegion] = []
    tracks = 0
    for mask in masks:
        boxes = _mask_boxes(mask)
        names = _continued(boxes, before)
        regions = []
        for box, name in zip(boxes, names, strict=True):
            if name is None:
                name, tracks = f"{clip}#{tracks}", tracks + 1
            x, y, width, height = (int(value) for value in box)
            regions.append(GroundTruthRegion(name, (x, y, width, height)))
        frames.append(regions)
        before = regions
    return frames


def box_overlaps(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.float64]:
    """Intersection over union of each box with each other one.

    Args:
        first: (M, 4) x, y, width, height in pixels; a box holds the columns x to x + width - 1.
        second: (N, 4) likewise.

    Returns:
        (M, N) 0..1.
    """
    x, y, width, height = (column[:, None] for column in first.T)
    x2, y2, width2, height2 = second.T
    across = np.minimum(x + width, x2 + width2) - np.maximum(x, x2)
    down = np.minimum(y + height, y2 + height2) - np.maximum(y, y2)
    common = np.maximum(across, 0) * np.maximum(down, 0)
    return np.asarray(common / (width * height + width2 * height2 - common), np.float64)


def boxes_of(regions: Iterable[GroundTruthRegion]) -> NDArray[np.int64]:
    """The boxes of regions as (N, 4) int64, N = 0 where there are none."""
    return np.array([region.bbox for region in regions], np.int64).reshape(-1, 4)


def _mask_boxes(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(M, 4) boxes of a mask's regions."""
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise InputError(f"a mask must be (H, W) bool, got {mask.shape} {mask.dtype}")
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    found = stats[1:]
    return found[found[:, cv2.CC_STAT_AREA] >= LEAST_PIXELS, :4].astype(np.int64)


def _continued(boxes: NDArray[np.int64], before: list[GroundTruthRegion]) -> list[str | None]:
    """The track that each box goes on with; None = none of the frame before."""
    names: list[str | None] = [None] * len(boxes)
    overlaps = box_overlaps(boxes, boxes_of(before))
    while overlaps.size and overlaps.max() > 0:
        new, old = np.unravel_index(int(np.argmax(overlaps)), overlaps.shape)
        names[int(new)] = before[int(old)].track
        overlaps[new, :] = 0
        overlaps[:, old] = 0
    return names
