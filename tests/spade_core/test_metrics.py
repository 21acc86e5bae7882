"""Figures of merit, with values that can be counted."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spade_core.errors import InputError
from spade_core.metrics import roc_auc


def auc(scores: list[float], labels: list[int]) -> float | None:
    return roc_auc(np.array(scores, dtype=np.float64), np.array(labels, dtype=bool))


def counted(scores: list[float], labels: list[int]) -> float:
    """The definition: over all pairs of one anomalous and one normal sample."""
    positive = [score for score, label in zip(scores, labels, strict=True) if label]
    negative = [score for score, label in zip(scores, labels, strict=True) if not label]
    wins = [1.0 if p > n else 0.5 if p == n else 0.0 for p, n in itertools.product(positive, negative)]
    return sum(wins) / len(wins)


@pytest.mark.parametrize(
    ("scores", "labels", "expected"),
    [
        ([1, 2, 3, 4], [0, 0, 1, 1], 1.0),
        ([1, 2, 3, 4], [1, 1, 0, 0], 0.0),
        ([1, 2, 3, 4], [0, 1, 0, 1], 0.75),  # 2 > 1, 4 > 1, 4 > 3; not 2 > 3
        ([5, 5, 5, 5], [0, 1, 0, 1], 0.5),
        ([1, 2, 2, 3], [0, 0, 1, 1], 0.875),  # one of four pairs is a tie
        ([0.5, 0.5], [0, 1], 0.5),
    ],
)
def test_auc_by_hand(scores: list[float], labels: list[int], expected: float):
    assert auc(scores, labels) == expected


samples = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=30).filter(
    lambda pairs: len({label for _, label in pairs}) == 2
)


@given(samples)
def test_auc_is_the_share_of_pairs_in_the_right_order_ties_counted_half(pairs: list[tuple[int, bool]]):
    scores, labels = [float(score) for score, _ in pairs], [int(label) for _, label in pairs]
    assert auc(scores, labels) == pytest.approx(counted(scores, labels), abs=1e-12)


@given(samples)
def test_auc_depends_on_order_alone_and_turns_with_it(pairs: list[tuple[int, bool]]):
    scores, labels = [float(score) for score, _ in pairs], [int(label) for _, label in pairs]
    value = auc(scores, labels)
    assert value is not None
    assert auc([np.exp(score) - 7 for score in scores], labels) == value
    assert auc([-score for score in scores], labels) == pytest.approx(1 - value, abs=1e-12)


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1]])
def test_auc_does_not_exist_where_a_class_is_absent(labels: list[int]):
    assert auc([1, 2, 3], labels) is None


def test_auc_of_nothing_does_not_exist():
    assert auc([], []) is None


def test_maps_of_pixels_are_taken_as_they_are():
    scores = np.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]], np.float32)
    assert roc_auc(scores, scores > 4) == 1.0


def test_many_samples_are_counted_exactly():
    # 400,000 normal and as many anomalous samples: 1.6e11 pairs. The anomalous ones lie half a step above.
    n = 400_000
    scores = np.concatenate([np.arange(n), np.arange(n) + 0.5])
    labels = np.repeat([False, True], n)
    assert roc_auc(scores, labels) == pytest.approx((n + 1) / (2 * n), abs=1e-15)


def test_labels_as_integers_are_refused_because_they_would_be_positions():
    with pytest.raises(InputError, match="labels must be bool, got int64"):
        roc_auc(np.array([1.0, 2.0, 3.0]), np.array([0, 1, 1]))  # type: ignore[arg-type]


def test_shapes_that_differ_are_refused():
    with pytest.raises(InputError, match=r"shape \(3,\), labels \(2,\)"):
        auc([1, 2, 3], [0, 1])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=str)
def test_scores_that_are_not_finite_are_refused(value: float):
    with pytest.raises(InputError, match="not finite"):
        auc([1, value, 3], [0, 1, 1])
