"""What happens to a camera's pictures: it is moved, or it is not. For the tests of placement."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Change = Callable[[Picture], Picture]


def moved(*, right: float = 0.0, down: float = 0.0, turn: float = 0.0, zoom: float = 1.0) -> Change:
    """Turned (degrees clockwise) and zoomed about the centre, then shifted by parts of the picture."""

    def change(picture: Picture) -> Picture:
        height, width = picture.shape[:2]
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -turn, zoom)
        matrix[:, 2] += (right * width, down * height)
        return np.asarray(cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT), np.uint8)

    return change


def _by_value(function: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Change:
    table = (np.clip(function(np.arange(256) / 255), 0, 1) * 255).astype(np.uint8)  # gray levels, as 0..1
    return lambda picture: table[picture]


def _blurred(picture: Picture) -> Picture:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), picture.shape[1] / 100), np.uint8)


def _noisy(picture: Picture) -> Picture:
    noise = np.random.default_rng(0).normal(0, 20, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def _as_poor_jpeg(picture: Picture) -> Picture:
    data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 10])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def _behind_a_van(picture: Picture) -> Picture:
    third = picture.shape[1] // 3
    van = np.random.default_rng(0).integers(0, 255, (6, 5, 3), np.uint8)
    covered = picture.copy()
    covered[:, third : 2 * third] = cv2.resize(van, (third, picture.shape[0]), interpolation=cv2.INTER_LINEAR)
    return covered


def with_clock(picture: Picture) -> Picture:
    """What cameras write into their pictures."""
    written, scale = picture.copy(), picture.shape[1] / 640
    for text, y in (("2026-11-25 21:58:03", 0.06), ("CAM 04 NORTH GATE", 0.97)):
        at = (round(10 * scale), round(y * picture.shape[0]))
        for colour, thickness in ((0, 4), (255, 1.5)):
            thick = max(1, round(thickness * scale))
            cv2.putText(written, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.6 * scale, (colour,) * 3, thick)
    return written


MOVES: dict[str, Change] = {
    **{f"shifted by {part:.0%}": moved(right=part) for part in (0.03, 0.05, 0.1, 0.2)},
    "shifted up by 3%": moved(down=-0.03),
    "turned by 3 degrees": moved(turn=3.0),
    "turned by -5 degrees": moved(turn=-5.0),
    "turned by 3, shifted by 5%": moved(turn=3.0, right=0.05),
    "zoomed in by 10%": moved(zoom=1.1),
    "zoomed out by 10%": moved(zoom=0.9),
}
"""A camera out of its place."""

CHANGES_OF_LIGHT_AND_QUALITY: dict[str, Change] = {
    "brightness x 0.4": _by_value(lambda level: level * 0.4),
    "brightness x 1.8": _by_value(lambda level: level * 1.8),
    "gamma 0.5": _by_value(lambda level: level**0.5),
    "gamma 2": _by_value(lambda level: level**2),
    "negative": _by_value(lambda level: 1 - level),
    "blurred": _blurred,  # sigma 1 % of the width
    "noise": _noisy,  # sigma 20 gray levels
    "JPEG quality 10": _as_poor_jpeg,
}
"""A camera in its place."""

BEHIND_A_VAN: Change = _behind_a_van
"""A third of the picture, over its whole height, is hidden by something with edges of its own."""
