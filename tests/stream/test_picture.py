"""What a camera's pictures say of the camera: repeated, frozen, covered; and what it costs to find out."""

from __future__ import annotations

import numpy as np
import pytest

from stream.messages import CameraState
from stream.picture import LOOK_EVERY, PictureFault, PictureWatch

HEIGHT, WIDTH = 240, 320


def picture(seed: int = 0) -> np.ndarray:
    """Boxes, with noise of its own."""
    boxes = np.kron(np.random.default_rng(1).integers(40, 200, (12, 16, 3)), np.ones((20, 20, 1)))
    return np.clip(boxes + np.random.default_rng(seed).normal(0, 2, boxes.shape), 0, 255).astype(np.uint8)


def watch(*, frozen_after: float | None = 30.0, obscured_after: float | None = 5.0) -> PictureWatch:
    return PictureWatch(frozen_after=frozen_after, obscured_after=obscured_after)


def faults(watching: PictureWatch, pictures: list[np.ndarray], *, fps: float = 10.0) -> list[PictureFault | None]:
    return [watching.see(image, index / fps) for index, image in enumerate(pictures)]


def test_a_picture_that_is_the_one_before_bit_for_bit_is_repeated() -> None:
    watching = watch()
    seen = []
    for image in (picture(), picture(), picture(1), picture(1), picture()):
        watching.see(image, 0.0)
        seen.append(watching.repeated)

    assert seen == [False, True, False, True, False]


def test_one_bit_makes_another_picture_wherever_it_is() -> None:
    other = picture()
    other[17, 33, 2] ^= 1
    watching = watch()
    watching.see(picture(), 0.0)
    watching.see(other, 0.1)

    assert not watching.repeated


def test_pictures_of_another_size_are_no_repetition() -> None:
    watching = watch(frozen_after=None, obscured_after=None)
    watching.see(picture(), 0.0)
    watching.see(picture()[:120], 0.1)

    assert not watching.repeated


def test_a_camera_that_repeats_itself_is_frozen_after_the_time_and_not_before() -> None:
    found = faults(watch(frozen_after=3.0), [picture()] * 40)

    assert [fault is not None for fault in found] == [False] * 30 + [True] * 10
    assert found[-1] == PictureFault(
        CameraState.FROZEN, "the picture has not changed for 3 s: the camera repeats itself"
    )


def test_a_lens_that_is_covered_is_obscured_and_not_frozen() -> None:
    black = [np.zeros((HEIGHT, WIDTH, 3), np.uint8)] * 80
    found = faults(watch(frozen_after=3.0, obscured_after=3.0), black)

    assert found[-1] is not None
    assert found[-1].state is CameraState.OBSCURED


def test_a_clock_that_the_camera_writes_into_a_frozen_or_black_picture_does_not_hide_it() -> None:
    def with_clock(image: np.ndarray, tick: int) -> np.ndarray:
        image = image.copy()
        image[2:20, 10:200] = np.random.default_rng(tick).integers(0, 255, (18, 190, 1))
        return image

    frozen = faults(watch(frozen_after=5.0), [with_clock(picture(), tick) for tick in range(80)])
    black = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    covered = faults(watch(), [with_clock(black, tick) for tick in range(80)])

    assert frozen[-1] is not None
    assert frozen[-1].state is CameraState.FROZEN
    assert covered[-1] is not None
    assert covered[-1].state is CameraState.OBSCURED


def test_a_scene_with_nothing_but_noise_moving_is_fine() -> None:
    assert not any(faults(watch(frozen_after=5.0), [picture(seed) for seed in range(100)]))


def test_what_is_switched_off_is_not_found() -> None:
    black = [np.zeros((HEIGHT, WIDTH, 3), np.uint8)] * 100

    assert not any(faults(watch(frozen_after=None, obscured_after=None), black))
    assert not any(faults(watch(frozen_after=None), [picture()] * 100))


def test_between_two_looks_the_last_word_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []
    watching = watch()
    monkeypatch.setattr(watching, "_look", lambda image, time: looks.append(time))
    faults(watching, [picture()] * 35)

    assert LOOK_EVERY == 1.0
    assert looks == [0.0, 1.0, 2.0, 3.0]
