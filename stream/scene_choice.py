"""Which of its scenes a camera shows: by day and by night, or at each preset of a camera that turns.

One pure state machine per camera, used by the worker. It has no clock and looks at no pictures: it is told the time of
each frame and, where the picture decides, how well the frame fits each gallery (``ScoringEngine`` measures that).

By schedule the hours decide alone, by the frame's own time, so that a recording is scored as it was live. By picture a
scene is left only where another one, in several checks in a row, fits as well as new normal footage does, and clearly
better than the scene in force. Until that is certain nothing is scored, but not for long. Someone who walks up to the
camera fits no gallery, so nobody makes it look at another scene.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo

DAY = 24 * 60
"""Minutes."""

EVERY = 1.0
"""Seconds between two checks of a picture: one costs a nearest search in each of the camera's galleries."""

FITS = 1.4
"""Highest fit of a picture that shows a scene, in units of what nine of ten of the scene's own frames keep to (see
``spade_core.scene_fit``). New normal frames of Ped2 and vtest, as they are, gray, and as if by infrared light, come to
0.3 to 1.3 in their own gallery, and to 1.47 at least in any other. Behind somebody who hides a sixth of the picture
they come to 1.2 to 2.0 in their own, and to 1.5 at least in the others."""

CLEARLY = 1.25
"""The scene in force must fit worse by this factor. Where light changes, both fit alike for a while: then nothing is
gained by a change. Day and infrared pictures of the same place differ by 1.3 at least in these recordings."""

CHECKS = 4
"""Checks in a row that must say the same: one odd picture is none. One fewer than ``ViewWatch`` needs to call a camera
moved, so that a preset which is another scene is never called that."""

TURNING = 5.0
"""Seconds for which a picture that shows none of the scenes is not scored: cameras take as long from one preset to
another. After that it is scored again, so that who holds something before the lens is told of."""

MOST_DOUBTS = 5
"""Checks that may put off scoring because another scene seems to be shown, until it is settled which one is: a change
takes one fewer. Where light hovers between two scenes it is scored by the one in force instead, not blind."""

_HOURS = re.compile(r"^([01]\d|2[0-4]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)$")


@dataclass(frozen=True, slots=True)
class Window:
    """Hours of the day, by local time; they may run past midnight."""

    begin: int  # minutes since midnight, 0..1439
    end: int  # minutes since midnight, 1..1440; not in it any more

    def __contains__(self, minute: object) -> bool:
        if not isinstance(minute, int):
            return False
        if self.begin < self.end:
            return self.begin <= minute < self.end
        return minute >= self.begin or minute < self.end


def parse_window(text: str) -> Window:
    """The hours in a text like ``06:00-20:00``.

    Raises:
        ValueError: it is none, or no time lies between its two ends; says how it should look.
    """
    found = _HOURS.match(text)
    if found is None:
        raise ValueError(f"{text!r} are no hours; write them like 06:00-20:00, or 20:00-06:00 past midnight")
    hours, minutes, until_hours, until_minutes = map(int, found.groups())
    begin, end = 60 * hours + minutes, 60 * until_hours + until_minutes
    if max(begin, end) > DAY or begin == end:
        raise ValueError(f"{text!r}: no time lies between its two ends; the whole day is 00:00-24:00")
    return Window(begin % DAY, end or DAY)


@dataclass(frozen=True, slots=True)
class SceneEntry:
    """One of a camera's scenes."""

    scene: str
    hours: Window | None = None  # None: otherwise


@dataclass(frozen=True, slots=True)
class ScenePlan:
    """The scenes of one camera, and how one of them is chosen."""

    entries: tuple[SceneEntry, ...]
    by: Literal["schedule", "picture"]
    timezone: str | None = None  # IANA name of the zone that the hours are in; None = the machine's

    @property
    def scenes(self) -> tuple[str, ...]:
        """Their names, each once, in the order of the configuration."""
        return tuple(dict.fromkeys(entry.scene for entry in self.entries))


def scheduled(entries: Sequence[SceneEntry], minute: int) -> str | None:
    """The scene of a minute of the day: the first whose hours it lies in, else the one without hours; None = a gap."""
    for entry in entries:
        if entry.hours is not None and minute in entry.hours:
            return entry.scene
    return next((entry.scene for entry in entries if entry.hours is None), None)


def plan_problems(entries: Sequence[SceneEntry], by: Literal["schedule", "picture"]) -> list[str]:
    """What is wrong with a camera's scenes, in words; nothing where all is right."""
    names = [entry.scene for entry in entries]
    if by == "picture":
        timed = [entry.scene for entry in entries if entry.hours]
        problems = [f"hours of {name} have no effect with 'choose: picture'; remove them" for name in timed]
        twice = {name for name in names if names.count(name) > 1}
        return problems + [f"scene {name} stands there twice" for name in sorted(twice)]
    without = [entry.scene for entry in entries if entry.hours is None]
    if len(without) > 1:
        return [f"{' and '.join(without)} have no hours; one scene at most, which is then in force at all other times"]
    return _holes(entries)


def _holes(entries: Sequence[SceneEntry]) -> list[str]:
    of_minute = [scheduled(entries, minute) for minute in range(DAY)]
    problems = [
        f"scene {name} is never in force: the others leave it no time"
        for name in dict.fromkeys(entry.scene for entry in entries)
        if name not in of_minute
    ]
    if None in of_minute:
        first = of_minute.index(None)
        length = next((n for n, scene in enumerate(of_minute[first:]) if scene is not None), DAY - first)
        gap = f"{_clock(first)}-{_clock(first + length)}"
        problems.append(f"no scene is in force at {gap}: give hours for that, or one scene without hours")
    return problems


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


@dataclass(frozen=True, slots=True)
class Switch:
    """Another scene is in force from now on."""

    before: str
    scene: str
    reason: str  # in words


class SceneChoice:
    """Chooses among the scenes of one camera.

    Args:
        plan: its scenes. The first one is in force until something says otherwise.
    """

    def __init__(self, plan: ScenePlan) -> None:
        self.plan = plan
        self.scene = plan.entries[0].scene
        self._zone = None if plan.timezone is None else ZoneInfo(plan.timezone)
        self._checked = -math.inf  # s, time of the last check
        self._chosen = False  # something has said which scene it is
        self._beaten = 0  # checks in a row in which another one, whichever, fitted clearly better
        self._settled = 0  # checks in a row in which none fitted better
        self._in_view = 0  # checks in a row that had the scene in force in view, whichever fitted best
        self._doubts = 0  # checks that put off scoring since it was last settled
        self._suspicious = self._above = False  # a score has just risen above the threshold; the last one was above
        self._lost: float | None = None  # s, of the first check since then that had the scene in force out of view
        self.doubt = ""  # why a score by the scene in force would mean nothing yet; empty: there is no doubt

    def at(self, time: float) -> Switch | None:
        """The frame's time decides, where a schedule is to; returns the change, if there is one.

        Args:
            time: Unix seconds of the frame.
        """
        if self.plan.by != "schedule":
            return None
        local = datetime.fromtimestamp(time, self._zone)
        scene = scheduled(self.plan.entries, 60 * local.hour + local.minute) or self.scene
        self._chosen = True
        return self._change(scene, f"by schedule, at {local:%H:%M}")

    def due(self, time: float) -> bool:
        """Whether a picture should be compared with the galleries now. ``time``: of the frame, seconds."""
        return self.plan.by == "picture" and (self._suspicious or abs(time - self._checked) >= EVERY)

    def hear(self, *, above: bool) -> None:
        """Told of each score. One that rises above the threshold may come of another scene, so that the next picture is
        compared at once, before an alert can start.
        """
        self._suspicious, self._above = self._suspicious or (above and not self._above), above

    def see(self, time: float, fits: Mapping[str, float]) -> Switch | None:
        """Takes a check; returns the change, if there is one.

        Args:
            time: seconds, of the frame.
            fits: how far off the picture lies from the normal frames of each scene, 1 = as its own frames do; a scene
                that cannot be compared with is absent, one whose view it does not show is infinite.
        """
        self._checked, self._suspicious, self.doubt = time, False, ""
        known = {scene: fit for scene, fit in fits.items() if scene in self.plan.scenes and not math.isnan(fit)}
        best = min(known, key=lambda scene: known[scene], default=self.scene)
        away = math.isinf(known.get(self.scene, 0.0))
        self._note_in_view(known)
        if not self._chosen and math.isfinite(known.get(best, math.inf)):
            self._chosen = True  # nothing speaks for the scene that merely comes first
            return self._change(best, f"by the picture, the first that was seen (fit {known[best]:.2f})", away=away)
        if not self._is_clear(best, known):
            self._beaten = 0
            self._note_settled(best, known)
            self._note_lost(time, known)
            return None
        # By whom does not matter: of three scenes two may take turns at fitting best, and the third is wrong all along.
        self._beaten, self._settled = self._beaten + 1, 0
        if self._beaten >= CHECKS:
            return self._change(best, f"by the picture ({_in_words(self.scene, best, known)})", away=away)
        if self._doubts < MOST_DOUBTS:
            self._doubts += 1
            self.doubt = f"it seems to show scene {best} instead of {self.scene}; that will be certain in a moment"
        return None

    def _note_settled(self, best: str, fits: Mapping[str, float]) -> None:
        """Only where the scene in force fits best again, not merely well enough: else doubt came and went at dusk."""
        fitting = best == self.scene and math.isfinite(fits.get(best, math.inf))
        self._settled = self._settled + 1 if fitting else 0
        if self._settled >= CHECKS:
            self._doubts = 0

    def _note_in_view(self, fits: Mapping[str, float]) -> None:
        """A camera that shows its scene for a while may turn again, also where another scene fits as well."""
        self._in_view = self._in_view + 1 if math.isfinite(fits.get(self.scene, math.inf)) else 0
        if self._in_view >= CHECKS:
            self._lost = None

    def _note_lost(self, time: float, fits: Mapping[str, float]) -> None:
        if math.isfinite(fits.get(self.scene, 0.0)):
            return
        self._lost = time if self._lost is None else min(self._lost, time)
        if time - self._lost < TURNING:
            self.doubt = f"it does not show scene {self.scene}; it may be on its way to another one"

    def _is_clear(self, best: str, fits: Mapping[str, float]) -> bool:
        if best == self.scene or not fits:
            return False
        # A scene in force that nothing can be compared with is no reason to stay blind.
        return fits[best] <= FITS and fits.get(self.scene, math.inf) >= CLEARLY * fits[best]

    def _change(self, scene: str, reason: str, *, away: bool = False) -> Switch | None:
        if scene == self.scene:
            return None
        switch = Switch(self.scene, scene, reason)
        self.scene, self._beaten, self._settled, self._in_view = scene, 0, 0, 0
        if away:  # the camera turned, and may soon again; at dusk both are in view, and changes must not make it blind
            self._doubts, self._lost = 0, None
        return switch


def _in_words(scene: str, best: str, fits: Mapping[str, float]) -> str:
    worse = fits.get(scene)
    if worse is None:
        return f"fit {fits[best]:.2f}; {scene} cannot be compared with"
    return f"fit {fits[best]:.2f}, {scene} " + (f"{worse:.2f}" if math.isfinite(worse) else "is not in view")
