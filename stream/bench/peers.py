"""What others make of the same features: the arithmetic of SPADE's public implementations, and anomalib's PatchCore.

For timing beside our own scoring. Written here from what those programs compute; nothing is copied.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate

from spade_core.backbone import Backbone
from stream.evaluate.peer import CORESET, GALLERY_FRAMES, LEVELS, load_model

CHUNK = 100
"""Gallery features that are compared at once, as public implementations do: all at once would take gigabytes."""

SIGMA = 4.0
"""Gaussian over the map, pixels of the scoring image: the paper's."""

_SEED = 1  # of what PatchCore's memory bank keeps

Nearest = Callable[[Tensor, Tensor], Tensor]
"""(P, C) query and (Q, C) gallery features to (P,) L2 distances to the nearest."""


def by_differences(query: Tensor, gallery: Tensor) -> Tensor:
    """Distances from the differences of every query feature with every gallery feature, ``CHUNK`` of these at once.

    Step by step, as public implementations have torch do it. They call ``torch.pairwise_distance``, on another layout:
    that takes twice as long as this does.

    Args:
        query: (P, C) float32.
        gallery: (Q, C) float32.

    Returns:
        (P,) L2 distances to the nearest, not squared.
    """
    found = [
        (query[:, None, :] - chunk[None, :, :]).square().sum(dim=2).sqrt().amin(dim=1)
        for chunk in torch.split(gallery, CHUNK)
    ]
    return torch.stack(found).amin(dim=0)


def by_cdist(query: Tensor, gallery: Tensor) -> Tensor:
    """The same through ``torch.cdist``, which multiplies matrices instead."""
    return torch.cdist(query, gallery).amin(dim=1)


def spade_map(
    levels: Sequence[Tensor], normal: Sequence[Tensor], *, size: int, nearest: Nearest
) -> NDArray[np.float32]:
    """Pixel scores as public implementations of SPADE compute them: a map of each level on its own, averaged.

    Args:
        levels: (C_l, H_l, W_l) float32 of a frame.
        normal: of the retrieved normal frame (K = 1).
        size: S, side of the scoring image in pixels.
        nearest: see :data:`Nearest`.

    Returns:
        (S, S) float32.
    """
    maps = []
    with torch.inference_mode():
        for level, reference in zip(levels, normal, strict=True):
            distances = nearest(level.flatten(1).T.contiguous(), reference.flatten(1).T.contiguous())
            cells = distances.reshape(1, 1, *level.shape[1:])
            maps.append(interpolate(cells, size=(size, size), mode="bilinear", align_corners=False)[0, 0])
        mean = torch.stack(maps).mean(dim=0).cpu().numpy()
    return np.asarray(cv2.GaussianBlur(mean, (0, 0), SIGMA), np.float32)


class PatchCore:
    """anomalib's PatchCore on features that are there already.

    Its memory bank holds as many features as its coreset of the gallery would keep, up to what our evaluation gives it
    (``GALLERY_FRAMES``). They are drawn at random: choosing them takes minutes, and makes no query faster.

    Args:
        backbone: whose features they are.
        normal: levels of normal frames, (C_l, H_l, W_l) each; enough of them to fill the bank, see :func:`frames_for`.
        frames: of the gallery.

    Raises:
        UsageError: anomalib is not installed, or has another form.
    """

    def __init__(self, backbone: Backbone, normal: Sequence[Sequence[Tensor]], *, frames: int) -> None:
        self._model = load_model()(backbone)
        self._given = _Given()
        self._model.feature_extractor = self._given
        side = normal[0][0].shape[1] * backbone.strides[0]
        self._image = torch.zeros(1, 3, side, side, device=backbone.device)  # only its size is looked at
        self._model.memory_bank = self._bank(normal, frames)
        self._model.eval()

    def score(self, levels: Sequence[Tensor]) -> NDArray[np.float32]:
        """(S, S) float32 map of a frame with levels (1, C_l, H_l, W_l)."""
        self._given.levels = levels
        with torch.inference_mode():
            found = self._model(self._image)
        return np.asarray(found.anomaly_map[0, 0].float().cpu().numpy(), np.float32)

    def _bank(self, normal: Sequence[Sequence[Tensor]], frames: int) -> Tensor:
        self._model.train()
        embeddings = []
        for levels in normal:
            self._given.levels = [level[None] for level in levels]
            with torch.no_grad():
                embeddings.append(self._model(self._image))
        everything = torch.cat(embeddings)
        kept = max(1, round(CORESET * min(frames, GALLERY_FRAMES) * len(everything) / len(normal)))
        order = torch.randperm(len(everything), generator=torch.Generator().manual_seed(_SEED))
        return everything[order[:kept].to(everything.device)].clone()


def frames_for(gallery_frames: int) -> int:
    """Frames that hold as many features as the coreset of so many keeps."""
    return max(1, math.ceil(CORESET * min(gallery_frames, GALLERY_FRAMES)))


class _Given(nn.Module):
    """A backbone as anomalib calls one, that gives what it was given."""

    levels: Sequence[Tensor] = ()

    def forward(self, images: Any) -> dict[str, Tensor]:
        return dict(zip(LEVELS, self.levels[1:], strict=True))
