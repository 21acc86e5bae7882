"""Scenes chosen by the picture on real recordings, as docs/galleries.md tells it; ``-s`` prints the figures.

The galleries are two places, one of them by day, as if by infrared light, and in gray. No label is used.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from spade_core.backbone import load_backbone
from spade_core.extractor import FeatureExtractor
from spade_core.preprocess import Preprocess
from spade_core.scene_fit import SceneFit
from stream.scene_choice import CHECKS, FITS, SceneChoice, SceneEntry, ScenePlan

pytestmark = [pytest.mark.data, pytest.mark.slow, pytest.mark.timeout(900)]  # 900 pictures go through the network

Picture = NDArray[np.uint8]
Change = Callable[[Picture], Picture]

_NOISE = np.random.default_rng(0)


class Gallery(SimpleNamespace):
    def __len__(self) -> int:
        return len(self.pooled)


def scoring(picture: Any) -> Picture:
    return np.asarray(cv2.resize(np.asarray(picture)[..., ::-1], (256, 256), interpolation=cv2.INTER_AREA), np.uint8)


def ped2(data: Path, part: str, step: int) -> list[Picture]:
    return [scoring(cv2.imread(str(path))) for path in sorted((data / "ped2" / part).glob("*/*.jpg"))[::step]]


def vtest(data: Path) -> list[Picture]:
    video, found = cv2.VideoCapture(str(data / "video" / "vtest.avi")), []
    while (read := video.read())[0]:
        found.append(scoring(read[1]))
    return found


def as_it_is(picture: Picture) -> Picture:
    return picture


def gray(picture: Picture) -> Picture:
    return np.repeat(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)


def infrared(picture: Picture) -> Picture:
    """Gray, flat, noisy, and lit from the camera: brighter in the middle."""
    level = 255 * (gray(picture).astype(np.float32) / 255) ** 1.6
    rows, columns = np.mgrid[0:256, 0:256]
    light = 0.5 + 0.7 * np.exp(-((columns - 128) ** 2 + (rows - 150) ** 2) / (2 * 90**2))
    noisy = ((level - 128) * 0.7 + 90) * light[..., None] + _NOISE.normal(0, 6, (256, 256, 1))
    return np.asarray(np.clip(noisy, 0, 255), np.uint8)


def dimmed(picture: Picture) -> Picture:
    return np.asarray(picture * 0.7, np.uint8)


def behind_somebody(picture: Picture) -> Picture:
    """A person who stands before the camera and hides a sixth of the picture."""
    shown = picture.copy()
    shown[60:240, 90:160] = (40, 60, 120)
    shown[60:90, 110:140] = (200, 160, 140)
    return shown


@pytest.fixture(scope="module")
def extractor() -> FeatureExtractor:
    return FeatureExtractor(load_backbone("efficientnet_lite0"), Preprocess())


def test_real_pictures_choose_their_scene_and_nobody_in_them_changes_it(
    data: Path, extractor: FeatureExtractor
) -> None:
    def pooled(pictures: list[Picture]) -> NDArray[np.float32]:
        batches = [pictures[start : start + 16] for start in range(0, len(pictures), 16)]
        return np.concatenate([extractor.extract(np.stack(batch)).pooled.float().numpy() for batch in batches])

    def fit(pictures: list[Picture]) -> SceneFit:
        frames = [SimpleNamespace(source="", index=index) for index in range(len(pictures))]
        gallery: Any = Gallery(pooled=pooled(pictures), frames=frames)
        return SceneFit(gallery)

    square, walkway = vtest(data), ped2(data, "train", 16)
    enrolled, later = square[: len(square) // 2 : 4], square[len(square) // 2 :: 15]
    walkway_later = ped2(data, "test", 40)
    fits = {
        "square": fit(enrolled),
        "square by night": fit([infrared(picture) for picture in enrolled]),
        "square in gray": fit([gray(picture) for picture in enrolled]),
        "walkway": fit(walkway),
        "walkway by night": fit([infrared(picture) for picture in walkway]),
    }

    def checked(features: NDArray[np.float32], start: str) -> list[str]:
        """The scene in force after each picture, where ``start`` was in force before."""
        choice = SceneChoice(ScenePlan(tuple(map(SceneEntry, fits)), "picture"))
        choice.see(0.0, dict.fromkeys(fits, 9.0) | {start: 1.0})
        found = []
        for time, row in enumerate(features, start=1):
            choice.see(float(time), {scene: of(row[None]) for scene, of in fits.items()})
            found.append(choice.scene)
        return found

    shows: list[tuple[str, list[Picture], Change]] = [
        ("square", later, as_it_is),
        ("square by night", later, infrared),
        ("square in gray", later, gray),
        ("walkway", walkway_later, as_it_is),
        ("walkway by night", walkway_later, infrared),
    ]
    for scene, pictures, light in shows:
        shown = pooled([light(picture) for picture in pictures])
        own = [fits[scene](row[None]) for row in shown]
        other = [min(of(row[None]) for name, of in fits.items() if name != scene) for row in shown]
        print(f"{scene:18s} own {min(own):.2f} to {max(own):.2f}, best other {min(other):.2f} to {max(other):.2f}")
        assert max(own) < FITS < min(other)
        for start in fits:  # whatever was in force before
            found = checked(shown, start)
            assert found[CHECKS - 1 :] == [scene] * (len(found) - CHECKS + 1), start
        # With somebody before it, and in dimmer light, it stays what it is.
        for disturbed in (behind_somebody, dimmed):
            assert set(checked(pooled([light(disturbed(picture)) for picture in pictures[::2]]), scene)) == {scene}
