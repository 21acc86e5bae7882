"""How many alerts the last days would have had at other sensitivities, from the stored scores.

A week of one camera takes many seconds to read, so one curve is made at a time; what was read stays in memory, and of
a file that has grown only what is new is read.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fastapi import Request

from stream.comparable import Units, curve_of
from stream.console.lanes import Lane
from stream.errors import StreamError
from stream.policy import PolicySettings
from stream.score_table import ScoreTable, day_files, joined, read_rows
from stream.what_if import DAY

MOST_ROWS = 4_000_000
"""Rows that one curve is made of, a week and more at 5 frames a second; of more, the newest days. 40 bytes each."""

MOST_KEPT = 4_500_000
"""Rows that stay in memory, of all cameras together."""

GOOD_FOR = 120.0
"""Seconds for which a curve is shown again though scores have come since: in a week of them they change little."""

_MOST_CURVES = 64  # kept


@dataclass(frozen=True, slots=True, eq=False)
class _Day:
    """One file so far."""

    file: tuple[int, int]  # which file that was: device and inode
    end: int  # bytes that were read
    table: ScoreTable


class DayTables:
    """The score files of a state folder as tables. One thread at a time.

    Args:
        folder: of all cameras.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._days: OrderedDict[Path, _Day] = OrderedDict()

    def table(self, camera: str, *, since: float) -> ScoreTable:
        """The newest rows of a camera since then (Unix seconds), ``MOST_ROWS`` and those of a day at most.

        Raises:
            StreamError: they cannot be read.
        """
        tables: list[ScoreTable] = []
        for path in reversed(day_files(self._folder, camera, since=since)):
            try:
                tables.insert(0, self._day(path))
            except FileNotFoundError:  # retention was faster
                continue
            except (ValueError, OSError) as error:
                raise StreamError(f"the scores of {camera} cannot be read: {error}") from None
            if sum(len(table) for table in tables) > MOST_ROWS:
                break
        return joined(tables).from_time(since)

    def _day(self, path: Path) -> ScoreTable:
        day, state = self._days.get(path), path.stat()
        identity = (state.st_dev, state.st_ino)
        if day is None or day.file != identity or state.st_size < day.end:
            table, end = read_rows(path)
            day = _Day(identity, end, table)
        elif state.st_size > day.end:
            more, end = read_rows(path, start=day.end)
            day = replace(day, end=end, table=joined([day.table, more]))
        self._days[path] = day
        self._days.move_to_end(path)
        while len(self._days) > 1 and sum(len(kept.table) for kept in self._days.values()) > MOST_KEPT:
            self._days.popitem(last=False)
        return day.table


@dataclass(frozen=True, slots=True, eq=False)
class _Curve:
    made_at: float  # Unix seconds
    files: tuple[tuple[str, int, int], ...]  # that it was made of: name, size, time of change
    answer: dict[str, Any]


class Budgets:
    """Curves of all cameras. Belongs to the event loop.

    Args:
        folder: of all score files.
        settings: of the policy.
        confirmed_real: ids of a camera's alerts since a time (Unix seconds) that somebody called real.
        units: what scores of a camera may be measured in, where this factor is set.
        clock: Unix seconds.
        lane: where they are made, one at a time.
    """

    def __init__(
        self,
        folder: Path,
        *,
        settings: PolicySettings,
        confirmed_real: Callable[[str, float], Sequence[str]],
        units: Callable[[str, float], Units],
        clock: Callable[[], float],
        lane: Lane | None = None,
    ) -> None:
        self._folder, self._settings, self._clock = folder, settings, clock
        self._confirmed_real, self._units = confirmed_real, units
        self._lane = lane or Lane("such a curve", at_once=1, most_waiting=8, patience=10.0)
        self._tables = DayTables(folder)
        self._curves: OrderedDict[tuple[Any, ...], _Curve] = OrderedDict()

    async def of(
        self, camera: str, calibrated: float | None, *, factor: float, days: int, request: Request | None = None
    ) -> dict[str, Any]:
        """The curve of one camera: what the API says of it.

        Args:
            camera: id, of the configuration.
            calibrated: threshold; None where nothing was scored yet: no curve is no promise of silence.
            factor: of it, that is set now.
            days: back from now.
            request: that asks for it; nothing is done for one whose browser has gone.

        Raises:
            Crowded: others are being made, and take long.
            StreamError: scores cannot be read.
        """
        empty = {"covered_days": 0.0, "damaged_rows": 0, "not_comparable_rows": 0, "confirmed_real": 0, "curve": []}
        if not calibrated:
            return empty
        return await self._lane.run_for(request, self._curve, camera, calibrated, factor, days) or empty

    def _curve(self, camera: str, calibrated: float, factor: float, days: int) -> dict[str, Any]:
        """In a thread of the lane."""
        now = self._clock()
        since = now - days * DAY
        real = frozenset(self._confirmed_real(camera, since))
        units = self._units(camera, factor)
        key = (camera, days, round(calibrated, 9), real, units)
        files = tuple(_state(path) for path in day_files(self._folder, camera, since=since))
        known = self._curves.get(key)
        if known is not None and 0 <= now - known.made_at < (DAY / 24 if known.files == files else GOOD_FOR):
            return known.answer
        answer = self._made(self._tables.table(camera, since=since), calibrated, units, real)
        self._curves[key] = _Curve(now, files, answer)
        while len(self._curves) > _MOST_CURVES:
            self._curves.popitem(last=False)
        return answer

    def _made(self, table: ScoreTable, calibrated: float, units: Units, real: frozenset[str]) -> dict[str, Any]:
        curve = curve_of(table, units, calibrated, self._settings, known_real=real)
        return {
            "covered_days": curve.covered_days,
            "damaged_rows": table.damaged,
            "not_comparable_rows": curve.not_comparable,
            "confirmed_real": len(real),
            "curve": [asdict(point) for point in curve.points],
        }


def _state(path: Path) -> tuple[str, int, int]:
    try:
        state = path.stat()
    except OSError:
        return path.name, 0, 0
    return path.name, state.st_size, state.st_mtime_ns
