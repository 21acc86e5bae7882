"""Building a gallery: slots filled in any order, then published as a new version in one atomic step."""

from __future__ import annotations

import json
import math
import os
import secrets
import shutil
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from spade_core.calibration import Calibration
from spade_core.errors import GalleryError, InputError
from spade_core.gallery import Gallery, GalleryFrame, frames_json
from spade_core.gallery_layout import (
    CALIBRATION,
    CHECKS,
    FORMAT,
    FRAMES,
    MANIFEST,
    MOTION,
    POOLED,
    THUMBNAILS,
    array_file,
    file_entry,
    level_file,
    level_map,
    manifest_digest,
    motion_map,
    pooled_map,
    storable_array,
    sync_folder,
    truncate_file,
    write_file,
)
from spade_core.gallery_versions import BUILDING, next_version, put_in_force, remove_leftovers, take_lock
from spade_core.motion import GRID

ROOM_TO_LEAVE = 64 << 20
"""Bytes that must stay free on the disk beside a gallery: for its thumbnails, checksums and arrays, and for others."""

_BLOCK = 64  # frames for which room on the disk is taken at once


class GalleryWriter:
    """A gallery version under construction. A context manager: left without :meth:`publish`, it leaves nothing behind.

    While it is open it serves as :class:`spade_core.gallery.NormalFrames`, so that a threshold can be set before it is
    published.

    Args:
        folder: the gallery folder; made if needed. Versions already there stay.
        capacity: most frames it can hold.
        fingerprint: what the features are made with (JSON-able).
        pooled: D, length of a pooled feature.
        levels: (C, H, W) of each pyramid level, finest first.
        expected: frames that will probably come, where that is known: the disk must have room for them.

    Raises:
        InputError: there is no room for a single frame.
        GalleryError: the folder cannot be written, has not enough room, or another program is building there.
    """

    def __init__(
        self,
        folder: Path,
        *,
        capacity: int,
        fingerprint: Mapping[str, Any],
        pooled: int,
        levels: Sequence[tuple[int, int, int]],
        expected: int | None = None,
    ) -> None:
        if capacity < 1:
            raise InputError(f"capacity = {capacity}: must be at least 1")
        self._folder, self._fingerprint, self._shapes = folder, dict(fingerprint), [tuple(s) for s in levels]
        self._frames: list[GalleryFrame] = []
        self._thumbnails: list[bytes] = []
        self._arrays: dict[str, NDArray[Any]] = {}
        self._open, self._lock = False, -1
        self.bytes_per_frame = 4 * pooled + 2 * GRID * GRID + sum(2 * math.prod(shape) for shape in self._shapes)
        self._room = 0  # slots that have their room on the disk
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = take_lock(folder)
            remove_leftovers(folder)
            _check_room(folder, capacity if expected is None else min(expected, capacity), self.bytes_per_frame)
            # Not mkdtemp, which locks out every other user: a worker may run as one, and must read what this becomes.
            self._path = folder / f"{BUILDING}{secrets.token_hex(4)}"
            self._path.mkdir()
            self._open = True
            # Sparse files: a slot takes room on the disk when it, or one near it, is filled.
            self._pooled = pooled_map(self._path, (capacity, pooled), "w+")
            self._motion = motion_map(self._path, capacity, "w+")
            self._levels = [level_map(self._path, i, (capacity, *s), "w+") for i, s in enumerate(self._shapes)]
        except OSError as error:
            self.abandon()  # else the lock would stay, and refuse the next attempt
            raise GalleryError(f"{folder}: a gallery cannot be written here: {error.strerror or error}") from None
        except GalleryError:
            self.abandon()
            raise

    def __len__(self) -> int:
        return len(self._frames)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abandon()

    @property
    def capacity(self) -> int:
        """Most frames it can hold."""
        return len(self._pooled)

    @property
    def frames(self) -> tuple[GalleryFrame, ...]:
        """Where the frames in the slots filled so far came from."""
        return tuple(self._frames)

    @property
    def pooled(self) -> NDArray[np.float32]:
        """(n, D) float32: the slots filled so far."""
        return self._pooled[: len(self)]

    @property
    def motion(self) -> NDArray[np.float16]:
        """(n, GRID, GRID) float16: the slots filled so far."""
        return self._motion[: len(self)]

    def pyramid(self, index: int) -> tuple[NDArray[np.float16], ...]:
        """The levels of one filled slot, each (C, H, W) float16."""
        return tuple(level[index] for level in self._levels)

    def array(self, name: str) -> NDArray[Any] | None:
        """An array that was kept; None where there is none of this name."""
        return self._arrays.get(name)

    def keep(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keeps what the scene's method wants ready, made from all frames: to be called when they are there.

        Args:
            arrays: by name (a-z, 0-9, _): float16, float32 or int32, not empty.

        Raises:
            InputError: an array's name, type or size cannot be stored.
        """
        self._arrays = {name: storable_array(name, array) for name, array in arrays.items()}

    def put(
        self,
        slot: int,
        *,
        pooled: NDArray[np.float32],
        levels: Sequence[NDArray[np.floating]],
        frame: GalleryFrame,
        thumbnail: bytes,
        motion: NDArray[np.float16] | None = None,
    ) -> None:
        """Fills a slot: the next free one, or one in use, which is replaced.

        Args:
            slot: 0..n, n being the number of slots filled so far.
            pooled: (D,) float32.
            levels: one (C, H, W) array per level, finest first; stored in half precision.
            frame: where it came from.
            thumbnail: small JPEG.
            motion: (GRID, GRID) motion map; None = not known.

        Raises:
            InputError: the slot would leave a hole, a shape is not the gallery's, or a feature is not finite in half
                precision.
            GalleryError: already published or abandoned.
        """
        if not self._open:
            raise GalleryError(f"{self._folder}: this version is published or abandoned; nothing can be added to it")
        if not 0 <= slot <= len(self) or slot >= len(self._pooled):
            filled, capacity = len(self), len(self._pooled)
            raise InputError(f"slot {slot}: {filled} of {capacity} slots are filled, the next one is {filled}")
        shapes = [level.shape for level in levels]
        if pooled.shape != self._pooled.shape[1:] or shapes != self._shapes:  # NumPy would spread (1, H, W) over all C
            raise InputError(
                f"features of frame {frame.index} of {frame.source} have shapes {pooled.shape} and {shapes}; "
                f"this gallery needs {self._pooled.shape[1:]} and {self._shapes}"
            )
        with np.errstate(over="ignore"):
            halves = [np.asarray(level, dtype=np.float16) for level in levels]
        if not np.isfinite(pooled).all() or not all(np.isfinite(half).all() for half in halves):
            raise InputError(f"features of frame {frame.index} of {frame.source} are not finite in half precision")
        if motion is not None and (motion.shape != self._motion.shape[1:] or not np.isfinite(motion).all()):
            raise InputError(f"motion map of frame {frame.index} of {frame.source}: not finite, or of another shape")
        self._store(slot, pooled, halves, frame, thumbnail, np.nan if motion is None else motion)

    def take_over(self, gallery: Gallery) -> None:
        """Fills the next slots with all frames of another gallery. Features are checked on their way; thumbnails are
        not, so call :meth:`Gallery.verify` before.

        Raises:
            InputError: they do not fit in, or have other shapes.
            GalleryCorrupt: they are not what was written.
            GalleryError: the disk does not take them.
        """
        start, shapes = len(self), [level.shape for level in gallery.pyramid(0)]
        if gallery.pooled.shape[1:] != self._pooled.shape[1:] or shapes != self._shapes:
            raise InputError(f"{gallery}: its features have other shapes than the gallery that is built")
        if start + len(gallery) > len(self._pooled):
            raise InputError(f"{gallery}: {len(self._pooled)} slots, {start} of them filled, are too few for it")
        for index, frame in enumerate(gallery.frames):
            self._store(
                start + index,
                gallery.pooled[index],
                gallery.pyramid(index),
                frame,
                gallery.thumbnail(index),
                gallery.motion[index],
            )

    def _store(
        self,
        slot: int,
        pooled: NDArray[np.float32],
        levels: Sequence[NDArray[np.float16]],
        frame: GalleryFrame,
        thumbnail: bytes,
        motion: NDArray[np.float16] | float,
    ) -> None:
        if slot >= self._room:
            self._take_room()
        self._pooled[slot] = pooled
        self._motion[slot] = motion
        for stored, level in zip(self._levels, levels, strict=True):
            stored[slot] = level
        if slot == len(self):
            self._frames.append(frame)
            self._thumbnails.append(thumbnail)
        else:
            self._frames[slot], self._thumbnails[slot] = frame, thumbnail

    def publish(self, calibration: Calibration, *, note: Mapping[str, Any]) -> Gallery:
        """Writes the version to disk for good and makes it the one in force.

        Args:
            calibration: set on frames that this gallery does not hold.
            note: JSON-able remarks for the manifest (when, from which source).

        Raises:
            GalleryError: there are no frames, or the disk does not take it.
        """
        if not self._frames:
            raise GalleryError(f"{self._folder}: a gallery without frames cannot be published")
        try:
            self._write_files(calibration, note)
            version = next_version(self._folder)
            os.rename(self._path, self._folder / version)
            self._open = False
            sync_folder(self._folder)  # CURRENT must never be on the disk before what it names
            put_in_force(self._folder, version)
        except OSError as error:
            raise GalleryError(f"{self._folder}: the gallery could not be written: {error.strerror or error}") from None
        return Gallery(self._folder)

    def _take_room(self) -> None:
        """Takes room on the disk for the next slots. Written without it, a full disk kills the process (SIGBUS)."""
        more = min(_BLOCK, len(self._pooled) - self._room)
        maps = [self._pooled, self._motion, *self._levels]
        names = [POOLED, MOTION, *(level_file(number) for number in range(len(self._levels)))]
        try:
            for array, name in zip(maps, names, strict=True):
                size = array[0].nbytes
                with (self._path / name).open("r+b") as file:
                    os.posix_fallocate(file.fileno(), self._room * size, more * size)
        except OSError as error:
            raise GalleryError(f"{self._folder}: no room for frame {self._room}: {error.strerror or error}") from None
        self._room += more

    def abandon(self) -> None:
        """Removes what is not published, and lets others build here. May be called twice."""
        if self._open:
            self._open = False
            shutil.rmtree(self._path, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _write_files(self, calibration: Calibration, note: Mapping[str, Any]) -> None:
        arrays = self._arrays
        n, path = len(self), self._path
        self._pooled.flush()
        self._motion.flush()
        checks = np.empty((n, len(self._levels)), dtype="<u4")
        for number, level in enumerate(self._levels):
            level.flush()
            checks[:, number] = [zlib.crc32(level[index]) for index in range(n)]
        capacity = len(self._pooled)
        names = [POOLED, MOTION, *(level_file(number) for number in range(len(self._levels)))]
        for name in names:
            file = path / name
            truncate_file(file, file.stat().st_size // capacity * n)
        write_file(path / CHECKS, checks.tobytes())
        write_file(path / THUMBNAILS, b"".join(self._thumbnails))
        ends = np.cumsum([len(thumbnail) for thumbnail in self._thumbnails]).tolist()
        write_file(path / FRAMES, json.dumps(frames_json(self._frames, ends)).encode())
        write_file(path / CALIBRATION, json.dumps(calibration.to_json(), indent=1).encode())
        for name, array in arrays.items():
            write_file(path / array_file(name), array.tobytes())
        names += [CHECKS, THUMBNAILS, FRAMES, CALIBRATION, *map(array_file, arrays)]
        body = {
            "format": FORMAT,
            "frames": n,
            "pooled": int(self._pooled.shape[1]),
            "levels": [list(shape) for shape in self._shapes],
            "arrays": {name: {"dtype": a.dtype.str, "shape": list(a.shape)} for name, a in arrays.items()},
            "fingerprint": self._fingerprint,
            "note": dict(note),
            "files": {name: file_entry(path / name) for name in names},
        }
        write_file(path / MANIFEST, json.dumps({**body, "digest": manifest_digest(body)}, indent=1).encode())
        sync_folder(path)


def _check_room(folder: Path, frames: int, bytes_per_frame: int) -> None:
    needed, free = frames * bytes_per_frame + ROOM_TO_LEAVE, shutil.disk_usage(folder).free
    if needed > free:
        raise GalleryError(
            f"{folder}: {frames} frames of {bytes_per_frame / 1e6:.2f} MB need {needed / 1e9:.2f} GB, but only "
            f"{free / 1e9:.2f} GB are free there. Make room ('spade-stream gallery prune' deletes old versions), or "
            "lower the capacity"
        )
