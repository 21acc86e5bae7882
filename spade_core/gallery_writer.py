"""Building a gallery: slots filled in any order, then published as a new version in one atomic step."""

from __future__ import annotations

import fcntl
import json
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
from spade_core.gallery import (
    CALIBRATION,
    CHECKS,
    CURRENT,
    FORMAT,
    FRAMES,
    MANIFEST,
    MOTION,
    POOLED,
    THUMBNAILS,
    Gallery,
    GalleryFrame,
    file_entry,
    frames_json,
    level_file,
    level_map,
    manifest_digest,
    motion_map,
    pooled_map,
)

_BUILDING, _LOCK = ".building-", ".lock"


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
    """

    def __init__(
        self,
        folder: Path,
        *,
        capacity: int,
        fingerprint: Mapping[str, Any],
        pooled: int,
        levels: Sequence[tuple[int, int, int]],
    ) -> None:
        if capacity < 1:
            raise InputError(f"capacity = {capacity}: must be at least 1")
        self._folder, self._fingerprint, self._shapes = folder, dict(fingerprint), [tuple(s) for s in levels]
        self._frames: list[GalleryFrame] = []
        self._thumbnails: list[bytes] = []
        self._open, self._lock = False, -1
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = _only_builder(folder)
            _remove_leftovers(folder)
            # Not mkdtemp, which locks out every other user: a worker may run as one, and must read what this becomes.
            self._path = folder / f"{_BUILDING}{secrets.token_hex(4)}"
            self._path.mkdir()
            self._open = True
            # Sparse files: a slot takes room on the disk once it is filled.
            self._pooled = pooled_map(self._path, (capacity, pooled), "w+")
            self._motion = motion_map(self._path, capacity, "w+")
            self._levels = [level_map(self._path, i, (capacity, *s), "w+") for i, s in enumerate(self._shapes)]
        except OSError as error:
            self.abandon()  # else the lock would stay, and refuse the next attempt
            raise GalleryError(f"{folder}: a gallery cannot be written here: {error.strerror or error}") from None

    def __len__(self) -> int:
        return len(self._frames)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abandon()

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
        self._pooled[slot] = pooled
        self._motion[slot] = np.nan if motion is None else motion
        for stored, half in zip(self._levels, halves, strict=True):
            stored[slot] = half
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
        """
        if not self._frames:
            raise GalleryError(f"{self._folder}: a gallery without frames cannot be published")
        try:
            self._write_files(calibration, note)
            version = _next_version(self._folder)
            os.rename(self._path, self._folder / version)
            self._open = False
            _sync_folder(self._folder)  # CURRENT must never be on the disk before what it names
            _write(self._folder / f"{CURRENT}.new", f"{version}\n".encode())
            os.replace(self._folder / f"{CURRENT}.new", self._folder / CURRENT)
            _sync_folder(self._folder)
        except OSError as error:
            raise GalleryError(f"{self._folder}: the gallery could not be written: {error.strerror or error}") from None
        return Gallery(self._folder)

    def abandon(self) -> None:
        """Removes what is not published, and lets others build here. May be called twice."""
        if self._open:
            self._open = False
            shutil.rmtree(self._path, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _write_files(self, calibration: Calibration, note: Mapping[str, Any]) -> None:
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
            _truncate(file, file.stat().st_size // capacity * n)
        _write(path / CHECKS, checks.tobytes())
        _write(path / THUMBNAILS, b"".join(self._thumbnails))
        ends = np.cumsum([len(thumbnail) for thumbnail in self._thumbnails]).tolist()
        _write(path / FRAMES, json.dumps(frames_json(self._frames, ends)).encode())
        _write(path / CALIBRATION, json.dumps(calibration.to_json(), indent=1).encode())
        names += [CHECKS, THUMBNAILS, FRAMES, CALIBRATION]
        body = {
            "format": FORMAT,
            "frames": n,
            "pooled": int(self._pooled.shape[1]),
            "levels": [list(shape) for shape in self._shapes],
            "fingerprint": self._fingerprint,
            "note": dict(note),
            "files": {name: file_entry(path / name) for name in names},
        }
        _write(path / MANIFEST, json.dumps({**body, "digest": manifest_digest(body)}, indent=1).encode())
        _sync_folder(path)


def _only_builder(folder: Path) -> int:
    """Takes the gallery's lock and returns it, a file descriptor; the kernel frees it when the process dies."""
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        if not isinstance(error, BlockingIOError):
            raise
        raise GalleryError(f"{folder}: another program is building this gallery; wait until it is done") from None
    return lock


def _remove_leftovers(folder: Path) -> None:
    for path in folder.glob(f"{_BUILDING}*"):  # of builds that crashed: the lock says that none is going on
        shutil.rmtree(path, ignore_errors=True)


def _next_version(folder: Path) -> str:
    numbers = [int(path.name[1:]) for path in folder.glob("v*") if path.name[1:].isdigit()]
    return f"v{max(numbers, default=0) + 1:06d}"


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _truncate(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
