"""Whether a file that others replace has changed, cheaply enough to ask in every round."""

from __future__ import annotations

from pathlib import Path


class FileWatch:
    """Remembers what a file was like.

    Args:
        path: of the file; it need not be there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None  # None: it was not there
        self._known = False  # it was looked at

    def changed(self) -> bool:
        """Whether it is not what it was when this was asked last, or was never asked. Ask before reading it: what is
        replaced meanwhile is then read the next time."""
        mark = self._mark()
        if self._known and mark == self._seen:
            return False
        self._seen, self._known = mark, True
        return True

    def forget(self) -> None:
        """It counts as never looked at: what could not be read may be readable soon."""
        self._known = False

    def _mark(self) -> tuple[int, int, int] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
