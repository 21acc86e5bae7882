"""OpenVINO as a backbone's runtime: torch's features, in memory of their own, and nothing told to anybody."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from random_networks import random_state
from torch import Tensor, nn

from spade_core.backbone import Backbone, load_backbone
from spade_core.errors import BackboneError, InputError
from spade_core.extractor import FeatureExtractor
from spade_core.openvino_runtime import OpenVinoRuntime
from spade_core.preprocess import Preprocess
from spade_core.runtime import TOLERANCE, make_runtime

pytestmark = [
    pytest.mark.openvino,
    # Not importorskip: a bare import of OpenVINO is what the module under test is there to avoid.
    pytest.mark.skipif(
        importlib.util.find_spec("openvino") is None, reason="OpenVINO is optional and not installed (extra cpu)"
    ),
    pytest.mark.usefixtures("one_thread"),
]

ROOT = Path(__file__).parents[2]

Pair = tuple[Backbone, Backbone]
Pictures = NDArray[np.uint8]


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
def lite0() -> FeatureExtractor:
    return FeatureExtractor(load_backbone("efficientnet_lite0", runtime="openvino"), Preprocess(64))


@pytest.fixture(scope="module")
def side_by_side() -> FeatureExtractor:
    """Two samples at once."""
    backbone = load_backbone("efficientnet_lite0", runtime="openvino")
    return FeatureExtractor(replace(backbone, runtime=OpenVinoRuntime(threads=2, at_once=2)), Preprocess(64))


def pictures(count: int, side: int = 64, seed: int = 0) -> Pictures:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def all_of(extractor: FeatureExtractor, images: Pictures) -> list[Tensor]:
    features = extractor.extract(images)
    return [features.pooled, *features.levels]


def assert_alike(found: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    for some, others in zip(found, expected, strict=True):
        assert (some.shape, some.dtype, some.device) == (others.shape, torch.float32, others.device)
        for one, other in zip(some, others, strict=True):  # each image by itself: none may lend another its norm
            assert (one - other).norm() < TOLERANCE["float32"] * other.norm()


# 70: a side that no stride divides, where padding differs from size to size.
@pytest.mark.parametrize(("count", "side"), [(1, 64), (3, 96), (3, 70), (1, 224)])
def test_features_are_torchs(pair: Pair, count: int, side: int) -> None:
    in_torch, in_openvino = (
        all_of(FeatureExtractor(backbone, Preprocess(side)), pictures(count, side)) for backbone in pair
    )
    assert_alike(in_openvino, in_torch)


def test_the_runtime_is_no_part_of_what_a_gallery_was_made_with(pair: Pair) -> None:
    one, other = (FeatureExtractor(backbone, Preprocess(64)).fingerprint() for backbone in pair)
    assert [backbone.runtime.name for backbone in pair] == ["torch", "openvino"]
    assert one == other


def test_what_was_found_stays_when_other_images_follow(lite0: FeatureExtractor) -> None:
    found = all_of(lite0, pictures(2, seed=1))
    kept = [tensor.clone() for tensor in found]
    for seed in range(2, 6):
        assert not all_of(lite0, pictures(2, seed=seed))[0].equal(kept[0])
    assert all(tensor.equal(before) for tensor, before in zip(found, kept, strict=True))


def test_writing_to_what_was_found_changes_nothing_that_is_found_later(lite0: FeatureExtractor) -> None:
    first = all_of(lite0, pictures(1))
    kept = [tensor.clone() for tensor in first]
    with torch.inference_mode():
        for tensor in first:
            tensor.fill_(torch.nan)
    assert all(tensor.equal(before) for tensor, before in zip(all_of(lite0, pictures(1)), kept, strict=True))


def test_images_are_left_as_they_are(lite0: FeatureExtractor) -> None:
    images = pictures(2)
    all_of(lite0, images)
    assert (images == pictures(2)).all()


def test_an_image_gets_the_same_bits_in_any_batch(lite0: FeatureExtractor) -> None:
    batch = pictures(3)
    together = all_of(lite0, batch)
    for b in range(3):
        for tensor, alone in zip(together, all_of(lite0, batch[b : b + 1]), strict=True):
            assert tensor[b].equal(alone[0])


# 1: alone; 2: a pair; 5: two pairs and one.
@pytest.mark.parametrize("count", [1, 2, 5])
def test_images_that_are_computed_side_by_side_get_each_their_own(
    side_by_side: FeatureExtractor, lite0: FeatureExtractor, count: int
) -> None:
    assert_alike(all_of(side_by_side, pictures(count)), all_of(lite0, pictures(count)))


def test_what_was_found_side_by_side_is_torchs(side_by_side: FeatureExtractor) -> None:
    in_torch = FeatureExtractor(load_backbone("efficientnet_lite0"), Preprocess(64))
    assert_alike(all_of(side_by_side, pictures(4)), all_of(in_torch, pictures(4)))


def test_nothing_is_recorded_for_training(lite0: FeatureExtractor) -> None:
    assert lite0.extract(pictures(1)).levels[0].is_inference()


def test_a_batch_of_another_shape_is_refused(lite0: FeatureExtractor) -> None:
    network = lite0.backbone.runtime.compile(_Sum(), torch.zeros(1, 3), torch.zeros(1, 3))
    assert network(torch.ones(2, 3), torch.ones(2, 3))[0].tolist() == [[2, 2, 2]] * 2
    with pytest.raises(InputError, match=r"shapes \[\(4,\), \(3,\)\] a sample; .* compiled for \[\(3,\), \(3,\)\]"):
        network(torch.ones(2, 4), torch.ones(2, 3))


class _Sum(nn.Module):
    def forward(self, one: Tensor, other: Tensor) -> tuple[Tensor]:
        return (one + other,)


def test_threads_that_call_at_once_get_each_their_own(lite0: FeatureExtractor, side_by_side: FeatureExtractor) -> None:
    for extractor, count in ((lite0, 1), (side_by_side, 3)):
        batches = [pictures(count, seed=seed) for seed in range(8)]
        expected = [all_of(extractor, batch)[0] for batch in batches]
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda batch, extractor=extractor: all_of(extractor, batch)[0], batches * 4))
        assert all(pooled.equal(one) for pooled, one in zip(found, expected * 4, strict=True))


def test_single_precision_and_the_asked_number_of_threads_are_what_is_compiled() -> None:
    for at_once, hint in ((1, "LATENCY"), (2, "THROUGHPUT")):
        runtime = OpenVinoRuntime(threads=2, at_once=at_once)
        compiled = runtime.compile(_Sum(), torch.zeros(1, 3), torch.zeros(1, 3)).compiled
        assert str(compiled.get_property("INFERENCE_PRECISION_HINT")) == "<Type: 'float32'>"
        assert compiled.get_property("INFERENCE_NUM_THREADS") == 2
        assert compiled.get_property("ENABLE_CPU_PINNING") is False
        assert compiled.get_property("NUM_STREAMS") == at_once
        assert hint in str(compiled.get_property("PERFORMANCE_HINT"))


def test_no_more_go_side_by_side_than_there_are_cores_for() -> None:
    cores = torch.get_num_threads()  # one, by the fixture
    runtimes = [make_runtime("openvino", torch.device("cpu"), at_once=at_once) for at_once in (1, 8)]
    assert [runtime.at_once for runtime in runtimes] == [1, cores]


class _Untraceable(nn.Module):
    def forward(self, images: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        raise NotImplementedError("no such operation")


def test_a_network_that_it_cannot_run_is_an_error_with_a_remedy() -> None:
    with pytest.raises(BackboneError, match=r"inputs of shape \(1, 64, 32, 3\): no such operation\. .*to torch"):
        OpenVinoRuntime(threads=1).compile(_Untraceable(), torch.zeros(1, 64, 32, 3))


def test_a_broken_installation_is_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BackboneError, match=r"cannot be loaded .*pip install 'spade-stream\[cpu\]' again, or set"):
        OpenVinoRuntime(threads=1)


# --- in a process of its own: what loading and running leave behind --------------------------------------------------

RUN = """
import sys, threading, numpy
from spade_core.backbone import load_backbone
from spade_core.extractor import FeatureExtractor
from spade_core.preprocess import Preprocess
extractor = FeatureExtractor(load_backbone("efficientnet_lite0", runtime=sys.argv[1]), Preprocess(64))
extractor.extract(numpy.zeros((1, 64, 64, 3), numpy.uint8)).pooled
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
