"""Films of a small synthetic scene: as it normally is, and with an object painted over that nobody can miss."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from stream.campus.scene import CampusScene
from stream.campus.script import normal_script
from stream.campus.video import render_video

WIDTH, HEIGHT, FPS = 320, 180, 10
NORMAL_START, NORMAL_COUNT = 100, 240  # frames of the scene: 24 s, in which somebody has walked everywhere
PAINTED_START = NORMAL_START + NORMAL_COUNT  # what the gallery has never seen
SIDE = 80  # pixels of the board, both ways
SPEED = 60  # pixels it slides in a second

Spans = tuple[tuple[float, float], ...]
"""(first, after the last) second of the film in which the board is there."""

ONCE: Spans = ((4.0, 6.5),)
ONCE_COUNT = 100  # frames of the film
THRICE: Spans = ((4.0, 6.5), (12.0, 14.5), (19.0, 21.5))
THRICE_COUNT = 240


def film_normal(path: Path) -> Path:
    """The scene as it is, for its gallery."""
    render_video(_scene(), path, start=NORMAL_START, count=NORMAL_COUNT)
    return path


def film_painted(path: Path, spans: Spans, count: int) -> Path:
    """The scene some time later, with a checkered board that slides through."""
    render_video(_Painted(_scene(), spans), path, start=PAINTED_START, count=count)  # type: ignore[arg-type]
    return path


def as_motion_jpeg(video: Path, path: Path) -> Path:
    """The same film as Motion JPEG in an AVI, which every GStreamer can decode."""
    with av.open(str(video)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream("mjpeg", rate=FPS, options={"q:v": "3"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
        stream.codec_context.time_base = Fraction(1, FPS)
        for index, frame in enumerate(source.decode(video=0)):
            picture = av.VideoFrame.from_ndarray(frame.to_ndarray(format="bgr24"), format="bgr24")
            picture.pts, picture.time_base = index, Fraction(1, FPS)
            target.mux(stream.encode(picture))
        target.mux(stream.encode(None))
    return path


def board_box(seconds: float, spans: Spans) -> tuple[int, int, int, int] | None:
    """Where the board is at this second of the film: left, top, right, bottom, the last two excluded."""
    for first, after in spans:
        if first <= seconds < after:
            left, top = 40 + round((seconds - first) * SPEED), 60
            return left, top, left + SIDE, top + SIDE
    return None


class _Painted:
    """What ``render_video`` asks of a scene."""

    def __init__(self, scene: CampusScene, spans: Spans) -> None:
        self._scene, self._spans = scene, spans
        self.width, self.height, self.fps, self.frame_count = scene.width, scene.height, scene.fps, scene.frame_count

    def render(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        picture, truth = self._scene.render(index)
        if box := board_box((index - PAINTED_START) / FPS, self._spans):
            left, top, right, bottom = box
            light = (np.indices((SIDE, SIDE)) // 10).sum(axis=0) % 2 * np.uint8(255)
            picture = picture.copy()
            picture[top:bottom, left:right] = np.stack([light, 255 - light, light], axis=-1)
        return picture, truth


def _scene() -> CampusScene:
    return CampusScene(seed=3, width=WIDTH, height=HEIGHT, fps=FPS, script=normal_script(None, 0))
