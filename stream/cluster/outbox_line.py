"""The connection to the feed of one outbox of a cluster, wherever that is at the moment. For ``subscriber``.

What fails here is this outbox's alone: it is said under ``problem``, tried again, and holds up no other outbox.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

import zmq

from stream.cluster.model import OutboxPlace, OutboxState
from stream.errors import LinkLost, OutboxWentBack, UsageError
from stream.feed import is_seq
from stream.messages import Alert, Evidence
from stream.subscriber import AlertSubscriber, Gap

SILENT_AFTER = 5.0
"""Seconds without a word from a feed that should be there, after which that is called a problem."""

FIRST_PAUSE = 2.0
"""Seconds before a feed that refused is asked again; doubled each time."""

LAST_PAUSE = 60.0
"""Seconds between two tries at most."""

Subscribe = Callable[[OutboxPlace, int | None, str | None], AlertSubscriber]
"""Connects to an outbox's feed, after a sequence number (None: after what the feed remembers), and with what the alert
of that number is known by (None: not known)."""

_log = logging.getLogger(__name__)


class OutboxLine:
    """One outbox: its place, its number, its gaps.

    Args:
        place: what the directory says of it.
        subscribe: see there.
        since: the last number already had; None: what the feed remembers.
        had: what the alert of that number is known by; None: not known.
        remembered: whether the feed keeps a place for this subscriber, which then counts where the two do not agree.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        place: OutboxPlace,
        *,
        subscribe: Subscribe,
        since: int | None,
        had: str | None = None,
        remembered: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.place, self._remembered = place, remembered
        self._subscribe, self._clock = subscribe, clock
        self._last = since
        self._had = had
        self._acked: int | None = None
        self._untold = False  # the feed has not been told of it over this connection
        self._gaps: list[Gap] = []  # of earlier connections
        self._subscriber: AlertSubscriber | None = None
        self._heard = self._again_at = clock()
        self._pause = FIRST_PAUSE
        self._refused = ""

    @property
    def missing(self) -> bool:
        """The directory knows of no feed for it."""
        return self.place.state is OutboxState.MISSING or not self.place.endpoint

    @property
    def problem(self) -> str:
        """Why an outbox that should be there gives nothing; "" where all is well, or it is missing anyway."""
        if self.missing:
            return ""
        if self._refused:
            return self._refused
        silent = self._clock() - self._heard
        return f"its feed at {self.place.endpoint} does not answer" if silent > SILENT_AFTER else ""

    @property
    def caught_up(self) -> bool:
        """Everything has come that was committed when the present connection was made."""
        return self._subscriber is not None and self._subscriber.caught_up

    @property
    def last_seq(self) -> int | None:
        """The last number handed out or reported as a gap; None: not known yet."""
        return self._last if self._subscriber is None else self._subscriber.last_seq

    @property
    def had(self) -> str | None:
        """What the alert of that number is known by; None: not known."""
        return self._had if self._subscriber is None else self._subscriber.had

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """What was lost for good, in order."""
        return tuple(dict.fromkeys([*self._gaps, *(() if self._subscriber is None else self._subscriber.gaps)]))

    @property
    def socket(self) -> zmq.Socket[bytes] | None:
        """To wait on; None where there is nothing to wait for."""
        return None if self._subscriber is None else self._subscriber.socket

    def move(self, place: OutboxPlace) -> None:
        """What the directory says of it now."""
        before, self.place = self.place, place
        if (before.state, before.endpoint, before.server) != (place.state, place.endpoint, place.server):
            self._leave()
            if self._last is None and not self._remembered:
                self._last = before.last_seq  # "from now on" began when it was told of first, not when it is back
            self._heard = self._again_at = self._clock()
            self._pause, self._refused = FIRST_PAUSE, ""

    def poll(self) -> tuple[Alert, Evidence] | None:
        """The next alert, if one has come. What was handed out before counts as safe."""
        subscriber = self._reached()
        if subscriber is None:
            return None
        try:
            found = subscriber.poll(0)
        except (LinkLost, zmq.ZMQError) as error:  # the latter where no socket can be had: no file is left to open
            self._refuses(error)
            return None
        self._note(subscriber)
        return found

    def listen(self) -> None:
        """Signs of life both ways, as :meth:`stream.subscriber.AlertSubscriber.listen` gives them."""
        subscriber = self._reached()
        if subscriber is None:
            return
        try:
            subscriber.listen()
        except (LinkLost, zmq.ZMQError) as error:
            self._refuses(error)
        else:
            self._note(subscriber)

    def ack(self, seq: int) -> None:
        """Everything up to ``seq`` is safe here. Where the feed is away, it is told when it is back."""
        if seq > (self.last_seq or 0):
            return  # of an older count of this outbox: nothing that has this number now was handed out yet
        self._acked = seq
        if self._subscriber is not None:
            self._subscriber.ack(seq)
        self._untold = self._subscriber is None or not self._subscriber.connected

    def renew(self) -> None:
        """Connects anew with the next :meth:`poll`."""
        self._leave()
        self._again_at = self._clock()

    def close(self) -> None:
        """Disconnects. May be called twice."""
        self._leave()

    def _reached(self) -> AlertSubscriber | None:
        if self.missing or self._clock() < self._again_at:
            return None
        if self._subscriber is None:
            try:
                self._subscriber = self._subscribe(self.place, self._last, self._had)
            except (UsageError, zmq.ZMQError) as error:  # an address or a key that nobody can connect with
                self._failed(f"its feed at {self.place.endpoint[:200]} cannot be reached: {error}")
        return self._subscriber

    def _note(self, subscriber: AlertSubscriber) -> None:
        if not subscriber.connected:
            return
        self._heard, self._pause, self._refused = self._clock(), FIRST_PAUSE, ""
        if self._untold and self._acked is not None and subscriber.caught_up:
            subscriber.ack(self._acked)
            self._untold = False

    def _refuses(self, error: LinkLost | zmq.ZMQError) -> None:
        self._failed(str(error))
        if isinstance(error, OutboxWentBack):
            # A disk is back with an older copy of the outbox, which gives numbers out a second time: to wait until it
            # has come as far as we were would lose them. What it remembers of us went back with it; where it remembers
            # nothing, only all that it keeps is enough.
            self._leave()
            self._last = None if self._remembered else 0
            self._had = self._acked = None
            self._untold = False

    def _failed(self, reason: str) -> None:
        if reason != self._refused:
            _log.warning("outbox %s on %s: %s; tried again", self.place.id, self.place.node, reason)
        self._refused = reason
        self._again_at = self._clock() + self._pause
        self._pause = min(2 * self._pause, LAST_PAUSE)

    def _leave(self) -> None:
        subscriber, self._subscriber = self._subscriber, None
        if subscriber is None:
            return
        self._last, self._had = subscriber.last_seq, subscriber.had
        last = self._last
        # What was not handed out comes once more, and gaps behind it with it.
        self._gaps += [gap for gap in subscriber.gaps if last is not None and gap.last <= last]
        self._untold = self._acked is not None
        subscriber.close()


def check_since(since: Mapping[str, int] | int | None) -> Mapping[str, int] | int | None:
    """``since``, if it may be one. Raises UsageError."""
    if since is None or since == 0:
        return since
    if isinstance(since, Mapping) and all(map(is_seq, since.values())):
        return dict(since)
    raise UsageError(
        f"since {str(since)[:80]!r} must be 0 for everything kept, or the last number of each outbox: each has its own"
    )


def first_number(place: OutboxPlace, *, since: Mapping[str, int] | int | None, named: bool, first: bool) -> int | None:
    """The number after which an outbox is asked for; None: after what its feed remembers, or from now on.

    Args:
        place: what the directory says of it.
        since: as :func:`check_since` gave it.
        named: whether its feed keeps a place for this subscriber.
        first: whether it was there when the directory told of outboxes for the first time.
    """
    if since is not None:
        return since if isinstance(since, int) else since.get(place.id, 0)
    if named or (first and place.state is OutboxState.LIVE):
        return None
    # "From now on": nothing of an outbox that came later was told before, and of one that was missing then only what
    # was known.
    return place.last_seq if first else 0
