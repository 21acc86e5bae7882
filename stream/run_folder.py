"""``STATE/run``: what makes one run the owner of its state folder, and the configuration that its processes read.

A process that is started again after a crash must not meet a file that somebody is editing, or that was found wrong: so
all processes read the text that the run was started with, or that was last taken over, and not the user's file.
"""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

from stream.durable import write_durably
from stream.errors import StateBusy, StreamError, UsageError
from stream.lockfile import Taken, take

_OPEN_TO_OTHERS = stat.S_IRWXG | stat.S_IRWXO

_log = logging.getLogger(__name__)


class RunFolder:
    """Makes this process the one that runs on a state folder, until :meth:`close` or its end.

    Args:
        state: the state folder; made where it is missing, for this user alone.

    Raises:
        StateBusy: another process runs on it; its process id is named.
        UsageError: the folder cannot be used.
    """

    def __init__(self, state: Path) -> None:
        self.path = state / "run"
        try:
            _make_private(state)
            self.path.mkdir(mode=0o700, exist_ok=True)
            self.path.chmod(stat.S_IMODE(self.path.stat().st_mode) & ~_OPEN_TO_OTHERS)
            self._lock: int | None = _lock(self.path / "owner.lock", state)
        except OSError as error:
            raise UsageError(
                f"state {state}: {error.strerror}: {error.filename}. Choose a folder that this user may write to"
            ) from error

    @property
    def config(self) -> Path:
        """The configuration that the processes read."""
        return self.path / "config.yaml"

    def keep_config(self, text: str) -> None:
        """Replaces it in one step, readable by this user alone. ``${NAME}`` stays as it stands in the text.

        Raises:
            StreamError: it cannot be written; the old one is still there.
        """
        try:
            write_durably(self.config, text.encode())  # nobody else can enter the folder: private from the start
            self.config.chmod(0o600)
        except OSError as error:
            raise StreamError(f"{self.config} cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """Lets another process run on the state folder. May be called twice."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _make_private(state: Path) -> None:
    """Makes the state folder for this user alone: it holds pictures of people. One that is there stays as it is, since
    somebody may have opened it on purpose; the log says so."""
    if not state.is_dir():
        state.parent.mkdir(parents=True, exist_ok=True)
        state.mkdir(mode=0o700, exist_ok=True)
    mode = stat.S_IMODE(state.stat().st_mode)
    if mode & _OPEN_TO_OTHERS:
        _log.warning("state %s: other users can read alerts and pictures (mode %04o). Run chmod 700 on it", state, mode)


def _lock(path: Path, state: Path) -> int:
    try:
        return take(path)
    except Taken as taken:
        raise StateBusy(
            f"state {state} is in use by process {taken.owner}: stop that run, or give this one another 'state'"
        ) from None
