"""What the store is asked and told: values. For ``store`` and the routes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stream.console.summary import Summary
from stream.errors import StreamError
from stream.messages import iso_time


@dataclass(frozen=True, slots=True)
class Action:
    """What somebody did, for the audit trail."""

    user: str
    action: str  # review, normal, zones, sensitivity, snooze, wake, enroll, use, follow, cancel, login
    camera: str | None = None
    scene: str | None = None
    alert_id: str | None = None
    detail: Mapping[str, Any] | None = None  # JSON-able; before and after, where something changed


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which alerts somebody asks for."""

    camera: str | None = None
    since: float | None = None  # Unix seconds; of the start
    until: float | None = None
    review: str | None = None  # open, real, false, normal; None = all
    before: tuple[float, str] | None = None  # (started_at, alert_id) of the last one had


@dataclass(frozen=True, slots=True)
class Seen:
    """The review of an alert that somebody had before them."""

    review: str
    reviewed_at: str | None  # ISO 8601, as the API shows it

    @classmethod
    def of(cls, summary: Summary) -> Seen:
        """The one that it has."""
        return cls(summary.review, None if summary.reviewed_at is None else iso_time(summary.reviewed_at))


class ReviewConflict(StreamError):
    """Somebody else has reviewed the alert meanwhile.

    Args:
        known: the alert as it is.
    """

    def __init__(self, known: Summary) -> None:
        seen = Seen.of(known)
        if known.review == "open":
            super().__init__(f"alert {known.alert_id}: its review was taken back meanwhile")
        else:
            said = f"{known.reviewed_by} has called it {known.review} meanwhile ({seen.reviewed_at})"
            super().__init__(f"alert {known.alert_id}: {said}")
