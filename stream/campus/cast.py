"""Who and what is on stage at a time, as solids: walkers, and the actors of the scripted events."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from stream.campus.figure import Bottoms, Look, Luggage, draw_look, person, rgb, suitcase
from stream.campus.layout import FACADE, FAST_LANES, LANES_OUT, Layout
from stream.campus.mesh import Solid
from stream.campus.path import Path, Step
from stream.campus.pose import RUN, WALK, Gait, on_foot
from stream.campus.script import EventKind, Script, ScriptedEvent
from stream.campus.traffic import Traffic, walkway
from stream.campus.vehicles import cart, cyclist

_SPEEDS = {EventKind.CYCLIST: 4.6, EventKind.CART: 3.2, EventKind.RUNNER: 4.2}  # metres per second
_MARGINS = {EventKind.CYCLIST: 1.2, EventKind.CART: 1.6, EventKind.RUNNER: 0.8}  # metres: half a length, and a bit
_OWNER_SPEED = 1.35  # metres per second
_APPROACH_SECONDS = 20.0  # the owner of a bag is in view for less than this before and after
_STOOP_SECONDS = 0.7  # to put a bag down, and to take it up
_STOOP = 0.95  # radians: the trunk's, when the hand has brought the case to the ground
_REACH = (0.40, 0.28)  # metres ahead and to the right: where the case is then
_FRAMES = (0x7A2A2A, 0x2B2D31, 0x2F4A6B, 0x4C5A4A, 0x8A8D91)
_PAINTS = (0x5D7A5A, 0xC9C4B4, 0x4F6478, 0x8A8E90)


@dataclass(frozen=True, slots=True, eq=False)
class Figure:
    """One solid on stage."""

    solid: Solid
    x: float  # metres: the ground point that decides what covers what
    z: float
    anomalous: bool = False
    opacity: float = 1.0


class Stage:
    """Everything that moves in one script at one place."""

    def __init__(self, layout: Layout, script: Script) -> None:
        self._layout = layout
        self._script = script
        self._traffic = Traffic(layout, script.walk_seed)
        self._actor = lru_cache(maxsize=8)(self._cast)

    def at(self, time: float) -> Iterator[Figure]:
        """All figures at ``time`` (seconds), in no special order."""
        for walker in self._traffic.at(time):
            step = walker.path.at(time)
            yield on_path(walker.look, WALK, step, phase=walker.phase, opacity=_at_door(step.z))
        for event in self._script.events_between(time - _APPROACH_SECONDS, time + _APPROACH_SECONDS):
            yield from self._actor(event).at(time)

    def _cast(self, event: ScriptedEvent) -> Crossing | LeftBag:
        seed = (self._script.walk_seed, round(event.start * 1000), 0xAC7)
        if event.kind is EventKind.BAG:
            return LeftBag.of(event, self._layout, np.random.default_rng(seed))
        # Walkers do not make way, so the crossing picks the way that keeps clear of them best.
        ways = [
            Crossing.of(event, self._layout, np.random.default_rng(seed), out=out, lane=lane)
            for out in (True, False)
            for lane in FAST_LANES
        ]
        times = np.arange(event.start, event.end, 0.4).tolist()
        crowd = [(time, [walker.path.at(time) for walker in self._traffic.at(time)]) for time in times]
        return max(ways, key=lambda way: way.clearance(crowd))


@dataclass(frozen=True, slots=True, eq=False)
class Crossing:
    """A cyclist, a cart or a runner, along the walkway and out of view, to and fro while the window lasts."""

    kind: EventKind
    look: Look
    paint: int
    path: Path

    @classmethod
    def of(cls, event: ScriptedEvent, layout: Layout, rng: np.random.Generator, *, out: bool, lane: float) -> Crossing:
        """The actor of ``event``, first towards +x where ``out``, at z = ``lane``."""
        there = walkway(layout, lane, out=out, margin=_MARGINS[event.kind])
        length = math.dist(*there)
        crossings = max(1, round((event.end - event.start) * _SPEEDS[event.kind] / length))
        stops = [there[i % 2] for i in range(crossings + 1)]
        look = draw_look(rng, luggage=Luggage.NONE)
        if event.kind is EventKind.RUNNER:
            look = replace(look, bottoms=Bottoms.SHORTS, short_sleeves=True, coat=False)
        elif look.bottoms is Bottoms.SKIRT:
            look = replace(look, bottoms=Bottoms.TROUSERS)
        paints = _FRAMES if event.kind is EventKind.CYCLIST else _PAINTS
        path = Path(np.linspace(event.start, event.end, crossings + 1).tolist(), stops)
        return cls(event.kind, replace(look, coat=False), paints[int(rng.integers(len(paints)))], path)

    def clearance(self, crowd: Iterable[tuple[float, Iterable[Step]]]) -> float:
        """The least distance in metres to anybody of ``crowd``: (time, where everybody is then)."""
        least = math.inf
        for time, others in crowd:
            here = self.path.at(time)
            least = min([least, *(math.hypot(other.x - here.x, other.z - here.z) for other in others)])
        return least

    def at(self, time: float) -> Iterator[Figure]:
        """The figure while the window lasts."""
        if not self.path.covers(time):
            return
        step = self.path.at(time)
        if self.kind is EventKind.RUNNER:
            yield replace(on_path(self.look, RUN, step, phase=0.0), anomalous=True)
            return
        ride = cyclist if self.kind is EventKind.CYCLIST else cart
        mesh = ride(self.look, rgb(self.paint), step.distance)
        yield Figure(mesh.placed(step.x, step.z, step.heading), step.x, step.z, anomalous=True)


@dataclass(frozen=True, slots=True, eq=False)
class LeftBag:
    """A suitcase that its owner brings, leaves, and fetches again. Carried it is luggage; alone it is the anomaly."""

    event: ScriptedEvent
    owner: Look
    path: Path
    spot: tuple[float, float]  # metres

    @classmethod
    def of(cls, event: ScriptedEvent, layout: Layout, rng: np.random.Generator) -> LeftBag:
        """The actors of ``event``: the case stands on the nearer half of the walkway."""
        between = (LANES_OUT[1] + LANES_OUT[2]) / 2  # where walkers pass it on both sides
        left, right = layout.camera.lane_span(between, 0.9)
        if rng.random() < 0.5:
            left, right = right, left
        x = left + (right - left) * float(rng.uniform(0.4, 0.6))
        way = math.copysign(1.0, right - left)  # along x; the right hand is on the side of z that has the same sign
        lane = between - way * _REACH[1]
        spot = (x + way * _REACH[0], between)
        # Fetched from the other side: the owner comes back the opposite way, and the same hand takes it.
        fetch = (spot[0] + way * _REACH[0], spot[1] + way * _REACH[1])
        far = x + way * min(abs(right - x), _OWNER_SPEED * (event.end - event.start) / 2)
        rest, gone = event.start - _STOOP_SECONDS, event.end + _STOOP_SECONDS
        stops = [
            (rest - abs(x - left) / _OWNER_SPEED, (left, lane)),
            (rest, (x, lane)),
            (event.start, (x, lane)),
            (event.start + abs(far - x) / _OWNER_SPEED, (far, lane)),
            (event.end - abs(far - fetch[0]) / _OWNER_SPEED, (far, fetch[1])),
            (event.end, fetch),
            (gone, fetch),
            (gone + abs(fetch[0] - left) / _OWNER_SPEED, (left, fetch[1])),
        ]
        path = Path([time for time, _ in stops], [point for _, point in stops])
        return cls(event, draw_look(rng, luggage=Luggage.SUITCASE), path, spot)

    def at(self, time: float) -> Iterator[Figure]:
        """The owner while in view, and the case while it stands alone."""
        alone = self.event.start <= time < self.event.end
        if self.path.covers(time):
            step = self.path.at(time)
            look = replace(self.owner, luggage=Luggage.NONE) if alone else self.owner
            yield on_path(look, WALK, step, phase=0.0, stoop=self._stoop(time))
        if alone:
            x, z = self.spot
            yield Figure(suitcase(self.owner.bag, at=(0, 0, 0)).placed(x, z, 0.0), x, z, anomalous=True)

    def _stoop(self, time: float) -> float:
        lows = (self.event.start, self.event.end)
        near = min(abs(time - low) for low in lows)
        return _STOOP * max(0.0, 1 - near / _STOOP_SECONDS)


def on_path(look: Look, gait: Gait, step: Step, *, phase: float, stoop: float = 0.0, opacity: float = 1.0) -> Figure:
    """Somebody on foot at one moment of a path; the legs keep step with the ground covered."""
    turn = phase + 2 * math.pi * step.distance / (gait.stride * look.height)
    pose = on_foot(look.height, gait, turn, vigour=min(1.0, step.speed), stoop=stoop)
    return Figure(person(look, pose).placed(step.x, step.z, step.heading), step.x, step.z, opacity=opacity)


def nearest_last(figures: Iterable[Figure], layout: Layout) -> list[tuple[float, Figure]]:
    """(depth in metres, figure), far ones first."""
    found = list(figures)
    if not found:
        return []
    feet = np.array([(figure.x, 0, figure.z) for figure in found], np.float32)
    depths = layout.camera.project(feet)[:, 2].tolist()
    return sorted(zip(depths, found, strict=True), key=lambda item: -item[0])


def _at_door(z: float) -> float:
    return min(1.0, max(0.0, (FACADE - z) / 0.6))  # the doorway swallows people over the last 0.6 m
