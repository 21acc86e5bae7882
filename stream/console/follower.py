"""Keeps the console's alerts up to date: first from the outbox, then as one more subscriber of the feed.

It subscribes without a name and keeps its place itself. So a console that is not there for weeks holds up no retention;
what was removed meanwhile is told as lost. What it missed it reads from the outbox, which lies on this machine: the
feed would send all the pictures again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from stream.console.events import Hub
from stream.console.store import Store
from stream.errors import OutboxError, StreamError
from stream.messages import Alert, Evidence, StateEvent
from stream.outbox import OutboxReader
from stream.subscriber import Gap

TRY_AGAIN = 5.0
"""Seconds until the next try after the feed refused, or the store took nothing."""

TIDY_EVERY = 3600.0
"""Seconds between two looks for alerts that retention has removed."""

_POLL_S = 0.2
_AT_ONCE = 500

_log = logging.getLogger(__name__)


class Alerts(Protocol):
    """What is needed of an :class:`stream.subscriber.AlertSubscriber`."""

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """What was lost for good."""
        ...

    @property
    def connected(self) -> bool:
        """Whether the feed was heard."""
        ...

    def poll(self, timeout: float) -> tuple[Alert, Evidence] | None:
        """The next alert."""
        ...


Subscribe = Callable[[int, Callable[[StateEvent], None]], AbstractContextManager[Alerts]]
"""Opens a subscription from a place on, with what is called for camera events."""


class Follower:
    """One thread's work.

    Args:
        store: takes the alerts.
        outbox: opens the outbox, for this thread.
        subscribe: to the feed.
        hub: is told of every message, and of what was lost.
        on_event: told of camera events.
        on_feed: told whether the feed answers, and the place.
    """

    def __init__(
        self,
        store: Store,
        *,
        outbox: Callable[[], OutboxReader],
        subscribe: Subscribe,
        hub: Hub,
        on_event: Callable[[StateEvent], None],
        on_feed: Callable[[bool, int], None],
    ) -> None:
        self._store, self._outbox, self._subscribe, self._hub = store, outbox, subscribe, hub
        self._on_event, self._on_feed = on_event, on_feed

    def run(self, stop: threading.Event) -> None:
        """Follows until told to stop, whatever goes wrong meanwhile."""
        while not stop.is_set():
            try:
                with self._outbox() as outbox:
                    self.catch_up(outbox)
                    self._follow(outbox, stop)
            except StreamError as error:
                _log.warning("alerts are not followed, again in %g s: %s", TRY_AGAIN, error)
            except Exception:  # a bug must show, and must not leave the console blind for good
                _log.exception("alerts are not followed, again in %g s", TRY_AGAIN)
            self._on_feed(False, 0)
            stop.wait(TRY_AGAIN)

    def catch_up(self, outbox: OutboxReader) -> None:
        """Takes what was committed while nobody followed. Raises OutboxError, ConsoleStoreError."""
        place, last = self._store.place(), outbox.last_seq()
        if place > last or self._is_another(outbox, place):
            _log.warning(
                "the outbox is another one than before, or an older copy: it ends at %d, and message %d is not the one "
                "that was had. All of it is read again",
                last,
                place,
            )
            self._store.start_over()
            place = 0
        first = outbox.first_seq()
        if place and first > place + 1:
            self._lose(place + 1, first - 1)
        while alerts := outbox.read_after(self._store.place(), limit=_AT_ONCE):
            for alert in alerts:
                self._take(alert)
        self._store.drop_alerts(first)

    def _is_another(self, outbox: OutboxReader, place: int) -> bool:
        """Whether the outbox gave the last number that was had to another alert."""
        if (had := self._store.known_at(place)) is None:
            return False
        try:
            found = outbox.read_after(place - 1, limit=1)
        except OutboxError:  # that alert was had already: it need not be readable for what follows
            return False
        return bool(found) and found[0].seq == place and found[0].alert_id != had

    def _follow(self, outbox: OutboxReader, stop: threading.Event) -> None:
        tidy_in, lost = TIDY_EVERY, 0
        with self._subscribe(self._store.place(), self._on_event) as alerts:
            while not stop.is_set():
                found = alerts.poll(_POLL_S)
                self._on_feed(alerts.connected, self._store.place())
                for gap in alerts.gaps[lost:]:
                    self._lose(gap.first, gap.last)
                lost = len(alerts.gaps)
                if found is not None:
                    self._take(_as_stored(outbox, found[0]))
                tidy_in -= _POLL_S
                if tidy_in <= 0:
                    self._store.drop_alerts(outbox.first_seq())
                    tidy_in = TIDY_EVERY

    def _take(self, alert: Alert) -> None:
        self._hub.publish("alert", self._store.add(alert).to_json())

    def _lose(self, first: int, last: int) -> None:
        _log.warning("alerts %d to %d were removed by retention before the console had them", first, last)
        self._store.skip(last)
        self._hub.publish("lost", {"first": first, "last": last})


def _as_stored(outbox: OutboxReader, alert: Alert) -> Alert:
    """The message as the outbox has it: with the names of the pictures that are never sent."""
    try:
        stored = outbox.read_after(alert.seq - 1, limit=1)
    except OutboxError as error:
        _log.warning("alert %d: %s", alert.seq, error)
        return alert
    return stored[0] if stored and stored[0].seq == alert.seq else alert
