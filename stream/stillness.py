"""Whether a picture is frozen: nothing moves in it, not even the sensor's noise. Used by ``picture``; pure.

A live sensor's noise is new in every picture and at every pixel. A still picture comes again as it was: bit for bit,
or as one of the few pictures that a lossy encoder makes of it (its key frames, and what it adds to them). So each
look is compared with all those of the last minute, and what counts is how far it is from the nearest of them: its
*newness*, mean absolute difference in grey levels.

Measured with x264 (ultrafast to medium, 10 frames/s, key frames every 1 to 10 s, 10 kbit/s to 5 Mbit/s) on three
scenes, one of them dark, at 640x360 for 100 s and at 1280x720 for 26 s:

- A still picture at constant quality, or with bit rate to spare: newness 0.000 once the first 20 s are over, rarely
  0.02. Found after 30 to 50 s.
- A still picture that an encoder cannot hold at its bit rate, so that its quality hunts: below 0.1 in most looks, up
  to 1.2 in single ones.
- A live picture with noise of 0.5 to 4 grey levels: where the encoder has the bits, 0.4 to 3 in every look; where it
  has not, 0.00 between key frames (it leaves the noise out) and 0.4 to 2.5 at each key frame. Never frozen, as far as
  it was judged: noise of 0.5 to 1 through 16 encoders, up to 4 without one.
- Ped2, the PETS recording (also at 5% of its brightness) and the synthetic campus: 0.15 and more in every look.

Hence two rules. By itself: no look in all the time was new by ``NEW``. By comparison, for a camera whose noise was
seen in every picture for minutes: no ``LIVELY`` looks in a row reached ``USUAL_PART`` of the least that was usual
(where it was found, after 30 to 70 s: five of twelve such streams). What neither finds counts as live: a still picture
of hunting quality on a camera whose pictures were never all new. And a live one counts as frozen where key frames are
rarer than the time allows, and nothing but them is new.
"""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np
from numpy.typing import NDArray

NEW = 0.1
"""Grey levels of newness from which a picture is new."""

LEAP, LEAPS = 20, 4
"""So many pixels that differ by so many grey levels are something that moves, however small: a walker far away. Codecs
alter single pixels of a still picture by up to 18."""

WIDTH = 160
"""Pixels across that are compared: few enough to be quick, and a walker far away still covers a few."""

MEMORY = 64
"""Looks kept: more than a minute, so that an encoder's cycle of pictures comes round in it."""

USUAL_PART = 0.25
LIVELY = 3
"""Part of the usual newness that this many looks in a row must reach. Of a still picture whose quality hunts, one look
in two is as good as not new; with noise in every picture, none is."""

USUAL_LEAST = 0.3
"""Grey levels: a camera whose usual newness is less does not show its noise in every picture, and rule two is off."""

_WINDOW = 30  # looks in which the usual newness is found, at least; its lowest fifth says whether every picture is new
_LOWEST = 0.2
_WINDOWS_NEEDED = 10  # 5 minutes
_WINDOWS_KEPT = 120  # an hour: evening comes, and a square empties


class Stillness:
    """Judges one camera, one look after the other.

    Args:
        after: seconds without anything new after which the picture is frozen.
    """

    def __init__(self, after: float) -> None:
        self._after = after
        self._past: deque[NDArray[np.uint8]] = deque(maxlen=MEMORY)
        self._usual = _Usual(looks=max(_WINDOW, round(after)))
        self._row = 0  # looks in a row that reached the part of the usual
        self._new_at = 0.0  # s, when the picture was last new, by rule one
        self._lively_at = 0.0  # s, the same by rule two
        self._exact = True  # nothing but repetitions, bit for bit, since it was new

    def look(self, pixels: NDArray[np.uint8], time: float) -> str | None:
        """Why the picture is frozen, in words; None = it is not.

        Args:
            pixels: (H, W) uint8, always of one size; neither averaged nor smoothed.
            time: seconds, monotonic.
        """
        step = max(1, round(pixels.shape[1] / WIDTH))
        sample = np.ascontiguousarray(pixels[::step, ::step])
        newness, leaps = self._newness(sample)
        self._past.append(sample)
        self._note(newness, leaps, time)
        since = min(self._new_at, self._lively_at)
        if time - since < self._after:
            self._usual.learn(newness)
            return None
        self._usual.forget_latest()
        what = "the camera repeats itself" if self._exact else "nothing in it is new but the flicker of its coding"
        return f"the picture has not changed for {time - since:.0f} s: {what}"

    def _newness(self, sample: NDArray[np.uint8]) -> tuple[float, int]:
        if not self._past:
            return float("inf"), 0
        nearest = min(self._past, key=lambda past: cv2.norm(past, sample, cv2.NORM_L1))
        difference = cv2.absdiff(nearest, sample)
        return float(difference.mean()), int(np.count_nonzero(difference >= LEAP))

    def _note(self, newness: float, leaps: int, time: float) -> None:
        moved = leaps >= LEAPS
        if newness >= NEW or moved:
            self._new_at, self._exact = time, True
        self._exact = self._exact and (newness == 0 or time == self._new_at)
        usual = self._usual.level
        reached = usual is None or usual < USUAL_LEAST or newness >= USUAL_PART * usual
        self._row = self._row + 1 if reached else 0
        if self._row >= LIVELY or moved or usual is None:
            self._lively_at = time


class _Usual:
    """The least newness that a live camera usually has: the lowest of an hour's windows."""

    def __init__(self, *, looks: int) -> None:
        self._looks = looks
        self._window: list[float] = []
        self._held_back: float | None = None  # the last window: a freeze that is not known yet may lie in it
        self._levels: deque[float] = deque(maxlen=_WINDOWS_KEPT)

    @property
    def level(self) -> float | None:
        """Grey levels; None = not known yet."""
        return min(self._levels) if len(self._levels) >= _WINDOWS_NEEDED else None

    def learn(self, newness: float) -> None:
        """Takes a look of a picture that is not frozen."""
        self._window.append(newness)
        if len(self._window) < self._looks:
            return
        if self._held_back is not None:
            self._levels.append(self._held_back)
        self._held_back = float(np.quantile(self._window, _LOWEST))
        self._window.clear()

    def forget_latest(self) -> None:
        """What was learnt last belongs to a frozen picture."""
        self._window.clear()
        self._held_back = None
