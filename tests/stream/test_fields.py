"""JSON from outside, read strictly: what is not exactly what belongs there is refused, by its name."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from stream.fields import (
    MAX_WHOLE,
    as_list,
    as_object,
    brief,
    listed,
    number,
    read_object,
    text,
    text_or_none,
    whole,
)


def test_an_object_is_read() -> None:
    assert read_object('{"a":[1,2.5,"ü",null,true]}'.encode()) == {"a": [1, 2.5, "ü", None, True]}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting property name"),
        (b"[1]", "a JSON list, not an object"),
        (b'{"a":NaN}', "NaN is no number in JSON"),
        (b'{"a":-Infinity}', "-Infinity is no number"),
        (b'{"a":1,"b":2,"a":3}', "the key 'a' comes twice"),
        (b'{"a":{"b":1,"b":1}}', "the key 'b' comes twice"),
        (b'{"a":"\xff"}', "utf-8"),
        (b"[" * 50_000, "50000 bytes are nested too deeply"),
        (b'{"a":' + b"9" * 5000 + b"}", "integer string conversion"),
    ],
)
def test_what_is_no_json_object_of_ours_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_object(data)


@pytest.mark.parametrize("value", [0, 7, MAX_WHOLE])
def test_a_whole_number_is_read(value: int) -> None:
    assert whole({"n": value}, "n") == value


@pytest.mark.parametrize("value", [-1, MAX_WHOLE + 1, 1.0, "1", True, None, [1]])
def test_what_is_no_whole_number_in_its_bounds_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"n is .*; a whole number from 0 to 9223372036854775807 belongs there"):
        whole({"n": value}, "n")


def test_a_number_may_be_whole_or_not() -> None:
    assert [number({"x": value}, "x") for value in (2, -2.5)] == [2.0, -2.5]


@pytest.mark.parametrize("value", [math.inf, math.nan, 10**400, "1.5", True, None])
def test_what_is_no_finite_number_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"x is .*; a finite number belongs there"):
        number({"x": value}, "x")


def test_a_text_is_read_up_to_its_length() -> None:
    assert text({"t": "grün"}, "t", most=4) == "grün"
    assert (text_or_none({"t": None}, "t", most=4), text_or_none({}, "t", most=4)) == (None, None)


@pytest.mark.parametrize("value", ["grüne", 5, None, b"x", "\ud800"])
def test_what_is_no_text_that_can_be_written_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="t is "):
        text({"t": value}, "t", most=4)


def test_a_list_has_so_many_values() -> None:
    assert listed({"l": [1, 2]}, "l", most=2) == [1, 2]
    with pytest.raises(ValueError, match="l is 3 values; a list of 0 to 2 belongs there"):
        listed({"l": [1, 2, 3]}, "l", most=2)
    with pytest.raises(ValueError, match="l is 1 values; a list of 2 to 2 belongs there"):
        as_list([1], "l", most=2, least=2)
    with pytest.raises(ValueError, match="l is 'ab'"):
        as_list("ab", "l", most=2)


def test_an_object_in_a_field_is_one() -> None:
    assert as_object({"a": 1}, "drops") == {"a": 1}
    with pytest.raises(ValueError, match=r"drops is \[\]; an object belongs there"):
        as_object([], "drops")


@pytest.mark.parametrize(
    "read",
    [
        lambda: whole({}, "seq"),
        lambda: number({}, "seq"),
        lambda: text({}, "seq", most=1),
        lambda: listed({}, "seq", most=1),
    ],
)
def test_a_field_that_is_missing_is_named(read: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="seq is missing"):
        read()


def test_a_value_in_an_error_is_short_however_long_it_is() -> None:
    assert len(brief("x" * 10**6)) < 100
    assert len(brief(10**4000)) < 100
    assert len(brief([["x" * 1000] * 1000] * 1000)) < 200
