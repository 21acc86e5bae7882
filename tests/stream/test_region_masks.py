"""Where regions of an alert lie in what was scored: grown, without the others, and with a crop."""

from __future__ import annotations

import numpy as np
import pytest

from spade_core.preprocess import Preprocess
from stream.messages import Region
from stream.region_masks import overlap, region_mask

PREPROCESS = Preprocess(64)
LEFT = Region((0, 0, 40, 40), ((0, 0), (40, 0), (40, 40), (0, 40)), 1600, 2.0)


def mask_of(regions: list[Region], others: list[Region], preprocess: Preprocess = PREPROCESS) -> np.ndarray:
    return region_mask(regions, others, size=(160, 80), preprocess=preprocess)


def test_regions_that_were_not_chosen_stay_out_however_near() -> None:
    near = Region((44, 0, 40, 40), ((44, 0), (84, 0), (84, 40), (44, 40)), 1600, 1.5)  # from 17.6 of 64 pixels on

    alone, beside = mask_of([LEFT], []), mask_of([LEFT], [near])

    assert alone[10, 20]
    assert not beside[10, 20]
    assert beside[10, 10]
    assert mask_of([LEFT, near], [])[10, 20]


def test_with_a_crop_a_region_lies_where_the_crop_does() -> None:
    crop = Preprocess(128, crop=64)  # the middle half: x from 40 to 120 and y from 20 to 60 of 160 x 80
    middle = Region((76, 36, 8, 8), ((76, 36), (84, 36), (84, 44), (76, 44)), 64, 2.0)

    rows, columns = np.nonzero(mask_of([middle], [], crop))

    assert (rows.mean(), columns.mean()) == pytest.approx((32, 32), abs=1.5)


def test_overlap_is_what_two_boxes_share_of_both() -> None:
    half = Region((20, 0, 40, 40), ((20, 0),), 1, 1.0)  # shares 20 of 60 columns
    apart = Region((90, 0, 40, 40), ((90, 0),), 1, 1.0)

    assert [overlap(LEFT, other) for other in (LEFT, half, apart)] == pytest.approx([1, 1 / 3, 0])
