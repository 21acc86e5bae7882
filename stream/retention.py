"""Retention: what the state folder gives up again, and when. Runs in the feed, between its rounds, and in ``cli``.

Alerts go oldest first, by age and by the size of their pictures, never what a registered subscriber has not yet taken
(unless told so); camera events as old go too, and files of scores. Everything happens in small slices, so that nobody
waits for it, and rows go before files: a crash in between leaves a picture too many, which is found and removed later.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream.durable import PART_SUFFIX
from stream.errors import OutboxError
from stream.outbox import Kept, Outbox

EVERY = 10.0
"""Seconds between two looks while nothing is due."""

SLICE = 100
"""Alerts, events or files at a time: some tens of milliseconds."""

SWEEP_EVERY = 3600.0
"""Seconds between two searches for files that belong to nobody; only a crash leaves any."""

STRAY_AFTER = 3600.0
"""Seconds that a file must be old before it can belong to nobody: its row comes after it."""

CLOCK_SET = 3600.0
"""Seconds by which the system's clock must jump to count as set. Then nothing goes for its age while SETTLED lasts."""

SETTLED = 3600.0
"""Seconds to put a wrong clock right, before a month of alerts is taken for old."""

DAY = 86_400.0
"""Seconds."""

_BUSY_PAUSE = 0.1  # s between two slices while more is due: the feed sends meanwhile
_COUNT_MOST = 10_000  # alerts that are counted as held; there is no need to know better

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """What is kept. None = without limit."""

    days: float | None  # of an alert since its commit, and of a camera event
    bytes: int | None  # of the pictures of all alerts
    keep_unacknowledged: bool  # whether what a registered subscriber has not acknowledged stays, whatever the limits
    score_days: float | None  # of a file of scores since its last row


class Retention:
    """Applies limits to one state folder. One thread uses an object, and of its outbox.

    Args:
        outbox: what it removes from; the caller closes it.
        limits: see there.
        scores: folder of the score files.
        clock: monotonic seconds.
        wall: Unix seconds.
        settled_after: seconds before anything is removed for its age: a machine's clock may be wrong when it starts.
    """

    def __init__(
        self,
        outbox: Outbox,
        limits: Limits,
        *,
        scores: Path,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        settled_after: float = 0.0,
    ) -> None:
        self._outbox, self._limits, self._scores = outbox, limits, scores
        self._clock, self._wall = clock, wall
        self._removed: Counter[str] = Counter()
        self._held_by: dict[str, int] = {}
        self._problem = ""
        self._due = self._sweep_due = clock()
        self._offset, self._settled = wall() - clock(), clock() + settled_after
        self._sweep: Iterator[bool] = iter(())
        self._unfinished: list[Callable[[float], bool]] = []  # what has more to do; alone until it is through

    def state(self) -> dict[str, Any]:
        """What STATUS tells: what was removed, who holds it up (with the alerts that would go), and what went wrong."""
        removed = {kind: count for kind, count in self._removed.items() if count}
        return {"removed": removed, "held_by": self._held_by, "problem": self._problem}

    def step(self) -> bool:
        """One slice, if it is time for one. Returns whether more is due. Never raises what disk or outbox do."""
        if self._clock() < self._due:
            return False
        try:
            more = self._slice()
            self._problem = ""
        except (OutboxError, OSError) as error:
            more, self._unfinished = False, []
            if not self._problem:
                _log.error("retention removes nothing: %s", error)
            self._problem = str(error)
        self._due = self._clock() + (_BUSY_PAUSE if more else EVERY)
        return more

    def apply(self) -> Counter[str]:
        """Everything that is due now, strays included. Returns what was removed, by kind.

        Raises:
            OutboxError: the outbox cannot be read or written.
            OSError: a file or folder cannot.
        """
        self._sweep_due, self._unfinished = self._clock(), []
        before = self._removed.copy()
        while self._slice():
            pass
        return self._removed - before

    def _slice(self) -> bool:
        now = self._now()
        every = (self._remove_alerts, self._remove_events, self._remove_scores, self._remove_strays)
        self._unfinished = [part for part in self._unfinished or every if part(now)]
        return bool(self._unfinished)

    def _now(self) -> float:
        """Unix seconds by which things are old; 1970 while the clock is not to be trusted."""
        wall, clock = self._wall(), self._clock()
        if abs(jump := wall - clock - self._offset) > CLOCK_SET:
            self._settled = clock + SETTLED
            _log.warning("the clock was set by %+.0f s: nothing is removed for its age in the next hour", jump)
        self._offset = wall - clock
        return wall if clock >= self._settled else 0.0

    # -- alerts -------------------------------------------------------------------------------------------------------

    def _remove_alerts(self, now: float) -> bool:
        due = list(itertools.islice(self._alerts_due(now), SLICE))
        places = self._outbox.acknowledged() if self._limits.keep_unacknowledged else {}
        floor = min(places.values(), default=None)
        free = [kept for kept in due if floor is None or kept.seq <= floor]
        if free:
            self._removed["alerts"] += self._outbox.remove_through(free[-1].seq)
            self._removed["bytes"] += sum(kept.bytes for kept in free)
        self._tell_held(places if len(free) < len(due) else {}, now)
        return len(free) == SLICE

    def _alerts_due(self, now: float) -> Iterator[Kept]:
        """From the oldest on, all that is too old, or must go for the size of what is there.

        One whose commit lies in the future was committed under a wrong clock: it is at least as old as what follows it.
        """
        before = None if self._limits.days is None or not now else now - self._limits.days * DAY
        excess = 0 if self._limits.bytes is None else self._outbox.usage().bytes - self._limits.bytes
        ahead: list[Kept] = []  # of the clock
        for kept in self._all_kept():
            if excess > 0:
                excess -= kept.bytes
                yield kept
            elif before is not None and kept.committed_at > now and len(ahead) < _COUNT_MOST:
                ahead.append(kept)
            elif before is None or kept.committed_at >= before:
                return
            else:
                yield from ahead
                ahead.clear()
                yield kept

    def _all_kept(self) -> Iterator[Kept]:
        last = 0
        while found := self._outbox.kept_after(last, limit=SLICE):
            yield from found
            last = found[-1].seq

    def _tell_held(self, places: dict[str, int], now: float) -> None:
        """Counts for each subscriber what it has not acknowledged of that which should go."""
        due = [kept.seq for kept in itertools.islice(self._alerts_due(now), _COUNT_MOST)] if places else []
        counts = {name: sum(seq > place for seq in due) for name, place in places.items()}
        held_by = {name: count for name, count in sorted(counts.items()) if count}
        if new := held_by.keys() - self._held_by.keys():
            _log.warning(
                "retention waits: %s has not acknowledged what should be removed. If it will not come back: "
                "spade-stream outbox forget CONFIG NAME",
                ", ".join(sorted(new)),
            )
        self._held_by = held_by

    # -- events and scores --------------------------------------------------------------------------------------------

    def _remove_events(self, now: float) -> bool:
        if self._limits.days is None:
            return False
        removed = self._outbox.remove_events(now - self._limits.days * DAY, most=SLICE)
        self._removed["events"] += removed
        return removed == SLICE

    def _remove_scores(self, now: float) -> bool:
        """By the time of the last row, not by the day in the name: a recording's days may lie in the past."""
        if self._limits.score_days is None:
            return False
        before = now - self._limits.score_days * DAY
        old = [file for file in self._scores.glob("*/*.csv") if file.stat().st_mtime < before][:SLICE]
        for file in old:
            file.unlink(missing_ok=True)
        self._removed["score_files"] += len(old)
        return len(old) == SLICE

    # -- strays -------------------------------------------------------------------------------------------------------

    def _remove_strays(self, now: float) -> bool:
        """Files that no alert names, half-written ones, and folders that are empty; all of them old enough."""
        if self._clock() >= self._sweep_due:
            self._sweep_due = self._clock() + SWEEP_EVERY
            self._sweep = self._strays(now - STRAY_AFTER)
        looked_at = list(itertools.islice(self._sweep, SLICE))
        self._removed["strays"] += sum(looked_at)
        return len(looked_at) == SLICE

    def _strays(self, before: float) -> Iterator[bool]:
        """Looks at one file after another; tells of each whether it went."""
        for day in _folders(self._outbox.evidence):
            for camera in _folders(day):
                for entry in _entries(camera):
                    yield self._remove_stray(Path(entry.path), before)
                _remove_empty(camera, before)
            _remove_empty(day, before)

    def _remove_stray(self, file: Path, before: float) -> bool:
        name = file.relative_to(self._outbox.evidence).as_posix()
        half_written = file.name.startswith(".") and file.name.endswith(PART_SUFFIX)
        if _written(file) >= before or not (half_written or not self._outbox.claims(name)):
            return False
        if _written(file) >= before:  # it was committed again just now
            return False
        file.unlink(missing_ok=True)
        return True


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted((entry for entry in found if entry.is_file(follow_symlinks=False)), key=lambda e: e.name)
    except FileNotFoundError:
        return []


def _folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as found:
            return sorted(Path(entry.path) for entry in found if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []


def _written(file: Path) -> float:
    try:
        return file.lstat().st_mtime
    except FileNotFoundError:
        return float("inf")


def _remove_empty(folder: Path, before: float) -> None:
    if _written(folder) < before:
        with contextlib.suppress(OSError):  # it is not empty: that is what rmdir finds out
            folder.rmdir()
