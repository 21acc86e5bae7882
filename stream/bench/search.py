"""The largest number of something that still holds, found with few trials: each costs a minute or more."""

from __future__ import annotations

from collections.abc import Callable


def largest(holds: Callable[[int], bool], *, first: int, most: int) -> int:
    """The largest count that holds, by doubling until one does not, then halving the gap.

    Args:
        holds: tries a count; is asked at most once for each, and expected to say no above the first no.
        first: where to begin, 1 or more.
        most: no more than this is tried.

    Returns:
        0 where not even one holds.
    """
    good, bad = 0, most + 1
    count = min(first, most)
    while good + 1 < bad:
        if holds(count):
            good = count
        else:
            bad = count
        count = min(2 * good, most) if bad > most else (good + bad) // 2
    return good
