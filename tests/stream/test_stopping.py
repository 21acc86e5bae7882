"""How a process is told to stop: once for a clean end, twice at once, and when its supervisor is gone."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from pipeline_fakes import PATIENCE_S

from stream.stopping import StopSignal

_PROGRAM = """
import signal
from stream.stopping import StopSignal
stop = StopSignal()
stop.install()
print("ready", flush=True)
while True:
    signal.sigtimedwait([], 0.01)
    if stop():
        print("asked", flush=True)
        break
if {stays}:
    while True:
        signal.sigtimedwait([], 0.01)
print("clean", flush=True)
"""


def program(*, stays: bool = False) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", _PROGRAM.format(stays=stays)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_nobody_has_asked_yet() -> None:
    assert not StopSignal()()


def test_it_may_be_asked_by_hand_and_stays_asked() -> None:
    stop = StopSignal()
    stop.ask()

    assert stop()
    assert stop()


def test_a_supervisor_that_lives_is_no_reason_to_stop() -> None:
    assert not StopSignal(parent=42, getppid=lambda: 42)()


def test_a_supervisor_that_is_gone_is() -> None:
    assert StopSignal(parent=42, getppid=lambda: 1)()


def test_without_a_supervisor_the_parent_may_leave() -> None:
    assert not StopSignal(getppid=lambda: 1)()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_asks_for_a_clean_end(number: signal.Signals) -> None:
    process = program()
    process.send_signal(number)
    output, _ = process.communicate(timeout=PATIENCE_S)

    assert (output, process.returncode) == ("asked\nclean\n", 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_ends_at_once(number: signal.Signals) -> None:
    process = program(stays=True)
    process.send_signal(number)
    assert process.stdout is not None
    assert process.stdout.readline() == "asked\n"
    process.send_signal(number)
    output, _ = process.communicate(timeout=PATIENCE_S)

    assert (output, process.returncode) == ("", -number)
