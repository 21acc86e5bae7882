"""What tests of clips share: views, and an MP4 read back."""

from __future__ import annotations

import io
from dataclasses import dataclass

import av
import numpy as np
from pipeline_fakes import HEIGHT, WIDTH, grey, jpeg

from stream.clip_video import View

T0 = 1_700_000_000.0  # Unix seconds of the first view


@dataclass(frozen=True, slots=True)
class Shown:
    """One frame of a video."""

    time: float  # s since the first
    width: int
    height: int
    level: int  # mean brightness


def a_view(at: float = 0.0, *, level: int = 128, size: tuple[int, int] = (WIDTH, HEIGHT)) -> View:
    """A plain grey view, taken ``at`` seconds."""
    return View(jpeg(grey(level, width=size[0], height=size[1])), size, T0 + at)


def noise(at: float, *, size: tuple[int, int]) -> View:
    """A view that does not compress."""
    pixels = np.random.default_rng(round(at * 1000)).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return View(jpeg(pixels), size, T0 + at)


def play(mp4: bytes) -> list[Shown]:
    """All frames of a video."""
    with av.open(io.BytesIO(mp4)) as video:
        return [
            Shown(round(float(f.time), 3), f.width, f.height, round(float(f.to_ndarray(format="gray").mean())))
            for f in video.decode(video=0)
        ]
