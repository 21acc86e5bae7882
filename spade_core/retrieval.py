"""Stage 1 of SPADE: retrieval of the K nearest normal frames by their pooled features (section 3.2 of the paper)."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from spade_core.errors import InputError
from spade_core.proposals import Everything, OnGpu, Proposals, Reading, faiss_sees_gpus
from spade_core.pruning import FINE, Neighbours, Pruning, squared_distances

if TYPE_CHECKING:
    import torch

PRUNED_FROM: Final = 4096
"""Gallery frames from which on bounds pay: reading fewer takes about 1 ms for a query, making their bounds 0.2 s."""

_BLOCK = 1024  # rows read at once

_NOT_FINITE = "distances to the gallery's frames are not finite: inference failed"


class NearestFrames:
    """Exact nearest-neighbour search over the pooled features of a gallery.

    Exact: what it finds is what :func:`spade_core.pruning.squared_distances` to each frame finds, in whatever batch and
    on whatever device. What is faster only proposes frames, with a proof that none is left out.

    Args:
        pooled: (N, D) float32, one row per gallery frame. Kept, not copied, where it is C-contiguous (a memory map is
            read row by row), so it must stay as it is.
        device: where to look for proposals: a CUDA device serves if faiss is built for it. None: the CPU.

    Raises:
        InputError: no rows, or not a finite (N, D) float32 matrix.
    """

    def __init__(self, pooled: NDArray[np.float32], *, device: torch.device | None = None) -> None:
        if pooled.ndim != 2 or pooled.dtype != np.float32 or len(pooled) == 0:
            raise InputError(f"pooled features must be (N, D) float32 with N > 0, got {pooled.shape} {pooled.dtype}")
        self._rows = np.ascontiguousarray(pooled)
        if not all(np.isfinite(self._rows[start : start + _BLOCK]).all() for start in range(0, len(pooled), _BLOCK)):
            raise InputError("pooled features hold values that are not finite")
        self._ways: list[_Way] = [Proposals(Reading(self._rows), self._rows), Everything(self._rows)]
        if device is not None and device.type == "cuda" and faiss_sees_gpus():
            self._ways.insert(0, Proposals(OnGpu(self._rows, device.index or 0), self._rows))
        elif len(pooled) >= PRUNED_FROM and pooled.shape[1] > FINE:
            self._ways.insert(0, Pruning(self._rows))

    def __len__(self) -> int:
        return len(self._rows)

    def search(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The K nearest gallery frames of each query, nearest first; of those equally near, the lower index first.

        Args:
            queries: (B, D) float32.
            k: K, from 1 to the number of gallery frames.

        Returns:
            Squared L2 distances (B, K) float32 and gallery indices (B, K) int64.

        Raises:
            InputError: K or the queries do not suit the gallery, or a distance is not finite.
        """
        if not 1 <= k <= len(self):
            raise InputError(f"K = {k}: the gallery holds {len(self)} frame(s), so K must be 1..{len(self)}")
        queries = self._checked(queries)
        distances, indices = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        left = np.arange(len(queries))
        for way in self._ways:
            found = way.nearest(queries[left], k)
            for b, neighbours in zip(left, found, strict=True):
                if neighbours is not None:
                    distances[b], indices[b] = neighbours
            left = left[[neighbours is None for neighbours in found]]
        if not np.isfinite(distances).all():
            raise InputError(_NOT_FINITE)
        return distances, indices

    def ranked(
        self, queries: NDArray[np.float32], frames: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Given frames instead of the nearest ones, in the same form.

        Args:
            queries: (B, D) float32.
            frames: (B, K) int64 gallery indices, in any order.

        Returns:
            Squared L2 distances (B, K) float32 and the indices (B, K) int64, nearest first; of those equally near, the
            one given first.

        Raises:
            InputError: the queries do not suit the gallery, or a distance is not finite.
        """
        queries = self._checked(queries)
        distances = np.empty(frames.shape, np.float32)
        for b, query in enumerate(queries):
            distances[b] = squared_distances(query, self._rows, frames[b])
        if not np.isfinite(distances).all():
            raise InputError(_NOT_FINITE)
        order = np.argsort(distances, axis=1, kind="stable")
        return np.take_along_axis(distances, order, axis=1), np.take_along_axis(frames, order, axis=1)

    def _checked(self, queries: NDArray[np.float32]) -> NDArray[np.float32]:
        if queries.ndim != 2 or queries.shape[1] != self._rows.shape[1]:
            raise InputError(f"queries have shape {queries.shape}; this gallery needs (B, {self._rows.shape[1]})")
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        if not np.isfinite(queries).all():
            raise InputError(_NOT_FINITE)
        return queries


class _Way(Protocol):
    """One way to the nearest frames."""

    def nearest(self, queries: NDArray[np.float32], k: int) -> list[Neighbours | None]:
        """The K nearest rows of each query (B, D); None where this way cannot prove them, or another is faster."""
        ...


def random_frames(count: int, k: int, *, seed: int, time: float) -> NDArray[np.int64]:
    """K different gallery frames drawn at random, for comparison with the nearest ones (table 7 of the paper).

    The draw follows from the seed and the frame's time alone, neither from what was scored before nor from the last
    bits of the features (these change with the batch), so scoring a recording again draws the same frames.

    Args:
        count: N, frames to draw from.
        k: K, from 1 to ``count``.
        seed: another seed, other draws.
        time: seconds; of the frame that is scored.

    Returns:
        (K,) int64, in the order drawn.
    """
    if not 1 <= k <= count:
        raise InputError(f"K = {k}: the gallery holds {count} frame(s), so K must be 1..{count}")
    # A text is hashed in full: neighbouring seeds and times draw independently, the same on every machine.
    return np.array(random.Random(f"{seed} {float(time)!r}").sample(range(count), k), np.int64)


def image_score(distances: NDArray[np.float32]) -> NDArray[np.float32]:
    """Eq. 2: the mean squared L2 distance to the K nearest normal frames.

    Args:
        distances: (B, K) float32 squared L2 distances, from :meth:`NearestFrames.search`.

    Returns:
        (B,) float32.
    """
    return np.asarray(distances.mean(axis=1), dtype=np.float32)
