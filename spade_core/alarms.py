"""How often normal footage would raise an alarm, and the threshold at which it does so as seldom as is wanted.

An alert starts where the score *stays* above the threshold for a while. So what matters of a series of scores is its
**sustained level**: for each frame, the threshold below which an alert would start there. Levels that follow one
another closely belong to one thing that happened, hence to one alert: they are a **cluster**, and its peak counts.

Above a start ``u`` that a tenth of the frames reach at most, the rate of clusters whose peak lies above ``t`` is taken
as ``rate(u) * exp(-(t - u) / scale)`` (peaks over threshold, shape 0). That assumes

- that the held-out footage shows what is normal at the hours that are watched,
- a tail no heavier than exponential,
- clusters that come independently of one another.

A rate down to one alarm in the whole footage is read off it. Anything rarer is extrapolated, and :class:`HeldOutAlarms`
says how far.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spade_core.errors import CalibrationError

DAY = 86_400.0  # s
HOUR = 3_600.0  # s

MOST_PER_DAY = 10_000.0
"""Highest rate that can be asked for: one alarm in nine seconds, which is hardly more than an alert lasts."""

TIME_TOLERANCE = 0.0005
"""Seconds by which a span may fall short: 0.6 s at 10 fps may come as 0.5999999. The alert policy allows the same."""

START_QUANTILES = (0.995, 0.99, 0.98, 0.95, 0.9)
"""Where the tail may start, as quantiles of the sustained level: the further out, the better exponential fits, so the
first is taken above which there are ``ENOUGH_CLUSTERS``, and as many a day as are asked for. Short footage has too few
anywhere and gets the last."""

ENOUGH_CLUSTERS = 20
"""Clusters that give the tail's scale to about a fifth."""

FEW_CLUSTERS = 5
"""Fewer clusters than this give no scale: from one alone it came out between 0.014 and 0.14 of ``u``, on three scenes
that longer footage shows to be alike. Those that are missing count as if they had the ``USUAL_SCALE``."""

USUAL_SCALE = 0.08
"""Part of ``u`` that the tail's scale is where there are clusters enough to say: 0.04 to 0.11 in nine fits of distances
and motion, on UCSD Ped2's training clips and on eight minutes of the demo's scene."""

LEAST_SCALE = 0.02
"""The tail's scale is at least this part of ``u``: footage that hardly changes would else give a threshold of no width.
"""

CONFIDENCE = 0.9
"""That the true rate of alarms is below the upper bound that is reported."""


@dataclass(frozen=True, slots=True)
class AlarmRule:
    """What the alert policy makes of scores, as far as it decides on how many alerts start.

    Raises:
        CalibrationError: a value is out of bounds.
    """

    min_duration: float  # s that a score stays above the threshold before an alert starts
    quiet: float  # s below it, after which what comes next is another alarm

    def __post_init__(self) -> None:
        for name in ("min_duration", "quiet"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise CalibrationError(f"{name} is {value!r}: it must be a finite number of seconds, 0 or more")


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """When M frames were taken, and which of them follow one another without a break."""

    times: NDArray[np.float64]  # (M,) s
    stretches: NDArray[np.int64]  # (M,) number of the continuous stretch, counted from 0

    @classmethod
    def of(cls, times: Sequence[float], segments: Sequence[str]) -> Timeline:
        """A stretch ends where the segment (clip, or piece of a recording) changes or time runs backwards, as an alert
        does.
        """
        seconds = np.asarray(times, np.float64)
        changed = np.array([b != a for a, b in pairwise(segments)], bool)
        breaks = changed | (np.diff(seconds) < 0)
        return cls(seconds, np.concatenate([[0], np.cumsum(breaks)]).astype(np.int64)[: len(seconds)])

    def __len__(self) -> int:
        return len(self.times)

    def __getitem__(self, frames: slice) -> Timeline:
        return Timeline(self.times[frames], self.stretches[frames])


@dataclass(frozen=True, slots=True)
class Tail:
    """How often clusters of a series reach how high."""

    start: float  # u: the tail is known above it only
    scale: float  # by which the rate falls to 1/e; the mean excess of the clusters' peaks over u
    clusters: int  # whose peaks lie above u
    days: float  # of footage

    def threshold(self, per_day: float) -> float:
        """The level that ``per_day`` clusters a day rise above; never below ``start``."""
        return self.start + self.scale * max(0.0, math.log(self.clusters / self.days / per_day))


@dataclass(frozen=True, slots=True)
class HeldOutAlarms:
    """How well the footage supports the rate of false alarms that was asked for.

    Seen is what one half of the held-out footage raises against the threshold that the other half sets, added up.
    """

    hours: float  # of held-out footage, without what the policy needs to get going
    extrapolated: float  # how much rarer the alarms asked for are than one in the footage; 1 = not rarer
    min_duration: float  # s; of the policy that it holds for
    quiet: float  # s
    seen: int | None  # alarms; None: too little footage to cut it in two
    seen_per_day: float | None
    upper_per_day: float | None  # the true rate is below this with ``CONFIDENCE``

    def to_json(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> HeldOutAlarms:
        """Inverse of :meth:`to_json`. Raises KeyError, TypeError or ValueError where it is not well formed."""

        def optional(name: str) -> float | None:
            return None if data[name] is None else float(data[name])

        return cls(
            hours=float(data["hours"]),
            extrapolated=float(data["extrapolated"]),
            min_duration=float(data["min_duration"]),
            quiet=float(data["quiet"]),
            seen=None if data["seen"] is None else int(data["seen"]),
            seen_per_day=optional("seen_per_day"),
            upper_per_day=optional("upper_per_day"),
        )


def sustained_levels(scores: NDArray[np.floating], timeline: Timeline, *, min_duration: float) -> NDArray[np.float64]:
    """The level that each frame sustains: an alert may start there if and only if the threshold is below it.

    This is the policy's rule turned round. A span that ends with the frame, begins at or before ``min_duration`` ago
    and has at most one frame not above the threshold starts an alert; so its level is the lowest of its first and last
    score and of the others but one. If any such span does, one that begins at the last possible frame does, or at the
    one before (where that frame is the one that is forgiven).

    Args:
        scores: (M,) of the frames; NaN = not known.
        timeline: of M frames.
        min_duration: s.

    Returns:
        (M,) float64; -inf where no span is long enough yet, or a score in it is not known.
    """
    values, times, stretches = np.asarray(scores, np.float64).tolist(), timeline.times.tolist(), timeline.stretches
    levels = np.full(len(values), -np.inf)
    first = latest = 0  # first frame that counts; latest that a span to the present frame can begin at
    for last, value in enumerate(values):
        if math.isnan(value):
            first = last + 1
            continue
        if last and stretches[last] != stretches[last - 1]:
            first = last
        latest = max(latest, first)
        while latest + 1 < last and times[last] - times[latest + 1] >= min_duration - TIME_TOLERANCE:
            latest += 1
        if latest >= last or times[last] - times[latest] < min_duration - TIME_TOLERANCE:
            continue
        levels[last] = max(_level(values, begin, last) for begin in range(max(first, latest - 1), latest + 1))
    return levels


def _level(values: Sequence[float], begin: int, last: int) -> float:
    inner = heapq.nsmallest(2, values[begin + 1 : last])
    ends = min(values[begin], values[last])
    return min(ends, inner[1]) if len(inner) == 2 else ends


def cluster_peaks(
    levels: NDArray[np.float64], timeline: Timeline, *, above: float, quiet: float
) -> NDArray[np.float64]:
    """Peaks of the clusters of levels above a value; as many as alarms start there, or more where an alert lasts.

    Args:
        levels: (M,) sustained levels.
        timeline: of M frames.
        above: levels up to this do not count.
        quiet: s; levels that are closer together belong to one cluster.

    Returns:
        (clusters,) float64, in order of time.
    """
    frames = np.flatnonzero(levels > above)
    if not len(frames):
        return np.empty(0)
    new = (np.diff(timeline.times[frames]) >= max(quiet, TIME_TOLERANCE)) | (np.diff(timeline.stretches[frames]) != 0)
    return np.maximum.reduceat(levels[frames], np.concatenate([[0], np.flatnonzero(new) + 1]))


def days_of(levels: NDArray[np.float64], timeline: Timeline) -> float:
    """Length of the footage in which an alert could have started: its frames at their usual distance, in days."""
    steps = np.diff(timeline.times)[np.diff(timeline.stretches) == 0]
    return float(np.isfinite(levels).sum() * np.median(steps)) / DAY if len(steps) else 0.0


def alarm_threshold(scores: NDArray[np.floating], timeline: Timeline, rule: AlarmRule, *, per_day: float) -> float:
    """The threshold that a series of normal scores raises ``per_day`` alarms a day against; see :func:`fit_tail`."""
    return fit_tail(scores, timeline, rule, per_day=per_day).threshold(per_day)


def fit_tail(scores: NDArray[np.floating], timeline: Timeline, rule: AlarmRule, *, per_day: float) -> Tail:
    """How often the sustained level of a series rises how high.

    Args:
        scores: (M,) of the frames; NaN = not known.
        timeline: of M frames.
        rule: of the alert policy.
        per_day: rate that matters.

    Raises:
        CalibrationError: nowhere do frames follow one another for ``min_duration``.
    """
    levels = sustained_levels(scores, timeline, min_duration=rule.min_duration)
    known, days = levels[np.isfinite(levels)], days_of(levels, timeline)
    if not len(known) or days == 0:
        raise CalibrationError(
            f"no piece of the held-out footage is as long as an alert must last (alerts.min_duration = "
            f"{rule.min_duration:g} s): enroll longer clips, or sample them at a higher rate"
        )
    for quantile in START_QUANTILES:
        start = float(np.quantile(known, quantile))
        peaks = cluster_peaks(levels, timeline, above=start, quiet=rule.quiet)
        if len(peaks) >= max(ENOUGH_CLUSTERS, per_day * days):
            break
    missing = max(0, FEW_CLUSTERS - len(peaks))
    scale = (float((peaks - start).sum()) + missing * USUAL_SCALE * start) / (len(peaks) + missing)
    return Tail(start, max(scale, LEAST_SCALE * start), max(1, len(peaks)), days)


def held_out_alarms(
    timeline: Timeline,
    rule: AlarmRule,
    *,
    per_day: float,
    scored_by: Callable[[slice], NDArray[np.floating]],
) -> HeldOutAlarms:
    """Holds what was asked for against what normal footage does.

    Args:
        timeline: of M held-out frames.
        rule: of the alert policy.
        per_day: rate that was asked for.
        scored_by: gives the scores of all M frames, in thresholds that are set on the chosen ones alone. Raises
            CalibrationError where these are too few.
    """
    levels = sustained_levels(np.zeros(len(timeline)), timeline, min_duration=rule.min_duration)
    days = days_of(levels, timeline)
    extrapolated = max(1.0, 1 / days / per_day)
    whole = HeldOutAlarms(days * 24, extrapolated, rule.min_duration, rule.quiet, None, None, None)
    middle = len(timeline) // 2
    halves = slice(0, middle), slice(middle, None)
    alarms, watched = 0, 0.0
    try:
        for chosen, rest in (halves, halves[::-1]):
            levels = sustained_levels(scored_by(chosen)[rest], timeline[rest], min_duration=rule.min_duration)
            alarms += len(cluster_peaks(levels, timeline[rest], above=1.0, quiet=rule.quiet))
            watched += days_of(levels, timeline[rest])
    except CalibrationError:
        return whole
    if watched == 0:  # pieces too short for an alert to start in
        return whole
    return HeldOutAlarms(
        hours=whole.hours,
        extrapolated=extrapolated,
        min_duration=rule.min_duration,
        quiet=rule.quiet,
        seen=alarms,
        seen_per_day=alarms / watched,
        upper_per_day=poisson_upper(alarms) / watched,
    )


def poisson_upper(count: int) -> float:
    """The expectation of which ``count`` events or fewer are as unlikely as 1 - ``CONFIDENCE``: 2.3 for none."""
    low, high = float(count), 10.0 + 2.0 * count
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        terms = (math.exp(k * math.log(middle) - middle - math.lgamma(k + 1)) for k in range(count + 1))
        low, high = (middle, high) if sum(terms) > 1 - CONFIDENCE else (low, middle)
    return high
