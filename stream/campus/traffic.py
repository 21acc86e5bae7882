"""The ordinary passers-by of a script: who is where at a time. Any time can be asked for, in any order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from stream.campus.figure import Look, draw_look
from stream.campus.layout import FACADE, LANES_BACK, LANES_OUT, NEAR_END, Layout
from stream.campus.path import Path

ARRIVAL_SECONDS = 4.4  # on average one arrival in each span of this length: about three people in view
MOST_WALKERS = 5  # in view at once; with the owner of a bag six
_LONGEST_WALK = 40.0  # seconds: nobody takes longer across the view
_SPANS_BACK = math.ceil(_LONGEST_WALK / ARRIVAL_SECONDS) + 1
_MARGIN = 0.9  # metres beyond the picture where walks begin and end


@dataclass(frozen=True, slots=True, eq=False)
class Walker:
    """Somebody on the way."""

    look: Look
    path: Path
    phase: float  # radians: where in the stride the path begins


class Traffic:
    """All walkers of one script at one place, for ever."""

    def __init__(self, layout: Layout, walk_seed: int) -> None:
        self._layout = layout
        self._walk_seed = walk_seed
        self._arrivals = lru_cache(maxsize=64)(self._draw_arrivals)
        self._admitted = lru_cache(maxsize=64)(self._admit)

    def at(self, time: float) -> tuple[Walker, ...]:
        """Everybody whose walk covers ``time`` (seconds)."""
        now = math.floor(time / ARRIVAL_SECONDS)
        spans = range(now - _SPANS_BACK, now + 1)
        return tuple(walker for span in spans for walker in self._admitted(span) if walker.path.covers(time))

    def _admit(self, span: int) -> tuple[Walker, ...]:
        # Who arrives while MOST_WALKERS earlier arrivals, admitted or not, are about is left out. Counting all of
        # them keeps the answer for one span independent of every earlier one but the last few.
        before = [walker for s in range(span - _SPANS_BACK, span) for walker in self._arrivals(s)]
        admitted = []
        for walker in self._arrivals(span):
            if sum(other.path.covers(walker.path.start) for other in before) < MOST_WALKERS:
                admitted.append(walker)
            before.append(walker)
        return tuple(admitted)

    def _draw_arrivals(self, span: int) -> tuple[Walker, ...]:
        """Those who come into view in one span, in order of time. A span before the first frame has them too."""
        rng = np.random.default_rng((self._walk_seed, abs(span), int(span < 0), 0x3A1C))
        start = (span + rng.uniform(0.0, 0.85)) * ARRIVAL_SECONDS
        speed = float(np.clip(rng.normal(1.32, 0.13), 1.0, 1.65))
        points = self._route(rng)
        first = Walker(draw_look(rng), Path.steady(start, speed, points), float(rng.uniform(0, 2 * math.pi)))
        if rng.random() > 0.18:
            return (first,)
        # A companion, side by side and almost in step.
        (x0, z0), (x1, z1) = points[0], points[1]
        length = math.hypot(x1 - x0, z1 - z0)
        dx, dz = -(z1 - z0) / length * 0.65, (x1 - x0) / length * 0.65
        beside = [(x + dx, z + dz) for x, z in points]
        later = Path.steady(start + rng.uniform(0.0, 0.25), speed, beside)
        return (first, Walker(draw_look(rng), later, first.phase + float(rng.uniform(-0.8, 0.8))))

    def _route(self, rng: np.random.Generator) -> list[tuple[float, float]]:
        out = bool(rng.random() < 0.5)
        lane = float(rng.choice(LANES_OUT if out else LANES_BACK)) + float(rng.normal(0, 0.12))
        along = walkway(self._layout, lane, out=out)
        kind = rng.random()
        if kind < 0.72:
            return along
        path = self._layout.path + float(rng.uniform(-0.3, 0.3)) * self._layout.path_width
        door, near = (path, FACADE), (path, NEAR_END)
        if kind < 0.86:
            return [near, door] if out else [door, near]
        # From the walkway to the door, or the other way round.
        return [along[0], (path, lane), door] if rng.random() < 0.5 else [door, (path, lane), along[1]]


def walkway(layout: Layout, lane: float, *, out: bool, margin: float = _MARGIN) -> list[tuple[float, float]]:
    """From one side of the picture to the other at z = ``lane``; ``out`` = towards +x. Begins and ends out of view."""
    left, right = layout.camera.lane_span(lane, margin)
    return [(left, lane), (right, lane)] if out else [(right, lane), (left, lane)]
