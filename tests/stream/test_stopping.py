"""How a process is told to stop (once for a clean end, twice at once, when its supervisor is gone), and to reload."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pipeline_fakes import PATIENCE_S, wait_until

from stream.pulse import RELOADED, Listener, Pulse
from stream.stopping import ReloadSignal, StopSignal

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


def test_before_the_second_signal_ends_it_the_last_act_is_done() -> None:
    act = 'stop.at_second(lambda: print("last act", flush=True))\nprint("ready"'
    source = _PROGRAM.format(stays=True).replace('print("ready"', act)
    process = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    assert process.stdout.readline() == "asked\n"
    process.terminate()
    output, _ = process.communicate(timeout=PATIENCE_S)

    assert (output, process.returncode) == ("last act\n", -signal.SIGTERM)


def hung_up(script: str) -> list[str]:
    """What a process prints that runs ``script`` with ``hang_up()``, which sends SIGHUP to itself, at hand.

    Not in the test's own process: there a handler runs on the small stack of pytest's faulthandler, and a processor
    with wide registers needs more than that to save them; the kernel then kills the process.
    """
    begin = """
import os, signal
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may ignore it, as nohup does
from stream.stopping import ReloadSignal, StopSignal
stop = StopSignal()
def hang_up():
    os.kill(os.getpid(), signal.SIGHUP)
"""
    ran = subprocess.run([sys.executable, "-c", begin + script], capture_output=True, text=True, timeout=PATIENCE_S)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


def test_nobody_has_asked_for_a_reload_yet() -> None:
    assert not ReloadSignal()()


def test_a_reload_is_asked_for_once_by_each_hang_up() -> None:
    script = """
reload = ReloadSignal(has_terminal=lambda: True)
reload.install()
for _ in range(2):
    hang_up()
    print(reload(), reload())
"""
    assert hung_up(script) == ["True False", "True False"]


def test_the_supervisor_is_told_when_the_reload_is_done() -> None:
    listener = Listener()
    ReloadSignal(pulse=Pulse(listener.descriptor)).done()

    assert listener.heard() == RELOADED
    listener.close()


def test_a_terminal_that_is_closed_is_a_stop_and_no_reload() -> None:
    script = """
answers = iter([True, False])  # there at the start, gone when the signal comes
reload = ReloadSignal(on_lost_terminal=stop.ask, has_terminal=lambda: next(answers))
reload.install()
hang_up()
print(stop(), reload())
"""
    assert hung_up(script) == ["True False"]


def test_a_process_that_never_had_a_terminal_reloads() -> None:
    script = """
reload = ReloadSignal(on_lost_terminal=stop.ask, has_terminal=lambda: False)
reload.install()
hang_up()
print(stop(), reload())
"""
    assert hung_up(script) == ["False True"]


def test_a_run_that_is_to_outlive_its_terminal_does_so_and_reloads_later() -> None:
    script = """
answers = iter([True, False, False])
signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup leaves it
reload = ReloadSignal(on_lost_terminal=stop.ask, has_terminal=lambda: next(answers))
reload.install()
for _ in range(2):
    hang_up()
    print(stop(), reload())
"""
    assert hung_up(script) == ["False False", "False True"]


_ON_A_TERMINAL = """
import signal
from stream.stopping import ReloadSignal, StopSignal
stop = StopSignal()
reload = ReloadSignal(on_lost_terminal=stop.ask)
reload.install()
open({log!r}, "w").write("ready")
while not stop():
    signal.sigtimedwait([], 0.01)
open({log!r}, "w").write("stopped")
"""


def test_a_real_terminal_that_is_closed_stops_the_process(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child, terminal = pty.fork()
    if child == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may ignore it, as nohup does
        os.execv(sys.executable, [sys.executable, "-c", _ON_A_TERMINAL.format(log=str(log))])
    try:
        wait_until(lambda: log.exists() and log.read_text() == "ready")
        os.close(terminal)
        wait_until(lambda: log.read_text() == "stopped")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
