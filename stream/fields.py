"""JSON from another process or from the disk, read strictly: every field has its kind and its bounds, named in errors.

``json`` alone takes NaN, keys that come twice and numbers without end, and ``int`` takes "5", 5.9 and True. What gets
past this module holds none of them, so nobody deeper in has to think of it. Everything raises ValueError.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections import Counter
from collections.abc import Mapping
from typing import Any, NoReturn

MAX_WHOLE = 2**63 - 1
"""The largest whole number in any message: SQLite's, and an i64 of a client in another language."""

_BRIEF = 120  # characters of a value in an error


def read_object(data: bytes) -> dict[str, Any]:
    """The JSON object that these bytes are. Its nesting is bounded by Python's own limit on recursion.

    Raises:
        ValueError: not UTF-8, not JSON, no object, a key twice, or one of ``NaN`` and ``Infinity``, which are not JSON.
    """
    try:
        value = json.loads(data.decode(), parse_constant=_no_number, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError(f"{len(data)} bytes are nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError(f"a JSON {type(value).__name__}, not an object")
    return value


def whole(fields: Mapping[str, Any], name: str, *, least: int = 0, most: int = MAX_WHOLE) -> int:
    """A whole number from ``least`` to ``most``."""
    return as_whole(_found(fields, name), name, least=least, most=most)


def as_whole(value: object, name: str, *, least: int = 0, most: int = MAX_WHOLE) -> int:
    """The same of a value."""
    # True is an int for Python, and is none.
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{name} is {brief(value)}; a whole number from {least} to {most} belongs there")
    return value


def number(fields: Mapping[str, Any], name: str) -> float:
    """A finite number."""
    value = _found(fields, name)
    try:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    except OverflowError:  # a whole number beyond floats
        pass
    raise ValueError(f"{name} is {brief(value)}; a finite number belongs there")


def text(fields: Mapping[str, Any], name: str, *, most: int) -> str:
    """A text of at most ``most`` characters that can be written as UTF-8 (JSON can hold halves of characters)."""
    value = _found(fields, name)
    if not isinstance(value, str) or len(value) > most:
        raise ValueError(f"{name} is {brief(value)}; a text of at most {most} characters belongs there")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{name} is {brief(value)}: no text that UTF-8 can hold; rename it") from None
    return value


def text_or_none(fields: Mapping[str, Any], name: str, *, most: int) -> str | None:
    """The same, or None where it is null or missing."""
    return None if fields.get(name) is None else text(fields, name, most=most)


def listed(fields: Mapping[str, Any], name: str, *, most: int) -> list[Any]:
    """A list of at most ``most`` values of any kind."""
    return as_list(_found(fields, name), name, most=most)


def as_list(value: object, name: str, *, most: int, least: int = 0) -> list[Any]:
    """The same of a value, of ``least`` values at least."""
    if not isinstance(value, list) or not least <= len(value) <= most:
        found = f"{len(value)} values" if isinstance(value, list) else brief(value)
        raise ValueError(f"{name} is {found}; a list of {least} to {most} belongs there")
    return value


def as_object(value: object, name: str) -> Mapping[str, Any]:
    """A JSON object."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} is {brief(value)}; an object belongs there")
    return value


def brief(value: object) -> str:
    """A value for an error's text, however large it is."""
    shown = reprlib.repr(value)
    return shown if len(shown) <= _BRIEF else f"{shown[:_BRIEF]}..."


def _found(fields: Mapping[str, Any], name: str) -> Any:
    try:
        return fields[name]
    except KeyError:
        raise ValueError(f"{name} is missing") from None


def _no_number(token: str) -> NoReturn:
    raise ValueError(f"{token} is no number in JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise ValueError(f"the key {brief(counts.most_common(1)[0][0])} comes twice")
    return made
