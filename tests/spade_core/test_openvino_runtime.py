"""OpenVINO as a backbone's runtime: torch's features, in memory of their own, and nothing told to anybody."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from random_networks import random_state
from torch import Tensor, nn

from spade_core.backbone import Backbone, load_backbone
from spade_core.errors import BackboneError
from spade_core.extractor import FeatureExtractor
from spade_core.openvino_runtime import OpenVinoNetwork
from spade_core.preprocess import Preprocess

pytestmark = [
    pytest.mark.openvino,
    # Not importorskip: a bare import of OpenVINO is what the module under test is there to avoid.
    pytest.mark.skipif(
        importlib.util.find_spec("openvino") is None, reason="OpenVINO is optional and not installed (extra cpu)"
    ),
    pytest.mark.usefixtures("one_thread"),
]

ROOT = Path(__file__).parents[2]
TOLERANCE = 1e-3  # of a tensor's norm: what docs/method.md promises


Pair = tuple[Backbone, Backbone]


@pytest.fixture(
    scope="module", params=["efficientnet_lite0", "resnet18", pytest.param("wide_resnet50_2", marks=pytest.mark.slow)]
)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """The same backbone in torch and in OpenVINO."""
    weights = None
    if request.param != "efficientnet_lite0":
        weights = tmp_path_factory.mktemp("weights") / "random.pth"
        torch.save(random_state(request.param), weights)
    yield tuple(load_backbone(request.param, weights=weights, runtime=name) for name in ("torch", "openvino"))
    if weights is not None:
        weights.unlink()  # up to 276 MB


@pytest.fixture(scope="module")
def lite0() -> Backbone:
    return load_backbone("efficientnet_lite0", runtime="openvino")


def images(count: int, side: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def all_of(backbone: Backbone | OpenVinoNetwork, pixels: Tensor) -> list[Tensor]:
    with torch.inference_mode():
        pooled, levels = backbone(pixels)
    return [pooled, *levels]


# 70: a side that no stride divides, where padding differs from size to size; all of them through one backbone.
@pytest.mark.parametrize(("count", "side"), [(1, 64), (3, 96), (3, 70), (1, 224)])
def test_features_are_torchs(pair: Pair, count: int, side: int) -> None:
    in_torch, in_openvino = (all_of(backbone, images(count, side)) for backbone in pair)
    for expected, found in zip(in_torch, in_openvino, strict=True):
        assert (found.shape, found.dtype, found.device) == (expected.shape, torch.float32, expected.device)
        for one, other in zip(expected, found, strict=True):  # each image by itself: none may lend another its norm
            assert (one - other).norm() < TOLERANCE * one.norm()


def test_the_runtime_is_no_part_of_what_a_gallery_was_made_with(pair: Pair) -> None:
    one, other = (FeatureExtractor(backbone, Preprocess(64)).fingerprint() for backbone in pair)
    assert [backbone.runtime for backbone in pair] == ["torch", "openvino"]
    assert one == other


def test_what_was_found_stays_when_other_images_follow(lite0: Backbone) -> None:
    found = all_of(lite0, images(2, 64, seed=1))
    kept = [tensor.clone() for tensor in found]
    for seed in range(2, 6):
        assert not all_of(lite0, images(2, 64, seed=seed))[0].equal(kept[0])
    assert all(tensor.equal(before) for tensor, before in zip(found, kept, strict=True))


def test_writing_to_what_was_found_changes_nothing_that_is_found_later(lite0: Backbone) -> None:
    first = all_of(lite0, images(1, 64))
    kept = [tensor.clone() for tensor in first]
    with torch.inference_mode():
        for tensor in first:
            tensor.fill_(torch.nan)
    assert all(tensor.equal(before) for tensor, before in zip(all_of(lite0, images(1, 64)), kept, strict=True))


def test_images_are_left_as_they_are(lite0: Backbone) -> None:
    pixels = images(2, 64)
    all_of(lite0, pixels)
    assert pixels.equal(images(2, 64))


def test_an_image_gets_the_same_bits_in_any_batch(lite0: Backbone) -> None:
    batch = images(3, 64)
    together = all_of(lite0, batch)
    for b in range(3):
        for tensor, alone in zip(together, all_of(lite0, batch[b : b + 1]), strict=True):
            assert tensor[b].equal(alone[0])


def test_the_extractors_channels_last_images_are_understood(lite0: Backbone) -> None:
    batch = images(2, 64)
    strided = batch.to(memory_format=torch.channels_last)
    assert not strided.is_contiguous()
    for one, other in zip(all_of(lite0, batch), all_of(lite0, strided), strict=True):
        assert one.equal(other)


def test_features_of_the_extractor_are_torchs(lite0: Backbone) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    in_torch = FeatureExtractor(load_backbone("efficientnet_lite0"), Preprocess(64)).extract(pictures)
    in_openvino = FeatureExtractor(lite0, Preprocess(64)).extract(pictures)
    assert in_openvino.pooled.is_inference(), "nothing is recorded for training"
    for one, other in zip((in_torch.pooled, *in_torch.levels), (in_openvino.pooled, *in_openvino.levels), strict=True):
        assert (one - other).norm() < TOLERANCE * one.norm()


def test_threads_that_call_at_once_get_each_their_own(lite0: Backbone) -> None:
    batches = [images(1, 64, seed=seed) for seed in range(8)]
    expected = [all_of(lite0, batch)[0] for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda batch: all_of(lite0, batch)[0], batches * 4))
    assert all(pooled.equal(one) for pooled, one in zip(found, expected * 4, strict=True))


def test_single_precision_and_the_asked_number_of_threads_are_what_is_compiled() -> None:
    compiled = OpenVinoNetwork(load_backbone("efficientnet_lite0").network, threads=2)._compiled(64, 64)
    assert str(compiled.get_property("INFERENCE_PRECISION_HINT")) == "<Type: 'float32'>"
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 2
    assert compiled.get_property("ENABLE_CPU_PINNING") is False


class _Untraceable(nn.Module):
    def forward(self, images: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        raise NotImplementedError("no such operation")


def test_a_network_that_it_cannot_run_is_an_error_with_a_remedy() -> None:
    with pytest.raises(BackboneError, match=r"images of 64x32 pixels: no such operation\. .*runtime to torch"):
        OpenVinoNetwork(_Untraceable(), threads=1).prepare(32, 64)


def test_a_broken_installation_is_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BackboneError, match=r"cannot be loaded .*pip install 'spade-stream\[cpu\]' again, or set"):
        OpenVinoNetwork(nn.Identity(), threads=1)


# --- in a process of its own: what loading and running leave behind --------------------------------------------------

RUN = """
import sys, threading, torch
from spade_core.backbone import load_backbone
backbone = load_backbone("efficientnet_lite0", runtime=sys.argv[1])
backbone(torch.zeros(1, 3, 64, 64))
loaded = sorted(name for name, module in sys.modules.items() if name.startswith("openvino") and module is not None)
print("openvino" in loaded, "openvino_telemetry" in loaded, [thread.name for thread in threading.enumerate()])
"""


def left_behind(runtime: str, home: Path) -> tuple[str, list[str]]:
    """What the process says of itself, and the files that it made in an empty home."""
    done = subprocess.run(
        [sys.executable, "-B", "-c", RUN, runtime],
        env={"HOME": str(home), "TMPDIR": str(home), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        cwd=home,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.strip(), sorted(path.name for path in home.rglob("*"))


@pytest.mark.slow
def test_openvino_reports_to_nobody_and_says_nothing(tmp_path: Path) -> None:
    # As it comes, it starts a thread that reports its import to its maker, and puts an identity into ~/intel.
    assert left_behind("openvino", tmp_path) == ("True False ['MainThread']", [])


@pytest.mark.slow
def test_torch_as_runtime_loads_nothing_of_openvino(tmp_path: Path) -> None:
    assert left_behind("torch", tmp_path) == ("False False ['MainThread']", [])
