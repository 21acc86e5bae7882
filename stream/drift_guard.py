"""Who may join a gallery to follow slow change, and how many: the guard against being led astray. Pure.

A gallery that learns by itself can be taught. Whoever shows up a little more each day, or leaves something that grows,
must not become normal that way. So every candidate is judged by the *anchor*, the version that was last enrolled while
somebody watched, not by what joined since: small steps then lead no farther than the first one could.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

DAY = 86_400.0
"""Seconds."""

AROUND_ALERT = 1800.0
"""Seconds before and after an alert of the same camera from which nothing is taken: what led to it may have stood in
the picture before, and what it left may stand there after."""

ANCHOR = 1.0
"""Highest score against the anchor, in its thresholds. So nothing joins that the enrolled gallery would raise an alert
about; what has drifted farther than that takes a new enrolment, by somebody who looks."""


AT_ONCE = 48
"""Frames that join at once. Which of them would silence an old alert is found out one by one."""


@dataclass(frozen=True, slots=True)
class FollowLimits:
    """How much may join."""

    hold: float  # s: a younger candidate is not decided about; somebody may still report what it shows
    day_part: float  # of the anchor's frames, in any 24 hours
    total_part: float  # of the anchor's frames, until it is enrolled again


@dataclass(frozen=True, slots=True)
class History:
    """What has joined since the anchor, as the manifest of the version in force tells."""

    anchor: str  # version
    anchor_frames: int
    joined: tuple[tuple[float, int], ...] = ()  # (Unix seconds, frames) of each time
    anchor_digest: str = ""  # of its manifest: numbers of versions are each machine's own; "" = not known

    @property
    def total(self) -> int:
        """Frames that joined since the anchor."""
        return sum(count for _, count in self.joined)

    def room(self, now: float, limits: FollowLimits) -> int:
        """How many may join now."""
        today = sum(count for time, count in self.joined if now - time < DAY)
        per_day = math.floor(limits.day_part * self.anchor_frames + 1e-9) - today
        in_all = math.floor(limits.total_part * self.anchor_frames + 1e-9) - self.total
        return max(0, min(per_day, in_all, AT_ONCE))

    def after(self, now: float, count: int) -> History:
        """With ``count`` more."""
        return replace(self, joined=(*self.joined, (now, count)))

    def to_json(self) -> dict[str, Any]:
        """For a manifest's note."""
        return {
            "anchor": self.anchor,
            "anchor_digest": self.anchor_digest,
            "anchor_frames": self.anchor_frames,
            "joined": [list(j) for j in self.joined],
        }


def history_of(note: Mapping[str, Any], *, version: str, frames: int, digest: str = "") -> History:
    """What the manifest of the version in force tells; a version that never followed anything is its own anchor.

    Raises:
        ValueError: what stands there is not what :meth:`History.to_json` wrote.
    """
    if (told := note.get("drift")) is None:
        return History(version, frames, anchor_digest=digest)
    try:
        joined = tuple((float(time), int(count)) for time, count in told["joined"])
        known = str(told.get("anchor_digest", ""))
        found = History(str(told["anchor"]), int(told["anchor_frames"]), joined, known)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"note.drift is not well formed: {error}") from None
    if found.anchor_frames < 1 or any(count < 0 for _, count in joined):
        raise ValueError("note.drift is not well formed: numbers of frames are negative")
    return found


@dataclass(frozen=True, slots=True)
class Told:
    """The time of one alert."""

    camera: str
    begin: float  # Unix seconds
    end: float  # Unix seconds


@dataclass(frozen=True, slots=True)
class Judged:
    """A candidate, and how far it lies from what was enrolled."""

    camera: str
    time: float  # Unix seconds
    strength: float | None  # score against the anchor, in its thresholds; None = it could not be scored
    fits: float  # of the whole picture to the anchor, see ``spade_core.scene_fit``


@dataclass(slots=True)
class Verdict:
    """What becomes of candidates, by their places in the list that was judged."""

    accepted: list[int] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)  # why -> how many
    for_good: list[int] = field(default_factory=list)  # refused, and will be the next time, too

    def take_back(self, place: int, reason: str) -> None:
        """One that was accepted does not join after all, and never will."""
        self.accepted.remove(place)
        self.refuse(place, reason, for_good=True)

    def refuse(self, place: int, reason: str, *, for_good: bool) -> None:
        """One that does not join."""
        self.refused[reason] += 1
        if for_good:
            self.for_good.append(place)


YOUNG = "younger than drift.hold_hours"
BY_ALERT = "within half an hour of an alert"
UNREADABLE = "cannot be scored"
FAR = "too far from what was enrolled"
FULL = "the limit of frames is reached"
SILENCES = "would silence an alert"
UNTOLD = "it cannot be judged whether an alert that lasted would be silent"


def too_early_or_told(
    candidates: Sequence[tuple[str, float]], alerts: Sequence[Told], *, now: float, hold: float
) -> Iterator[tuple[int, str, bool]]:
    """Candidates that are not even looked at: (place, reason, whether for good).

    Args:
        candidates: camera and Unix seconds of each.
        alerts: all that are known.
        now: Unix seconds.
        hold: s, see :class:`FollowLimits`.
    """
    for place, (camera, time) in enumerate(candidates):
        if not now - time >= hold:
            yield place, YOUNG, False
        elif any(a.camera == camera and a.begin - AROUND_ALERT <= time <= a.end + AROUND_ALERT for a in alerts):
            yield place, BY_ALERT, True


def judge(candidates: Sequence[Judged | None], *, room: int, farthest: float) -> Verdict:
    """Decides by what was enrolled, the oldest first.

    Args:
        candidates: None = already refused.
        room: how many may join, see :meth:`History.room`.
        farthest: highest fit of a picture that shows the scene.
    """
    verdict = Verdict()
    for place, found in enumerate(candidates):
        if found is None:
            continue
        if found.strength is None or not math.isfinite(found.strength):
            verdict.refuse(place, UNREADABLE, for_good=True)
        elif not (found.strength <= ANCHOR and found.fits <= farthest):
            verdict.refuse(place, FAR, for_good=True)
        elif len(verdict.accepted) >= room:
            verdict.refuse(place, FULL, for_good=False)
        else:
            verdict.accepted.append(place)
    return verdict
