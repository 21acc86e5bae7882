"""What a sink is: a place where alerts are handed over. One small interface, one test suite.

The runner brings alerts in order, again and again until ``deliver`` returns, and acknowledges only then. After a crash
the last ones may come once more: a sink recognises them by ``alert_id``, ``phase`` and ``frame_seq`` if it minds.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from stream.messages import Alert, Evidence


@runtime_checkable
class Sink(Protocol):
    """An open sink."""

    def deliver(self, alert: Alert, evidence: Evidence) -> None:
        """Hands one alert over; when it returns, the alert is safe there.

        An empty picture has None for a name in ``alert``. The names are the outbox's own: choose new ones.

        Raises:
            SinkError: it is not there (or it cannot be known); the same alert is brought again.
        """
        ...

    def close(self) -> None:
        """Releases what it holds. May be called twice."""
        ...
