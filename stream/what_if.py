"""What alerts there would have been at other thresholds, from stored scores. Pure: the real policy sees the old rows.

A week of one camera is three million rows. Nearly all of them are quiet and change nothing in the policy; so only those
are shown to it that may: what it decides is the same, which a test holds against showing it everything.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream.policy import BLIND, TIME_TOLERANCE, AlertPolicy, Decision, Observation, PolicySettings, release_level
from stream.score_table import ScoreTable
from stream.scorelog import ScoreRow

FACTORS: Final = tuple(2 ** (step / 5) for step in range(-5, 16))
"""Factors of the calibrated threshold that a curve has points for: half of it to eight times it, in steps of 15 %."""

MOST_PER_DAY: Final = 200.0
"""Alerts a day from which on a curve goes no lower: nobody reads so many, and replaying them takes long. Of less than a
day so many in all, since a minute with one alert in it says nothing of a day.
"""

DAY: Final = 86_400.0
"""Seconds."""

_SLOW: Final = 3.0  # usual distances between frames; a camera that sends one a minute has no gap after a minute

Rows = ScoreTable | Iterable[ScoreRow]
"""Stored scores of one camera, in the order in which they were scored."""


@dataclass(frozen=True, slots=True)
class Excursion:
    """An alert that there would have been."""

    alert_id: str  # of the first alert that was open in that time; "" = none was: this one would be new
    started_at: float  # Unix seconds: first frame above the threshold
    ended_at: float  # Unix seconds: last frame at or above the release level
    peak_score: float  # highest, in the unit of the threshold
    covers: tuple[str, ...] = ()  # all alerts that were open in that time


@dataclass(frozen=True, slots=True)
class BudgetPoint:
    """What one threshold would have given."""

    factor: float  # of the calibrated threshold
    threshold: float
    alerts: int  # that nobody has confirmed to be real
    alerts_per_day: float  # of these, by the time that was watched
    real: int = 0  # alerts confirmed to be real that there would still have been


def alerts_at(rows: Rows, threshold: float, settings: PolicySettings, *, usual: float = 0.0) -> list[Excursion]:
    """The alerts that these scores make at another threshold, in order.

    As in the worker, an alert ends with its segment, where time runs backwards, and where for ``BLIND`` seconds no
    frame was scored. What rows do not tell is not replayed: snoozes, and a camera that changed its state.

    Args:
        rows: see ``Rows``.
        threshold: finite, above 0; the same for all rows.
        settings: of the policy.
        usual: see :class:`stream.policy.Observation`.

    Raises:
        ValueError: the threshold cannot be used, or a stored score is infinite.
    """
    table = _as_table(rows)
    return _Replay(table, _stretches(table), threshold, settings, usual).excursions()


def budget_curve(
    rows: Rows,
    factors: Sequence[float],
    calibrated_threshold: float,
    settings: PolicySettings,
    *,
    known_real: Container[str] = (),
    usual: float = 0.0,
    most_per_day: float = MOST_PER_DAY,
) -> list[BudgetPoint]:
    """How many alerts there would have been at each factor of the calibrated threshold, by rising factor.

    Factors below the first one, from above, that gives more than ``most_per_day`` are left out.

    Args:
        rows: see ``Rows``.
        factors: above 0.
        calibrated_threshold: what the gallery says.
        settings: of the policy.
        known_real: ids of alerts that an operator confirmed: what covers one of them is no false alarm.
        usual: see :class:`stream.policy.Observation`.
        most_per_day: see above.
    """
    table = _as_table(rows)
    stretches, days = _stretches(table), covered_days(table)
    curve: list[BudgetPoint] = []
    for factor in sorted(set(factors), reverse=True):
        if curve and curve[-1].alerts > most_per_day * max(days, 1.0):
            break
        threshold = factor * calibrated_threshold
        found = _Replay(table, stretches, threshold, settings, usual).excursions()
        curve.append(_point(factor, threshold, found, days, known_real))
    return curve[::-1]


def _point(
    factor: float, threshold: float, found: Sequence[Excursion], days: float, known_real: Container[str]
) -> BudgetPoint:
    real = {alert for excursion in found for alert in excursion.covers if alert in known_real}
    false = sum(not any(alert in known_real for alert in excursion.covers) for excursion in found)
    return BudgetPoint(factor, threshold, false, false / days if days else 0.0, len(real))


def factor_for(curve: Sequence[BudgetPoint], per_day: float) -> BudgetPoint:
    """The lowest factor from which on there are at most ``per_day`` alerts a day; the highest one where none is enough.

    Raises:
        ValueError: the curve has no points.
    """
    if not curve:
        raise ValueError("the curve has no points")
    points = sorted(curve, key=lambda point: point.factor)
    chosen = points[-1]
    for point in reversed(points):
        if point.alerts_per_day > per_day:
            break
        chosen = point
    return chosen


def covered_days(rows: Rows) -> float:
    """Days in which frames were scored, without the gaps."""
    table = _as_table(rows)
    scored = np.flatnonzero(~np.isnan(table.scores))
    times = table.times[scored]
    return sum(float(times[end - 1] - times[first]) for first, end in _stretches(table)) / DAY


def _as_table(rows: Rows) -> ScoreTable:
    return rows if isinstance(rows, ScoreTable) else ScoreTable.of(rows)


def _stretches(table: ScoreTable) -> list[tuple[int, int]]:
    """(first, end) of the scored rows, counted without the others, that follow one another without a break."""
    scored = np.flatnonzero(~np.isnan(table.scores))
    if not len(scored):
        return []
    times, segments = table.times[scored], table.segments[scored]
    steps = np.diff(times)
    breaks = (np.diff(segments) != 0) | (steps < 0)
    forward = steps[(steps > 0) & ~breaks]
    breaks |= steps > max(BLIND, _SLOW * float(np.median(forward)) if len(forward) else 0.0)
    blind = np.flatnonzero(np.diff(scored) > 1)
    unscored = table.times[scored[blind + 1] - 1] - table.times[scored[blind] + 1]
    breaks[blind] |= unscored > BLIND
    edges = [0, *(np.flatnonzero(breaks) + 1).tolist(), len(scored)]
    return list(pairwise(edges))


class _Replay:
    """One threshold. Shows the policy those rows that may change anything in it.

    Idle, that is the next row above the threshold; of a candidate, every row. While an alert is open: of each run of
    rows at or above the release level the strongest and the last, then the first row below it, then those with which
    it may have been below for ``end_after``.
    """

    def __init__(
        self,
        table: ScoreTable,
        stretches: Sequence[tuple[int, int]],
        threshold: float,
        settings: PolicySettings,
        usual: float,
    ) -> None:
        scored = np.flatnonzero(~np.isnan(table.scores))
        self._table, self._rows, self._stretches = table, scored, stretches
        self._times, self._scores = table.times[scored], table.scores[scored]
        self._threshold, self._usual, self._end_after = threshold, usual, settings.end_after
        self._policy = AlertPolicy("what-if", settings)
        above, active = self._scores > threshold, self._scores >= release_level(settings, threshold, usual)
        self._above, self._active, self._quiet = _Places(above), _Places(active), _Places(~active)
        self._strengths = self._scores / threshold

    def excursions(self) -> list[Excursion]:
        return [excursion for first, end in self._stretches for excursion in self._in_stretch(first, end)]

    def _in_stretch(self, first: int, end: int) -> Iterator[Excursion]:
        policy, at, below = self._policy, first, 2  # rows in a row that were not above: two end a candidate
        while at < end:
            if policy.open_alert is not None:
                at, ended = self._follow(first, at, end)
                yield from ended
                below = 2
                continue
            if below >= 2 and (at := self._above.next(at, end)) == end:
                break
            below = 0 if self._scores[at] > self._threshold else below + 1
            self._show(at)
            at += 1
        for decision in policy.finish(float(self._times[end - 1])):
            yield self._excursion(decision, first, end - 1)

    def _follow(self, first: int, at: int, end: int) -> tuple[int, list[Excursion]]:
        """Goes on with an open alert, until it ends or the next row is active again. Returns the row after."""
        quiet = self._quiet.next(at, end)
        if quiet > at:
            strongest = at + int(self._strengths[at:quiet].argmax())
            for row in sorted({strongest, quiet - 1}):
                self._show(row)
        if quiet == end:
            return end, []
        self._show(quiet)
        again = self._active.next(quiet, end)
        over = float(self._times[quiet]) + self._end_after - TIME_TOLERANCE
        # Two earlier: this sum is rounded otherwise than the difference that the policy looks at.
        near = quiet - 1 + int(np.searchsorted(self._times[quiet + 1 : again], over))
        for row in range(max(quiet + 1, near), again):
            if ended := self._show(row):
                return row + 1, [self._excursion(decision, first, row) for decision in ended]
        return again, []

    def _show(self, row: int) -> tuple[Decision, ...]:
        time, score = float(self._times[row]), float(self._scores[row])
        seq = int(self._table.seqs[self._rows[row]])
        return self._policy.observe(Observation(time, seq, score, self._threshold, self._usual))

    def _excursion(self, decision: Decision, first: int, last: int) -> Excursion:
        began = first + int(np.searchsorted(self._times[first : last + 1], decision.started_at))
        codes = self._table.alerts[self._rows[began] : self._rows[last] + 1]
        names = (self._table.alert_ids[code] for code in dict.fromkeys(codes.tolist()))
        covers = tuple(name for name in names if name)
        return Excursion(covers[0] if covers else "", decision.started_at, decision.until, decision.peak.score, covers)


class _Places:
    """Where a condition holds, to be asked in rising order or any other."""

    def __init__(self, holds: NDArray[np.bool_]) -> None:
        self._places = np.flatnonzero(holds)

    def next(self, at: int, end: int) -> int:
        """The first place from ``at`` on, ``end`` where there is none before."""
        place = int(np.searchsorted(self._places, at))
        return min(int(self._places[place]), end) if place < len(self._places) else end
