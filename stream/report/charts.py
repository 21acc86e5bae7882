"""Timelines, and curves of one rate against another, as inline SVG. Pure; used by ``page`` and by evaluations.

A timeline has no fixed width: x positions are percentages, y positions are pixels, and only the curve lives in a
stretched coordinate system of its own (with strokes that do not stretch). So text keeps its size from a phone to a wall
display, without a script. Colours come from the page's style by class.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from stream.report.model import Timeline

COLUMNS = 600  # of the curve: finer than a pixel on a phone, about one on a desk; two points each
GAP_FACTOR = 10  # a pause longer than so many median intervals is drawn as a gap: nobody was watching
NUMBERED_ALERTS = 12  # more than these would write their numbers over one another

LABELS = 18  # px from the top to the plot: the labels of true events
PLOT = 110  # px, height of the plot
ALERTS = 7  # px, height of an alert bar
HEIGHT = LABELS + PLOT + 46  # px in all: plot, alert bars with numbers, time axis

CURVES_WIDTH, CURVES_HEIGHT = 360, 300  # of a chart of curves, in its own units: it is scaled as a whole
CURVES_LEFT, CURVES_BOTTOM = 44, 40  # room for the axes' numbers and names
CURVES_AIR = 10  # above and to the right

_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 21600, 43200, 86400)


def timeline_svg(timeline: Timeline, numbers: Mapping[str, int]) -> str:
    """The chart as an ``<svg>`` element.

    Args:
        timeline: what to draw.
        numbers: for each alert id that has a card on the page, the number of that card (link target ``#alert-N``).
    """
    axis = _Axis(timeline)
    threshold = axis.y(timeline.threshold)
    parts = [
        f'<svg class="chart" width="100%" height="{HEIGHT}" role="group" aria-label="{escape(describe(timeline))}">',
        *_truth(timeline, axis),
        f'<line class="rule" x1="0" x2="100%" y1="{LABELS + PLOT}" y2="{LABELS + PLOT}"/>',
        *_ticks(axis),
        _curve(timeline, axis),
        f'<line class="threshold" x1="0" x2="100%" y1="{threshold:.1f}" y2="{threshold:.1f}"/>',
        *_alerts(timeline, axis, numbers),
        "</svg>",
    ]
    return "".join(parts)


def describe(timeline: Timeline) -> str:
    """The chart in words, for those who cannot see it."""
    scores = timeline.scores[np.isfinite(timeline.scores)]
    peak = f"highest score {number(float(scores.max()))}" if scores.size else "no frame scored"
    return (
        f"{timeline.name}: {peak}, threshold {number(timeline.threshold)}, "
        f"{count(len(timeline.truth), 'true event')}, {count(len(timeline.alerts), 'alert')}"
    )


@dataclass(frozen=True, slots=True, eq=False)
class CurveLine:
    """One curve of a chart. ``x`` and ``y`` are (P,) rates, x never falling."""

    label: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]


def curves_svg(lines: Sequence[CurveLine], *, title: str, x_label: str, y_label: str, x_max: float = 1.0) -> str:
    """Curves of rates, y from 0 to 1 and x from 0 to ``x_max``, as an ``<svg>`` element.

    The n-th line has the class ``line lN`` (from 0): its colour and dashes are the page's.
    """
    left, bottom = CURVES_LEFT, CURVES_HEIGHT - CURVES_BOTTOM
    width, height = CURVES_WIDTH - left - CURVES_AIR, bottom - CURVES_AIR
    words = f"{title}: {y_label} against {x_label}; {', '.join(line.label for line in lines)}"
    parts = [
        f'<svg class="chart curves" viewBox="0 0 {CURVES_WIDTH} {CURVES_HEIGHT}" role="img" '
        f'aria-label="{escape(words)}">'
    ]
    for step in range(5):
        x, y = left + width * step / 4, bottom - height * step / 4
        parts.append(
            f'<line class="grid" x1="{left}" x2="{left + width}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{CURVES_AIR}" y2="{bottom}"/>'
            f'<text class="tick" x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{step / 4:g}</text>'
            f'<text class="tick" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{x_max * step / 4:.3g}</text>'
        )
    for position, line in enumerate(lines):
        points = " ".join(
            f"{left + width * min(x / x_max, 1.0):.1f},{bottom - height * y:.1f}"
            for x, y in zip(line.x.tolist(), line.y.tolist(), strict=True)
        )
        name = f"<title>{escape(line.label)}</title>"
        parts.append(f'<polyline class="line l{position}" points="{points}">{name}</polyline>')
    middle = left + width / 2
    parts.append(
        f'<text class="axis" x="{middle}" y="{CURVES_HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>'
        f'<text class="axis" transform="translate(11 {CURVES_AIR + height / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_label)}</text></svg>"
    )
    return "".join(parts)


def decimate(
    times: NDArray[np.float64], scores: NDArray[np.float64], columns: int = COLUMNS
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """At most four points per column of time, so that the drawn curve looks as the full one would.

    Each of ``columns`` equal spans of time keeps its lowest and highest score, so that no peak is lost, and its first
    and last not-scored frame (NaN), so that no gap is closed. Shapes: (N,) in, (M,) out, both in order of time.
    """
    span = float(times[-1] - times[0]) if times.size else 0.0
    if times.size <= 2 * columns or span == 0:
        return times, scores
    column = np.minimum(((times - times[0]) / span * columns).astype(np.intp), columns - 1)
    keep: set[int] = set()
    edges = np.flatnonzero(np.diff(column)) + 1
    for part in np.split(np.arange(times.size), edges):
        missing = np.isnan(scores[part])
        if missing.any():
            keep.update((int(part[missing][0]), int(part[missing][-1])))
        scored = part[~missing]
        if scored.size:
            keep.update((int(scored[scores[scored].argmin()]), int(scored[scores[scored].argmax()])))
    chosen = np.array(sorted(keep))
    return times[chosen], scores[chosen]


def number(value: float) -> str:
    """A score for people: three significant digits or so, thousands grouped."""
    if not math.isfinite(value):
        return "not scored"
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if size >= 0.1 or value == 0 else f"{value:.3g}"


def count(amount: int, noun: str) -> str:
    """``1 alert``, ``2 alerts``, ``no alerts``."""
    return f"{amount or 'no'} {noun}{'s' * (amount != 1)}"


def clock(seconds: float, *, digits: int = 0) -> str:
    """Seconds since the beginning as ``m:ss`` or ``h:mm:ss``, with ``digits`` decimals."""
    sign = "-" if seconds < 0 else ""
    ticks = round(abs(seconds) * 10**digits)
    whole, fraction = divmod(ticks, 10**digits)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    text = f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
    return sign + text + (f".{fraction:0{digits}d}" if digits else "")


class _Axis:
    """Where a time and a score are on the chart."""

    def __init__(self, timeline: Timeline) -> None:
        ends = [t for _, *span in (*timeline.truth, *timeline.alerts) for t in span]
        ends += [float(timeline.times[0]), float(timeline.times[-1])] if timeline.times.size else []
        self.start = min(ends, default=0.0)
        self.span = max(ends, default=0.0) - self.start or 1.0
        scores = timeline.scores[np.isfinite(timeline.scores)]
        low = min(0.0, float(scores.min(initial=0.0)))
        high = max(timeline.threshold, float(scores.max(initial=timeline.threshold)))
        self.low = low
        self.high = low + ((high - low) * 1.1 or 1.0)  # a tenth of air above the peak

    def x(self, time: float) -> float:
        """Percent of the width."""
        return (time - self.start) / self.span * 100

    def y(self, score: float) -> float:
        """Pixels from the top."""
        return LABELS + PLOT * (1 - (score - self.low) / (self.high - self.low))


def _truth(timeline: Timeline, axis: _Axis) -> list[str]:
    parts = []
    spans = sorted(timeline.truth, key=lambda span: span[1])
    for index, (label, start, end) in enumerate(spans):
        x, width = axis.x(start), max(axis.x(end) - axis.x(start), 0.2)
        title = escape(f"{label}: {clock(start, digits=1)} to {clock(end, digits=1)}")
        parts.append(
            f'<rect class="truth" x="{x:.3f}%" width="{width:.3f}%" y="0" height="{LABELS + PLOT}">'
            f"<title>{title}</title></rect>"
        )
        # A label may run on to the next event's start and is cut there; the last one near the edge is set leftwards.
        room = axis.x(spans[index + 1][1]) - x if index + 1 < len(spans) else 100 - x
        if index + 1 == len(spans) and room < 15:
            left = axis.x(spans[index - 1][2]) if index else 0.0
            place, text_x, anchor = (left, 100 - left), "100%", ' text-anchor="end" dx="-4"'
        else:
            place, text_x, anchor = (x, room), "0", ' dx="4"'
        parts.append(
            f'<svg x="{place[0]:.3f}%" width="{place[1]:.3f}%" y="0" height="{LABELS}">'
            f'<text class="truth-label" x="{text_x}" y="13"{anchor}>{escape(label)}</text></svg>'
        )
    return parts


def _ticks(axis: _Axis) -> list[str]:
    step = next((s for s in _STEPS if axis.span / s <= 6), math.ceil(axis.span / 6 / 86400) * 86400)
    first = math.ceil(axis.start / step - 1e-9)
    last = math.floor((axis.start + axis.span) / step + 1e-9)
    y = LABELS + PLOT
    parts = []
    for index in range(first, last + 1):
        time = index * step
        x = axis.x(time)
        anchor = "start" if x < 4 else "end" if x > 96 else "middle"
        parts.append(
            f'<line class="grid" x1="{x:.3f}%" x2="{x:.3f}%" y1="{LABELS}" y2="{y}"/>'
            f'<text class="tick" x="{x:.3f}%" y="{HEIGHT - 4}" text-anchor="{anchor}">'
            f"{clock(time, digits=1 if step < 1 else 0)}</text>"
        )
    return parts


def _curve(timeline: Timeline, axis: _Axis) -> str:
    times, scores = decimate(timeline.times, timeline.scores)
    intervals = np.diff(timeline.times)
    pause = GAP_FACTOR * float(np.median(intervals)) if intervals.size else math.inf
    pause = max(pause, 2.1 * axis.span / COLUMNS)  # decimated neighbours lie up to two columns apart
    commands = []
    pen_down = False
    before = -math.inf
    for time, score in zip(times.tolist(), scores.tolist(), strict=True):
        if not math.isfinite(score):
            pen_down = False
            continue
        pen_down = pen_down and time - before <= pause
        commands.append(f"{'L' if pen_down else 'M'}{axis.x(time) * 10:.1f} {axis.y(score) - LABELS:.1f}")
        # A lone frame between two gaps is a line of no length: round line ends make it a dot.
        commands.append("" if pen_down else "h0")
        pen_down, before = True, time
    return (
        f'<svg x="0" y="{LABELS}" width="100%" height="{PLOT}" viewBox="0 0 1000 {PLOT}" preserveAspectRatio="none">'
        f'<path class="score" d="{"".join(commands)}"/></svg>'
    )


def _alerts(timeline: Timeline, axis: _Axis, numbers: Mapping[str, int]) -> list[str]:
    top = LABELS + PLOT + 4
    parts = []
    for alert_id, start, end in timeline.alerts:
        x, width = axis.x(start), max(axis.x(end) - axis.x(start), 0.3)
        card = numbers.get(alert_id)
        title = escape(f"{alert_id}: {clock(start, digits=1)} to {clock(end, digits=1)}")
        bar = (
            f'<rect class="alert" x="{x:.3f}%" width="{width:.3f}%" y="{top}" height="{ALERTS}" rx="2">'
            f"<title>{title}</title></rect>"
        )
        if card is not None and len(timeline.alerts) <= NUMBERED_ALERTS:
            anchor = "end" if x > 96 else "start"
            bar += f'<text class="alert-label" x="{x:.3f}%" y="{top + 19}" text-anchor="{anchor}">{card}</text>'
        parts.append(bar if card is None else f'<a href="#alert-{card}">{bar}</a>')
    return parts
