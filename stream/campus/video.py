"""The scene as a file: what a recorder would have stored, for everything that reads video."""

from __future__ import annotations

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from stream.campus.scene import CampusScene
from stream.errors import UsageError

_QUALITY = "20"  # x264's constant rate factor: good, as cameras that are not short of bandwidth store it
_PRESET = "veryfast"  # rendering is the larger part of the time


def render_video(
    scene: CampusScene,
    path: Path | str,
    *,
    start: int = 0,
    count: int,
    on_frame: Callable[[int, NDArray[np.uint8]], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Writes frames ``start`` .. ``start + count - 1`` as H.264 in an MP4 that can be played while it is fetched.

    The file appears under its name when it is complete; an error leaves what was there before.

    Args:
        scene: gives pictures and truth.
        path: the file; its folder must exist.
        start: index of the first frame in the scene.
        count: number of frames.
        on_frame: called with the frame's index in the scene and its truth (H, W), 255 = anomalous.
        on_progress: called with the number of frames written so far, and ``count``.

    Raises:
        UsageError: H.264 in its common form cannot hold this size, or the scene does not have these frames.
    """
    _check(scene, start, count)
    target = Path(path)
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with av.open(partial, "w", format="mp4", options={"movflags": "faststart"}) as container:
            rate = Fraction(scene.fps).limit_denominator(1001)
            video = container.add_stream("libx264", rate=rate, options={"crf": _QUALITY, "preset": _PRESET})
            video.width, video.height, video.pix_fmt = scene.width, scene.height, "yuv420p"
            for done, index in enumerate(range(start, start + count), 1):
                picture, truth = scene.render(index)
                container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
                if on_frame is not None:
                    on_frame(index, truth)
                if on_progress is not None:
                    on_progress(done, count)
            container.mux(video.encode(None))
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _check(scene: CampusScene, start: int, count: int) -> None:
    if scene.width % 2 or scene.height % 2:
        raise UsageError(f"a video of {scene.width}x{scene.height} pixels: H.264 needs even sides")
    if start < 0 or count < 1:
        raise UsageError(
            f"a video of {count} frames from frame {start}: give a count of 1 or more, a start of 0 or more"
        )
    if scene.frame_count is not None and start + count > scene.frame_count:
        raise UsageError(
            f"a video of frames {start}..{start + count - 1}: the scene has {scene.frame_count}, counted from 0"
        )
