"""Figures over all pixels, from counts by score."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from spade_core.errors import InputError
from spade_core.metrics import PixelTally, roc_auc

Map = NDArray[np.float32]
Mask = NDArray[np.bool_]
Box = tuple[slice, slice]


def tally_of(*frames: tuple[Sequence[Sequence[float]] | Map, Sequence[Sequence[int]] | Mask | None]) -> PixelTally:
    tally = PixelTally()
    for scores, mask in frames:
        tally.add(np.array(scores, np.float32), None if mask is None else np.array(mask, bool))
    return tally


def two_regions() -> PixelTally:
    """One region of a single pixel (9), one of four (7, 7, 1, 1), ten normal pixels: one scores 8, the others 0."""
    scores = [[9, 0, 0, 0, 0], [0, 8, 0, 7, 7], [0, 0, 0, 1, 1]]
    mask = [[1, 0, 0, 0, 0], [0, 0, 0, 1, 1], [0, 0, 0, 1, 1]]
    return tally_of((scores, mask))


def frames_of_boxes(count: int, seed: int) -> list[tuple[Map, Mask, list[Box]]]:
    """Noise that is a little higher in some boxes, which never touch. Scores are multiples of 1/16 below 8, so that no
    two of them share a bin."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        scores, mask, boxes = rng.normal(1.5, 1, (32, 48)), np.zeros((32, 48), bool), []
        for left in range(0, 48, 16):
            if rng.random() < 0.6:
                top, height, width = rng.integers(0, 16), rng.integers(1, 15), rng.integers(1, 15)
                box = (slice(top, top + height), slice(left, left + width))
                mask[box] = True
                scores[box] += rng.uniform(0, 3)
                boxes.append(box)
        frames.append(((np.clip(scores, 0, 8) * 16).round().astype(np.float32) / 16, mask, boxes))
    return frames


def pro_by_definition(frames: list[tuple[Map, Mask, list[Box]]], limit: float) -> float:
    """A loop over thresholds and regions, in exact fractions."""
    bound = Fraction(limit).limit_denominator(1000)
    normal = np.concatenate([scores[~mask] for scores, mask, _ in frames])
    regions = [scores[box] for scores, _, boxes in frames for box in boxes]
    area, x, y = Fraction(0), Fraction(0), Fraction(0)
    for threshold in sorted({float(value) for scores, _, _ in frames for value in scores.ravel()}, reverse=True):
        next_x = Fraction(int((normal >= threshold).sum()), normal.size)
        found = [Fraction(int((region >= threshold).sum()), region.size) for region in regions]
        next_y = sum(found, Fraction(0)) / len(found)
        if next_x >= bound:
            at_bound = next_y if next_x == x else y + (next_y - y) * (bound - x) / (next_x - x)
            area += (bound - x) * (y + at_bound) / 2
            break
        area += (next_x - x) * (y + next_y) / 2
        x, y = next_x, next_y
    return float(area / bound)


# -- AUC and ROC ------------------------------------------------------------------------------------------------------


def test_auc_by_hand():
    # anomalous 2 and 4, normal 1 and 3: 2 > 1, 4 > 1, 4 > 3; not 2 > 3
    assert tally_of(([[1, 2], [3, 4]], [[0, 1], [0, 1]])).auc() == 0.75


def test_ties_count_half():
    assert tally_of(([[5, 5], [5, 5]], [[0, 1], [0, 1]])).auc() == 0.5


def test_frames_are_compared_with_each_other():
    assert tally_of(([[1, 1]], None), ([[2, 2]], [[1, 1]])).auc() == 1.0


def test_a_frame_without_mask_is_a_frame_with_an_empty_one():
    without = tally_of(([[3, 1]], None), ([[2, 2]], [[1, 0]]))
    empty = tally_of(([[3, 1]], [[0, 0]]), ([[2, 2]], [[1, 0]]))
    assert without.auc() == empty.auc() == 0.5  # 2 > 1, 2 = 2, not 2 > 3
    assert without.pro() == empty.pro()


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e9])
def test_auc_of_bins_is_the_exact_one_within_a_thousandth(scale: float):
    rng = np.random.default_rng(1)
    maps = (rng.normal(0, 1, (8, 64, 64)) * scale).astype(np.float32)  # negative ones too
    masks = rng.random((8, 64, 64)) < 0.1
    maps[masks] += 0.7 * scale
    auc = tally_of(*zip(maps, masks, strict=True)).auc()
    assert auc == pytest.approx(roc_auc(maps, masks), abs=1e-3)


finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(finite, finite)
def test_bins_are_in_the_order_of_the_scores(first: float, second: float):
    low, high = sorted((first, second))
    auc = tally_of(([[low, high]], [[0, 1]])).auc()
    far = high - low > 2**-12 * max(abs(low), abs(high)) and max(abs(low), abs(high)) > 1e-37
    assert auc == 1.0 if far else auc in (0.5, 1.0)


def test_zero_and_minus_zero_are_the_same_score():
    assert tally_of(([[-0.0, 0.0]], [[0, 1]])).auc() == 0.5
    assert tally_of(([[-0.0, 0.0]], [[1, 0]])).auc() == 0.5


def test_scores_closer_than_the_precision_may_tie():
    # 2^-14 apart, both in the bin from 1 to 1 + 2^-12
    assert tally_of(([[1.0, 1.0 + 2**-14]], [[0, 1]])).auc() == 0.5
    assert tally_of(([[1.0, 1.0 + 2**-12]], [[0, 1]])).auc() == 1.0


def test_half_precision_maps_are_taken_as_they_are():
    tally = PixelTally()
    tally.add(np.array([[1, 2], [3, 4]], np.float16), np.array([[False, False], [True, True]]))
    assert tally.auc() == 1.0


def test_the_roc_curve_by_hand():
    curve = tally_of(([[1, 2], [3, 4]], [[0, 1], [0, 1]])).roc()
    assert curve is not None
    assert curve[0].tolist() == [0, 0, 0.5, 0.5, 1]
    assert curve[1].tolist() == [0, 0.5, 0.5, 1, 1]


def test_the_roc_curve_can_be_thinned():
    rng = np.random.default_rng(2)
    tally = tally_of((rng.random((64, 64)), rng.random((64, 64)) < 0.5))
    curve = tally.roc(points=20)
    assert curve is not None
    assert len(curve[0]) == 20
    assert (curve[0][0], curve[1][0], curve[0][-1], curve[1][-1]) == (0, 0, 1, 1)


# -- PRO --------------------------------------------------------------------------------------------------------------


def test_pro_by_hand():
    # From FPR 0 to 0.1 the pixel of the small region is found: overlap (1 + 0) / 2. At 0.1 (the normal 8) follow the
    # 7s, then the 1s: overlap 1. Area to 0.3: 0.1 * 0.5 + 0.2 * 1 = 0.25; 0.25 / 0.3.
    tally = two_regions()
    assert tally.pro(0.3) == pytest.approx(0.25 / 0.3, abs=1e-12)
    assert tally.pro(0.1) == pytest.approx(0.5, abs=1e-12)
    assert tally.pro(0.05) == pytest.approx(0.5, abs=1e-12)
    assert tally.pro(1.0) == pytest.approx(0.95, abs=1e-12)


def test_the_pro_curve_by_hand_ends_at_the_limit():
    curve = two_regions().pro_curve(0.3)
    assert curve is not None
    np.testing.assert_allclose(curve[0], [0, 0, 0.1, 0.1, 0.1, 0.3], atol=1e-12)
    np.testing.assert_allclose(curve[1], [0, 0.5, 0.5, 0.75, 1, 1], atol=1e-12)


def test_on_the_way_to_the_limit_the_line_is_straight():
    # One threshold for all: the curve is the diagonal, cut at 0.3: 0.3 * 0.3 / 2 / 0.3.
    tally = tally_of(([[5, 5], [5, 5]], [[0, 1], [0, 0]]))
    assert tally.pro(0.3) == pytest.approx(0.15, abs=1e-12)
    curve = tally.pro_curve(0.3)
    assert curve is not None
    assert curve[1].tolist() == [0, 0.3]


def test_a_perfect_map_has_pro_one():
    mask = np.zeros((20, 20), bool)
    mask[2:9, 3:10] = mask[12:13, 15:18] = True  # 49 and 3 pixels, whose thirds do not add up to 1 exactly
    assert tally_of((mask.astype(np.float32), mask)).pro() == 1.0


def test_a_small_region_weighs_as_much_as_a_large_one():
    mask = np.zeros((20, 20), bool)
    mask[0:10, 0:10] = mask[19, 19] = True
    large, small = np.zeros((20, 20), np.float32), np.zeros((20, 20), np.float32)
    large[0:10, 0:10] = 1
    small[19, 19] = 1
    # One of the two regions is found before any false positive, the other one with all the rest: from 0.5 at FPR 0 to 1
    # at FPR 1, so 0.65 at 0.3, and 0.575 in the mean up to there.
    assert tally_of((large, mask)).pro() == pytest.approx(0.575, abs=1e-12)
    assert tally_of((small, mask)).pro() == pytest.approx(0.575, abs=1e-12)


def test_pixels_that_touch_at_a_corner_are_one_region_and_frames_have_their_own():
    # One region of two pixels, one of a single pixel in the next frame; only the first region's first pixel is found.
    mask, single = [[1, 0], [0, 1]], [[1, 0], [0, 0]]
    tally = tally_of(([[2, 0], [0, 0]], mask), ([[0, 0], [0, 0]], single))
    curve = tally.pro_curve()
    assert curve is not None
    assert curve[1][1] == 0.25  # (1/2 + 0) / 2; three regions would give 1/3, one 1/3


@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
def test_pro_is_what_a_loop_over_thresholds_and_regions_gives(limit: float):
    frames = frames_of_boxes(12, seed=3)
    tally = tally_of(*((scores, mask) for scores, mask, _ in frames))
    assert tally.pro(limit) == pytest.approx(pro_by_definition(frames, limit), abs=1e-9)


@pytest.mark.parametrize("limit", [0.0, -0.1, 1.1, float("nan")])
def test_a_limit_that_is_no_rate_is_refused(limit: float):
    with pytest.raises(InputError, match="limit"):
        two_regions().pro(limit)


# -- thresholds -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rate", "reach"), [(0.0, 0), (0.05, 5), (0.059, 5), (0.5, 50), (1.0, 100)])
@pytest.mark.parametrize("offset", [0.0, -50.5, -200.0])
def test_a_threshold_is_reached_by_the_wanted_part_of_normal_pixels(rate: float, reach: int, offset: float):
    scores = np.arange(1, 101, dtype=np.float32).reshape(10, 10) + np.float32(offset)
    threshold = tally_of((scores, None)).threshold_at_fpr(rate)
    assert threshold is not None
    assert np.count_nonzero(scores >= threshold) == reach


def test_only_normal_pixels_count_for_a_threshold():
    threshold = tally_of(([[1, 2], [50, 60]], [[0, 0], [1, 1]])).threshold_at_fpr(0.5)
    assert threshold is not None
    assert 1 < threshold <= 2


@settings(max_examples=60)
@given(st.lists(st.integers(-20, 20), min_size=1, max_size=40), st.floats(0, 1))
def test_a_threshold_is_the_lowest_that_keeps_the_rate(values: list[int], rate: float):
    scores = np.array([values], np.float32)
    threshold = tally_of((scores, None)).threshold_at_fpr(rate)
    assert threshold is not None
    assert (scores >= threshold).mean() <= rate
    lower = scores[scores < threshold]
    assert lower.size == 0 or (scores >= lower.max()).mean() > rate


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_a_rate_that_is_none_is_refused(rate: float):
    with pytest.raises(InputError, match="between 0 and 1"):
        two_regions().threshold_at_fpr(rate)


# -- merging, absence, refusals ---------------------------------------------------------------------------------------


def test_merging_is_adding_in_one():
    frames = [(scores, mask) for scores, mask, _ in frames_of_boxes(6, seed=4)]
    one, first, second = tally_of(*frames), tally_of(*frames[:2]), tally_of(*frames[2:])
    first.merge(second)
    assert first.auc() == one.auc()
    assert first.pro() == pytest.approx(one.pro(), abs=1e-12)
    assert first.threshold_at_fpr(0.01) == one.threshold_at_fpr(0.01)
    assert second.auc() == tally_of(*frames[2:]).auc()  # the other one stays as it was


@pytest.mark.parametrize(
    "frames", [[], [([[1, 2]], None)], [([[1, 2]], [[1, 1]])]], ids=["none", "normal", "anomalous"]
)
def test_figures_do_not_exist_where_a_class_is_absent(frames: list[tuple[list[list[float]], list[list[int]] | None]]):
    tally = tally_of(*frames)
    assert (tally.auc(), tally.roc(), tally.pro(), tally.pro_curve()) == (None, None, None, None)


def test_a_threshold_needs_normal_pixels_alone():
    assert tally_of(([[1, 2]], None)).threshold_at_fpr(0.5) is not None
    assert tally_of(([[1, 2]], [[1, 1]])).threshold_at_fpr(0.5) is None


@pytest.mark.parametrize(
    ("scores", "mask", "reason"),
    [
        (np.zeros((2, 2), np.float32), np.zeros((2, 3), bool), r"shape \(2, 2\), the mask \(2, 3\)"),
        (np.zeros((2, 2), np.float32), np.full((2, 2), 255, np.uint8), "must be bool, got uint8"),
        (np.array([[1, np.nan]], np.float32), None, "not finite"),
        (np.array([[1, np.inf]], np.float32), np.zeros((1, 2), bool), "not finite"),
        (np.zeros((2, 2, 2), np.float32), None, r"\(H, W\), got \(2, 2, 2\)"),
    ],
)
def test_what_cannot_be_counted_is_refused_and_changes_nothing(scores: Map, mask: Mask | None, reason: str):
    tally = two_regions()
    before = (tally.auc(), tally.pro())
    with pytest.raises(InputError, match=reason):
        tally.add(scores, mask)
    assert (tally.auc(), tally.pro()) == before


def test_a_bin_is_named_by_a_floats_leading_bits():
    # The threshold that no pixel of 1.5 reaches is the next bin's edge: 1.5 with the 12th bit of the fraction added.
    threshold = tally_of(([[1.5]], None)).threshold_at_fpr(0)
    assert threshold == 1.5 + 2**-12
    assert struct.pack(">f", threshold).hex() == "3fc00800"
