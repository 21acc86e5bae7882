"""Turns the time stamps of a video into a media time that never runs backwards. Used by ``video``; pure."""

from __future__ import annotations

STUCK = 25
"""Frames with one and the same time stamp after which a camera's clock counts as standing still: a second's worth at
the usual rate. Fewer are frames that it sent late and stamped together."""


class MediaClock:
    """Seconds since the first frame, bridging what time stamps do in the field: missing, repeated, jumping, wrapping
    round (MPEG-TS after 26.5 hours), standing still.

    Args:
        interval: nominal seconds between frames, for where the time stamps say nothing usable.
        longest_gap: a longer step forwards is a jump of the source's clock and not of the scene, and is replaced by
            ``interval``; None = every step forwards is believed (recordings pause), and a clock that stands still too.
    """

    def __init__(self, interval: float, *, longest_gap: float | None = None) -> None:
        self._interval = interval
        self._longest_gap = longest_gap
        self._now: float | None = None  # what was last handed out
        self._shift: float | None = None  # media time minus time stamp; None until there was a time stamp
        self._last: float | None = None  # the time stamp before this one
        self._still = 0  # frames in a row with that time stamp
        self.jumps = 0  # steps that were not believed so far
        self.last_jump = 0.0  # s: how far the latest of them went; negative = backwards

    def at(self, timestamp: float | None) -> float:
        """Media time of the next frame, given its time stamp in seconds (None = it has none)."""
        self._still = self._still + 1 if timestamp is not None and timestamp == self._last else 0
        self._last = timestamp
        if self._now is None:
            self._now = 0.0
            if timestamp is not None:
                self._shift = -timestamp
            return self._now
        bridged = self._now + self._interval
        if timestamp is None:
            self._now = bridged
        elif self._shift is None or not self._believed(timestamp + self._shift - self._now):
            self._shift = bridged - timestamp
            self._now = bridged
        else:
            self._now = max(self._now, timestamp + self._shift)
        return self._now

    def _believed(self, step: float) -> bool:
        if self._longest_gap is not None and self._still >= STUCK:
            return False
        # Up to one interval backwards is jitter round an estimated time, and not a new start of the source's clock.
        plausible = step >= -self._interval and (self._longest_gap is None or step <= self._longest_gap)
        if not plausible:
            self.jumps, self.last_jump = self.jumps + 1, step
        return plausible
