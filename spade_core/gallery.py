"""The gallery of a scene: what its normal frames look like, on disk, memory-mapped.

::

    GALLERY/
      CURRENT              name of the version in force, replaced atomically
      v000001/             never changed once it is there
        manifest.json      format, fingerprint, shapes, size and SHA-256 of every other file
        frames.json        where each gallery frame came from, and where its thumbnail lies
        calibration.json   thresholds (see calibration)
        pooled.f32         (N, D) float32, little-endian, C order
        level1.f16 ..      (N, C, H, W) float16 per pyramid level, finest first
        motion.f16         (N, GRID, GRID) float16 motion maps; NaN where motion was not known
        levels.crc         (N, levels) uint32: CRC-32 of each frame's part of each level file
        thumbnails.bin     JPEG pictures, one after another

A version under construction is a hidden folder beside them; a crash leaves that and nothing else. Nothing is pickled.
Reading checks sizes and the small files at once, and each frame's features when they are first used, so that opening
takes no time and yet no damaged feature is ever scored; :meth:`Gallery.verify` reads everything.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from spade_core.calibration import Calibration
from spade_core.errors import GalleryCorrupt, GalleryMismatch, GalleryNotFound
from spade_core.motion import GRID

FORMAT = 1
"""Version of this layout; grows when an older reader could not read it any more."""

CURRENT, MANIFEST, FRAMES, CALIBRATION = "CURRENT", "manifest.json", "frames.json", "calibration.json"
POOLED, MOTION, CHECKS, THUMBNAILS = "pooled.f32", "motion.f16", "levels.crc", "thumbnails.bin"
_EAGER = (FRAMES, CALIBRATION, POOLED, MOTION, CHECKS)  # small: checked in full whenever a gallery is opened
_CHUNK = 8 << 20  # bytes hashed at once


@dataclass(frozen=True, slots=True)
class GalleryFrame:
    """Where a gallery frame came from."""

    source: str  # clip or camera, for people; holds no credentials
    index: int  # native frame index there
    media_time: float  # seconds since that source's first frame


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


def level_file(level: int) -> str:
    """File name of a pyramid level, counted from 0."""
    return f"level{level + 1}.f16"


def pooled_map(folder: Path, shape: Sequence[int], mode: Any) -> np.memmap[Any, Any]:
    """Memory map of the pooled features in a version folder."""
    return np.memmap(folder / POOLED, dtype="<f4", mode=mode, shape=tuple(shape))


def motion_map(folder: Path, frames: int, mode: Any) -> np.memmap[Any, Any]:
    """Memory map of the motion maps in a version folder."""
    return np.memmap(folder / MOTION, dtype="<f2", mode=mode, shape=(frames, GRID, GRID))


def level_map(folder: Path, level: int, shape: Sequence[int], mode: Any) -> np.memmap[Any, Any]:
    """Memory map of one level's features in a version folder."""
    return np.memmap(folder / level_file(level), dtype="<f2", mode=mode, shape=tuple(shape))


class Gallery:
    """An open gallery version, read-only. Build one with :class:`spade_core.gallery_writer.GalleryWriter`.

    Args:
        folder: the gallery folder (the one that holds ``CURRENT``).

    Raises:
        GalleryNotFound: there is none.
        GalleryCorrupt: a file is missing, cut short or altered.
        GalleryMismatch: written by a newer version of this program.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.version = _current(folder)
        self._path = folder / self.version
        self.manifest = _manifest(self._path)
        for name, entry in self.manifest["files"].items():
            _check_size(self._path / name, entry)
        for name in _EAGER:
            _check_digest(self._path / name, self.manifest["files"][name])
        self.frames: tuple[GalleryFrame, ...]
        self.frames, self._thumbnail_ends = _frames(self._path / FRAMES)
        self.calibration = Calibration.from_json(_json(self._path / CALIBRATION))
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
            raise GalleryCorrupt(f"{self._path}: files do not fit the manifest: {error}. {_REMEDY}") from None
        self._checked = np.zeros(n, bool)

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
                    raise GalleryCorrupt(f"{path}: features of frame {index} were altered. {_REMEDY}")
            self._checked[index] = True
        return levels

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
            _check_digest(self._path / name, entry)
            done += int(entry["bytes"])
            yield name, done, total


_REMEDY = "Restore it from a backup, or enroll the scene again"


def _current(folder: Path) -> str:
    if not folder.is_dir():
        raise GalleryNotFound(f"{folder}: no gallery here; make one with 'spade-stream enroll'")
    try:
        version = (folder / CURRENT).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        raise GalleryNotFound(
            f"{folder}: not a gallery (it has no {CURRENT} file); make one with 'spade-stream enroll'"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise GalleryCorrupt(f"{folder / CURRENT}: cannot be read: {error}. {_REMEDY}") from None
    if not (version[:1] == "v" and version[1:].isdigit()):
        raise GalleryCorrupt(f"{folder / CURRENT}: {version[:40]!r} is not a version name. {_REMEDY}")
    return version


def _manifest(path: Path) -> dict[str, Any]:
    manifest = _json(path / MANIFEST)
    form = manifest.get("format")
    if isinstance(form, int) and form > FORMAT:
        raise GalleryMismatch(f"{path}: gallery format {form}; this version reads up to {FORMAT}. Upgrade spade-stream")
    body = {key: value for key, value in manifest.items() if key != "digest"}
    if form != FORMAT or manifest.get("digest") != manifest_digest(body):
        raise GalleryCorrupt(f"{path / MANIFEST}: altered, or not a manifest. {_REMEDY}")
    return manifest


def manifest_digest(body: Mapping[str, Any]) -> str:
    """SHA-256 of a manifest without its ``digest`` field."""
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def file_entry(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file, as the manifest holds them."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def _check_size(path: Path, entry: Mapping[str, Any]) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise GalleryCorrupt(f"{path}: {error.strerror or error}. {_REMEDY}") from None
    if size != entry["bytes"]:
        raise GalleryCorrupt(
            f"{path}: {size} bytes, the manifest says {entry['bytes']}: cut short or altered. {_REMEDY}"
        )


def _check_digest(path: Path, entry: Mapping[str, Any]) -> None:
    try:
        found = file_entry(path)
    except OSError as error:
        raise GalleryCorrupt(f"{path}: {error.strerror or error}. {_REMEDY}") from None
    if found != entry:
        raise GalleryCorrupt(f"{path}: its checksum is not the one it was written with. {_REMEDY}")


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise GalleryCorrupt(f"{path}: cannot be read: {error}. {_REMEDY}") from None
    if not isinstance(data, dict):
        raise GalleryCorrupt(f"{path}: not a JSON object. {_REMEDY}")
    return data


def _frames(path: Path) -> tuple[tuple[GalleryFrame, ...], list[int]]:
    data = _json(path)
    try:
        frames = tuple(GalleryFrame(str(f["source"]), int(f["index"]), float(f["media_time"])) for f in data["frames"])
        ends = [int(end) for end in data["thumbnail_ends"]]
    except (KeyError, TypeError, ValueError) as error:
        raise GalleryCorrupt(f"{path}: not well formed: {error}. {_REMEDY}") from None
    if len(ends) != len(frames):
        raise GalleryCorrupt(f"{path}: {len(frames)} frames but {len(ends)} thumbnails. {_REMEDY}")
    return frames, ends


def frames_json(frames: Sequence[GalleryFrame], thumbnail_ends: Sequence[int]) -> dict[str, Any]:
    """What ``frames.json`` holds."""
    return {"frames": [asdict(frame) for frame in frames], "thumbnail_ends": list(thumbnail_ends)}
