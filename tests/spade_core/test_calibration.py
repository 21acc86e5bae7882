"""Thresholds from normal footage."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from spade_core.alarms import FEW_CLUSTERS, MOST_PER_DAY, USUAL_SCALE, AlarmRule, Timeline, alarm_threshold
from spade_core.calibration import GROW_FLOOR, MIN_HELD_OUT, Calibration, calibrate, in_words
from spade_core.errors import CalibrationError, GalleryCorrupt

RULE = AlarmRule(min_duration=0.6, quiet=2.0)

RAMP = np.arange(101, dtype=np.float64)  # at five frames a second


def steady(count: int) -> Timeline:
    return Timeline.of([number / 5 for number in range(count)], [""] * count)


def calibrated(scores: NDArray[np.floating], per_day: float = 1.0) -> Calibration:
    return calibrate(
        scores,
        steady(len(scores)),
        false_alarms_per_day=per_day,
        rule=RULE,
        parameters={"method": "spade", "k": 1},
    )


def test_the_threshold_by_hand():
    # A frame sustains the score of the fourth last frame: 0..97. One cluster lies above their 90 % quantile, 87.3.
    scale = (9.7 + (FEW_CLUSTERS - 1) * USUAL_SCALE * 87.3) / FEW_CLUSTERS
    per_day = 86_400 / (98 * 0.2)
    assert calibrated(RAMP, per_day / 100).threshold == pytest.approx(87.3 + scale * math.log(100))


def test_the_threshold_scales_with_the_scores_and_the_kind_of_float_does_not_matter():
    expected = calibrated(RAMP).threshold
    assert calibrated(7 * RAMP).threshold == pytest.approx(7 * expected)
    assert calibrated(RAMP.astype(np.float32)).threshold == pytest.approx(expected, rel=1e-5)


def test_fewer_false_alarms_asked_for_means_a_higher_threshold():
    thresholds = [calibrated(RAMP, per_day).threshold for per_day in (1000.0, 100.0, 10.0, 1.0, 0.01)]
    assert thresholds == sorted(thresholds)
    assert len(set(thresholds)) == len(thresholds)


def test_a_calibration_says_what_it_was_made_from():
    calibration = calibrated(RAMP, per_day=3.0)
    assert calibration.threshold == alarm_threshold(RAMP, steady(101), RULE, per_day=3.0)
    assert calibration.false_alarms_per_day == 3
    assert calibration.alarms.hours == pytest.approx(98 * 0.2 / 3600)
    assert calibration.held_out == 101
    assert (calibration.median, calibration.highest) == (50, 100)
    assert calibration.parameters == {"method": "spade", "k": 1}


@pytest.mark.parametrize("scores", [RAMP, RAMP / 1000 + 5, RAMP / 1e6 + 5], ids=["spread", "narrow", "almost constant"])
def test_masks_reach_from_half_the_threshold_to_all_of_it(scores: NDArray[np.floating]):
    calibration = calibrated(scores)
    assert GROW_FLOOR * calibration.threshold <= calibration.grow_threshold <= calibration.threshold


def test_too_little_footage_is_refused_with_a_remedy():
    with pytest.raises(CalibrationError, match=rf"{MIN_HELD_OUT - 1} held-out .* at least {MIN_HELD_OUT}.* longer"):
        calibrated(RAMP[: MIN_HELD_OUT - 1])
    calibrated(RAMP[:MIN_HELD_OUT])


@pytest.mark.parametrize("score", [0.0, 3e-7, 2.0], ids=["zero", "rounding of the gallery", "any"])
def test_footage_that_never_changes_is_refused(score: float):
    with pytest.raises(CalibrationError, match=r"all 30 held-out frames score the same .* looks frozen"):
        calibrated(np.full(30, score))


def test_a_single_frame_that_differs_is_a_change():
    scores = np.zeros(30)
    scores[4] = 1.0
    assert calibrated(scores).threshold > 0


@pytest.mark.parametrize("value", [np.nan, np.inf], ids=str)
def test_scores_that_are_not_finite_are_refused(value: float):
    scores = np.ones(50)
    scores[3] = value
    with pytest.raises(CalibrationError, match="not finite"):
        calibrated(scores)


@pytest.mark.parametrize("per_day", [0.0, -0.1, MOST_PER_DAY * 1.001, math.nan])
def test_a_rate_out_of_bounds_is_refused(per_day: float):
    with pytest.raises(CalibrationError, match="false_alarms_per_day"):
        calibrated(RAMP, per_day)


def test_each_half_of_the_footage_is_held_against_the_threshold_of_the_other():
    quiet = np.tile([1.0, 1.1], 50)
    loud = quiet.copy()
    loud[60:70] = 30.0
    assert calibrated(quiet).alarms.seen == 0
    assert calibrated(loud).alarms.seen == 1
    assert calibrated(loud).threshold > 30


def test_footage_too_short_to_be_halved_is_calibrated_all_the_same():
    assert calibrated(RAMP[: 2 * MIN_HELD_OUT - 1]).alarms.seen is None
    assert calibrated(RAMP[: 2 * MIN_HELD_OUT]).alarms.seen is not None


def test_people_are_told_what_was_asked_for_what_it_rests_on_and_what_was_seen():
    lines = in_words(calibrated(np.random.default_rng(2).random(1000), 2.0))
    assert lines[0] == "asked for 2 false alarm(s) a day; set from 3.32 min of held-out normal footage"
    assert "down to 433 a day; 2 a day is extrapolated 2.2e+02-fold: hold out more" in lines[1]
    assert lines[2].startswith("seen: ")
    assert "90% confidence" in lines[2]


def test_nobody_is_warned_of_a_rate_that_the_footage_shows():
    assert not any("extrapolated" in line for line in in_words(calibrated(RAMP, MOST_PER_DAY)))


def test_people_are_told_where_nothing_could_be_seen():
    assert "too little footage to see" in in_words(calibrated(RAMP[:MIN_HELD_OUT]))[-1]


def test_a_calibration_survives_json():
    calibration = calibrated(np.random.default_rng(2).random(33))
    assert Calibration.from_json(json.loads(json.dumps(calibration.to_json()))) == calibration


@pytest.mark.parametrize(
    "name", ["threshold", "grow_threshold", "false_alarms_per_day", "held_out", "median", "parameters", "alarms"]
)
def test_a_field_that_is_missing_or_of_another_kind_is_refused(name: str):
    data = calibrated(RAMP).to_json()
    with pytest.raises(GalleryCorrupt, match="calibration is not well formed"):
        Calibration.from_json({**data, name: "so much"})
    del data[name]
    with pytest.raises(GalleryCorrupt, match=name):
        Calibration.from_json(data)
