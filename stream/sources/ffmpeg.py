"""Opens files and addresses with FFmpeg (PyAV), and puts its faults into our words. Used by ``video``.

FFmpeg's own messages hold the address with the password, and an exception that is raised inside an ``except`` keeps
them as its context; so a fault is translated first, and raised after the handler has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import av.container
import av.error
from av.video.codeccontext import VideoCodecContext

from stream.errors import (
    SourceCorrupt,
    SourceError,
    SourceNotFound,
    SourceStalled,
    SourceUnauthorized,
    SourceUnreachable,
)

MAX_PIXELS = 1 << 27
"""Largest frame that is decoded: 134 million pixels (16K video), 400 MB as BGR. A tiny file can declare far more."""

FALLBACK_INTERVAL = 1 / 25  # seconds between frames where the source declares no rate

_NOT_VIDEO = ("tty", "hls", "dash", "concat")  # text, and play lists that name other files


def open_container(
    location: Path | str, name: str, *, open_timeout: float, read_timeout: float, clock: Callable[[], float]
) -> av.container.InputContainer:
    """The open container, which holds video of a known size.

    Args:
        location: a file (Path) or an address (str).
        name: what to call it in messages; holds no credentials.
        open_timeout: seconds to wait for an answer (looking up the host's name is not bounded by it).
        read_timeout: seconds that each later read may take.
        clock: seconds, monotonic.

    Raises:
        SourceError: without FFmpeg's exception as its context.
    """
    started = clock()
    try:
        if isinstance(location, Path):
            container = _open_file(location)
        else:
            container = _open_url(location, open_timeout, read_timeout)
    except av.FFmpegError as error:
        fault: SourceError | None
        if isinstance(location, Path):
            fault = _file_fault(error, name)
        else:
            fault = _connect_fault(error, name, open_timeout, clock() - started)
    else:
        fault = _unusable(container, name, is_file=isinstance(location, Path))
        if fault is None:
            return container
        container.close()
    raise fault


def _open_file(path: Path) -> av.container.InputContainer:
    # "file:" and the white list keep an odd name or a file that names others from reaching the network.
    return av.open(f"file:{path}", options={"protocol_whitelist": "file"})


def _open_url(url: str, open_timeout: float, read_timeout: float) -> av.container.InputContainer:
    microseconds = 1_000_000
    # FFmpeg looks at the stream for 5 s before it is open; the time-out has to leave room for that.
    options = {"analyzeduration": str(int(0.4 * open_timeout * microseconds))}
    options["timeout"] = str(int(max(open_timeout, read_timeout) * microseconds))
    if url.lower().startswith("rtsp"):
        options |= {"rtsp_transport": "tcp", "allowed_media_types": "video"}
    return av.open(url, options=options, timeout=(open_timeout, read_timeout))


def _unusable(container: av.container.InputContainer, name: str, *, is_file: bool) -> SourceError | None:
    kind: type[SourceError] = SourceCorrupt if is_file else SourceUnreachable
    if is_file and container.format.name in _NOT_VIDEO:
        return kind(f"{name}: is not a video file (FFmpeg takes it for {container.format.name!r})")
    if not container.streams.video:
        return kind(f"{name}: holds no video")
    decoder: VideoCodecContext | None = container.streams.video[0].codec_context  # None: unknown codec
    if decoder is None or not decoder.width or not decoder.height:
        return kind(f"{name}: its video stream declares no size or an unknown codec; nothing in it can be decoded")
    return None


def _file_fault(error: av.FFmpegError, name: str) -> SourceError:
    if isinstance(error, FileNotFoundError):
        return SourceNotFound(f"{name}: no such file")
    if isinstance(error, OSError):
        return SourceUnreachable(f"{name}: cannot be read: {error.strerror}")
    return SourceCorrupt(f"{name}: is not a video, or its beginning or index is damaged ({error.strerror})")


def _connect_fault(error: av.FFmpegError, name: str, timeout: float, waited: float) -> SourceError:
    if isinstance(error, av.error.HTTPUnauthorizedError | av.error.HTTPForbiddenError):
        return SourceUnauthorized(
            f"{name}: the camera refuses the user name or the password; special characters in them must be "
            "percent-encoded ('@' as %40, '/' as %2F)"
        )
    # A camera that accepts the connection and is silent makes FFmpeg's RTSP say "invalid data" after the time-out.
    if isinstance(error, av.error.ExitError | TimeoutError) or waited > 0.9 * timeout:
        return SourceStalled(f"{name}: no answer within {timeout:g} s")
    if isinstance(error, av.error.InvalidDataError):
        return SourceUnreachable(f"{name}: something answers, but it is no video stream: check port and path")
    if isinstance(error, PermissionError):  # FFmpeg's number for "failed" happens to be this one
        return SourceUnreachable(f"{name}: the stream cannot be started")
    return SourceUnreachable(f"{name}: cannot be opened: {error.strerror}")


def read_fault(error: av.FFmpegError, name: str, *, timeout: float, so_far: str) -> SourceError:
    """What to raise for a failed read. ``so_far`` says how far it had come (``after 5 frames``)."""
    if isinstance(error, av.error.ExitError | TimeoutError):
        return SourceStalled(f"{name}: no frame within {timeout:g} s, {so_far}")
    if isinstance(error, av.error.InvalidDataError):
        return SourceCorrupt(f"{name}: damaged beyond reading {so_far}")
    return SourceUnreachable(f"{name}: reading failed {so_far}: {error.strerror}")
