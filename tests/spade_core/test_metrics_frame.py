"""Figures from one score a frame: ROC curves, means over clips, causal smoothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from spade_core.errors import InputError
from spade_core.metrics import causal_average, macro_auc, roc_auc, roc_curve


def curve_of(scores: list[float], labels: list[int], points: int | None = None) -> list[tuple[float, float]]:
    curve = roc_curve(np.array(scores, np.float64), np.array(labels, bool), points=points)
    assert curve is not None
    return list(zip(*(axis.tolist() for axis in curve), strict=True))


def clip(scores: list[float], labels: list[int]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    return np.array(scores, np.float64), np.array(labels, bool)


# -- the ROC curve ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "labels", "expected"),
    [
        ([1, 2, 3, 4], [0, 1, 0, 1], [(0, 0), (0, 0.5), (0.5, 0.5), (0.5, 1), (1, 1)]),
        ([1, 2, 3, 4], [0, 0, 1, 1], [(0, 0), (0, 0.5), (0, 1), (0.5, 1), (1, 1)]),
        ([7, 7, 7, 7], [0, 1, 0, 1], [(0, 0), (1, 1)]),  # one score, one threshold
        ([1, 2, 2, 3], [0, 0, 1, 1], [(0, 0), (0, 0.5), (0.5, 1), (1, 1)]),  # the tie goes in one step
    ],
)
def test_the_roc_curve_by_hand(scores: list[float], labels: list[int], expected: list[tuple[float, float]]):
    assert curve_of(scores, labels) == expected


samples = st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=2, max_size=60).filter(
    lambda pairs: len({label for _, label in pairs}) == 2
)


@given(samples)
def test_the_area_below_the_roc_curve_is_the_auc(pairs: list[tuple[int, bool]]):
    scores, labels = np.array([float(score) for score, _ in pairs]), np.array([label for _, label in pairs])
    curve = roc_curve(scores, labels)
    assert curve is not None
    area = sum(
        (b - a) * (u + v) / 2 for a, b, u, v in zip(curve[0], curve[0][1:], curve[1], curve[1][1:], strict=False)
    )
    assert area == pytest.approx(roc_auc(scores, labels), abs=1e-12)


@given(samples, st.integers(2, 8))
def test_a_thinned_curve_keeps_its_ends_and_holds_points_of_the_whole_one(pairs: list[tuple[int, bool]], points: int):
    scores, labels = [float(score) for score, _ in pairs], [int(label) for _, label in pairs]
    thin = curve_of(scores, labels, points)
    assert len(thin) <= points
    assert thin[0] == (0, 0)
    assert thin[-1] == (1, 1)
    assert set(thin) <= set(curve_of(scores, labels))


def test_a_thinned_curve_still_shows_a_steep_rise():
    # 10,000 samples; the anomalous ones at the top: the curve goes straight up, then straight right.
    scores = np.arange(10_000.0)
    curve = roc_curve(scores, scores >= 9_900, points=50)
    assert curve is not None
    fpr, tpr = curve
    assert len(fpr) == 50
    assert np.count_nonzero(fpr == 0) >= 24  # half of the points, though only 1 % of the samples lie there
    assert np.interp(0.01, fpr, tpr) > 0.95


def test_a_curve_has_two_ends():
    with pytest.raises(InputError, match="thinned to 1 points"):
        curve_of([1, 2], [0, 1], points=1)


@pytest.mark.parametrize("labels", [[0, 0], [1, 1]])
def test_there_is_no_curve_where_a_class_is_absent(labels: list[int]):
    assert roc_curve(*clip([1, 2], labels)) is None


def test_what_the_auc_refuses_the_curve_refuses_too():
    with pytest.raises(InputError, match="labels must be bool"):
        roc_curve(np.array([1.0, 2.0]), np.array([0, 1]))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="not finite"):
        roc_curve(*clip([1, np.nan], [0, 1]))


# -- over clips -------------------------------------------------------------------------------------------------------


def test_macro_is_the_plain_mean_over_clips_with_both_classes():
    perfect = clip([1, 2, 3, 4], [0, 0, 1, 1])  # 1.0
    undecided = clip([5, 5], [0, 1])  # 0.5, and weighs as much though it is shorter
    normal = clip([9, 9, 9], [0, 0, 0])
    anomalous = clip([0, 0], [1, 1])
    assert macro_auc([perfect, normal, undecided, anomalous]) == 0.75


def test_macro_does_not_exist_where_no_clip_has_both_classes():
    assert macro_auc([clip([1, 2], [0, 0]), clip([1, 2], [1, 1])]) is None
    assert macro_auc([]) is None


def test_macro_does_not_compare_scores_of_different_clips():
    low, high = clip([1, 2], [0, 1]), clip([101, 102], [0, 1])
    assert macro_auc([low, high]) == 1.0


# -- over time --------------------------------------------------------------------------------------------------------


def test_causal_average_by_hand():
    smoothed = causal_average(np.array([0.0, 1.0, 1.0, 0.0]), 0.5)
    assert smoothed.dtype == np.float64
    assert smoothed.tolist() == [0, 0.5, 0.75, 0.375]


def test_the_first_score_stands_as_it_is():
    assert causal_average(np.array([8.0, 0.0]), 0.25).tolist() == [8, 6]


def test_weight_one_changes_nothing():
    assert causal_average(np.array([3.0, 1.0, 2.0], np.float32), 1.0).tolist() == [3, 1, 2]


def test_the_future_is_not_looked_at_and_the_input_stays():
    scores = np.array([1.0, 5.0, 2.0, 9.0])
    smoothed = causal_average(scores, 0.2)
    changed = scores.copy()
    changed[3] = -100
    assert causal_average(changed, 0.2)[:3].tolist() == smoothed[:3].tolist()
    assert scores.tolist() == [1, 5, 2, 9]


def test_a_clip_of_no_frames_stays_one():
    assert causal_average(np.array([]), 0.2).tolist() == []


def test_a_frame_without_a_score_is_an_error():
    with pytest.raises(InputError, match="not finite"):
        causal_average(np.array([1.0, np.nan, 2.0]), 0.2)


@pytest.mark.parametrize("weight", [0.0, -0.1, 1.5, float("nan")])
def test_a_weight_out_of_its_bounds_is_refused(weight: float):
    with pytest.raises(InputError, match="weight must be above 0 and at most 1"):
        causal_average(np.array([1.0]), weight)


def test_scores_of_several_clips_at_once_are_refused():
    with pytest.raises(InputError, match=r"\(N,\), got \(2, 3\)"):
        causal_average(np.zeros((2, 3)), 0.2)
