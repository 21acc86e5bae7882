"""torch as a runtime: batches filled up, half precision within its tolerance, the network left as it was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spade_core.backbone import load_backbone
from spade_core.extractor import FeatureExtractor
from spade_core.later import Later
from spade_core.place_bank import PlaceBank
from spade_core.preprocess import Preprocess
from spade_core.runtime import STATIC_BATCHES, TOLERANCE, Runtime, TorchRuntime, make_runtime, static_size

CPU = torch.device("cpu")


class Recorder(nn.Module):
    """Doubles what it gets, and notes the shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        self.shapes.append(tuple(batch.shape))
        return 2 * batch, batch.sum(dim=1)


@pytest.mark.parametrize(("count", "filled"), [(1, 1), (2, 2), (3, 4), (5, 8), (33, 64), (65, 128), (129, 192)])
def test_static_sizes(count: int, filled: int):
    assert static_size(count, STATIC_BATCHES) == filled


@pytest.mark.parametrize("count", [1, 3, 6])
def test_a_batch_is_filled_up_and_what_was_asked_for_comes_back(count: int):
    network = Recorder()
    run = TorchRuntime(CPU, static_batches=True).compile(network, torch.zeros(1, 2))
    batch = torch.arange(2.0 * count).reshape(count, 2)
    doubled, summed = run(batch)
    assert network.shapes == [(static_size(count, STATIC_BATCHES), 2)]
    assert doubled.equal(2 * batch)
    assert summed.equal(batch.sum(dim=1))


def test_without_static_batches_nothing_is_filled_up():
    network = Recorder()
    TorchRuntime(CPU).compile(network, torch.zeros(1, 2))(torch.zeros(3, 2))
    assert network.shapes == [(3, 2)]


def test_a_filled_batch_gets_the_same_features():
    backbone = load_backbone("efficientnet_lite0")
    filling = replace(backbone, runtime=TorchRuntime(CPU, static_batches=True))
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    plain, filled = (FeatureExtractor(each, Preprocess(64)).extract(images) for each in (backbone, filling))
    for a, b in zip((plain.pooled, *plain.levels), (filled.pooled, *filled.levels), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_half_precision_stays_within_its_tolerance_and_leaves_the_network_alone():
    backbone = load_backbone("efficientnet_lite0")
    halved = replace(backbone, runtime=TorchRuntime(CPU, half=True))
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    plain, rough = (FeatureExtractor(each, Preprocess(64)).extract(images) for each in (backbone, halved))
    for a, b in zip((plain.pooled, *plain.levels), (rough.pooled, *rough.levels), strict=True):
        assert b.dtype == torch.float32
        for one, other in zip(a, b, strict=True):
            assert 0 < (one - other).norm() < TOLERANCE["float16"] * one.norm()
    assert {parameter.dtype for parameter in backbone.network.parameters()} == {torch.float32}


def distances_in(runtime: Runtime, *, reach: int) -> np.ndarray:
    """Of random features to a random bank. Their squares are beyond half precision, as those of real ones are."""
    generator = torch.Generator().manual_seed(3)
    bank = (100 * torch.randn(5, 6, 7, 9, generator=generator)).half().numpy()
    shapes = [(2, 20, 24), (4, 10, 12), (5, 5, 6)]
    levels = [100 * torch.randn(1, *shape, generator=generator).to(runtime.device) for shape in shapes]
    return PlaceBank(bank, shapes=shapes, average=3, reach=reach, runtime=runtime).distances(levels)


@pytest.mark.openvino
@pytest.mark.parametrize("reach", [0, 1])
def test_runtimes_find_the_same_distances(reach: int):
    expected = distances_in(TorchRuntime(CPU), reach=reach)
    np.testing.assert_allclose(distances_in(make_runtime("auto", CPU), reach=reach), expected, rtol=1e-5)
    np.testing.assert_allclose(distances_in(TorchRuntime(CPU, half=True), reach=reach), expected, rtol=1e-5)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("reach", [0, 1])
def test_a_gpu_finds_the_same_distances(reach: int):
    found = distances_in(make_runtime("auto", torch.device("cuda")), reach=reach)
    np.testing.assert_allclose(found, distances_in(TorchRuntime(CPU), reach=reach), rtol=1e-3)


def test_what_is_made_later_is_made_once():
    calls: list[int] = []
    later = Later(lambda: calls.append(1) or len(calls))
    assert not later.made
    assert (later(), later(), later.made) == (1, 1, True)
    assert Later.known(5).made


def test_what_fails_to_be_made_is_tried_again():
    answers = iter([ValueError("not yet"), 7])

    def make() -> int:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    later = Later(make)
    with pytest.raises(ValueError, match="not yet"):
        later()
    assert not later.made
    assert later() == 7
