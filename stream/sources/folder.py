"""Folders of images, of clip folders and of video files: how recorded datasets come; and single images. Used through
``open_source``.
"""

from __future__ import annotations

import io
import re
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stream.errors import SourceCorrupt, SourceNotFound, UsageError
from stream.sources.base import Source, SourceFrame, SourceInfo
from stream.sources.ffmpeg import FALLBACK_INTERVAL, MAX_PIXELS
from stream.sources.video import VideoSource

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"})
VIDEO_SUFFIXES = frozenset(
    {".avi", ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".m2ts", ".flv", ".wmv"}
)


@dataclass(frozen=True, slots=True)
class Clip:
    """One segment of a folder source."""

    segment: str  # its folder's name; "" where the images lie in the folder itself
    files: tuple[Path, ...]  # in natural order, at least one


def open_folder(path: Path, *, fps: float) -> Source:
    """The source that this folder is: images, folders of images, or video files, whichever it holds.

    Hidden files are passed over (some archives hold a ``._name`` beside every file), and so are other files and
    sub-folders without images.

    Raises:
        SourceNotFound: it holds none of these, or more than one of them.
        UsageError: ``fps`` is not positive.
    """
    images = files_in(path, IMAGE_SUFFIXES)
    videos = files_in(path, VIDEO_SUFFIXES)
    folders = sorted((entry for entry in path.iterdir() if entry.is_dir() and is_visible(entry)), key=natural_key)
    clips = [Clip(folder.name, files) for folder in folders if (files := files_in(folder, IMAGE_SUFFIXES))]
    found = [kind for kind, some in (("images", images), ("video files", videos), ("clip folders", clips)) if some]
    if not found:
        kinds = " ".join(sorted(IMAGE_SUFFIXES))
        raise SourceNotFound(f"{path}: the folder holds no images ({kinds}), no folders of images and no video files")
    if len(found) > 1:
        raise SourceNotFound(f"{path}: the folder holds {' and '.join(found)}; name the one that is meant")
    if videos:
        return VideoFolderSource(path, videos)
    return FolderSource(path, [Clip("", images)] if images else clips, fps=fps)


def is_image(path: Path) -> bool:
    """Whether a file of this name is taken for an image."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def open_image(path: Path, *, fps: float) -> Source:
    """A single image as a source of one frame. Raises as :class:`FolderSource`."""
    return FolderSource(path, [Clip("", (path,))], fps=fps)


def natural_key(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """Sorts names as people count: ``2.jpg`` before ``10.jpg``."""
    parts = re.findall(r"([0-9]+)|([^0-9]+)", path.name)
    return [(0, int(digits), "") if digits else (1, 0, text.casefold()) for digits, text in parts], path.name


class FolderSource:
    """Images of one folder, or of several clip folders one after the other.

    ``media_time`` is index / fps and runs on over clips. Images are read one by one, when their turn comes, and handed
    out as they are stored: masks that belong to them would not follow an EXIF rotation.

    Args:
        path: the folder, for the name.
        clips: at least one.
        fps: frames per second that the images are said to have.
    """

    def __init__(self, path: Path, clips: Sequence[Clip], *, fps: float) -> None:
        if not 0 < fps < float("inf"):
            raise UsageError(f"folder_fps is {fps:g}; it must be positive")
        self._clips = tuple(clips)
        self._fps = fps
        first = self._clips[0].files[0]
        width, height = _image_size(first, _read_bytes(first))
        *starts, count = accumulate((len(clip.files) for clip in self._clips), initial=0)
        self._info = SourceInfo(
            name=str(path),
            width=width,
            height=height,
            fps=fps,
            frame_count=count,
            live=False,
            segment_starts=tuple(starts) if self._clips[0].segment else (),
        )
        self._started = False
        self._closed = False

    @property
    def info(self) -> SourceInfo:
        return self._info

    def frames(self) -> Iterator[SourceFrame]:
        if self._started:
            raise RuntimeError(f"{self._info.name}: frames() may be called once; open the source again")
        self._started = True
        return self._frames()

    def close(self) -> None:
        self._closed = True

    def _frames(self) -> Iterator[SourceFrame]:
        index = 0
        for clip in self._clips:
            for file in clip.files:
                if self._closed:
                    return
                yield SourceFrame(index, index / self._fps, read_image(file), clip.segment)
                index += 1


class VideoFolderSource:
    """The video files of one folder, one after the other; each is a segment, named like its file without the ending.

    Args:
        path: the folder, for the name.
        files: at least one.
    """

    def __init__(self, path: Path, files: Sequence[Path]) -> None:
        self._files = tuple(files)
        self._current: VideoSource | None = None
        self._started = False
        self._closed = threading.Event()
        infos = [_info_of(file) for file in self._files]
        counts = [info.frame_count for info in infos if info.frame_count is not None]
        known = len(counts) == len(infos)
        *starts, count = accumulate(counts, initial=0)
        self._info = SourceInfo(
            name=str(path),
            width=infos[0].width,
            height=infos[0].height,
            fps=infos[0].fps,
            frame_count=count if known else None,
            live=False,
            segment_starts=tuple(starts) if known else (),
        )

    @property
    def info(self) -> SourceInfo:
        return self._info

    def frames(self) -> Iterator[SourceFrame]:
        if self._started:
            raise RuntimeError(f"{self._info.name}: frames() may be called once; open the source again")
        self._started = True
        return self._frames()

    def close(self) -> None:
        self._closed.set()
        if self._current is not None:
            self._current.close()

    def _frames(self) -> Iterator[SourceFrame]:
        stems = Counter(file.stem for file in self._files)
        first_index, first_time = 0, 0.0
        for file in self._files:
            segment = file.stem if stems[file.stem] == 1 else file.name
            self._current = video = VideoSource(file)
            try:
                if self._closed.is_set():
                    return
                index, media_time = first_index, first_time
                for frame in video.frames():
                    index, media_time = first_index + frame.index, first_time + frame.media_time
                    yield SourceFrame(index, media_time, frame.image, segment)
            finally:
                video.close()
            first_index = index + 1
            first_time = media_time + (1 / video.info.fps if video.info.fps else FALLBACK_INTERVAL)


def read_image(path: Path) -> NDArray[np.uint8]:
    """One image as (H, W, 3) BGR uint8; 16-bit images lose their lower byte.

    Raises:
        SourceCorrupt: it cannot be read or decoded, is cut short, or has more than ``MAX_PIXELS`` pixels.
    """
    data = _read_bytes(path)
    _image_size(path, data)
    image = _decode(data)
    if image is None:
        raise SourceCorrupt(f"{path}: the image is damaged or cut short; copy it again")
    return image


def _decode(data: bytes) -> NDArray[np.uint8] | None:
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        return cast("NDArray[np.uint8] | None", cv2.imdecode(np.frombuffer(data, np.uint8), flags))
    except cv2.error:
        return None


def _image_size(path: Path, data: bytes) -> tuple[int, int]:
    # Pillow reads the header alone; OpenCV's own limit is read from the environment before it is imported.
    try:
        with Image.open(io.BytesIO(data)) as header:
            width, height = header.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise SourceCorrupt(f"{path}: is not an image that can be read ({type(error).__name__})") from None
    if width * height > MAX_PIXELS:
        raise SourceCorrupt(f"{path}: the image has {width} x {height} pixels; at most {MAX_PIXELS} are decoded")
    return width, height


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SourceCorrupt(f"{path}: cannot be read: {error.strerror}") from None


def _info_of(file: Path) -> SourceInfo:
    video = VideoSource(file)
    try:
        return video.info
    finally:
        video.close()


def files_in(folder: Path, suffixes: frozenset[str]) -> tuple[Path, ...]:
    """Files with one of these endings in natural order, without hidden ones (``._001.tif`` is no image)."""
    matching = (
        file for file in folder.iterdir() if file.suffix.lower() in suffixes and is_visible(file) and file.is_file()
    )
    return tuple(sorted(matching, key=natural_key))


def is_visible(path: Path) -> bool:
    """Whether a file or folder is one that people see."""
    return not path.name.startswith(".")
