"""What happens when: how long the footage is, who walks (by seed) and which anomalies appear. Draws nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from stream.errors import UsageError


class EventKind(StrEnum):
    """What does not belong on the walkway."""

    CYCLIST = "cyclist"
    CART = "cart"
    RUNNER = "runner"
    BAG = "bag"  # left behind


USUAL_SECONDS = {EventKind.CYCLIST: 4.5, EventKind.CART: 6.0, EventKind.RUNNER: 4.5, EventKind.BAG: 12.0}
"""How long each anomaly lasts at its natural speed: about 17 m of walkway are in view."""

MIN_EVENT_SECONDS = 4.0  # shorter ones would have to cross the view at more than 16 km/h
QUIET_SECONDS = 6.0  # normal footage before, between and after anomalies, so that each alert can end
TEST_SECONDS = 70.0
MIN_RANDOM_EVERY = 30.0  # the longest anomaly with quiet footage on both sides, and some freedom for its start


@dataclass(frozen=True, slots=True)
class ScriptedEvent:
    """One anomaly: the object is in view and anomalous from ``start`` to ``end``.

    A crossing object (cyclist, cart, runner) enters the picture at its edge at ``start`` and has left it at ``end``;
    a window longer than one crossing takes is filled by going to and fro. A bag stands alone from ``start`` until its
    owner fetches it at ``end``.
    """

    kind: EventKind
    start: float  # seconds since the first frame
    end: float  # seconds since the first frame

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start) and math.isfinite(self.end) and self.start >= 0):
            raise UsageError(f"{self.kind} from {self.start} to {self.end} s: times must be finite and not negative")
        if self.end - self.start < MIN_EVENT_SECONDS:
            raise UsageError(
                f"{self.kind} from {self.start} to {self.end} s is too short: {MIN_EVENT_SECONDS:g} s are needed"
            )


@dataclass(frozen=True, slots=True)
class Script:
    """One recording at a place: who walks there, and which anomalies happen."""

    duration: float | None  # seconds; None = endless
    walk_seed: int = 0  # who walks, when and where, and the weather
    events: tuple[ScriptedEvent, ...] = ()  # the truth, in order of time; with ``random_every`` there are more
    random_every: float | None = None  # seconds; endless scripts only: one anomaly in each span of this length

    def __post_init__(self) -> None:
        if self.duration is not None and not (math.isfinite(self.duration) and self.duration > 0):
            raise UsageError(f"script duration is {self.duration} s: give a positive number, or None for endless")
        if self.walk_seed < 0:
            raise UsageError(f"walk_seed is {self.walk_seed}: give a whole number of 0 or more")
        if self.random_every is not None:
            if self.duration is not None:
                raise UsageError("random_every belongs to endless scripts: use random_script() for a finite one")
            _check_every(self.random_every)
        if self.duration is not None and any(event.end > self.duration for event in self.events):
            raise UsageError(f"an event ends after the script's {self.duration} s: {max(e.end for e in self.events)} s")

    def events_between(self, start: float, end: float) -> tuple[ScriptedEvent, ...]:
        """Scheduled and random events that overlap the time from ``start`` to ``end`` (seconds)."""
        found = [event for event in self.events if event.start <= end and event.end >= start]
        if self.random_every is not None:
            spans = range(max(0, int(start // self.random_every)), int(max(end, 0) // self.random_every) + 1)
            drawn = (_random_event(self.walk_seed, span, self.random_every) for span in spans)
            found += [event for event in drawn if event.start <= end and event.end >= start]
        return tuple(found)


def normal_script(duration: float | None, walk_seed: int = 0) -> Script:
    """Walkers only, for ``duration`` seconds (None = for ever)."""
    return Script(duration, walk_seed)


def test_script(*, walk_seed: int = 1, duration: float = TEST_SECONDS) -> Script:  # noqa: PT028  no test: see below
    """Cyclist, cart, runner and bag, each in its own window, with equal spans of normal footage round them.

    Raises:
        UsageError: ``duration`` leaves less than 6 s of normal footage between two of them (57 s are needed).
    """
    quiet = (duration - sum(USUAL_SECONDS.values())) / (len(EventKind) + 1)
    if not quiet >= QUIET_SECONDS:
        least = sum(USUAL_SECONDS.values()) + QUIET_SECONDS * (len(EventKind) + 1)
        raise UsageError(f"duration is {duration} s: the test script needs {least:g} s or more")
    events = []
    now = 0.0
    for kind, seconds in USUAL_SECONDS.items():
        now += quiet
        events.append(ScriptedEvent(kind, now, now + seconds))
        now += seconds
    return Script(duration, walk_seed, tuple(events))


test_script.__test__ = False  # type: ignore[attr-defined]  # its name is fixed, and pytest would collect it


def random_script(duration: float | None, walk_seed: int = 0, *, every: float = 60.0) -> Script:
    """One anomaly of a random kind at a random time in each span of ``every`` seconds.

    A finite script names all of them in ``events``; an endless one answers :meth:`Script.events_between`.
    """
    if duration is None:
        return Script(None, walk_seed, random_every=every)
    _check_every(every)
    drawn = (_random_event(walk_seed, span, every) for span in range(math.ceil(duration / every)))
    return Script(duration, walk_seed, tuple(event for event in drawn if event.end <= duration))


def _check_every(every: float) -> None:
    if not (math.isfinite(every) and every >= MIN_RANDOM_EVERY):
        raise UsageError(f"every is {every} s: random events need {MIN_RANDOM_EVERY:g} s or more for each")


def _random_event(walk_seed: int, span: int, every: float) -> ScriptedEvent:
    rng = np.random.default_rng((walk_seed, span, 0xE7E27))
    kind = list(EventKind)[int(rng.integers(len(EventKind)))]
    seconds = USUAL_SECONDS[kind]
    start = span * every + rng.uniform(QUIET_SECONDS, every - QUIET_SECONDS - seconds)
    return ScriptedEvent(kind, float(start), float(start + seconds))
