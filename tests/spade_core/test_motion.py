"""Motion maps: speed in pixels of a 320 pixels wide picture per tenth of a second, whatever the frame rate."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from spade_core.motion import (
    GRID,
    LEAST_INTERVAL,
    MEMORY,
    MOVING,
    NOISE_FLOOR,
    NOTHING_MOVES,
    MotionMeter,
    usual_speed,
)
from spade_core.preprocess import Preprocess

Picture = NDArray[np.uint8]


def textured(width: int = 320, height: int = 240, *, grain: float = 3.0) -> Picture:
    """Blotches about as large as ``grain``, at the full range of brightness."""
    noise = np.random.default_rng(0).standard_normal((height, width)).astype(np.float32)
    blotches = cv2.GaussianBlur(noise, (0, 0), grain)
    grey = cv2.normalize(blotches, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)  # type: ignore[call-overload]
    return np.repeat(grey[..., None], 3, axis=2)


def moved(picture: Picture, pixels: int) -> Picture:
    return np.roll(picture, pixels, axis=1)


def watched(picture: Picture, *, step: int, fps: float, frames: int) -> NDArray[np.float16] | None:
    """What a meter says at the last of so many frames, each ``step`` pixels further to the right."""
    meter = MotionMeter()
    for index in range(frames):
        meter.see(moved(picture, index * step), index / fps)
    return meter.measure()


def middle(motion: NDArray[np.float16] | None) -> float:
    """Typical motion away from the borders, where the content that enters is new."""
    assert motion is not None
    assert (motion.shape, motion.dtype) == ((GRID, GRID), np.float16)
    return float(np.median(motion[16:48, 16:48]))


@pytest.mark.parametrize(("step", "fps"), [(3, 10.0), (1, 30.0), (6, 5.0)], ids=["10 fps", "30 fps", "5 fps"])
def test_the_same_speed_is_the_same_motion_at_any_frame_rate(step: int, fps: float):
    assert middle(watched(textured(), step=step, fps=fps, frames=8)) == pytest.approx(3.0, rel=0.1)


@pytest.mark.parametrize("step", [1, 2, 5])
def test_motion_is_the_displacement(step: int):
    assert middle(watched(textured(), step=step, fps=10.0, frames=3)) == pytest.approx(step, rel=0.15)


def test_motion_is_measured_in_a_picture_320_pixels_wide():
    wide = textured(640, 480, grain=6.0)
    assert middle(watched(wide, step=6, fps=10.0, frames=3)) == pytest.approx(3.0, rel=0.1)


def test_with_a_crop_motion_is_that_of_the_part_that_is_scored():
    still, cropped, whole = textured(), MotionMeter(Preprocess(256, 128)), MotionMeter()
    for meter in (cropped, whole):
        for index in range(3):
            frame = still.copy()
            frame[:60] = moved(still, 3 * index)[:60]  # in the quarter that the crop leaves out
            meter.see(frame, index / 10)
    inside, everywhere = cropped.measure(), whole.measure()
    assert inside is not None
    assert everywhere is not None
    assert inside.shape == (GRID, GRID)
    assert everywhere[:14].mean() > 1
    assert inside[8:].mean() < 0.1
    assert inside.mean() < everywhere[:14].mean() / 4


def test_motion_is_where_something_moves():
    still, meter = textured(), MotionMeter()
    for index in range(2):
        picture = still.copy()
        picture[:, :160] = moved(still[:, :160], 4 * index)
        meter.see(picture, index / 10)
    motion = meter.measure()
    assert motion is not None
    assert np.median(motion[16:48, 8:24]) == pytest.approx(4.0, rel=0.15)
    assert np.median(motion[16:48, 40:]) < 0.2


def test_a_still_picture_does_not_move():
    motion = watched(textured(), step=0, fps=10.0, frames=5)
    assert motion is not None
    assert motion.max() < 0.05


def test_there_is_no_motion_at_the_first_frame():
    meter = MotionMeter()
    assert meter.measure() is None
    meter.see(textured(), 0.0)
    assert meter.measure() is None


def test_a_new_clip_begins_without_motion():
    meter = MotionMeter()
    for index in range(4):
        meter.see(moved(textured(), index), index / 10, "one")
    assert meter.measure() is not None
    meter.see(textured(), 0.4, "two")
    assert meter.measure() is None
    meter.see(moved(textured(), 3), 0.5, "two")
    assert middle(meter.measure()) == pytest.approx(3.0, rel=0.1)


def test_a_new_picture_size_begins_without_motion():
    meter = MotionMeter()
    meter.see(textured(320, 240), 0.0)
    meter.see(textured(320, 180), 0.1)
    assert meter.measure() is None


@pytest.mark.parametrize("later", [0.5, 60.0, -1.0, 0.0], ids=["half a second", "a minute", "back", "the same time"])
def test_after_a_gap_motion_is_not_known_until_there_is_a_frame_to_compare_with(later: float):
    meter = MotionMeter()
    meter.see(textured(), 10.0)
    meter.see(moved(textured(), 3), 10.0 + later)
    assert meter.measure() is None
    for index in range(1, 4):
        meter.see(moved(textured(), 3 + 3 * index), 10.0 + later + index / 10)
    assert middle(meter.measure()) == pytest.approx(3.0, rel=0.1)


@pytest.mark.parametrize("apart", [1e-9, 1e-5, LEAST_INTERVAL * 0.9])
def test_frames_a_tiny_interval_apart_say_nothing_of_speed(apart: float):
    meter = MotionMeter()
    meter.see(textured(), 0.0)
    meter.see(moved(textured(), 3), apart)
    assert meter.measure() is None


def test_an_older_frame_is_taken_where_the_last_one_is_too_close():
    meter = MotionMeter()
    meter.see(textured(), 0.0)
    meter.see(moved(textured(), 3), 0.1)
    meter.see(moved(textured(), 3), 0.1 + 1e-6)
    assert middle(meter.measure()) == pytest.approx(3.0, rel=0.1)


@pytest.mark.filterwarnings("error")
def test_a_flow_beyond_half_precision_is_cut_to_its_range():
    meter: Any = MotionMeter()
    meter._flow = SimpleNamespace(calc=lambda before, after, _: np.full((*after.shape, 2), 1e5, np.float32))
    meter.see(textured(), 0.0)
    meter.see(textured(), 0.02)
    assert (meter.measure() == np.finfo(np.float16).max).all()


def test_what_swings_to_and_fro_counts_less_than_what_goes_on():
    there, back, on = textured(), MotionMeter(), MotionMeter()
    for index in range(8):
        back.see(moved(there, 4 * (index % 2)), index / 10)
        on.see(moved(there, 4 * index), index / 10)
    assert middle(on.measure()) == pytest.approx(4.0, rel=0.1)
    assert middle(back.measure()) < 4.0 / 3


def test_motion_comes_and_goes_with_the_memory():
    meter, shift, felt = MotionMeter(), 0, []
    for index in range(12):
        shift += 3 if 4 <= index < 8 else 0
        meter.see(moved(textured(), shift), index / 10)
        felt.append(0.0 if index == 0 else middle(meter.measure()))
    kept = math.exp(-0.1 / MEMORY)
    assert felt[4] == pytest.approx(3 * (1 - kept), rel=0.15)
    assert felt[7] == pytest.approx(3 * (1 - kept**4), rel=0.1)
    assert felt[11] == pytest.approx(felt[7] * kept**4, rel=0.3)


def block_at(column: int, *, width: int = 40) -> Picture:
    """A textured block on ground of another texture."""
    picture = textured()[::-1, ::-1].copy()
    picture[90:150, column : column + width] = textured()[90:150, :width]
    return picture


def test_the_average_goes_along_with_what_moves():
    meter = MotionMeter()
    for index in range(10):
        meter.see(block_at(20 + 12 * index), index / 10)
    motion = meter.measure()
    assert motion is not None
    row = motion[26:38].mean(axis=0).astype(np.float64)
    cell = 320 / GRID
    block = (20 + 12 * 9 + 20) / cell
    assert abs(float(np.argmax(row)) - block) < 5
    assert row[int(block)] > 4
    assert row[int((20 + 12 * 4) / cell)] < row[int(block)] / 4  # where the block was half a second ago


def test_motion_does_not_depend_on_how_often_it_is_asked_for():
    often, seldom = MotionMeter(), MotionMeter()
    for index in range(12):
        for meter in (often, seldom):
            meter.see(moved(textured(), 2 * index), index / 20)
        often.measure()
    np.testing.assert_array_equal(often.measure(), seldom.measure())


def maps_of(*speeds: float) -> NDArray[np.float16]:
    """Frames with that motion everywhere."""
    return np.stack([np.full((GRID, GRID), speed, np.float16) for speed in speeds])


def test_the_usual_speed_is_the_mean_of_what_moves():
    np.testing.assert_allclose(usual_speed(maps_of(0, 0, 2, 4, MOVING / 2)), 3 + NOISE_FLOOR, rtol=1e-5)


def test_frames_whose_motion_is_not_known_are_passed_over():
    maps = np.concatenate([np.full((50, GRID, GRID), np.nan, np.float16), maps_of(2, 4), maps_of(np.nan)])
    np.testing.assert_allclose(usual_speed(maps), 3 + NOISE_FLOOR, rtol=1e-5)


@pytest.mark.parametrize("speed", [np.nan, 0.0, MOVING], ids=["unknown", "none", "noise"])
def test_where_nothing_ever_moved_a_walker_is_usual(speed: float):
    np.testing.assert_array_equal(usual_speed(maps_of(speed, speed)), NOTHING_MOVES)


def test_the_usual_speed_changes_over_the_picture_and_reaches_where_nothing_moved():
    maps = np.zeros((100, GRID, GRID), np.float32)
    maps[::2, 32:, :24] = 4.0
    maps[::2, 32:, 40:] = 1.0
    usual = usual_speed(maps) - NOISE_FLOOR
    assert usual[50, 2] == pytest.approx(4.0, rel=0.01)
    assert usual[50, 61] == pytest.approx(1.0, rel=0.01)
    assert 1.2 < usual[50, 31] < 3.8
    assert usual[27, 2] == pytest.approx(4.0, rel=0.02)  # five cells above anything that moved
    assert usual[0, 2] == pytest.approx(2.5, rel=0.2)  # far from it, the scene's own mean


def test_what_moves_often_counts_more_than_what_moves_seldom():
    maps = np.zeros((100, GRID, GRID), np.float32)
    maps[:90] = 2.0
    maps[90:, 20:44, 20:44] = 12.0  # one frame in ten
    usual = usual_speed(maps) - NOISE_FLOOR
    assert usual[32, 32] == pytest.approx((90 * 2 + 10 * 12) / 100, rel=0.15)


def test_thousands_of_maps_are_read_in_blocks():
    maps = np.concatenate([maps_of(1.0)] * 300 + [maps_of(3.0)] * 300)
    np.testing.assert_allclose(usual_speed(maps), 2 + NOISE_FLOOR, rtol=1e-4)
