"""How well a picture fits a gallery, by numbers that can be checked by hand: features of one or two numbers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from spade_core.errors import InputError
from spade_core.scene_fit import SceneFit, held_out_distance, in_order_of_time, nearest_distances


def features(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)[:, None]


class Gallery(SimpleNamespace):
    def __len__(self) -> int:
        return len(self.pooled)


def gallery(pooled: NDArray[np.float32], order: list[int] | None = None) -> Any:
    places = order or list(range(len(pooled)))
    return Gallery(pooled=pooled, frames=[SimpleNamespace(source="day", index=index) for index in places])


def test_distances_are_to_the_nearest_frame() -> None:
    assert nearest_distances(features(0, 4, 11), features(1, 10)).tolist() == [1.0, 3.0, 1.0]


def test_the_unit_is_what_parts_of_the_footage_keep_from_the_rest_of_it() -> None:
    # Four parts of two frames: 0 1 | 2 3 | 4 5 | 6 7. Distances to the other parts: 2 1 | 1 1 | 1 1 | 1 2.
    assert held_out_distance(features(*range(8))) == pytest.approx(np.quantile([2, 1, 1, 1, 1, 1, 1, 2], 0.9))


def test_a_busier_scene_has_a_larger_unit_and_the_same_picture_fits_it_better() -> None:
    calm, busy = gallery(features(*range(8))), gallery(features(*(10 * n for n in range(8))))

    assert SceneFit(busy).unit == pytest.approx(10 * SceneFit(calm).unit)
    assert SceneFit(busy)(features(75)) < 1 < SceneFit(calm)(features(75))


def test_a_frame_of_the_gallery_fits_perfectly() -> None:
    assert SceneFit(gallery(features(*range(8))))(features(3)) == 0


def test_a_gallery_that_was_drawn_at_random_is_put_in_order_first() -> None:
    mixed = gallery(features(5, 0, 3, 1, 7, 2, 6, 4), order=[5, 0, 3, 1, 7, 2, 6, 4])

    assert in_order_of_time(mixed).tolist() == [1, 3, 5, 2, 7, 0, 6, 4]
    assert SceneFit(mixed).unit == pytest.approx(SceneFit(gallery(features(*range(8)))).unit)


@pytest.mark.parametrize("pooled", [features(3), features(3, 3, 3, 3, 3)])
def test_of_copies_of_one_picture_only_that_one_fits(pooled: NDArray[np.float32]) -> None:
    fit = SceneFit(gallery(pooled))

    assert fit.unit > 0
    assert fit(features(3)) == 0
    assert fit(features(4)) > 1e6


def test_features_that_are_not_finite_are_no_fit() -> None:
    with pytest.raises(InputError, match="not finite"):
        SceneFit(gallery(features(*range(8))))(features(float("nan")))
