"""What is known of every camera right now, and how it is told: a small JSON file that the worker rewrites.

A camera that nobody watches says so by name and with the reason; it never looks like a quiet one.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stream.messages import CameraState, iso_time

STALE_AFTER = 15.0
"""Seconds without a new status after which the worker counts as not answering."""

_AGES = 500  # frames over which the age quantiles are taken


@dataclass(slots=True)
class CameraHealth:
    """One camera, as the worker sees it."""

    scene: str
    state: CameraState = CameraState.NO_READER
    reason: str = "its reader has not reported yet"
    since: float = 0.0  # Unix seconds
    scored: int = 0
    not_scored: int = 0
    drops: dict[str, int] = field(default_factory=dict)  # frames lost so far, by "stage.reason"
    last_frame_time: float | None = None
    last_seq: int | None = None
    last_score: float | None = None
    threshold: float | None = None
    alert: str | None = None  # id of the open alert
    ages: deque[float] = field(default_factory=lambda: deque(maxlen=_AGES))  # s from capture to score

    def change(self, state: CameraState, reason: str, at_time: float) -> bool:
        """Sets the state; returns whether it is another one than before."""
        changed = state is not self.state
        if changed:
            self.since = at_time
        self.state, self.reason = state, reason
        return changed

    def to_json(self) -> dict[str, Any]:
        """JSON-able form."""
        ages = sorted(self.ages)
        return {
            "scene": self.scene,
            "state": str(self.state),
            "reason": self.reason,
            "since": iso_time(self.since),
            "scored": self.scored,
            "not_scored": self.not_scored,
            "drops": self.drops,
            "last_frame_time": None if self.last_frame_time is None else iso_time(self.last_frame_time),
            "last_seq": self.last_seq,
            "last_score": self.last_score,
            "threshold": self.threshold,
            "alert": self.alert,
            "age_p50": _quantile(ages, 0.5),
            "age_p95": _quantile(ages, 0.95),
        }


def process_age(stat: Path = Path("/proc/self/stat"), uptime: Path = Path("/proc/uptime")) -> float | None:
    """Seconds since this process began; None where the system does not say (it does on Linux).

    Args:
        stat: of the process, as Linux shows it.
        uptime: of the machine.
    """
    try:
        after_name = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        began = int(after_name[19]) / os.sysconf("SC_CLK_TCK")  # field 22, in ticks since the machine began
        return float(uptime.read_text(encoding="utf-8").split()[0]) - began
    except (OSError, ValueError, IndexError):
        return None


def write_status(path: Path, status: Mapping[str, Any]) -> None:
    """Replaces the status file in one step."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(json.dumps(status), encoding="utf-8")
    os.replace(fresh, path)


def read_status(path: Path, *, now: float) -> dict[str, Any]:
    """The last status; says under ``worker.state`` when it is missing or old. Never raises for a missing worker."""
    try:
        status: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        age = now - float(status["written"])
    except (OSError, ValueError, KeyError, TypeError):
        return {"worker": {"state": "NOT_RUNNING", "reason": "no status was ever written"}, "cameras": {}}
    if status["worker"]["state"] != "STOPPED" and age > STALE_AFTER:
        status["worker"] = {
            **status["worker"],
            "state": "NOT_ANSWERING",
            "reason": f"its last status is {age:.0f} s old",
        }
    return status


def _quantile(ordered: list[float], q: float) -> float | None:
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else None
