"""What the tests of collecting share: outboxes that are served for real, and a directory that says what it is told."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from feed_fakes import PATIENCE_S, Place

from stream.cluster.directory_client import Answer, Cluster, Outboxes
from stream.cluster.directory_watch import DirectoryWatch
from stream.cluster.model import OutboxPlace, OutboxState
from stream.cluster.subscriber import ClusterSubscriber, Received
from stream.keys import Role, SecretKey
from stream.messages import Alert, Evidence, Phase

DIRECTORY = "tcp://127.0.0.1:1"  # nobody is there: the tests' own directory answers
KEY = SecretKey(Role.SUBSCRIBER, ("archive",), "p" * 40, "s" * 40, "x" * 40)
LONG_AGO = 1_000_000.0


def alert(outbox: str, n: int, phase: Phase = Phase.START) -> Alert:
    """The nth of an outbox, of a camera of its own."""
    return Alert(0, f"{outbox}-{n}", phase, f"camera-{outbox}", "yard", 0.0, float(n), n, 2.0, 1.0, (), ())


class Node:
    """One machine of a cluster: its outbox, and a feed that can be switched off and come back elsewhere."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir()
        self.id, self._folder = name, folder
        self.disk = Place(folder)
        self.endpoint = self.disk.endpoint
        self._served: ExitStack | None = None
        self._moves = 0

    def commit(self, *numbers: int) -> None:
        for n in numbers:
            self.disk.outbox.commit(alert(self.id, n), Evidence(b"mask%d" % n, b"jpeg%d" % n, b"", b"view", b"frame"))

    def start(self, *, elsewhere: bool = False, name: str | None = None) -> None:
        if elsewhere:
            self._moves += 1
            self.endpoint = f"ipc://{self._folder}/feed{self._moves}"
        self._served = ExitStack()
        self._served.enter_context(self.disk.serving(self.endpoint, outbox_id=name or self.id))

    def kill(self) -> None:
        if self._served is not None:
            self._served.close()
            self._served = None

    def place(self, **changes: Any) -> OutboxPlace:
        here = OutboxPlace(self.id, f"node-{self.id}", OutboxState.LIVE, LONG_AGO, 0, self.endpoint)
        return replace(here, **changes)

    def lost(self) -> OutboxPlace:
        last = self.disk.outbox.last_seq()
        return self.place(state=OutboxState.MISSING, endpoint="", last_seq=last)


class Directory:
    """Answers at once, with what it was last told."""

    def __init__(self) -> None:
        self._answers: list[Answer] = []

    def tell(self, *places: OutboxPlace) -> None:
        self._answers.append(Outboxes(1, places))

    def tell_document(self, document: dict[str, Any]) -> None:
        self._answers.append(Cluster(document))

    def ask_outboxes(self) -> bool:
        return True

    def ask_cluster(self) -> bool:
        return True

    def poll(self, timeout: float = 0.0) -> list[Answer]:
        answers, self._answers = self._answers, []
        return answers


class Campus:
    """Nodes and their directory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.directory = Directory()
        self.nodes: dict[str, Node] = {}

    def node(self, name: str, *, serving: bool = True) -> Node:
        self.nodes[name] = node = Node(self._folder / name, name)
        if serving:
            node.start()
        return node

    def tell(self, *places: OutboxPlace) -> None:
        self.directory.tell(*(places or [node.place() for node in self.nodes.values()]))

    def subscriber(self, **options: Any) -> ClusterSubscriber:
        return ClusterSubscriber(DIRECTORY, key=KEY, watch=DirectoryWatch(self.directory), **options)


@contextmanager
def a_campus() -> Iterator[Campus]:
    """One, in a folder short enough for sockets; removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="sp"))
    campus = Campus(folder)
    try:
        yield campus
    finally:
        for node in campus.nodes.values():
            node.kill()
            node.disk.outbox.close()
        shutil.rmtree(folder)


def take(subscriber: ClusterSubscriber, count: int) -> list[Received]:
    """The next so many, each acknowledged when the next one is asked for."""
    found: list[Received] = []
    for _ in range(count):
        received = subscriber.poll(PATIENCE_S)
        assert received is not None, f"nothing came after {numbers(found)}; {subscriber.problems}"
        found.append(received)
    return found


def numbers(received: list[Received], outbox: str | None = None) -> list[tuple[str, int]]:
    return [(each.outbox, each.alert.seq) for each in received if outbox in (None, each.outbox)]


def wait_for(condition: Callable[[], object], step: Callable[[], object] = lambda: time.sleep(0.02)) -> None:
    deadline = time.monotonic() + 2 * PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        step()
