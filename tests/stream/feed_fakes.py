"""What the tests of the feed share: an outbox with an endpoint, a feed that moves step by step, and a bare client."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import zmq

from stream.feed import FeedServer
from stream.messages import Alert, Evidence, Phase
from stream.outbox import Outbox, OutboxReader
from stream.subscriber import AlertSubscriber
from stream.wire import Envelope, Kind, decode, encode

PATIENCE_S = 10.0  # how long a test waits for what must happen


def an_alert(n: int) -> Alert:
    return Alert(0, f"a{n}", Phase.START, "gate", "yard", 0.0, float(n), n, 2.0, 1.0, (), ())


def fill(outbox: Outbox, first: int, last: int) -> None:
    for n in range(first, last + 1):
        outbox.commit(an_alert(n), Evidence(b"png%d" % n, b"jpeg%d" % n))


class Place:
    """One outbox and one endpoint, in a folder short enough for a socket."""

    def __init__(self, folder: Path) -> None:
        self.paths = (folder / "outbox.db", folder / "evidence")
        self.endpoint = f"ipc://{folder}/feed"
        self.outbox = Outbox(*self.paths)

    def wait_for_places(self, **expected: int) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while self.outbox.acknowledged() != expected:
            assert time.monotonic() < deadline, self.outbox.acknowledged()
            threading.Event().wait(0.01)

    @contextmanager
    def serving(self, endpoint: str | None = None, **options: Any) -> Iterator[FeedServer]:
        """A feed in a thread. Leaving stops it at once; what is on its way is lost."""
        stop = threading.Event()
        with (
            OutboxReader(*self.paths) as reader,
            FeedServer(endpoint or self.endpoint, reader, dict, **options) as feed,
        ):
            thread = threading.Thread(target=feed.run, args=(stop.is_set,))
            thread.start()
            try:
                yield feed
            finally:
                stop.set()
                thread.join(PATIENCE_S)
            assert not thread.is_alive()


@contextmanager
def a_place() -> Iterator[Place]:
    """One, removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="sp"))
    here = Place(folder)
    try:
        yield here
    finally:
        here.outbox.close()
        shutil.rmtree(folder)


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def stepped(
    place: Place, status: Callable[[], dict[str, Any]] = dict, **options: Any
) -> Iterator[tuple[FeedServer, Clock]]:
    """A feed that moves only when the test calls ``step``."""
    clock = Clock()
    with (
        OutboxReader(*place.paths) as reader,
        FeedServer(place.endpoint, reader, status, clock=clock, **options) as feed,
    ):
        yield feed, clock


class Peer:
    """A bare client, for what a well-behaved subscriber never does."""

    def __init__(self, endpoint: str, *, identity: bytes | None = None) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        if identity is not None:
            self.socket.setsockopt(zmq.IDENTITY, identity)
            self.socket.setsockopt(zmq.RECONNECT_IVL, -1)  # one that lost its identity must not take it back
        self.socket.connect(endpoint)

    def send(self, kind: Kind, **meta: Any) -> None:
        self.socket.send_multipart(encode(kind, meta))

    def receive(self) -> Envelope:
        assert self.socket.poll(int(PATIENCE_S * 1000)), "no message came"
        return decode(self.socket.recv_multipart())

    def drain(self, *, idle_ms: int = 0) -> list[Envelope]:
        found = []
        while self.socket.poll(idle_ms):
            found.append(decode(self.socket.recv_multipart()))
        return found

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.destroy(linger=0)


def take(subscriber: AlertSubscriber, count: int) -> list[int]:
    numbers: list[int] = []
    for _ in range(count):
        found = subscriber.poll(PATIENCE_S)
        assert found is not None, f"nothing came after {numbers}"
        numbers.append(found[0].seq)
    return numbers


def wait_until(subscriber: AlertSubscriber, condition: Callable[[], bool]) -> None:
    for _ in range(int(PATIENCE_S / 0.05)):
        if condition():
            return
        assert subscriber.poll(0.05) is None
    raise AssertionError("it did not happen")
