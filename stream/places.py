"""How far every named subscriber is: noted in the outbox, kept in memory while that takes nothing. Used by ``feed``.

On a full disk alerts still go out; what was acknowledged meanwhile is noted once there is room. Lost with the process,
it only makes some alerts come twice.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from stream.errors import OutboxError
from stream.outbox import OutboxReader

NOTE_AGAIN = 1.0
"""Seconds between two tries while the outbox takes nothing."""

_log = logging.getLogger(__name__)


class Places:
    """The places of the subscribers of one outbox. One thread uses an object.

    Args:
        outbox: where they are noted.
        clock: monotonic seconds.
    """

    def __init__(self, outbox: OutboxReader, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._outbox, self._clock = outbox, clock
        self._waiting: dict[str, int] = {}
        self._due = clock()
        self.problem = ""  # why the outbox takes nothing, with the remedy; "" = it did at the last try
        self.failures = 0  # tries, ever

    def register(self, name: str) -> int:
        """The place of a name; from now on retention keeps what comes after it. A known name needs no write.

        Raises:
            OutboxError: the name is new and cannot be noted: promised to nobody is better than promised and forgotten.
        """
        noted = self._outbox.acknowledged().get(name)
        if noted is None:
            try:
                self._outbox.acknowledge(name, 0)
            except OutboxError as error:
                self._failed(error)
                raise
            self.problem = ""
        return max(noted or 0, self._waiting.get(name, 0))

    def acknowledge(self, name: str, seq: int) -> None:
        """Everything up to ``seq`` is safe there. In the outbox after :meth:`note`; a place never moves back."""
        self._waiting[name] = max(seq, self._waiting.get(name, 0))

    def note(self) -> None:
        """Brings what was acknowledged into the outbox, as far as it takes it; called once a round.

        Not once a message: each is a synchronous write.
        """
        if not self._waiting or self._clock() < self._due:
            return
        try:
            for name, seq in list(self._waiting.items()):
                self._outbox.acknowledge(name, seq)
                del self._waiting[name]
        except OutboxError as error:
            self._failed(error)
        else:
            self.problem = ""

    def _failed(self, error: OutboxError) -> None:
        self.failures += 1
        if not self.problem:
            _log.error("places of subscribers are kept in memory: %s", error)
        self.problem = str(error)
        self._due = self._clock() + NOTE_AGAIN
