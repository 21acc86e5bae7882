"""Hostile peers on a TCP server socket: what they can make it hold is bounded, and honest ones go on being served."""

from __future__ import annotations

import os
import pickle
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import hostile_peer as hostile
import pytest
from pipeline_fakes import Clock, a_packet, short_folder, wait_until

from stream import guard as guard_module
from stream import tcp
from stream.endpoints import parse_endpoint
from stream.guard import FIRST_BYTES, FIRST_WORD_S, Limits
from stream.link import LinkServer
from stream.link_client import LinkClient
from stream.messages import FramePacket, Mode
from stream.server_socket import ServerSocket
from stream.wire import encode_frame

MEGABYTE = 1 << 20
HELD = 2 * MEGABYTE

measuring = pytest.mark.skipif(not tcp.MEASURES, reason="this system does not tell what a connection received")


def resident() -> int:
    """Bytes of memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Link:
    """A worker's end over TCP without keys, and an honest reader of camera yard, both stepped by the test."""

    def __init__(self, stack: ExitStack) -> None:
        self.server = stack.enter_context(LinkServer(parse_endpoint("tcp://127.0.0.1:*"), cameras=["gate", "yard"]))
        endpoint = parse_endpoint(self.server.address)
        self.honest = stack.enter_context(LinkClient(endpoint, camera="yard", mode=Mode.LIVE))
        self.served = 0
        self.peak = 0
        self.goes_on(1)

    def step(self) -> None:
        self.honest.poll(0.005)
        if self.honest.wants_frame:
            self.honest.send_frame(a_packet(self.served, camera="yard"))
        for event in self.server.poll(0.005):
            if isinstance(event, FramePacket) and event.camera == "yard":
                self.served += 1
                self.server.grant("yard")
        self.peak = max(self.peak, resident())

    def until(self, condition: Any) -> None:
        wait_until(condition, step=self.step)

    def goes_on(self, frames: int = 5) -> bool:
        """Whether the honest reader is served still."""
        goal = self.served + frames
        self.until(lambda: self.served >= goal)
        return self.honest.connected


@pytest.fixture
def link() -> Iterator[Link]:
    with ExitStack() as stack:
        yield Link(stack)


@pytest.fixture
def small() -> Iterator[ServerSocket]:
    """A server whose connections may hold little, and be few."""
    limits = Limits(held=HELD, held_in_all=2 * HELD, connections=3)
    with ServerSocket(parse_endpoint("tcp://127.0.0.1:*"), options={}, limits=limits) as server:
        yield server


def speaking(server: ServerSocket) -> socket.socket:
    """A peer that was let in and has said a word, which the server has read."""
    peer = hostile.connect(server.address)
    hostile.shake_hands(peer)
    peer.sendall(hostile.message([b"a", b"word"]))
    wait_until(lambda: server.poll(10))
    received = server.receive()
    assert received is not None
    assert received.parts == [b"a", b"word"]
    return peer


def push(peer: socket.socket, count: int, *, more: bool = True) -> None:
    """Sends parts of a tenth of a megabyte, as far as the other side lets it."""
    with suppress(OSError):  # it may be cut off
        for _ in range(count):
            peer.sendall(hostile.part(b"x" * (MEGABYTE // 10), more=more))


def is_cut(peer: socket.socket) -> bool:
    peer.settimeout(0.01)
    try:
        return peer.recv(65536) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


@measuring
@pytest.mark.slow
@pytest.mark.fault("endless MORE parts of 1 MB", "memory grows by less than 400 MB; honest peers are served")
def test_endless_parts_hold_a_bounded_amount_of_memory_and_others_are_served(link: Link) -> None:
    before = link.peak
    script = Path(hostile.__file__)
    command = [sys.executable, str(script), link.server.address, "20", str(MEGABYTE)]
    environment = {**os.environ, "PYTHONPATH": str(script.parents[2])}
    attacker = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    frames = link.served
    link.until(lambda: attacker.poll() is not None)
    sent, connections = (int(number) for number in attacker.communicate()[0].split())

    assert sent > 300 * MEGABYTE  # else it was no attack
    assert link.peak - before < 400 * MEGABYTE
    assert connections > 1
    assert link.server.guarded()["held"] >= 1
    assert link.served > frames + 100
    assert link.goes_on()


@measuring
def test_a_connection_that_holds_too_much_is_shut_and_named(
    small: ServerSocket, caplog: pytest.LogCaptureFixture
) -> None:
    with speaking(small) as peer:
        push(peer, 30)
        wait_until(lambda: small.counts().get("held"), step=lambda: small.poll(10))
        wait_until(lambda: is_cut(peer))

        assert "{}:{}".format(*peer.getsockname()) in caplog.text
    wait_until(lambda: small.counts()["connections"] == 0, step=lambda: small.poll(10))


@measuring
def test_what_comes_out_as_messages_is_not_held(small: ServerSocket) -> None:
    with speaking(small) as peer:
        for _ in range(60):  # six times what it may hold
            push(peer, 5, more=True)
            push(peer, 1, more=False)
            wait_until(lambda: small.poll(10))
            received = small.receive()
            assert received is not None
            assert len(received.parts) == 6

        assert "held" not in small.counts()


@measuring
def test_headers_and_heartbeats_do_not_add_up(small: ServerSocket) -> None:
    ping = bytes([4, 7]) + b"\x04PING" + b"\x00\x00"
    with speaking(small) as peer:
        for _ in range(8):
            peer.sendall(ping * (MEGABYTE // 2 // len(ping)))  # four times what it may hold, in all
            _drain(peer)
            wait_until(lambda: not small.poll(250))  # the guard has looked meanwhile
            peer.sendall(hostile.message([b"a", b"word"]))
            wait_until(lambda: small.poll(10))
            assert small.receive() is not None

        assert "held" not in small.counts()


def _drain(peer: socket.socket) -> None:
    peer.settimeout(0.01)
    try:
        while peer.recv(1 << 20):
            pass
    except TimeoutError:
        peer.settimeout(10)


class Late:
    """Keeps a guard's thread from hearing of connections until it may."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._may, self.looks = threading.Event(), 0
        note, look = guard_module.Guard._note, guard_module.Guard._look

        def late_note(guard: guard_module.Guard, event: int, value: int) -> None:
            self._may.wait()
            note(guard, event, value)

        def counted_look(guard: guard_module.Guard, now: float) -> float:
            self.looks += 1
            return look(guard, now)

        monkeypatch.setattr(guard_module.Guard, "_note", late_note)
        monkeypatch.setattr(guard_module.Guard, "_look", counted_look)

    def hear(self) -> None:
        self._may.set()

    def look_again(self, server: ServerSocket) -> None:
        goal = self.looks + 3
        wait_until(lambda: self.looks >= goal, step=lambda: server.poll(10))


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> Iterator[Late]:
    made = Late(monkeypatch)
    yield made
    made.hear()


@measuring
def test_who_spoke_before_the_guard_heard_of_the_connection_has_spoken(late: Late, small: ServerSocket) -> None:
    with speaking(small) as peer:
        late.hear()
        wait_until(lambda: small.counts()["connections"])
        push(peer, 2)  # more than one may hold that has not said a word
        late.look_again(small)

        assert "held" not in small.counts()
        assert not is_cut(peer)


@measuring
def test_what_an_earlier_connection_said_does_not_speak_for_the_next_one(late: Late, small: ServerSocket) -> None:
    before = len(os.listdir("/proc/self/fd"))
    speaking(small).close()
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before, step=lambda: small.poll(10))
    with hostile.connect(small.address) as peer:  # under the same descriptor, which is free again
        hostile.shake_hands(peer)
        late.hear()
        push(peer, 2)
        wait_until(lambda: small.counts().get("held"), step=lambda: small.poll(10))


def test_what_was_said_before_a_connection_is_told_of_is_kept_for_a_while_and_bounded(small: ServerSocket) -> None:
    guard = small._guard
    assert guard is not None
    with ExitStack() as stack:
        files = [stack.enter_context(Path("/dev/null").open()) for _ in range(5)]
        with guard._lock:
            for file in files:
                guard._keep_early(file.fileno(), "", 10)
            kept = set(guard._early)
            guard._early = {number: replace(early, at=early.at - 60) for number, early in guard._early.items()}
    assert len(kept) == 3  # as many as there may be connections
    wait_until(lambda: not guard._early)


@measuring
def test_all_connections_together_are_bounded_too(small: ServerSocket) -> None:
    peers = [speaking(small) for _ in range(3)]
    rounds = 0
    while not small.counts().get("held_in_all", 0) + small.counts().get("held", 0):
        for peer in peers:
            push(peer, 1)
        small.poll(120)
        rounds += 1
        assert rounds < 100
    wait_until(lambda: any(is_cut(peer) for peer in peers), step=lambda: small.poll(10))
    for peer in peers:
        peer.close()


@measuring
def test_before_its_first_message_a_connection_may_hold_next_to_nothing(small: ServerSocket) -> None:
    with hostile.connect(small.address) as peer:
        hostile.shake_hands(peer)
        push(peer, 2)
        wait_until(lambda: small.counts().get("held"), step=lambda: small.poll(10))

    assert 2 * MEGABYTE // 10 > FIRST_BYTES


@pytest.mark.fault("a part announced as 1 GB", "the connection ends; nothing is allocated for it")
def test_a_part_of_a_gigabyte_is_not_even_begun(link: Link) -> None:
    before = resident()
    with hostile.connect(link.server.address) as peer:
        hostile.shake_hands(peer)
        peer.sendall(hostile.hello() + struct.pack("!BQ", 2, 1 << 30) + b"x" * 1000)
        wait_until(lambda: is_cut(peer), step=link.step)

    assert resident() - before < 64 * MEGABYTE
    assert link.goes_on()


@pytest.mark.fault("junk bytes on the port", "the connection ends; honest peers are served")
@pytest.mark.parametrize(
    "junk", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00" * 40, bytes(200), b"\xff" * 2000, b"\x01\x00\x00"]
)
def test_junk_on_the_port_disturbs_nobody(link: Link, junk: bytes) -> None:
    with hostile.connect(link.server.address) as peer:
        with suppress(OSError):  # it may be cut off at its first byte
            peer.sendall(junk)
            peer.shutdown(socket.SHUT_WR)
        wait_until(lambda: is_cut(peer), step=link.step)

    assert link.goes_on()


class _Canary:
    """Whoever unpickles it makes a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self._path,)


@pytest.mark.fault("pickles with a canary", "counted as malformed; nothing is unpickled")
def test_nothing_is_ever_unpickled(link: Link, tmp_path: Path) -> None:
    canary = tmp_path / "hatched"
    pickled = pickle.dumps(_Canary(canary))
    pickle.loads(pickled)
    assert canary.exists()  # it would sing
    canary.unlink()
    frame = [bytes(data) for data in encode_frame(a_packet(1))]
    messages = [[pickled], [pickled, pickled], [frame[0], pickled, *frame[2:]], [*frame[:2], pickled, *frame[3:]]]
    with hostile.connect(link.server.address) as peer:
        hostile.shake_hands(peer)
        peer.sendall(b"".join(hostile.message(parts) for parts in messages))
        link.until(lambda: link.server.malformed == len(messages))

    assert link.goes_on()
    assert not canary.exists()


@pytest.mark.slow
@pytest.mark.fault("300 idle connections", "an honest client is served throughout, and a new one gets in")
def test_idle_connections_keep_nobody_out(link: Link) -> None:
    idle = [hostile.connect(link.server.address) for _ in range(300)]
    link.until(lambda: link.server.guarded().get("too_many", 0) >= 300 - guard_module.CONNECTIONS)

    assert link.goes_on()
    with LinkClient(parse_endpoint(link.server.address), camera="gate", mode=Mode.LIVE) as newcomer:
        wait_until(lambda: newcomer.connected, step=lambda: (newcomer.poll(0.005), link.step()))
    link.until(lambda: link.server.guarded()["connections"] < 10)  # none of them has shaken hands in time
    for peer in idle:
        peer.close()


def test_who_has_spoken_is_not_shut_for_a_newcomer(small: ServerSocket) -> None:
    peers = [speaking(small) for _ in range(3)]
    newcomer = hostile.connect(small.address)
    wait_until(lambda: small.counts().get("too_many"), step=lambda: small.poll(10))
    wait_until(lambda: is_cut(newcomer), step=lambda: small.poll(10))

    assert not any(is_cut(peer) for peer in peers)
    for peer in (*peers, newcomer):
        peer.close()


def test_who_says_nothing_after_the_handshake_is_shut_but_not_while_the_server_is_busy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    monkeypatch.setattr(guard_module.Guard.__init__, "__kwdefaults__", {"clock": clock})
    with ExitStack() as stack:
        server = stack.enter_context(
            ServerSocket(parse_endpoint("tcp://127.0.0.1:*"), options={}, limits=Limits(HELD, HELD))
        )
        peer = stack.enter_context(hostile.connect(server.address))
        hostile.shake_hands(peer)
        wait_until(lambda: server.counts()["connections"])
        clock.now += FIRST_WORD_S + 1
        time.sleep(0.3)  # the guard looks; the server has not
        assert not server.counts().get("silent")

        def step() -> None:
            clock.now += 0.2
            server.poll(10)

        wait_until(lambda: server.counts().get("silent"), step=step)


def test_where_the_system_does_not_measure_the_guard_says_so_once_and_the_rest_works(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(guard_module, "MEASURES", False)
    limits = Limits(HELD, HELD)
    with (
        ServerSocket(parse_endpoint("tcp://127.0.0.1:*"), options={}, limits=limits) as server,
        speaking(server) as peer,
    ):
        push(peer, 30)
        assert server.poll(300) is False
        assert "held" not in server.counts()

    assert caplog.text.count("memory is not guarded") == 1


def test_a_socket_in_a_folder_has_no_guard() -> None:
    with short_folder() as folder:
        endpoint = parse_endpoint(f"ipc://{folder}/link")
        with ServerSocket(endpoint, options={}, limits=Limits(HELD, HELD)) as server:
            assert server.counts() == {}


def test_connections_that_end_leave_no_descriptor_behind(small: ServerSocket) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        speaking(small).close()
        wait_until(lambda: small.counts()["connections"] == 0, step=lambda: small.poll(10))

    assert len(os.listdir("/proc/self/fd")) <= before + 1
