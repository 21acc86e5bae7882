"""The peers' arithmetic: against what is written out place by place, and against each other."""

from __future__ import annotations

import math
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from tiny_extractor import SIDE, tiny_extractor
from torch import Tensor, nn

from stream.bench import peers
from stream.bench.peers import CHUNK, SIGMA, Nearest, PatchCore, by_cdist, by_differences, frames_for, spade_map
from stream.errors import UsageError

pytestmark = pytest.mark.usefixtures("one_thread")

BOTH = pytest.mark.parametrize("nearest", [by_differences, by_cdist])


def features(count: int, channels: int, *, seed: int) -> Tensor:
    return torch.randn(count, channels, generator=torch.Generator().manual_seed(seed))


@BOTH
def test_distances_are_those_to_the_nearest_not_squared(nearest: Nearest) -> None:
    query = torch.tensor([[0.0, 0.0], [10.0, 0.0]])
    gallery = torch.tensor([[3.0, 4.0], [10.0, 2.0], [-100.0, 0.0]])
    assert nearest(query, gallery).tolist() == pytest.approx([5.0, 2.0], rel=1e-5)


@BOTH
@pytest.mark.parametrize("count", [1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7])
def test_no_gallery_feature_is_left_out_whatever_their_number(nearest: Nearest, count: int) -> None:
    query, gallery = features(13, 5, seed=1), features(count, 5, seed=2)
    literal = [min(math.dist(q, g) for g in gallery.tolist()) for q in query.tolist()]
    assert nearest(query, gallery).tolist() == pytest.approx(literal, rel=1e-4)


def pyramid(seed: int) -> list[Tensor]:
    shapes = ((3, 8, 8), (4, 4, 4), (5, 2, 2))
    return [features(c * h * w, 1, seed=seed + c).reshape(c, h, w) for c, h, w in shapes]


def test_both_ways_give_the_same_map() -> None:
    query, normal = pyramid(1), pyramid(100)
    first = spade_map(query, normal, size=32, nearest=by_differences)
    assert first.shape == (32, 32)
    assert first.dtype == np.float32
    np.testing.assert_allclose(spade_map(query, normal, size=32, nearest=by_cdist), first, rtol=1e-4)


def test_the_map_is_the_mean_over_levels_smoothed() -> None:
    query, normal = pyramid(1), pyramid(100)
    maps = []
    for level, reference in zip(query, normal, strict=True):
        channels, height, width = level.shape
        gallery = reference.reshape(channels, -1).T.tolist()
        cells = [
            [min(math.dist(level[:, y, x].tolist(), g) for g in gallery) for x in range(width)] for y in range(height)
        ]
        maps.append(cv2.resize(np.array(cells, np.float32), (32, 32), interpolation=cv2.INTER_LINEAR))
    literal = cv2.GaussianBlur(np.mean(maps, axis=0), (0, 0), SIGMA)
    np.testing.assert_allclose(spade_map(query, normal, size=32, nearest=by_differences), literal, rtol=1e-3)


def test_a_frame_like_the_normal_one_scores_nothing() -> None:
    same = pyramid(1)
    assert spade_map(same, same, size=32, nearest=by_differences).max() == 0


# -- PatchCore ---------------------------------------------------------------------------------------------------------


class StandIn(nn.Module):
    """A model of anomalib's form whose answer is the distance of each place of level 3 to the bank's nearest row."""

    def __init__(self, layers: list[str], backbone: str, pre_trained: bool, num_neighbors: int) -> None:
        super().__init__()
        self.layers, self.feature_extractor = layers, nn.Identity()
        self.register_buffer("memory_bank", torch.empty(0))

    def forward(self, images: Tensor) -> Any:
        assert images.shape[1:] == (3, SIDE, SIDE)
        deepest = self.feature_extractor(images)["level3"]
        embedding = deepest.permute(0, 2, 3, 1).flatten(0, 2)
        if self.training:
            return embedding
        side = deepest.shape[2]
        return SimpleNamespace(anomaly_map=torch.cdist(embedding, self.memory_bank).amin(1).reshape(1, 1, side, side))


@pytest.fixture
def anomalib(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "anomalib.models.image.patchcore.torch_model"
    for part in ("anomalib", "anomalib.models", "anomalib.models.image", "anomalib.models.image.patchcore", name):
        monkeypatch.setitem(sys.modules, part, ModuleType(part))
    sys.modules[name].PatchcoreModel = StandIn  # type: ignore[attr-defined]


def levels_of(brightness: int) -> list[Tensor]:
    image = np.full((SIDE, SIDE, 3), brightness, np.uint8)
    return [level[0] for level in tiny_extractor().extract(image[None]).levels]


@pytest.mark.usefixtures("anomalib")
def test_patchcore_scores_the_features_that_it_is_given() -> None:
    model = PatchCore(tiny_extractor().backbone, [levels_of(90)], frames=100)
    known, odd = ([level[None] for level in levels_of(brightness)] for brightness in (90, 200))
    assert model.score(known).max() == pytest.approx(0.0, abs=1e-3)
    assert model.score(odd).min() > 1


@pytest.mark.usefixtures("anomalib")
@pytest.mark.parametrize(("frames", "kept"), [(100, 4), (200, 8), (510, 20), (100_000, 20)])
def test_its_bank_is_as_large_as_its_coreset_would_be(frames: int, kept: int) -> None:
    # A hundredth of the 2 x 2 places of each frame, and of no more than 510 frames.
    normal = [levels_of(brightness) for brightness in range(frames_for(frames))]
    model = PatchCore(tiny_extractor().backbone, normal, frames=frames)
    assert len(model._model.memory_bank) == kept


def test_the_frames_that_fill_the_bank_are_few() -> None:
    assert [frames_for(count) for count in (1, 100, 101, 510, 5000)] == [1, 1, 2, 6, 6]


def test_where_anomalib_is_missing_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anomalib", None)
    with pytest.raises(UsageError, match="pip install anomalib"):
        peers.PatchCore(tiny_extractor().backbone, [levels_of(90)], frames=1)
