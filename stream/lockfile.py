"""One owner for what cannot be shared: a lock file that names the process that holds it. Anybody may use it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class Taken(Exception):
    """Another process holds the lock.

    Args:
        owner: its process id, as far as it can be told.
    """

    def __init__(self, owner: str) -> None:
        self.owner = owner
        super().__init__(f"held by process {owner}")


def take(path: Path) -> int:
    """Takes the lock; it is held until the descriptor that this returns is closed, or the process ends.

    The file stays when the lock is given up: removing it would let two processes lock two files of the same name.

    Raises:
        Taken: somebody else has it.
        OSError: the file cannot be made.
    """
    # flock, not POSIX record locks: those do not conflict inside one process and vanish when any copy is closed.
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError:
        owner = os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(lock)
        raise Taken(owner) from None
    except BaseException:
        os.close(lock)
        raise
    return lock
