"""Score files as arrays: the same rows as one by one, from a day on, and nothing that is damaged read as quiet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stream.score_table import ScoreTable, read_table
from stream.scorelog import ScoreLog, ScoreRow, read_scores

NOON = 1_700_049_600.0  # 2023-11-15 12:00 UTC


def row(number: int, *, time: float = NOON, score: float | None = 0.5) -> ScoreRow:
    return ScoreRow(
        frame_time=time + number,
        frame_seq=number,
        media_time=float(number),
        segment="a, quoted" if number % 2 else "",
        score=score,
        image_score=None,
        threshold=None if score is None else 1.0,
        nearest=None,
        age=0.1,
        alert="gate-1" if number > 2 else "",
        problem="" if score is not None else "no gallery",
    )


def written(folder: Path, rows: list[ScoreRow]) -> Path:
    log = ScoreLog(folder)
    for each in rows:
        log.add("gate", each)
    log.close()
    return folder


def test_a_table_holds_what_the_rows_say(tmp_path: Path) -> None:
    folder = written(tmp_path, [row(0), row(1, score=None), row(2, score=1.25), row(3)])

    table, rows = read_table(folder, "gate"), list(read_scores(folder, "gate"))

    assert table.times.tolist() == [each.frame_time for each in rows] == [NOON, NOON + 1, NOON + 2, NOON + 3]
    assert table.seqs.tolist() == [0, 1, 2, 3]
    assert np.array_equal(table.scores, [0.5, np.nan, 1.25, 0.5], equal_nan=True)
    assert np.array_equal(table.thresholds, [1.0, np.nan, 1.0, 1.0], equal_nan=True)
    assert [table.segment_names[code] for code in table.segments] == ["", "a, quoted", "", "a, quoted"]
    assert [table.alert_ids[code] for code in table.alerts] == ["", "", "", "gate-1"]


def test_rows_one_by_one_make_the_same_table(tmp_path: Path) -> None:
    rows = [row(0), row(1, score=None), row(2)]
    read, made = read_table(written(tmp_path, rows), "gate"), ScoreTable.of(rows)

    assert np.array_equal(read.times, made.times)
    assert np.array_equal(read.scores, made.scores, equal_nan=True)
    assert read.segment_names == made.segment_names == ("", "a, quoted")


def test_days_before_the_beginning_are_not_even_read(tmp_path: Path) -> None:
    folder = written(tmp_path, [row(0, time=NOON - 86_400), row(0), row(1), row(2)])
    (folder / "gate" / "2023-11-14.csv").write_text("damaged")

    assert read_table(folder, "gate", since=NOON + 1).seqs.tolist() == [1, 2]


def test_a_camera_without_scores_has_none(tmp_path: Path) -> None:
    assert len(read_table(tmp_path, "gate")) == len(ScoreTable.of([])) == 0


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda text: text.replace("frame_seq", "seq"), "line 1: its columns"),
        (lambda text: text[:-12], r"2023-11-15.csv, lines 2 to 3: each must have 11 columns"),
        (lambda text: text.replace("0.5,,", "low,,"), "lines 2 to 3: could not convert"),
        (lambda text: text.replace("Z,", ","), "UTC"),
        (lambda text: text.replace("2023-11-15T", "yesterday "), "lines 2 to 3"),
    ],
)
def test_a_damaged_file_is_named_with_the_place(tmp_path: Path, damage: object, what: str) -> None:
    file = written(tmp_path, [row(0), row(2)]) / "gate" / "2023-11-15.csv"
    assert callable(damage)
    file.write_text(damage(file.read_text()))

    with pytest.raises(ValueError, match=what):
        read_table(tmp_path, "gate")
