"""What the cameras of a scene showed when it was enrolled, from the thumbnails in its gallery: see ``placement``."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from spade_core.gallery import Gallery
from spade_core.placement import ScenePlacement
from spade_core.preprocess import Preprocess

PICTURES = 48
"""Thumbnails that are looked at: people average out in as many, and reading them takes less than 0.1 s."""


def enrolled_view(gallery: Gallery, preprocess: Preprocess) -> ScenePlacement | None:
    """What stands still in a scene, to compare scoring images with. May be unusable, and then says why.

    Args:
        gallery: of the scene.
        preprocess: what its scoring images are made with; where it crops, only that part is looked at.

    Returns:
        None where no thumbnail can be read.
    """
    # In the order of time: a gallery that was drawn at random is in none.
    ordered = sorted(range(len(gallery)), key=lambda i: (gallery.frames[i].source, gallery.frames[i].index))
    chosen = np.linspace(0, len(ordered) - 1, min(PICTURES, len(ordered))).astype(int)
    read = [_read(gallery.thumbnail(ordered[place]), preprocess) for place in chosen]
    pictures = [picture for picture in read if picture is not None]
    return ScenePlacement.from_pictures(pictures) if pictures else None


def _read(jpeg: bytes, preprocess: Preprocess) -> NDArray[np.uint8] | None:
    """The scored part of a thumbnail, (h, w, 3) uint8 RGB; None where it is damaged."""
    if not jpeg:
        return None
    thumbnail = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if thumbnail is None:
        return None
    x, y, width, height = preprocess.part(thumbnail.shape[1], thumbnail.shape[0])
    return np.asarray(cv2.cvtColor(thumbnail[y : y + height, x : x + width], cv2.COLOR_BGR2RGB), np.uint8)
