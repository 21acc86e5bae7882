"""Stand-ins for parts of the pipeline: a clock, a source of plain grey frames, frames on their way, a short folder."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from stream.messages import FramePacket
from stream.sources.base import SourceFrame, SourceInfo

PATIENCE_S = 60.0  # how long a test waits for what must happen: the machine may be busy with other things
WIDTH, HEIGHT = 64, 48


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self, now: float = 100.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def wait_until(condition: Callable[[], Any], *, step: Callable[[], object] = lambda: time.sleep(0.002)) -> None:
    """Steps until the condition holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "what the test waits for did not happen"
        step()


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for a Unix socket."""
    folder = Path(tempfile.mkdtemp(prefix="sp-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def grey(level: int, *, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def jpeg(image: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".jpg", image)[1].tobytes())


def a_packet(seq: int = 0, *, camera: str = "gate", side: int = 32, **fields: Any) -> FramePacket:
    """A frame taken at ``seq`` tenths of a second."""
    values: dict[str, Any] = {
        "camera": camera,
        "seq": seq,
        "frame_time": 1000.0 + seq / 10,
        "media_time": seq / 10,
        "captured_mono": 0.0,
        "segment": "",
        "source_size": (WIDTH, HEIGHT),
        "image": np.full((side, side, 3), seq % 256, np.uint8),
        "motion": None,
        "view": jpeg(grey(128)),
        "drops": {},
    }
    return FramePacket(**(values | fields))


class GreySource:
    """Hands out ``count`` frames of brightness 10, 11, 12 ...; then ends, or raises.

    Args:
        count: frames.
        fps: their rate.
        live: as a camera is.
        error: raised after the last frame.
        segments: name of the segment of each frame.
        gate: waited for before each frame, where given; called with the frame's index.
    """

    def __init__(
        self,
        count: int = 5,
        *,
        fps: float = 10.0,
        live: bool = False,
        error: Exception | None = None,
        segments: Sequence[str] = (),
        gate: Callable[[int], object] = lambda index: None,
    ) -> None:
        self._count, self._fps, self._error, self._segments, self._gate = count, fps, error, segments, gate
        self.info = SourceInfo("grey", WIDTH, HEIGHT, fps, None if live else count, live)
        self.closed = threading.Event()

    def frames(self) -> Iterator[SourceFrame]:
        for index in range(self._count):
            self._gate(index)
            if self.closed.is_set():
                return
            segment = self._segments[index] if self._segments else ""
            yield SourceFrame(index, index / self._fps, grey(10 + index % 200), segment)
        if self._error:
            raise self._error

    def close(self) -> None:
        self.closed.set()
