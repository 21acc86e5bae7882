"""Which frames enter a gallery."""

from __future__ import annotations

from collections import Counter

import pytest

from spade_core.errors import InputError
from spade_core.sampling import BlockSampler, FrameSampler, ReservoirSampler, UniformSampler, evenly_spaced

SIZES = [(length, capacity) for length in range(1, 41) for capacity in range(1, 41)]


def offered(sampler: FrameSampler, frames: int) -> list[int | None]:
    return [sampler.offer() for _ in range(frames)]


def held(sampler: FrameSampler, frames: int) -> dict[int, int]:
    """Slot -> frame that is in it at the end."""
    return {slot: frame for frame, slot in enumerate(offered(sampler, frames)) if slot is not None}


def chosen(sampler: FrameSampler, frames: int) -> list[int]:
    """The frames that got a slot."""
    return [frame for frame, slot in enumerate(offered(sampler, frames)) if slot is not None]


def test_uniform_by_hand():
    assert offered(UniformSampler(10, 4), 10) == [0, None, None, 1, None, 2, None, None, 3, None]


def test_uniform_takes_all_where_there_is_room():
    assert offered(UniformSampler(3, 5), 3) == [0, 1, 2]


def test_uniform_fills_every_slot_once_and_in_order():
    for length, capacity in SIZES:
        slots = [slot for slot in offered(UniformSampler(length, capacity), length) if slot is not None]
        assert slots == list(range(min(length, capacity))), (length, capacity)


def test_uniform_spacing_differs_by_at_most_one_frame():
    for length, capacity in SIZES:
        frames = chosen(UniformSampler(length, capacity), length)
        gaps = {after - before for before, after in zip(frames, [*frames[1:], length], strict=True)}
        assert frames[0] == 0
        assert max(gaps) - min(gaps) <= 1, (length, capacity)


def test_uniform_passes_over_what_comes_after_the_length_it_was_told():
    sampler = UniformSampler(4, 2)
    offered(sampler, 4)
    assert offered(sampler, 20) == [None] * 20


def test_uniform_over_less_than_it_was_told_leaves_no_hole():
    for offers in range(1, 10):
        slots = [slot for slot in offered(UniformSampler(10, 4), offers) if slot is not None]
        assert slots == list(range(len(slots)))


@pytest.mark.parametrize(("length", "capacity"), [(0, 1), (1, 0), (-1, 5)])
def test_uniform_refuses_sizes_below_one(length: int, capacity: int):
    with pytest.raises(InputError, match=f"length = {length}, capacity = {capacity}"):
        UniformSampler(length, capacity)


def test_reservoir_takes_all_until_it_is_full():
    assert offered(ReservoirSampler(5), 5) == [0, 1, 2, 3, 4]


def test_reservoir_replaces_slots_in_use_only():
    later = offered(ReservoirSampler(3, seed=1), 500)[3:]
    assert None in later
    assert set(later) - {None} == {0, 1, 2}


def test_reservoir_repeats_its_choice_with_the_same_seed():
    assert held(ReservoirSampler(4, seed=7), 100) == held(ReservoirSampler(4, seed=7), 100)
    assert held(ReservoirSampler(4, seed=7), 100) != held(ReservoirSampler(4, seed=8), 100)


@pytest.mark.parametrize("frames", [4, 10, 25])
def test_reservoir_holds_each_frame_with_the_same_probability_at_any_time(frames: int):
    runs, capacity = 4000, 3
    ends = [held(ReservoirSampler(capacity, seed=seed), frames) for seed in range(runs)]
    counts = Counter(frame for end in ends for frame in end.values())
    share = capacity / frames
    deviation = (runs * share * (1 - share)) ** 0.5
    for frame in range(frames):
        assert abs(counts[frame] - runs * share) < 5 * deviation, frame  # the seeds are fixed: no chance is left


def test_reservoir_refuses_no_room():
    with pytest.raises(InputError, match="capacity = 0"):
        ReservoirSampler(0)


@pytest.mark.parametrize(
    ("length", "most", "expected"),
    [(10, 4, [0, 3, 6, 9]), (3, 12, [0, 1, 2]), (5, 1, [0]), (1, 1, [0]), (101, 3, [0, 50, 100])],
)
def test_evenly_spaced_indices_hold_the_first_and_the_last(length: int, most: int, expected: list[int]) -> None:
    assert evenly_spaced(length, most) == expected


def test_blocks_by_hand():
    assert offered(BlockSampler(10, 6, 3), 11) == [0, 0, 0, None, None, None, None, 1, 1, 1, None]


@pytest.mark.parametrize(("length", "capacity"), [(3, 3), (3, 5)])
def test_short_footage_is_one_block(length: int, capacity: int):
    assert offered(BlockSampler(length, capacity, 2), length + 1) == [0] * length + [None]


def test_a_block_longer_than_what_may_be_kept_is_cut():
    assert offered(BlockSampler(10, 4, 7), 10) == [0] * 4 + [None] * 6


def test_blocks_are_whole_apart_and_never_too_many():
    for length, capacity in SIZES:
        if length <= capacity:
            continue
        for block in (1, 2, 5):
            blocks = Counter(
                slot for slot in offered(BlockSampler(length, capacity, block), length) if slot is not None
            )
            assert set(blocks.values()) == {min(block, capacity)}, (length, capacity, block)
            assert capacity - min(block, capacity) < sum(blocks.values()) <= capacity, (length, capacity, block)


@pytest.mark.parametrize(("length", "capacity", "block"), [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_blocks_of_nothing_are_refused(length: int, capacity: int, block: int):
    with pytest.raises(InputError, match="at least 1"):
        BlockSampler(length, capacity, block)
