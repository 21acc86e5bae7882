"""When scores become an alert: one pure state machine per camera. The worker feeds it; it imports only ``messages``.

A score above the threshold in one frame is noise more often than news, and one event must not become fifty alerts.
The machine therefore asks for a minimum duration before an alert starts, lets go at a lower level than it took hold,
ends an alert only after a while of quiet, and caps how often it speaks. It has no clock and does no I/O: time is the
frame time of each observation, so that a replay decides exactly what the live run decided.

::

    idle ---above the threshold---> candidate ---confirmed---> open ---quiet for end_after---> idle
                                      |    ^                     |
              two in a row below <----+    +-- held (cooldown    +-- update every update_every
                                               or rate cap)

Words used here: an observation is *above* when ``score > threshold``; its *strength* is ``score / threshold``, so that
peaks compare even where the threshold changes with the scene. An *excursion* begins with an observation above.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from stream.messages import Phase, iso_time

HOUR = 3600.0  # s, the window of the rate cap

BLIND = 10.0
"""Seconds without a score after which an open alert ends: what passes within them is a hiccup. The caller ends it."""

# Frame times are Unix seconds in float64 (steps of 2.4e-7 s): 0.6 s at 10 fps may come as 0.5999999. Half of the
# published resolution (ms) is far below any frame interval and far above that rounding.
TIME_TOLERANCE = 0.0005  # s


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """How scores become alerts. The defaults suit people and vehicles before a fixed camera at 1 to 25 fps.

    Raises:
        ValueError: a value is out of its bounds; the message names the field.
    """

    min_duration: float = 0.6  # s above before an alert starts: longer than a flash, shorter than a run past
    release_ratio: float = (
        0.8  # of the threshold: an open alert goes on at or above it (or midway from what is usual, if more)
    )
    end_after: float = 2.0  # s below the release level before an alert ends: people pass behind posts and one another
    update_every: float = 5.0  # s between updates while open and above: often enough to follow, seldom enough to read
    cooldown: float = 5.0  # s after an end in which only a stronger excursion starts at once (see AlertPolicy)
    max_alerts_per_hour: int = 60  # starts in any hour: more than anybody reads; protects sinks and disk

    def __post_init__(self) -> None:
        for name in ("min_duration", "end_after", "update_every", "cooldown"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} is {value!r}; it must be a finite number of seconds, 0 or more")
        if not 0 < self.release_ratio <= 1:
            raise ValueError(f"release_ratio is {self.release_ratio!r}; it must be above 0 and at most 1")
        if isinstance(self.max_alerts_per_hour, bool) or not isinstance(self.max_alerts_per_hour, int):
            raise ValueError(f"max_alerts_per_hour is {self.max_alerts_per_hour!r}; it must be a whole number")
        if self.max_alerts_per_hour < 1:
            raise ValueError(f"max_alerts_per_hour is {self.max_alerts_per_hour!r}; it must be 1 or more")


@dataclass(frozen=True, slots=True)
class Observation:
    """One scored frame, as the policy sees it."""

    time: float  # Unix seconds: FramePacket.frame_time
    seq: int  # FramePacket.seq
    score: float  # any finite number, in the unit of the threshold
    threshold: float  # finite and above 0
    usual: float = 0.0  # finite: a score that normal frames of the scene seldom exceed; 0 = not known

    @property
    def above(self) -> bool:
        """Whether the score is above the threshold."""
        return self.score > self.threshold

    @property
    def strength(self) -> float:
        """Score in thresholds."""
        return self.score / self.threshold


@dataclass(frozen=True, slots=True)
class Decision:
    """One phase of one alert, to be published.

    ``observation`` is the frame to show: the current one at start and update, for that is what an operator wants to
    see and what the caller holds, and the peak at the end, because the closing frame shows nothing.
    """

    phase: Phase
    alert_id: str
    started_at: float  # Unix seconds: first frame of the excursion
    until: float  # Unix seconds: last frame so far at or above the release level; at the end, when the event was over
    at: float  # Unix seconds: when the decision fell; at the end later than ``until`` by end_after or more
    observation: Observation  # the frame that this decision shows
    peak: Observation  # the strongest frame of the excursion so far (of equals, the first)


class Suppression(StrEnum):
    """Why a confirmed excursion did not become an alert."""

    COOLDOWN = "cooldown"
    RATE_CAP = "rate_cap"


@dataclass(slots=True)
class _Candidate:
    """An excursion that is not an alert yet."""

    first: Observation
    peak: Observation
    run: float | None  # time at which the present unbroken run above began; None right after a miss
    earlier_run: float | None = None  # the same of the run before the last miss
    held: Suppression | None = None  # confirmed, but not allowed to start


@dataclass(slots=True)
class _Open:
    """An alert that has started and not ended."""

    alert_id: str
    started_at: float
    peak: Observation
    until: float  # time of the last observation at or above the release level
    told: float  # time of the last decision
    quiet_since: float | None = None  # time of the first observation below the release level since then


class AlertPolicy:
    """The alert state of one camera.

    **Start.** An alert starts when some span that ends with the current observation begins and ends above the
    threshold, holds at most *one* observation that is not above, and lasts ``min_duration``. That needs two
    observations, however slow the camera and however many frames were dropped; two in a row that are not above end the
    candidate. Time without frames counts: evidence lies in the frames that were seen, and there the score was above.

    **End.** An open alert ends when it has been *seen* below the release level for ``end_after``, counted from the
    first such observation: a single low frame of a slow camera never ends it. Updates wait while it is below.

    **Cooldown.** What comes back right after an end is mostly the same thing again. Within ``cooldown`` after an end a
    confirmed excursion is held unless it is stronger than the ended alert's peak: then it is something else and starts
    at once. A held one that still goes on when the cooldown is over starts then. Only what is weaker, and over before
    that, is lost, and it is counted in :attr:`suppressed`.

    **Rate cap.** Over ``max_alerts_per_hour`` starts within an hour, excursions are held in the same way.

    **Time** must not run backwards within a segment. Where it does (a stepped clock, a new recording without
    :meth:`finish`), spans across the step mean nothing: the open alert ends, candidate and cooldown are forgotten,
    the observation is taken as the first of a new segment, and :attr:`time_breaks` counts it.
    """

    def __init__(self, camera: str, settings: PolicySettings) -> None:
        self.camera = camera
        self.settings = settings
        self._candidate: _Candidate | None = None
        self._open: _Open | None = None
        self._cooling: tuple[float, float] | None = None  # (time of the last end, strength of its peak)
        self._starts: deque[float] = deque()  # times of the starts within the last hour, oldest first
        self._last_time = -math.inf
        self._is_peak = False
        self._suppressed = dict.fromkeys(Suppression, 0)
        self._time_breaks = 0

    def __repr__(self) -> str:
        return f"AlertPolicy({self.camera!r}, open={self.open_alert!r}, held={self.held!r})"

    @property
    def open_alert(self) -> str | None:
        """Id of the alert that has started and not ended."""
        return None if self._open is None else self._open.alert_id

    @property
    def is_peak(self) -> bool:
        """Whether the last observation is the strongest so far of the open alert or candidate.

        If so, keep that frame's pictures in place of those kept before: the end decision will show them. Publish the
        decisions of the same ``observe`` first, for an alert that ends there refers to the pictures kept until then.
        """
        return self._is_peak

    @property
    def held(self) -> Suppression | None:
        """Why a confirmed excursion that is going on now may not start; None where there is none."""
        return None if self._candidate is None else self._candidate.held

    @property
    def suppressed(self) -> Mapping[Suppression, int]:
        """Confirmed excursions that were over before they were allowed to start, by reason."""
        return MappingProxyType(self._suppressed)

    @property
    def time_breaks(self) -> int:
        """How often time ran backwards."""
        return self._time_breaks

    def observe(self, observation: Observation) -> tuple[Decision, ...]:
        """Takes the next scored frame; returns what is to be published, oldest first.

        Raises:
            ValueError: time, score or threshold is not finite, or the threshold is not above 0. A failed inference must
                be reported as a state, never passed in as a score. The policy is unchanged.
        """
        self._check(observation)
        ended: tuple[Decision, ...] = ()
        if observation.time < self._last_time:
            self._time_breaks += 1
            ended = self.finish(self._last_time)
        self._last_time = observation.time
        self._is_peak = False
        if self._open is not None:
            return self._follow(self._open, observation)
        return ended + self._watch(observation)

    def finish(self, time: float) -> tuple[Decision, ...]:
        """The segment or the stream is over, or the worker drains: an open alert ends at ``time`` (Unix seconds).

        The next observation begins a new segment and may carry any time. Nothing is left of this one but the starts
        that the rate cap counts. May be called twice.
        """
        if not math.isfinite(time):
            raise ValueError(f"camera {self.camera!r}: finish time is {time!r}; it must be finite Unix seconds")
        decisions = () if self._open is None else (self._end(self._open, max(time, self._last_time)),)
        self._drop_candidate()
        self._cooling = None
        self._last_time = -math.inf
        self._is_peak = False
        return decisions

    def _check(self, observation: Observation) -> None:
        where = f"camera {self.camera!r}, frame {observation.seq}"
        for name in ("time", "score", "threshold", "usual"):
            value = getattr(observation, name)
            if not math.isfinite(value):
                raise ValueError(f"{where}: {name} is {value!r}; report the failure as a camera state, not as a score")
        if observation.threshold <= 0:
            raise ValueError(f"{where}: threshold is {observation.threshold!r}; calibrate the scene to one above 0")

    def _watch(self, observation: Observation) -> tuple[Decision, ...]:
        """No alert is open."""
        candidate = self._candidate
        if candidate is None:
            if observation.above:
                self._candidate = _Candidate(first=observation, peak=observation, run=observation.time)
                self._is_peak = True
            return ()
        if not observation.above:
            if candidate.run is None:
                self._drop_candidate()
            else:
                candidate.earlier_run, candidate.run = candidate.run, None
            return ()
        if observation.strength > candidate.peak.strength:
            candidate.peak = observation
            self._is_peak = True
        if candidate.run is None:
            candidate.run = observation.time
        began = candidate.run if candidate.earlier_run is None else candidate.earlier_run
        if not _reached(observation.time - began, self.settings.min_duration):
            return ()
        candidate.held = self._why_hold(candidate, observation.time)
        return () if candidate.held is not None else (self._start(candidate, observation),)

    def _follow(self, alert: _Open, observation: Observation) -> tuple[Decision, ...]:
        """An alert is open."""
        if observation.strength > alert.peak.strength:
            alert.peak = observation
            self._is_peak = True
        if observation.score >= release_level(self.settings, observation.threshold, observation.usual):
            alert.until, alert.quiet_since = observation.time, None
            # Only a frame above the threshold shows what the alert is about.
            if not observation.above or not _reached(observation.time - alert.told, self.settings.update_every):
                return ()
            alert.told = observation.time
            return (_decision(Phase.UPDATE, alert, observation, at=observation.time),)
        if alert.quiet_since is None:
            alert.quiet_since = observation.time
            return ()
        if not _reached(observation.time - alert.quiet_since, self.settings.end_after):
            return ()
        return (self._end(alert, observation.time),)

    def _start(self, candidate: _Candidate, observation: Observation) -> Decision:
        self._candidate = None
        self._starts.append(observation.time)
        self._open = _Open(
            alert_id=alert_id(self.camera, candidate.first),
            started_at=candidate.first.time,
            peak=candidate.peak,
            until=observation.time,
            told=observation.time,
        )
        return _decision(Phase.START, self._open, observation, at=observation.time)

    def _end(self, alert: _Open, time: float) -> Decision:
        self._open = None
        self._cooling = (time, alert.peak.strength)
        return _decision(Phase.END, alert, alert.peak, at=time)

    def _why_hold(self, candidate: _Candidate, time: float) -> Suppression | None:
        # A start in the future was made before the clock stepped back: it counts as one made now, or it would count
        # until that future is past.
        self._starts = deque(min(start, time) for start in self._starts if start > time - HOUR)
        if len(self._starts) >= self.settings.max_alerts_per_hour:
            return Suppression.RATE_CAP
        if self._cooling is not None:
            ended, strength = self._cooling
            if candidate.peak.strength <= strength and not _reached(time - ended, self.settings.cooldown):
                return Suppression.COOLDOWN
        return None

    def _drop_candidate(self) -> None:
        if self._candidate is not None and self._candidate.held is not None:
            self._suppressed[self._candidate.held] += 1
        self._candidate = None


def release_level(settings: PolicySettings, threshold: float, usual: float) -> float:
    """The score below which an open alert begins to end; see :class:`Observation`."""
    # Where normal frames often come near the threshold, an alert would else never end: there it ends below the
    # middle between what is usual and the threshold, as far from the one as from the other.
    return min(max(settings.release_ratio * threshold, (usual + threshold) / 2), threshold)


def alert_id(camera: str, first: Observation) -> str:
    """``CAMERA-YYYYMMDDTHHMMSS.mmmZ-HASH``: the same camera and first frame give the same id, in every run.

    It is safe as a file name: other characters of the camera than letters, digits, ``_``, ``.`` and ``-`` become ``-``
    and it is cut at 64, while the hash covers the camera's exact name, the time in ms and the frame's ``seq``.
    """
    milliseconds = round(first.time * 1000)
    digest = hashlib.sha256(f"{camera}\0{milliseconds}\0{first.seq}".encode()).hexdigest()[:8]
    stamp = iso_time(milliseconds / 1000).replace("-", "").replace(":", "")
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", camera).lstrip(".-")[:64] or "camera"
    return f"{name}-{stamp}-{digest}"


def _decision(phase: Phase, alert: _Open, shown: Observation, *, at: float) -> Decision:
    return Decision(
        phase=phase,
        alert_id=alert.alert_id,
        started_at=alert.started_at,
        until=alert.until,
        at=at,
        observation=shown,
        peak=alert.peak,
    )


def _reached(span: float, needed: float) -> bool:
    return span >= needed - TIME_TOLERANCE
