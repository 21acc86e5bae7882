"""What a sink is: a place where alerts are handed over. One small interface, one test suite.

The runner brings alerts in order, again and again until ``deliver`` returns, and acknowledges only then. After a crash
the last ones may come once more: a sink recognises them by ``alert_id``, ``phase`` and ``frame_seq`` if it minds.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol, runtime_checkable

from stream.errors import SinkError
from stream.messages import Alert, Evidence, StateEvent


@runtime_checkable
class Sink(Protocol):
    """An open sink."""

    def deliver(self, alert: Alert, evidence: Evidence) -> bool | None:
        """Hands one alert over; when it returns, the alert is safe there.

        An empty picture has None for a name in ``alert``. The names are the outbox's own: choose new ones.

        Returns:
            False: this sink does not want messages of this kind, and has sent nothing. Anything else: it took it.

        Raises:
            SinkRefused: it will never take this alert; after some more attempts it is laid aside.
            SinkError: it is not there (or it cannot be known); the same alert is brought again.
        """
        ...

    def close(self) -> None:
        """Releases what it holds. May be called twice."""
        ...


@runtime_checkable
class EventSink(Sink, Protocol):
    """A sink that also wants to know what every camera is doing."""

    def tell(self, event: StateEvent) -> None:
        """Passes on that a camera changed its state. The latest of every camera comes first, after each start.

        Raises:
            SinkError: it is not there; what is then the latest of this camera is brought again.
        """
        ...


@runtime_checkable
class Tended(Sink, Protocol):
    """A sink that has something to do, or to say, also when no alert comes."""

    def tend(self) -> SinkError | None:
        """Does what is due. Called about twice a second, and must be quick.

        Returns:
            What of it does not work, though alerts may be taken; None: all is well. Raises nothing.
        """
        ...


def without_pictures(alert: Alert) -> Alert:
    """The alert without names of pictures, which mean nothing where the pictures are not."""
    return replace(alert, mask=None, snapshot=None, clip=None)


def identity_of(alert: Alert) -> tuple[str, str, int]:
    """What two deliveries of the same message have in common."""
    return alert.alert_id, str(alert.phase), alert.frame_seq


def identity_text(alert: Alert) -> str:
    """The same as one word: ``alert_id/phase/frame_seq``."""
    return "/".join(str(part) for part in identity_of(alert))
