"""What the worker shows of every frame to whoever looks: made only for cameras that somebody watches.

Used by ``worker``. A view that cannot be made is told in the log; scoring goes on.
"""

from __future__ import annotations

import logging
import time
from typing import Protocol

import cv2

from stream.engine import NotScored, Scored
from stream.heat import heat_png
from stream.live import LiveFrame
from stream.messages import FramePacket
from stream.scorelog import ScoreRow
from stream.seldom import Seldom

WHOLE = (0.0, 0.0, 1.0, 1.0)
"""The heat box of a frame without heat."""

_log = logging.getLogger(__name__)


class Publisher(Protocol):
    """Who hands views on, as :class:`stream.live.LivePublisher` does."""

    def wants(self, camera: str) -> bool:
        """Whether a view of this camera is to be made now."""
        ...

    def publish(self, frame: LiveFrame) -> None:
        """Hands it on. Neither waits nor raises."""
        ...


class LiveViews:
    """Shows frames with their results.

    Args:
        publisher: hands them on; None: there is none.
        problem: why not, for the status.
    """

    def __init__(self, publisher: Publisher | None, *, problem: str = "") -> None:
        self._publisher, self.problem = publisher, problem
        self._complaints = Seldom(_log, time.monotonic)

    def show(self, packet: FramePacket, scene: str, row: ScoreRow, result: Scored | NotScored) -> None:
        """The next frame of a camera, with its row in the score log. Costs nothing where nobody watches the camera."""
        if self._publisher is None or not self._publisher.wants(packet.camera):
            return
        try:
            self._publisher.publish(live_frame(packet, scene, row, result))
        except (ValueError, MemoryError, cv2.error) as error:
            self._complaints.warn(f"camera {packet.camera}: a live view cannot be made: {error}")


def live_frame(packet: FramePacket, scene: str, row: ScoreRow, result: Scored | NotScored) -> LiveFrame:
    """The view of a frame. Where the row has no score, it has no heat, and says why.

    Raises:
        ValueError: the score map is none.
    """
    heat, box = b"", WHOLE
    if isinstance(result, Scored) and row.score is not None and row.threshold is not None:
        heat = heat_png(result.score.pixel_scores, row.threshold)
        box = _heat_box(result, packet.source_size)
    return LiveFrame(
        camera=packet.camera,
        scene=scene,
        frame_seq=packet.seq,
        frame_time=packet.frame_time,
        score=row.score,
        threshold=row.threshold,
        alert=row.alert or None,
        problem=row.problem,
        source_size=packet.source_size,
        heat_box=box,
        view_jpeg=packet.view,
        heat_png=heat,
    )


def _heat_box(result: Scored, size: tuple[int, int]) -> tuple[float, float, float, float]:
    width, height = size
    x, y, part_width, part_height = result.scene.preprocess.part(width, height)
    return x / width, y / height, part_width / width, part_height / height
