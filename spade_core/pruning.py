"""Which of many rows can be among the K nearest at all: provable bounds, far cheaper than distances. For ``retrieval``.

With P orthonormal rows and c any point, f(x) = (P(x - c), |what P leaves of x - c|) never stretches:
|f(q) - f(x)| <= |q - x|. Frames of one camera differ along few directions, so a short f leaves few rows to compare in
full, and the result is that of comparing all. Letters: N rows, D their length, W the length of f.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import faiss
import numpy as np
from numpy.typing import NDArray

Neighbours = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Squared distances (K,) and the rows' indices (K,) of one query, nearest first, of equal ones the lower index."""

COARSE: Final = 64
"""W of what is read of every row: 12 MB for 50,000. On Ped2, 32 leave twice as many rows for the next step."""

FINE: Final = 192
"""W of what is read of the rows that ``COARSE`` leaves: on Ped2 one in 10 is left of them then, of 128 one in 4."""

_SAMPLE = 1024  # rows, evenly spaced, that P is found from: any P is right, a better one leaves fewer rows
_BLOCK = 2048  # rows projected at once: 20 MB of float64
_COMPARED = 64  # rows compared at once: 330 kB of differences, which stay in the cache
_FIRST = 32  # rows compared before anything is ruled out, at least
_MOST = 1 / 2  # of N that COARSE may leave, and ...
_MOST_COMPARED = 1 / 8  # ... FINE: where more are left, reading all rows in order is faster than picking


def rounding(terms: int) -> float:
    """How far a sum of squares of this many differences is off at most in float32, in any order, as a part of itself.

    A difference and a square are off by u = 2**-24 of themselves, and each of the additions by u of the sum so far.
    """
    n = (terms + 2) * 2.0**-24
    return n / (1 - n)


class Found:
    """The nearest of the rows that one query was compared with so far.

    Args:
        query: (D,) float32.
        rows: (N, D) float32.
        k: K.
    """

    def __init__(self, query: NDArray[np.float32], rows: NDArray[np.float32], k: int) -> None:
        self._query, self._rows, self._k = query, rows, k
        self.neighbours: Neighbours = np.empty(0, np.float32), np.empty(0, np.int64)

    def compare(self, frames: NDArray[np.int64]) -> None:
        """Compares the query with rows that it was not compared with before."""
        parts = [frames[start : start + _COMPARED] for start in range(0, len(frames), _COMPARED)]
        compared = [squared_distances(self._query, self._rows, part) for part in parts]
        distances = np.concatenate([self.neighbours[0], *compared])
        indices = np.concatenate([self.neighbours[1], frames])
        kept = np.lexsort((indices, distances))[: self._k]
        self.neighbours = distances[kept], indices[kept]

    @property
    def reach(self) -> float:
        """No row farther than this (L2, exact) can still be among the nearest; infinite before K rows were compared.

        The K-th distance is off by its rounding, and so is the one that would have to be smaller. ``tiny`` is for
        differences so small that their squares are none in float32.
        """
        if len(self.neighbours[0]) < self._k:
            return float("inf")
        terms, kth = len(self._query), float(self.neighbours[0][-1])
        off = rounding(terms)
        return float(np.sqrt(kth * (1 + off) / (1 - off) + terms * np.finfo(np.float32).tiny))


def squared_distances(
    query: NDArray[np.float32], rows: NDArray[np.float32], frames: NDArray[np.int64]
) -> NDArray[np.float32]:
    """(M,) squared L2 distances from one query (D,) to M of the rows (N, D), each whatever the others are.

    From differences: |x|² + |y|² - 2xy cancels in float32.
    """
    with np.errstate(over="ignore"):  # infinite, and refused by those who ask
        difference = rows.take(frames, axis=0)
        difference -= query
        np.square(difference, out=difference)
        return np.asarray(difference.sum(axis=1), np.float32)


class Pruning:
    """Compares in full only rows that a bound does not rule out.

    Args:
        rows: (N, D) float32, C-contiguous, D > ``FINE``. Kept, not copied: they must stay as they are.
    """

    def __init__(self, rows: NDArray[np.float32]) -> None:
        self._rows = rows
        sample = rows[np.linspace(0, len(rows) - 1, min(len(rows), _SAMPLE)).astype(np.int64)].astype(np.float64)
        self._center = sample.mean(axis=0).astype(np.float32)
        self._basis = principal_directions(sample - self._center, FINE - 1)
        self._slack = _slack(rows.shape[1])
        self._coarse = np.empty((len(rows), COARSE), np.float32)
        self._fine = np.empty((len(rows), FINE), np.float32)
        for start in range(0, len(rows), _BLOCK):
            block = slice(start, start + _BLOCK)
            self._coarse[block], self._fine[block], _ = self._short(rows[block])

    def nearest(self, queries: NDArray[np.float32], k: int) -> list[Neighbours | None]:
        """The K nearest rows of each query (B, D); None where the bounds leave so many that reading all is faster."""
        if max(4 * k, _FIRST) > _MOST_COMPARED * len(self._rows):
            return [None] * len(queries)
        return [self._nearest(query, k) for query in queries]

    def _nearest(self, query: NDArray[np.float32], k: int) -> Neighbours | None:
        # One query at a time: a product of matrices waits for all threads of BLAS, up to 50 ms on a busy machine.
        (coarse,), (fine,), (length,) = self._short(query[None])
        found, rows = Found(query, self._rows, k), len(self._rows)
        bounds = _squares(coarse, self._coarse)
        count = max(4 * k, _FIRST)
        first = np.argpartition(bounds, count - 1)[:count]
        found.compare(first)
        possible = bounds <= self._limit(found, length, COARSE)
        possible[first] = False
        left = np.flatnonzero(possible)
        if len(left) > _MOST * rows:
            return None
        bounds = _squares(fine, self._fine.take(left, axis=0))
        if np.count_nonzero(bounds <= self._limit(found, length, FINE)) > _MOST_COMPARED * rows:
            return None
        for part in _in_order(bounds):
            if bounds[part[0]] > self._limit(found, length, FINE):
                break
            found.compare(left[part])
        return found.neighbours

    def _limit(self, found: Found, length: float, width: int) -> np.float32:
        """The largest bound that a row within reach can have, as computed.

        A row at distance t of a query of length l (from c) has at most the length l + t itself, and each f is off by
        ``_slack`` of that length.
        """
        reach = found.reach
        limit = (reach + self._slack * (2 * length + reach)) ** 2 * (1 + rounding(width))
        with np.errstate(over="ignore"):  # infinite: rules nothing out
            return np.float32(limit)

    def _short(self, rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
        """f of M rows, coarse (M, COARSE) and fine (M, FINE), and their lengths (M,) from c."""
        moved = np.subtract(rows, self._center, dtype=np.float64)
        along = moved @ self._basis
        total = np.einsum("md,md->m", moved, moved)
        return _with_rest(along, total, COARSE), _with_rest(along, total, FINE), np.sqrt(total)


def principal_directions(rows: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """About the ``count`` directions along which rows (M, D) differ most, most first: (D, count), orthonormal.

    A randomized range finder with power iteration (Halko, Martinsson and Tropp 2011, algorithm 4.3), whose draw is the
    same each time. What float32 loses of the spectrum makes the directions worse, not less orthonormal.
    """
    scaled = (rows / (np.abs(rows).max() or 1.0)).astype(np.float32)
    drawn = np.random.default_rng(0).standard_normal((rows.shape[1], count), dtype=np.float32)
    for _ in range(2):
        drawn = scaled.T @ (scaled @ drawn)
    spanning = np.linalg.qr(drawn.astype(np.float64))[0]
    image = scaled @ spanning.astype(np.float32)
    by_size = np.linalg.eigh((image.T @ image).astype(np.float64))[1][:, ::-1]
    return np.asarray(spanning @ by_size, np.float64)


def _slack(length: int) -> float:
    """How far a stored f lies from the exact one at most, as a part of |x - c|, for rows of D = ``length``.

    Rounded to float32 it is off by 2**-24. Before, with u = 2**-53, each of its W coordinates is off by D u and the sum
    of their squares by 2 sqrt(W) D u. What P leaves is the root of a difference of such sums, so it is off by the root
    of that. Twice as much leaves room for P, orthonormal up to rounding, too.
    """
    return 2.0**-23 + float(np.sqrt(4 * np.sqrt(FINE) * length * 2.0**-53))


def _with_rest(along: NDArray[np.float64], total: NDArray[np.float64], width: int) -> NDArray[np.float32]:
    kept = along[:, : width - 1]
    rest = np.sqrt(np.maximum(total - np.einsum("mw,mw->m", kept, kept), 0))
    with np.errstate(over="ignore"):  # infinite: rules nothing out
        return np.column_stack([kept, rest]).astype(np.float32)


def _squares(query: NDArray[np.float32], rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """(M,) squared L2 distances from (W,) to (M, W): faster than ``squared_distances``, each dependent on its place."""
    squares = np.empty(len(rows), np.float32)
    pointers = map(faiss.swig_ptr, (squares, query, rows))
    faiss.fvec_L2sqr_ny(*pointers, rows.shape[1], len(rows))  # type: ignore[attr-defined, unused-ignore]  # no stub
    return np.fmax(squares, 0, out=squares)  # inf - inf: such a bound says nothing


def _in_order(bounds: NDArray[np.float32]) -> Iterator[NDArray[np.int64]]:
    order = np.argsort(bounds)
    return (order[start : start + _COMPARED] for start in range(0, len(order), _COMPARED))
