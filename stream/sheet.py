"""A contact sheet of a gallery: its frames at a glance, so that a person sees what the scene's "normal" is."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spade_core.gallery import Gallery
from spade_core.sampling import evenly_spaced
from stream.errors import UsageError
from stream.overlay import encode
from stream.pictures import decode_jpeg, jpeg_size

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
    tiles = [_tile(gallery, index) for index in evenly_spaced(len(gallery), MOST)]
    return encode(suffix, tiled(tiles, columns=_COLUMNS))


def tiled(pictures: Sequence[NDArray[np.uint8]], *, columns: int) -> NDArray[np.uint8]:
    """Pictures side by side, row by row, each in a cell as large as the largest.

    Args:
        pictures: (h, w, 3) BGR each, at least one.
        columns: most cells in a row.
    """
    height, width = np.max([picture.shape[:2] for picture in pictures], axis=0)
    columns = min(columns, len(pictures))
    sheet = np.full((math.ceil(len(pictures) / columns) * height, columns * width, 3), 32, np.uint8)
    for number, picture in enumerate(pictures):
        y, x = number // columns * height, number % columns * width
        sheet[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    return sheet


def _tile(gallery: Gallery, index: int) -> NDArray[np.uint8]:
    thumbnail = gallery.thumbnail(index)
    try:
        return decode_jpeg(thumbnail, size=jpeg_size(thumbnail))
    except ValueError:  # a damaged gallery: `gallery verify` says so
        return np.zeros((1, 1, 3), np.uint8)
