"""The pipe in which a process says that its main thread goes round."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pipeline_fakes import Clock, wait_until

from stream.pulse import BEAT, PULSE_EVERY, RELOADED, Listener, Pulse
from stream.stopping import StopSignal


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.close()


def test_nothing_is_heard_of_a_process_that_says_nothing(listener: Listener) -> None:
    assert listener.heard() == b""


def test_beats_come_at_most_twice_a_second(listener: Listener) -> None:
    clock = Clock()
    pulse = Pulse(listener.descriptor, monotonic=clock)
    for _ in range(10):
        pulse.beat()
    assert listener.heard() == BEAT

    clock.now += PULSE_EVERY
    pulse.beat()
    assert listener.heard() == BEAT
    assert listener.heard() == b"", "each is heard once"


def test_words_are_told_apart(listener: Listener) -> None:
    pulse = Pulse(listener.descriptor)
    pulse.beat()
    pulse.say(RELOADED)

    assert listener.heard() == BEAT + RELOADED


def test_a_supervisor_that_does_not_listen_holds_nobody_up(listener: Listener) -> None:
    pulse = Pulse(listener.descriptor)
    for _ in range(100_000):  # more than a pipe holds
        pulse.say(BEAT)

    assert set(listener.heard()) == set(BEAT)


def test_a_supervisor_that_is_gone_is_no_error() -> None:
    here, there = os.pipe()
    os.close(here)
    Pulse(there).say(BEAT)
    os.close(there)


def test_nothing_is_heard_after_the_process_has_ended() -> None:
    listener = Listener()
    Pulse(listener.descriptor).say(BEAT)
    listener.started()

    assert listener.heard() == BEAT
    assert listener.heard() == b""
    listener.close()
    listener.close()


def test_a_process_of_a_process_cannot_speak_for_it(listener: Listener) -> None:
    os.set_inheritable(listener.descriptor, True)  # as it arrives
    Pulse(listener.descriptor)

    assert not os.get_inheritable(listener.descriptor)


def test_asking_whether_to_stop_is_the_sign_of_life(listener: Listener) -> None:
    stop = StopSignal(pulse=Pulse(listener.descriptor))
    assert listener.heard() == b""
    assert not stop()
    assert listener.heard() == BEAT


def test_another_thread_does_not_speak_for_the_main_thread(listener: Listener) -> None:
    stop = StopSignal(pulse=Pulse(listener.descriptor))
    thread = threading.Thread(target=stop)
    thread.start()
    thread.join()

    assert listener.heard() == b""


def test_every_command_takes_the_pipe(listener: Listener, tmp_path: Path) -> None:
    """A sink's main loop asks whether to stop; there is no feed, so it goes on until it is ended."""
    config = tmp_path / "site.yaml"
    config.write_text(
        f"cameras: [{{id: a, source: 'campus:'}}]\nsinks: [{{type: stdout}}]\nfeed: {{endpoint: 'ipc://{tmp_path}/f'}}\n"
    )
    command = [sys.executable, "-m", "stream", "sink", str(config), "--name", "stdout"]
    with subprocess.Popen(
        [*command, "--pulse", str(listener.descriptor)], pass_fds=[listener.descriptor], stderr=subprocess.DEVNULL
    ) as sink:
        listener.started()
        try:
            for _ in range(3):
                wait_until(listener.heard)
                assert sink.poll() is None
        finally:
            sink.terminate()
