"""Stored scores as arrays: three million rows a week are too many for an object each. Anybody may import it.

Rows that are damaged (a disk that was full, a power cut) are left out one by one and counted: they are frames that
nobody knows of, never quiet ones.
"""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from stream.scorelog import COLUMNS, ScoreRow

_BLOCK: Final = 1 << 22  # bytes that are text at a time: some 30 MB in memory
_LARGEST: Final = 1e30  # of a score: beyond it one does not fit where they are kept with half the digits
_START: Final = re.compile(r"\n(?=\d{4}-\d\d-\d\dT\d\d:)")  # of a row; a text in quotes may have line breaks as well

_log = logging.getLogger(__name__)

_Block = tuple[
    NDArray[np.float64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], Sequence[str], Sequence[str]
]  # times, numbers, scores and thresholds of some rows, their segments and alerts


@dataclass(frozen=True, slots=True, eq=False)
class ScoreTable:
    """The M rows of one camera, in the order in which they were scored."""

    times: NDArray[np.float64]  # (M,) Unix seconds
    seqs: NDArray[np.int64]  # (M,) frame numbers
    scores: NDArray[np.float64]  # (M,); NaN = not scored
    thresholds: NDArray[np.float64]  # (M,) that were in force; NaN = not scored
    segments: NDArray[np.int32]  # (M,) index into segment_names
    segment_names: tuple[str, ...]
    alerts: NDArray[np.int32]  # (M,) index into alert_ids of the alert that was open after the row
    alert_ids: tuple[str, ...]  # "" = none was
    damaged: int = 0  # rows that were left out because they could not be read

    def __len__(self) -> int:
        return len(self.times)

    @classmethod
    def of(cls, rows: Iterable[ScoreRow]) -> ScoreTable:
        """The same rows as arrays."""
        fields = (
            (row.frame_time, row.frame_seq, _or_nan(row.score), _or_nan(row.threshold), row.segment, row.alert)
            for row in rows
        )
        columns = list(zip(*fields, strict=True)) or [()] * 6
        numbers = [np.array(columns[place], np.float64) for place in (0, 2, 3)]
        return _table((numbers[0], np.array(columns[1], np.int64), numbers[1], numbers[2], columns[4], columns[5]))

    def from_time(self, since: float) -> ScoreTable:
        """Without the rows of before ``since`` (Unix seconds)."""
        kept = self.times >= since
        names = ("times", "seqs", "scores", "thresholds", "segments", "alerts")
        rows = {name: getattr(self, name)[kept] for name in names}
        return ScoreTable(**rows, segment_names=self.segment_names, alert_ids=self.alert_ids, damaged=self.damaged)


def read_table(folder: Path, camera: str, *, since: float | None = None) -> ScoreTable:
    """The stored rows of a camera; three times as fast as :func:`stream.scorelog.read_scores`.

    Args:
        folder: of all score files.
        camera: id.
        since: Unix seconds; days before are not even read. None = everything.

    Raises:
        ValueError: a file has other columns; names it.
        OSError: a file cannot be read.
    """
    table = joined([read_rows(path)[0] for path in day_files(folder, camera, since=since)])
    return table if since is None else table.from_time(since)


def day_files(folder: Path, camera: str, *, since: float | None = None) -> list[Path]:
    """A camera's files in order of their days, from that of ``since`` (Unix seconds) on."""
    first = "" if since is None else datetime.fromtimestamp(since, UTC).date().isoformat()
    return [path for path in sorted((folder / camera).glob("*.csv")) if path.stem >= first]


def read_rows(path: Path, *, start: int = 0) -> tuple[ScoreTable, int]:
    """The rows of one file from a byte on, which is 0 or what an earlier reading gave; and the byte after them.

    Raises:
        ValueError: it has other columns; names it.
        OSError: it cannot be read.
    """
    tables: list[ScoreTable] = []
    end = start
    with path.open("rb") as file:
        if start == 0:
            _check_header(file, path)
        for rows, lost, after in row_blocks(file, start=start):
            end = after
            try:
                block = _block(rows)
            except (ValueError, OverflowError):
                sound = sound_rows(rows)
                block, lost = _block(sound), lost + len(rows) - len(sound)
            tables.append(_table(block, damaged=lost))
    table = joined(tables)
    if table.damaged:
        _log.warning("%s: %d rows are damaged and left out", path, table.damaged)
    return table, end


def joined(tables: Sequence[ScoreTable]) -> ScoreTable:
    """The rows of all, one table after the other."""
    segments, alerts = _Names(), _Names()
    return ScoreTable(
        times=_one([table.times for table in tables], np.float64),
        seqs=_one([table.seqs for table in tables], np.int64),
        scores=_one([table.scores for table in tables], np.float64),
        thresholds=_one([table.thresholds for table in tables], np.float64),
        segments=_one([segments.codes(table.segment_names)[table.segments] for table in tables], np.int32),
        segment_names=tuple(segments.known),
        alerts=_one([alerts.codes(table.alert_ids)[table.alerts] for table in tables], np.int32),
        alert_ids=tuple(alerts.known),
        damaged=sum(table.damaged for table in tables),
    )


def row_blocks(file: BinaryIO, *, start: int = 0) -> Iterator[tuple[list[list[str]], int, int]]:
    """(rows, how many lines were none, byte after them) of an open file, some MB at a time. A row has as many columns
    as it must have; what stands in them is not looked at. One that is still being written is not read."""
    file.seek(start)
    while block := file.read(_BLOCK):
        end = block.rfind(b"\n") + 1
        if not end and len(block) < _BLOCK:
            return
        whole = block[: end or len(block)]
        start += len(whole)
        rows, lost = _rows(whole.decode("utf-8", "replace"))
        yield rows, lost, start
        file.seek(start)


def sound_rows(rows: list[list[str]]) -> list[list[str]]:
    """Those of which time, number, score and threshold can be read."""
    try:
        _block(rows)
    except (ValueError, OverflowError):
        half = len(rows) // 2
        return sound_rows(rows[:half]) + sound_rows(rows[half:]) if half else []
    return rows


def _rows(text: str) -> tuple[list[list[str]], int]:
    found, lost = _split(text)
    if lost or len(found) != text.count("\n"):
        # A quote too many or too few takes the rows after it along, so each is read by itself.
        parts = [_split(part) for part in _START.split(text)]
        found, lost = [row for rows, _ in parts for row in rows], sum(bad for _, bad in parts)
    header = list(COLUMNS)
    return [row for row in found if row != header], lost


def _split(text: str) -> tuple[list[list[str]], int]:
    """(rows with all their columns, others) of a text."""
    rows: list[list[str]] = []
    try:
        rows.extend(csv.reader(io.StringIO(text, newline="")))
    except csv.Error:
        rows.append([""])
    whole = [row for row in rows if len(row) == len(COLUMNS)]
    return whole, sum(1 for row in rows if row) - len(whole)


def _check_header(file: BinaryIO, path: Path) -> None:
    first = file.readline(1024).decode("utf-8", "replace").strip().split(",")
    if len(first) > 1 and all(name.isidentifier() for name in first) and tuple(first) != COLUMNS:
        raise ValueError(f"{path}, line 1: its columns are not those of a file of scores")


def _block(rows: Sequence[list[str]]) -> _Block:
    columns: dict[str, Sequence[str]] = dict(zip(COLUMNS, zip(*rows, strict=True) if rows else [()] * 11, strict=True))
    times = columns["frame_time"]
    # As the log writes them; NumPy would take "now", too.
    if not all(len(time) == 24 and time[10] == "T" and time.endswith("Z") for time in times):
        raise ValueError("a time is not YYYY-MM-DDTHH:MM:SS.mmmZ")
    stamps = np.array([time[:-1] for time in times], "datetime64[ms]")
    if np.isnat(stamps).any():
        raise ValueError("a time is none")
    return (
        stamps.astype(np.int64) / 1000.0,
        np.fromiter(map(int, columns["frame_seq"]), np.int64, len(rows)),
        _numbers(columns["score"]),
        _numbers(columns["threshold"]),
        columns["segment"],
        columns["alert"],
    )


def _numbers(texts: Sequence[str]) -> NDArray[np.float64]:
    numbers = np.fromiter((float(text) if text else np.nan for text in texts), np.float64, len(texts))
    if (np.abs(numbers) > _LARGEST).any():
        raise ValueError("a number is none")
    return numbers


def _table(block: _Block, *, damaged: int = 0) -> ScoreTable:
    segments, alerts = _Names(), _Names()
    return ScoreTable(
        *block[:4],
        segments=segments.codes(block[4]),
        segment_names=tuple(segments.known),
        alerts=alerts.codes(block[5]),
        alert_ids=tuple(alerts.known),
        damaged=damaged,
    )


def _one(parts: Sequence[NDArray[Any]], kind: type[np.generic]) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.empty(0, kind)


class _Names:
    """Numbers for texts, the same one for the same text."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}

    def codes(self, texts: Sequence[str]) -> NDArray[np.int32]:
        for text in dict.fromkeys(texts):
            self.known.setdefault(text, len(self.known))
        return np.fromiter((self.known[text] for text in texts), np.int32, len(texts))


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value
