"""Score maps of single frames, kept as files for research. For ``worker`` and what compares with it."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)


class ScoreMaps:
    """Keeps maps as ``FOLDER/CAMERA/FRAME.npy``; one that cannot be written is lost, which is told once a camera.

    Args:
        folder: made when the first map comes; None = no map is kept.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._told: set[str] = set()

    def keep(self, camera: str, seq: int, pixel_scores: NDArray[np.float32]) -> None:
        """Keeps the map of a frame, (S, S) float32."""
        if self._folder is None:
            return
        folder = self._folder / camera
        try:
            folder.mkdir(parents=True, exist_ok=True)
            np.save(folder / f"{seq:08d}.npy", map_to_keep(pixel_scores), allow_pickle=False)
        except OSError as error:
            if camera not in self._told:
                self._told.add(camera)
                log.error("camera %s: score maps are lost from frame %d on: %s", camera, seq, error)


def map_to_keep(pixel_scores: NDArray[np.float32]) -> NDArray[np.floating]:
    """A score map as it is kept: in half precision, half the disk and finer (1 part in 2,000) than any figure made of
    it, unless a score is too high for that.
    """
    fits = pixel_scores.max() <= np.finfo(np.float16).max
    return pixel_scores.astype(np.float16) if fits else pixel_scores
