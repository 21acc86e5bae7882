"""Contact sheets: which frames of a gallery are shown, and how pictures are laid out."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from pipeline_fakes import grey, jpeg

from stream.errors import UsageError
from stream.sheet import MOST, contact_sheet, tiled


class FakeGallery:
    """``count`` thumbnails of 16x12 pixels; the brightness tells the frame."""

    def __init__(self, count: int, *, damaged: tuple[int, ...] = ()) -> None:
        self.count, self.damaged = count, damaged
        self.asked: list[int] = []

    def __len__(self) -> int:
        return self.count

    def thumbnail(self, index: int) -> bytes:
        self.asked.append(index)
        return b"no picture" if index in self.damaged else jpeg(grey(50 + 10 * index % 200, width=16, height=12))


def shown(gallery: FakeGallery, suffix: str = ".png") -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(contact_sheet(gallery, suffix), np.uint8), cv2.IMREAD_COLOR)  # type: ignore[arg-type]
    assert picture is not None
    return np.asarray(picture)


def test_pictures_lie_row_by_row():
    sheet = tiled([grey(level, width=4, height=3) for level in (1, 2, 3, 4, 5)], columns=2)
    assert sheet.shape == (9, 8, 3)
    assert sheet[::3, ::4, 0].tolist() == [[1, 2], [3, 4], [5, 32]]  # the last place stays empty


def test_fewer_pictures_than_columns_make_one_row():
    assert tiled([grey(1, width=4, height=3)] * 3, columns=12).shape == (3, 12, 3)


def test_a_cell_is_as_large_as_the_largest_picture():
    sheet = tiled([grey(1, width=4, height=6), grey(2, width=8, height=3)], columns=2)
    assert sheet.shape == (6, 16, 3)
    assert (sheet[:, :4] == 1).all()
    assert (sheet[:3, 8:] == 2).all()
    assert (sheet[:, 4:8] == 32).all()
    assert (sheet[3:, 8:] == 32).all()


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_small_gallery_is_shown_whole(suffix: str):
    gallery = FakeGallery(14)
    sheet = shown(gallery, suffix)
    assert gallery.asked == list(range(14))
    assert sheet.shape == (2 * 12, 12 * 16, 3)
    levels = sheet[6::12, 8::16, 0].ravel()[:14].astype(int)
    np.testing.assert_allclose(levels, [50 + 10 * index for index in range(14)], atol=4)


def test_a_large_gallery_is_shown_evenly_from_its_first_frame_to_its_last():
    gallery = FakeGallery(10 * MOST)
    shown(gallery)
    assert len(gallery.asked) == MOST
    assert (gallery.asked[0], gallery.asked[-1]) == (0, 10 * MOST - 1)
    assert set(np.diff(gallery.asked)) == {10, 11} or set(np.diff(gallery.asked)) == {10}


def test_a_damaged_thumbnail_leaves_its_place_dark():
    sheet = shown(FakeGallery(3, damaged=(1,)))
    assert (sheet[:, 17:32] == 32).all()
    assert sheet[6, 40, 0] > 50


def test_a_kind_of_picture_that_is_not_offered_is_refused():
    with pytest.raises(UsageError, match=r"must end in \.jpg or \.png, not '\.gif'"):
        contact_sheet(FakeGallery(1), ".gif")  # type: ignore[arg-type]
