"""Galleries, as far as they are shown: versions, which is in force, and small pictures of the normal frames.

Reads manifests and thumbnails only; what is scored with them is the worker's business.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spade_core.errors import SpadeError
from spade_core.gallery import Gallery
from spade_core.gallery_layout import CURRENT
from spade_core.gallery_versions import Version, list_versions
from stream.messages import Neighbour, iso_time

_OPEN_AT_ONCE = 4  # versions whose list of frames is kept in memory
_SAME_TIME = 0.002  # s: times of a frame are written with three digits in places

_log = logging.getLogger(__name__)


class Galleries:
    """The galleries of a configuration. Any thread may use it.

    Args:
        folder_of: where a scene's gallery lies.
    """

    def __init__(self, folder_of: Callable[[str], Path]) -> None:
        self._folder_of = folder_of
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[object, tuple[dict[str, Any] | None, str | None]]] = {}
        self._open: OrderedDict[tuple[Path, str], Gallery] = OrderedDict()

    def in_force(self, scene: str) -> tuple[dict[str, Any] | None, str | None]:
        """``{version, frames, made}`` of what is in force, or None, and what is wrong with it, or None. Cheap."""
        folder = self._folder_of(scene)
        try:
            state = (folder / CURRENT).stat()
            mark: object = (state.st_mtime_ns, state.st_ino)
        except OSError:
            mark = None
        with self._lock:
            seen = self._seen.get(scene)
        if seen is not None and seen[0] == mark and mark is not None:
            return seen[1]
        found = self._in_force(folder)
        with self._lock:
            self._seen[scene] = (mark, found)
        return found

    def versions(self, scene: str) -> list[dict[str, Any]]:
        """Every version, oldest first. Raises SpadeError."""
        return [_shown(version) for version in list_versions(self._folder_of(scene))]

    def thumbnail(self, scene: str, neighbour: Neighbour) -> bytes | None:
        """A small JPEG of the normal frame that an alert was compared with; None where no version has it any more.

        An alert does not say which version it was compared with, but what the frame is called there: source and time.
        """
        if (gallery := self.version_with(scene, neighbour)) is None:
            return None
        try:
            return gallery.thumbnail(neighbour.index)
        except (OSError, SpadeError) as error:
            _log.warning("scene %s: thumbnail %d cannot be read: %s", scene, neighbour.index, error)
            return None

    def version_with(self, scene: str, neighbour: Neighbour) -> Gallery | None:
        """The version in which this normal frame has this number: the one in force where it does, else the newest."""
        folder = self._folder_of(scene)
        try:
            versions = sorted(list_versions(folder), key=lambda v: (v.in_force, v.name), reverse=True)
        except SpadeError:
            return None
        for version in versions:
            gallery = None if version.fault else self._gallery(folder, version.name)
            if gallery is not None and _has(gallery, neighbour):
                return gallery
        return None

    def _gallery(self, folder: Path, version: str) -> Gallery | None:
        key = (folder, version)
        with self._lock:
            if key in self._open:
                self._open.move_to_end(key)
                return self._open[key]
        try:
            gallery = Gallery(folder, version)
        except SpadeError as error:
            _log.warning("%s", error)
            return None
        with self._lock:
            self._open[key] = gallery
            while len(self._open) > _OPEN_AT_ONCE:
                self._open.popitem(last=False)
        return gallery

    @staticmethod
    def _in_force(folder: Path) -> tuple[dict[str, Any] | None, str | None]:
        try:
            version = next(version for version in list_versions(folder) if version.in_force)
        except SpadeError as error:
            return None, str(error)
        except StopIteration:
            return None, f"{folder}: the version in force is not there"
        shown = {"version": version.name, "frames": version.frames, "made": iso_time(version.made.timestamp())}
        return shown, version.fault or None


def _has(gallery: Gallery, neighbour: Neighbour) -> bool:
    if not 0 <= neighbour.index < len(gallery.frames):
        return False
    frame = gallery.frames[neighbour.index]
    return frame.source == neighbour.source and abs(frame.media_time - neighbour.media_time) < _SAME_TIME


def _shown(version: Version) -> dict[str, Any]:
    return {
        "version": version.name,
        "made": iso_time(version.made.timestamp()),
        "frames": version.frames,
        "bytes": version.size_bytes,
        "in_force": version.in_force,
        "fault": version.fault or None,
        "note": dict(version.note),
    }
