"""Files that are whole or not there, whatever happens meanwhile, and file names for any text. Anybody may use it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from urllib.parse import quote

PART_SUFFIX = ".part"
"""End of the name of a file that is being written; its beginning is a dot."""

HASHED = "="
"""Stands in a name that was too long and ends in a hash: the text cannot be read back from it."""

_MAX_NAME = 100  # of the 255 bytes that file systems allow; the rest is for suffixes


def write_durably(path: Path, data: bytes) -> None:
    """Writes a file so that after a crash it is there whole or not at all; folders on the way are made.

    Raises:
        OSError: it is not there, or an older one of that name still is.
    """
    _make_folder(path.parent)
    part = path.with_name(f".{path.name}{PART_SUFFIX}")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)  # on a full disk it would take what little room is left
        raise
    sync_folder(path.parent)


def safe_name(text: str) -> str:
    """A file name for any text; different texts get different names."""
    name = quote(text, safe="").replace(".", "%2E", 1) if text.startswith(".") else quote(text, safe="")
    if len(name) > _MAX_NAME:
        # "=" never comes out of quote(), so no short text can have this name.
        return f"{name[: _MAX_NAME - 33]}{HASHED}{hashlib.sha256(text.encode()).hexdigest()[:32]}"
    return name or HASHED


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Makes what was made, renamed or removed in a folder last over a power cut. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
