"""Batches that fit into memory: one that does not is halved and tried again, and after a while they may grow again.

Pure: what computes a batch, and the clock, are handed in. Used by ``engine``; several threads may use one object.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

RECOVER_AFTER = 60.0
"""Seconds after which the largest batch doubles: what took the memory may be gone, and one failed try costs little."""

_WORDS = (
    "out of memory",  # torch on CUDA, OpenCV
    "out_of_memory",
    "not enough memory",  # torch on Windows and on CPUs
    "can't allocate memory",  # torch on CPUs
    "cannot allocate memory",  # the system, errno 12
    "failed to allocate",  # oneDNN, faiss
    "could not allocate",
    "bad_alloc",  # C++: OpenVINO, faiss
    "bad allocation",
    "alloc_failed",  # cuBLAS and cuDNN: CUBLAS_STATUS_ALLOC_FAILED
    "out_of_resources",  # OpenVINO on GPUs: CL_OUT_OF_RESOURCES
    "allocation_failure",  # the same: CL_MEM_OBJECT_ALLOCATION_FAILURE
)

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class NoRoom:
    """A single item did not fit into memory."""

    reason: str


@dataclass(frozen=True, slots=True)
class _Cap:
    """The largest batch that is tried."""

    size: int  # items
    wanted: int  # items of the largest batch that did not fit: once that size is tried again, nothing is held back
    alone: bool  # the last batch that did not fit was a single item
    since: float  # clock


class Batches:
    """How many items go into one batch.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._cap: _Cap | None = None  # None: no batch has failed lately

    @property
    def degraded(self) -> str:
        """Why batches are smaller than asked for, in words; empty where they are not."""
        with self._lock:
            self._grow()
            cap = self._cap
        if cap is None:
            return ""
        if cap.alone:
            return "out of memory: a single frame did not fit; each is tried alone"
        return f"out of memory: {cap.wanted} frames at once did not fit; at most {cap.size} at once are scored"

    def run(self, items: Sequence[T], work: Callable[[Sequence[T]], R]) -> Iterator[tuple[Sequence[T], R | NoRoom]]:
        """Has ``work`` done on all items, in order, in batches; yields each batch with its result.

        A batch is worked on when the one before it was taken up, so that the results of two are not held at once.
        ``work`` is called again with half of a batch for which it ran out of memory (see :func:`is_out_of_memory`); one
        item that does not fit gets :class:`NoRoom`. Whatever else ``work`` raises comes out of here.
        """
        done = 0
        while done < len(items):
            batch = items[done : done + self._most(len(items) - done)]
            result = self._attempt(batch, work)
            if result is not None:
                yield batch, result[0]
                done += len(batch)
                del result  # else these features were held while the next ones are made

    def _attempt(self, batch: Sequence[T], work: Callable[[Sequence[T]], R]) -> tuple[R | NoRoom] | None:
        """The result; None: try a smaller batch. Outside of ``except`` the failed attempt's memory is free again."""
        try:
            return (work(batch),)
        except Exception as error:  # every library has its own type for it
            if not is_out_of_memory(error):
                raise
            reason = f"out of memory: {str(error)[:200] or type(error).__name__}"
        self._shrink(len(batch))
        return (NoRoom(reason),) if len(batch) == 1 else None

    def _most(self, wanted: int) -> int:
        with self._lock:
            self._grow()
            return wanted if self._cap is None else min(wanted, self._cap.size)

    def _shrink(self, failed: int) -> None:
        with self._lock:
            wanted = failed if self._cap is None else max(failed, self._cap.wanted)
            self._cap = _Cap(max(1, failed // 2), wanted, failed == 1, self._clock())

    def _grow(self) -> None:
        """Doubles the cap for each time that has passed; called with the lock held."""
        if self._cap is None:
            return
        periods = math.floor((self._clock() - self._cap.since) / RECOVER_AFTER)
        if periods < 1:
            return
        size = self._cap.size << min(periods, 16)
        grown = replace(self._cap, size=size, alone=False, since=self._cap.since + periods * RECOVER_AFTER)
        self._cap = None if size >= self._cap.wanted else grown


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or what it was raised from, says that memory ran out, on the CPU or on an accelerator."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, MemoryError) or any(word in str(seen).lower() for word in _WORDS):
            return True
        seen = seen.__cause__
    return False
