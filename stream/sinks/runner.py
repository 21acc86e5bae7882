"""Brings alerts from the feed to one sink: in order, each until it is taken, none skipped. Called by ``supervisor``."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Protocol

from stream.errors import SinkError
from stream.messages import Alert, Evidence
from stream.sinks.base import Sink

FIRST_RETRY_S = 0.5
"""Wait after the first failure; it doubles with each further one of the same alert."""

LAST_RETRY_S = 30.0
"""The longest wait: a server that was restarted gets its alerts within half a minute."""

_CHECK_S = 0.5  # how often ``stop`` is asked while waiting

_log = logging.getLogger(__name__)


class AlertStream(Protocol):
    """What the runner needs of a :class:`stream.subscriber.AlertSubscriber`."""

    def poll(self, timeout: float) -> tuple[Alert, Evidence] | None:
        """The next alert, or None after ``timeout`` seconds."""
        ...

    def ack(self, seq: int) -> None:
        """Everything up to ``seq`` is safe."""
        ...


def run_sink(
    sink: Sink,
    subscriber: AlertStream,
    stop: Callable[[], bool],
    *,
    sleep: Callable[[float], object] = time.sleep,
) -> int:
    """Delivers until ``stop()`` is true; returns how many alerts the sink took. Closes neither of the two.

    An alert is acknowledged after ``deliver`` returned; one that the sink did not take before the stop is not, and
    comes again with the next run.

    Raises:
        LinkLost: the feed refuses this subscriber.
    """
    delivered = 0
    while not stop():
        found = subscriber.poll(_CHECK_S)
        if found is None:
            continue
        alert, evidence = found
        if not _deliver(sink, alert, evidence, stop, sleep):
            break
        subscriber.ack(alert.seq)
        delivered += 1
    return delivered


def _deliver(
    sink: Sink, alert: Alert, evidence: Evidence, stop: Callable[[], bool], sleep: Callable[[float], object]
) -> bool:
    """False: stopped before the sink took it."""
    wait = FIRST_RETRY_S
    while True:
        try:
            sink.deliver(alert, evidence)
            return True
        except SinkError as error:
            _log.warning("%s: alert %d not taken, again in %g s: %s", type(sink).__name__, alert.seq, wait, error)
        if not _wait(wait, stop, sleep):
            return False
        wait = min(2 * wait, LAST_RETRY_S)


def _wait(seconds: float, stop: Callable[[], bool], sleep: Callable[[float], object]) -> bool:
    while seconds > 0:
        if stop():
            return False
        sleep(min(seconds, _CHECK_S))
        seconds -= _CHECK_S
    return not stop()
