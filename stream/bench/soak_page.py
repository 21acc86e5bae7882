"""A soak as one HTML page: verdicts, and memory, open files and ages over time, with the faults marked."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import TypeVar

import numpy as np

from stream.bench.soak_checks import Soaked, checks, restarts
from stream.bench.soak_processes import SUPERVISOR
from stream.bench.soak_report import broken, check_lines, fault_lines, frame_lines, process_lines
from stream.bench.soak_trends import ProcessSample
from stream.bench.soak_watch import CameraSample
from stream.report.charts import clock, decimate
from stream.report.page import document, tiles

_WIDTH, _HEIGHT = 960, 200  # of a chart, in its own units: it is scaled as a whole
_LEFT, _TOP, _BOTTOM = 60, 10, 24  # room for the axes' numbers
_STEPS = 4  # lines along each axis
_STYLE = """
.soak { width: 100%; height: auto; } .soak .fault { fill: var(--truth); }
.soak .tick { fill: var(--soft); font-size: 12px; }
.soak .grid { stroke: var(--rule); } .soak .score { fill: none; stroke: var(--score); stroke-width: 1.5; }
table { border-collapse: collapse; display: block; overflow-x: auto; } td, th { padding: .2rem .7rem; text-align: right;
  border-bottom: 1px solid var(--rule); } td:first-child, th:first-child { text-align: left; }
.words td:last-child { text-align: left; } .bad { color: var(--alert); font-weight: 600; }
"""

_ONE_LOOK = 3.0  # s: far more than one takes, far less than there is between two

T = TypeVar("T")

Point = tuple[float, float]
"""Seconds since the soak began, and a value; NaN where there is none."""


def write_page(path: Path, soaked: Soaked) -> None:
    """Writes the page, in one step."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(page(soaked), encoding="utf-8")
    fresh.replace(path)


def page(soaked: Soaked) -> str:
    """The page as text."""
    sections = [
        "<header><h1>Soak</h1></header>",
        tiles(_tiles(soaked)),
        _table("Promises", check_lines(checks(soaked)), words=True),
        _table("Faults", fault_lines(soaked)),
        *(_chart(title, points, soaked) for title, points in _series(soaked)),
        _table("Processes", process_lines(soaked)),
        _table("Frames", frame_lines(soaked)),
    ]
    return document("Soak", sections, style=_STYLE)


def _tiles(soaked: Soaked) -> Iterator[tuple[str, str, str]]:
    yield "promises", "broken" if broken(soaked) else "kept", ""
    yield "lasted", clock(soaked.seconds), "ended early" if soaked.cut_short else ""
    yield "faults", str(len(soaked.faults)), f"{sum(not fault.problem for fault in soaked.faults)} survived"
    yield "alerts", str(soaked.alerts), f"{soaked.messages} messages"
    yield "restarts", str(sum(restarts(soaked.births).values())), ""


def _series(soaked: Soaked) -> Iterator[tuple[str, list[Point]]]:
    groups = {
        "worker": lambda role: role == "worker",
        "readers": lambda role: role.startswith("reader "),
        "feed": lambda role: role == "feed",
        "sinks": lambda role: role.startswith("sink "),
        "supervisor": lambda role: role == SUPERVISOR,
    }
    for name, belongs in groups.items():
        yield f"own memory of {name}, MiB", _summed(soaked.samples, belongs, lambda sample: sample.used.own_mib)
    yield "open files of all processes", _summed(soaked.samples, lambda _: True, lambda sample: sample.used.files)
    yield "age of frames, p95 of the worst camera, s", _worst_age(soaked)


def _summed(
    samples: Iterable[ProcessSample], belongs: Callable[[str], bool], of: Callable[[ProcessSample], float]
) -> list[Point]:
    """Of the processes that belong, together, at each look."""
    mine = [sample for sample in samples if belongs(sample.instance.role)]
    return [(time, sum(map(of, look))) for time, look in looks(mine, lambda sample: sample.time)]


def looks(samples: Iterable[T], time_of: Callable[[T], float]) -> Iterator[tuple[float, list[T]]]:
    """Samples that were taken together: those of one look are milliseconds apart, and looks are ten seconds."""
    look: list[T] = []
    for sample in sorted(samples, key=time_of):
        if look and time_of(sample) - time_of(look[0]) > _ONE_LOOK:
            yield time_of(look[0]), look
            look = []
        look.append(sample)
    if look:
        yield time_of(look[0]), look


def _worst_age(soaked: Soaked) -> list[Point]:
    def age(sample: CameraSample) -> float:
        return math.nan if sample.age_p95 is None else sample.age_p95

    return [(time, max(map(age, look))) for time, look in looks(soaked.cameras, lambda sample: sample.time)]


def _chart(title: str, points: Sequence[Point], soaked: Soaked) -> str:
    if not points:
        return ""
    times, values = decimate(np.array([time for time, _ in points]), np.array([value for _, value in points]))
    top = float(np.nanmax(values, initial=0.0)) * 1.1 or 1.0
    width, height = _WIDTH - _LEFT, _HEIGHT - _TOP - _BOTTOM
    span = max(soaked.seconds, float(times[-1]), 1.0)

    def x(time: float) -> float:
        return _LEFT + width * min(max(time / span, 0.0), 1.0)

    def y(value: float) -> float:
        return _TOP + height * (1 - value / top)

    faults = [
        f'<rect class="fault" x="{x(f.at):.1f}" width="{max(x(f.until) - x(f.at), 1.0):.1f}" y="{_TOP}" '
        f'height="{height}"><title>{escape(f"{clock(f.at)} {f.fault} {f.target}")}</title></rect>'
        for f in soaked.faults
    ]
    line = " ".join(
        f"{'M' if index == 0 or math.isnan(values[index - 1]) else 'L'}{x(time):.1f} {y(value):.1f}"
        for index, (time, value) in enumerate(zip(times.tolist(), values.tolist(), strict=True))
        if not math.isnan(value)
    )
    words = escape(f"{title}, from 0 to {clock(span)}; highest {np.nanmax(values, initial=0.0):.3g}")
    return (
        f'<h2>{escape(title)}</h2><svg class="soak" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{words}">'
        f'{"".join(faults)}{"".join(_axes(span, top))}<path class="score" d="{line}"/></svg>'
    )


def _axes(span: float, top: float) -> Iterator[str]:
    bottom, width = _HEIGHT - _BOTTOM, _WIDTH - _LEFT
    for step in range(_STEPS + 1):
        y, x = bottom - (bottom - _TOP) * step / _STEPS, _LEFT + width * step / _STEPS
        time = clock(span * step / _STEPS)
        anchor = "end" if step == _STEPS else "middle"
        yield (
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{top * step / _STEPS:.3g}</text>'
            f'<text class="tick" x="{x:.1f}" y="{_HEIGHT - 6}" text-anchor="{anchor}">{time}</text>'
        )


def _table(title: str, lines: Iterable[Sequence[str]], *, words: bool = False) -> str:
    heading, *rows = lines
    head = "".join(f"<th>{escape(cell)}</th>" for cell in heading)
    body = "".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in rows)
    kind = ' class="words"' if words else ""
    return f"<h2>{escape(title)}</h2><table{kind}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(text: str) -> str:
    return f'<td class="bad">{escape(text)}</td>' if text == "NOT ok" else f"<td>{escape(text)}</td>"
