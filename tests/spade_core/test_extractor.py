"""Scoring images to features, and the fingerprint of what made them."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from spade_core.backbone import Backbone, load_backbone
from spade_core.errors import InputError
from spade_core.extractor import FeatureExtractor, Features, fingerprint_mismatch
from spade_core.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from spade_core.runtime import TOLERANCE


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone("efficientnet_lite0")


@pytest.fixture(scope="module")
def extractor(backbone: Backbone) -> FeatureExtractor:
    return FeatureExtractor(backbone, Preprocess(size=64))


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)


def pattern(side: int = 256) -> NDArray[np.uint8]:
    """(1, side, side, 3): red grows to the right, green downwards, blue is their exclusive or."""
    y, x = np.mgrid[:side, :side]
    return np.stack([x, y, x ^ y], axis=-1).astype(np.uint8)[None]


def assert_close(actual: Features, expected: Features) -> None:
    for a, b in zip((actual.pooled, *actual.levels), (expected.pooled, *expected.levels), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_features_are_those_of_the_published_network(backbone: Backbone):
    # Made with the package efficientnet-lite-pytorch 0.1.0 (EfficientNet.from_name("efficientnet-lite0"), the same
    # checkpoint, torch 2.14 on a CPU) from pattern() / 255, normalised with the ImageNet mean and deviation: average of
    # extract_features(), and the outputs of _blocks[2], [4] and [10], channels 0..3, at a quarter of the height and
    # half the width, and in the bottom right corner (where padding shows).
    features = FeatureExtractor(backbone, Preprocess()).extract(pattern())
    pooled = [(2, 0.0096), (3, 0.0607), (113, 4.9037), (897, 3.6538), (930, 3.0185)]
    levels = [
        ((24, 64, 64), [1.4171, 15.6885, 11.0166, 8.9328], [14.6811, 3.8873, 10.1028, -18.1479]),
        ((40, 32, 32), [-6.5914, 2.2519, 13.9261, -3.7586], [-19.6988, 2.8744, -4.0655, -17.3161]),
        ((112, 16, 16), [4.4574, 5.8934, -1.3784, 2.8398], [-7.067, 0.9226, -3.8382, 1.6575]),
    ]
    assert features.pooled.shape == (1, 1280)
    for channel, value in pooled:
        assert features.pooled[0, channel].item() == pytest.approx(value, abs=1e-3)
    for level, (shape, inside, corner) in zip(features.levels, levels, strict=True):
        assert level.shape[1:] == shape
        assert level[0, :4, shape[1] // 4, shape[2] // 2].tolist() == pytest.approx(inside, abs=1e-3)
        assert level[0, :4, -1, -1].tolist() == pytest.approx(corner, abs=1e-3)


def test_level_shapes_are_known_beforehand(backbone: Backbone):
    for preprocess in (Preprocess(size=64), Preprocess(size=96, crop=70)):
        extractor = FeatureExtractor(backbone, preprocess)
        features = extractor.extract(np.zeros((1, preprocess.side, preprocess.side, 3), np.uint8))
        assert tuple(tuple(level.shape[1:]) for level in features.levels) == extractor.level_shapes
    assert FeatureExtractor(backbone, Preprocess()).level_shapes == ((24, 64, 64), (40, 32, 32), (112, 16, 16))


def test_an_image_gets_the_same_features_in_any_batch(extractor: FeatureExtractor, images: NDArray[np.uint8]):
    together = extractor.extract(images)
    for i in range(len(images)):
        alone = extractor.extract(images[i : i + 1])
        one = Features(together.pooled[i : i + 1], tuple(level[i : i + 1] for level in together.levels))
        assert_close(alone, one)


def test_nothing_is_recorded_for_training(extractor: FeatureExtractor, images: NDArray[np.uint8]):
    assert extractor.extract(images[:1]).pooled.is_inference()


@pytest.mark.filterwarnings("error")
def test_read_only_and_strided_images_are_accepted(extractor: FeatureExtractor, images: NDArray[np.uint8]):
    read_only = np.frombuffer(images.tobytes(), np.uint8).reshape(images.shape)
    assert_close(extractor.extract(read_only), extractor.extract(images))
    assert_close(extractor.extract(images[::-2, ::-1]), extractor.extract(images[::-2, ::-1].copy()))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (None, "NoneType"),
        (np.zeros((0, 64, 64, 3), np.uint8), "(0, 64, 64, 3)"),
        (np.zeros((64, 64, 3), np.uint8), "(64, 64, 3)"),
        (np.zeros((1, 3, 64, 64), np.uint8), "(1, 3, 64, 64)"),
        (np.zeros((1, 32, 64, 3), np.uint8), "(1, 32, 64, 3)"),
        (np.zeros((1, 64, 64, 3), np.float32), "dtype float32; (B, 64, 64, 3) uint8"),
    ],
)
def test_what_are_not_scoring_images_is_refused(extractor: FeatureExtractor, wrong: Any, words: str):
    with pytest.raises(InputError) as caught:
        extractor.extract(wrong)
    assert words in str(caught.value)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_gives_the_same_features_as_the_cpu(extractor: FeatureExtractor, images: NDArray[np.uint8]):
    on_gpu = FeatureExtractor(load_backbone("efficientnet_lite0", device="cuda"), extractor.preprocess)
    features, expected = on_gpu.extract(images), extractor.extract(images)
    assert features.pooled.is_cuda
    for a, b in zip((features.pooled, *features.levels), (expected.pooled, *expected.levels), strict=True):
        for one, other in zip(a.cpu(), b, strict=True):  # each image by itself: none may lend another its norm
            assert (one - other).norm() < TOLERANCE["float16"] * other.norm()


def counting_head(calls: list[int]) -> Callable[..., tuple[torch.Tensor, ...]]:
    def head(deepest: torch.Tensor) -> tuple[torch.Tensor, ...]:
        calls.append(len(deepest))
        return (deepest.mean(dim=(1, 2)),)

    return head


def test_pooled_features_are_made_once_and_only_where_they_are_asked_for():
    calls: list[int] = []
    level = torch.arange(24.0).reshape(2, 3, 2, 2)
    features = Features(None, (level,), head=counting_head(calls))
    second = features.row(1)
    assert (len(features), len(second), calls) == (2, 1, [])
    torch.testing.assert_close(second.pooled, level[1:].mean(dim=(2, 3)))
    assert second.pooled is second.pooled
    assert calls == [1]
    torch.testing.assert_close(features.pooled, level.mean(dim=(2, 3)))
    torch.testing.assert_close(features.row(0).pooled, level[:1].mean(dim=(2, 3)))
    assert calls == [1, 2], "a row of known features asks for nothing"


def test_features_that_are_kept_do_not_hold_on_to_their_batch():
    level = torch.rand(8, 3, 4, 4)
    row = Features(None, (level,), head=counting_head([])).row(3)
    kept = row.kept()
    assert kept.levels[0].untyped_storage().nbytes() == 3 * 4 * 4 * 4
    assert kept.levels[0].equal(level[3:4])
    assert kept.kept().levels[0] is kept.levels[0], "what is whole is not copied again"
    assert kept.pooled.equal(row.pooled)


def test_features_without_a_way_to_pooled_ones_are_refused():
    with pytest.raises(InputError, match="a head that makes them"):
        Features(None, (torch.zeros(1, 3, 2, 2),))


def test_a_trunk_normalises_as_torchvision_does(backbone: Backbone, images: NDArray[np.uint8]):
    from torchvision.transforms.v2.functional import normalize

    pixels = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        pooled, levels = backbone(normalize(pixels, list(IMAGENET_MEAN), list(IMAGENET_STD)))
    assert_close(FeatureExtractor(backbone, Preprocess(64)).extract(images), Features(pooled, levels))


# --- fingerprint ----------------------------------------------------------------------------------------------------


def test_the_fingerprint_survives_json(extractor: FeatureExtractor):
    fingerprint = extractor.fingerprint()
    stored = json.loads(json.dumps(fingerprint))
    assert stored == fingerprint
    assert fingerprint_mismatch(fingerprint, stored) is None


def test_the_fingerprint_says_what_runs(extractor: FeatureExtractor, backbone: Backbone):
    assert extractor.fingerprint() == {
        "format": 1,
        "backbone": "efficientnet_lite0",
        "weights_id": backbone.weights_id,
        "levels": [
            {"name": "block2", "channels": 24, "stride": 4},
            {"name": "block4", "channels": 40, "stride": 8},
            {"name": "block10", "channels": 112, "stride": 16},
        ],
        "pooled_channels": 1280,
        "preprocessing": Preprocess(size=64).describe(),
    }


def test_every_difference_is_named_in_words(extractor: FeatureExtractor):
    expected = extractor.fingerprint()
    actual = copy.deepcopy(expected)
    actual["weights_id"] = "0" * 64
    actual["levels"][1]["channels"] = 41
    actual["preprocessing"]["size"] = 128
    del actual["pooled_channels"]
    actual["extra"] = 1
    assert fingerprint_mismatch(expected, actual) == (
        f"weights id is '{'0' * 64}', expected '{expected['weights_id']}'; levels 2 channels is 41, expected 40; "
        "pooled channels is absent, expected 1280; preprocessing size is 128, expected 64; extra is 1, expected absent"
    )


def test_fewer_levels_are_a_difference(extractor: FeatureExtractor):
    expected = extractor.fingerprint()
    actual = copy.deepcopy(expected) | {"levels": expected["levels"][:2]}
    mismatch = fingerprint_mismatch(expected, actual)
    assert mismatch is not None
    assert "levels 3 name is absent, expected 'block10'" in mismatch


def test_other_preprocessing_weights_or_backbone_is_another_fingerprint(backbone: Backbone):
    one = FeatureExtractor(backbone, Preprocess(size=64)).fingerprint()
    assert fingerprint_mismatch(one, FeatureExtractor(backbone, Preprocess(size=80, crop=64)).fingerprint())
    for change in ({"weights_id": "ff"}, {"name": "resnet18"}, {"level_names": ("block1", "block4", "block10")}):
        other = dataclasses.replace(backbone, **change)
        assert fingerprint_mismatch(one, FeatureExtractor(other, Preprocess(size=64)).fingerprint())
