"""A contact sheet of a gallery: its frames at a glance, so that a person sees what the scene's "normal" is."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from spade_core.gallery import Gallery
from stream.errors import UsageError
from stream.overlay import encode

MOST = 120
"""Frames shown, evenly spaced: more are too small to look at."""

_COLUMNS = 12


def contact_sheet(gallery: Gallery, suffix: str) -> bytes:
    """The sheet as an encoded picture.

    Args:
        gallery: to show.
        suffix: ``.jpg`` or ``.png``.
    """
    if suffix not in (".jpg", ".png"):
        raise UsageError(f"--sheet: the file must end in .jpg or .png, not {suffix!r}")
    indices = np.unique(np.linspace(0, len(gallery) - 1, min(MOST, len(gallery))).round().astype(int))
    tiles = [_tile(gallery, int(index)) for index in indices]
    height, width = np.max([tile.shape[:2] for tile in tiles], axis=0)
    columns = min(_COLUMNS, len(tiles))
    sheet = np.full((math.ceil(len(tiles) / columns) * height, columns * width, 3), 32, np.uint8)
    for number, tile in enumerate(tiles):
        y, x = number // columns * height, number % columns * width
        sheet[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    return encode(suffix, sheet)


def _tile(gallery: Gallery, index: int) -> NDArray[np.uint8]:
    picture = cv2.imdecode(np.frombuffer(gallery.thumbnail(index), np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        return np.zeros((1, 1, 3), np.uint8)
    return np.asarray(picture, np.uint8)
