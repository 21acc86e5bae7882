"""The score of every frame, kept as CSV: one file per camera and day, for plots, for evaluation and for re-tuning.

Rows are worth less than scoring: where they cannot be written they are counted as lost, and what is there stays whole.
"""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from stream.messages import iso_time, unix_time

_BUFFER = 1 << 16  # bytes of one camera's rows after which they are written without being asked to

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One frame's result. ``score`` and what hangs on it is None for a frame that could not be scored."""

    frame_time: float  # Unix seconds; ISO 8601 in the file
    frame_seq: int
    media_time: float  # s
    segment: str
    score: float | None
    image_score: float | None  # eq. 2
    threshold: float | None
    nearest: int | None  # gallery index of the most similar normal frame
    age: float | None  # s from capture to score; None where the clocks are not the same machine's
    alert: str  # id of the alert that is open after this frame, or ""
    problem: str  # why it could not be scored, or ""


COLUMNS = tuple(field.name for field in fields(ScoreRow))


class ScoreLog:
    """Appends rows under ``FOLDER/CAMERA/YYYY-MM-DD.csv``. Nothing that the disk does is raised: see ``problem``.

    Args:
        folder: made if needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, _DayFile] = {}
        self.rows_lost = 0  # rows that could not be written, ever
        self.problem = ""  # why rows are being lost now; "" = they are not

    def add(self, camera: str, row: ScoreRow) -> None:
        """Appends a row; on disk after :meth:`flush`."""
        time = iso_time(row.frame_time)
        file = self._file(camera, time[:10])
        values = {name: getattr(row, name) for name in COLUMNS} | {
            "frame_time": time,
            "media_time": f"{row.media_time:.3f}",  # ms: six digits lose them once a camera runs for days
        }
        file.add(_line(["" if value is None else _text(value) for value in values.values()]))
        if file.buffered > _BUFFER:
            self._write(file)

    def flush(self) -> None:
        """Hands what was added to the operating system."""
        for file in self._open.values():
            self._write(file)

    def close(self) -> None:
        """Flushes and closes. May be called twice."""
        self.flush()
        for file in self._open.values():
            file.close()
        self._open.clear()

    def _file(self, camera: str, day: str) -> _DayFile:
        current = self._open.get(camera)
        if current and current.day == day:
            return current
        if current:
            self._write(current)
            current.close()
        self._open[camera] = _DayFile(self._folder / camera / f"{day}.csv", day)
        return self._open[camera]

    def _write(self, file: _DayFile) -> None:
        if not file.rows:
            return
        try:
            file.write()
        except OSError as error:
            self.rows_lost += file.drop()
            if not self.problem:
                _log.error("scores are being lost: %s: %s", file.path, error.strerror)
            self.problem = f"{file.path}: {error.strerror}"
        else:
            if self.problem:
                _log.warning("scores are written again; %d rows were lost so far", self.rows_lost)
            self.problem = ""


class _DayFile:
    """One file, of which all but the rows that are being written is known to be good."""

    def __init__(self, path: Path, day: str) -> None:
        self.path, self.day = path, day
        self.rows = 0  # not written yet
        self._waiting = bytearray()
        self._handle: int | None = None
        self._good = 0  # bytes of whole rows in the file

    @property
    def buffered(self) -> int:
        """Bytes that are not written yet."""
        return len(self._waiting)

    def add(self, line: bytes) -> None:
        """Takes a row for the next write."""
        self._waiting += line
        self.rows += 1

    def write(self) -> None:
        """Appends what was taken, all of it or nothing. Raises OSError."""
        handle = self._opened()
        data = (_line(COLUMNS) if self._good == 0 else b"") + self._waiting
        try:
            written = 0
            while written < len(data):  # a disk that fills up takes a part first
                written += os.pwrite(handle, data[written:], self._good + written)
        except OSError:
            os.ftruncate(handle, self._good)
            raise
        self._good += written
        self.drop()

    def drop(self) -> int:
        """Forgets what was taken; returns how many rows that were."""
        rows, self.rows = self.rows, 0
        self._waiting.clear()
        return rows

    def close(self) -> None:
        """May be called twice."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _opened(self) -> int:
        if self._handle is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            self._good = _whole_rows(self._handle)
            os.ftruncate(self._handle, self._good)
        return self._handle


def _whole_rows(handle: int) -> int:
    """Bytes up to the end of the last whole row; a killed program may have left the beginning of another one."""
    size = os.fstat(handle).st_size
    tail = os.pread(handle, _BUFFER, max(0, size - _BUFFER))
    return size - (len(tail) - (tail.rfind(b"\n") + 1))


def read_scores(folder: Path, camera: str) -> Iterator[ScoreRow]:
    """All rows of a camera, by day, in the order in which they were scored.

    Raises:
        ValueError: a file is not such a CSV; names file and line.
    """
    for path in sorted((folder / camera).glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            for number, row in enumerate(csv.DictReader(file), start=2):
                try:
                    yield _row(row)
                except (KeyError, TypeError, ValueError) as error:
                    raise ValueError(f"{path}, line {number}: {error}") from None


def _row(row: dict[str, str]) -> ScoreRow:
    if len(row) != len(COLUMNS) or None in row.values():  # a line that a crash cut short is no unscored frame
        raise ValueError(f"must have {len(COLUMNS)} columns")

    def number(name: str) -> float | None:
        return float(row[name]) if row[name] else None

    return ScoreRow(
        frame_time=unix_time(row["frame_time"]),
        frame_seq=int(row["frame_seq"]),
        media_time=float(row["media_time"]),
        segment=row["segment"],
        score=number("score"),
        image_score=number("image_score"),
        threshold=number("threshold"),
        nearest=int(row["nearest"]) if row["nearest"] else None,
        age=number("age"),
        alert=row["alert"],
        problem=row["problem"],
    )


def _text(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value


def _line(values: Sequence[Any]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerow(values)
    return text.getvalue().encode()
