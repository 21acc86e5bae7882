"""Scoring images in, features out, on whatever device the backbone is. Used by ``scorer`` and by whoever feeds it.

Also home of the fingerprint: what a gallery was made with, so that one made with something else is refused in words.
torch's global settings (threads, TF32) are the caller's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spade_core.backbone import Backbone
from spade_core.errors import InputError
from spade_core.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from spade_core.pyramid import PyramidNetwork
from spade_core.runtime import Compiled

FINGERPRINT_FORMAT: Final = 1
"""Grows when the same names and numbers come to mean other features."""

_MAX_BYTE: Final = 255.0
_ABSENT: Final = object()


class Features:
    """What the backbone sees in B images, on its device.

    The pooled features are made when they are first asked for: a network's last third, which only those need that
    compare whole images.

    Args:
        pooled: (B, D) float32, the whole image; None = to be made by ``head``.
        levels: (B, C_l, H_l, W_l) float32 each, finest first: the pyramid. Their memory layout is not promised.
        head: (B, H, W, C) of the coarsest level to pooled features.
    """

    __slots__ = ("_head", "_pooled", "levels")

    def __init__(self, pooled: Tensor | None, levels: tuple[Tensor, ...], *, head: Compiled | None = None) -> None:
        if pooled is None and head is None:
            raise InputError("features need pooled features, or a head that makes them")
        self._pooled, self.levels, self._head = pooled, levels, head

    def __len__(self) -> int:
        return len(self.levels[0])

    @property
    def pooled(self) -> Tensor:
        """(B, D) float32."""
        if self._pooled is None and self._head is not None:
            (self._pooled,) = self._head(self.levels[-1].permute(0, 2, 3, 1))
        assert self._pooled is not None
        return self._pooled

    def row(self, b: int) -> Features:
        """Those of image b alone (B = 1), as views."""
        if len(self) == 1:
            return self
        pooled = None if self._pooled is None else self._pooled[b : b + 1]
        return Features(pooled, tuple(level[b : b + 1] for level in self.levels), head=self._head)

    def kept(self) -> Features:
        """The same, but no view of a larger batch: to be held on to for longer than that."""
        levels = tuple(level if _is_whole(level) else level.clone() for level in self.levels)
        return Features(self._pooled, levels, head=self._head)


class FeatureExtractor:
    """A backbone for the scoring images of one preprocessing.

    Args:
        backbone: what extracts.
        preprocess: what the images were made with (:func:`spade_core.preprocess.scoring_image`).

    Raises:
        BackboneError: the backbone's runtime cannot run it on images of this size.
    """

    def __init__(self, backbone: Backbone, preprocess: Preprocess) -> None:
        self.backbone, self.preprocess = backbone, preprocess
        side, (channels, height, width) = preprocess.side, self.level_shapes[-1]
        # Here, so that it is no camera's first frame that waits for it.
        compiled, device = backbone.runtime.compile, backbone.device
        image = torch.zeros(1, side, side, 3, dtype=torch.uint8, device=device)
        deepest = torch.zeros(1, height, width, channels, device=device)
        name = f"{backbone.name} {backbone.weights_id}"
        self._trunk = compiled(_Trunk(backbone.network), image, name=f"{name} trunk")
        self._head = compiled(_Head(backbone.network), deepest, name=f"{name} head")

    @property
    def level_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """(C, H, W) of each level, finest first."""
        side = self.preprocess.side
        return tuple(
            (channels, -(-side // stride), -(-side // stride))
            for channels, stride in zip(self.backbone.level_channels, self.backbone.strides, strict=True)
        )

    def extract(self, images: NDArray[np.uint8]) -> Features:
        """Features of scoring images. What an image gets does not depend on the others in its batch, up to rounding.

        Args:
            images: (B, S, S, 3) uint8 RGB.

        Raises:
            InputError: the images are not such an array, or there are none.
        """
        self._check(images)
        # Bytes go to the device, floats are made there: a quarter of the transfer. Message views are read-only, which
        # torch does not know: those are copied.
        pixels = torch.from_numpy(np.require(images, requirements=["C", "W"])).to(self.backbone.device)
        with torch.inference_mode():
            levels = self._trunk(pixels)
            return Features(None, tuple(level.permute(0, 3, 1, 2) for level in levels), head=self._head)

    def fingerprint(self) -> dict[str, Any]:
        """All that decides what the features of a frame are, as JSON values."""
        backbone = self.backbone
        levels = zip(backbone.level_names, backbone.level_channels, backbone.strides, strict=True)
        return {
            "format": FINGERPRINT_FORMAT,
            "backbone": backbone.name,
            "weights_id": backbone.weights_id,
            "levels": [{"name": name, "channels": channels, "stride": stride} for name, channels, stride in levels],
            "pooled_channels": backbone.pooled_channels,
            "preprocessing": self.preprocess.describe(),
        }

    def _check(self, images: object) -> None:
        side = self.preprocess.side
        if not isinstance(images, np.ndarray):
            raise InputError(f"images are a {type(images).__name__}, not a uint8 array")
        if images.ndim != 4 or images.shape[1:] != (side, side, 3) or images.dtype != np.uint8 or len(images) == 0:
            raise InputError(
                f"images have shape {images.shape} and dtype {images.dtype}; (B, {side}, {side}, 3) uint8 RGB, B > 0,"
                " is needed: make them with scoring_image and the same preprocessing"
            )


def fingerprint_mismatch(expected: Mapping[str, Any], actual: Mapping[str, Any]) -> str | None:
    """What two fingerprints differ in, every field in words, or None where they agree.

    Args:
        expected: of what runs.
        actual: of the gallery.
    """
    ours, theirs = _flat(expected), _flat(actual)
    differences = [
        f"{field} is {_shown(theirs.get(field, _ABSENT))}, expected {_shown(ours.get(field, _ABSENT))}"
        for field in dict.fromkeys([*ours, *theirs])
        if ours.get(field, _ABSENT) != theirs.get(field, _ABSENT)
    ]
    return "; ".join(differences) or None


def _flat(value: object, name: str = "") -> dict[str, Any]:
    """Nested mappings and lists of mappings as one level: ``{"levels 1 channels": 24, ...}``."""
    if isinstance(value, Mapping):
        items = list(value.items())
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        items = list(enumerate(value, start=1))
    else:
        return {name: value}
    fields: dict[str, Any] = {}
    for key, part in items:
        fields |= _flat(part, f"{name} {key}".strip().replace("_", " "))
    return fields


def _shown(value: object) -> str:
    return "absent" if value is _ABSENT else repr(value)


def _is_whole(level: Tensor) -> bool:
    return level.untyped_storage().nbytes() == level.numel() * level.element_size()


# --- what the runtime runs: bytes in, and channels last in and out, as both ends have them anyway ---------------------


class _Trunk(nn.Module):
    """(B, S, S, 3) uint8 RGB to the levels, (B, H_l, W_l, C_l) each."""

    def __init__(self, network: PyramidNetwork) -> None:
        super().__init__()
        self.network = network
        # For bytes: (x / 255 - mean) / std in one step less. No buffers, which half precision would round.
        self._mean, self._std = (torch.tensor(values) * _MAX_BYTE for values in (IMAGENET_MEAN, IMAGENET_STD))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        mean, std = self._mean.to(images.device), self._std.to(images.device)
        weights = next(self.network.parameters(), self._mean)
        normalised = ((images.float() - mean) / std).permute(0, 3, 1, 2).to(weights.dtype)
        return tuple(level.permute(0, 2, 3, 1).contiguous() for level in self.network.levels(normalised))


class _Head(nn.Module):
    """(B, H, W, C) of the coarsest level to pooled features (B, D)."""

    def __init__(self, network: PyramidNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, deepest: Tensor) -> tuple[Tensor]:
        weights = next(self.network.parameters(), deepest)
        return (self.network.pooled(deepest.permute(0, 3, 1, 2).to(weights.dtype)),)
