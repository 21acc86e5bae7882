"""Views of a camera as an MP4 in memory: H.264, and browsers play it while it loads. For ``clip_thread`` alone.

Each view is decoded, scaled and encoded as it is added, so that a clip is nearly ready when its alert ends.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray

from stream.pictures import decode_jpeg

MAX_CLIP_BYTES = 16 << 20
"""Most bytes of one MP4: it travels as one part of a message, and a subscriber may have 32 messages on their way."""

BEST_CODEC, OTHER_CODEC = "libx264", "mpeg4"
"""What browsers play, and what every FFmpeg build has."""

_MAX_WIDTH = 4096  # pixels: what the common levels of H.264 allow
_TICK = Fraction(1, 1000)  # s: times in the clip are those of the frames, to the millisecond
_INDEX_BYTES = 64 << 10  # of an MP4's own tables: some 20 bytes a frame, and a clip has a few thousand at most
_BT709 = 1  # FFmpeg's number for it, as matrix, primaries and transfer: what players expect where nothing is said
_LIMITED_RANGE = 1  # FFmpeg's number: 16 to 235

# crf 26: a person at 720p is recognisable at about 10 KB a frame. No B frames and a short look-ahead: a clip in the
# making then holds some 20 MB instead of 70, and its end takes 50 ms. g: most frames between two that one can jump to.
_X264 = {"preset": "veryfast", "crf": "26", "bf": "0", "rc-lookahead": "4", "g": "50"}
_MPEG4_BIT_RATE = 4_000_000  # bits a second of video: mpeg4 needs about twice what H.264 does at 720p


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One frame as a picture."""

    jpeg: bytes
    size: tuple[int, int]  # (width, height) in pixels that the JPEG is said to have
    time: float  # Unix seconds: when the scene looked like this


def available_codec() -> str:
    """The better codec that this FFmpeg build can encode with."""
    return BEST_CODEC if BEST_CODEC in av.codecs_available else OTHER_CODEC


class ClipVideo:
    """One clip, used by one thread. The picture keeps the size that follows from the first view.

    Args:
        height: of the video in pixels at most, even; views are made smaller, never larger.
        codec: name in FFmpeg.
        max_bytes: of the MP4; what comes after that is left out.
    """

    def __init__(self, *, height: int, codec: str = BEST_CODEC, max_bytes: int = MAX_CLIP_BYTES) -> None:
        self._height, self._codec, self._room = height, codec, max_bytes - _INDEX_BYTES
        self._memory = io.BytesIO()
        self._container: Any = None  # made with the first view, whose size it needs
        self._stream: Any = None
        self._scaler = VideoReformatter()
        self._start, self._last = 0.0, -1  # Unix seconds of the first view; last time stamp, ticks
        self.full = False

    def add(self, view: View) -> bool:
        """Encodes the next view. False: it was left out, as the clip is full or the view is not later than the last.

        Raises:
            ValueError: the view is no picture of the size that it is said to have. The clip can go on without it.
            av.FFmpegError, OSError: it cannot be encoded; the clip is lost.
        """
        if self.full:
            return False
        if self._container is not None and self._ticks(view) <= self._last:
            return False
        picture = decode_jpeg(view.jpeg, size=view.size)
        if self._container is None:
            self._open(view)
        frame = self._frame(picture)
        frame.pts, frame.time_base = self._ticks(view), _TICK
        self._last = frame.pts
        self._write(self._stream.encode(frame))
        return True

    def finish(self) -> bytes:
        """The MP4; empty where there was no view. Nothing can be added any more.

        Raises:
            av.FFmpegError, OSError: as :meth:`add`.
        """
        if self._container is None:
            return b""
        self._write(self._stream.encode(None))
        self.close()
        return self._memory.getvalue()

    def close(self) -> None:
        """Gives up the encoder's memory. May be called twice."""
        container, self._container = self._container, None
        self._stream, self.full = None, True
        if container is not None:
            container.close()

    def _open(self, view: View) -> None:
        self._start = view.time
        self._container = av.open(
            self._memory,
            "w",
            format="mp4",
            options={"movflags": "+faststart"},  # the index in front, for players that have only the beginning
            io_open=self._open_again,
        )
        self._stream = stream = self._container.add_stream(
            self._codec, rate=5, options=dict(_X264) if self._codec == BEST_CODEC else {}
        )
        stream.width, stream.height = _fitting(view.size, self._height)
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = _TICK
        context.thread_count = 1  # it shall work on the calling thread, whose priority is low
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED_RANGE
        if self._codec != BEST_CODEC:
            stream.bit_rate = _MPEG4_BIT_RATE

    def _open_again(self, url: str, flags: int, options: object) -> _Reading:
        """What FFmpeg asks for to move the index to the front: the same bytes, read at a place of their own."""
        return _Reading(self._memory)

    def _ticks(self, view: View) -> int:
        return round((view.time - self._start) / _TICK)

    def _frame(self, picture: NDArray[np.uint8]) -> av.VideoFrame:
        # swscale and not OpenCV: OpenCV would hand it to threads of the ordinary priority.
        return self._scaler.reformat(
            av.VideoFrame.from_ndarray(picture, format="bgr24"),
            self._stream.width,
            self._stream.height,
            "yuv420p",
            dst_colorspace=Colorspace.ITU709,
            interpolation=Interpolation.BILINEAR,
            threads=1,
        )

    def _write(self, packets: Iterable[Any]) -> None:
        for packet in packets:
            # Without B frames, packets come in the order of their frames: what is left out is the end.
            self.full = self.full or packet.size > self._room
            if not self.full:
                self._room -= packet.size
                self._container.mux(packet)


class _Reading(io.RawIOBase):
    """Reads what another object writes, at a place of its own."""

    def __init__(self, memory: io.BytesIO) -> None:
        self._memory, self._at = memory, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        with self._memory.getbuffer() as written:  # released at once: while it is held, nothing more can be written
            data = bytes(written[self._at : len(written) if size < 0 else self._at + size])
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        end = self._memory.getbuffer().nbytes
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: end}[whence]
        return self._at

    def tell(self) -> int:
        return self._at


def _fitting(size: tuple[int, int], height: int) -> tuple[int, int]:
    """Width and height of the video for views of this size: even, as codecs want it, and not larger than they are."""
    scale = min(1.0, height / size[1], _MAX_WIDTH / size[0])
    width, tall = (max(2, round(side * scale) // 2 * 2) for side in size)
    return width, tall
