"""Whether two JSON values are the same but for the last digits of their numbers.

Two runs on one machine differ there, too: a matrix product adds up in an order that depends on where its operands lie
in memory.
"""

from __future__ import annotations

import math
from typing import Any

DIGITS = 1e-6
"""Largest relative difference; single precision has seven digits."""


def nearly(one: Any, other: Any) -> bool:
    """Same keys, lengths, texts and whole numbers; floats within ``DIGITS``."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(nearly(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(nearly, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=DIGITS, abs_tol=1e-9)
    return bool(one == other)
