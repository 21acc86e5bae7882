"""The paper's protocol on real images (MVTec AD, class screw): eq. 2 through the program is eq. 2 by the book.

No quality is asserted: the figure is whatever the backbone makes it, the same by both ways.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from spade_core.backbone import load_backbone
from spade_core.extractor import FeatureExtractor, Features
from spade_core.metrics import roc_auc
from spade_core.motion import GRID
from spade_core.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess, scoring_image
from spade_core.retrieval import NearestFrames, image_score
from spade_core.scorer import SpadeParameters, SpadeScorer

pytestmark = [pytest.mark.slow, pytest.mark.data, pytest.mark.timeout(900)]

K = 50
BATCH = 8


@dataclass(frozen=True, slots=True, eq=False)
class Screw:
    """Pooled features (D,) of every image, made by the program, and made by hand."""

    files: dict[str, list[Path]]  # by folder: train/good, test/good, test/defect
    program: dict[str, NDArray[np.float32]]
    by_hand: dict[str, NDArray[np.float32]]


@pytest.fixture(scope="module")
def extractor() -> FeatureExtractor:
    return FeatureExtractor(load_backbone("efficientnet_lite0", device="cpu"), Preprocess(256, 224))


@pytest.fixture(scope="module")
def screw(data: Path, extractor: FeatureExtractor) -> Screw:
    root = data / "mvtec" / "screw"
    if not root.is_dir():
        pytest.skip(f"{root} is not there")
    names = ("train/good", "test/good", "test/defect")
    files = {name: sorted(f for f in (root / name).iterdir() if f.suffix in (".png", ".jpg")) for name in names}
    program: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    by_hand: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    for name in names:
        for start in range(0, len(files[name]), BATCH):
            frames = [cv2.imread(str(file)) for file in files[name][start : start + BATCH]]
            images = np.stack([scoring_image(frame, extractor.preprocess) for frame in frames])
            program[name].append(extractor.extract(images).pooled.numpy())
            by_hand[name].append(_pooled_by_hand(frames, extractor))
    return Screw(
        files,
        {name: np.concatenate(parts) for name, parts in program.items()},
        {name: np.concatenate(parts) for name, parts in by_hand.items()},
    )


def _pooled_by_hand(frames: list[NDArray[np.uint8]], extractor: FeatureExtractor) -> NDArray[np.float32]:
    """256, then the middle 224, as the paper says; the network is the one thing that both ways share."""
    resized = [cv2.resize(frame, (256, 256), interpolation=cv2.INTER_AREA)[16:240, 16:240, ::-1] for frame in frames]
    values = (np.stack(resized) / 255 - IMAGENET_MEAN) / IMAGENET_STD
    with torch.inference_mode():
        pooled, _ = extractor.backbone(torch.from_numpy(values.transpose(0, 3, 1, 2).astype(np.float32)))
    return np.asarray(pooled.numpy(), np.float32)


def eq_2_by_hand(queries: NDArray[np.float32], gallery: NDArray[np.float32]) -> NDArray[np.float64]:
    """(B,) mean squared distance to the K nearest, in float64, every distance from its differences."""
    rows = gallery.astype(np.float64)
    squared = np.array([((rows - query) ** 2).sum(axis=1) for query in queries.astype(np.float64)])
    return np.asarray(np.sort(squared, axis=1)[:, :K].mean(axis=1))


def auc_by_hand(good: NDArray[np.float64], defect: NDArray[np.float64]) -> float:
    """The part of all pairs that are in the right order; a tie is half."""
    above, equal = defect[:, None] > good[None], defect[:, None] == good[None]
    return float((above + equal / 2).mean())


def test_image_auc_by_eq_2_is_that_of_an_independent_computation(screw: Screw) -> None:
    assert [len(files) for files in screw.files.values()] == [320, 41, 119]
    index = NearestFrames(screw.program["train/good"])
    scores = {name: image_score(index.search(screw.program[name], K)[0]) for name in ("test/good", "test/defect")}
    expected = {name: eq_2_by_hand(screw.by_hand[name], screw.by_hand["train/good"]) for name in scores}

    for name in scores:
        np.testing.assert_allclose(scores[name], expected[name], rtol=1e-3)
    labels = np.array([False] * 41 + [True] * 119)
    auc = roc_auc(np.concatenate([scores["test/good"], scores["test/defect"]]), labels)
    by_hand = auc_by_hand(expected["test/good"], expected["test/defect"])
    assert auc == pytest.approx(by_hand, abs=2 / (41 * 119)), "two pairs that rounding may swap"
    print(f"screw, 256 -> 224, K = {K}: image AUC {auc:.4f}, by hand {by_hand:.4f}")


@dataclass(frozen=True, slots=True, eq=False)
class _Images:
    """The training images in memory, in half precision as in a gallery; pyramids of those that are asked for."""

    screw: Screw
    extractor: FeatureExtractor

    @property
    def pooled(self) -> NDArray[np.float32]:
        return self.screw.program["train/good"]

    @property
    def motion(self) -> NDArray[np.float16]:
        return np.full((len(self.pooled), GRID, GRID), np.nan, np.float16)

    def array(self, name: str) -> None:
        return None

    def pyramid(self, index: int) -> tuple[NDArray[np.float16], ...]:
        levels = _features(self.screw.files["train/good"][index], self.extractor).levels
        return tuple(level[0].half().numpy() for level in levels)


def _features(file: Path, extractor: FeatureExtractor) -> Features:
    return extractor.extract(scoring_image(cv2.imread(str(file)), extractor.preprocess)[None])


def test_a_whole_image_is_scored_with_the_papers_50_neighbours(screw: Screw, extractor: FeatureExtractor) -> None:
    normal = _Images(screw, extractor)
    scorer = SpadeScorer(normal, size=224, parameters=SpadeParameters(k=K))

    (score,) = scorer.score(_features(screw.files["test/defect"][0], extractor))

    assert len(score.neighbours) == K
    assert score.pixel_scores.shape == (224, 224)
    expected = eq_2_by_hand(screw.by_hand["test/defect"][:1], screw.by_hand["train/good"])
    assert score.image_score == pytest.approx(expected[0], rel=1e-3)
    # Eq. 3 at a handful of places, from all 50 pyramids put together by hand.
    places = np.random.default_rng(0).choice(56 * 56, 5, replace=False)
    query = _concatenated(_features(screw.files["test/defect"][0], extractor).levels)[places]
    pyramids = (normal.pyramid(index) for index, _ in score.neighbours)
    distances = [_nearest(query, _concatenated([torch.from_numpy(p)[None] for p in levels])) for levels in pyramids]
    unsmoothed = SpadeScorer(normal, size=56, parameters=SpadeParameters(k=K, sigma=0))
    (cells,) = unsmoothed.score(_features(screw.files["test/defect"][0], extractor))
    np.testing.assert_allclose(cells.pixel_scores.reshape(-1)[places], np.min(distances, axis=0), rtol=1e-3)


def _concatenated(levels: list[torch.Tensor] | tuple[torch.Tensor, ...]) -> NDArray[np.float64]:
    """(P, C) with OpenCV's bilinear scaling, which puts pixel centres where PyTorch does."""
    side = levels[0].shape[2]
    planes = [
        cv2.resize(plane, (side, side), interpolation=cv2.INTER_LINEAR).reshape(-1)
        for level in levels
        for plane in level[0].float().numpy()
    ]
    return np.stack(planes, axis=1).astype(np.float64)


def _nearest(query: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([((reference - row) ** 2).sum(axis=1).min() for row in query])
