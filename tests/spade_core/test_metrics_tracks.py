"""Regions and tracks from masks alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from spade_core.errors import InputError
from spade_core.metrics import GroundTruthRegion, tracks_from_masks
from spade_core.metrics.tracks import LEAST_PIXELS, box_overlaps

Mask = NDArray[np.bool_]


def frame(*boxes: tuple[int, int, int, int]) -> Mask:
    """A mask with these boxes (x, y, width, height) in it."""
    mask = np.zeros((40, 60), bool)
    for x, y, width, height in boxes:
        mask[y : y + height, x : x + width] = True
    return mask


def names(frames: list[list[GroundTruthRegion]]) -> list[list[str]]:
    return [[region.track for region in regions] for regions in frames]


def test_a_thing_that_moves_stays_on_its_track():
    found = tracks_from_masks([frame((0, 5, 10, 8)), frame((4, 5, 10, 8)), frame((8, 6, 10, 8))])
    assert names(found) == [["#0"], ["#0"], ["#0"]]
    assert [regions[0].bbox for regions in found] == [(0, 5, 10, 8), (4, 5, 10, 8), (8, 6, 10, 8)]


def test_two_things_have_a_track_each_whatever_their_order():
    # OpenCV numbers parts from the top: the second frame shows them the other way round.
    found = tracks_from_masks([frame((0, 2, 8, 8), (40, 6, 8, 8)), frame((0, 8, 8, 8), (40, 4, 8, 8))])
    assert {region.bbox[0]: region.track for region in found[0]} == {0: "#0", 40: "#1"}
    assert {region.bbox[0]: region.track for region in found[1]} == {0: "#0", 40: "#1"}


def test_a_gap_ends_a_track():
    assert names(tracks_from_masks([frame((0, 0, 8, 8)), frame(), frame((0, 0, 8, 8))])) == [["#0"], [], ["#1"]]


def test_a_leap_begins_a_track():
    # Boxes side by side do not overlap: 8 columns from 0, and 8 from 8.
    assert names(tracks_from_masks([frame((0, 0, 8, 8)), frame((8, 0, 8, 8))])) == [["#0"], ["#1"]]


def test_the_largest_overlap_goes_first():
    # The right one of the two new regions overlaps the old one more (5 of 10 columns; the left one 3 of 10).
    before, after = frame((20, 10, 10, 10)), frame((13, 10, 10, 10), (25, 10, 10, 10))
    by_place = {region.bbox[0]: region.track for region in tracks_from_masks([before, after])[1]}
    assert by_place == {13: "#1", 25: "#0"}


def test_things_that_meet_are_one_region_of_one_track_until_they_part():
    apart, together = frame((0, 0, 12, 8), (20, 0, 8, 8)), frame((5, 0, 20, 8))
    found = tracks_from_masks([apart, together, apart])
    assert names(found) == [["#0", "#1"], ["#0"], ["#0", "#2"]]


def test_crumbs_are_no_regions():
    edge = frame((0, 0, LEAST_PIXELS, 1))
    assert [region.bbox for region in tracks_from_masks([edge])[0]] == [(0, 0, LEAST_PIXELS, 1)]
    assert tracks_from_masks([frame((0, 0, LEAST_PIXELS - 1, 1))]) == [[]]


def test_pixels_that_touch_at_a_corner_are_one_region():
    (regions,) = tracks_from_masks([np.eye(40, dtype=bool)])
    assert [region.bbox for region in regions] == [(0, 0, 40, 40)]


def test_tracks_of_different_clips_have_different_names():
    assert names(tracks_from_masks([frame((0, 0, 8, 8))], clip="Test004")) == [["Test004#0"]]


def test_no_frames_no_regions():
    assert tracks_from_masks([]) == []


def test_masks_are_taken_one_by_one():
    held: list[int] = []

    def masks() -> Iterator[Mask]:
        for i in range(3):
            held.append(i)
            yield frame((i, 0, 8, 8))

    assert len(tracks_from_masks(masks())) == len(held) == 3


@pytest.mark.parametrize("mask", [np.zeros((4, 4), np.uint8), np.zeros(4, bool)])
def test_what_is_no_mask_is_refused(mask: NDArray[np.generic]):
    with pytest.raises(InputError, match=r"\(H, W\) bool"):
        tracks_from_masks([mask])  # type: ignore[list-item]


def test_overlaps_of_boxes_by_hand():
    boxes = np.array([[0, 0, 10, 10], [5, 0, 10, 10], [2, 2, 2, 5]])
    overlaps = box_overlaps(boxes, np.array([[0, 0, 10, 10], [10, 10, 3, 3]]))
    # 1; 50 common of 150; 10 of 100, exactly 0.1; at the corner they only touch, but the second one reaches no row
    assert overlaps.tolist() == [[1.0, 0.0], [50 / 150, 0.0], [0.1, 0.0]]
    assert box_overlaps(boxes, np.zeros((0, 4), int)).shape == (3, 0)
