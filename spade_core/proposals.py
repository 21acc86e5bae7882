"""Nearest rows by faiss, which sums otherwise, proposed first and then compared and proven. For ``retrieval``."""

from __future__ import annotations

from typing import Final, Protocol

import faiss
import numpy as np
from numpy.typing import NDArray

from spade_core.pruning import Found, Neighbours, rounding

_QUERIES: Final = 16
"""Searched at once. For more, faiss expands the square to |x|² + |y|² - 2xy, which cancels in float32."""

_BLOCK = 1024  # rows brought to the GPU at once


class Everything:
    """The last way: the query is compared with each row."""

    def __init__(self, rows: NDArray[np.float32]) -> None:
        self._rows = rows

    def nearest(self, queries: NDArray[np.float32], k: int) -> list[Neighbours | None]:
        found = [Found(query, self._rows, k) for query in queries]
        for one in found:
            one.compare(np.arange(len(self._rows)))
        return [one.neighbours for one in found]


class Proposer(Protocol):
    """Measures distances that are not those that count, but close to them."""

    most: int  # rows that it can propose

    def propose(self, queries: NDArray[np.float32], count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The nearest rows by this measure: squared distances (B, count) and indices, nearest first."""
        ...

    def count(self, k: int) -> int:
        """How many to propose for K."""
        ...

    def limit(self, query: NDArray[np.float32], reach: float) -> float:
        """The largest squared distance that this can measure where the exact distance is at most ``reach``."""
        ...


class Proposals:
    """The query is compared with the rows that are nearest by a proposer's measure, with more until it is proven."""

    def __init__(self, proposer: Proposer, rows: NDArray[np.float32]) -> None:
        self._proposer, self._rows = proposer, rows

    def nearest(self, queries: NDArray[np.float32], k: int) -> list[Neighbours | None]:
        count = self._proposer.count(k)
        return [
            neighbours
            for start in range(0, len(queries), _QUERIES)
            for neighbours in self._among(queries[start : start + _QUERIES], k, count)
        ]

    def _among(self, queries: NDArray[np.float32], k: int, count: int) -> list[Neighbours | None]:
        if 4 * count > len(self._rows) or count > self._proposer.most:
            return [None] * len(queries)
        measured, frames = self._proposer.propose(queries, count)
        return [self._proven(*each, k) for each in zip(queries, measured, frames, strict=True)]

    def _proven(
        self, query: NDArray[np.float32], measured: NDArray[np.float32], frames: NDArray[np.int64], k: int
    ) -> Neighbours | None:
        if (frames < 0).any():  # faiss says so where a distance is no number
            return None
        found = Found(query, self._rows, k)
        found.compare(frames)
        if measured[-1] > self._proposer.limit(query, found.reach):
            return found.neighbours
        return self._among(query[None], k, 4 * len(frames))[0]


class Reading:
    """Reads each row; sums in an order of its own."""

    def __init__(self, rows: NDArray[np.float32]) -> None:
        self._rows, self.most = rows, len(rows)

    def propose(self, queries: NDArray[np.float32], count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        measured, frames = faiss.knn(queries, self._rows, count)
        return measured, frames

    def count(self, k: int) -> int:
        return k + 24  # rows beyond the K-th that may be as near up to rounding

    def limit(self, query: NDArray[np.float32], reach: float) -> float:
        return reach**2 * (1 + rounding(len(query)))


class OnGpu:
    """Rows on a GPU, moved by their mean, for there the square is expanded: the shorter they are, the less cancels."""

    most = 2048  # by faiss

    def __init__(self, rows: NDArray[np.float32], gpu: int) -> None:
        self._center = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
        self._resources = faiss.StandardGpuResources()  # the index refers to it
        config = faiss.GpuIndexFlatConfig()
        config.device = gpu
        self._index = faiss.GpuIndexFlatL2(self._resources, rows.shape[1], config)
        for start in range(0, len(rows), _BLOCK):
            self._index.add(rows[start : start + _BLOCK] - self._center)

    def propose(self, queries: NDArray[np.float32], count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        measured, frames = self._index.search(queries - self._center, count)
        return measured, frames

    def count(self, k: int) -> int:
        return max(4 * k, 32)

    def limit(self, query: NDArray[np.float32], reach: float) -> float:
        """Of l, the query's length from the center, and l + reach, the most that such a row has: each is off by one
        rounding, and the expanded square by as many as it has terms, of the square of their sum.
        """
        both = 2 * float(np.linalg.norm(query - self._center)) + reach
        return (reach + both * 2.0**-23) ** 2 + 2 * rounding(len(query)) * both**2


def faiss_sees_gpus() -> bool:
    return hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0
