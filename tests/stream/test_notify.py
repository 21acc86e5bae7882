"""What systemd is told, read from a socket that stands for it."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator

import pytest
from pipeline_fakes import Clock, short_folder

from stream.notify import WATCHDOG_EVERY, Notifier


@pytest.fixture
def manager() -> Iterator[socket.socket]:
    """What listens at NOTIFY_SOCKET."""
    with short_folder() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(folder / "notify"))
        listening.setblocking(False)
        yield listening


def told(manager: socket.socket) -> list[list[str]]:
    messages = []
    while True:
        try:
            messages.append(manager.recv(4096).decode().split("\n"))
        except BlockingIOError:
            return messages


def test_ready_says_so_with_a_status(manager: socket.socket) -> None:
    with Notifier(manager.getsockname()) as notifier:
        notifier.ready("5 processes")

    assert told(manager) == [["READY=1", "STATUS=5 processes"]]


def test_a_reload_begins_at_a_time_of_the_monotonic_clock(manager: socket.socket) -> None:
    with Notifier(manager.getsockname(), monotonic=Clock(12.5)) as notifier:
        notifier.reloading()

    assert told(manager) == [["RELOADING=1", "MONOTONIC_USEC=12500000"]]


def test_the_drain_is_told(manager: socket.socket) -> None:
    with Notifier(manager.getsockname()) as notifier:
        notifier.stopping()

    assert told(manager) == [["STOPPING=1", "STATUS=draining"]]


def test_signs_of_life_are_not_more_than_needed(manager: socket.socket) -> None:
    clock = Clock()
    with Notifier(manager.getsockname(), monotonic=clock) as notifier:
        for _ in range(10):
            notifier.watchdog()
        clock.now += WATCHDOG_EVERY
        notifier.watchdog()

    assert told(manager) == [["WATCHDOG=1"]] * 2


def test_a_text_cannot_say_anything_else(manager: socket.socket) -> None:
    with Notifier(manager.getsockname()) as notifier:
        notifier.status("wrong\nSTOPPING=1")

    assert told(manager) == [["STATUS=wrong STOPPING=1"]]


def test_an_abstract_socket_is_reached_too() -> None:
    name = f"spade-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        listening.setblocking(False)
        with Notifier(f"@{name}") as notifier:
            notifier.status("here")
        assert told(listening) == [["STATUS=here"]]


@pytest.mark.parametrize("address", [None, ""])
def test_outside_a_service_nothing_happens(address: str | None) -> None:
    with Notifier(address) as notifier:
        notifier.ready("running")
        notifier.watchdog()


def test_a_manager_that_is_gone_is_logged_and_no_error(caplog: pytest.LogCaptureFixture) -> None:
    with short_folder() as folder, Notifier(str(folder / "nobody")) as notifier, caplog.at_level(logging.WARNING):
        notifier.ready("running")

    assert "READY=1" in caplog.text


def test_after_closing_nothing_is_told(manager: socket.socket) -> None:
    notifier = Notifier(manager.getsockname())
    notifier.close()
    notifier.close()
    notifier.ready("running")

    assert told(manager) == []
