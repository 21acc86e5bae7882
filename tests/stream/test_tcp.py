"""A connection behind a descriptor is believed to be one only after a look at it."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.tcp import MEASURES, adopt, raise_file_limit


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket, int]]:
    """A client's end, the server's end, and the server's port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            server, _ = listener.accept()
            with server:
                yield client, server, port


@pytest.mark.skipif(not MEASURES, reason="this system does not tell what a connection received")
def test_the_kernel_says_how_many_bytes_came_in(pair: tuple[socket.socket, socket.socket, int]) -> None:
    client, server, port = pair
    link = adopt(server.fileno(), local_port=port)
    assert link is not None
    client.sendall(b"x" * 1000)
    assert server.recv(2000) == b"x" * 1000

    assert link.bytes_received() == 1000
    assert link.address == "{}:{}".format(*client.getsockname())
    link.close()


def test_what_is_shut_ends_for_both_sides_though_others_hold_it(pair: tuple[socket.socket, socket.socket, int]) -> None:
    client, server, port = pair
    link = adopt(server.fileno(), local_port=port)
    assert link is not None
    link.shut()
    link.close()

    assert client.recv(1) == b""
    assert server.recv(1) == b""


def test_a_number_that_was_given_away_again_is_not_taken_for_the_connection(
    pair: tuple[socket.socket, socket.socket, int], tmp_path: Path
) -> None:
    _, server, port = pair
    link = adopt(server.fileno(), local_port=port)
    assert link is not None
    assert link.is_still(server.fileno())
    with (tmp_path / "a file").open("w") as file:
        assert not link.is_still(file.fileno())
        assert adopt(file.fileno(), local_port=port) is None
    link.close()


def test_only_connections_that_came_to_the_servers_port_are_adopted(
    pair: tuple[socket.socket, socket.socket, int],
) -> None:
    client, server, port = pair
    left, right = socket.socketpair()
    with left, right:
        assert adopt(left.fileno(), local_port=port) is None
    assert adopt(client.fileno(), local_port=port) is None  # the other end of it
    assert adopt(99_999, local_port=port) is None
    before = len(os.listdir("/proc/self/fd"))
    assert adopt(server.fileno(), local_port=port + 1) is None
    assert len(os.listdir("/proc/self/fd")) == before  # nothing is kept of what was looked at


def test_the_limit_of_open_files_is_raised_as_far_as_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(resource, "setrlimit", lambda which, limits: asked.append(limits))
    for soft, hard, limit in ((256, 1024, 1024), (256, 100_000, 8192), (9000, 100_000, 9000), (256, -1, 8192)):
        monkeypatch.setattr(resource, "getrlimit", lambda which, pair=(soft, hard): pair)
        assert raise_file_limit() == limit

    assert asked == [(1024, 1024), (8192, 100_000), (8192, -1)]
