"""Frames that somebody called normal, on top of a gallery: what they change, by values that can be checked by hand."""

from __future__ import annotations

from pathlib import Path

import gallery_files
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from spade_core.confirmed import NewFrame, WithConfirmed, only_inside
from spade_core.gallery import GalleryFrame, confirmed_frames
from spade_core.motion import GRID, confirmed_speed
from spade_core.place_bank import MOST_CONFIRMED, build_bank, extended_bank, with_confirmed
from spade_core.scorer import SpadeParameters

CPU = torch.device("cpu")


class Normal:
    """Frames whose every feature is one number."""

    def __init__(self, *values: float) -> None:
        self._values = values
        self.pooled = np.array([[value] for value in values], np.float32)
        self.motion = np.zeros((len(values), GRID, GRID), np.float16)

    def pyramid(self, index: int) -> tuple[NDArray[np.float16], ...]:
        return levels_of(self._values[index])

    def array(self, name: str) -> None:
        return None


def levels_of(value: float) -> tuple[NDArray[np.float16], ...]:
    return tuple(np.full((1, side, side), value, np.float16) for side in (8, 4, 2))


def values_of(bank: NDArray[np.float16]) -> list[float]:
    """What stands in the bank of the first place, once each (level 2 and 3 hold the same)."""
    return [float(value) for value in bank[0, 0, :, 0]]


def test_confirmed_features_stand_behind_the_chosen_ones() -> None:
    normal = Normal(0, 1, 2, 3, 2.5)

    assert values_of(build_bank(normal, count=2, average=1, device=CPU, confirmed=[4])) == [1.0, 3.0, 2.5]
    assert values_of(build_bank(normal, count=2, average=1, device=CPU)) == [2.0, 0.0], "else it is not even chosen"


def test_a_bank_that_is_extended_is_the_one_that_would_be_built() -> None:
    before = build_bank(Normal(0, 1, 2, 3, 7), count=2, average=3, device=CPU, confirmed=[4])

    extended = extended_bank(before, [levels_of(5), levels_of(6)], average=3, before=1)

    built = build_bank(Normal(0, 1, 2, 3, 7, 5, 6), count=2, average=3, device=CPU, confirmed=[4, 5, 6])
    np.testing.assert_array_equal(extended, built)
    assert values_of(extended) == [1.0, 3.0, 7.0, 5.0, 6.0]


def test_of_too_many_confirmed_features_those_stay_that_cover_the_others() -> None:
    chosen = np.zeros((1, 1, 1, 1), np.float16)
    many = np.array([*[10.0] * MOST_CONFIRMED, 50.0, 90.0], np.float16).reshape(1, 1, -1, 1)

    found = values_of(with_confirmed(chosen, many))

    assert len(found) == 1 + MOST_CONFIRMED
    assert set(found) == {0.0, 10.0, 50.0, 90.0}


def test_a_bank_that_is_full_of_confirmed_ones_keeps_its_chosen_ones() -> None:
    bank = build_bank(Normal(0, 1, 2), count=2, average=1, device=CPU)
    for number in range(MOST_CONFIRMED + 5):
        bank = extended_bank(bank, [levels_of(100.0 + number)], average=1, before=min(number, MOST_CONFIRMED))

    assert values_of(bank)[:2] == [1.0, 0.0]
    assert len(values_of(bank)) == 2 + MOST_CONFIRMED


def test_a_confirmed_speed_is_what_normal_footage_reaches() -> None:
    usual = np.full((GRID, GRID), 2.0, np.float32)
    shown = np.zeros((2, GRID, GRID), np.float16)
    shown[0, 5, 5] = 12.0
    shown[1] = np.nan

    found = confirmed_speed(usual, shown, scale=3.0)

    assert found[5, 5] == 4.0  # 12 is 3 times 4
    assert found[5, 6] == 2.0
    assert confirmed_speed(usual, shown[1:], scale=3.0) is usual


def a_new(value: float, *, motion: float | None = 2.0) -> NewFrame:
    moved = None if motion is None else np.full((GRID, GRID), motion, np.float16)
    frame = GalleryFrame("gate", 0, 0.0, confirmed=True)
    return NewFrame(np.full(1, value, np.float32), levels_of(value), moved, frame, b"")


def test_only_what_touches_the_region_joins() -> None:
    inside = np.zeros((16, 16), bool)
    inside[0, 0] = True  # one pixel of 256: the first cell of each grid

    found = only_inside(a_new(9.0), inside, levels_of(1.0))

    for level in found.levels:
        assert level[0, 0, 0] == 9.0
        assert (np.delete(level.reshape(-1), 0) == 1.0).all()
    assert found.motion is not None
    assert (found.motion.max(), np.count_nonzero(found.motion)) == (2.0, 16)  # 64 cells on 16 pixels: 4 x 4 a pixel
    assert found.pooled[0] == 9.0, "it is found by frames that look like it"


def test_motion_that_is_not_known_stays_so() -> None:
    assert only_inside(a_new(9.0, motion=None), np.ones((16, 16), bool), levels_of(1.0)).motion is None


def test_a_gallery_with_frames_on_top_is_as_long_as_both(tmp_path: Path) -> None:
    gallery = gallery_files.build(tmp_path / "gate")
    levels = tuple(np.full_like(level, 3) for level in gallery.pyramid(0))
    frame = GalleryFrame("gate", 7, 0.0, confirmed=True)
    new = NewFrame(np.full(gallery.pooled.shape[1], 5, np.float32), levels, None, frame, b"")

    both = WithConfirmed(gallery, [new], parameters=SpadeParameters(), device=CPU)

    count = len(gallery)
    assert len(both.pooled) == len(both.motion) == len(both.frames) == count + 1
    np.testing.assert_array_equal(both.pooled[:count], gallery.pooled)
    assert (both.pooled[count] == 5).all()
    assert np.isnan(both.motion[count]).all()
    np.testing.assert_array_equal(both.pyramid(0)[0], gallery.pyramid(0)[0])
    assert both.pyramid(count) is levels
    assert confirmed_frames(both.frames) == [count]
    assert both.array("bank") is None


@pytest.mark.parametrize("confirmed", [True, False])
def test_a_gallery_remembers_which_frames_were_confirmed(tmp_path: Path, confirmed: bool) -> None:
    with gallery_files.new_writer(tmp_path / "gate") as writer:
        gallery_files.put(writer, 0, 0)
        first = writer.frames[0]
        writer.put(
            1,
            pooled=gallery_files.pooled_of(1),
            levels=gallery_files.levels_of(1),
            frame=GalleryFrame("gate 2026", 7, 0.0, confirmed),
            thumbnail=b"",
        )
        gallery = writer.publish(gallery_files.CALIBRATION, note={})

    assert gallery.frames == (first, GalleryFrame("gate 2026", 7, 0.0, confirmed))
    assert confirmed_frames(gallery.frames) == ([1] if confirmed else [])
