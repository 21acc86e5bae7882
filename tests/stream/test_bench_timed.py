"""Timing in turn, with a clock that the tasks themselves move on."""

from __future__ import annotations

import gc
from collections import Counter

import pytest

from stream.bench.timed import LEAST_RUNS, SETTLE_BELOW, Task, measure
from stream.errors import StreamError


class Clock:
    """Stands still but for what tasks take."""

    def __init__(self) -> None:
        self.now, self.runs = 0.0, Counter[str]()
        self.order: list[str] = []

    def __call__(self) -> float:
        return self.now

    def task(self, name: str, takes: float, *, per: int = 1, shares: int = 1) -> Task:
        def run(given: object) -> None:
            self.now += takes
            self.runs[name] += 1
            self.order.append(name)

        return Task(name, run, per=per, shares=shares)


def timed(clock: Clock, *tasks: Task, seconds: float = 10.0) -> dict[str, list[float]]:
    return measure(tasks, seconds=seconds, stopping=lambda: False, clock=clock)


def test_each_gets_an_equal_share_of_the_time() -> None:
    clock = Clock()
    found = timed(clock, clock.task("slow", 1.0), clock.task("fast", 0.25), seconds=100.0)
    assert set(found["slow"]) == {1.0}
    assert set(found["fast"]) == {0.25}
    assert len(found["slow"]) == pytest.approx(50, abs=2)
    assert len(found["fast"]) == pytest.approx(200, abs=8)


def test_one_with_more_shares_gets_more() -> None:
    clock = Clock()
    found = timed(clock, clock.task("base", 0.5, shares=4), clock.task("other", 0.5), seconds=100.0)
    assert len(found["base"]) == pytest.approx(4 * len(found["other"]), rel=0.1)


def test_they_take_turns_to_the_end() -> None:
    clock = Clock()
    timed(clock, clock.task("slow", 1.0), clock.task("fast", 0.5), seconds=40.0)
    assert {*clock.order[-6:]} == {*clock.order[2:8]} == {"slow", "fast"}


def test_what_takes_longer_than_the_whole_time_is_still_timed() -> None:
    clock = Clock()
    found = timed(clock, clock.task("endless", 60.0), clock.task("fast", 0.5), seconds=1.0)
    assert len(found["endless"]) == LEAST_RUNS
    assert len(found["fast"]) >= LEAST_RUNS


def test_time_is_given_for_each_frame() -> None:
    clock = Clock()
    assert set(timed(clock, clock.task("eight", 4.0, per=8))["eight"]) == {0.5}


def test_short_tasks_run_untimed_before_they_are_timed_and_long_ones_only_once_at_all() -> None:
    clock = Clock()
    short, long = clock.task("short", SETTLE_BELOW / 2), clock.task("long", SETTLE_BELOW * 2)
    found = timed(clock, short, long, seconds=4.0)
    assert clock.runs["short"] == 1 + 2 * len(found["short"])
    assert clock.runs["long"] == 1 + len(found["long"])


def test_what_is_prepared_takes_no_part_and_the_device_is_waited_for_twice() -> None:
    clock, log = Clock(), []

    def prepare() -> str:
        clock.now += 100.0
        return "given"

    def run(given: str) -> None:
        log.append(given)
        clock.now += 0.25

    def sync() -> None:
        log.append("sync")

    found = measure([Task("task", run, prepare)], seconds=1.0, stopping=lambda: False, sync=sync, clock=clock)
    assert set(found["task"]) == {0.25}
    assert log[:3] == ["sync", "given", "sync"]


def test_it_ends_where_it_is_stopped() -> None:
    clock = Clock()
    with pytest.raises(StreamError, match="stopped"):
        measure([clock.task("task", 1.0)], seconds=1e9, stopping=lambda: clock.now > 20.0, clock=clock)
    assert gc.isenabled()
