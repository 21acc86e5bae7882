"""A log that strangers cannot fill."""

from __future__ import annotations

import logging

import pytest
from pipeline_fakes import Clock

from stream.seldom import PAUSE, Seldom


def test_the_first_is_told_at_once_and_then_one_a_while_with_the_number_of_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    seldom = Seldom(logging.getLogger("stream.feed"), clock)
    for number in range(100):
        seldom.warn(f"junk {number}")
    clock.now += PAUSE
    seldom.warn("junk again")
    seldom.warn("junk again")

    assert [record.getMessage() for record in caplog.records] == ["junk 0", "junk again (and 99 more like it before)"]
