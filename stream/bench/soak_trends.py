"""What processes take over time, each life of a process by itself: a killed one starts anew, and that is no shrinking.
Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from stream.bench.process_stats import LEAST_FOR_SLOPE, Usage
from stream.bench.soak_processes import Instance

LIFE_WARM_UP = 60.0
"""Seconds of a process's life that do not count: buffers grow to their size. Of a short soak a tenth."""

RUN_WARM_UP = 0.1
"""Part of the soak that does not count for anybody."""

_AT_EACH_END = 3  # samples whose median is shown: one alone may lie in the middle of a fault

_APART = 60.0  # s: two samples that are closer tell more of noise than of growth


@dataclass(frozen=True, slots=True)
class ProcessSample:
    """What one process took at one moment."""

    time: float  # s since the soak began
    instance: Instance
    used: Usage


@dataclass(frozen=True, slots=True)
class Trend:
    """One role over the whole soak. Figures are after the warm-up and at the end; None: too short to say."""

    role: str
    lives: int  # processes that had this role
    cores: float | None  # processor time over time lived
    rss_mib: tuple[float, float] | None  # first, last
    own_mib: tuple[float, float] | None  # without mapped files: leaks are here
    files: tuple[int, int] | None
    own_mib_per_hour: float | None
    files_per_hour: float | None
    observed_s: float  # of all lives together, after their warm-up


def trends(samples: Sequence[ProcessSample], *, seconds: float) -> list[Trend]:
    """The trend of every role, in the order in which roles were first seen.

    Args:
        samples: in order of time.
        seconds: length of the soak.
    """
    by_role: dict[str, dict[Instance, list[ProcessSample]]] = {}
    for sample in samples:
        by_role.setdefault(sample.instance.role, {}).setdefault(sample.instance, []).append(sample)
    return [_trend(role, by_instance, seconds) for role, by_instance in by_role.items()]


def slope_per_hour(lives: Sequence[Sequence[tuple[float, float]]]) -> float | None:
    """How fast a value grows: the median slope over all pairs of samples of the same life (Theil and Sen).

    A few outliers, or one step up, do not make a slope; what grows all the time does.

    Args:
        lives: of each life, (seconds, value) in order of time.

    Returns:
        None where the lives together span less than ``LEAST_FOR_SLOPE``.
    """
    if _span(lives) < LEAST_FOR_SLOPE:
        return None
    slopes = [
        (later - value) / (then - time)
        for life in lives
        for index, (time, value) in enumerate(life)
        for then, later in life[index + 1 :]
        if then - time >= _APART
    ]
    return median(slopes) * 3600 if slopes else None


def _trend(role: str, by_instance: Mapping[Instance, list[ProcessSample]], seconds: float) -> Trend:
    warm = [life for samples in by_instance.values() if (life := _warm(samples, seconds))]
    flat = [sample for life in warm for sample in life]

    def values(figure: str) -> list[list[tuple[float, float]]]:
        return [[(sample.time, float(getattr(sample.used, figure))) for sample in life] for life in warm]

    def ends(figure: str) -> tuple[float, float] | None:
        found = [float(getattr(sample.used, figure)) for sample in flat]
        return (median(found[:_AT_EACH_END]), median(found[-_AT_EACH_END:])) if found else None

    files = ends("files")
    return Trend(
        role=role,
        lives=len(by_instance),
        cores=_cores(list(by_instance.values())),
        rss_mib=ends("rss_mib"),
        own_mib=ends("own_mib"),
        files=None if files is None else (int(files[0]), int(files[1])),
        own_mib_per_hour=slope_per_hour(values("own_mib")),
        files_per_hour=slope_per_hour(values("files")),
        observed_s=_span(values("files")),
    )


def _warm(life: Sequence[ProcessSample], seconds: float) -> list[ProcessSample]:
    begin = max(life[0].time + min(LIFE_WARM_UP, RUN_WARM_UP * seconds), RUN_WARM_UP * seconds)
    return [sample for sample in life if sample.time >= begin]


def _cores(lives: Sequence[Sequence[ProcessSample]]) -> float | None:
    lived = sum(life[-1].time - life[0].time for life in lives)
    spent = sum(life[-1].used.cpu_s - life[0].used.cpu_s for life in lives)
    return spent / lived if lived else None


def _span(lives: Sequence[Sequence[tuple[float, float]]]) -> float:
    return sum(life[-1][0] - life[0][0] for life in lives if life)
