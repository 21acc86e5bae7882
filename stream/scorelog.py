"""The score of every frame, kept as CSV: one file per camera and day, for plots, for evaluation and for re-tuning."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TextIO

from stream.messages import iso_time, unix_time


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
    """Appends rows under ``FOLDER/CAMERA/YYYY-MM-DD.csv``.

    Args:
        folder: made if needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, tuple[str, TextIO]] = {}

    def add(self, camera: str, row: ScoreRow) -> None:
        """Appends a row; on disk after :meth:`flush`."""
        time = iso_time(row.frame_time)
        file = self._file(camera, time[:10])
        values = {name: getattr(row, name) for name in COLUMNS} | {
            "frame_time": time,
            "media_time": f"{row.media_time:.3f}",  # ms: six digits lose them once a camera runs for days
        }
        csv.writer(file).writerow(["" if value is None else _text(value) for value in values.values()])

    def flush(self) -> None:
        """Hands what was added to the operating system."""
        for _, file in self._open.values():
            file.flush()

    def close(self) -> None:
        """Flushes and closes. May be called twice."""
        for _, file in self._open.values():
            file.close()
        self._open.clear()

    def _file(self, camera: str, day: str) -> TextIO:
        current = self._open.get(camera)
        if current and current[0] == day:
            return current[1]
        if current:
            current[1].close()
        path = self._folder / camera / f"{day}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a", newline="", encoding="utf-8")
        if file.tell() == 0:
            csv.writer(file).writerow(COLUMNS)
        self._open[camera] = (day, file)
        return file


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
