"""Old alerts as witnesses, by hand-made scores: what silences them, and what nobody can tell."""

from __future__ import annotations

import gc
from typing import Any
from weakref import WeakSet

import numpy as np
import pytest
from numpy.typing import NDArray

from stream.drift_alerts import Heard, OldAlert, Trial
from stream.drift_guard import SILENCES, UNTOLD
from stream.kept_frame import KeptFrame

FRAME = KeptFrame("gate", "yard", 1, 1000.0, np.zeros((4, 4, 3), np.uint8), None)
PLACE = np.eye(4, dtype=np.bool_)


def version(seen: float, held: float = 0.0) -> Any:
    """A version by which the frame scores so much; and so much if its place had always looked like that."""
    return (seen, held)


def heard(today: Any, *, then: float | tuple[float, ...] = 1.0, now: float = 1.0, lasted: float = 0.0) -> Heard:
    """``then``: in the unit of today."""
    units = then if isinstance(then, tuple) else (then,)

    def score(scorer: Any, lasting: NDArray[np.bool_] | None) -> float:
        assert lasting is None or lasting is PLACE
        return float(scorer[lasting is not None])

    return Heard(OldAlert(FRAME, 77.0, lasted, PLACE), score, threshold=now, then=units, today=today)


@pytest.mark.parametrize(("after", "found"), [(1.1, ""), (1.0, SILENCES), (0.2, SILENCES)])
def test_an_alert_must_stay_above_the_threshold(after: float, found: str) -> None:
    assert heard(version(2.0)).against(version(after)) == found


def test_what_is_silent_today_is_no_witness() -> None:
    assert heard(version(1.0)).is_silent
    assert not heard(version(1.1)).is_silent


def test_what_is_loud_by_the_threshold_then_or_now_is_a_witness() -> None:
    assert not heard(version(0.7), then=0.5).is_silent
    assert not heard(version(0.7), now=0.5).is_silent
    assert heard(version(0.7), then=0.5).against(version(0.6)) == ""
    assert heard(version(0.7), then=0.5).against(version(0.4)) == SILENCES


@pytest.mark.parametrize(("then", "now"), [(0.8, 1.0), (1.0, 0.8), ((0.1, 0.8), 1.0)])
def test_the_highest_threshold_that_it_exceeds_today_must_be_exceeded_still(then: Any, now: float) -> None:
    assert heard(version(1.5), then=then, now=now).against(version(1.1)) == ""
    assert heard(version(1.5), then=then, now=now).against(version(0.9)) == SILENCES
    assert heard(version(0.9), then=then, now=now).against(version(0.85)) == ""


def test_where_the_threshold_then_is_of_a_unit_that_nobody_knows_the_one_now_counts() -> None:
    assert heard(version(0.9), then=()).is_silent
    assert heard(version(1.5), then=()).against(version(0.9)) == SILENCES
    assert heard(version(0.5, 2.0), then=(), lasted=1.4).against(version(0.5, 1.6)) == ""


@pytest.mark.parametrize(
    ("held", "found"),
    [
        (1.9, ""),  # 0.8 x 1.5 = 1.2 in thresholds now; 1.2 x 1.9 / 2.0 = 1.14
        (1.6, UNTOLD),  # 0.96: enough by the threshold then, and not by the one now
        (0.9, SILENCES),
    ],
)
@pytest.mark.parametrize("seen", [0.5, 0.9])  # which exceeds the threshold then, and is loud now because it lasted
def test_one_that_lasted_is_judged_by_the_highest_threshold_that_this_exceeds(
    seen: float, held: float, found: str
) -> None:
    witness = heard(version(seen, 2.0), then=0.8, now=1.0, lasted=1.5)

    assert witness.against(version(seen, held)) == found
    assert witness.worth(version(seen, held)) == min(held, seen / 0.8 if seen > 0.8 else held)


def test_one_that_lasted_enough_by_the_threshold_then_alone_is_judged_by_that() -> None:
    witness = heard(version(0.5, 2.0), then=0.8, now=1.0, lasted=1.2)  # 0.96 in thresholds now

    assert witness.against(version(0.5, 2.0)) == ""
    assert witness.against(version(0.5, 1.6)) == UNTOLD  # 1.2 x 1.6 / 2.0 = 0.96


@pytest.mark.parametrize(
    ("held", "found"),
    [
        (1.6, ""),  # 1.4 x 1.6 / 2.0 = 1.12: what lasted would have been enough all the same
        (1.2, UNTOLD),  # 1.4 x 1.2 / 2.0 = 0.84
        (0.9, SILENCES),  # even if it had lasted for ever
    ],
)
def test_of_one_that_lasted_only_what_is_sure_is_said(held: float, found: str) -> None:
    assert heard(version(0.8, 2.0), lasted=1.4).against(version(0.5, held)) == found


def test_one_that_lasted_is_a_witness_only_where_that_alone_raised_it() -> None:
    assert not heard(version(0.8, 2.0), lasted=1.0).is_silent
    assert heard(version(0.8, 2.0), lasted=0.9).is_silent
    assert heard(version(0.8, 1.0), lasted=1.4).is_silent  # what operators called normal since then


def test_one_that_lasted_and_speaks_without_that_must_go_on_to() -> None:
    assert heard(version(1.5, 2.0), lasted=1.4).against(version(0.9, 1.9)) == SILENCES


class Scorer:
    def __init__(self, places: Any) -> None:
        self.places = tuple(places)


def test_no_more_than_one_scorer_is_kept() -> None:
    made, alive = list[tuple[Any, ...]](), WeakSet[Scorer]()

    def make(new: Any) -> Any:
        gc.collect()
        assert len(alive) <= 1
        made.append(tuple(new))
        scorer = Scorer(new)
        alive.add(scorer)
        return scorer

    frames: Any = {0: "a", 1: "b", 2: "c"}
    trial: Any = Trial(make, frames)
    assert trial.together([0, 1, 2]) is trial.together([0, 1, 2])
    assert [trial.alone(place).places for place in frames] == [("a",), ("b",), ("c",)]
    assert trial.together([0, 2]).places == ("a", "c")

    assert made == [("a", "b", "c"), ("a",), ("b",), ("c",), ("a", "c")]
    gc.collect()
    assert len(alive) == 1
