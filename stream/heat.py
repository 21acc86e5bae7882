"""The heat over a live view: a score map as a small picture that is transparent where all is normal. Pure.

Used by the worker, for cameras that somebody watches.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.overlay import encode

MOST_SIDE = 160
"""Pixels a side at most: maps are smoothed over several pixels of 256, so that more would show nothing more."""

BEGINS, FULL = 0.5, 2.0
"""Thresholds: below the first nothing is drawn, from the second on it does not get stronger."""

_YELLOW, _RED = np.array((60, 225, 250), np.float32), np.array((30, 0, 175), np.float32)
# BGR. They differ in lightness far more than in hue: whoever tells no red from green sees bright against dark.
_FAINT, _STRONG = 70.0, 215.0  # alpha of 255 where it begins and where it is full: what is below stays recognisable


def heat_png(pixel_scores: NDArray[np.floating], threshold: float) -> bytes:
    """A score map as an RGBA PNG.

    Args:
        pixel_scores: (H, W), in the unit of the threshold; what is not finite counts as the strongest.
        threshold: above 0.

    Raises:
        ValueError: the map is no such array, the threshold is not above 0, or the picture cannot be encoded.
    """
    if pixel_scores.ndim != 2 or pixel_scores.size == 0 or not threshold > 0:
        raise ValueError(f"no heat can be drawn of a map of shape {pixel_scores.shape} with threshold {threshold}")
    strength = np.nan_to_num(pixel_scores.astype(np.float32) / threshold, nan=FULL, posinf=FULL, neginf=0.0)
    return encode(".png", _coloured(_small(strength)))


def _small(strength: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width = strength.shape
    if max(height, width) <= MOST_SIDE:
        return strength
    scale = MOST_SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(strength, size, interpolation=cv2.INTER_AREA), np.float32)


def _coloured(strength: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(H, W, 4) uint8 BGRA."""
    picture = np.zeros((*strength.shape, 4), np.uint8)
    shown = strength >= BEGINS
    part = np.clip((strength[shown] - BEGINS) / (FULL - BEGINS), 0.0, 1.0)[:, None]
    picture[shown, :3] = np.rint(_YELLOW + (_RED - _YELLOW) * part)
    picture[shown, 3] = np.rint(_FAINT + (_STRONG - _FAINT) * part[:, 0])
    return picture
