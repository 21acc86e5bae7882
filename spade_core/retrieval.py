"""Stage 1 of SPADE: retrieval of the K nearest normal frames by their pooled features (section 3.2 of the paper)."""

from __future__ import annotations

import random

import faiss
import numpy as np
from numpy.typing import NDArray

from spade_core.errors import InputError

_ROWS = 16
"""Queries searched at once. For many, faiss expands the square to |x|² + |y|² - 2xy, which cancels in float32: a
frame's score would depend on how many others came with it."""

_NOT_FINITE = "distances to the gallery's frames are not finite: inference failed"


class NearestFrames:
    """Exact nearest-neighbour index over the pooled features of a gallery.

    Args:
        pooled: (N, D) float32, one row per gallery frame.

    Raises:
        InputError: no rows, or not a finite (N, D) float32 matrix.
    """

    def __init__(self, pooled: NDArray[np.float32]) -> None:
        if pooled.ndim != 2 or pooled.dtype != np.float32 or len(pooled) == 0:
            raise InputError(f"pooled features must be (N, D) float32 with N > 0, got {pooled.shape} {pooled.dtype}")
        if not np.isfinite(pooled).all():
            raise InputError("pooled features hold values that are not finite")
        self._index = faiss.IndexFlatL2(pooled.shape[1])
        self._index.add(np.ascontiguousarray(pooled))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def search(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The K nearest gallery frames of each query, nearest first.

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
        for start in range(0, len(queries), _ROWS):
            rows = slice(start, start + _ROWS)
            distances[rows], indices[rows] = self._index.search(queries[rows], k)
        if (indices < 0).any():  # faiss says -1 where a distance is no number, and -1 is a frame to NumPy
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
            Squared L2 distances (B, K) float32 and the indices (B, K) int64, nearest first.

        Raises:
            InputError: the queries do not suit the gallery, or a distance is not finite.
        """
        queries = self._checked(queries)
        distances = np.empty(frames.shape, np.float32)
        with np.errstate(over="ignore"):  # refused below, like all that is not finite
            for b, query in enumerate(queries):
                distances[b] = np.square(self._index.reconstruct_batch(frames[b]) - query).sum(axis=1)
        if not np.isfinite(distances).all():
            raise InputError(_NOT_FINITE)
        order = np.argsort(distances, axis=1, kind="stable")
        return np.take_along_axis(distances, order, axis=1), np.take_along_axis(frames, order, axis=1)

    def _checked(self, queries: NDArray[np.float32]) -> NDArray[np.float32]:
        if queries.ndim != 2 or queries.shape[1] != self._index.d:
            raise InputError(f"queries have shape {queries.shape}; this gallery needs (B, {self._index.d})")
        return np.ascontiguousarray(queries, dtype=np.float32)


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
