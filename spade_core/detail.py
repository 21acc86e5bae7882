"""Where exactly in a region the odd thing is: the finest level against what the most similar normal frames show there
(``campus`` only).

Too sensitive to alert by (every walker differs from the ground behind), and just right to cut an object out.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from spade_core.extractor import Features
from spade_core.gallery import NormalFrames
from spade_core.retrieval import NearestFrames

DETAIL_FRAMES = 8
"""Similar normal frames that an object is cut out against: in one of them nobody stands at its place."""


class Detail:
    """Makes detail maps of a scene's frames.

    Args:
        normal: the scene's normal frames.
        nearest: over their pooled features.
    """

    def __init__(self, normal: NormalFrames, nearest: NearestFrames) -> None:
        self._normal, self._nearest = normal, nearest

    def map(self, features: Features, within: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
        """Distance of each cell of the finest level to the closest of ``DETAIL_FRAMES`` frames, within one cell.

        Args:
            features: of one frame (B = 1).
            within: (S, S) where the map is wanted, in any resolution; None = everywhere.

        Returns:
            (h, w) float32 on the finest level's grid; 0 outside the rectangle around what is wanted.
        """
        count = min(DETAIL_FRAMES, len(self._nearest))
        _, indices = self._nearest.search(features.pooled.float().cpu().numpy(), count)
        query = features.levels[0].float()
        found = np.zeros(query.shape[2:], np.float32)
        rows, columns = _window(within, found.shape)
        # With the cells beside the window; beyond the edge stands the edge again.
        down, across = _beside(rows, found.shape[0])[:, None], _beside(columns, found.shape[1])
        frames = np.stack([self._normal.pyramid(int(i))[0][:, down, across] for i in indices[0]])
        normal = torch.from_numpy(frames).to(query.device).float()
        query = query[:, :, rows, columns]
        height, width = query.shape[2:]
        with torch.inference_mode():
            best = torch.full((height, width), torch.inf, device=query.device)
            for dy in range(3):
                for dx in range(3):
                    shifted = normal[:, :, dy : dy + height, dx : dx + width]
                    best = torch.minimum(best, (query - shifted).square().sum(dim=1).amin(dim=0))
        found[rows, columns] = best.sqrt().cpu().numpy()
        return found


def _beside(part: slice, side: int) -> NDArray[np.int64]:
    return np.arange(part.start - 1, part.stop + 1).clip(0, side - 1)


def _window(within: NDArray[np.bool_] | None, cells: tuple[int, ...]) -> tuple[slice, slice]:
    """Rows and columns of the cells around what is wanted, and one more on each side, for maps are interpolated."""
    if within is None or not within.any():
        return slice(0, cells[0]), slice(0, cells[1])
    parts = []
    for axis, count in enumerate(cells):
        wanted = np.flatnonzero(within.any(axis=1 - axis))
        pixels = within.shape[axis]
        first, last = int(wanted[0]) * count // pixels, int(wanted[-1]) * count // pixels
        parts.append(slice(max(0, first - 1), min(count, last + 2)))
    return parts[0], parts[1]
