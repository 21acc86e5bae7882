"""One alert in one line: what all its messages together say, and what people said of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from stream.messages import Alert, Phase, iso_time

PICTURES = ("snapshot", "view", "mask", "clip")
"""What an alert may have to look at, in the order of the bits of ``Summary.has``."""


@dataclass(frozen=True, slots=True)
class Summary:
    """An alert, as lists show it."""

    alert_id: str
    camera: str
    scene: str
    phase: str  # of its last message
    started_at: float  # Unix seconds
    ended_at: float | None  # Unix seconds; None = it is open
    peak_strength: float  # highest score in thresholds, over its messages
    last_seq: int  # of its last message
    has: int  # bits, see PICTURES
    review: str = "open"  # open, real, false, normal
    reviewed_by: str = ""
    reviewed_at: float | None = None  # Unix seconds
    note: str = ""

    def row(self) -> tuple[Any, ...]:
        """In the order of the store's columns."""
        return (
            *(self.alert_id, self.camera, self.scene, self.phase, self.started_at, self.ended_at),
            *(self.peak_strength, self.last_seq, self.has),
            *(self.review, self.reviewed_by, self.reviewed_at, self.note),
        )

    @classmethod
    def of_row(cls, row: tuple[Any, ...]) -> Summary:
        """Inverse of :meth:`row`."""
        return cls(*row)

    def to_json(self) -> dict[str, Any]:
        """``AlertSummary`` of the API."""
        return {
            "alert_id": self.alert_id,
            "camera": self.camera,
            "scene": self.scene,
            "phase": self.phase,
            "started_at": iso_time(self.started_at),
            "ended_at": None if self.ended_at is None else iso_time(self.ended_at),
            "peak_strength": self.peak_strength,
            "last_seq": self.last_seq,
            "has": {name: bool(self.has >> bit & 1) for bit, name in enumerate(PICTURES)},
            "review": self.review,
            "reviewed_by": self.reviewed_by or None,
            "reviewed_at": None if self.reviewed_at is None else iso_time(self.reviewed_at),
            "note": self.note,
        }


def strength_of(alert: Alert) -> float:
    """Score in thresholds; 0 where the threshold says nothing."""
    return alert.score / alert.threshold if alert.threshold > 0 else 0.0


def merged(known: Summary | None, alert: Alert) -> Summary:
    """An alert with one more of its messages; one that is not newer than the last changes no phase or end."""
    has = sum(1 << bit for bit, name in enumerate(PICTURES) if getattr(alert, name, None))
    fresh = Summary(
        alert.alert_id,
        alert.camera,
        alert.scene,
        str(alert.phase),
        alert.started_at,
        alert.ended_at if alert.phase is Phase.END else None,
        strength_of(alert),
        alert.seq,
        has,
    )
    if known is None:
        return fresh
    last = fresh if alert.seq > known.last_seq else known
    return replace(
        known,
        phase=last.phase,
        ended_at=last.ended_at,
        last_seq=last.last_seq,
        started_at=min(known.started_at, fresh.started_at),
        peak_strength=max(known.peak_strength, fresh.peak_strength),
        has=known.has | fresh.has,
    )
