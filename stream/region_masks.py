"""Where the regions of an alert lie in what was scored. Pure; NumPy and OpenCV. For ``normal``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from spade_core.preprocess import Preprocess
from stream.messages import Region

GROWTH: Final = 1 / 8
"""Of the picture's side, by which a region is grown before it joins. A score spreads so far from what makes it: over
two cells of the coarsest level that places are compared on."""

OUTLINE: Final = GROWTH / 2
"""The same for what may have lasted: a region is narrowed to the thing that is there, and its score reaches farther."""


def region_mask(
    regions: Sequence[Region],
    others: Sequence[Region],
    *,
    size: tuple[int, int],
    preprocess: Preprocess,
    growth: float = GROWTH,
) -> NDArray[np.bool_]:
    """Where a frame joins a gallery if only some of its regions do: these, grown, without the others.

    Args:
        regions: in pixels of the native frame.
        others: that stay anomalous.
        size: (width, height) of the native frame.
        preprocess: of the scoring images.
        growth: of the picture's side.

    Returns:
        (S, S) bool, in pixels of the scoring image.
    """
    wanted, unwanted = (_painted(some, size, preprocess) for some in (regions, others))
    reach = max(1, round(growth * preprocess.side))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    grown = cv2.dilate(wanted, kernel) > 0
    return np.asarray(grown & ((unwanted == 0) | (wanted > 0)), np.bool_)


def _painted(regions: Sequence[Region], size: tuple[int, int], preprocess: Preprocess) -> NDArray[np.uint8]:
    """(S, S) uint8, not 0 where a region is."""
    canvas = np.zeros((size[1], size[0]), np.uint8)
    for region in regions:
        cv2.fillPoly(canvas, [np.array(region.polygon, np.int32)], 255)
    x, y, width, height = preprocess.part(*size)
    side = preprocess.side
    part = cv2.resize(canvas[y : y + height, x : x + width], (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(part, np.uint8)


def overlap(one: Region, other: Region) -> float:
    """Intersection of two boxes over their union."""
    (x1, y1, w1, h1), (x2, y2, w2, h2) = one.bbox, other.bbox
    width, height = min(x1 + w1, x2 + w2) - max(x1, x2), min(y1 + h1, y2 + h2) - max(y1, y2)
    both = max(0, width) * max(0, height)
    return both / (w1 * h1 + w2 * h2 - both)
