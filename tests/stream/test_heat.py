"""The heat over a live view: where it is transparent, how it grows, and how large it may be."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from stream.heat import heat_png


def rgba(scores: NDArray[np.float32], threshold: float = 2.0) -> NDArray[np.uint8]:
    picture = cv2.imdecode(np.frombuffer(heat_png(scores, threshold), np.uint8), cv2.IMREAD_UNCHANGED)
    assert picture is not None
    turned: NDArray[np.uint8] = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGRA2RGBA), np.uint8)
    return turned


def one_row(*strengths: float) -> NDArray[np.uint8]:
    """The colours of scores that are so many thresholds high."""
    colours: NDArray[np.uint8] = rgba(np.array([strengths], np.float32) * 2.0)[0]
    return colours


def test_below_half_of_the_threshold_all_is_transparent_and_from_there_on_it_shows() -> None:
    assert [int(a) for a in one_row(0.0, 0.3, 0.499)[:, 3]] == [0, 0, 0]
    assert int(one_row(0.5)[0, 3]) == 70


def test_it_goes_from_light_yellow_to_dark_red() -> None:
    faint, strong = one_row(0.5, 2.0)

    assert tuple(faint[:3]) == (250, 225, 60)
    assert tuple(strong[:3]) == (175, 0, 30)


def test_it_grows_darker_and_denser_with_the_score_and_no_more_from_two_thresholds_on() -> None:
    colours = one_row(0.5, 0.8, 1.0, 1.5, 2.0, 9.0).astype(int)
    grey, alpha = colours[:, :3] @ [299, 587, 114], colours[:, 3]

    assert list(np.sign(np.diff(alpha))) == [1, 1, 1, 1, 0]
    assert list(np.sign(np.diff(grey))) == [-1, -1, -1, -1, 0]
    assert alpha[-1] < 255  # what is under it can be recognised


def test_a_large_map_becomes_small_and_keeps_its_shape() -> None:
    scores = np.zeros((256, 128), np.float32)
    scores[64:128] = 8.0

    picture = rgba(scores)
    assert picture.shape == (160, 80, 4)
    assert list(picture[[20, 60, 100], 40, 3] > 0) == [False, True, False]


def test_a_small_map_keeps_its_size() -> None:
    assert rgba(np.zeros((32, 32), np.float32)).shape == (32, 32, 4)


def test_what_is_no_number_never_reads_as_normal() -> None:
    assert [int(a) for a in one_row(float("nan"), float("inf"))[:, 3]] == [215, 215]


@pytest.mark.parametrize(("shape", "threshold"), [((0, 4), 1.0), ((4, 4, 3), 1.0), ((4, 4), 0.0), ((4, 4), np.nan)])
def test_what_is_no_map_is_refused(shape: tuple[int, ...], threshold: float) -> None:
    with pytest.raises(ValueError, match="no heat can be drawn"):
        heat_png(np.zeros(shape, np.float32), threshold)
