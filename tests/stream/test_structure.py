"""Whether there is anything to see: a covered lens has no edges, however much noise lies over it."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from stream.structure import RECOVERY, Structure

HEIGHT, WIDTH = 216, 480
RANDOM = np.random.default_rng(5)


def scene(contrast: float = 1.0) -> np.ndarray:
    """Boxes of every brightness."""
    boxes = np.random.default_rng(1).integers(0, 200, (9, 20)).astype(np.float32) * contrast
    return cv2.resize(boxes, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)


def shading() -> np.ndarray:
    """What light leaves on a hand: smooth from dark to bright."""
    return np.tile(np.linspace(20, 150, WIDTH, dtype=np.float32), (HEIGHT, 1))


def plain(level: float) -> np.ndarray:
    return np.full((HEIGHT, WIDTH), level, np.float32)


def noisy(picture: np.ndarray, sigma: float) -> np.ndarray:
    return np.clip(picture + RANDOM.normal(0, sigma, picture.shape), 0, 255).astype(np.uint8)


def said(structure: Structure, pictures: list[np.ndarray], start: float = 0.0) -> Iterator[str | None]:
    for second, picture in enumerate(pictures):
        yield structure.look(picture, start + second)


COVERED = {
    "black": plain(0),
    "one colour": plain(120),
    "a smooth shading": shading(),
    "a blur": cv2.GaussianBlur(scene(), (0, 0), 60),
}


@pytest.mark.parametrize("name", COVERED)
@pytest.mark.parametrize("sigma", [0.0, 3.0, 10.0])
def test_a_picture_without_structure_is_covered_after_the_time_also_under_noise(name: str, sigma: float) -> None:
    found = list(said(Structure(5.0), [noisy(COVERED[name], sigma) for _ in range(9)]))

    assert found[:5] == [None] * 5
    assert all(found[-2:]), "two looks more, for the first one has no noise to compare with"


@pytest.mark.parametrize(("contrast", "sigma"), [(1.0, 3.0), (0.12, 0.0), (0.12, 6.0)])
def test_a_picture_with_structure_is_not_however_dark_and_noisy(contrast: float, sigma: float) -> None:
    assert not any(said(Structure(5.0), [noisy(scene(contrast), sigma) for _ in range(30)]))


def test_the_reason_tells_black_from_covered() -> None:
    black = list(said(Structure(2.0), [noisy(plain(0), 0)] * 4))[-1]
    grey = list(said(Structure(2.0), [noisy(plain(120), 0)] * 4))[-1]

    assert black == "the picture has been black for 3 s: is the lens covered, or is there no light?"
    assert grey == "nothing has been to see in the picture for 3 s: is something on or before the lens?"


def test_a_cover_that_is_gone_before_the_time_is_nothing() -> None:
    pictures = [noisy(plain(0), 3)] * 3 + [noisy(scene(), 3)] + [noisy(plain(0), 3)] * 4

    assert not any(said(Structure(5.0), pictures))


def test_it_is_free_again_once_something_was_to_be_seen_for_a_second() -> None:
    structure = Structure(3.0)
    covered = list(said(structure, [noisy(plain(0), 3) for _ in range(8)]))
    freed = list(said(structure, [noisy(scene(), 3) for _ in range(3)], start=8.0))

    assert covered[-1] is not None
    assert RECOVERY == 1.0
    assert freed[0] is not None
    assert freed[1:] == [None, None]


def test_one_good_picture_among_bad_ones_frees_nothing() -> None:
    structure = Structure(3.0)
    list(said(structure, [noisy(plain(0), 3) for _ in range(8)]))
    blinks = [noisy(scene(), 3), noisy(plain(0), 3), noisy(scene(), 3), noisy(plain(0), 3)]

    assert all(said(structure, blinks, start=8.0))
