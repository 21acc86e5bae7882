"""RBDC and TBDC, by hand and against a plain reading of the definition."""

from __future__ import annotations

import time
from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from spade_core.errors import InputError
from spade_core.metrics import GroundTruthRegion, RegionTally, region_thresholds, tracks_from_masks

Map = NDArray[np.float32]
Box = tuple[int, int, int, int]
Frame = tuple[Map, list[GroundTruthRegion]]


def scored(*boxes: tuple[Box, float]) -> Map:
    """A 40 x 60 map of zeros with these boxes (x, y, width, height) at these scores; later ones lie on top."""
    scores = np.zeros((40, 60), np.float32)
    for (x, y, width, height), value in boxes:
        scores[y : y + height, x : x + width] = value
    return scores


def region(bbox: Box, track: str = "t") -> GroundTruthRegion:
    return GroundTruthRegion(track, bbox)


def tally_of(frames: Sequence[Frame], *thresholds: float) -> RegionTally:
    tally = RegionTally(np.array(thresholds))
    for scores, regions in frames:
        tally.add(scores, regions)
    return tally


THERE: Box = (5, 5, 10, 10)  # 100 pixels
ELSEWHERE: Box = (40, 20, 8, 8)


# -- by hand ----------------------------------------------------------------------------------------------------------


def test_a_perfect_detector_has_one():
    frames = [(scored((THERE, 1.0)), [region(THERE)]), (scored(), [])]
    tally = tally_of(frames, 0.5, 1.0)
    assert (tally.rbdc(), tally.tbdc()) == (1.0, 1.0)


def test_a_detector_that_fires_everywhere_has_none():
    # One detection a frame, the whole map: 100 of 2,400 pixels in common with what is there, so a false positive.
    frames = [(scored(((0, 0, 60, 40), 1.0)), [region(THERE)]), (scored(((0, 0, 60, 40), 1.0)), [])]
    curves = tally_of(frames, 1.0).curves()
    assert curves is not None
    assert (curves.fpr.tolist(), curves.rbdr.tolist()) == ([1.0], [0.0])
    assert tally_of(frames, 1.0).rbdc() == 0.0


def test_a_detector_that_is_silent_has_none():
    tally = tally_of([(scored(), [region(THERE)])], 0.5)
    assert (tally.rbdc(), tally.tbdc()) == (0.0, 0.0)


def test_a_track_found_in_one_of_ten_frames_counts_as_found_its_other_regions_do_not():
    # No false positive anywhere: the curves are level at 1/10 of the regions and at all of the tracks.
    frames = [(scored((THERE, 1.0)) if i == 4 else scored(), [region(THERE)]) for i in range(10)]
    tally = tally_of(frames, 1.0)
    assert tally.rbdc() == pytest.approx(0.1)
    assert tally.tbdc() == 1.0


def test_a_track_found_in_one_of_eleven_frames_is_not_found():
    frames = [(scored((THERE, 1.0)) if i == 4 else scored(), [region(THERE)]) for i in range(11)]
    tally = tally_of(frames, 1.0)
    assert tally.rbdc() == pytest.approx(1 / 11)
    assert tally.tbdc() == 0.0


def test_three_of_thirty_are_a_tenth_in_spite_of_rounding():
    frames = [(scored((THERE, 1.0)) if i < 3 else scored(), [region(THERE)]) for i in range(30)]
    assert tally_of(frames, 1.0).tbdc() == 1.0


def test_tracks_weigh_alike_however_long_they_are():
    # Track a is 3 regions, all found; track b is 1 region, missed: 3 of 4 regions, 1 of 2 tracks.
    frames: list[Frame] = [(scored((THERE, 1.0)), [region(THERE, "a")]) for _ in range(3)]
    frames.append((scored(), [region(THERE, "b")]))
    tally = tally_of(frames, 1.0)
    assert (tally.rbdc(), tally.tbdc()) == (0.75, 0.5)


@pytest.mark.parametrize(("pixels", "found"), [(10, True), (9, False)], ids=["0.10", "0.09"])
def test_a_tenth_in_common_is_enough_and_less_is_a_false_positive(pixels: int, found: bool):
    # All of the detection lies within the 10 x 10 box, so the union is 100 pixels.
    curves = tally_of([(scored(((5, 5, pixels, 1), 1.0)), [region(THERE)])], 1.0).curves()
    assert curves is not None
    assert curves.rbdr.tolist() == [1.0 if found else 0.0]
    assert curves.fpr.tolist() == [0.0 if found else 1.0]


def test_one_detection_may_find_two_regions_and_is_false_only_if_it_meets_none():
    # A bar over two boxes of 10 x 10: 100 of 250 pixels in common with each.
    regions = [region((0, 0, 10, 10), "a"), region((15, 0, 10, 10), "b")]
    curves = tally_of([(scored(((0, 0, 25, 10), 1.0)), regions)], 1.0).curves()
    assert curves is not None
    assert (curves.rbdr.tolist(), curves.fpr.tolist()) == ([1.0], [0.0])


def test_detections_are_boxes_of_parts_that_touch_at_corners_too():
    # A diagonal line's box is the whole square.
    scores = scored()
    scores[5:15, 5:15] = np.eye(10)
    assert tally_of([(scores, [region(THERE)])], 1.0).rbdc() == 1.0


def test_false_positives_are_counted_per_frame_over_all_frames():
    # Three false ones in one frame, none in the three others.
    false = scored(((0, 0, 3, 3), 1.0), ((10, 0, 3, 3), 1.0), ((20, 0, 3, 3), 1.0))
    frames: list[Frame] = [(false, []), (scored(), []), (scored(), []), (scored(), [region(THERE)])]
    curves = tally_of(frames, 1.0).curves()
    assert curves is not None
    assert curves.fpr.tolist() == [0.75]


# -- the area ---------------------------------------------------------------------------------------------------------


def test_a_false_positive_that_comes_first_costs_the_area_before_it():
    # 2: a false one in one of two frames. 1: the true one too. (0, 0), (0.5, 0), (0.5, 1), level to (1, 1).
    tally = tally_of([(scored((THERE, 1.0)), [region(THERE)]), (scored((ELSEWHERE, 2.0)), [])], 1.0, 2.0)
    assert (tally.rbdc(), tally.tbdc()) == (0.5, 0.5)


def test_between_two_thresholds_the_line_is_straight_and_it_starts_at_nothing():
    # Both at once: (0, 0) to (0.5, 1), level to (1, 1): 0.25 + 0.5.
    tally = tally_of([(scored((THERE, 1.0)), [region(THERE)]), (scored((ELSEWHERE, 1.0)), [])], 1.0)
    assert (tally.rbdc(), tally.tbdc()) == (0.75, 0.75)


def test_the_line_is_cut_at_one_false_positive_per_frame():
    # One frame: the true one and two false ones at once, (0, 0) to (2, 1): half way up at 1.
    tally = tally_of([(scored((THERE, 1.0), (ELSEWHERE, 1.0), ((30, 0, 4, 4), 1.0)), [region(THERE)])], 1.0)
    assert tally.rbdc() == 0.25
    curves = tally.curves()
    assert curves is not None
    assert [axis.tolist() for axis in curves.region_line] == [[0, 1], [0, 0.5]]
    assert curves.fpr.tolist() == [2.0]


def test_where_lower_thresholds_melt_regions_together_the_best_rate_counts():
    # At 2 two false parts in one of four frames (FPR 0.5), nothing found. At 1 they are one part (0.25), and the true
    # one is found. (0, 0) to (0.25, 1), then level: 0.125 + 0.75.
    bridge = scored(((0, 0, 20, 4), 1.0), ((0, 0, 5, 4), 2.0), ((15, 0, 5, 4), 2.0))
    frames: list[Frame] = [(bridge, []), (scored((THERE, 1.0)), [region(THERE)]), (scored(), []), (scored(), [])]
    tally = tally_of(frames, 1.0, 2.0)
    curves = tally.curves()
    assert curves is not None
    assert curves.thresholds.tolist() == [2.0, 1.0]
    assert curves.fpr.tolist() == [0.5, 0.25]
    assert curves.rbdr.tolist() == [0.0, 1.0]
    assert tally.rbdc() == 0.875


# -- against the definition -------------------------------------------------------------------------------------------


def boxes_by_hand(above: NDArray[np.bool_]) -> list[Box]:
    """Bounding boxes of the 8-connected parts, by walking from pixel to pixel."""
    left = {(int(y), int(x)) for y, x in zip(*np.nonzero(above), strict=True)}
    boxes = []
    while left:
        part, todo = set(), [left.pop()]
        while todo:
            y, x = todo.pop()
            part.add((y, x))
            near = {(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= near
            todo += near
        rows, columns = [y for y, _ in part], [x for _, x in part]
        boxes.append((min(columns), min(rows), max(columns) - min(columns) + 1, max(rows) - min(rows) + 1))
    return boxes


def overlap_by_hand(a: Box, b: Box) -> float:
    first, second = ({(x, y) for x in range(X, X + W) for y in range(Y, Y + H)} for X, Y, W, H in (a, b))
    return len(first & second) / len(first | second)


def rates_by_hand(frames: Sequence[Frame], threshold: float) -> tuple[float, float, float]:
    """FPR, RBDR and TBDR at one threshold."""
    false, tracks = 0, dict[str, list[bool]]()
    for scores, regions in frames:
        detections = boxes_by_hand(scores >= threshold)
        for truth in regions:
            hit = any(overlap_by_hand(truth.bbox, box) >= 0.1 for box in detections)
            tracks.setdefault(truth.track, []).append(hit)
        false += sum(all(overlap_by_hand(truth.bbox, box) < 0.1 for truth in regions) for box in detections)
    all_hits = [hit for hits in tracks.values() for hit in hits]
    found = [sum(hits) / len(hits) >= 0.1 for hits in tracks.values()]
    return false / len(frames), sum(all_hits) / len(all_hits), sum(found) / len(found)


def area_by_hand(fpr: Sequence[float], rates: Sequence[float]) -> float:
    """The mean height of the line at 20,000 places from 0 to 1."""
    points = [(0.0, 0.0), *zip(fpr, rates, strict=True)]

    def best(place: float) -> float:
        return max(rate for x, rate in points if x <= place)

    def height(place: float) -> float:
        before = max(x for x, _ in points if x <= place)
        behind = min((x for x, _ in points if x > place), default=None)
        if behind is None:
            return best(before)
        # Several thresholds may share an FPR: the line meets the worst of them first, unless it is higher already.
        meets = max(best(before), min(rate for x, rate in points if x == behind))
        return best(before) + (meets - best(before)) * (place - before) / (behind - before)

    return float(np.mean([height((i + 0.5) / 20_000) for i in range(20_000)]))


def random_frames(count: int, seed: int) -> list[Frame]:
    """Blurred noise with a brighter, moving square in half of the frames; the truth from masks."""
    rng = np.random.default_rng(seed)
    frames, masks = [], []
    for i in range(count):
        scores = cv2.GaussianBlur(rng.normal(0, 1, (24, 32)), (0, 0), 1.2).astype(np.float32)
        mask = np.zeros(scores.shape, bool)
        if i % 10 < 5:
            mask[6:14, 2 + i % 10 : 12 + i % 10] = True
            scores[mask] += np.float32(rng.uniform(0.2, 1.0))
        if i % 7 == 0:
            mask[18:22, 20:28] = True
        frames.append(scores)
        masks.append(mask)
    return list(zip(frames, tracks_from_masks(masks), strict=True))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_rates_are_those_of_a_plain_reading_of_the_definition(seed: int):
    frames = random_frames(20, seed)
    thresholds = region_thresholds(np.array([scores.max() for scores, _ in frames]), 25)
    tally = tally_of(frames, *thresholds)
    curves = tally.curves()
    assert curves is not None
    expected = [rates_by_hand(frames, float(threshold)) for threshold in curves.thresholds]
    np.testing.assert_allclose(curves.fpr, [row[0] for row in expected], atol=1e-12)
    np.testing.assert_allclose(curves.rbdr, [row[1] for row in expected], atol=1e-12)
    np.testing.assert_allclose(curves.tbdr, [row[2] for row in expected], atol=1e-12)
    assert tally.rbdc() == pytest.approx(area_by_hand(*list(zip(*expected, strict=True))[:2]), abs=1e-3)
    assert tally.tbdc() == pytest.approx(area_by_hand(*list(zip(*expected, strict=True))[::2]), abs=1e-3)


def test_merging_is_adding_in_one():
    frames = random_frames(20, seed=4)  # cut at 12, in the middle of a track
    thresholds = (0.2, 0.5, 0.8, 1.1)
    one, first, second = (tally_of(part, *thresholds) for part in (frames, frames[:12], frames[12:]))
    first.merge(second)
    merged, expected = first.curves(), one.curves()
    assert merged is not None
    assert expected is not None
    for name in ("thresholds", "fpr", "rbdr", "tbdr"):
        assert getattr(merged, name).tolist() == getattr(expected, name).tolist()


def test_tallies_of_different_thresholds_are_not_merged():
    with pytest.raises(InputError, match="different thresholds"):
        tally_of([], 1.0).merge(tally_of([], 2.0))


# -- edges ------------------------------------------------------------------------------------------------------------


def test_figures_do_not_exist_where_nothing_is_anomalous():
    tally = tally_of([(scored((THERE, 1.0)), [])], 1.0)
    assert (tally.rbdc(), tally.tbdc(), tally.curves()) == (None, None, None)
    assert tally_of([], 1.0).rbdc() is None


def test_the_order_of_thresholds_does_not_matter():
    frames = random_frames(6, seed=5)
    assert tally_of(frames, 0.9, 0.3, 0.3, 0.6).rbdc() == tally_of(frames, 0.3, 0.6, 0.9).rbdc()


def test_large_maps_of_dots_are_counted():
    # 300 x 300 dots in the 600 x 600 pixels: more than 16 bits can name
    scores = np.zeros((600, 600), np.float32)
    scores[::2, ::2] = 1
    tally = tally_of([(scores, [region((0, 0, 1, 1))])], 1.0)
    curves = tally.curves()
    assert curves is not None
    assert curves.fpr.tolist() == [300 * 300 - 1]


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        (np.zeros((2, 2, 2), np.float32), r"\(2, 2, 2\)"),
        (np.zeros((0, 5), np.float32), r"\(0, 5\)"),
        (np.full((2, 2), np.nan, np.float32), "not finite"),
    ],
)
def test_maps_that_are_none_are_refused_and_change_nothing(scores: Map, reason: str):
    tally = tally_of([(scored((THERE, 1.0)), [region(THERE)])], 1.0)
    with pytest.raises(InputError, match=reason):
        tally.add(scores, [region(THERE)])
    assert tally.rbdc() == 1.0


def test_a_region_without_pixels_is_refused():
    with pytest.raises(InputError, match=r"no pixel: \[\(5, 5, 0, 3\)\]"):
        tally_of([(scored(), [region((5, 5, 0, 3))])], 1.0)


@pytest.mark.parametrize("thresholds", [[], [np.nan], [[1.0]]])
def test_thresholds_that_are_none_are_refused(thresholds: list[float]):
    with pytest.raises(InputError, match="thresholds must be"):
        RegionTally(np.array(thresholds, np.float64))


# -- thresholds -------------------------------------------------------------------------------------------------------


def test_thresholds_are_quantiles_of_the_peaks_and_some_below():
    # 80 peaks, 80 quantiles: each of them. The way from 1 to 0 is divided by 20 more.
    thresholds = region_thresholds(np.arange(80, 0, -1), 100)
    np.testing.assert_allclose(thresholds[20:], np.arange(1, 81))
    np.testing.assert_allclose(thresholds[:20], np.arange(1, 21) / 21)


def test_the_highest_threshold_is_reached_by_one_frame():
    peaks = np.random.default_rng(6).random(1000).astype(np.float32)
    thresholds = region_thresholds(peaks, 50)
    assert len(thresholds) == 50
    assert np.count_nonzero(peaks >= thresholds[-1]) == 1


def test_frames_that_score_alike_need_one_threshold_and_those_below():
    np.testing.assert_allclose(region_thresholds(np.full(9, 3.0), 10), [1, 2, 3])


def test_below_zero_there_is_no_way_down():
    assert region_thresholds(np.array([-2.0, -1.0]), 10).tolist() == [-2, -1]


@pytest.mark.parametrize(("peaks", "count"), [([], 10), ([1.0, np.nan], 10), ([1.0, 2.0], 1)])
def test_what_makes_no_thresholds_is_refused(peaks: list[float], count: int):
    with pytest.raises(InputError):
        region_thresholds(np.array(peaks), count)


def test_a_frame_costs_less_than_60_ms_at_100_thresholds():
    rng = np.random.default_rng(7)
    maps = [cv2.GaussianBlur(rng.random((256, 256)).astype(np.float32), (0, 0), 4) for _ in range(7)]
    tally = RegionTally(region_thresholds(np.array([scores.max() for scores in maps]), 100))
    costs = []
    for scores in maps:
        began = time.perf_counter()
        tally.add(scores, [region((10, 10, 30, 30)), region((100, 100, 50, 50))])
        costs.append(time.perf_counter() - began)
    assert min(costs) < 0.06  # the best of seven: others may keep the machine busy
