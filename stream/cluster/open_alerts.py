"""Alerts that are open in the run machine's outbox, though nobody is there who could end them. For ``collector``.

Of a worker that is killed the next one on that machine ends what was left open. In a cluster that machine may stay away
for days, while another worker watches the camera and starts alerts of its own. So what came from an outbox that is away
for a while is ended here, with the pictures of its last message. When that outbox comes back, what it tells of the
alert comes all the same, behind that end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from stream.messages import Alert, Evidence

AWAY_FOR = 30.0
"""Seconds for which an outbox is away until its alerts are ended: a worker that is started anew is back in less."""


class OpenAlerts:
    """Which outboxes are away, and for how long.

    Args:
        closing: gives the messages that would end what is open and wanted
            (:meth:`stream.outbox.Outbox.closing_messages`).
        clock: monotonic seconds.
    """

    def __init__(
        self,
        closing: Callable[[Callable[[Alert], bool]], list[tuple[Alert, Evidence]]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._closing, self._clock = closing, clock
        self._began = clock()
        self._looked = False
        self._seen: dict[str, float] = {}  # outbox -> when it was there last, or was first heard of
        self._ended: set[str] = set()  # outboxes whose alerts were ended since they went away

    def due(self, *, live: Collection[str], known: Collection[str]) -> list[tuple[Alert, Evidence]]:
        """The messages that end what nobody else will end soon; each is given once for each time that its outbox goes.

        Args:
            live: outboxes that are there.
            known: all that the cluster has.

        Raises:
            OutboxError: this outbox cannot be read.
        """
        now = self._clock()
        self._seen.update(dict.fromkeys(live, now))
        self._ended.difference_update(live)
        away = {name for name in known if name not in live and now - self._seen.setdefault(name, now) >= AWAY_FOR}
        # Looked for seldom: it goes through the whole outbox. The first time also for what was left by a run on this
        # machine alone, and by outboxes that were forgotten.
        first = not self._looked and now - self._began >= AWAY_FOR
        if not first and away <= self._ended:
            return []
        # Most of what is open is of outboxes that are there: its pictures, hundreds of megabytes, are not needed.
        messages = self._closing(lambda alert: alert.outbox in away or alert.outbox not in known)
        self._looked = self._looked or first
        self._ended |= away
        return messages
