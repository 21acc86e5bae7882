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
from stream.cluster.outbox_id import outbox_id
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
        self.problems: dict[Path, str] = {}  # outboxes that cannot be served, by folder

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
        path = state / "outbox.sqlite"
        Outbox(path, state / "evidence").close()  # here, before several processes would do it at the same time
        port = self._port()
        self._served[state] = served = Served(state, outbox_id(path), port, self._endpoint(port), self._wall())
        self.look()
        return served

    def move(self, state: Path) -> Served:
        """Serves it on another port."""
        port, before = self._port(), self._served[state]
        self._served[state] = served = Served(state, before.id, port, self._endpoint(port), before.since)
        self.look()
        return served

    def keep(self, wanted: list[Path], *, own: Path) -> bool:
        """Serves its own and these, and no others; returns whether that is a change."""
        before = self.served
        for state in [state for state in self._served if state != own and state not in wanted]:
            del self._served[state]
        self.problems = {state: why for state, why in self.problems.items() if state in wanted}
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

    def _try(self, state: Path) -> None:
        try:
            served = self.add(state)
        except OutboxError as error:
            if self.problems.get(state) != str(error):
                log.error("an outbox that was left here cannot be served: %s", error)
            self.problems[state] = str(error)
            return
        self.problems.pop(state, None)
        log.info("serving outbox %s, which a worker has left in %s", served.id, state)

    def _place(self, served: Served) -> OutboxPlace:
        try:
            with OutboxReader(served.state / "outbox.sqlite", served.state / "evidence") as outbox:
                self._last[served.id] = outbox.last_seq()
        except OutboxError as error:  # the last known number is no lie: there were so many
            log.warning("%s", error)
        last = self._last.get(served.id, 0)
        where = (served.endpoint, self._server)
        return OutboxPlace(served.id, self._node, OutboxState.LIVE, served.since, last, *where)
