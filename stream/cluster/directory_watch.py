"""What the directory of a cluster said last, for a loop that does other things. For ``subscriber``, ``collector``."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from stream.cluster.directory_client import Answer, Cluster, Outboxes, Refused
from stream.cluster.model import OutboxPlace

ASK_EVERY = 1.0
"""Seconds between two questions: so long a feed that has moved is looked for in vain."""

SILENT_AFTER = 5.0
"""Seconds without an answer after which the directory counts as away. It is asked on, and what it said last holds."""


class Asked(Protocol):
    """What is needed of a :class:`stream.cluster.directory_client.DirectoryClient`."""

    def ask_outboxes(self) -> bool:
        """Asks which outboxes there are."""
        ...

    def ask_cluster(self) -> bool:
        """Asks how the cluster stands."""
        ...

    def poll(self, timeout: float = 0.0) -> list[Answer]:
        """What has come."""
        ...


class DirectoryWatch:
    """Asks a directory about once a second, and never waits for it. One thread uses an object.

    Args:
        client: of the directory; the caller closes it.
        documents: asks also how the whole cluster stands.
        clock: monotonic seconds.
    """

    def __init__(self, client: Asked, *, documents: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._client, self._documents, self._clock = client, documents, clock
        self._due = self._heard = clock()
        self._refused = ""
        self.outboxes: tuple[OutboxPlace, ...] | None = None  # None: not known yet
        self.document: Mapping[str, Any] | None = None  # the same

    @property
    def problem(self) -> str:
        """Why nothing new is known; "" where all is well."""
        if self._refused:
            return f"the directory refuses: {self._refused}"
        silent = self._clock() - self._heard
        return f"the directory has not answered for {silent:.0f} s" if silent > SILENT_AFTER else ""

    def step(self) -> None:
        """Takes what has come, and asks again when it is time to."""
        for answer in self._client.poll():
            self._take(answer)
        now = self._clock()
        if now < self._due:
            return
        self._due = now + ASK_EVERY
        self._client.ask_outboxes()
        if self._documents:
            self._client.ask_cluster()

    def _take(self, answer: Answer) -> None:
        self._heard = self._clock()
        if isinstance(answer, Refused):
            self._refused = answer.reason
        elif isinstance(answer, Outboxes):
            self._refused, self.outboxes = "", answer.outboxes
        elif isinstance(answer, Cluster):
            self._refused, self.document = "", answer.document
