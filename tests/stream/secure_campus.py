"""A cluster as it is: a directory and feeds on TCP, each machine with keys of its own, real CURVE everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import directory_fakes
from collect_fakes import Node

from stream.cluster.model import OutboxPlace, OutboxState
from stream.curve import CurveServer
from stream.key_making import let_in_only, make_folder
from stream.keys import Role, load_folder


class SecureNode(Node):
    """A machine that lets in whom the run machine has told it to."""

    def __init__(self, folder: Path, name: str, run: directory_fakes.Campus) -> None:
        super().__init__(folder, name)
        self._keys = folder / "keys"
        make_folder(self._keys)
        let_in_only(self._keys, Role.LOCAL, {run.keys.local.public: ["run"]})
        let_in_only(self._keys, Role.SUBSCRIBER, {run.ops.public: ["ops"]})
        self.endpoint = "tcp://127.0.0.1:*"

    def start(self, *, elsewhere: bool = False, name: str | None = None) -> None:
        self._served = ExitStack()
        secure = CurveServer(load_folder(self._keys), Role.SUBSCRIBER)
        serving = self.disk.serving("tcp://127.0.0.1:*", outbox_id=name or self.id, secure=secure)
        self.endpoint = str(self._served.enter_context(serving).endpoint)

    def place(self, **changes: object) -> OutboxPlace:
        return super().place(**{"server": load_folder(self._keys).server.public, **changes})


class SecureCampus:
    """The machine with the directory, and its nodes."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self.run = directory_fakes.Campus(folder / "run", stack).start()
        self.nodes: dict[str, SecureNode] = {}

    def node(self, name: str) -> SecureNode:
        self.nodes[name] = node = SecureNode(self._folder / name, name, self.run)
        self._stack.callback(node.disk.outbox.close)
        self._stack.callback(node.kill)
        node.start()
        return node

    def tell(self, *places: OutboxPlace) -> None:
        known = places or tuple(node.place() for node in self.nodes.values())
        self.run.book.generation += 1
        self.run.book.known = known
        self.run.book.text = {
            "written": 1000.0,
            "name": "campus",
            "outboxes": [place.to_json() for place in known],
            "problems": [],
        }

    def lost(self, name: str) -> OutboxPlace:
        return self.nodes[name].place(state=OutboxState.MISSING, endpoint="", last_seq=9)


@contextmanager
def a_secure_campus(folder: Path) -> Iterator[SecureCampus]:
    """One; everything of it ends with the block."""
    with ExitStack() as stack:
        yield SecureCampus(folder, stack)
