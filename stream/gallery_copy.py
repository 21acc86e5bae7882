"""Copies a version of a gallery into a gallery folder, from wherever it lies. For ``gallery_store``.

What comes is believed in nothing: names of files, sizes and checksums are looked at before anything of it can be seen
under the name of a version. What was there before stays until then, and stays where the copy fails.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from spade_core.errors import GalleryCorrupt, GalleryError, SpadeError
from spade_core.gallery import Gallery
from spade_core.gallery_layout import (
    CURRENT,
    EAGER,
    MANIFEST,
    THUMBNAILS,
    check_manifest,
    file_entry,
    is_version,
    read_manifest,
    sync_folder,
    write_file,
)
from spade_core.gallery_versions import BUILDING, gallery_lock, next_version, put_in_force, remove_leftovers
from spade_core.gallery_writer import ROOM_TO_LEAVE
from stream.errors import GalleryStoreError

MAX_MANIFEST = 16 << 20
"""Bytes of a manifest that are read. Real ones have some kilobytes; a stranger's must not fill the memory."""

MAX_FILES = 256
"""Files of a version: real ones have about a dozen."""

CHUNK = 8 << 20
"""Bytes copied at once."""

AGAIN = "It is fetched again; if that goes on, publish the gallery again ('spade-stream gallery push')"

_FILE = re.compile(r"[a-z][a-z0-9_]{0,63}\.(?:json|f32|f16|crc|bin)")  # no path, nothing hidden
_DIGEST = re.compile(r"[0-9a-f]{64}")

OnProgress = Callable[[int, int], None]
"""Told the bytes done, and those in all. May raise: then nothing was changed."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is known of a version from its manifest alone."""

    data: bytes  # as it lies in the version folder
    digest: str  # SHA-256 of all but itself: two versions with the same one hold the same bytes
    frames: int
    files: Mapping[str, Mapping[str, Any]]  # name -> "bytes" and "sha256"; names without a path
    note: Mapping[str, Any]

    @property
    def size_bytes(self) -> int:
        """Of all files but the manifest."""
        return sum(int(entry["bytes"]) for entry in self.files.values())


class VersionSource(Protocol):
    """A version somewhere else."""

    @property
    def where(self) -> str:
        """For errors; holds no credentials."""
        ...

    def link(self, name: str, target: Path) -> bool:
        """Makes ``target`` the same file, without copying. False: it cannot, so that it has to be copied."""
        ...

    def chunks(self, name: str) -> Iterator[bytes]:
        """The bytes of a file.

        Raises:
            GalleryCorrupt: there is no such file.
            GalleryStoreError: it cannot be read now.
        """
        ...


class FolderVersion:
    """A version in a folder of this machine, or of one that is mounted here."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def where(self) -> str:
        """Its folder."""
        return str(self._path)

    def link(self, name: str, target: Path) -> bool:
        """Versions are never changed, so that two folders on one disk can hold the same file and take its room once."""
        try:
            os.link(self._path / name, target)
        except OSError:  # another disk, one without links, or a file of another user
            return False
        return True

    def chunks(self, name: str) -> Iterator[bytes]:
        """See :class:`VersionSource`."""
        try:
            with (self._path / name).open("rb") as file:
                while chunk := file.read(CHUNK):
                    yield chunk
        except FileNotFoundError:
            raise GalleryCorrupt(f"{self._path / name}: is missing. {AGAIN}") from None
        except OSError as error:
            raise GalleryStoreError(f"{self._path / name}: cannot be read: {error.strerror or error}") from None


def parse_manifest(data: bytes, where: str) -> Manifest:
    """A manifest from elsewhere, looked at in full.

    Args:
        data: its bytes.
        where: the version folder, for errors.

    Raises:
        GalleryCorrupt: it is not one, or names files that no version has.
        GalleryMismatch: another version of this program wrote it.
    """
    try:
        if len(data) > MAX_MANIFEST or not isinstance(fields := json.loads(data), dict):
            raise ValueError("not a manifest")
        manifest = check_manifest(fields, where)
        files, note = manifest["files"], manifest.get("note", {})
        _check_files(files)
        return Manifest(data, str(manifest["digest"]), int(manifest["frames"]), files, dict(note))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise GalleryCorrupt(f"{where}/{MANIFEST}: not well formed: {error}. {AGAIN}") from None


def _check_files(files: Any) -> None:
    if not isinstance(files, dict) or len(files) > MAX_FILES or not {*EAGER, THUMBNAILS} <= files.keys():
        raise ValueError("it does not name the files of a version")
    for name, entry in files.items():
        if not _FILE.fullmatch(name) or name == MANIFEST:
            raise ValueError(f"{name[:80]!r} is no file of a version")
        size, digest = entry["bytes"], entry["sha256"]
        if type(size) is not int or size < 0 or not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise ValueError(f"{name} has no size and checksum")


def receive(source: VersionSource, manifest: Manifest, name: str, into: Path, *, on_progress: OnProgress) -> str:
    """Makes a version part of a gallery folder and puts it in force there; one that is there already is used.

    Args:
        source: where its files come from.
        manifest: what it must be.
        name: that it gets, unless this folder has used that number, or a higher one, for something else.
        into: a gallery folder; made if needed.
        on_progress: see there.

    Returns:
        Its name in this folder.

    Raises:
        GalleryBusy: another program is changing that folder.
        GalleryCorrupt, GalleryMismatch: what came is not what the manifest says, or cannot be used.
        GalleryError: the folder cannot be written, or has no room.
        GalleryStoreError: the source cannot be read.
    """
    try:
        into.mkdir(parents=True, exist_ok=True)
        with gallery_lock(into):
            remove_leftovers(into)
            found = _there_already(manifest, into, on_progress)
            found = _build(source, manifest, _free_name(name, into), into, on_progress) if found is None else found
            if _in_force(into) != found:
                put_in_force(into, found)
    except OSError as error:
        raise GalleryError(f"{into}: the gallery could not be written: {error.strerror or error}") from None
    return found


def find_version(folder: Path, digest: str) -> str | None:
    """Name of the version in a gallery folder that has this manifest; None where none has."""
    for path in sorted(folder.glob("v*"), reverse=True):
        try:
            if is_version(path.name) and read_manifest(path)["digest"] == digest:
                return path.name
        except SpadeError:
            continue  # damaged, so not the one
    return None


def _there_already(manifest: Manifest, into: Path, on_progress: OnProgress) -> str | None:
    """Name of the same version, read in full; what is damaged goes."""
    while (name := find_version(into, manifest.digest)) is not None:
        try:
            for _, done, total in Gallery(into, name).verify():
                on_progress(done, total)
            return name
        except GalleryCorrupt:
            hidden = into / f"{BUILDING}{secrets.token_hex(4)}"  # half deleted, it must not look like a version
            os.rename(into / name, hidden)
            shutil.rmtree(hidden)
    return None


def _free_name(name: str, into: Path) -> str:
    free = next_version(into)
    return name if int(name[1:]) >= int(free[1:]) else free


def _in_force(folder: Path) -> str:
    try:
        return (folder / CURRENT).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""  # none, or nothing that can be read: it is written anew


def _build(source: VersionSource, manifest: Manifest, name: str, into: Path, on_progress: OnProgress) -> str:
    path = into / f"{BUILDING}{secrets.token_hex(4)}"
    path.mkdir()
    try:
        done = 0
        for file, entry in manifest.files.items():
            for size in _take(source, file, path / file, entry, left=manifest.size_bytes - done):
                on_progress(done + size, manifest.size_bytes)
            done += int(entry["bytes"])
        write_file(path / MANIFEST, manifest.data)
        sync_folder(path)
        _open_once(into, path.name, source.where)
        os.rename(path, into / name)
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise
    sync_folder(into)  # CURRENT must never be on the disk before what it names
    return name


def _open_once(into: Path, name: str, where: str) -> None:
    """Sees that it opens, before anybody can see it: its files are what the manifest says, which may be nonsense."""
    try:
        Gallery(into, name)
    except (KeyError, TypeError, ValueError) as error:
        raise GalleryCorrupt(f"{where}: cannot be opened: {error}. {AGAIN}") from None


def _take(source: VersionSource, file: str, target: Path, entry: Mapping[str, Any], *, left: int) -> Iterator[int]:
    """Gets one file and yields how many bytes of it are there. ``left``: bytes of all files that are still to come."""
    size = int(entry["bytes"])
    if source.link(file, target):
        found = file_entry(target)
    else:
        _check_room(target.parent, left)
        digest, done = hashlib.sha256(), 0
        with target.open("wb") as out:
            for chunk in source.chunks(file):
                done += len(chunk)
                if done > size:
                    break  # longer than it may be: it must not fill the disk
                digest.update(chunk)
                out.write(chunk)
                yield done
            out.flush()
            os.fsync(out.fileno())
        found = {"bytes": done, "sha256": digest.hexdigest()}
    if found != {"bytes": size, "sha256": entry["sha256"]}:
        raise GalleryCorrupt(f"{source.where}/{file}: is not what its manifest says: cut short or altered. {AGAIN}")
    yield size


def _check_room(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if size + ROOM_TO_LEAVE > free:
        raise GalleryError(
            f"{folder.parent}: no room: {size / 1e6:.0f} MB are to come, {free / 1e6:.0f} MB are free, and "
            f"{ROOM_TO_LEAVE / 1e6:.0f} MB must stay so. Make room on this disk"
        )
