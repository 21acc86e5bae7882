"""SPADE for one scene, put together: retrieval, image score, correspondences, smoothing, threshold, masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from spade_core.correspondence import concatenated_pyramid, pixel_scores
from spade_core.errors import InputError
from spade_core.extractor import Features
from spade_core.gallery import NormalFrames
from spade_core.retrieval import NearestFrames, image_score, random_frames


@dataclass(frozen=True, slots=True)
class SpadeParameters:
    """The method's free parameters, with the paper's values for ShanghaiTech Campus."""

    k: int = 1  # K: gallery frames retrieved
    kappa: int = 1  # nearest features averaged at each location
    sigma: float = 4.0  # Gaussian that smooths the pixel scores, in pixels of the scoring image
    levels: tuple[int, ...] = (1, 2, 3)  # of the pyramid, 1 = finest; the first one is the resolution of eq. 3
    neighbours: Literal["nearest", "random"] = "nearest"  # which K frames; random: to see what retrieval is worth
    seed: int = 0  # of random neighbours; the nearest are what they are

    def __post_init__(self) -> None:
        if self.k < 1 or self.kappa < 1 or not 0 <= self.sigma < 100:
            raise InputError(f"{self}: k and kappa must be at least 1, sigma 0 or more")
        if not self.levels or self.levels[0] < 1 or list(self.levels) != sorted(set(self.levels)):
            raise InputError(f"levels are {self.levels}; name one or more, from 1 (finest) up, in order, each once")
        if self.neighbours not in ("nearest", "random"):
            raise InputError(f"neighbours are {self.neighbours!r}; they can be 'nearest' or 'random'")

    def describe(self) -> Mapping[str, Any]:
        """JSON-able; a threshold is valid only for the parameters that it was set with."""
        return {"method": "spade", **asdict(self), "levels": list(self.levels)}

    def chosen(self, pyramid: Sequence[Any]) -> list[Any]:
        """The chosen ones of all levels of a pyramid, finest first. Raises InputError where there is no such level."""
        if self.levels[-1] > len(pyramid):
            raise InputError(f"levels are {self.levels}, but the backbone's pyramid has only {len(pyramid)}")
        return [pyramid[level - 1] for level in self.levels]


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
        parameters: see there.

    Raises:
        InputError: the gallery is empty or holds fewer than K frames.
    """

    def __init__(self, normal: NormalFrames, *, size: int, parameters: SpadeParameters) -> None:
        self._normal, self._size, self.parameters = normal, size, parameters
        self._nearest = NearestFrames(np.asarray(normal.pooled))
        if parameters.k > len(self._nearest):
            raise InputError(f"K = {parameters.k}, but the gallery holds only {len(self._nearest)} frame(s)")

    def score(self, features: Features, *, times: Sequence[float] = ()) -> list[FrameScore]:
        """Scores a batch.

        Args:
            features: of B frames of this scene.
            times: B times in seconds; random neighbours are drawn by them, the nearest need none.

        Returns:
            B scores, in order. With random neighbours, eq. 2 is the mean distance to the frames drawn.

        Raises:
            GalleryCorrupt: a retrieved frame's features on disk are damaged.
            InputError: the features are not finite (a failed inference must not read as a score), or hold not all of
                the levels.
        """
        pooled = features.pooled.float().cpu().numpy()
        if not np.isfinite(pooled).all():
            raise InputError("features are not finite: inference failed")
        distances, indices = self._retrieved(pooled, times)
        image_scores = image_score(distances)
        return [
            self._score_one(
                [level[b] for level in features.levels],
                float(image_scores[b]),
                tuple((int(i), float(d)) for i, d in zip(indices[b], distances[b], strict=True)),
            )
            for b in range(len(pooled))
        ]

    def _retrieved(
        self, pooled: NDArray[np.float32], times: Sequence[float]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Distances (B, K) and indices (B, K) of the frames to compare with."""
        parameters, frames = self.parameters, len(self._nearest)
        if parameters.neighbours == "nearest":
            return self._nearest.search(pooled, parameters.k)
        drawn = [random_frames(frames, parameters.k, seed=parameters.seed, time=time) for time in times]
        if len(drawn) != len(pooled):
            raise InputError(f"{len(pooled)} frame(s) with {len(times)} time(s): random neighbours need one for each")
        return self._nearest.ranked(pooled, np.array(drawn, np.int64).reshape(len(pooled), parameters.k))

    def _score_one(
        self, pyramid: list[torch.Tensor], image: float, neighbours: tuple[tuple[int, float], ...]
    ) -> FrameScore:
        levels = self.parameters.chosen(pyramid)
        height, width = levels[0].shape[1:]
        device = levels[0].device
        with torch.inference_mode():
            query = concatenated_pyramid(levels)
            references = (
                concatenated_pyramid(
                    [
                        torch.from_numpy(np.array(level)).to(device)
                        for level in self.parameters.chosen(self._normal.pyramid(i))
                    ]
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
