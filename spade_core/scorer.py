"""SPADE for one scene, put together: retrieval, image score, correspondences, smoothing, threshold, masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from spade_core.later import Later
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
class Explanation:
    """What a frame is explained with: the normal frames that it is most like."""

    image_score: float  # eq. 2
    neighbours: tuple[tuple[int, float], ...]  # (gallery index, squared distance of pooled features), nearest first


@dataclass(frozen=True, slots=True, eq=False)
class FrameScore:
    """What one frame got. Scores are squared L2 distances of features: 0 = seen before exactly like that.

    What only a shown frame needs is made when it is first asked for. Asking may raise what scoring may raise.
    """

    score: float  # highest pixel score: what alerts go by
    pixel_scores: NDArray[np.float32]  # (S, S): eq. 3, upsampled to the scoring image and smoothed
    explanation: Later[Explanation]
    detail_map: Later[NDArray[np.float32]] | None = None
    parts: Callable[[int, int], Mapping[str, float]] | None = None  # (row, column) -> see channels; None = not known

    @property
    def channels(self) -> Mapping[str, float]:
        """What each channel gave where the score is highest, in the unit of the score: alone, it would have made that
        score there. Empty where it is not known.
        """
        if self.parts is None:
            return {}
        row, column = np.unravel_index(int(self.pixel_scores.argmax()), self.pixel_scores.shape)
        return self.parts(int(row), int(column))

    @property
    def image_score(self) -> float:
        """Eq. 2."""
        return self.explanation().image_score

    @property
    def neighbours(self) -> tuple[tuple[int, float], ...]:
        """(gallery index, squared distance of pooled features) of the K nearest normal frames, nearest first."""
        return self.explanation().neighbours

    @property
    def detail(self) -> NDArray[np.float32] | None:
        """(h, w) finer, uncalibrated map that shows where in a region the object is; None where there is none."""
        return None if self.detail_map is None else self.detail_map()


class SpadeScorer:
    """Scores frames of one scene against its gallery, as in the paper.

    Args:
        normal: the scene's normal frames.
        size: S, side of the scoring image in pixels.
        parameters: see there.
        device: where features are; None = on the CPU.

    Raises:
        InputError: the gallery is empty or holds fewer than K frames.
    """

    def __init__(
        self, normal: NormalFrames, *, size: int, parameters: SpadeParameters, device: torch.device | None = None
    ) -> None:
        self._normal, self.parameters = normal, parameters
        self._smoothing = Smoothing(size=size, sigma=parameters.sigma)
        self._nearest = NearestFrames(np.asarray(normal.pooled), device=device)
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
        pixels = self._smoothing(scores.cpu().numpy())
        peak = float(pixels.max())
        if not np.isfinite(peak):
            raise InputError("pixel scores are not finite: inference failed")
        return FrameScore(
            peak,
            pixels,
            Later.known(Explanation(image, neighbours)),
            parts=lambda row, column: {"correspondence": float(pixels[row, column])},
        )


class Smoothing:
    """Pixel scores from scores of cells: bilinear to (S, S), then a Gaussian of ``sigma`` pixels (section 3.4).

    Both are linear and treat rows and columns alike, so the two together are one matrix for the rows and one for the
    columns: A X B^T. That takes a sixth of the time that resizing and filtering the picture takes, and is the same up
    to rounding.

    Args:
        size: S, pixels.
        sigma: pixels; 0 = no Gaussian.
    """

    def __init__(self, *, size: int, sigma: float) -> None:
        self._size, self._sigma = size, sigma
        self._matrices: dict[int, NDArray[np.float32]] = {}  # by number of cells

    def __call__(self, cells: NDArray[np.float32]) -> NDArray[np.float32]:
        """(S, S) float32 of (h, w) float32."""
        rows, columns = (self._matrix(side) for side in cells.shape)
        with np.errstate(invalid="ignore"):  # what is not finite gives pixels that are not, as it should
            return np.asarray(rows @ (cells @ columns.T), np.float32)

    def _matrix(self, cells: int) -> NDArray[np.float32]:
        """(S, cells) float32: what each pixel of a line gets of each cell of it."""
        if cells not in self._matrices:
            # OpenCV says what it does by doing it to each cell alone.
            lines = cv2.resize(np.eye(cells, dtype=np.float32), (cells, self._size), interpolation=cv2.INTER_LINEAR)
            if self._sigma > 0:
                reach = round(self._sigma * 8 + 1) | 1  # pixels: the width that OpenCV gives a float Gaussian
                gaussian = cv2.getGaussianKernel(reach, self._sigma, cv2.CV_32F)
                lines = cv2.sepFilter2D(lines, -1, np.ones(1, np.float32), gaussian, borderType=cv2.BORDER_REFLECT)
            self._matrices[cells] = np.asarray(lines, np.float32)
        return self._matrices[cells]
