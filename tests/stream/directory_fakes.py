"""A cluster without a control: machines with keys of their own, a book that the test writes, a directory, workers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline_fakes import wait_until

from stream.cluster.directory import DirectoryServer
from stream.cluster.directory_client import DirectoryAddress, DirectoryClient
from stream.cluster.model import OutboxPlace, OutboxState, Place
from stream.curve import CurveServer
from stream.endpoints import parse_endpoint
from stream.key_making import issue, let_in_only, make_folder
from stream.keys import KeyFolder, Role, SecretKey, load_folder, load_secret
from stream.link import Ended, LinkEvent, LinkServer
from stream.messages import FramePacket

LOOPBACK = "tcp://127.0.0.1:*"


class PaperBook:
    """What the test has written down."""

    def __init__(self) -> None:
        self.generation = 1
        self.places: dict[str, Place] = {}
        self.known: tuple[OutboxPlace, ...] = ()
        self.text: Mapping[str, Any] = {"name": "campus"}

    def place(self, camera: str) -> Place:
        nowhere = Place(camera, self.generation, reason="it is in no configuration")
        return self.places.get(camera, nowhere)

    def outboxes(self) -> tuple[int, tuple[OutboxPlace, ...]]:
        return self.generation, self.known

    def document(self) -> Mapping[str, Any]:
        return self.text

    def put(self, camera: str, worker: Worker | None, *, reason: str = "") -> None:
        """A camera is scored there from now on; None: nowhere."""
        self.generation += 1
        nowhere = Place(camera, self.generation, reason=reason)
        self.places[camera] = nowhere if worker is None else worker.place(camera, self.generation)


def an_outbox(name: str = "one", **fields: Any) -> OutboxPlace:
    values: dict[str, Any] = {"id": name, "node": "n", "state": OutboxState.LIVE, "since": 1.0, "last_seq": 0}
    return OutboxPlace(**(values | fields))


class Worker:
    """The link of a machine of its own, which scores whatever comes unless told otherwise."""

    def __init__(self, name: str, folder: Path, stack: ExitStack, *, cameras: tuple[str, ...] = ("gate",)) -> None:
        self.name, self.folder, self.cameras = name, folder, cameras
        make_folder(folder)
        self.keys = load_folder(folder)
        self.events: list[LinkEvent] = []
        self.serving = True  # whether frames are scored
        self.confirming = True  # whether it says that they are; what it has not said it says later
        self._unconfirmed: dict[str, int] = {}  # last frame, by camera
        self.link: LinkServer | None = None
        self._stack, self._stop, self._thread = stack, threading.Event(), threading.Thread(target=self._work)
        stack.callback(self.kill)

    def let_in(self, **keys: str) -> None:
        """Programs of other machines, by the machine's name."""
        let_in_only(self.folder, Role.LOCAL, {key: [name] for name, key in keys.items()})

    def start(self) -> Worker:
        secure = CurveServer(load_folder(self.folder), Role.READER)
        self.link = LinkServer(parse_endpoint(LOOPBACK), cameras=self.cameras, secure=secure)
        self.address = self.link.address
        self._thread.start()
        return self

    def kill(self) -> None:
        """Its sockets are gone, without a word. May be called twice."""
        if self._thread.is_alive():
            self._stop.set()
            self._thread.join()
        if self.link is not None:
            self.link.close()

    def place(self, camera: str, generation: int) -> Place:
        return Place(camera, generation, self.name, self.address, self.keys.server.public)

    def of(self, kind: type) -> list[Any]:
        return [event for event in list(self.events) if isinstance(event, kind)]

    @property
    def numbers(self) -> list[int]:
        return [packet.seq for packet in self.of(FramePacket)]

    def _work(self) -> None:
        assert self.link is not None
        while not self._stop.is_set():
            for event in self.link.poll(0.02):
                self._take(self.link, event)
            if self.confirming:
                for camera, seq in self._unconfirmed.items():
                    self.link.mark_scored(camera, seq)  # the next beat says so
                self._unconfirmed = {}

    def _take(self, link: LinkServer, event: LinkEvent) -> None:
        self.events.append(event)
        if isinstance(event, FramePacket) and self.serving:
            if self.confirming:
                link.mark_scored(event.camera, event.seq)
            else:
                self._unconfirmed[event.camera] = event.seq
            link.grant(event.camera)
        if isinstance(event, Ended) and self.serving:
            link.finish(event.camera)


class Campus:
    """The machine with the directory, and its keys: its own, one for camera gate, and one for subscriber ops."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self._stack, self.book = folder, stack, PaperBook()
        make_folder(folder / "keys")
        # Issued before it serves: a client that is refused once is let in only with its next connection.
        self.gate, self.ops = self.issued(Role.READER, "gate"), self.issued(Role.SUBSCRIBER, "ops")
        self.keys: KeyFolder = load_folder(folder / "keys")
        self.server: DirectoryServer | None = None
        self.endpoint = LOOPBACK
        self._stop = threading.Event()
        stack.callback(self.stop)

    def issued(self, role: Role, *names: str) -> SecretKey:
        return load_secret(issue(self.folder / "keys", role, names))

    def start(self) -> Campus:
        """Serves in a thread, where it served before."""
        secure = CurveServer(load_folder(self.folder / "keys"), Role.LOCAL)
        self.server = DirectoryServer(self.endpoint, self.book, secure=secure)
        self.endpoint = self.server.address
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.server.run, args=(self._stop.is_set,))
        self._thread.start()
        return self

    def stop(self) -> None:
        """Its sockets are gone, without a word. May be called twice."""
        if self.server is not None:
            self._stop.set()
            self._thread.join()
            self.server.close()
            self.server = None

    def address(self, key: SecretKey) -> DirectoryAddress:
        return DirectoryAddress(self.endpoint, replace(key, server=self.keys.server.public))

    def client(self, key: SecretKey) -> DirectoryClient:
        address = self.address(key)
        return self._stack.enter_context(DirectoryClient(address.endpoint, secure=address.secure()))

    def counts(self) -> dict[str, int]:
        assert self.server is not None
        counts: dict[str, int] = self.server.state()["counts"]
        return counts


def soon(condition: Callable[[], Any]) -> None:
    """Waits for what other threads bring about."""
    wait_until(condition)
