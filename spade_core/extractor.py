"""Scoring images in, features out, on whatever device the backbone is. Used by ``scorer`` and by whoever feeds it.

Also home of the fingerprint: what a gallery was made with, so that one made with something else is refused in words.
torch's global settings (threads, TF32) are the caller's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spade_core.backbone import Backbone
from spade_core.errors import InputError
from spade_core.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess

FINGERPRINT_FORMAT: Final = 1
"""Grows when the same names and numbers come to mean other features."""

_MAX_BYTE: Final = 255.0
_ABSENT: Final = object()


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """What the backbone sees in B images, on its device. The memory layout of the levels is not promised."""

    pooled: Tensor  # (B, D) float32: the whole image
    levels: tuple[Tensor, ...]  # (B, C_l, H_l, W_l) float32 each, finest first: the pyramid


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
        backbone.prepare(preprocess.side)  # here, so that it is no camera's first frame that waits for it
        # For bytes: (x / 255 - mean) / std in one step less.
        self._mean = _per_channel(IMAGENET_MEAN, backbone.device)
        self._std = _per_channel(IMAGENET_STD, backbone.device)

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
        # Bytes go to the device, floats are made there: a quarter of the transfer. The permuted view is channels-last
        # already, and stays so. Message views are read-only, which torch does not know: those are copied.
        pixels = torch.from_numpy(np.require(images, requirements=["C", "W"])).to(self.backbone.device)
        with torch.inference_mode():
            normalised = (pixels.permute(0, 3, 1, 2).float() - self._mean) / self._std
            pooled, levels = self.backbone(normalised)
        return Features(pooled, levels)

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


def _per_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(values, device=device).view(1, -1, 1, 1) * _MAX_BYTE
