"""A disk of two megabytes that can be full: a real file system, so that a test sees what the kernel does."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

MEGABYTES = 2


class SmallDisk:
    """A folder on a file system of its own.

    Args:
        path: of the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self) -> None:
        """Takes all room that is left, to the last byte."""
        handle = os.open(self._ballast, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            for size in (1 << 16, 1):
                with contextlib.suppress(OSError):
                    while os.write(handle, bytes(size)):
                        pass
        finally:
            os.close(handle)

    def free(self) -> None:
        """Gives it back."""
        self._ballast.unlink(missing_ok=True)


@contextlib.contextmanager
def mounted(path: Path, *, megabytes: int = MEGABYTES) -> Iterator[SmallDisk]:
    """A small disk at an empty folder; the test skips where this user may not mount one."""
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(path)], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def full_disk(*_: object, **__: object) -> None:
    """What the kernel says where there is no room; to stand in for a call that writes."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
