"""Stage 2 of SPADE: deep pyramid correspondences (section 3.3 and 3.4 of the paper), on torch tensors of any device.

Letters: C channels of the chosen levels together, P locations of the finest of them (H * W), K retrieved frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch.nn.functional import interpolate

from spade_core.errors import InputError

BLOCK_CELLS = 1 << 22
"""Most distances held at once (float32, 16 MB): 1,024 locations of a frame against the 4,096 of another. It bounds
memory at any size of the maps; a quarter of it or four times as much are no faster."""


def concatenated_pyramid(levels: Sequence[torch.Tensor]) -> torch.Tensor:
    """F(x, p) of the paper: the feature of every location, all levels concatenated with equal weights.

    Coarser levels are upsampled bilinearly to the finest one.

    Args:
        levels: (C_l, H_l, W_l) float tensors of one frame, finest first; the chosen ones alone.

    Returns:
        (P, C) float32, row-major over the finest map.
    """
    if not levels:
        raise InputError("a pyramid needs at least one level")
    size = levels[0].shape[1:]
    maps = [levels[0].float()]
    for level in levels[1:]:
        maps.append(interpolate(level.float()[None], size=size, mode="bilinear", align_corners=False)[0])
    return torch.cat(maps).flatten(1).T.contiguous()


def pixel_scores(query: torch.Tensor, references: Iterable[torch.Tensor], *, kappa: int = 1) -> torch.Tensor:
    """Eq. 3: each location's mean squared L2 distance to its kappa nearest features anywhere in the K frames.

    The frames are streamed: what is held at any time is one of them, one block of distances and (P, kappa) results,
    however large K is, and never anything of queries x gallery x channels. Neighbours are found by the expanded square
    (one matrix product) of features taken from their mean, then their distances are computed again from the differences
    themselves: the expansion cancels badly in float32, the more so the farther features lie from the origin.

    Args:
        query: (P, C) float32, from :func:`concatenated_pyramid`.
        references: K tensors (P', C) float32 on the same device, one per retrieved frame.
        kappa: neighbours averaged, from 1 to the K * P' locations that there are.

    Returns:
        (P,) float32 squared L2 distances.
    """
    if kappa < 1:
        raise InputError(f"kappa = {kappa}: it must be at least 1")
    best: torch.Tensor | None = None
    frames = places = 0
    for reference in references:
        if reference.shape[1] != query.shape[1]:
            raise InputError(f"query has {query.shape[1]} channels, a gallery frame {reference.shape[1]}")
        frames, places = frames + 1, places + len(reference)
        distances = _nearest(query, reference, min(kappa, len(reference)))
        if best is not None:
            distances = torch.cat([best, distances], dim=1)
            distances = distances.topk(min(kappa, distances.shape[1]), dim=1, largest=False).values
        best = distances
    if best is None:
        raise InputError("no gallery frame to compare with")
    if kappa > places:
        raise InputError(f"kappa = {kappa}: {frames} frame(s) have {places} locations, so kappa must be 1..{places}")
    return best.mean(dim=1)


def _nearest(query: torch.Tensor, reference: torch.Tensor, kappa: int) -> torch.Tensor:
    """(P, kappa) squared distances of each row of ``query`` to its nearest rows of ``reference``."""
    centre = reference.mean(dim=0)
    candidates = reference - centre
    lengths = candidates.square().sum(dim=1)
    found = []
    for block in torch.split(query, max(1, BLOCK_CELLS // len(reference))):
        # |q|^2 is the same for all candidates of a row, so it does not change which are nearest.
        ranking = torch.addmm(lengths, block - centre, candidates.T, alpha=-2.0)
        nearest = ranking.argmin(dim=1, keepdim=True) if kappa == 1 else ranking.topk(kappa, largest=False).indices
        found.append(torch.stack([(block - reference[column]).square().sum(dim=1) for column in nearest.T], dim=1))
    return torch.cat(found)
