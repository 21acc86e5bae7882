"""Which frames of the normal footage enter the gallery, decided frame by frame as they come."""

from __future__ import annotations

import random
from bisect import bisect_right
from typing import Protocol

from spade_core.errors import InputError


class FrameSampler(Protocol):
    """Chooses frames for a gallery of limited capacity."""

    def offer(self) -> int | None:
        """Says where the next frame goes: a slot (perhaps one in use, which it then replaces), or None to pass it over.

        Slots in use are always 0..n-1.
        """
        ...


class UniformSampler:
    """Evenly spaced frames of footage whose length is known.

    Args:
        length: frames that will be offered; more are passed over.
        capacity: slots.
    """

    def __init__(self, length: int, capacity: int) -> None:
        if length < 1 or capacity < 1:
            raise InputError(f"length = {length}, capacity = {capacity}: both must be at least 1")
        self._length, self._capacity = length, min(capacity, length)
        self._offered = 0

    def offer(self) -> int | None:
        index, self._offered = self._offered, self._offered + 1
        if index >= self._length:
            return None
        slot = index * self._capacity // self._length
        is_first_of_slot = index == -(-slot * self._length // self._capacity)
        return slot if is_first_of_slot else None


class ReservoirSampler:
    """A uniform random sample of footage without a known end (Vitter 1985, algorithm R): at any time each frame offered
    so far is in the gallery with the same probability.

    Args:
        capacity: slots.
        seed: makes the choice repeatable.
    """

    def __init__(self, capacity: int, *, seed: int = 0) -> None:
        if capacity < 1:
            raise InputError(f"capacity = {capacity}: must be at least 1")
        self._capacity, self._random = capacity, random.Random(seed)
        self._offered = 0

    def offer(self) -> int | None:
        index, self._offered = self._offered, self._offered + 1
        if index < self._capacity:
            return index
        slot = self._random.randrange(index + 1)
        return slot if slot < self._capacity else None


class BlockSampler:
    """Whole blocks of footage whose length is known, evenly spread over it: what happens within one stays as it was.

    Args:
        length: frames that will be offered; more are passed over.
        capacity: frames to keep at most. Where they are enough for all, all are one block.
        block: frames of a block, more than ``capacity`` counting as that many.
    """

    def __init__(self, length: int, capacity: int, block: int) -> None:
        if length < 1 or capacity < 1 or block < 1:
            raise InputError(f"length = {length}, capacity = {capacity}, block = {block}: all must be at least 1")
        self._block = length if length <= capacity else min(block, capacity)
        blocks = capacity // self._block if length > capacity else 1
        last = length - self._block
        self._starts = [round(number * last / max(1, blocks - 1)) for number in range(blocks)]
        self._offered = 0

    def offer(self) -> int | None:
        """Number of the block that the next frame belongs to, counted from 0; None to pass it over."""
        index, self._offered = self._offered, self._offered + 1
        block = bisect_right(self._starts, index) - 1
        return block if index < self._starts[block] + self._block else None


def evenly_spaced(length: int, most: int) -> list[int]:
    """Up to ``most`` different indices over 0..length-1, first and last included, in order."""
    count = min(most, length)
    return sorted({round(index * (length - 1) / max(1, count - 1)) for index in range(count)})
