"""Timing of things that are to be compared: in turn, round after round, so that whatever slows the machine down for a
while slows all of them down alike. Knows nothing of what it times.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from stream.errors import StreamError
from stream.progress import progress_bar

LEAST_RUNS = 3
"""Timings of each task, at least: a median of fewer is none."""

SETTLE_BELOW = 0.1
"""Seconds; what takes less is run once untimed before it is timed. Each task finds the caches full of what the one
before it needed, and the pipeline does the same thing over and over."""

_SEED = 1  # of the order within a round


def nothing() -> None:
    """For tasks that need nothing beforehand, and devices that need not be waited for."""


@dataclass(frozen=True, slots=True)
class Task:
    """One thing to time."""

    name: str
    run: Callable[[Any], object]  # timed; is given what ``prepare`` returned
    prepare: Callable[[], Any] = nothing  # before each run, untimed
    per: int = 1  # frames that one run is for: its time is divided by them
    shares: int = 1  # how many times as long as others it is timed: what much is compared with wants many timings


def measure(
    tasks: Sequence[Task],
    *,
    seconds: float,
    stopping: Callable[[], bool],
    sync: Callable[[], None] = nothing,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Times all tasks for about so long; each gets its share of it, and ``LEAST_RUNS`` whatever they take.

    In a round each task has its turn, in an order drawn anew. One that has had more than its share so far sits out.

    Args:
        tasks: with different names.
        seconds: for all together.
        stopping: polled between the runs.
        sync: waits until the device is done: called before each timing begins and before it ends.
        clock: s.

    Returns:
        By name, seconds per frame of each run in the order in which they were made.

    Raises:
        StreamError: stopped.
    """
    order = random.Random(_SEED)
    with _without_collector(), progress_bar("measuring", unit="s", total=max(1, round(seconds))) as bar:
        bar.bar_format = "{desc}: |{bar}| {n_fmt} of {total_fmt} s{postfix}"
        stopwatch = _Stopwatch(tasks, sync, clock)
        for task in tasks:
            _check(stopping)
            stopwatch.warm_up(task)
        began = clock()
        while not stopwatch.enough(elapsed := clock() - began, seconds):
            for task in order.sample(tasks, len(tasks)):
                _check(stopping)
                if stopwatch.is_due(task, clock() - began, seconds):
                    stopwatch.time(task)
            bar.update(min(bar.total, int(elapsed)) - bar.n)
        bar.update(bar.total - bar.n)
    return stopwatch.found


class _Stopwatch:
    """Timings so far, and what they took."""

    def __init__(self, tasks: Sequence[Task], sync: Callable[[], None], clock: Callable[[], float]) -> None:
        self._sync, self._clock = sync, clock
        self.found: dict[str, list[float]] = {task.name: [] for task in tasks}
        self._taken = dict.fromkeys(self.found, 0.0)  # s, preparing and settling included
        self._usual = dict.fromkeys(self.found, 0.0)  # s of one run
        self._shares = sum(task.shares for task in tasks)

    def warm_up(self, task: Task) -> None:
        """Runs it once: first calls make tables, take memory, read files."""
        self._usual[task.name] = self._once(task)

    def is_due(self, task: Task, elapsed: float, seconds: float) -> bool:
        """It has not had its share of the time that has passed."""
        few = len(self.found[task.name]) < LEAST_RUNS * min(1.0, elapsed / seconds)
        return few or self._taken[task.name] <= elapsed * task.shares / self._shares

    def time(self, task: Task) -> None:
        """Runs it once for a timing."""
        began = self._clock()
        if self._usual[task.name] < SETTLE_BELOW:
            self._once(task)
        self.found[task.name].append(self._once(task) / task.per)
        self._taken[task.name] += self._clock() - began

    def enough(self, elapsed: float, seconds: float) -> bool:
        """The time is over, and each task has its ``LEAST_RUNS``."""
        return elapsed >= seconds and all(len(times) >= LEAST_RUNS for times in self.found.values())

    def _once(self, task: Task) -> float:
        given = task.prepare()
        self._sync()
        began = self._clock()
        task.run(given)
        self._sync()
        return self._clock() - began


def _check(stopping: Callable[[], bool]) -> None:
    if stopping():
        raise StreamError("stopped")


@contextmanager
def _without_collector() -> Iterator[None]:
    """Python's garbage collector runs when it likes, in whatever is timed just then."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
