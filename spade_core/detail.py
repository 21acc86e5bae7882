"""Where exactly in a region the odd thing is: the finest level against what the most similar normal frames show there
(``campus`` only).

Too sensitive to alert by (every walker differs from the ground behind), and just right to cut an object out.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import pad

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

    def map(self, features: Features) -> NDArray[np.float32]:
        """Distance of each cell of the finest level to the closest of ``DETAIL_FRAMES`` frames, within one cell.

        Args:
            features: of one frame (B = 1).

        Returns:
            (h, w) float32 on the finest level's grid.
        """
        count = min(DETAIL_FRAMES, len(self._nearest))
        _, indices = self._nearest.search(features.pooled.float().cpu().numpy(), count)
        query = features.levels[0].float()
        frames = np.stack([self._normal.pyramid(int(i))[0] for i in indices[0]])
        normal = pad(torch.from_numpy(frames).to(query.device).float(), (1, 1, 1, 1), mode="replicate")
        height, width = query.shape[2:]
        with torch.inference_mode():
            best = torch.full((height, width), torch.inf, device=query.device)
            for dy in range(3):
                for dx in range(3):
                    shifted = normal[:, :, dy : dy + height, dx : dx + width]
                    best = torch.minimum(best, (query - shifted).square().sum(dim=1).amin(dim=0))
        return np.asarray(best.sqrt().cpu().numpy(), np.float32)
