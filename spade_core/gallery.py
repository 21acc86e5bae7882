"""The gallery of a scene, opened: what its normal frames look like, memory-mapped.

On the disk it lies as ``gallery_layout`` says, in versions; ``gallery_writer`` makes them. Reading checks sizes and the
small files at once, and each frame's features when they are first used, so that opening takes no time and yet no
damaged feature is ever scored; :meth:`Gallery.verify` reads everything.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from spade_core.calibration import Calibration
from spade_core.errors import GalleryCorrupt
from spade_core.gallery_layout import (
    CALIBRATION,
    CHECKS,
    EAGER,
    FRAMES,
    REMEDY,
    THUMBNAILS,
    array_file,
    check_digest,
    check_size,
    current_version,
    level_file,
    level_map,
    motion_map,
    pooled_map,
    read_json,
    read_manifest,
)


@dataclass(frozen=True, slots=True)
class GalleryFrame:
    """Where a gallery frame came from."""

    source: str  # clip or camera, for people; holds no credentials
    index: int  # native frame index there
    media_time: float  # seconds since that source's first frame
    confirmed: bool = False  # somebody called it normal, after it had raised an alert


class NormalFrames(Protocol):
    """The features that scoring needs of N normal frames: an open gallery, or one that is being built."""

    @property
    def pooled(self) -> NDArray[np.float32]:
        """(N, D) float32 pooled features."""
        ...

    @property
    def motion(self) -> NDArray[np.float16]:
        """(N, GRID, GRID) float16 motion maps; NaN where motion was not known."""
        ...

    def pyramid(self, index: int) -> tuple[NDArray[np.float16], ...]:
        """The levels of one frame, finest first, each (C, H, W) float16."""
        ...

    def array(self, name: str) -> NDArray[Any] | None:
        """An array that the scene's method keeps ready, read-only; None where there is none of this name."""
        ...


class Gallery:
    """An open gallery version, read-only. Build one with :class:`spade_core.gallery_writer.GalleryWriter`.

    Args:
        folder: the gallery folder (the one that holds ``CURRENT``).
        version: which one to open; None = the one in force.

    Raises:
        GalleryNotFound: there is none.
        GalleryCorrupt: a file is missing, cut short or altered.
        GalleryMismatch: written by a newer version of this program.
    """

    def __init__(self, folder: Path, version: str | None = None) -> None:
        self.folder = folder
        self.version = current_version(folder) if version is None else version
        self._path = folder / self.version
        self.manifest = read_manifest(self._path)
        for name, entry in self.manifest["files"].items():
            check_size(self._path / name, entry)
        for name in EAGER:
            check_digest(self._path / name, self.manifest["files"][name])
        self.frames: tuple[GalleryFrame, ...]
        self.frames, self._thumbnail_ends = _frames(self._path / FRAMES)
        self.calibration = Calibration.from_json(read_json(self._path / CALIBRATION))
        n, self._shapes = len(self.frames), [tuple(shape) for shape in self.manifest["levels"]]
        if n != self.manifest["frames"] or n == 0:
            raise GalleryCorrupt(f"{self._path}: manifest says {self.manifest['frames']} frames, {FRAMES} lists {n}")
        try:
            self._pooled = pooled_map(self._path, (n, int(self.manifest["pooled"])), "r")
            self._levels = [level_map(self._path, i, (n, *shape), "r") for i, shape in enumerate(self._shapes)]
            self._motion = motion_map(self._path, n, "r")
            checks = np.fromfile(self._path / CHECKS, dtype="<u4")
            self._checks = checks.reshape(n, len(self._levels))
        except (ValueError, OSError) as error:
            raise GalleryCorrupt(f"{self._path}: files do not fit the manifest: {error}. {REMEDY}") from None
        self._checked = np.zeros(n, bool)
        self._arrays: dict[str, NDArray[Any]] = {}

    def __len__(self) -> int:
        return len(self.frames)

    def __repr__(self) -> str:
        return f"Gallery({str(self.folder)!r}, {self.version}, {len(self)} frames)"

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """What the features were made with."""
        fingerprint: Mapping[str, Any] = self.manifest["fingerprint"]
        return fingerprint

    @property
    def size_bytes(self) -> int:
        """Bytes on disk of this version."""
        return sum(int(entry["bytes"]) for entry in self.manifest["files"].values())

    @property
    def pooled(self) -> NDArray[np.float32]:
        """(N, D) float32 pooled features, memory-mapped."""
        return self._pooled

    @property
    def motion(self) -> NDArray[np.float16]:
        """(N, GRID, GRID) float16 motion maps, memory-mapped; NaN where motion was not known."""
        return self._motion

    def pyramid(self, index: int) -> tuple[NDArray[np.float16], ...]:
        """The levels of one frame, finest first, each (C, H, W) float16; memory-mapped, checked when first used.

        Raises:
            GalleryCorrupt: the features on disk are not those that were written.
        """
        levels = tuple(level[index] for level in self._levels)
        if not self._checked[index]:
            for number, (level, expected) in enumerate(zip(levels, self._checks[index], strict=True)):
                if zlib.crc32(level) != int(expected):
                    path = self._path / level_file(number)
                    raise GalleryCorrupt(f"{path}: features of frame {index} were altered. {REMEDY}")
            self._checked[index] = True
        return levels

    def array(self, name: str) -> NDArray[Any] | None:
        """An array that the scene's method keeps ready; memory-mapped, checked in full when first used.

        Raises:
            GalleryCorrupt: it is not what was written.
        """
        described = self.manifest.get("arrays", {}).get(name)
        if described is None:
            return None
        if name not in self._arrays:
            file = array_file(name)
            check_digest(self._path / file, self.manifest["files"].get(file, {}))
            try:
                shape = tuple(int(side) for side in described["shape"])
                self._arrays[name] = np.memmap(self._path / file, dtype=described["dtype"], mode="r", shape=shape)
            except (KeyError, TypeError, ValueError, OSError) as error:
                raise GalleryCorrupt(f"{self._path / file}: does not fit the manifest: {error}. {REMEDY}") from None
        return self._arrays[name]

    def thumbnail(self, index: int) -> bytes:
        """The gallery frame as a small JPEG."""
        start = self._thumbnail_ends[index - 1] if index else 0
        with (self._path / THUMBNAILS).open("rb") as file:
            file.seek(start)
            return file.read(self._thumbnail_ends[index] - start)

    def verify(self) -> Iterator[tuple[str, int, int]]:
        """Reads every file and compares its SHA-256; yields (file name, bytes done, bytes in all) on its way.

        Raises:
            GalleryCorrupt: at the first file that differs.
        """
        done, total = 0, self.size_bytes
        for name, entry in self.manifest["files"].items():
            check_digest(self._path / name, entry)
            done += int(entry["bytes"])
            yield name, done, total


def _frames(path: Path) -> tuple[tuple[GalleryFrame, ...], list[int]]:
    data = read_json(path)
    try:
        frames = tuple(
            GalleryFrame(str(f["source"]), int(f["index"]), float(f["media_time"]), f.get("confirmed", False) is True)
            for f in data["frames"]
        )
        ends = [int(end) for end in data["thumbnail_ends"]]
    except (KeyError, TypeError, ValueError) as error:
        raise GalleryCorrupt(f"{path}: not well formed: {error}. {REMEDY}") from None
    if len(ends) != len(frames):
        raise GalleryCorrupt(f"{path}: {len(frames)} frames but {len(ends)} thumbnails. {REMEDY}")
    return frames, ends


def confirmed_frames(frames: Sequence[GalleryFrame]) -> list[int]:
    """Positions of the frames that somebody called normal."""
    return [index for index, frame in enumerate(frames) if frame.confirmed]


def frames_json(frames: Sequence[GalleryFrame], thumbnail_ends: Sequence[int]) -> dict[str, Any]:
    """What ``frames.json`` holds."""
    return {"frames": [asdict(frame) for frame in frames], "thumbnail_ends": list(thumbnail_ends)}
