"""Video files and network cameras, through PyAV (FFmpeg). Used through ``open_source``."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import av.container
import av.error
import numpy as np
from av.codec.context import Flags
from av.video.reformatter import VideoReformatter

from stream.errors import SourceCorrupt, SourceStalled, SourceUnreachable
from stream.redact import redact_url
from stream.sources.base import DAMAGE_PATIENCE, SourceFrame, SourceInfo
from stream.sources.completeness import count_frames, judged_packets, missing_bytes
from stream.sources.ffmpeg import FALLBACK_INTERVAL, MAX_PIXELS, open_container, read_fault
from stream.sources.frame_index import FrameIndex
from stream.sources.handle import Handle
from stream.sources.media_clock import MediaClock

log = logging.getLogger(__name__)

_MAX_FPS = 1000.0  # a higher "rate" is the resolution of the stream's clock


class VideoSource:
    """Frames of a video file or of a network camera.

    A file is read whole: a frame that cannot be decoded is left out, leaves a hole in the indices, and is reported by
    SourceCorrupt at the end, as is an end that comes too early. A camera's damaged frames are left out and counted; its
    end is always an error, since a camera does not end.

    Args:
        location: a file (Path) or an address (str).
        open_timeout: seconds to wait for a camera to answer (looking up its name is not bounded by it).
        read_timeout: seconds to wait for a camera's next frame.
        clock: seconds, monotonic.

    Raises:
        SourceError: see ``open_source``.
    """

    def __init__(
        self,
        location: Path | str,
        *,
        open_timeout: float = 5.0,
        read_timeout: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = redact_url(location) if isinstance(location, str) else str(location)
        self._read_timeout = read_timeout
        self._clock = clock
        self._container = open_container(
            location, self._name, open_timeout=open_timeout, read_timeout=read_timeout, clock=clock
        )
        self._handle = Handle(self._container.close)
        try:
            self._missing_bytes = missing_bytes(location) if isinstance(location, Path) else 0
            self._info = self._describe(location)
        except BaseException:
            self._handle.close()
            raise
        self._prepare_decoder()
        interval = 1 / self._info.fps if self._info.fps else FALLBACK_INTERVAL
        # A camera that was silent for longer than the time-out is not read any more, so twice that is no gap.
        longest_gap = max(1.0, 2 * read_timeout) if self._info.live else None
        self._media_clock = MediaClock(interval, longest_gap=longest_gap)
        self._reformatter = VideoReformatter()  # kept: a new one for every frame costs three times the conversion
        self._started = False
        self._numbers = FrameIndex()
        self._key_frame_seen = not self._info.live

    @property
    def info(self) -> SourceInfo:
        return self._info

    @property
    def corrupt_frames(self) -> int:
        """How many frames have been left out so far because they are damaged."""
        return self._numbers.damaged

    def frames(self) -> Iterator[SourceFrame]:
        if self._started:
            raise RuntimeError(f"{self._name}: frames() may be called once; open the source again")
        self._started = True
        return self._frames()

    def close(self) -> None:
        """Ends ``frames`` at the latest after the read time-out, if another thread is waiting in it."""
        self._handle.close()

    def _describe(self, location: Path | str) -> SourceInfo:
        stream = self._container.streams.video[0]
        count = None
        if isinstance(location, Path):
            count = count_frames(self._container, location, complete=not self._missing_bytes)
        rate = stream.guessed_rate or stream.average_rate
        return SourceInfo(
            name=self._name,
            width=stream.codec_context.width,
            height=stream.codec_context.height,
            fps=float(rate) if rate and 0 < rate <= _MAX_FPS else None,
            frame_count=count,
            live=_is_live(self._container, location),
        )

    def _prepare_decoder(self) -> None:
        stream = self._container.streams.video[0]
        self._declared_frames = stream.frames or None
        self._timestamp = _timestamps(self._container, self._clock)
        decoder = stream.codec_context
        decoder.options = {"max_pixels": str(MAX_PIXELS)}
        # Not AUTO: FFmpeg's frame threads delay a camera's frames, and in a file that is damaged or cut short they mark
        # frames differently from run to run, for no gain in speed that scoring would notice. And one thread: a reader
        # keeps to one core, and most cameras send one slice a frame, for which more threads only wait for each other.
        stream.thread_type, decoder.thread_count = "SLICE", 1
        if self._info.live:
            decoder.flags |= Flags.low_delay
        self._decoder = decoder
        self._packets = judged_packets(self._container, complete=not self._missing_bytes)

    def _frames(self) -> Iterator[SourceFrame]:
        last_good = asked = self._clock()
        while (decoded := self._handle.run(self._step)) is not None:
            self._check_wait(self._clock() - asked)
            for frame in decoded:
                if self._handle.closing:
                    return
                if frame.is_corrupt:
                    self._media_time(frame)
                    self._numbers.damaged_frame()
                    continue
                yield self._source_frame(frame)
                last_good = self._clock()
            asked = self._clock()
            if self._info.live and asked - last_good > max(DAMAGE_PATIENCE, self._read_timeout):
                raise SourceCorrupt(f"{self._name}: only damaged data for {asked - last_good:.0f} s {self._so_far()}")
        if not self._handle.closing:
            self._check_end()

    def _step(self) -> list[av.VideoFrame] | None:
        """Frames that the next packet completes; None at the end."""
        try:
            packet, damaged = next(self._packets, (None, False))
        except av.FFmpegError as error:
            if self._handle.closing:
                return None
            fault = read_fault(error, self._name, timeout=self._read_timeout, so_far=self._so_far())
        else:
            return None if packet is None else self._decode(packet, damaged=damaged)
        raise fault  # not inside the handler: see ffmpeg

    def _decode(self, packet: av.Packet[av.VideoStream], *, damaged: bool) -> list[av.VideoFrame]:
        self._key_frame_seen = self._key_frame_seen or (packet.is_keyframe and not damaged)
        if not self._key_frame_seen:
            return []  # would show what moves over grey
        if damaged:
            self._numbers.damaged_packet()  # not decoded: a JPEG cut in half becomes a grey half without any complaint
            return []
        if packet.size and not packet.is_discard:
            self._numbers.packet()
        try:
            return self._decoder.decode(packet if packet.size else None)
        except av.error.EOFError:
            return []
        except av.FFmpegError:
            self._numbers.damaged_frame()
            return []

    def _source_frame(self, frame: av.VideoFrame) -> SourceFrame:
        image = self._reformatter.reformat(frame, format="bgr24", threads=1).to_ndarray()
        return SourceFrame(self._numbers.good_frame(), self._media_time(frame), np.asarray(image, np.uint8))

    def _media_time(self, frame: av.VideoFrame) -> float:
        clock, before = self._media_clock, self._media_clock.jumps
        media_time = clock.at(self._timestamp(frame))
        # At the 1st, 2nd, 4th, 8th ... jump: a camera whose clock is broken would fill the log.
        if self._info.live and clock.jumps > before and clock.jumps & before == 0:
            log.warning(
                "%s: the camera's clock jumped by %.1f s (jump %d); its times go on without a break",
                self._name,
                clock.last_jump,
                clock.jumps,
            )
        return media_time

    def _check_wait(self, waited: float) -> None:
        # When an RTSP stream times out, FFmpeg first hands out the half of a frame that had come, as if it were whole.
        if self._info.live and waited > 0.9 * self._read_timeout and not self._handle.closing:
            raise SourceStalled(f"{self._name}: no frame within {self._read_timeout:g} s, {self._so_far()}")

    def _check_end(self) -> None:
        if self._info.live:
            raise SourceUnreachable(f"{self._name}: the camera hung up {self._so_far()}")
        whole = self._declared_frames is not None and self._numbers.good >= self._declared_frames
        if self._missing_bytes and not whole:  # whole: nothing but the index at the end of an AVI is missing
            raise SourceCorrupt(
                f"{self._name}: the file is cut short and ends {self._so_far()}, "
                f"{self._missing_bytes} bytes too early; copy or record it again"
            )
        if not self._numbers.good:
            raise SourceCorrupt(f"{self._name}: holds no frame that can be decoded")
        if self._numbers.ends_damaged:
            raise SourceCorrupt(f"{self._name}: ends {self._so_far()}, in a damaged one; copy or record it again")
        if damaged := self._numbers.damaged:
            total = self._numbers.good + damaged
            raise SourceCorrupt(f"{self._name}: {damaged} of {total} frames are damaged and were left out")

    def _so_far(self) -> str:
        of_declared = f" of {self._declared_frames}" if self._declared_frames else ""
        return f"after {self._numbers.good}{of_declared} frames"


def _is_live(container: av.container.InputContainer, location: Path | str) -> bool:
    if isinstance(location, Path):
        return False
    # Over HTTP come cameras and finite files. Over RTSP the duration says nothing: servers declare that of a loop.
    return location.lower().startswith("rtsp") or not container.duration


def _timestamps(
    container: av.container.InputContainer, clock: Callable[[], float]
) -> Callable[[av.VideoFrame], float | None]:
    """How to read a frame's time in seconds from this container."""
    stream = container.streams.video[0]
    seconds_per_tick = float(stream.time_base or 0)
    if container.format.name == "mpjpeg":
        # Motion JPEG over HTTP has no time stamps; FFmpeg invents some from a rate that it invents too.
        return lambda frame: clock()
    if container.format.name == "avi" and stream.codec_context.has_b_frames:
        # AVI has no presentation times: with B-frames what PyAV shows as such jumps to and fro.
        return lambda frame: None if frame.dts is None else frame.dts * seconds_per_tick
    return lambda frame: None if frame.pts is None else frame.pts * seconds_per_tick
