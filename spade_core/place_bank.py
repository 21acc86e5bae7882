"""A scene's normal features by place, and how far a frame's features lie from them there (``campus`` only).

The faithful method looks for a match in the whole of one retrieved frame. A camera that does not move allows the
opposite: all gallery frames, but only at the same place or next to it. What it needs of the gallery is small: of each
place, those features that differ most from one another.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import avg_pool2d, interpolate, unfold

from spade_core.gallery import NormalFrames

LEVELS = (1, 2)
"""Pyramid levels that a place's feature is made of, counted from 0: the finest one sees edges, not things."""

_BLOCK = 64  # gallery frames read at once


def place_features(levels: Sequence[torch.Tensor], *, average: int) -> torch.Tensor:
    """Features by place: levels 2 and 3 on the grid of level 3, each averaged over ``average`` x ``average`` cells.

    The average makes a place's feature less dependent on where exactly in it a limb or an edge lies (as in PatchCore,
    Roth et al. 2022, section 3.1).

    Args:
        levels: (B, C_l, H_l, W_l), finest first.
        average: odd number of cells; 1 = none.

    Returns:
        (B, C, h, w) float32.
    """
    middle, coarse = (_averaged(levels[level].float(), average) for level in LEVELS)
    return torch.cat([interpolate(middle, size=coarse.shape[2:], mode="area"), coarse], dim=1)


def k_center(features: torch.Tensor, count: int) -> list[int]:
    """Indices of a subset that covers the rest well: greedy k-center (Gonzalez 1985).

    Starts at the sample nearest to the mean, then takes, again and again, the one farthest from all taken so far. The
    largest distance of any sample to the subset is at most twice that of the best subset of this size.

    Args:
        features: (N, C) float32.
        count: samples wanted; all N where there are no more.

    Returns:
        Indices in the order in which they were taken: a shorter subset is a beginning of it.
    """
    squares = features.square().sum(dim=1)

    def distances_to(index: int) -> torch.Tensor:
        return squares + squares[index] - 2 * (features @ features[index])

    first = int((features - features.mean(dim=0)).square().sum(dim=1).argmin())
    taken, nearest = [first], distances_to(first)
    while len(taken) < min(count, len(features)):
        farthest = int(nearest.argmax())
        taken.append(farthest)
        torch.minimum(nearest, distances_to(farthest), out=nearest)
        nearest[farthest] = -torch.inf  # of samples that are equal each is still taken once
    return taken


def build_bank(normal: NormalFrames, *, count: int, average: int, device: torch.device) -> NDArray[np.float16]:
    """The bank of a scene: of each place the ``count`` gallery features that :func:`k_center` chooses there.

    Returns:
        (h, w, n, C) float16, n = min(count, N): it takes the place of N frames.
    """
    frames = len(normal.pooled)
    blocks = []
    for start in range(0, frames, _BLOCK):
        pyramids = [normal.pyramid(index) for index in range(start, min(start + _BLOCK, frames))]
        levels = [torch.from_numpy(np.stack([pyramid[level] for pyramid in pyramids])) for level in range(3)]
        blocks.append(place_features(levels, average=average).half())
    everything = torch.cat(blocks)  # (N, C, h, w) in half precision: 80 KB a frame
    channels, height, width = everything.shape[1:]
    bank = np.empty((height, width, min(count, frames), channels), np.float16)
    with torch.inference_mode():
        for row in range(height):
            for column in range(width):
                here = everything[:, :, row, column].to(device).float()
                bank[row, column] = here[k_center(here, count)].half().cpu().numpy()
    return bank


class PlaceBank:
    """Finds how far features are from what is normal at their place.

    Args:
        bank: (h, w, n, C) float16, from :func:`build_bank`.
        average: as it was built with.
        reach: places beside a feature's own that it may match in: 0 or 1.
        device: where the features are.
    """

    def __init__(self, bank: NDArray[np.float16], *, average: int, reach: int, device: torch.device) -> None:
        self._average, self._reach = average, reach
        self.grid = bank.shape[:2]
        features = torch.from_numpy(np.array(bank)).to(device).float().flatten(0, 1)
        # (places, C, n): one product per place meets all of its features and reads the bank once; this way round, with
        # the long side last, it is nearly three times as fast as the other.
        self._bank = features.transpose(1, 2).contiguous()
        self._squares = features.square().sum(dim=2)[:, None]

    def distances(self, levels: Sequence[torch.Tensor]) -> NDArray[np.float32]:
        """Distance of each place's feature to the nearest in the bank there, or ``reach`` places beside it.

        Args:
            levels: of one frame, (1, C_l, H_l, W_l), finest first.

        Returns:
            (h, w) float32 L2 distances, not squared: a place's score should not hang on its few strongest channels.
        """
        with torch.inference_mode():
            query = place_features(levels, average=self._average)
            height, width = self.grid
            side = 2 * self._reach + 1
            # (places, side^2, C): for each place of the bank, the query at it and around it.
            around = unfold(query, kernel_size=side, padding=self._reach)[0]
            around = around.reshape(query.shape[1], side * side, -1).permute(2, 1, 0).contiguous()
            nearest = torch.baddbmm(self._squares, around, self._bank, alpha=-2.0).amin(dim=2)
            best = _spread(nearest.T.reshape(side, side, height, width), self._reach)
            squared = best + query[0].square().sum(dim=0)
            return np.asarray(squared.clamp_min(0).sqrt().cpu().numpy(), np.float32)


def _spread(nearest: torch.Tensor, reach: int) -> torch.Tensor:
    """(h, w) lowest of what a feature met at each place of the bank that it may match in.

    Args:
        nearest: (side, side, h, w): what the feature at offset (dy, dx) from a place met there.
        reach: largest offset.
    """
    height, width = nearest.shape[2:]
    best = torch.full((height, width), torch.inf, device=nearest.device)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            target = best[max(0, dy) : height + min(0, dy), max(0, dx) : width + min(0, dx)]
            met = nearest[dy + reach, dx + reach][max(0, -dy) : height - max(0, dy), max(0, -dx) : width - max(0, dx)]
            torch.minimum(target, met, out=target)
    return best


def _averaged(level: torch.Tensor, cells: int) -> torch.Tensor:
    if cells == 1:
        return level
    return avg_pool2d(level, kernel_size=cells, stride=1, padding=cells // 2, count_include_pad=False)
