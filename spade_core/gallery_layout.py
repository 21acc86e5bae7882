"""How a gallery lies on the disk: names, formats, checksums, and the few ways its files are read and written.

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
        NAME.bin           arrays that a method keeps ready (see the manifest's "arrays"), little-endian, C order

A version under construction is a hidden folder beside them; a crash leaves that and nothing else. Nothing is pickled.
Used by ``gallery``, ``gallery_writer`` and ``gallery_versions``.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spade_core.errors import GalleryCorrupt, GalleryMismatch, GalleryNotFound, InputError
from spade_core.motion import GRID

FORMAT = 2
"""Version of this layout; grows when an older reader could not read it any more. 1: thresholds were set for a part of
the frames; 2: for false alarms per day.
"""

CURRENT, MANIFEST, FRAMES, CALIBRATION = "CURRENT", "manifest.json", "frames.json", "calibration.json"
POOLED, MOTION, CHECKS, THUMBNAILS = "pooled.f32", "motion.f16", "levels.crc", "thumbnails.bin"
EAGER = (FRAMES, CALIBRATION, POOLED, MOTION, CHECKS)
"""Small files: checked in full whenever a gallery is opened."""

REMEDY = "Restore it from a backup, or enroll the scene again"

_CHUNK = 8 << 20  # bytes hashed at once

ARRAY_DTYPES = ("<f2", "<f4", "<i4")
"""What a method's array may hold: floats in half or single precision, or whole numbers."""


def level_file(level: int) -> str:
    """File name of a pyramid level, counted from 0."""
    return f"level{level + 1}.f16"


def array_file(name: str) -> str:
    """File name of a method's array.

    Raises:
        InputError: the name is not lower case letters, digits and underscores, or is taken.
    """
    file = f"{name}.bin"
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or file == THUMBNAILS:
        raise InputError(f"array {name!r}: a name is made of a-z, 0-9 and _, begins with a letter, and is not taken")
    return file


def storable_array(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """A method's array as it lies on the disk: little-endian, C order.

    Raises:
        InputError: its name, type or size cannot be stored.
    """
    array_file(name)
    dtype = array.dtype.newbyteorder("<")
    if dtype.str not in ARRAY_DTYPES or array.size == 0:
        raise InputError(
            f"array {name!r}: {array.dtype} of shape {array.shape} cannot be stored; "
            "float16, float32 or int32 with at least one value can"
        )
    return np.ascontiguousarray(array, dtype=dtype)


def pooled_map(folder: Path, shape: Sequence[int], mode: Any) -> np.memmap[Any, Any]:
    """Memory map of the pooled features in a version folder."""
    return np.memmap(folder / POOLED, dtype="<f4", mode=mode, shape=tuple(shape))


def motion_map(folder: Path, frames: int, mode: Any) -> np.memmap[Any, Any]:
    """Memory map of the motion maps in a version folder."""
    return np.memmap(folder / MOTION, dtype="<f2", mode=mode, shape=(frames, GRID, GRID))


def level_map(folder: Path, level: int, shape: Sequence[int], mode: Any) -> np.memmap[Any, Any]:
    """Memory map of one level's features in a version folder."""
    return np.memmap(folder / level_file(level), dtype="<f2", mode=mode, shape=tuple(shape))


def current_version(folder: Path) -> str:
    """Name of the version in force.

    Raises:
        GalleryNotFound: this is no gallery.
        GalleryCorrupt: it cannot be read.
    """
    if not folder.is_dir():
        raise GalleryNotFound(f"{folder}: no gallery here; make one with 'spade-stream enroll'")
    try:
        version = (folder / CURRENT).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        raise GalleryNotFound(
            f"{folder}: not a gallery (it has no {CURRENT} file); make one with 'spade-stream enroll'"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise GalleryCorrupt(f"{folder / CURRENT}: cannot be read: {error}. {REMEDY}") from None
    if not is_version(version):
        raise GalleryCorrupt(f"{folder / CURRENT}: {version[:40]!r} is not a version name. {REMEDY}")
    return version


def is_version(name: str) -> bool:
    """Whether a folder of this name in a gallery is a version."""
    return re.fullmatch(r"v[0-9]+", name) is not None


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest in a version folder.

    Raises:
        GalleryCorrupt: it is missing, altered, or something else.
        GalleryMismatch: written by a newer version of this program.
    """
    return check_manifest(read_json(path / MANIFEST), path)


def check_manifest(manifest: dict[str, Any], path: Path | str) -> dict[str, Any]:
    """A manifest as it is, once its format and its digest are right; ``path`` is the version folder, for errors.

    Raises: see :func:`read_manifest`.
    """
    form = manifest.get("format")
    if isinstance(form, int) and form > FORMAT:
        raise GalleryMismatch(f"{path}: gallery format {form}; this version reads up to {FORMAT}. Upgrade spade-stream")
    if isinstance(form, int) and 1 <= form < FORMAT:
        raise GalleryMismatch(f"{path}: gallery format {form}, made by an earlier version: enroll the scene again")
    body = {key: value for key, value in manifest.items() if key != "digest"}
    if form != FORMAT or manifest.get("digest") != manifest_digest(body):
        raise GalleryCorrupt(f"{path}/{MANIFEST}: altered, or not a manifest. {REMEDY}")
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


def check_size(path: Path, entry: Mapping[str, Any]) -> None:
    """Raises GalleryCorrupt where a file is missing or of another size than its entry says."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise GalleryCorrupt(f"{path}: {error.strerror or error}. {REMEDY}") from None
    if size != entry["bytes"]:
        raise GalleryCorrupt(
            f"{path}: {size} bytes, the manifest says {entry['bytes']}: cut short or altered. {REMEDY}"
        )


def check_digest(path: Path, entry: Mapping[str, Any]) -> None:
    """Raises GalleryCorrupt where a file is missing or its content is not what its entry says."""
    try:
        found = file_entry(path)
    except OSError as error:
        raise GalleryCorrupt(f"{path}: {error.strerror or error}. {REMEDY}") from None
    if found != entry:
        raise GalleryCorrupt(f"{path}: its checksum is not the one it was written with. {REMEDY}")


def read_json(path: Path) -> dict[str, Any]:
    """A file's JSON object. Raises GalleryCorrupt where it holds none."""
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise GalleryCorrupt(f"{path}: cannot be read: {error}. {REMEDY}") from None
    if not isinstance(data, dict):
        raise GalleryCorrupt(f"{path}: not a JSON object. {REMEDY}")
    return data


def write_file(path: Path, data: bytes) -> None:
    """Writes a file and waits until it is on the disk."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def truncate_file(path: Path, size: int) -> None:
    """Cuts a file and waits until that is on the disk."""
    with path.open("r+b") as file:
        file.truncate(size)
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Waits until the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
