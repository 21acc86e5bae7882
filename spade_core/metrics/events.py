"""The alert stream judged as an operator does: what was found, how soon, and how often somebody looked for nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from spade_core.errors import InputError

EARLY = 2.0
"""Seconds that an alert may start before the event that it finds: people label late, and trouble shows before it
starts. One that was open long before was about something else; else a single alert without end would find all."""

LATE = 0.0
"""Seconds that an alert may start after the event that it finds."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something anomalous that really happens, both ends included."""

    clip: str
    start: float  # s within the clip
    end: float  # s within the clip, not before the start

    def __post_init__(self) -> None:
        _check_span("an event", self.clip, self.start, self.end)


@dataclass(frozen=True, slots=True)
class AlertSpan:
    """One alert, from its first message to its end."""

    clip: str
    start: float  # s within the clip: when it was raised, not when what it is about began
    end: float  # s within the clip, not before the start

    def __post_init__(self) -> None:
        _check_span("an alert", self.clip, self.start, self.end)


@dataclass(frozen=True, slots=True)
class AlertFigures:
    """What the alerts were worth."""

    events: int  # that happen
    found: int  # of them
    recall: float | None  # found / events; None = nothing happens
    alerts: int  # raised
    false_alerts: int  # of them, raised for no event
    false_alerts_per_hour: float | None  # of normal footage; None = there is none
    delays: tuple[float, ...]  # s from the start of each found event to its first alert, in the order of the events
    median_delay: float | None  # s; None = nothing was found


def judge_alerts(
    events: Sequence[Event],
    alerts: Sequence[AlertSpan],
    normal_seconds: float,
    *,
    early: float = EARLY,
    late: float = LATE,
) -> AlertFigures:
    """Holds alerts against events.

    An alert was raised for an event if they overlap in time (both with their ends) within one clip, and it started no
    more than ``early`` before it; one that was raised for no event is false. An event is found if an alert overlaps it
    that was raised for it or for another one (who is already looking need not be called again). The delay is that of
    the first such alert, 0 where it was there before.

    Args:
        events: what happens.
        alerts: what was raised.
        normal_seconds: length of the footage without any event.
        early: seconds before an event; ``math.inf`` = any overlap will do.
        late: seconds that an event goes on for an alert to meet it.

    Raises:
        InputError: a number of seconds is negative or not a number.
    """
    for name, value in (("normal_seconds", normal_seconds), ("early", early), ("late", late)):
        if not value >= 0:
            raise InputError(f"{name} must be a number of seconds, 0 or more, got {value}")
    raised = [
        alert
        for alert in alerts
        if any(_overlap(alert, event, late) and alert.start >= event.start - early for event in events)
    ]
    delays = []
    for event in events:
        starts = [alert.start for alert in raised if _overlap(alert, event, late)]
        if starts:
            delays.append(max(0.0, min(starts) - event.start))
    false = len(alerts) - len(raised)
    return AlertFigures(
        events=len(events),
        found=len(delays),
        recall=len(delays) / len(events) if events else None,
        alerts=len(alerts),
        false_alerts=false,
        false_alerts_per_hour=false / (normal_seconds / 3600) if normal_seconds else None,
        delays=tuple(delays),
        median_delay=median(delays) if delays else None,
    )


def events_from_labels(
    labels: NDArray[np.bool_], times: NDArray[np.floating], *, join: float = 0.0
) -> list[tuple[float, float]]:
    """The runs of anomalous frames of one clip.

    Args:
        labels: (N,) True = anomalous.
        times: (N,) seconds, rising.
        join: two runs are one event where the second begins at most so many seconds after the first one's last frame.

    Returns:
        Time of the first and of the last frame of each, in order; equal for a run of one frame.

    Raises:
        InputError: shapes differ, labels are not bool, times do not rise, or ``join`` is negative.
    """
    if labels.ndim != 1 or labels.shape != times.shape:
        raise InputError(f"labels and times must both be (N,), got {labels.shape} and {times.shape}")
    if labels.dtype != np.bool_:
        raise InputError(f"labels must be bool, got {labels.dtype}")
    if not (np.isfinite(times).all() and (np.diff(times) > 0).all()):
        raise InputError("times must be finite and rise from frame to frame")
    if not join >= 0:
        raise InputError(f"join must be a number of seconds, 0 or more, got {join}")
    steps = np.diff(np.concatenate([[False], labels, [False]]).astype(np.int8))
    events: list[tuple[float, float]] = []
    for first, behind in zip(np.flatnonzero(steps == 1), np.flatnonzero(steps == -1), strict=True):
        start, end = float(times[first]), float(times[behind - 1])
        if events and start - events[-1][1] <= join:
            start = events.pop()[0]
        events.append((start, end))
    return events


def _overlap(alert: AlertSpan, event: Event, late: float) -> bool:
    return alert.clip == event.clip and alert.start <= event.end + late and alert.end >= event.start


def _check_span(what: str, clip: str, start: float, end: float) -> None:
    if not (math.isfinite(start) and math.isfinite(end) and start <= end):
        raise InputError(f"{what} in clip {clip!r} must end at or after its start, got {start} to {end}")
