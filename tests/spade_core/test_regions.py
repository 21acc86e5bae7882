"""From scores to masks and regions."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from spade_core.regions import MaskedRegion, mask_regions, placed

Map = NDArray[np.float32]


def flat(height: int = 64, width: int = 64, value: float = 0.0) -> Map:
    return np.full((height, width), value, np.float32)


def regions_of(
    scores: Map, *, size: tuple[int, int] | None = None, threshold: float = 4.0, grow: float = 2.0
) -> tuple[NDArray[np.uint8], tuple[MaskedRegion, ...]]:
    return mask_regions(scores, size=size or scores.shape[::-1], threshold=threshold, grow_threshold=grow)


def test_nothing_odd_nothing_masked():
    mask, regions = regions_of(flat(value=1.9))
    assert mask.shape == (64, 64)
    assert mask.dtype == np.uint8
    assert not mask.any()
    assert regions == ()


def test_a_square_by_hand():
    scores = flat()
    scores[10:20, 30:45] = 5
    scores[12, 33] = 6
    mask, (region,) = regions_of(scores)
    expected = np.zeros((64, 64), np.uint8)
    expected[10:20, 30:45] = 255
    np.testing.assert_array_equal(mask, expected)
    assert region.bbox == (30, 10, 15, 10)
    assert region.area == 150
    assert region.peak == 6
    assert set(region.polygon) == {(30, 10), (44, 10), (44, 19), (30, 19)}


def test_a_region_reaches_as_far_as_the_lower_threshold_but_needs_the_higher_one():
    scores = flat()
    scores[10:20, 10:20] = 3  # only half way up
    scores[40:50, 10:20] = 3
    scores[44, 14] = 4
    mask, (region,) = regions_of(scores)
    assert region.bbox == (10, 40, 10, 10)
    assert region.area == np.count_nonzero(mask) == 100


def test_the_thresholds_themselves_belong():
    scores = flat()
    scores[8:16, 8:16] = 2
    scores[10, 10] = 4
    assert [region.area for region in regions_of(scores)[1]] == [64]


def test_the_strongest_region_comes_first():
    scores = flat()
    for row, value in ((4, 5), (26, 9), (50, 7)):
        scores[row : row + 8, 20:28] = value
    assert [region.peak for region in regions_of(scores)[1]] == [9, 7, 5]


def test_squares_that_touch_at_a_corner_are_one_region():
    scores = flat()
    scores[10:14, 10:14] = scores[14:18, 14:18] = 5
    (region,) = regions_of(scores)[1]
    assert (region.bbox, region.area) == ((10, 10, 8, 8), 32)


def test_specks_are_dropped():
    scores = flat(200, 200)  # a ten thousandth of it is 4 pixels
    scores[10, 10:13] = 5
    scores[100, 10:14] = 5
    mask, (region,) = regions_of(scores)
    assert region.bbox == (10, 100, 4, 1)
    assert np.count_nonzero(mask) == 4


def test_a_region_is_scaled_to_the_frame_with_its_own_height_and_width():
    scores = flat(32, 32)
    scores[8:16, 8:16] = 4
    mask, (region,) = regions_of(scores, size=(128, 64), grow=2.0)
    assert mask.shape == (64, 128)
    assert region.bbox == (32, 16, 32, 16)  # four times as wide, twice as high; scores halve at the very edge
    assert region.peak == 4


@pytest.mark.parametrize("size", [(256, 256), (640, 360), (100, 75), (64, 64), (65, 63), (1280, 720)], ids=str)
@pytest.mark.parametrize("place", [(0, 0), (63, 63), (20, 41), (33, 0)], ids=str)
def test_a_frame_just_above_the_threshold_has_a_region_though_scaling_flattens_its_peak(
    size: tuple[int, int], place: tuple[int, int]
):
    scores = flat()
    scores[place] = 1
    scores = cv2.GaussianBlur(scores, (0, 0), 4, borderType=cv2.BORDER_REFLECT)
    peak = float(scores.max())
    _, (region,) = regions_of(scores, size=size, threshold=peak, grow=peak / 2)
    assert region.peak == peak
    x, y, width, height = region.bbox
    assert x - 1 <= (place[1] + 0.5) * size[0] / 64 <= x + width + 1
    assert y - 1 <= (place[0] + 0.5) * size[1] / 64 <= y + height + 1


@pytest.mark.parametrize("scale", [2, 3, 4, 10])
def test_a_peak_of_a_single_pixel_is_found_wherever_it_is(scale: int):
    for place in ((0, 0), (5, 9), (15, 15), (0, 7)):
        scores = flat(16, 16)
        scores[place] = 8
        # Nearest to its centre the scaled map still has (3/4)² of it: twice as wide is the worst case.
        _, (region,) = regions_of(scores, size=(16 * scale, 16 * scale), threshold=8, grow=8 * 0.56)
        assert region.peak == 8


def lasting_properties(scores: Map, size: tuple[int, int], threshold: float, grow: float) -> int:
    """What holds for any map; returns how many regions there are."""
    mask, regions = regions_of(scores, size=size, threshold=threshold, grow=grow)
    scaled = cv2.resize(scores, size, interpolation=cv2.INTER_LINEAR)
    assert mask.shape == size[::-1]
    assert set(np.unique(mask)) <= {0, 255}
    assert mask.any() == bool(regions)
    assert np.count_nonzero(mask) == sum(region.area for region in regions)
    assert (scaled[mask > 0] >= grow).all()
    assert [region.peak for region in regions] == sorted((region.peak for region in regions), reverse=True)
    covered = np.zeros_like(mask)
    for region in regions:
        x, y, width, height = region.bbox
        assert width > 0
        assert height > 0
        assert region.peak >= threshold
        covered[y : y + height, x : x + width] = 255
        for px, py in region.polygon:
            assert x <= px < x + width
            assert y <= py < y + height
            assert mask[py, px] == 255
    assert not (mask & ~covered).any()
    return len(regions)


def test_mask_and_regions_always_say_the_same():
    found = set()
    for seed in range(30):
        generator = np.random.default_rng(seed)
        noise = generator.random((64, 64), np.float32)
        scores = np.asarray(cv2.GaussianBlur(noise, (0, 0), 2), np.float32)
        threshold = float(np.quantile(scores, generator.uniform(0.9, 1)))
        grow = float(np.quantile(scores, 0.8))
        found.add(lasting_properties(scores, (150, 90), threshold, min(grow, threshold)))
    assert len(found) > 5  # from few regions to many


def test_a_polygon_follows_its_region():
    scores = flat(200, 200)
    cv2.circle(scores, (90, 110), 50, 5.0, -1)
    mask, (region,) = regions_of(scores)
    drawn = np.zeros_like(mask)
    cv2.fillPoly(drawn, [np.array(region.polygon, np.int32)], 255)
    common, either = np.count_nonzero(drawn & mask), np.count_nonzero(drawn | mask)
    assert common / either > 0.95
    assert 8 <= len(region.polygon) <= 60


def test_the_map_given_is_left_as_it_was():
    scores = np.random.default_rng(0).random((64, 64), np.float32)
    before = scores.copy()
    regions_of(scores, size=(64, 64), threshold=0.9, grow=0.5)
    np.testing.assert_array_equal(scores, before)


def test_of_a_strong_and_a_weak_object_far_apart_both_are_masked():
    scores = flat(100, 100)
    scores[10:20, 10:20] = 20
    scores[70:80, 70:80] = 5  # a quarter of the other, but that one is not near
    assert [region.bbox for region in regions_of(scores)[1]] == [(10, 10, 10, 10), (70, 70, 10, 10)]


def test_what_is_below_half_of_a_peak_nearby_is_its_blurred_edge():
    scores = flat(100, 100)
    scores[40:50, 40:50] = 20
    scores[40:50, 50:54] = 10  # the half itself belongs
    scores[40:50, 54:58] = 9
    (region,) = regions_of(scores)[1]
    assert region.bbox == (40, 40, 14, 10)


def test_how_far_a_peak_outshines_its_surroundings():
    scores = flat(100, 100)
    scores[40, 50] = 20
    scores[60:62, :] = 8  # rows 60 and 61: 20 and 21 below the peak; the window reaches 12 pixels
    scores[45:47, :] = 8  # within it between columns 38 and 62
    mask, _ = regions_of(scores)
    assert (mask[60:62] == 255).all()
    np.testing.assert_array_equal(np.flatnonzero(mask[45] == 0), np.arange(38, 63))


def detailed(scores: Map, detail: Map) -> tuple[NDArray[np.uint8], tuple[MaskedRegion, ...]]:
    return mask_regions(scores, size=scores.shape[::-1], threshold=4.0, grow_threshold=2.0, detail=detail)


def test_a_region_is_narrowed_to_what_stands_out_in_the_detail_map():
    scores, detail = flat(), flat(value=1.0)
    scores[10:40, 10:40] = 5
    detail[20:30, 15:35] = 9
    mask, (region,) = detailed(scores, detail)
    assert region.bbox == (15, 20, 20, 10)
    assert region.area == np.count_nonzero(mask) == 200
    assert region.peak == 5  # of the scores; the detail map has a unit of its own


def test_nothing_is_masked_outside_of_the_region_however_odd_the_detail_map_is_there():
    scores, detail = flat(), flat(value=1.0)
    scores[10:40, 10:40] = 5
    detail[20:30, 30:60] = 9
    assert [region.bbox for region in detailed(scores, detail)[1]] == [(30, 20, 10, 10)]


def test_a_detail_map_in_which_nothing_stands_out_changes_nothing():
    scores = flat()
    scores[10:40, 10:40] = 5
    mask, regions = detailed(scores, flat(value=3.0))
    plain, expected = regions_of(scores)
    np.testing.assert_array_equal(mask, plain)
    assert regions == expected


def test_a_detail_map_makes_no_region_of_its_own():
    detail = flat()
    detail[10:20, 10:20] = 99
    assert detailed(flat(value=1.0), detail)[1] == ()


def test_parts_that_the_narrowing_leaves_are_regions_with_the_peak_of_the_whole():
    scores, detail = flat(), flat(value=1.0)
    scores[10:50, 10:50] = 5
    scores[30, 12] = 7
    detail[16:44, 16:22] = detail[16:44, 38:44] = 9
    regions = detailed(scores, detail)[1]
    assert {region.bbox for region in regions} == {(16, 16, 6, 28), (38, 16, 6, 28)}
    assert {region.peak for region in regions} == {7}


def test_crumbs_beside_the_object_are_swept_away_and_holes_in_it_closed():
    scores, detail = flat(), flat(value=1.0)
    scores[4:60, 4:60] = 5
    detail[10:40, 10:40] = 9
    detail[24:26, 24:26] = 1  # one sees through the wheel
    detail[54:57, 54:57] = 9
    mask, (region,) = detailed(scores, detail)
    assert region.bbox == (10, 10, 30, 30)
    assert (mask[24:26, 24:26] == 255).all()


def test_a_detail_map_of_another_size_is_scaled_to_the_frame():
    scores, detail = flat(), flat(16, 16, 1.0)
    scores[8:56, 8:56] = 5
    detail[6:10, 6:10] = 9  # pixels 24 to 39
    (region,) = detailed(scores, detail)[1]
    x, y, width, height = region.bbox
    assert (abs(x - 24) <= 1, abs(y - 24) <= 1, abs(width - 16) <= 2, abs(height - 16) <= 2) == (True,) * 4


def test_where_all_regions_are_specks_the_strongest_is_kept():
    scores = flat(200, 200)  # a ten thousandth of it is 4 pixels
    scores[10, 10:13] = 5
    scores[100, 50:52] = 6
    mask, (region,) = regions_of(scores)
    assert (region.bbox, region.area, region.peak) == ((50, 100, 2, 1), 2, 6)
    assert np.count_nonzero(mask) == 2


@pytest.mark.parametrize("size", [(48, 48), (33, 47), (16, 16), (9, 5), (10, 20)], ids=str)
@pytest.mark.parametrize("place", [(0, 0), (15, 15), (5, 9), (8, 0)], ids=str)
def test_a_peak_that_scaling_flattens_below_every_threshold_is_masked_where_it_lies(
    size: tuple[int, int], place: tuple[int, int]
):
    scores = flat(16, 16)
    scores[place] = 8
    mask, (region,) = regions_of(scores, size=size, threshold=8, grow=8)  # nothing of the scaled map may reach 8
    assert region.peak == 8
    down, across = (np.array([i, i + 1]) * pixels / 16 for i, pixels in zip(place, size[::-1], strict=True))
    rows, columns = np.nonzero(mask)
    assert down[0] - 1 < rows.min() <= rows.max() < down[1] + 1  # the pixel's own place, no more
    assert across[0] - 1 < columns.min() <= columns.max() < across[1] + 1


def test_a_score_just_below_the_threshold_masks_nothing():
    scores = flat(16, 16)
    scores[5, 9] = np.nextafter(np.float32(8), np.float32(0))
    assert regions_of(scores, size=(48, 48), threshold=8, grow=8)[1] == ()


def test_a_part_is_placed_in_the_whole_frame_by_hand():
    mask = np.array([[255, 0, 0], [255, 255, 0]], np.uint8)
    region = MaskedRegion(bbox=(0, 0, 2, 2), polygon=((0, 0), (0, 1), (1, 1)), area=3, peak=7.0)
    whole, (moved,) = placed(mask, [region], at=(2, 1), size=(6, 4))
    assert whole.tolist() == [[0] * 6, [0, 0, 255, 0, 0, 0], [0, 0, 255, 255, 0, 0], [0] * 6]
    assert moved == MaskedRegion(bbox=(2, 1, 2, 2), polygon=((2, 1), (2, 2), (3, 2)), area=3, peak=7.0)


def test_a_part_that_is_the_whole_frame_stays_as_it_is():
    scores = flat(20, 30)
    scores[5:9, 3:12] = 9
    mask, regions = regions_of(scores)
    whole, moved = placed(mask, regions, at=(0, 0), size=(30, 20))
    np.testing.assert_array_equal(whole, mask)
    assert moved == regions
