"""Makes small video files whose frames can be told apart: frame ``i`` is plain grey of brightness ``level(i)``."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from stream.errors import SourceError
from stream.sources.base import Source, SourceFrame

WIDTH, HEIGHT, FPS, COUNT = 160, 120, 10, 20


def level(index: int) -> int:
    """Brightness of frame ``index``: 20, 30, 40, ... over 20 frames, then from the beginning."""
    return 20 + 10 * (index % COUNT)


def brightness(image: np.ndarray) -> float:
    """What :func:`level` was, give or take the loss of compression."""
    return float(image.mean())


def make_video(
    path: Path,
    *,
    codec: str,
    count: int = COUNT,
    times: Iterable[int] | None = None,
    container: dict[str, str] | None = None,
    options: dict[str, str] | None = None,
    noise: int = 0,
    skip: int = 0,
) -> Path:
    """Writes ``count`` frames at 10 frames per second; ``times`` are their time stamps in frames where they differ.

    The first ``skip`` packets are left out of the file.
    """
    random = np.random.default_rng(0)
    with av.open(str(path), "w", options=container or {}) as file:
        stream = file.add_stream(codec, rate=FPS, options=options or {})
        stream.width, stream.height = WIDTH, HEIGHT
        stream.bit_rate = 4_000_000
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.time_base = Fraction(1, FPS)
        packets: list[av.Packet] = []
        for index, time in enumerate(times or range(count)):
            pixels = np.full((HEIGHT, WIDTH, 3), level(index), np.int16)
            pixels += random.integers(-noise, noise + 1, pixels.shape, np.int16)
            frame = av.VideoFrame.from_ndarray(np.clip(pixels, 0, 255).astype(np.uint8), format="bgr24")
            frame.pts, frame.time_base = time, Fraction(1, FPS)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        file.mux(packets[skip:])
    return path


def cut(path: Path, to: Path, *, keep: float) -> Path:
    """Copies the first part of a file; an odd number of bytes, so that it ends within an MPEG packet of 188."""
    data = path.read_bytes()
    to.write_bytes(data[: int(len(data) * keep) | 1])
    return to


def read(source: Source) -> tuple[list[SourceFrame], SourceError | None]:
    """All frames, and what ended them (None = the end)."""
    frames: list[SourceFrame] = []
    try:
        for frame in source.frames():
            frames.append(frame)
    except SourceError as error:
        return frames, error
    finally:
        source.close()
    return frames, None
