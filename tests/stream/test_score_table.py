"""Score files as arrays: the same rows as one by one, from a day on, and nothing that is damaged read as quiet."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream.score_table import ScoreTable, joined, read_rows, read_table
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


def test_a_file_with_other_columns_is_named(tmp_path: Path) -> None:
    file = written(tmp_path, [row(0)]) / "gate" / "2023-11-15.csv"
    file.write_text(file.read_text().replace("frame_seq", "seq"))

    with pytest.raises(ValueError, match=r"2023-11-15.csv, line 1: its columns"):
        read_table(tmp_path, "gate")


@pytest.mark.parametrize(
    "damage",
    [
        lambda line: b"\0" * len(line),
        lambda line: line[:-9],
        lambda line: line.replace(b"0.5,,", b"low,,"),
        lambda line: line.replace(b"0.5,,", b"inf,,"),
        lambda line: line.replace(b"Z,", b","),
        lambda line: line.replace(b"2023-11-15T", b"yesterday "),
        lambda line: b"nowZ" + line[line.index(b",") :],
        lambda line: b"2023-11-15Z" + line[line.index(b",") :],
        lambda line: line.replace(b",1,", b"," + b"9" * 30 + b",", 1),
        lambda line: line.replace(b'quoted"', b"quoted"),
        lambda line: b'"' + line,
        lambda line: b"x" * 200_000,
        lambda line: b"\xff\xfe",
    ],
)
def test_a_damaged_row_is_left_out_and_counted_and_no_other_one(tmp_path: Path, damage: Any) -> None:
    file = written(tmp_path, [row(n) for n in range(5)]) / "gate" / "2023-11-15.csv"
    lines = file.read_bytes().split(b"\r\n")
    lines[2] = damage(lines[2])
    file.write_bytes(b"\r\n".join(lines))

    table = read_table(tmp_path, "gate")

    assert table.seqs.tolist() == [0, 2, 3, 4]
    assert table.damaged == 1
    assert [table.segment_names[code] for code in table.segments] == ["", "", "a, quoted", ""]


def test_a_text_with_line_breaks_is_one_row(tmp_path: Path) -> None:
    folder = written(tmp_path, [row(0), replace(row(1), problem="two\nlines"), row(2)])

    table = read_table(folder, "gate")

    assert (table.seqs.tolist(), table.damaged) == ([0, 1, 2], 0)


def test_a_file_goes_on_where_an_earlier_reading_ended(tmp_path: Path) -> None:
    file = written(tmp_path, [row(0), row(1)]) / "gate" / "2023-11-15.csv"
    first, end = read_rows(file)
    whole = file.read_bytes()
    assert end == len(whole)
    file.write_bytes(whole + b"2023-11-15T12:00")
    assert read_rows(file, start=end)[1] == end, "a row that is being written is not read"
    file.write_bytes(whole)
    written(tmp_path, [row(2)])

    more, _ = read_rows(file, start=end)

    both = joined([first, more])
    assert both.seqs.tolist() == [0, 1, 2]
    assert [both.segment_names[code] for code in both.segments] == ["", "a, quoted", ""]
