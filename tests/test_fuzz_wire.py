"""A short run of the fuzzer with every run of the tests, and a check that it would find what it looks for."""

from __future__ import annotations

import fuzz_wire
import pytest

from stream.messages import FramePacket
from stream.wire import Envelope, Kind, decode_frame


def test_some_thousand_damaged_messages_are_refused_or_read_and_nothing_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = fuzz_wire.fuzz(seed=1, messages=4000, seconds=None)
    with capsys.disabled():
        print(f"\n{str(report).splitlines()[0]}")

    assert report.messages == 4000
    assert sum(report.accepted.values()) > 100, "some damage is harmless"
    assert len(report.refused) > 30, "messages get past the checks, to be refused by a later one"


def test_the_same_seed_makes_the_same_messages() -> None:
    one, two = (fuzz_wire.fuzz(seed=7, messages=300, seconds=None) for _ in range(2))

    assert (one.accepted, one.refused) == (two.accepted, two.refused)


def test_an_error_of_another_kind_ends_the_run_with_a_reproducer(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(envelope: Envelope) -> FramePacket:
        if envelope.meta["drops"] != {"reader.overwritten": 3}:
            raise KeyError("drops")
        return decode_frame(envelope)

    monkeypatch.setattr(fuzz_wire, "decode_frame", careless)

    with pytest.raises(fuzz_wire.Crash, match=r"KeyError: 'drops'\nparts = \[b['\"]SPDS"):
        fuzz_wire.fuzz(seed=1, messages=4000, seconds=None)


def test_a_message_that_takes_too_much_memory_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz_wire, "read", lambda parts: bytes(64 << 20) and Kind.BEAT.name)

    with pytest.raises(fuzz_wire.Crash, match="bytes of memory for a message of"):
        fuzz_wire.fuzz(seed=1, messages=4000, seconds=None)
