"""What is known of every camera right now, and how it is told: a small JSON file that the worker rewrites.

A camera that nobody watches says so by name and with the reason; it never looks like a quiet one.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stream.latency import SECONDS, STRENGTHS, Histogram
from stream.messages import CameraState, iso_time

STALE_AFTER = 15.0
"""Seconds without a new status after which the worker counts as not answering."""

_BLOCK = 1 << 16
"""Bytes. The status file is padded with spaces to a multiple of it: a longer status has room in it when the disk has
none."""

_FULL = (errno.ENOSPC, errno.EDQUOT)

_ATTEMPTS, _ATTEMPT_PAUSE = 3, 0.02  # to read a file that is just written over; s

_log = logging.getLogger(__name__)

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
    threshold: float | None = None  # in force
    calibrated_threshold: float | None = None  # before an operator's factor
    alert: str | None = None  # id of the open alert
    scenes: tuple[str, ...] = ()  # that it may look at
    scene_since: float | None = None  # Unix seconds
    ages: deque[float] = field(default_factory=lambda: deque(maxlen=_AGES))  # s from capture to score
    age_histogram: Histogram = field(default_factory=lambda: Histogram(SECONDS))  # the same, of all frames
    strength_histogram: Histogram = field(default_factory=lambda: Histogram(STRENGTHS))  # scores in thresholds

    def change(self, state: CameraState, reason: str, at_time: float) -> bool:
        """Sets the state; returns whether it is another one than before."""
        changed = state is not self.state
        if changed:
            self.since = at_time
        self.state, self.reason = state, reason
        return changed

    def took(self, age: float) -> None:
        """A frame has its result, so many seconds after it was captured."""
        self.ages.append(age)
        self.age_histogram.add(age)

    def to_json(self) -> dict[str, Any]:
        """JSON-able form."""
        ages = sorted(self.ages)
        return {
            "scene": self.scene,
            "scenes": list(self.scenes),
            "scene_since": None if self.scene_since is None else iso_time(self.scene_since),
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
            "calibrated_threshold": self.calibrated_threshold,
            "alert": self.alert,
            "age_p50": _quantile(ages, 0.5),
            "age_p95": _quantile(ages, 0.95),
            "age_histogram": self.age_histogram.to_json(),
            "strength_histogram": self.strength_histogram.to_json(),
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


def write_status(path: Path, status: Mapping[str, Any]) -> bool:
    """Replaces the status file in one step; on a full disk it is written into the room that the old one has.

    Returns False where neither works. That is told in the log, and shows by itself: the status grows old.
    """
    data = _padded(json.dumps(status).encode(), _BLOCK)
    try:
        _replace(path, data)
    except OSError as error:
        if error.errno in _FULL and _overwrite(path, data):
            return True
        _log.error("the status cannot be told: %s: %s", path, error.strerror)
        return False
    return True


def read_status(path: Path, *, now: float) -> dict[str, Any]:
    """The last status; says under ``worker.state`` when it is missing or old. Never raises for a missing worker."""
    status = _read(path)
    if status is None:
        return {"worker": {"state": "NOT_RUNNING", "reason": "no status was ever written"}, "cameras": {}}
    age = now - float(status["written"])
    if status["worker"]["state"] != "STOPPED" and age > STALE_AFTER:
        status["worker"] = {
            **status["worker"],
            "state": "NOT_ANSWERING",
            "reason": f"its last status is {age:.0f} s old",
        }
    return status


def _read(path: Path) -> dict[str, Any] | None:
    for attempt in range(_ATTEMPTS):
        try:
            status: dict[str, Any] = json.loads(path.read_bytes())
            float(status["written"]), status["worker"]["state"]
            return status
        except OSError:
            return None
        except (ValueError, KeyError, TypeError):  # it may just be written: see _overwrite
            if attempt + 1 < _ATTEMPTS:
                time.sleep(_ATTEMPT_PAUSE)
    return None


def _replace(path: Path, data: bytes) -> None:
    fresh = path.with_name(path.name + ".new")
    try:
        fresh.write_bytes(data)
        os.replace(fresh, path)
    except OSError:
        fresh.unlink(missing_ok=True)  # half of it would take the last room there is
        raise


def _overwrite(path: Path, data: bytes) -> bool:
    """Writes over the old file without making it longer or shorter; False where it does not fit."""
    try:
        with path.open("r+b", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            return len(data) <= size and os.pwrite(file.fileno(), data.ljust(size), 0) == size
    except OSError:
        return False


def _padded(data: bytes, block: int) -> bytes:
    return data + b" " * (-len(data) % block)


def _quantile(ordered: list[float], q: float) -> float | None:
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else None
