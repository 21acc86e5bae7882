"""Frames to scoring images."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from spade_core.errors import InputError
from spade_core.preprocess import Preprocess, scoring_image

SMALL = Preprocess(size=32)


def ramp(side: int = 64) -> np.ndarray:
    """(side, side, 3) BGR: blue grows to the right, green downwards, red is 9."""
    y, x = np.mgrid[:side, :side]
    return np.stack([x, y, np.full_like(x, 9)], axis=-1).astype(np.uint8)


def test_blue_green_red_becomes_red_green_blue():
    frame = np.full((40, 50, 3), (1, 2, 3), np.uint8)
    image = scoring_image(frame, SMALL)
    assert image.shape == (32, 32, 3)
    assert image.dtype == np.uint8
    assert (image == (3, 2, 1)).all()


def test_shrinking_averages_areas():
    tile = np.array([[0, 10], [20, 30]], np.uint8)
    frame = np.repeat(np.tile(tile, (32, 32))[:, :, None], 3, axis=2)
    assert (scoring_image(frame, SMALL) == 15).all()


def test_a_wide_frame_is_squeezed_not_cropped():
    frame = np.zeros((64, 256, 3), np.uint8)
    frame[:, 128:] = 200
    image = scoring_image(frame, SMALL)
    assert (image[:, :16] == 0).all()
    assert (image[:, 16:] == 200).all()


def test_a_frame_of_the_right_size_keeps_its_pixels_and_is_not_altered():
    frame = ramp()
    before = frame.copy()
    image = scoring_image(frame, Preprocess(size=64))
    assert np.array_equal(image, before[:, :, ::-1])
    image[:] = 0
    assert np.array_equal(frame, before)


@pytest.mark.parametrize(("crop", "start"), [(32, 16), (61, 1), (64, 0)])
def test_the_crop_is_the_centre(crop: int, start: int):
    image = scoring_image(ramp(), Preprocess(size=64, crop=crop))
    assert image.flags["C_CONTIGUOUS"]
    assert np.array_equal(image, ramp()[start : start + crop, start : start + crop, ::-1])


@pytest.mark.parametrize("shape", [(64, 64), (64, 64, 1)])
def test_gray_frames_get_three_equal_channels(shape: tuple[int, ...]):
    gray = ramp()[:, :, 0]
    image = scoring_image(gray.reshape(shape), Preprocess(size=64))
    assert np.array_equal(image, np.stack([gray] * 3, axis=-1))


def test_alpha_is_ignored():
    alpha = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64, 1)
    with_alpha = np.concatenate([ramp(), alpha], axis=2)
    assert np.array_equal(scoring_image(with_alpha, SMALL), scoring_image(ramp(), SMALL))


def test_views_and_read_only_frames_are_accepted():
    mirrored = ramp()[:, ::-1]
    mirrored.flags.writeable = False
    assert np.array_equal(scoring_image(mirrored, SMALL), scoring_image(mirrored.copy(), SMALL))


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (None, "NoneType"),
        (np.zeros((8, 8, 3), np.float32), "shape (8, 8, 3) and dtype float32"),
        (np.zeros((8, 8, 2), np.uint8), "shape (8, 8, 2) and dtype uint8"),
        (np.zeros((1, 8, 8, 3), np.uint8), "shape (1, 8, 8, 3)"),
        (np.zeros(8, np.uint8), "shape (8,)"),
        (np.zeros((0, 8, 3), np.uint8), "no pixels"),
        (np.zeros((8, 0), np.uint8), "no pixels"),
    ],
)
def test_what_is_not_a_frame_is_refused_by_shape_and_dtype(frame: object, words: str):
    with pytest.raises(InputError) as caught:
        scoring_image(frame, SMALL)  # type: ignore[arg-type]
    assert words in str(caught.value)


def test_the_side_is_what_remains_after_the_crop():
    assert Preprocess().side == 256
    assert Preprocess(size=256, crop=224).side == 224


def test_without_a_crop_all_of_a_frame_is_scored():
    assert Preprocess(size=64).part(640, 361) == (0, 0, 640, 361)


def test_the_part_of_a_frame_that_a_crop_scores_by_hand():
    # 224 of 256 leaves a sixteenth of the frame on each side.
    assert Preprocess(size=256, crop=224).part(640, 320) == (40, 20, 560, 280)


@pytest.mark.parametrize(("width", "height"), [(64, 64), (640, 360), (97, 53), (7, 1)])
@pytest.mark.parametrize(("size", "crop"), [(64, 32), (64, 33), (256, 224), (256, 255)])
def test_the_part_of_a_frame_lies_in_it_and_is_what_the_crop_shows(width: int, height: int, size: int, crop: int):
    x, y, w, h = Preprocess(size=size, crop=crop).part(width, height)
    assert 0 <= x < x + w <= width
    assert 0 <= y < y + h <= height
    start = (size - crop) // 2
    assert x / width == pytest.approx(start / size, abs=0.51 / width)
    assert (x + w) / width == pytest.approx((start + crop) / size, abs=max(0.51, 1 - w) / width) or w == 1


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"size": 31}, "size is 31 pixels; it must be 32..2048"),
        ({"size": 2049}, "size is 2049"),
        ({"size": 64, "crop": 65}, "crop is 65 pixels; it must be 32..64"),
        ({"crop": 0}, "crop is 0"),
    ],
)
def test_sides_out_of_bounds_are_refused(values: dict[str, int], words: str):
    with pytest.raises(InputError, match=words):
        Preprocess(**values)


def test_the_description_is_json_and_tells_preprocessings_apart():
    described = Preprocess(size=256, crop=224).describe()
    assert json.loads(json.dumps(described)) == described
    assert described != Preprocess(size=256).describe()
    assert described != Preprocess(size=240, crop=224).describe()


def test_readers_do_not_load_torch():
    program = "import sys, spade_core, spade_core.preprocess; sys.exit('torch' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", program], cwd=root, check=False).returncode == 0
