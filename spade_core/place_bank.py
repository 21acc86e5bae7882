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
from torch import nn
from torch.nn.functional import avg_pool2d, interpolate

from spade_core.gallery import NormalFrames
from spade_core.runtime import Runtime

LEVELS = (1, 2)
"""Pyramid levels that a place's feature is made of, counted from 0: the finest one sees edges, not things."""

MOST_CONFIRMED = 64
"""Confirmed features of a place that a bank holds on top of the chosen ones: half as many again as it is made of. Of
more, those are kept that cover the others best."""

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
    grid = levels[LEVELS[-1]].shape[2:]
    return torch.cat([_by_place(levels[level].float(), grid, average) for level in LEVELS], dim=1)


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


def build_bank(
    normal: NormalFrames, *, count: int, average: int, device: torch.device, confirmed: Sequence[int] = ()
) -> NDArray[np.float16]:
    """The bank of a scene: of each place the ``count`` gallery features that :func:`k_center` chooses there, and those
    of confirmed frames.

    Args:
        normal: N frames.
        count: features chosen of each place.
        average: see :func:`place_features`.
        device: where to compute.
        confirmed: frames that somebody called normal: they are never among the chosen ones and left out, but on top.

    Returns:
        (h, w, n, C) float16, n = min(count, N - M) + min(M, MOST_CONFIRMED) for M confirmed frames, which stand at the
        end: it takes the place of N frames.
    """
    frames = len(normal.pooled)
    blocks = []
    for start in range(0, frames, _BLOCK):
        pyramids = [normal.pyramid(index) for index in range(start, min(start + _BLOCK, frames))]
        levels = [torch.from_numpy(np.stack([pyramid[level] for pyramid in pyramids])) for level in range(3)]
        blocks.append(place_features(levels, average=average).half())
    everything = torch.cat(blocks)  # (N, C, h, w) in half precision: 80 KB a frame
    others = sorted(set(range(frames)) - set(confirmed))
    bank = _chosen(everything[others] if confirmed else everything, count, device)
    return with_confirmed(bank, _by_place_first(everything[list(confirmed)])) if confirmed else bank


def extended_bank(
    bank: NDArray[np.float16], levels: Sequence[Sequence[NDArray[np.floating]]], *, average: int, before: int
) -> NDArray[np.float16]:
    """A bank with more confirmed frames: what :func:`build_bank` makes with them, without reading the others again.

    No distance to it is larger than to the bank before, as long as no more than ``MOST_CONFIRMED`` are confirmed.

    Args:
        bank: (h, w, n, C) from :func:`build_bank`.
        levels: of each frame that is added, (C_l, H_l, W_l) each, finest first.
        average: as the bank was built with.
        before: confirmed frames that the bank was built with.
    """
    stacked = [torch.from_numpy(np.stack([frame[level] for frame in levels])) for level in range(len(levels[0]))]
    added = _by_place_first(place_features(stacked, average=average).half())
    chosen = bank.shape[2] - min(before, MOST_CONFIRMED)
    return with_confirmed(bank[:, :, :chosen], np.concatenate([bank[:, :, chosen:], added], axis=2))


def with_confirmed(bank: NDArray[np.float16], confirmed: NDArray[np.float16]) -> NDArray[np.float16]:
    """(h, w, n + min(M, MOST_CONFIRMED), C): a bank (h, w, n, C), and (h, w, M, C) features at its end."""
    height, width, found, channels = confirmed.shape
    if found > MOST_CONFIRMED:
        flat = torch.from_numpy(confirmed).float().reshape(height * width, found, channels)
        kept = np.array([sorted(k_center(here, MOST_CONFIRMED)) for here in flat]).reshape(height, width, -1, 1)
        confirmed = np.take_along_axis(confirmed, kept, axis=2)
    return np.concatenate([bank, confirmed], axis=2)


def _chosen(features: torch.Tensor, count: int, device: torch.device) -> NDArray[np.float16]:
    """(h, w, n, C) of (N, C, h, w) features."""
    frames, channels, height, width = features.shape
    bank = np.empty((height, width, min(count, frames), channels), np.float16)
    with torch.inference_mode():
        for row in range(height):
            for column in range(width):
                here = features[:, :, row, column].to(device).float()
                bank[row, column] = here[k_center(here, count)].half().cpu().numpy()
    return bank


def _by_place_first(features: torch.Tensor) -> NDArray[np.float16]:
    """(h, w, M, C) of (M, C, h, w) features."""
    return np.asarray(features.permute(2, 3, 0, 1).cpu().numpy(), np.float16)


class PlaceBank:
    """Finds how far features are from what is normal at their place.

    Args:
        bank: (h, w, n, C) float16, from :func:`build_bank`.
        shapes: (C_l, H_l, W_l) of all levels of a frame's features.
        average: as it was built with.
        reach: places beside a feature's own that it may match in: 0 or 1.
        runtime: what compares, where the features are.
    """

    def __init__(
        self,
        bank: NDArray[np.float16],
        *,
        shapes: Sequence[tuple[int, ...]],
        average: int,
        reach: int,
        runtime: Runtime,
    ) -> None:
        wanted = [shapes[level] for level in LEVELS]
        network = _NearestNearby(bank, [shape[1:] for shape in wanted], average=average, reach=reach)
        examples = [torch.zeros(1, h, w, c, device=runtime.device) for c, h, w in wanted]
        self._nearest = runtime.compile(network, *examples, single=True)

    def distances(self, levels: Sequence[torch.Tensor]) -> NDArray[np.float32]:
        """Distance of each place's feature to the nearest in the bank there, or ``reach`` places beside it.

        Args:
            levels: of one frame, (1, C_l, H_l, W_l), finest first.

        Returns:
            (h, w) float32 L2 distances, not squared: a place's score should not hang on its few strongest channels.
        """
        (found,) = self._nearest(*(levels[level].permute(0, 2, 3, 1) for level in LEVELS))
        return np.asarray(found[0].cpu().numpy(), np.float32)


class _NearestNearby(nn.Module):
    """The search as one network, which a runtime runs at its own speed: two small products make the places' features,
    one batched product meets each place's bank with all features that may match there, reading the bank once.

    Args: as of :class:`PlaceBank`; ``sizes`` are (H_l, W_l) of the levels in use.
    """

    bank: torch.Tensor  # (places, C, n), times -2: with the long side last it is three times as fast
    squares: torch.Tensor  # (places, 1, n)
    around: torch.Tensor  # (places * side^2,), see _neighbourhoods
    met: torch.Tensor  # the same

    def __init__(
        self, bank: NDArray[np.float16], sizes: Sequence[tuple[int, ...]], *, average: int, reach: int
    ) -> None:
        super().__init__()
        self._grid, self._side2 = (bank.shape[0], bank.shape[1]), (2 * reach + 1) ** 2
        features = torch.from_numpy(np.array(bank)).float().flatten(0, 1)
        self.register_buffer("bank", (-2 * features.transpose(1, 2)).contiguous())
        self.register_buffer("squares", features.square().sum(dim=2)[:, None])
        for name, indices in zip(("around", "met"), _neighbourhoods(*self._grid, reach), strict=True):
            self.register_buffer(name, torch.from_numpy(indices.ravel()))
        # Averaging and resizing are linear: one matrix says what they do to each cell alone.
        for number, size in enumerate(sizes):
            self.register_buffer(f"places{number}", _place_matrix(size, self._grid, average))

    def forward(self, *levels: torch.Tensor) -> tuple[torch.Tensor]:
        """Levels (B, H_l, W_l, C_l) float32 to distances (B, h, w) float32."""
        samples, places = len(levels[0]), self._grid[0] * self._grid[1]
        by_place = [self.get_buffer(f"places{i}") @ v.flatten(1, 2) for i, v in enumerate(levels)]
        query = torch.cat(by_place, dim=2)  # (B, places, C)
        around = query[:, self.around].reshape(samples, places, self._side2, -1)
        around = around.transpose(0, 1).reshape(places, samples * self._side2, -1)
        # |b|^2 - 2 q b; |q|^2 is the same for all that a feature meets.
        met = (torch.matmul(around, self.bank) + self.squares).amin(dim=2)
        met = met.reshape(places, samples, self._side2).transpose(0, 1).reshape(samples, -1)
        nearest = met[:, self.met].reshape(samples, places, self._side2).amin(dim=2)
        squared = nearest + query.square().sum(dim=2)
        return (squared.clamp_min(0).sqrt().reshape(samples, *self._grid),)


def _neighbourhoods(height: int, width: int, reach: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Who meets whom, as indices.

    Returns:
        around: (places, side^2) places whose features meet the bank of a place: those at most ``reach`` beside it.
            Beyond the edge stands the edge again, for the sake of equal numbers.
        met: (places, side^2) where in an array like ``around`` stands what a place's own feature met: in each bank that
            it may match in. Where there is none, its own again.
    """
    row, column = np.mgrid[:height, :width].reshape(2, -1)
    offsets = [(dy, dx) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1)]
    around = np.empty((height * width, len(offsets)), np.int64)
    met = np.empty_like(around)
    for slot, (dy, dx) in enumerate(offsets):
        around[:, slot] = (row + dy).clip(0, height - 1) * width + (column + dx).clip(0, width - 1)
        # The bank at (row - dy, column - dx) met this place's feature in this slot.
        there = (row - dy >= 0) & (row - dy < height) & (column - dx >= 0) & (column - dx < width)
        own = (row * width + column) * len(offsets) + len(offsets) // 2
        met[:, slot] = np.where(there, ((row - dy) * width + column - dx) * len(offsets) + slot, own)
    return around, met


def _by_place(level: torch.Tensor, grid: Sequence[int], average: int) -> torch.Tensor:
    """(B, C, h, w) averages of ``average`` x ``average`` cells of a level (B, C, H, W), on the grid (h, w)."""
    if average > 1:
        level = avg_pool2d(level, kernel_size=average, stride=1, padding=average // 2, count_include_pad=False)
    return interpolate(level, size=tuple(grid), mode="area")


def _place_matrix(size: Sequence[int], grid: Sequence[int], average: int) -> torch.Tensor:
    """(h * w, H * W) float32: what each place gets of each cell."""
    cells = size[0] * size[1]
    each_alone = torch.eye(cells).reshape(1, cells, *size)
    return _by_place(each_alone, grid, average).reshape(cells, -1).T.contiguous()
