"""Stored scores as arrays: three million rows a week are too many for an object each. Anybody may import it."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream.scorelog import COLUMNS, ScoreRow

_BLOCK: Final = 50_000  # rows that are text at a time: some 30 MB


@dataclass(frozen=True, slots=True, eq=False)
class ScoreTable:
    """The M rows of one camera, in the order in which they were scored."""

    times: NDArray[np.float64]  # (M,) Unix seconds
    seqs: NDArray[np.int64]  # (M,) frame numbers
    scores: NDArray[np.float64]  # (M,); NaN = not scored
    thresholds: NDArray[np.float64]  # (M,) that were in force; NaN = not scored
    segments: NDArray[np.int64]  # (M,) index into segment_names
    segment_names: tuple[str, ...]
    alerts: NDArray[np.int64]  # (M,) index into alert_ids of the alert that was open after the row
    alert_ids: tuple[str, ...]  # "" = none was

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
        return _table([(numbers[0], np.array(columns[1], np.int64), numbers[1], numbers[2], columns[4], columns[5])])

    def from_time(self, since: float) -> ScoreTable:
        """Without the rows of before ``since`` (Unix seconds)."""
        kept = self.times >= since
        names = ("times", "seqs", "scores", "thresholds", "segments", "alerts")
        rows = {name: getattr(self, name)[kept] for name in names}
        return ScoreTable(**rows, segment_names=self.segment_names, alert_ids=self.alert_ids)


def read_table(folder: Path, camera: str, *, since: float | None = None) -> ScoreTable:
    """The stored rows of a camera; three times as fast as :func:`stream.scorelog.read_scores`.

    Args:
        folder: of all score files.
        camera: id.
        since: Unix seconds; days before are not even read. None = everything.

    Raises:
        ValueError: a file is no CSV of scores; names it, and about where.
        OSError: a file cannot be read.
    """
    first = "" if since is None else datetime.fromtimestamp(since, UTC).date().isoformat()
    files = [path for path in sorted((folder / camera).glob("*.csv")) if path.stem >= first]
    table = _table([block for path in files for block in _blocks(path)])
    return table if since is None else table.from_time(since)


_Block = tuple[
    NDArray[np.float64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], Sequence[str], Sequence[str]
]


def _blocks(path: Path) -> Iterator[_Block]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        header = next(reader, None)
        if header is not None and tuple(header) != COLUMNS:
            raise ValueError(f"{path}, line 1: its columns are not those of a file of scores")
        number = 2
        while rows := list(itertools.islice(reader, _BLOCK)):
            try:
                yield _block(rows)
            except ValueError as error:
                raise ValueError(f"{path}, lines {number} to {number + len(rows) - 1}: {error}") from None
            number += len(rows)


def _block(rows: list[list[str]]) -> _Block:
    if any(len(row) != len(COLUMNS) for row in rows):  # a line that a crash cut short is no unscored frame
        raise ValueError(f"each must have {len(COLUMNS)} columns")
    columns: dict[str, Sequence[str]] = dict(zip(COLUMNS, zip(*rows, strict=True), strict=True))
    times = columns["frame_time"]
    if not all(time.endswith("Z") for time in times):
        raise ValueError("a time is not in UTC")
    stamps = np.array([time[:-1] for time in times], "datetime64[ms]")
    return (
        stamps.astype(np.int64) / 1000.0,
        np.fromiter(map(int, columns["frame_seq"]), np.int64, len(rows)),
        _numbers(columns["score"]),
        _numbers(columns["threshold"]),
        columns["segment"],
        columns["alert"],
    )


def _numbers(texts: Sequence[str]) -> NDArray[np.float64]:
    return np.fromiter((float(text) if text else np.nan for text in texts), np.float64, len(texts))


def _table(blocks: Sequence[_Block]) -> ScoreTable:
    segments, alerts = _Names(), _Names()
    return ScoreTable(
        times=_joined([block[0] for block in blocks], np.float64),
        seqs=_joined([block[1] for block in blocks], np.int64),
        scores=_joined([block[2] for block in blocks], np.float64),
        thresholds=_joined([block[3] for block in blocks], np.float64),
        segments=_joined([segments.codes(block[4]) for block in blocks], np.int64),
        segment_names=tuple(segments.known),
        alerts=_joined([alerts.codes(block[5]) for block in blocks], np.int64),
        alert_ids=tuple(alerts.known),
    )


def _joined(parts: Sequence[NDArray[Any]], kind: type[np.generic]) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.empty(0, kind)


class _Names:
    """Numbers for texts, the same one for the same text."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}

    def codes(self, texts: Sequence[str]) -> NDArray[np.int64]:
        for text in dict.fromkeys(texts):
            self.known.setdefault(text, len(self.known))
        return np.fromiter((self.known[text] for text in texts), np.int64, len(texts))


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value
