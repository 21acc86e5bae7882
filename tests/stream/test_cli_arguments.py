"""How words of the command line become values."""

from __future__ import annotations

import argparse

import pytest

from stream.cli_arguments import count, sequence_number, since


@pytest.mark.parametrize("text", ["1.5", "2.7", "-1", "nan", "inf", "", "x", "1e300"])
def test_what_is_no_whole_number_is_refused_and_not_cut_off(text: str) -> None:
    for kind in (count, sequence_number, since):
        with pytest.raises(argparse.ArgumentTypeError, match="must be"):
            kind(text)
    with pytest.raises(argparse.ArgumentTypeError, match="must be"):
        since(f"a={text or '?'}")


def test_whole_numbers_are_taken() -> None:
    assert (count("1"), sequence_number("0"), since("7"), since("a=0,b=12")) == (1, 0, 7, {"a": 0, "b": 12})
