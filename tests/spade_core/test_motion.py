"""Motion maps: speed in pixels of a 320 pixels wide picture per tenth of a second, whatever the frame rate."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from spade_core.motion import GRID, LEAST_INTERVAL, NOISE_FLOOR, MotionMeter, normal_motion

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


def ramp(frames: int = 1001) -> NDArray[np.float16]:
    """Motion 0, 1, 2 ... everywhere: whole numbers that half precision holds exactly."""
    return np.broadcast_to(np.arange(frames, dtype=np.float16)[:, None, None], (frames, GRID, GRID)).copy()


def test_normal_motion_is_what_one_frame_in_a_thousand_exceeds_and_the_noise_floor():
    np.testing.assert_allclose(normal_motion(ramp()), 999 + NOISE_FLOOR, rtol=1e-5)


def test_frames_whose_motion_is_not_known_are_passed_over():
    maps = np.concatenate([np.full((50, GRID, GRID), np.nan, np.float16), ramp(), np.full((9, GRID, GRID), np.nan)])
    np.testing.assert_allclose(normal_motion(maps), 999 + NOISE_FLOOR, rtol=1e-5)


def test_without_any_known_motion_the_noise_floor_remains():
    np.testing.assert_array_equal(normal_motion(np.full((3, GRID, GRID), np.nan, np.float16)), NOISE_FLOOR)


def test_normal_motion_reaches_one_cell_further():
    maps = np.zeros((2, GRID, GRID), np.float32)
    maps[:, 20, 30] = 5
    maps[:, 0, 0] = 7
    expected = np.full((GRID, GRID), NOISE_FLOOR, np.float32)
    expected[19:22, 29:32] += 5
    expected[:2, :2] += 7
    np.testing.assert_allclose(normal_motion(maps), expected, rtol=1e-6)
