"""Scores over time, few enough to draw: the lowest, highest and mean of each stretch of time.

A camera of 5 frames a second has 432,000 rows a day. Each day's file is read once into stretches of two seconds, and
where it has grown only what is new.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.messages import iso_time, unix_time
from stream.score_table import row_blocks, sound_rows
from stream.scorelog import COLUMNS

BASE = 2.0
"""Seconds of one stretch in memory."""

MOST_DAYS = 48
"""Days of cameras in memory, a megabyte each."""

LONGEST = 31 * 86_400.0
"""Seconds that may be asked for at once."""

_PER_DAY = int(86_400 / BASE)
_LARGEST = 1e30  # of a score: it is kept in half the digits
_TIME, _SCORE, _THRESHOLD = (COLUMNS.index(name) for name in ("frame_time", "score", "threshold"))

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Day:
    """One file so far. Arrays by stretch, (_PER_DAY,)."""

    read: int = 0  # bytes of whole rows
    file: tuple[int, int] = (0, 0)  # which file that was: device and inode
    low: NDArray[np.float32] = field(default_factory=lambda: np.full(_PER_DAY, np.inf, np.float32))
    high: NDArray[np.float32] = field(default_factory=lambda: np.full(_PER_DAY, -np.inf, np.float32))
    total: NDArray[np.float64] = field(default_factory=lambda: np.zeros(_PER_DAY))
    scored: NDArray[np.int32] = field(default_factory=lambda: np.zeros(_PER_DAY, np.int32))
    unscored: NDArray[np.int32] = field(default_factory=lambda: np.zeros(_PER_DAY, np.int32))
    threshold: NDArray[np.float32] = field(default_factory=lambda: np.full(_PER_DAY, np.nan, np.float32))

    def add(self, rows: list[list[str]], midnight: float) -> None:
        """Takes rows of the file: all of them, or none where a ValueError says that one is damaged."""
        times = np.array([_seconds(row[_TIME]) for row in rows]) if rows else np.empty(0)
        scores = np.array([float(row[_SCORE]) if row[_SCORE] else np.nan for row in rows])
        limits = np.array([float(row[_THRESHOLD]) if row[_THRESHOLD] else np.nan for row in rows], np.float32)
        if (np.abs(scores) > _LARGEST).any() or (np.abs(limits) > _LARGEST).any() or np.isnan(times).any():
            raise ValueError("a number is none")
        place = np.clip((times / BASE).astype(np.int64), 0, _PER_DAY - 1)
        known = ~np.isnan(scores)
        at, found = place[known], scores[known].astype(np.float32)
        np.minimum.at(self.low, at, found)
        np.maximum.at(self.high, at, found)
        np.add.at(self.total, at, scores[known])
        np.add.at(self.scored, at, 1)
        np.add.at(self.unscored, place[~known], 1)
        self.threshold[at] = limits[known]


class ScoreHistory:
    """The score files of a state folder. Any thread may ask; of one camera one reads at a time.

    Args:
        folder: of all cameras.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()  # of what follows; never while a file is read
        self._of_camera: dict[str, threading.Lock] = {}
        self._days: OrderedDict[Path, _Day] = OrderedDict()

    def buckets(self, camera: str, *, since: float, until: float, points: int) -> list[dict[str, Any]]:
        """At most ``points`` stretches of equal length that cover the time asked for, without those that have no frame.

        Args:
            camera: id, which is a folder's name: it has been checked.
            since: Unix seconds.
            until: Unix seconds; at most LONGEST later.
            points: at least 1.
        """
        width = max(BASE, BASE * np.ceil((until - since) / points / BASE))
        first = BASE * np.floor(since / BASE)
        found: dict[int, _Bucket] = {}
        with self._lock:
            reading = self._of_camera.setdefault(camera, threading.Lock())
        with reading:
            for day, midnight in _days(since, until):
                table = self._day(self._folder / camera / f"{day}.csv", midnight)
                if table is not None:
                    _merge(found, table, midnight, first=float(first), until=until, width=float(width))
        return [found[place].to_json(float(first + place * width)) for place in sorted(found)]

    def _day(self, path: Path, midnight: float) -> _Day | None:
        with self._lock:
            day = self._days.get(path)
        try:
            with path.open("rb") as file:
                state = _identity(file)
                if day is None or day.file != state[:2] or state[2] < day.read:  # new, or cut: retention, a restore
                    day = _Day(file=state[:2])
                _read_on(file, day, midnight, path)
        except OSError:
            with self._lock:
                self._days.pop(path, None)
            return None
        with self._lock:
            self._days[path] = day
            self._days.move_to_end(path)
            while len(self._days) > MOST_DAYS:
                self._days.popitem(last=False)
        return day


@dataclass(slots=True)
class _Bucket:
    low: float = np.inf
    high: float = -np.inf
    total: float = 0.0
    scored: int = 0
    unscored: int = 0
    threshold: float = np.nan

    def to_json(self, start: float) -> dict[str, Any]:
        some = self.scored > 0
        return {
            "t": iso_time(start),
            "min": self.low if some else None,
            "max": self.high if some else None,
            "mean": self.total / self.scored if some else None,
            "threshold": None if np.isnan(self.threshold) else self.threshold,
            "unscored": self.unscored,
        }


def _merge(found: dict[int, _Bucket], day: _Day, midnight: float, *, first: float, until: float, width: float) -> None:
    starts = midnight + BASE * np.arange(_PER_DAY)
    used = np.flatnonzero((starts >= first) & (starts < until) & (day.scored + day.unscored > 0))
    places = ((starts[used] - first) / width).astype(np.int64)
    for place in np.unique(places):
        part = used[slice(*np.searchsorted(places, (place, place + 1)))]  # they rise
        bucket = found.setdefault(int(place), _Bucket())
        bucket.low = min(bucket.low, float(day.low[part].min()))
        bucket.high = max(bucket.high, float(day.high[part].max()))
        bucket.total += float(day.total[part].sum())
        bucket.scored += int(day.scored[part].sum())
        bucket.unscored += int(day.unscored[part].sum())
        limits = day.threshold[part]
        if len(known := limits[~np.isnan(limits)]):
            bucket.threshold = float(known[-1])


def _read_on(file: Any, day: _Day, midnight: float, path: Path) -> None:
    for rows, lost, end in row_blocks(file, start=day.read):
        try:
            day.add(rows, midnight)
        except (ValueError, OverflowError):
            sound = sound_rows(rows)
            lost += len(rows) - len(sound)
            day.add(sound, midnight)
        day.read = end
        if lost:
            _log.warning("%s: %d rows are damaged and left out", path, lost)


def _identity(file: Any) -> tuple[int, int, int]:
    state = os.fstat(file.fileno())
    return state.st_dev, state.st_ino, state.st_size


def _days(since: float, until: float) -> Iterator[tuple[str, float]]:
    midnight = datetime.fromtimestamp(since, UTC).replace(hour=0, minute=0, second=0, microsecond=0).timestamp()
    while midnight < until:
        yield datetime.fromtimestamp(midnight, UTC).date().isoformat(), midnight
        midnight += 86_400


def _seconds(time: str) -> float:
    """Seconds since midnight of ``YYYY-MM-DDTHH:MM:SS.mmmZ``: ten times as fast as reading the whole date."""
    if len(time) != 24 or time[10] != "T":
        return unix_time(time) % 86_400
    return int(time[11:13]) * 3600 + int(time[14:16]) * 60 + float(time[17:23])
