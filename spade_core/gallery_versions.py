"""The versions of a gallery: which there are, which is in force, and who may change that.

A version is never changed; the one in force is named by a small file that is replaced in one step. So going back is
naming another one, and what is in use is never half old and half new. Whoever adds, removes or names versions holds the
gallery's lock meanwhile; readers need none.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spade_core.errors import GalleryBusy, GalleryError, GalleryNotFound, InputError
from spade_core.gallery import Gallery
from spade_core.gallery_layout import (
    CURRENT,
    MANIFEST,
    current_version,
    is_version,
    read_manifest,
    sync_folder,
    write_file,
)

BUILDING = ".building-"
"""What the name of a hidden folder begins with that holds a version on its way in, or out."""

_LOCK = ".lock"  # also holds the highest number that any version ever had, once some were removed


@dataclass(frozen=True, slots=True)
class Version:
    """What is known of a version without reading its features."""

    name: str
    made: datetime  # UTC; as its note says, else when its manifest was written
    frames: int
    size_bytes: int
    note: Mapping[str, Any]
    in_force: bool
    fault: str  # why it cannot be used, as far as its manifest tells; empty where nothing is wrong


def list_versions(folder: Path) -> tuple[Version, ...]:
    """The versions of a gallery, oldest first.

    Raises:
        GalleryNotFound: there is no gallery.
        GalleryCorrupt: what is in force cannot be told.
    """
    current = current_version(folder)
    return tuple(_describe(folder / name, current) for name in _names(folder))


def version_name(folder: Path, text: str) -> str:
    """The version that a user means: ``v000007``, ``v7`` or ``7``.

    Raises:
        GalleryNotFound: there is none of that name.
    """
    number = re.fullmatch(r"v?([0-9]+)", text)
    for name in _names(folder):
        if number and int(name[1:]) == int(number[1]):
            return name
    there = ", ".join(_names(folder)) or "none"
    raise GalleryNotFound(f"{folder}: it has no version {text!r}; there are {there}")


def use_version(folder: Path, name: str, *, on_progress: Callable[[int, int], None]) -> Gallery:
    """Puts a version in force, an older or a newer one, after reading all of it.

    Args:
        folder: of the gallery.
        name: as :func:`version_name` gives it.
        on_progress: told the bytes read, and those in all.

    Raises:
        GalleryNotFound: there is no such version.
        GalleryCorrupt: it is damaged; the one in force stays.
        GalleryError: another program is changing this gallery.
    """
    with gallery_lock(folder):
        name = version_name(folder, name)
        gallery = Gallery(folder, name)
        for _, done, total in gallery.verify():
            on_progress(done, total)
        put_in_force(folder, name)
    return gallery


def prunable(folder: Path, *, keep: int) -> tuple[Version, ...]:
    """The versions that may go where only ``keep`` are to stay: the one in force, and the newest of the others. The one
    that it follows from, by which later frames are judged (``note.drift.anchor``), stays as well.

    Raises:
        InputError: ``keep`` is less than 1.
        GalleryNotFound, GalleryCorrupt: as :func:`list_versions`.
    """
    if keep < 1:
        raise InputError(f"keep = {keep}: the version in force always stays, so at least 1")
    versions = list_versions(folder)
    anchors = {_anchor_of(version.note) for version in versions if version.in_force}
    others = [version for version in versions if not version.in_force and version.name not in anchors]
    return tuple(others[: max(0, len(others) - (keep - 1))])


def _anchor_of(note: Mapping[str, Any]) -> str:
    drift = note.get("drift")
    return str(drift.get("anchor", "")) if isinstance(drift, Mapping) else ""


def prune(folder: Path, *, keep: int) -> tuple[Version, ...]:
    """Deletes what :func:`prunable` names, and returns it. Its numbers are not used again.

    A program that has one of them open goes on with its features, but finds its thumbnails gone.

    Raises:
        GalleryError: another program is changing this gallery, or a folder cannot be deleted.
    """
    with gallery_lock(folder):
        gone = prunable(folder, keep=keep)
        if gone:
            _remember_number(folder)
        try:
            for version in gone:
                hidden = folder / f"{BUILDING}{version.name}"  # half deleted, it must not look like a version
                os.rename(folder / version.name, hidden)
                shutil.rmtree(hidden)
        except OSError as error:
            raise GalleryError(f"{folder}: {version.name} cannot be deleted: {error.strerror or error}") from None
    return gone


@contextmanager
def gallery_lock(folder: Path) -> Iterator[None]:
    """Holds the gallery's lock; see :func:`take_lock`."""
    if not folder.is_dir():
        raise GalleryNotFound(f"{folder}: no gallery here; make one with 'spade-stream enroll'")
    try:
        lock = take_lock(folder)
    except OSError as error:
        raise GalleryError(f"{folder}: the gallery cannot be changed: {error.strerror or error}") from None
    try:
        yield
    finally:
        os.close(lock)


def take_lock(folder: Path) -> int:
    """Takes the gallery's lock and returns it, a file descriptor; the kernel frees it when the process dies.

    Raises:
        GalleryBusy: another program has it.
        OSError: the folder cannot be written.
    """
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        if not isinstance(error, BlockingIOError):
            raise
        raise GalleryBusy(f"{folder}: another program is building this gallery; wait until it is done") from None
    return lock


def remove_leftovers(folder: Path) -> None:
    """Removes what crashes left; only for whoever has the lock."""
    for path in folder.glob(f"{BUILDING}*"):
        shutil.rmtree(path, ignore_errors=True)


def next_version(folder: Path) -> str:
    """A name that no version ever had."""
    return f"v{_highest_number(folder) + 1:06d}"


def put_in_force(folder: Path, name: str) -> None:
    """Names the version in force, in one step. Raises OSError."""
    write_file(folder / f"{CURRENT}.new", f"{name}\n".encode())
    os.replace(folder / f"{CURRENT}.new", folder / CURRENT)
    sync_folder(folder)


def _names(folder: Path) -> Sequence[str]:
    names = (path.name for path in folder.glob("v*") if path.is_dir() and is_version(path.name))
    return sorted(names, key=lambda name: int(name[1:]))


def _highest_number(folder: Path) -> int:
    numbers = [int(name[1:]) for name in _names(folder)]
    try:
        remembered = (folder / _LOCK).read_text(encoding="ascii")
    except (OSError, ValueError):
        remembered = ""
    return max([*numbers, int(remembered) if remembered.isdigit() else 0])


def _remember_number(folder: Path) -> None:
    # Not write_file: the lock is on this file, which must stay the same one.
    (folder / _LOCK).write_text(str(_highest_number(folder)), encoding="ascii")


def _describe(path: Path, current: str) -> Version:
    try:
        manifest, fault = read_manifest(path), ""
    except GalleryError as error:
        manifest, fault = {}, str(error)
    note = manifest.get("note", {})
    size = sum(int(entry["bytes"]) for entry in manifest.get("files", {}).values())
    frames = int(manifest.get("frames", 0))
    return Version(path.name, _made(path, note), frames, size, note, path.name == current, fault)


def _made(path: Path, note: Mapping[str, Any]) -> datetime:
    try:
        return datetime.fromisoformat(str(note.get("made"))).astimezone(UTC)
    except ValueError:
        file = path / MANIFEST
        return datetime.fromtimestamp((file if file.exists() else path).stat().st_mtime, UTC)
