"""Converted networks, kept on disk: converting one takes a second or two of every start. Used by ``openvino_runtime``.

Nothing depends on it: where the folder cannot be written, or holds something damaged, networks are converted anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

KEPT: Final = 6
"""Networks kept, those used last: a backbone is two, and some hundred megabytes where it is a large one."""

_MODEL, _SUMS = "model.xml", "sums.json"


class ModelCache:
    """A folder of networks by key.

    Args:
        folder: made when something is first kept, for its owner alone: whoever can write there decides on scores.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, *parts: str) -> Path | None:
        """The network's file, if it is there and as it was written.

        Args:
            parts: all that the network depends on.
        """
        entry = self._entry(parts)
        try:
            sums = json.loads((entry / _SUMS).read_text(encoding="utf-8"))
            if sums != _sums(entry) or _MODEL not in sums:
                log.warning("%s is damaged; the network is converted anew", entry)
                return None
            os.utime(entry)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            log.warning("%s cannot be used (%s); the network is converted anew", entry, error)
            return None
        return entry / _MODEL

    def keep(self, save: Callable[[Path], None], *parts: str) -> None:
        """Keeps a network.

        Args:
            save: writes it to the path that it is given (and to files beside it).
            parts: see :meth:`find`.
        """
        entry = self._entry(parts)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=self._folder))  # 0700, whatever the umask
            try:
                save(fresh / _MODEL)
                (fresh / _SUMS).write_text(json.dumps(_sums(fresh)), encoding="utf-8")
                shutil.rmtree(entry, ignore_errors=True)
                os.rename(fresh, entry)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
            self._prune()
        except (OSError, RuntimeError) as error:  # the runtime raises RuntimeError where it cannot write
            log.warning("%s: a network cannot be kept there (%s); every start takes a second longer", entry, error)

    def _entry(self, parts: tuple[str, ...]) -> Path:
        return self._folder / hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]

    def _prune(self) -> None:
        entries = [path for path in self._folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
        for old in sorted(entries, key=lambda path: path.stat().st_mtime, reverse=True)[KEPT:]:
            shutil.rmtree(old, ignore_errors=True)


def _sums(entry: Path) -> dict[str, str]:
    sums = {}
    for path in sorted(entry.iterdir()):
        if path.name != _SUMS:
            with path.open("rb") as file:
                sums[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return sums
