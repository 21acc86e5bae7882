"""Brings alerts from the feed to one sink: in order, each until it is taken, none skipped. Called by ``programs``.

What the sink says it will never take is laid aside after some attempts, and told; where there is no place to lay it, it
is brought for ever.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from stream.errors import SinkError, SinkRefused
from stream.messages import Alert, Evidence
from stream.sinks.base import EventSink, Sink, Tended
from stream.sinks.events import EventBoard
from stream.sinks.facts import SinkFacts
from stream.sinks.rejected import Rejected

FIRST_RETRY_S = 0.5
"""Wait after the first failure; it doubles with each further one of the same alert."""

LAST_RETRY_S = 30.0
"""The longest wait: a server that was restarted gets its alerts within half a minute."""

ASKED_RETRY_S = 300.0
"""The longest wait that a server may ask for."""

TRIES = 5
"""How often an alert is refused before it is laid aside: within 8 s, so that a passing fault has passed."""

_CHECK_S = 0.5  # how often ``stop`` is asked while waiting

_log = logging.getLogger(__name__)


class AlertStream(Protocol):
    """What the runner needs of a :class:`stream.subscriber.AlertSubscriber`."""

    def poll(self, timeout: float) -> tuple[Alert, Evidence] | None:
        """The next alert, or None after ``timeout`` seconds."""
        ...

    def listen(self) -> None:
        """Takes camera events and signs of life that have come; hands out no alert, and acknowledges none."""
        ...

    def ack(self, seq: int) -> None:
        """Everything up to ``seq`` is safe."""
        ...


def run_sink(
    sink: Sink,
    subscriber: AlertStream,
    stop: Callable[[], bool],
    *,
    events: EventBoard | None = None,
    facts: SinkFacts | None = None,
    rejected: Rejected | None = None,
    sleep: Callable[[float], object] = time.sleep,
) -> int:
    """Delivers until ``stop()`` is true; returns how many alerts it took or had laid aside. Closes neither of the two.

    An alert is acknowledged after ``deliver`` returned; one that the sink did not take before the stop is not, and
    comes again with the next run.

    Args:
        sink: gets the alerts, and the events if it is an ``EventSink``.
        subscriber: gives them.
        stop: polled.
        events: where the subscriber leaves camera events; None: there are none.
        facts: told how it goes; None: nobody.
        rejected: takes what the sink refuses for good; None: such an alert is brought again and again.
        sleep: waits for some seconds.

    Raises:
        LinkLost: the feed refuses this subscriber.
    """
    facts, delivered = facts or SinkFacts(None), 0
    meanwhile = _Meanwhile(sink, subscriber, events, facts, stop, sleep)
    while not stop():
        found = subscriber.poll(_CHECK_S)
        _tell(sink, events, facts)
        _tend(sink, facts)
        if found is None:
            facts.idle()
            continue
        alert, evidence = found
        if not _deliver(sink, alert, evidence, meanwhile, rejected):
            break
        subscriber.ack(alert.seq)
        delivered += 1
    return delivered


@dataclass(frozen=True, slots=True)
class _Meanwhile:
    """What goes on while one alert is tried again."""

    sink: Sink
    subscriber: AlertStream
    events: EventBoard | None
    facts: SinkFacts
    stop: Callable[[], bool]
    sleep: Callable[[float], object]

    def wait(self, seconds: float) -> bool:
        """False: it is to stop."""
        while seconds > 0:
            if self.stop():
                return False
            self.subscriber.listen()  # what a camera did a minute ago is not what it does
            _tell(self.sink, self.events, None)  # an alert that fails must not keep back the states of cameras
            _tend(self.sink, self.facts)
            self.sleep(min(seconds, _CHECK_S))
            seconds -= _CHECK_S
        return not self.stop()


def _tell(sink: Sink, events: EventBoard | None, facts: SinkFacts | None) -> None:
    """``facts`` are None while an alert fails: that a state was taken does not make the sink look well."""
    if events is None or not isinstance(sink, EventSink):
        return
    events.refresh()
    if not events.waiting:
        return
    error = events.tell(sink)
    if facts is None:
        return
    if error is not None:
        facts.failed(error)
    elif not events.waiting:
        facts.works()


def _tend(sink: Sink, facts: SinkFacts) -> None:
    if isinstance(sink, Tended):
        facts.complains(sink.tend())


def _deliver(sink: Sink, alert: Alert, evidence: Evidence, meanwhile: _Meanwhile, rejected: Rejected | None) -> bool:
    """False: stopped before the sink took it."""
    wait, refusals, facts = FIRST_RETRY_S, 0, meanwhile.facts
    while True:
        try:
            if sink.deliver(alert, evidence) is not False:  # what it does not want says nothing of how it is doing
                facts.delivered(alert)
            return True
        except SinkError as error:
            refusals += isinstance(error, SinkRefused)
            facts.failed(error)
            if refusals >= TRIES and rejected is not None and _lay_aside(sink, alert, error, rejected):
                facts.laid_aside(alert)
                return True
            pause = max(wait, min(error.again_after or 0.0, ASKED_RETRY_S))
            _log.warning("%s: alert %d not taken, again in %g s: %s", type(sink).__name__, alert.seq, pause, error)
        if not meanwhile.wait(pause):
            return False
        wait = min(2 * wait, LAST_RETRY_S)


def _lay_aside(sink: Sink, alert: Alert, error: SinkError, rejected: Rejected) -> bool:
    """False: the disk takes nothing now, so that the alert has to wait."""
    try:
        rejected.put(alert, str(error))
    except SinkError as full:
        _log.error("%s: %s", type(sink).__name__, full)
        return False
    _log.error("%s: alert %d is laid aside in %s: %s", type(sink).__name__, alert.seq, rejected.folder, error)
    return True
