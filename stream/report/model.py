"""What a report shows, as frozen values. Whoever evaluates or replays builds these; ``page`` turns them into HTML."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream.messages import Alert


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """The scores of one camera or one segment. All times are seconds since its beginning.

    Raises:
        ValueError: times and scores do not fit each other, or the times are not in order.
    """

    name: str
    times: NDArray[np.float64]  # (N,) seconds, finite, never running backwards
    scores: NDArray[np.float64]  # (N,) in the unit of the threshold; NaN = that frame was not scored, drawn as a gap
    threshold: float
    truth: tuple[tuple[str, float, float], ...] = ()  # (label, start, end) of each true event
    alerts: tuple[tuple[str, float, float], ...] = ()  # (alert_id, start, end)

    def __post_init__(self) -> None:
        if self.times.ndim != 1 or self.times.shape != self.scores.shape:
            raise ValueError(
                f"timeline {self.name!r}: times {self.times.shape} and scores {self.scores.shape} must both be (N,)"
            )
        if not np.isfinite(self.times).all() or (np.diff(self.times) < 0).any():
            raise ValueError(f"timeline {self.name!r}: times must be finite and in order")
        if not np.isfinite(self.threshold):
            raise ValueError(f"timeline {self.name!r}: threshold is {self.threshold!r}; it must be finite")
        for kind, spans in (("truth", self.truth), ("alert", self.alerts)):
            for label, start, end in spans:
                if not (np.isfinite([start, end]).all() and start <= end):
                    raise ValueError(f"timeline {self.name!r}: {kind} {label!r} lasts from {start!r} to {end!r} s")


@dataclass(frozen=True, slots=True)
class EventOutcome:
    """What became of one true event."""

    label: str
    start: float  # seconds since the beginning of its timeline
    end: float  # seconds
    found: bool  # an alert overlaps it
    required: bool  # False: it may be missed, for instance where its labels are in doubt
    delay: float | None  # seconds from its start to the first alert; None where it was not found
    timeline: str = ""  # name of the timeline that it is in


@dataclass(frozen=True, slots=True)
class AlertCard:
    """One alert with its pictures. Relative paths count from the page's folder."""

    alert: Alert  # its strongest phase: time, score and regions are shown from it
    phases: tuple[Alert, ...]  # all of them, in order
    snapshot: Path | None  # the frame with the anomalous region drawn in
    mask: Path | None  # white = anomalous
    neighbour: Path | None  # the most similar normal frame
    caption: str = ""
    matches: str | None = None  # label of the true event that it found; None = false alert, where there is truth
    clip: Path | None = None  # MP4 of what led to it and of the event


@dataclass(frozen=True, slots=True)
class Report:
    """Everything on the page, in the order in which it is shown."""

    title: str
    subtitle: tuple[str, ...] = ()  # lines under the title: source, method, date
    summary: tuple[tuple[str, str, str], ...] = ()  # (label, value, note) of each tile
    timelines: tuple[Timeline, ...] = ()
    events: tuple[EventOutcome, ...] | None = None  # None = nobody labelled this recording; () = labelled, all normal
    alerts: tuple[AlertCard, ...] = ()
    notes: tuple[str, ...] = ()
