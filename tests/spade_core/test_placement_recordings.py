"""The figures of docs/galleries.md, "A camera that was moved", on real recordings; ``-s`` prints them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from picture_changes import BEHIND_A_VAN, CHANGES_OF_LIGHT_AND_QUALITY, MOVES, Change

from spade_core.placement import ScenePlacement

pytestmark = [pytest.mark.data, pytest.mark.slow]

Picture = NDArray[np.uint8]


def ped2(data: Path) -> tuple[list[Picture], list[Picture]]:
    """All training clips; all test clips."""
    train, test = (sorted((data / "ped2" / part).glob("*/*.jpg")) for part in ("train", "test"))
    return [read(path) for path in train[:: len(train) // 48]], [read(path) for path in test]


def vtest(data: Path) -> tuple[list[Picture], list[Picture]]:
    """The first half; the second half."""
    frames = list(frames_of(data / "video" / "vtest.avi"))
    half = len(frames) // 2
    return frames[: half : half // 48], frames[half:]


def read(path: Path) -> Picture:
    return np.ascontiguousarray(np.asarray(cv2.imread(str(path)), np.uint8)[..., ::-1])


def frames_of(path: Path) -> Iterator[Picture]:
    video = cv2.VideoCapture(str(path))
    while (found := video.read())[0]:
        yield np.asarray(cv2.cvtColor(found[1], cv2.COLOR_BGR2RGB), np.uint8)


def thumbnail(picture: Picture) -> Picture:
    height = round(picture.shape[0] * 160 / picture.shape[1])
    return np.asarray(cv2.resize(picture, (160, height), interpolation=cv2.INTER_AREA), np.uint8)


def scoring(picture: Picture) -> Picture:
    return np.asarray(cv2.resize(picture, (256, 256), interpolation=cv2.INTER_AREA), np.uint8)


@pytest.mark.parametrize("recording", [ped2, vtest])
def test_real_cameras_are_in_place_until_they_are_moved(
    data: Path, recording: Callable[[Path], tuple[list[Picture], list[Picture]]]
) -> None:
    normal, later = recording(data)
    scene = ScenePlacement.from_pictures([thumbnail(picture) for picture in normal])
    assert scene.usable
    lowest, highest = scene.normal
    print(f"\n{recording.__name__}: normal agreement {lowest:.2f} to {highest:.2f}, limit {scene.limit:.2f}")

    def found(name: str, pictures: list[Picture], change: Change) -> tuple[float, float]:
        """Parts of the pictures that are out of place, and that are displaced."""
        placed = [scene.compare(scoring(change(picture))) for picture in pictures]
        agreements = [placement.agreement for placement in placed]
        out = sum(placement.in_place is False for placement in placed) / len(placed)
        displaced = sum(placement.displaced for placement in placed) / len(placed)
        print(f"{name:24s} out {out:.3f} displaced {displaced:.3f} ({len(placed)} pictures)", end=" ")
        print(f"agreement {min(agreements):.2f} to {max(agreements):.2f}")
        return out, displaced

    assert found("as it is", later, lambda picture: picture) == (0, 0)
    some = later[:: len(later) // 40]
    for name, change in MOVES.items():
        assert found(name, some, change) == (1, 1)
    for name, change in CHANGES_OF_LIGHT_AND_QUALITY.items():
        assert found(name, some, change) == (0, 0)
    assert found("behind a van", some, BEHIND_A_VAN)[1] == 0
