"""SPADE for one scene, put together: retrieval, image score, correspondences, smoothing, threshold, masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from spade_core.correspondence import concatenated_pyramid, pixel_scores
from spade_core.errors import InputError
from spade_core.extractor import Features
from spade_core.gallery import NormalFrames
from spade_core.retrieval import NearestFrames, image_score


@dataclass(frozen=True, slots=True)
class SpadeParameters:
    """The method's free parameters, with the paper's values for ShanghaiTech Campus."""

    k: int = 1  # K: gallery frames retrieved
    kappa: int = 1  # nearest features averaged at each location
    sigma: float = 4.0  # Gaussian that smooths the pixel scores, in pixels of the scoring image

    def __post_init__(self) -> None:
        if self.k < 1 or self.kappa < 1 or not 0 <= self.sigma < 100:
            raise InputError(f"{self}: k and kappa must be at least 1, sigma 0 or more")

    def describe(self) -> Mapping[str, Any]:
        """JSON-able; a threshold is valid only for the parameters that it was set with."""
        return {"method": "spade", **asdict(self)}


@dataclass(frozen=True, slots=True, eq=False)
class FrameScore:
    """What one frame got. Scores are squared L2 distances of features: 0 = seen before exactly like that."""

    score: float  # highest pixel score: what alerts go by
    image_score: float  # eq. 2
    pixel_scores: NDArray[np.float32]  # (S, S): eq. 3, upsampled to the scoring image and smoothed
    neighbours: tuple[tuple[int, float], ...]  # (gallery index, squared distance of pooled features), nearest first
    detail: NDArray[np.float32] | None = (
        None  # (h, w) finer, uncalibrated map that shows where in a region the object is
    )


class SpadeScorer:
    """Scores frames of one scene against its gallery, as in the paper.

    Args:
        normal: the scene's normal frames.
        size: S, side of the scoring image in pixels.
        parameters: K, kappa, sigma.

    Raises:
        InputError: the gallery is empty or holds fewer than K frames.
    """

    def __init__(self, normal: NormalFrames, *, size: int, parameters: SpadeParameters) -> None:
        self._normal, self._size, self.parameters = normal, size, parameters
        self._nearest = NearestFrames(np.asarray(normal.pooled))
        if parameters.k > len(self._nearest):
            raise InputError(f"K = {parameters.k}, but the gallery holds only {len(self._nearest)} frame(s)")

    def score(self, features: Features) -> list[FrameScore]:
        """Scores a batch.

        Args:
            features: of B frames of this scene.

        Returns:
            B scores, in order.

        Raises:
            GalleryCorrupt: a retrieved frame's features on disk are damaged.
            InputError: the features are not finite (a failed inference must not read as a score).
        """
        pooled = features.pooled.float().cpu().numpy()
        if not np.isfinite(pooled).all():
            raise InputError("features are not finite: inference failed")
        distances, indices = self._nearest.search(pooled, self.parameters.k)
        image_scores = image_score(distances)
        return [
            self._score_one(
                [level[b] for level in features.levels],
                float(image_scores[b]),
                tuple((int(i), float(d)) for i, d in zip(indices[b], distances[b], strict=True)),
            )
            for b in range(len(pooled))
        ]

    def _score_one(
        self, levels: list[torch.Tensor], image: float, neighbours: tuple[tuple[int, float], ...]
    ) -> FrameScore:
        height, width = levels[0].shape[1:]
        device = levels[0].device
        with torch.inference_mode():
            query = concatenated_pyramid(levels)
            references = (
                concatenated_pyramid(
                    [torch.from_numpy(np.array(level)).to(device) for level in self._normal.pyramid(i)]
                )
                for i, _ in neighbours
            )
            scores = pixel_scores(query, references, kappa=self.parameters.kappa).reshape(height, width)
        pixels = smooth(scores.cpu().numpy(), size=self._size, sigma=self.parameters.sigma)
        peak = float(pixels.max())
        if not np.isfinite(peak):
            raise InputError("pixel scores are not finite: inference failed")
        return FrameScore(peak, image, pixels, neighbours)


def smooth(scores: NDArray[np.float32], *, size: int, sigma: float) -> NDArray[np.float32]:
    """Pixel scores from scores of cells: bilinear to (size, size), then a Gaussian of ``sigma`` pixels (section
    3.4).
    """
    pixels = cv2.resize(scores, (size, size), interpolation=cv2.INTER_LINEAR)
    if sigma > 0:
        pixels = cv2.GaussianBlur(pixels, (0, 0), sigmaX=sigma, sigmaY=sigma, borderType=cv2.BORDER_REFLECT)
    return np.asarray(pixels, dtype=np.float32)
