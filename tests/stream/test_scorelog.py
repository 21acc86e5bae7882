"""The score log: what is written is read back, by camera and by day, and a damaged file is named."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from small_disk import SmallDisk, full_disk

from stream.messages import unix_time
from stream.scorelog import COLUMNS, ScoreLog, ScoreRow, read_scores

NOON = unix_time("2026-03-01T12:00:00.250Z")
ROW = ScoreRow(
    frame_time=NOON,
    frame_seq=7,
    media_time=1.5,
    segment="clip",
    score=12.5,
    image_score=3.25,
    threshold=10.0,
    nearest=4,
    age=0.125,
    alert="a1",
    problem="",
)
UNSCORED = replace(ROW, score=None, image_score=None, threshold=None, nearest=None, age=None, problem="no gallery")


def written(folder: Path, *rows: ScoreRow, camera: str = "gate") -> list[ScoreRow]:
    log = ScoreLog(folder)
    for row in rows:
        log.add(camera, row)
    log.close()
    return list(read_scores(folder, camera))


def test_a_row_comes_back_as_it_went(tmp_path: Path) -> None:
    assert written(tmp_path, ROW) == [ROW]


def test_a_frame_that_could_not_be_scored_has_no_score_and_says_why(tmp_path: Path) -> None:
    assert written(tmp_path, UNSCORED) == [UNSCORED]


def test_a_score_of_zero_is_a_score(tmp_path: Path) -> None:
    (row,) = written(tmp_path, replace(ROW, score=0.0, nearest=0))

    assert (row.score, row.nearest) == (0.0, 0)


def test_the_file_can_be_read_by_people(tmp_path: Path) -> None:
    written(tmp_path, ROW, UNSCORED)

    assert (tmp_path / "gate" / "2026-03-01.csv").read_text().splitlines() == [
        "frame_time,frame_seq,media_time,segment,score,image_score,threshold,nearest,age,alert,problem",
        "2026-03-01T12:00:00.250Z,7,1.500,clip,12.5,3.25,10,4,0.125,a1,",
        "2026-03-01T12:00:00.250Z,7,1.500,clip,,,,,,a1,no gallery",
    ]


@pytest.mark.parametrize("text", ["a,b", 'say "no"', "two\nlines", "grün"])
def test_any_text_comes_back(tmp_path: Path, text: str) -> None:
    row = replace(UNSCORED, problem=text, segment=text)

    assert written(tmp_path, row, ROW) == [row, ROW]


def test_the_time_of_a_camera_that_runs_for_months_keeps_its_milliseconds(tmp_path: Path) -> None:
    (row,) = written(tmp_path, replace(ROW, media_time=12_345_678.125))

    assert row.media_time == 12_345_678.125


def test_every_day_has_its_file_in_utc(tmp_path: Path) -> None:
    before = replace(ROW, frame_time=unix_time("2026-03-01T23:59:59.999Z"), frame_seq=1)
    after = replace(ROW, frame_time=unix_time("2026-03-02T00:00:00Z"), frame_seq=2)

    assert [row.frame_seq for row in written(tmp_path, before, after)] == [1, 2]
    assert sorted(path.name for path in (tmp_path / "gate").iterdir()) == ["2026-03-01.csv", "2026-03-02.csv"]


def test_every_camera_has_its_folder(tmp_path: Path) -> None:
    log = ScoreLog(tmp_path)
    log.add("gate", ROW)
    log.add("yard", UNSCORED)
    log.close()

    assert list(read_scores(tmp_path, "gate")) == [ROW]
    assert list(read_scores(tmp_path, "yard")) == [UNSCORED]


def test_a_new_run_goes_on_in_the_same_file(tmp_path: Path) -> None:
    written(tmp_path, ROW)

    assert written(tmp_path, UNSCORED) == [ROW, UNSCORED]


def test_a_day_that_comes_back_goes_on_in_its_file(tmp_path: Path) -> None:
    tomorrow = replace(ROW, frame_time=NOON + 86_400)

    assert written(tmp_path, ROW, tomorrow, ROW) == [ROW, ROW, tomorrow]


def test_flushed_rows_can_be_read_while_the_log_is_open(tmp_path: Path) -> None:
    log = ScoreLog(tmp_path)
    log.add("gate", ROW)
    log.flush()

    assert list(read_scores(tmp_path, "gate")) == [ROW]
    log.close()
    log.close()


def test_a_camera_without_scores_has_no_rows(tmp_path: Path) -> None:
    assert list(read_scores(tmp_path, "gate")) == []


@pytest.mark.parametrize(
    "line",
    [
        "yesterday,7,1.5,,1,1,1,1,1,,",
        "2026-03-01T12:00:00Z,seven,1.5,,1,1,1,1,1,,",
        "2026-03-01T12:00:00Z,7,1.5,clip,12.",
        "2026-03-01T12:00:00Z,7,1.5,clip,1,1,1,1,1,,,more",
    ],
    ids=["no time", "no number", "cut short", "too long"],
)
def test_a_line_that_is_damaged_is_named(tmp_path: Path, line: str) -> None:
    written(tmp_path, ROW)
    file = tmp_path / "gate" / "2026-03-01.csv"
    with file.open("a") as handle:
        handle.write(line + "\n")

    with pytest.raises(ValueError, match=r"2026-03-01\.csv, line 3: "):
        list(read_scores(tmp_path, "gate"))


def test_another_csv_is_refused(tmp_path: Path) -> None:
    (tmp_path / "gate").mkdir()
    (tmp_path / "gate" / "2026-03-01.csv").write_text("a,b\n1,2\n")

    with pytest.raises(ValueError, match="line 2"):
        list(read_scores(tmp_path, "gate"))
    assert len(COLUMNS) == 11


# -- faults ---------------------------------------------------------------------------------------------------------


def day_file(folder: Path) -> Path:
    return folder / "gate" / "2026-03-01.csv"


def test_a_row_that_a_killed_program_left_half_written_is_cut_off(tmp_path: Path) -> None:
    written(tmp_path, ROW)
    with day_file(tmp_path).open("a") as file:
        file.write("2026-03-01T12:00:01.000Z,8,1.6,clip,and a longer text than a row that follows it has" * 3)

    assert written(tmp_path, UNSCORED) == [ROW, UNSCORED]


def test_a_heading_that_is_half_written_is_written_again(tmp_path: Path) -> None:
    (tmp_path / "gate").mkdir()
    day_file(tmp_path).write_text("frame_time,frame_s")

    assert written(tmp_path, ROW) == [ROW]


def test_a_write_that_breaks_off_in_the_middle_leaves_no_half_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = ScoreLog(tmp_path)
    log.add("gate", ROW)
    log.flush()
    whole, pwrite = day_file(tmp_path).read_bytes(), os.pwrite

    def fills_up(handle: int, data: bytes, offset: int) -> int:
        if offset > len(whole):
            full_disk()
        return pwrite(handle, data[:10], offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", fills_up)
        log.add("gate", UNSCORED)
        log.add("gate", UNSCORED)
        log.flush()
    assert day_file(tmp_path).read_bytes() == whole
    assert (log.rows_lost, log.problem) == (2, f"{day_file(tmp_path)}: No space left on device")

    log.add("gate", ROW)
    log.close()
    assert (log.rows_lost, log.problem) == (2, "")
    assert list(read_scores(tmp_path, "gate")) == [ROW, ROW]


def test_a_folder_that_cannot_be_made_costs_rows_and_raises_nothing(tmp_path: Path) -> None:
    (tmp_path / "gate").write_text("a file where the folder belongs")
    log = ScoreLog(tmp_path)
    log.add("gate", ROW)
    log.add("yard", ROW)
    log.flush()

    assert log.rows_lost == 1
    assert list(read_scores(tmp_path, "yard")) == [ROW]
    (tmp_path / "gate").unlink()
    log.add("gate", ROW)
    log.close()
    assert list(read_scores(tmp_path, "gate")) == [ROW]


def test_many_rows_are_written_without_being_asked_to(tmp_path: Path) -> None:
    log = ScoreLog(tmp_path)
    for _ in range(1500):
        log.add("gate", ROW)

    assert len(list(read_scores(tmp_path, "gate"))) > 500
    log.close()
    assert len(list(read_scores(tmp_path, "gate"))) == 1500


def test_on_a_disk_that_is_full_for_a_while_rows_are_counted_and_the_file_stays_whole(small_disk: SmallDisk) -> None:
    log = ScoreLog(small_disk.path)
    log.add("gate", ROW)
    log.flush()
    small_disk.fill()
    for _ in range(100):  # the block that is begun takes some of them
        log.add("gate", UNSCORED)
        log.flush()
    during = list(read_scores(small_disk.path, "gate"))
    assert log.problem != ""
    assert log.rows_lost == 101 - len(during) > 0

    small_disk.free()
    log.add("gate", ROW)
    log.close()
    assert list(read_scores(small_disk.path, "gate")) == [*during, ROW]
    assert log.problem == ""
