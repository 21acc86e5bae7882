"""A batch that does not fit is halved until it does; what cannot fit is said, and all is tried again later."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from stream.batching import RECOVER_AFTER, Batches, NoRoom, is_out_of_memory


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Memory:
    """Work that doubles numbers, for so many at once as fit."""

    def __init__(self, fits: int) -> None:
        self.fits = fits
        self.asked: list[int] = []  # size of each batch that was tried

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.asked.append(len(items))
        if len(items) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return [2 * item for item in items]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def batches(clock: Clock) -> Batches:
    return Batches(clock=clock)


def results(batches: Batches, items: Sequence[int], work: Memory) -> list[int | str]:
    found: list[int | str] = []
    for batch, result in batches.run(items, work):
        found += ["no room"] * len(batch) if isinstance(result, NoRoom) else result
    return found


def test_what_fits_goes_in_one_batch(batches: Batches) -> None:
    memory = Memory(8)
    assert results(batches, range(8), memory) == [0, 2, 4, 6, 8, 10, 12, 14]
    assert (memory.asked, batches.degraded) == ([8], "")


def test_nothing_is_no_batch(batches: Batches) -> None:
    memory = Memory(8)
    assert results(batches, [], memory) == []
    assert memory.asked == []


def test_a_batch_that_does_not_fit_is_halved_until_it_does_and_no_item_is_lost(batches: Batches) -> None:
    memory = Memory(2)
    assert results(batches, range(7), memory) == [0, 2, 4, 6, 8, 10, 12]
    assert memory.asked == [7, 3, 1, 1, 1, 1, 1, 1, 1]


def test_the_smaller_size_is_kept_and_reported(batches: Batches) -> None:
    memory = Memory(4)
    results(batches, range(8), memory)
    memory.asked.clear()
    results(batches, range(8), memory)
    assert memory.asked == [4, 4]
    assert batches.degraded == "out of memory: 8 frames at once did not fit; at most 4 at once are scored"


def test_one_item_that_does_not_fit_is_said_and_the_next_one_is_tried(batches: Batches) -> None:
    memory = Memory(0)
    assert results(batches, range(3), memory) == ["no room"] * 3
    assert memory.asked == [3, 1, 1, 1]
    assert "a single frame did not fit" in batches.degraded
    (_, said), *_ = batches.run([1], memory)
    assert isinstance(said, NoRoom)
    assert said.reason == "out of memory: CUDA out of memory. Tried to allocate 2.00 GiB"


def test_when_there_is_room_again_a_single_item_gets_its_result(batches: Batches) -> None:
    memory = Memory(0)
    results(batches, [1], memory)
    memory.fits = 1
    assert results(batches, [1], memory) == [2]


@pytest.mark.fault("out of memory in inference", "the batch is halved and DEGRADED told; it grows again")
def test_the_size_doubles_back_after_a_while_until_it_is_whole_again(batches: Batches, clock: Clock) -> None:
    memory = Memory(2)
    results(batches, range(16), memory)
    assert memory.asked[:4] == [16, 8, 4, 2]
    memory.fits = 16
    for expected in ([2] * 8, [4] * 4, [8] * 2):
        memory.asked.clear()
        results(batches, range(16), memory)
        assert memory.asked == expected
        assert f"at most {expected[0]} at once" in batches.degraded
        clock.now += RECOVER_AFTER
    memory.asked.clear()
    results(batches, range(16), memory)
    assert (memory.asked, batches.degraded) == ([16], "")


def test_a_size_that_still_does_not_fit_costs_one_try_a_while(batches: Batches, clock: Clock) -> None:
    memory = Memory(2)
    results(batches, range(16), memory)
    for _ in range(3):
        clock.now += RECOVER_AFTER
        memory.asked.clear()
        results(batches, range(16), memory)
        assert memory.asked == [4] + [2] * 8


def test_before_that_time_it_does_not_grow(batches: Batches, clock: Clock) -> None:
    memory = Memory(4)
    results(batches, range(8), memory)
    clock.now += RECOVER_AFTER - 1
    assert batches.degraded != ""
    clock.now += 1
    assert batches.degraded == ""


def test_memory_that_is_still_short_then_halves_it_again(batches: Batches, clock: Clock) -> None:
    memory = Memory(4)
    results(batches, range(8), memory)
    clock.now += RECOVER_AFTER
    memory.asked.clear()
    assert results(batches, range(8), memory) == [0, 2, 4, 6, 8, 10, 12, 14]
    assert memory.asked == [8, 4, 4]
    assert batches.degraded != ""


def test_another_error_comes_out_as_it_is(batches: Batches) -> None:
    def broken(items: Sequence[int]) -> list[int]:
        raise RuntimeError("expected scalar type Half")

    with pytest.raises(RuntimeError, match="scalar type"):
        list(batches.run([1, 2], broken))
    assert batches.degraded == ""


def test_a_batch_is_made_when_the_one_before_it_was_taken(batches: Batches) -> None:
    memory = Memory(2)
    results(batches, range(4), memory)
    memory.asked.clear()
    parts = batches.run(range(4), memory)
    next(parts)
    assert memory.asked == [2]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
        RuntimeError("Exception from src/inference/src/cpp/infer_request.cpp:223: std::bad_alloc"),
        RuntimeError("[GPU] clEnqueueNDRangeKernel, error code: -5 CL_OUT_OF_RESOURCES"),
    ],
)
def test_memory_that_ran_out_is_recognised_whoever_says_it(error: Exception) -> None:
    assert is_out_of_memory(error)


def test_the_cause_of_an_error_counts_too() -> None:
    error = RuntimeError("inference failed")
    error.__cause__ = MemoryError()
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("memory")])
def test_other_errors_are_not_taken_for_it(error: Exception) -> None:
    assert not is_out_of_memory(error)
