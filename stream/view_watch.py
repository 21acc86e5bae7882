"""When a camera counts as moved: not by one odd picture, and in words that tell the operator what to do.

One pure state machine per camera, used by the worker. It has no clock and looks at no pictures: it is told the time,
and how each picture that was checked lies to the enrolled scene (see ``spade_core.placement``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

EVERY = 1.0
"""Seconds between two checks: often enough for an answer after some seconds, seldom enough to cost nothing."""

LEAST_CHECKS = 5
"""Checks that must fail, however slowly pictures come: one that is odd may be followed by another."""

PAUSE = 5.0
"""Seconds; a longer time between two failed checks counts as no more than that: nobody looked in it."""

BACK = 3
"""Checks in a row that must be good before scores are trusted again."""

NEWS_AFTER = 10.0
"""Seconds for which a reason stands: somebody who turns the camera back must not fill the log."""


class Placed(Protocol):
    """How a picture lies to the scene that was enrolled, as ``spade_core.placement.Placement`` says it."""

    @property
    def in_place(self) -> bool | None:
        """None: nothing can be said."""

    @property
    def displaced(self) -> bool:
        """The scene is seen, but elsewhere in the picture."""

    @property
    def agreement(self) -> float:
        """With what stands still in the scene."""

    @property
    def normal(self) -> tuple[float, float]:
        """Lowest and highest agreement of normal pictures."""

    @property
    def shift(self) -> tuple[float, float]:
        """To the right and down, in parts of the picture."""

    @property
    def turn(self) -> float:
        """Degrees clockwise."""

    @property
    def zoom(self) -> float:
        """Above 1: things look larger."""


@dataclass(frozen=True, slots=True)
class ViewFault:
    """The camera shows another view than the one that was enrolled: its scores mean nothing."""

    reason: str  # a sentence for the operator, with the remedy
    since: float  # s, the time of the first check that failed


class ViewWatch:
    """Watches the view of one camera.

    Args:
        camera: id, for the remedy.
        after: seconds, above 0, for which every check must have failed.
    """

    def __init__(self, camera: str, after: float) -> None:
        self._camera, self._after = camera, after
        self.fault: ViewFault | None = None  # in force
        self._checked = -math.inf  # s, time of the last check
        self._failed, self._failing = 0, 0.0  # checks that failed without a good one between; for so many seconds
        self._failed_first = 0.0  # s
        self._good = 0  # good checks in a row
        self._told = -math.inf  # s, when the reason was last put into words

    def due(self, time: float) -> bool:
        """Whether a picture should be checked now. ``time``: seconds of a monotonic clock."""
        return time - self._checked >= EVERY

    def see(self, time: float, placement: Placed) -> ViewFault | None:
        """Takes a check; returns the fault that is in force after it.

        A picture that says nothing (too dark, for instance) changes nothing, and the time up to it does not count.

        Args:
            time: seconds of a monotonic clock.
            placement: of the picture.
        """
        if placement.in_place is True:
            self._pass()
        elif placement.in_place is False:
            self._fail(time, placement)
        self._checked = time
        return self.fault

    def forget(self) -> ViewFault | None:
        """The view cannot be judged any more: no fault is in force, and nothing that was seen counts."""
        self.fault, self._failed, self._good = None, 0, 0
        return None

    def _pass(self) -> None:
        self._good += 1
        self._failed = 0
        if self._good >= BACK:
            self.fault = None

    def _fail(self, time: float, placement: Placed) -> None:
        self._good = 0
        if not self._failed:
            self._failed_first, self._failing = time, 0.0
        else:
            self._failing += min(time - self._checked, PAUSE)
        self._failed += 1
        if self.fault is None and (self._failed < LEAST_CHECKS or self._failing < self._after):
            return
        if self.fault is None or time - self._told >= NEWS_AFTER:
            since = self.fault.since if self.fault else self._failed_first
            self.fault, self._told = ViewFault(reason_of(placement, self._camera), since), time


def reason_of(placement: Placed, camera: str) -> str:
    """What is wrong with the view of a camera, and what to do about it, in a sentence."""
    again = f"enroll the scene again (spade-stream enroll CONFIG --camera {camera})"
    if placement.displaced:
        return f"the picture is {_where(placement)} from what was enrolled: put the camera back, or {again}"
    lowest, highest = placement.normal
    return (
        "the picture does not show what was enrolled any more "
        f"(agreement {max(0.0, placement.agreement):.2f}, normal {lowest:.2f} to {highest:.2f}): put the camera back, "
        f"or, where the place or its light has changed, {again}"
    )


def _where(placement: Placed) -> str:
    right, down = (round(100 * part) for part in placement.shift)
    shifts = [f"{abs(right)} % to the {'right' if right > 0 else 'left'}"] if right else []
    shifts += [f"{abs(down)} % {'down' if down > 0 else 'up'}"] if down else []
    parts = [f"shifted by {' and '.join(shifts)}"] if shifts else []
    if placement.turn:
        way = "clockwise" if placement.turn > 0 else "counter-clockwise"
        parts.append(f"turned by about {abs(placement.turn):g} degrees {way}")
    if placement.zoom != 1.0:
        parts.append(
            f"zoomed {'in' if placement.zoom > 1 else 'out'} about {max(placement.zoom, 1 / placement.zoom):.1f} times"
        )
    return ", ".join(parts) or "displaced"
