"""Whether a camera's port answers: asked without credentials, and only where the address leaves no doubt."""

from __future__ import annotations

import socket
import traceback

import pytest

from stream.sources.port_probe import Comeback, port_probe


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The addresses that were connected to; nobody answers."""
    addresses: list[tuple[str, int]] = []

    def connect(address: tuple[str, int], *, timeout: float) -> socket.socket:
        addresses.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", connect)
    return addresses


@pytest.mark.parametrize(
    ("source", "address"),
    [
        ("rtsp://cam/stream", ("cam", 554)),
        ("rtsps://cam/stream", ("cam", 322)),
        ("http://cam/video.mjpg", ("cam", 80)),
        ("https://cam", ("cam", 443)),
        ("RTSP://192.0.2.7:8554", ("192.0.2.7", 8554)),
        ("rtsp://bob:p%40ss%2Fw@cam:8554/1?x=y", ("cam", 8554)),
        ("rtsp://bob:p@ss@cam/1", ("cam", 554)),
        ("rtsp://[2001:db8::1]:554/1", ("2001:db8::1", 554)),
    ],
)
def test_the_host_and_port_of_the_address_are_asked(
    source: str, address: tuple[str, int], asked: list[tuple[str, int]]
) -> None:
    is_open = port_probe(source)

    assert is_open is not None
    assert is_open() is False
    assert asked == [address]


@pytest.mark.parametrize(
    "source",
    [
        "0",
        "campus:?seed=7",
        "/videos/a.mp4",
        "loop:/videos/a.mp4",
        "rtsp:///stream",
        "rtsp://cam:99999/1",
        "rtsp://[::1/1",
        "rtsp://admin:p@ss/w?rd@cam/1",  # whose host might be taken for "ss"
        "rtsp://cam/user=bob@home",
    ],
)
def test_what_is_no_network_address_or_cannot_be_taken_apart_is_not_asked(source: str) -> None:
    assert port_probe(source) is None


def test_a_port_that_listens_is_open_and_one_that_does_not_is_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        is_open = port_probe(f"rtsp://bob:secret@127.0.0.1:{server.getsockname()[1]}/cam")
        assert is_open is not None
        assert is_open()
    assert not is_open()


def test_nothing_is_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        is_open = port_probe(f"http://bob:secret@127.0.0.1:{server.getsockname()[1]}/")
        assert is_open is not None
        assert is_open()
        connection, _ = server.accept()
        with connection:
            assert connection.recv(100) == b""


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 300, "b\u00fc..cher"])
def test_a_name_that_cannot_be_found_is_a_closed_port(host: str) -> None:
    is_open = port_probe(f"rtsp://bob:secret@{host}/1")

    assert is_open is not None
    assert is_open() is False
    assert "secret" not in repr(is_open)


def test_an_unforeseen_fault_shows_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(address: tuple[str, int], *, timeout: float) -> socket.socket:
        raise MemoryError(str(address))

    monkeypatch.setattr(socket, "create_connection", connect)
    is_open = port_probe("rtsp://bob:secret@cam/1")
    assert is_open is not None
    with pytest.raises(MemoryError) as caught:
        is_open()

    assert "secret@" not in str(caught.value)
    assert "bob" not in "".join(traceback.format_exception_only(caught.value))


def seen(answers: list[bool]) -> list[bool]:
    replies = iter(answers)
    comeback = Comeback(lambda: next(replies))
    return [comeback.seen() for _ in answers]


def test_a_port_that_opens_has_come_back() -> None:
    assert seen([False, False, True]) == [False, False, True]


def test_a_port_that_was_open_all_the_time_has_not() -> None:
    assert seen([True, True, True]) == [False, False, False]


def test_a_port_that_closed_later_and_opened_again_has() -> None:
    assert seen([True, False, True]) == [False, False, True]
