"""Whether a picture is frozen: exact repetitions and the flicker of a codec are, the noise of a sensor is not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import numpy as np
import pytest

from stream.stillness import Stillness

HEIGHT, WIDTH = 120, 160
AFTER = 30.0


def scene() -> np.ndarray:
    """A shading with boxes in it, away from black and white."""
    picture = np.tile(np.linspace(60, 160, WIDTH, dtype=np.float32), (HEIGHT, 1))
    picture[20:60, 30:90] = 90
    picture[70:110, 100:140] = 180
    return picture


def live(seconds: int, sigma: float, *, fps: int = 1, seed: int = 0) -> Iterator[np.ndarray]:
    """A scene in which nothing moves, with a sensor's noise."""
    random = np.random.default_rng(seed)
    for _ in range(seconds * fps):
        yield np.clip(np.rint(scene() + random.normal(0, sigma, (HEIGHT, WIDTH))), 0, 255).astype(np.uint8)


def frozen(seconds: int, *, fps: int = 1) -> Iterator[np.ndarray]:
    picture = next(live(1, 2.0))
    for _ in range(seconds * fps):
        yield picture.copy()


def through_h264(pictures: Iterable[np.ndarray], *, fps: int, options: dict[str, str]) -> Iterator[np.ndarray]:
    """What a camera's encoder makes of them; one picture a second."""
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, fps), Fraction(fps)
    encoder.options = {"preset": "veryfast", "tune": "zerolatency", **options}
    decoder = av.CodecContext.create("h264", "r")
    count = 0
    for number, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(np.dstack([picture] * 3), format="bgr24").reformat(format="yuv420p")
        frame.pts, frame.time_base = number, Fraction(1, fps)
        for packet in encoder.encode(frame):
            for decoded in decoder.decode(packet):
                if count % fps == 0:
                    yield np.ascontiguousarray(decoded.to_ndarray(format="bgr24")[..., 1])
                count += 1


def said(stillness: Stillness, pictures: Iterable[np.ndarray], start: int = 0) -> list[str | None]:
    return [stillness.look(picture, float(start + second)) for second, picture in enumerate(pictures)]


def test_a_picture_that_comes_again_and_again_is_frozen_after_the_time() -> None:
    found = said(Stillness(AFTER), frozen(33))

    assert found[:30] == [None] * 30
    assert found[30] == "the picture has not changed for 30 s: the camera repeats itself"
    assert found[32] == "the picture has not changed for 32 s: the camera repeats itself"


@pytest.mark.parametrize("sigma", [0.5, 1.0, 4.0])
def test_the_noise_of_a_sensor_is_life_enough(sigma: float) -> None:
    assert not any(said(Stillness(AFTER), live(90, sigma)))


def test_a_walker_far_away_before_a_picture_without_noise_is_life() -> None:
    def walk() -> Iterator[np.ndarray]:
        for second in range(90):
            picture = scene().astype(np.uint8)
            picture[80:84, second : second + 2] = 20  # 8 pixels of 19,200
            yield picture

    assert not any(said(Stillness(AFTER), walk()))


ENCODERS = {
    "constant quality, key frame every 5 s": {"crf": "28", "g": "25"},
    "bit rate to spare, key frame every 2 s": {"b": "2000000", "g": "10"},
}


@pytest.mark.parametrize("name", ENCODERS)
def test_a_frozen_picture_that_is_encoded_anew_is_frozen_all_the_same(name: str) -> None:
    found = said(Stillness(AFTER), through_h264(frozen(90, fps=5), fps=5, options=ENCODERS[name]))

    assert found[-1] is not None
    assert not any(found[:30])


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("sigma", [1.0, 3.0])
def test_a_quiet_scene_is_live_although_an_encoder_takes_most_of_its_noise(name: str, sigma: float) -> None:
    assert not any(said(Stillness(AFTER), through_h264(live(90, sigma, fps=5), fps=5, options=ENCODERS[name])))


def test_the_reason_says_that_only_the_coding_flickers() -> None:
    first, second = (next(live(1, 0.0)) for _ in range(2))
    second[::16, ::16] += 1  # 0.004 grey levels on average
    found = said(Stillness(AFTER), [first, second] * 20)

    assert found[-1] is not None
    assert found[-1].endswith("nothing in it is new but the flicker of its coding")


def test_it_is_live_again_with_the_first_picture_that_is_new() -> None:
    stillness = Stillness(AFTER)
    said(stillness, frozen(40))

    assert said(stillness, live(3, 2.0, seed=9), start=40) == [None, None, None]


def hunting(seconds: int) -> Iterator[np.ndarray]:
    """A still picture whose encoder looks for a bit rate: every other second it comes a little different."""
    random = np.random.default_rng(3)
    for second in range(seconds):
        sigma = 0.4 if second % 2 else 0.0
        yield np.clip(np.rint(scene() + random.normal(0, sigma, (HEIGHT, WIDTH))), 0, 255).astype(np.uint8)


def test_a_camera_whose_noise_is_known_is_frozen_when_it_is_gone_though_the_coding_still_makes_something_new() -> None:
    stillness = Stillness(AFTER)
    before = said(stillness, live(400, 2.0))
    after = said(stillness, hunting(40), start=400)

    assert not any(before)
    assert after[-1] is not None


def test_the_same_on_a_camera_that_was_never_watched_counts_as_live() -> None:
    assert not any(said(Stillness(AFTER), hunting(100)))
