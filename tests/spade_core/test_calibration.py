"""Thresholds from normal footage."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from spade_core.calibration import (
    GROW_FLOOR,
    LEAST_SCALE,
    MIN_HELD_OUT,
    TAIL_FRACTION,
    Calibration,
    calibrate,
    tail_threshold,
)
from spade_core.errors import CalibrationError, GalleryCorrupt

# 90 % of 0..100 lie below 90; those above exceed it by 0..10, five on average.
RAMP = np.arange(101, dtype=np.float64)


def calibrated(scores: NDArray[np.floating], exceedance: float = 0.01) -> Calibration:
    return calibrate(scores, exceedance=exceedance, parameters={"method": "spade", "k": 1})


def test_the_tail_by_hand():
    assert tail_threshold(RAMP, 0.01) == pytest.approx(90 + 5 * math.log(10))
    assert tail_threshold(RAMP, 0.001) == pytest.approx(90 + 5 * math.log(100))


def test_at_the_tails_own_share_the_threshold_is_its_start():
    assert tail_threshold(RAMP, TAIL_FRACTION) == pytest.approx(90)


def test_a_tail_without_width_still_gets_a_margin():
    assert tail_threshold(np.full(50, 10.0), 0.001) == pytest.approx(10 + LEAST_SCALE * 10 * math.log(100))


def test_the_threshold_is_exceeded_as_often_as_asked_where_tails_are_exponential():
    scores = np.random.default_rng(0).exponential(size=20_000)
    for exceedance in (0.05, 0.01, 0.001, 1e-4):
        exact = -math.log(exceedance)  # of the exponential distribution
        assert tail_threshold(scores, exceedance) == pytest.approx(exact, rel=0.05)


def test_the_threshold_scales_with_the_scores_and_the_kind_of_float_does_not_matter():
    expected = tail_threshold(RAMP, 0.002)
    assert tail_threshold(7 * RAMP, 0.002) == pytest.approx(7 * expected)
    assert tail_threshold(RAMP.astype(np.float32), 0.002) == pytest.approx(expected, rel=1e-5)


def test_fewer_false_alarms_asked_for_means_a_higher_threshold():
    thresholds = [tail_threshold(RAMP, exceedance) for exceedance in (0.09, 0.03, 0.01, 0.001, 1e-6)]
    assert thresholds == sorted(thresholds)
    assert len(set(thresholds)) == len(thresholds)


def test_the_order_of_the_frames_does_not_matter():
    shuffled = np.random.default_rng(1).permutation(RAMP)
    assert calibrated(shuffled) == calibrated(RAMP)


def test_a_calibration_says_what_it_was_made_from():
    calibration = calibrated(RAMP, exceedance=0.01)
    assert calibration.threshold == tail_threshold(RAMP, 0.01)
    assert calibration.exceedance == 0.01
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


@pytest.mark.parametrize("exceedance", [0.0, -0.1, TAIL_FRACTION, 0.5, math.nan])
def test_a_share_that_no_tail_can_give_is_refused(exceedance: float):
    with pytest.raises(CalibrationError, match="exceedance"):
        calibrated(RAMP, exceedance=exceedance)


def test_a_calibration_survives_json():
    calibration = calibrated(np.random.default_rng(2).random(33))
    assert Calibration.from_json(json.loads(json.dumps(calibration.to_json()))) == calibration


@pytest.mark.parametrize("name", ["threshold", "grow_threshold", "exceedance", "held_out", "median", "parameters"])
def test_a_field_that_is_missing_or_of_another_kind_is_refused(name: str):
    data = calibrated(RAMP).to_json()
    with pytest.raises(GalleryCorrupt, match="calibration is not well formed"):
        Calibration.from_json({**data, name: "so much"})
    del data[name]
    with pytest.raises(GalleryCorrupt, match=name):
        Calibration.from_json(data)
