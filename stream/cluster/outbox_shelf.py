"""The outboxes that a worker's station serves: its own, and those that workers have left on its disk who are not there
any more. For ``worker_station``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stream.cluster.model import OutboxPlace, OutboxState
from stream.cluster.node_folder import NodeFolder, WorkerFolder
from stream.cluster.outbox_id import known_outbox_id, outbox_id
from stream.errors import OutboxError
from stream.outbox import Outbox, OutboxReader

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Served:
    """One outbox, and where it is served."""

    state: Path  # folder that it lies in
    id: str
    port: int  # of its feed
    endpoint: str  # the same, as other machines see it
    since: float  # Unix seconds


class Shelf:
    """The outboxes of one station. One thread changes it; :meth:`places` may be asked from any.

    Args:
        node: name of this machine.
        server: its public CURVE key.
        port: gives a free port each time.
        endpoint: of a port.
        wall: Unix seconds.
    """

    def __init__(
        self,
        *,
        node: str,
        server: str,
        port: Callable[[], int],
        endpoint: Callable[[int], str],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._node, self._server, self._port, self._endpoint, self._wall = node, server, port, endpoint, wall
        self._served: dict[Path, Served] = {}
        self._places: tuple[OutboxPlace, ...] = ()
        self._last: dict[str, int] = {}  # by id
        self._files: dict[Path, tuple[int, int] | None] = {}  # which file each outbox was, by folder
        self.problems: dict[Path, str] = {}  # outboxes that cannot be served or read, by folder

    def __getitem__(self, state: Path) -> Served:
        return self._served[state]

    @property
    def served(self) -> tuple[Served, ...]:
        """In the order in which they came."""
        return tuple(self._served.values())

    def add(self, state: Path) -> Served:
        """Serves the outbox in a state folder from now on; it is made where there is none.

        Raises:
            OutboxError: it cannot be used.
        """
        served = self._open(state, self._port())
        self.look()
        return served

    def move(self, state: Path) -> Served:
        """Serves it on another port."""
        port, before = self._port(), self._served[state]
        self._served[state] = served = Served(state, before.id, port, self._endpoint(port), before.since)
        self.look()
        return served

    def renew(self) -> list[Path]:
        """Takes up outboxes whose file is another one than before, under that one's name; returns their folders. Who
        has such a file open still has the old one, and has to start anew."""
        own = next(iter(self._served), None)
        # One that was left here, and was taken away, is served no more; a worker goes on with a new one.
        changed = [state for state in self._served if self._is_another(state) and (state == own or _file_of(state))]
        return [state for state in changed if self._reopen(state)]

    def keep(self, wanted: list[Path], *, own: Path) -> bool:
        """Serves its own and these, and no others; returns whether that is a change."""
        before = self.served
        for state in [state for state in self._served if state != own and state not in wanted]:
            del self._served[state]
        there = (*wanted, *self._served)
        self.problems = {state: why for state, why in self.problems.items() if state in there}
        for state in wanted:
            if state not in self._served:
                self._try(state)
        self.look()
        return self.served != before

    def look(self) -> None:
        """Sees which numbers the outboxes have come to."""
        self._places = tuple(self._place(served) for served in self._served.values())

    def places(self) -> tuple[OutboxPlace, ...]:
        """As subscribers are told; its own first."""
        return self._places

    def _open(self, state: Path, port: int) -> Served:
        name = open_outbox(state)
        self._files[state] = _file_of(state)
        self._served[state] = served = Served(state, name, port, self._endpoint(port), self._wall())
        return served

    def _is_another(self, state: Path) -> bool:
        """Whether the file there is not the one that is served. Its number alone does not tell: that of a file that
        was removed is given to the next one."""
        if _file_of(state) != self._files[state]:
            return True
        try:
            return known_outbox_id(state / "outbox.sqlite") != self._served[state].id
        except OutboxError:  # the same one, and damaged, as far as anybody can tell: who reads it says so
            return False

    def _reopen(self, state: Path) -> bool:
        before = self._served[state]
        try:
            served = self._open(state, before.port)
        except OutboxError as error:
            self._complain(state, f"the outbox was replaced by what cannot be used: {error}")
            return False
        log.error(
            "outbox %s in %s was replaced by %s while it was in use: what nobody had fetched of it can only come from "
            "the old file",
            before.id,
            state,
            served.id,
        )
        return True

    def _complain(self, state: Path, why: str) -> None:
        if self.problems.get(state) != why:
            log.error("%s", why)
        self.problems[state] = why

    def _try(self, state: Path) -> None:
        try:
            served = self.add(state)
        except OutboxError as error:
            self._complain(state, f"an outbox that was left here cannot be served: {error}")
            return
        self.problems.pop(state, None)
        log.info("serving outbox %s, which a worker has left in %s", served.id, state)

    def _place(self, served: Served) -> OutboxPlace:
        try:
            if not self._is_another(served.state):  # of that the number would say nothing
                with OutboxReader(served.state / "outbox.sqlite", served.state / "evidence") as outbox:
                    self._last[served.id] = outbox.last_seq()
                self.problems.pop(served.state, None)
        except OutboxError as error:  # the last known number is no lie: there were so many
            self._complain(served.state, str(error))
        last = self._last.get(served.id, 0)
        where = (served.endpoint, self._server)
        return OutboxPlace(served.id, self._node, OutboxState.LIVE, served.since, last, *where)


def open_outbox(state: Path) -> str:
    """Makes the outbox in a state folder where there is none; its name.

    Raises:
        OutboxError: it cannot be used.
    """
    path = state / "outbox.sqlite"
    Outbox(path, state / "evidence").close()  # here, before several processes would do it at the same time
    return outbox_id(path)


def claim_usable(node: NodeFolder, number: int) -> WorkerFolder:
    """The state folder of this number; where its outbox cannot be used, another one: a worker whose cameras nobody
    watches does more harm than one that begins a new outbox. What is damaged stays as it is, for a person to restore:
    the station that serves what was left here names it until then, and serves it as soon as it can be read.

    Raises:
        OutboxError: no outbox can be made either.
        UsageError: no folder can be made.
    """
    held: list[WorkerFolder] = []  # so that the next claim gives another one
    try:
        while True:
            folder = node.claim(number, wait=0.0) if held else node.claim(number)
            fresh = _file_of(folder.path) is None
            try:
                open_outbox(folder.path)
            except OutboxError as error:
                held.append(folder)
                if fresh:  # the disk is at fault, and not what somebody left on it
                    raise
                log.error("%s. This worker goes on with another folder", error)
                continue
            return folder
    finally:
        for other in held:
            other.close()


def _file_of(state: Path) -> tuple[int, int] | None:
    """Which file an outbox is; None: there is none."""
    try:
        found = (state / "outbox.sqlite").stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
