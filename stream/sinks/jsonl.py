"""Alerts as files for other programs: ``alerts.jsonl``, one published alert a line, and the pictures beside it."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from stream.durable import write_durably
from stream.errors import SinkError
from stream.messages import Alert, Evidence
from stream.sinks.old_pictures import OldPictures

_BLOCK = 64 << 10  # bytes read at a time when the last line is looked for; a line is some kilobytes

_log = logging.getLogger(__name__)


class JsonLinesSink:
    """Appends to ``FOLDER/alerts.jsonl`` and writes ``FOLDER/pictures/``, each alert once, over any restarts.

    ``mask``, ``snapshot`` and ``clip`` in a line are paths relative to the folder, and the files are there before the
    line is. A line cut short by a crash is removed at opening; the alert comes again.

    Args:
        folder: made if missing. One sink at a time, and one outbox for all time: numbers say what is there already.
        days: after which a picture or clip is removed; its line stays, and names a file that is gone. None: never.
        wall: Unix seconds.
        monotonic: clock, s.

    Raises:
        SinkError: the folder cannot be used, another process writes to it, or its last line is not an alert.
    """

    def __init__(
        self,
        folder: Path,
        *,
        days: float | None = None,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = folder
        self._old = OldPictures(folder / "pictures", days, wall=wall, monotonic=monotonic)
        self._path = folder / "alerts.jsonl"
        self._known: dict[int, tuple[str, str, int]] | None = None
        self._file: int | None = self._open()
        try:
            self._size, self._last = self._recover(self._file)
        except BaseException:
            self.close()
            raise

    @property
    def last_seq(self) -> int:
        """Number of the last alert that is there; 0 if none. What to subscribe ``since``."""
        return self._last

    def deliver(self, alert: Alert, evidence: Evidence) -> None:
        """Appends the alert unless it is there; see :meth:`stream.sinks.base.Sink.deliver`."""
        if self._file is None:
            raise SinkError(f"{self._path} is closed")
        file = self._heed_changes(self._file)
        if alert.seq <= self._last:
            self._expect_same(alert)
            return
        try:
            # What a failed attempt may have left behind must not become the beginning of this line.
            if os.fstat(file).st_size != self._size:
                os.ftruncate(file, self._size)
            line = json.dumps(self._with_pictures(alert, evidence).to_json(), separators=(",", ":")).encode() + b"\n"
            _write_all(file, line)
            os.fsync(file)
        except OSError as error:
            raise SinkError(
                f"{error.filename or self._path}: alert {alert.seq} cannot be written: {error.strerror}. "
                "Check the free space and the permissions"
            ) from error
        self._size += len(line)
        self._last = alert.seq
        if self._known is not None:
            self._known[alert.seq] = _identity(alert)

    def tend(self) -> SinkError | None:
        """Removes pictures that are too old, once an hour; see :meth:`stream.sinks.base.Tended.tend`."""
        return self._old.tend()

    def close(self) -> None:
        """Releases the file. May be called twice."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self) -> int:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise SinkError(f"{self._path} cannot be opened: {error.strerror}. Choose a writable folder") from error

    def _heed_changes(self, file: int) -> int:
        """The file to write to. In one that somebody moved, removed or emptied nobody would look for an alert."""
        try:
            there = os.stat(self._path)
            same = os.path.samestat(there, os.fstat(file))
            if same and there.st_size >= self._size:
                return file
        except FileNotFoundError:
            same = False
        except OSError as error:
            raise SinkError(f"{self._path} cannot be read: {error.strerror}. Check the disk") from error
        _log.warning("%s was moved, removed or cut short by somebody else: goes on with what lies there", self._path)
        fresh = file if same else self._open()
        try:
            self._size, self._last = self._recover(fresh)
        except BaseException:
            if not same:
                os.close(fresh)
            raise
        if not same:
            os.close(file)
        self._file, self._known = fresh, None
        return fresh

    def _recover(self, file: int) -> tuple[int, int]:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SinkError(
                f"{self._path}: another process writes to it: a run that is going (then all is well), or another sink "
                "(then give each a folder of its own)"
            ) from None
        try:
            end = os.fstat(file).st_size
            size = _line_start(file, end)
            if size != end:
                os.ftruncate(file, size)
                os.fsync(file)
            if size == 0:
                return 0, 0
            start = _line_start(file, size - 1)
            line = os.pread(file, size - start, start)
        except OSError as error:
            raise SinkError(f"{self._path} cannot be read: {error.strerror}. Check the disk") from error
        return size, self._read_line(line).seq

    def _with_pictures(self, alert: Alert, evidence: Evidence) -> Alert:
        names: dict[str, str | None] = {"mask": None, "snapshot": None, "clip": None}
        stem = f"pictures/{alert.seq:09d}"
        for field, name, data in (
            ("mask", f"{stem}.mask.png", evidence.mask_png),
            ("snapshot", f"{stem}.jpg", evidence.snapshot_jpeg),
            ("clip", f"{stem}.mp4", evidence.clip_mp4),
        ):
            if data:
                write_durably(self.folder / name, data)
                names[field] = name
        return replace(alert, mask=names["mask"], snapshot=names["snapshot"], clip=names["clip"])

    def _expect_same(self, alert: Alert) -> None:
        """A number that is there under another identity means another outbox: skipping it would lose the alert."""
        if self._known is None:
            self._known = self._read_all()
        there = self._known.get(alert.seq)
        if there != _identity(alert):
            raise SinkError(
                f"{self._path}: alert {alert.seq} is {_identity(alert)}, but the file has {there} under this number: "
                "it was written from another outbox. Use a new folder for this one"
            )

    def _read_all(self) -> dict[int, tuple[str, str, int]]:
        try:
            with self._path.open("rb") as lines:
                alerts = [self._read_line(line) for line in lines]
        except OSError as error:
            raise SinkError(f"{self._path} cannot be read: {error.strerror}. Check the disk") from error
        return {alert.seq: _identity(alert) for alert in alerts}

    def _read_line(self, line: bytes) -> Alert:
        try:
            data: Any = json.loads(line)
            return Alert.from_json(data)
        except (ValueError, AttributeError) as error:
            raise SinkError(
                f"{self._path}: a line is not an alert: {error}. Move the file away, or remove that line"
            ) from error


def _identity(alert: Alert) -> tuple[str, str, int]:
    return alert.alert_id, str(alert.phase), alert.frame_seq


def _line_start(file: int, end: int) -> int:
    """Where the line that ends before ``end`` begins: the offset after the last newline before it, or 0."""
    while end > 0:
        start = max(0, end - _BLOCK)
        found = os.pread(file, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _write_all(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]
