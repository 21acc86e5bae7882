"""Scores over time, few enough to draw."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from console_fakes import a_row

from stream.console.history import ScoreHistory
from stream.messages import iso_time
from stream.scorelog import ScoreLog, ScoreRow

MIDNIGHT = datetime(2026, 1, 2, tzinfo=UTC).timestamp()


def log(folder: Path, *rows: ScoreRow, camera: str = "gate") -> None:
    written = ScoreLog(folder)
    for row in rows:
        written.add(camera, row)
    written.close()


def scored(time: float, score: float) -> ScoreRow:
    return a_row(time, 1, score=score)


def unscored(time: float) -> ScoreRow:
    return a_row(time, 5001)


def test_each_stretch_has_lowest_highest_and_mean(tmp_path: Path) -> None:
    log(
        tmp_path, *(scored(MIDNIGHT + n, value) for n, value in enumerate([1.0, 2.0, 6.0, 4.0])), unscored(MIDNIGHT + 4)
    )
    found = ScoreHistory(tmp_path).buckets("gate", since=MIDNIGHT, until=MIDNIGHT + 6, points=3)
    assert [(b["t"], b["min"], b["max"], b["mean"], b["unscored"]) for b in found] == [
        (iso_time(MIDNIGHT), 1.0, 2.0, 1.5, 0),
        (iso_time(MIDNIGHT + 2), 4.0, 6.0, 5.0, 0),
        (iso_time(MIDNIGHT + 4), None, None, None, 1),
    ]
    assert [b["threshold"] for b in found] == [2.5, 2.5, None], "what was not scored has none"


def test_a_long_time_has_as_many_points_as_asked_for(tmp_path: Path) -> None:
    log(tmp_path, *(scored(MIDNIGHT + 10 * n, float(n)) for n in range(1000)))
    found = ScoreHistory(tmp_path).buckets("gate", since=MIDNIGHT, until=MIDNIGHT + 10_000, points=10)
    assert [b["max"] for b in found] == [99.0 + 100 * n for n in range(10)]
    assert [b["mean"] for b in found] == [49.5 + 100 * n for n in range(10)]


def test_stretches_go_on_over_midnight(tmp_path: Path) -> None:
    log(tmp_path, scored(MIDNIGHT - 3, 1.0), scored(MIDNIGHT + 3, 3.0))
    found = ScoreHistory(tmp_path).buckets("gate", since=MIDNIGHT - 10, until=MIDNIGHT + 10, points=1)
    assert [(b["min"], b["max"], b["mean"]) for b in found] == [(1.0, 3.0, 2.0)]


def test_what_was_added_since_is_read_and_nothing_twice(tmp_path: Path) -> None:
    history = ScoreHistory(tmp_path)
    for number in range(1, 4):
        log(tmp_path, scored(MIDNIGHT, float(number)))
        found = history.buckets("gate", since=MIDNIGHT, until=MIDNIGHT + 2, points=1)
        assert found[0]["mean"] == (number + 1) / 2


def test_a_row_that_is_still_being_written_waits(tmp_path: Path) -> None:
    log(tmp_path, scored(MIDNIGHT, 1.0))
    path = tmp_path / "gate" / "2026-01-02.csv"
    whole = path.read_bytes()
    history = ScoreHistory(tmp_path)
    path.write_bytes(whole[:-5])
    assert history.buckets("gate", since=MIDNIGHT, until=MIDNIGHT + 2, points=1) == []
    path.write_bytes(whole)
    assert history.buckets("gate", since=MIDNIGHT, until=MIDNIGHT + 2, points=1)[0]["mean"] == 1.0


def test_a_file_that_is_another_one_is_read_anew(tmp_path: Path) -> None:
    history = ScoreHistory(tmp_path)
    log(tmp_path, scored(MIDNIGHT, 1.0), scored(MIDNIGHT, 1.0))
    history.buckets("gate", since=MIDNIGHT, until=MIDNIGHT + 2, points=1)
    (tmp_path / "gate" / "2026-01-02.csv").unlink()
    assert history.buckets("gate", since=MIDNIGHT, until=MIDNIGHT + 2, points=1) == []
    log(tmp_path, scored(MIDNIGHT, 7.0))
    assert history.buckets("gate", since=MIDNIGHT, until=MIDNIGHT + 2, points=1)[0]["mean"] == 7.0


def test_rows_that_are_damaged_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log(tmp_path, scored(MIDNIGHT, 1.0))
    with (tmp_path / "gate" / "2026-01-02.csv").open("a") as file:
        file.write("too,short\n")
        file.write("\0" * 40 + "\n")
        file.write("2026-01-02T00:00:00.000Z,7,0.000,,inf,,2.5,,,,\n")
        file.write('2026-01-02T00:00:00.000Z,7,0.000,"never ends,1.0,,2.5,,,,\n')
    log(tmp_path, scored(MIDNIGHT, 3.0))
    assert ScoreHistory(tmp_path).buckets("gate", since=MIDNIGHT, until=MIDNIGHT + 2, points=1)[0]["mean"] == 2.0


def test_a_camera_without_scores_has_no_stretches(tmp_path: Path) -> None:
    assert ScoreHistory(tmp_path).buckets("gate", since=MIDNIGHT, until=MIDNIGHT + 60, points=10) == []
