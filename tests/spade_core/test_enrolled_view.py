"""The enrolled view of a scene, from its gallery's thumbnails: like is compared with like, damage is passed over."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from gallery_files import CALIBRATION, frame_of, levels_of, new_writer, pooled_of, thumbnail_of
from numpy.typing import NDArray

from spade_core.enrolled_view import PICTURES, enrolled_view
from spade_core.gallery import Gallery
from spade_core.preprocess import Preprocess, scoring_image

WHOLE, CROPPED = Preprocess(256), Preprocess(256, 160)


def a_frame(number: int, *, right: int = 0) -> NDArray[np.uint8]:
    """(360, 640, 3) BGR: the same blocks in every frame, some noise of its own; all shifted to the right by pixels."""
    blocks = np.random.default_rng(0).integers(0, 200, (12, 24, 3)).astype(np.uint8)
    place = cv2.resize(blocks, (768, 384), interpolation=cv2.INTER_NEAREST)[:360, 64 - right : 704 - right]
    noise = np.random.default_rng([number, 1]).integers(0, 40, place.shape)
    return (place + noise).astype(np.uint8)


def a_thumbnail(number: int) -> bytes:
    small = cv2.resize(a_frame(number), (160, 90), interpolation=cv2.INTER_AREA)
    return bytes(cv2.imencode(".jpg", small)[1])


def a_gallery(folder: Path, thumbnails: list[bytes]) -> Gallery:
    with new_writer(folder, capacity=len(thumbnails)) as writer:
        for number, thumbnail in enumerate(thumbnails):
            writer.put(
                number,
                pooled=pooled_of(number),
                levels=levels_of(number),
                frame=frame_of(number),
                thumbnail=thumbnail,
                motion=None,
            )
        return writer.publish(CALIBRATION, note={})


@pytest.mark.parametrize("preprocess", [WHOLE, CROPPED], ids=["whole", "cropped"])
def test_scoring_images_are_compared_with_the_part_that_they_show(tmp_path: Path, preprocess: Preprocess) -> None:
    view = enrolled_view(a_gallery(tmp_path, [a_thumbnail(n) for n in range(60)]), preprocess)
    assert view is not None
    assert view.usable, view.why_not
    assert view.compare(scoring_image(a_frame(100), preprocess)).in_place

    moved = view.compare(scoring_image(a_frame(100, right=32), preprocess))
    assert moved.displaced
    # 32 of 640 pixels; of a crop they are a larger part.
    assert moved.shift == pytest.approx((32 / 640 * 256 / preprocess.side, 0), abs=0.005)


def test_damaged_thumbnails_are_passed_over(tmp_path: Path) -> None:
    thumbnails = [a_thumbnail(n) if n % 2 else thumbnail_of(n) for n in range(PICTURES)]
    view = enrolled_view(a_gallery(tmp_path, thumbnails), WHOLE)
    assert view is not None
    assert view.compare(scoring_image(a_frame(100), WHOLE)).in_place


def test_a_gallery_without_a_thumbnail_that_can_be_read_has_no_view(tmp_path: Path) -> None:
    assert enrolled_view(a_gallery(tmp_path, [b"", thumbnail_of(3)]), WHOLE) is None
