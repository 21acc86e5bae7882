"""How busy other processes keep the machine while one measures: what they take, whatever is measured does not have."""

from __future__ import annotations

import time
from dataclasses import dataclass

from stream.bench.process_stats import machine_busy_seconds


@dataclass(frozen=True, slots=True)
class Moment:
    """Processor time up to a moment."""

    time: float  # s, monotonic
    own_s: float  # of this process
    busy_s: float | None  # of the whole machine; None where the system does not say


def moment() -> Moment:
    """Now."""
    try:
        busy = machine_busy_seconds()
    except OSError:
        busy = None
    return Moment(time.monotonic(), time.process_time(), busy)


def other_cores(first: Moment, last: Moment) -> float | None:
    """Cores that all other processes kept busy from the one moment to the other; None where that is not known."""
    if first.busy_s is None or last.busy_s is None or last.time <= first.time:
        return None
    others = last.busy_s - first.busy_s - (last.own_s - first.own_s)
    return round(max(0.0, others / (last.time - first.time)), 2)
