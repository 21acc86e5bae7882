"""What raised alerts before, as witnesses: what would make one of them silent does not join. For ``drift_follow``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spade_core.confirmed import NewFrame
from spade_core.methods import FrameScorer
from stream.drift_guard import SILENCES, UNTOLD
from stream.kept_frame import KeptFrame


@dataclass(frozen=True, slots=True, eq=False)
class OldAlert:
    """What raised an alert, as it was scored."""

    frame: KeptFrame
    threshold: float  # in force then, in the unit of then: above it, it is an alert
    lasted: float = 0.0  # strength, in that threshold, of what had looked odd for long; 1 = it alerted for that alone
    place: NDArray[np.bool_] | None = None  # (S, S) where that was; None = everywhere


class Trial:
    """Scorers of the gallery with some of the candidates in it. One takes some 70 MB: only the last one is kept.

    Args:
        make: a scorer with these frames added.
        new: by their places among the candidates.
    """

    def __init__(self, make: Callable[[Sequence[NewFrame]], FrameScorer], new: Mapping[int, NewFrame]) -> None:
        self._make, self._new = make, new
        self._last: tuple[tuple[int, ...], FrameScorer] | None = None

    def together(self, places: Sequence[int]) -> FrameScorer:
        """With all candidates at these places; the same one as long as they stay the same."""
        if self._last is None or self._last[0] != tuple(places):
            self._last = None  # before the next one is made
            self._last = tuple(places), self._make([self._new[place] for place in places])
        return self._last[1]

    def alone(self, place: int) -> FrameScorer:
        """With one of them."""
        return self._make([self._new[place]])


class Heard:
    """An old alert, and how loud it is.

    Args:
        alert: that was raised.
        score: its score by a version: (scorer, pixels that have always looked like that) -> score; raises InputError.
        threshold: in force now.
        then: what the one in force then is in the unit of today: each value that it may be; empty = not known.
        today: scorer of the version in force.
    """

    def __init__(
        self,
        alert: OldAlert,
        score: Callable[[FrameScorer, NDArray[np.bool_] | None], float],
        *,
        threshold: float,
        then: Collection[float],
        today: FrameScorer,
    ) -> None:
        self._score = score
        # Whoever made a camera less sensitive since then may make it as sensitive again. So what is silent now may be a
        # witness, and what is loud now must stay loud now.
        thresholds = sorted({threshold, *then})
        lasted = alert.lasted * min(then, default=threshold)
        side = alert.frame.image.shape[0]
        self._place = alert.place if alert.place is not None else np.ones((side, side), np.bool_)
        seen = score(today, None)
        self._limit = _highest_below(seen, thresholds)
        self._seen, self._held = seen / self._limit, 0.0
        # What lasted counts where that alone raised it: today, or by a higher threshold than it exceeds without.
        if alert.lasted >= 1 and seen <= thresholds[-1]:
            held = score(today, self._place)
            self._held_limit = _highest_below(min(held, lasted), thresholds)
            if self._seen <= 1 or self._held_limit > self._limit:
                self._held, self._lasted = held / self._held_limit, lasted / self._held_limit

    @property
    def is_silent(self) -> bool:
        """It is none today, however long it may have lasted."""
        return max(self._seen, self._held) <= 1

    def against(self, scorer: FrameScorer) -> str:
        """Why a version must not be made; "" = the alert would speak all the same."""
        if self._seen > 1 and self._score(scorer, None) <= self._limit:
            return SILENCES
        if self._held <= 1:
            return ""
        if (held := self._strength_held(scorer)) <= 1:
            return SILENCES
        # One frame does not tell how long it lasted. What it was worth then went down as its place did, by all that is
        # known; where that is not enough, nobody can say.
        return "" if self._lasted * held / self._held > 1 else UNTOLD

    def worth(self, scorer: FrameScorer) -> float:
        """What is left of it by a version, in thresholds; to be compared only."""
        seen = self._score(scorer, None) / self._limit if self._seen > 1 else np.inf
        return min(seen, self._strength_held(scorer) if self._held > 1 else np.inf)

    def _strength_held(self, scorer: FrameScorer) -> float:
        """As if its place had always looked like that."""
        return self._score(scorer, self._place) / self._held_limit


def _highest_below(score: float, thresholds: Sequence[float]) -> float:
    """The highest of these, by rising value, that a score exceeds; the lowest where it exceeds none."""
    return max((threshold for threshold in thresholds if threshold < score), default=thresholds[0])
