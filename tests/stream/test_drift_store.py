"""The files of candidates: named, bounded, read again; what is damaged is passed over and said."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import pytest

from stream import drift_store
from stream.drift_store import DriftStore
from stream.kept_frame import KeptFrame


def a_frame(time: float, *, camera: str = "gate", scene: str = "day") -> KeptFrame:
    rows = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    return KeptFrame(camera, scene, 7, time, rows, np.ones((4, 4), np.float16))


def store(tmp_path: Path, most: int = 10) -> DriftStore:
    return DriftStore(tmp_path / "drift", most=most)


def test_what_is_kept_is_found_again_oldest_first(tmp_path: Path) -> None:
    kept = store(tmp_path)
    for time, camera in ((2000.5, "gate"), (1000.25, "back/door")):
        kept.keep(a_frame(time, camera=camera))

    found = kept.candidates("day")
    assert [(candidate.camera, candidate.time) for candidate in found] == [("back/door", 1000.25), ("gate", 2000.5)]
    frame = found[1].read()
    assert frame is not None
    assert np.array_equal(frame.image, a_frame(0).image)
    assert (frame.camera, frame.frame_seq, frame.frame_time) == ("gate", 7, 2000.5)


def test_scenes_are_apart_and_one_without_candidates_has_none(tmp_path: Path) -> None:
    kept = store(tmp_path)
    kept.keep(a_frame(1.0, scene="night"))

    assert (len(kept.candidates("night")), kept.candidates("day")) == (1, [])


def test_the_oldest_go_where_there_are_too_many(tmp_path: Path) -> None:
    kept = store(tmp_path, most=3)
    for time in range(6):
        kept.keep(a_frame(float(time)))

    assert [candidate.time for candidate in kept.candidates("day")] == [3.0, 4.0, 5.0]


def test_the_oldest_go_where_they_take_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = store(tmp_path)
    kept.keep(a_frame(0.0))
    size = kept.candidates("day")[0].path.stat().st_size
    monkeypatch.setattr(drift_store, "MOST_BYTES", 2 * size + 10)
    for time in range(1, 5):
        kept.keep(a_frame(float(time)))

    assert [candidate.time for candidate in kept.candidates("day")] == [3.0, 4.0]


def test_what_was_decided_about_is_removed(tmp_path: Path) -> None:
    kept = store(tmp_path)
    for time in range(3):
        kept.keep(a_frame(float(time)))
    kept.remove(kept.candidates("day")[:2])
    kept.remove([])

    assert [candidate.time for candidate in kept.candidates("day")] == [2.0]


def test_a_damaged_candidate_is_passed_over_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept = store(tmp_path)
    kept.keep(a_frame(1.0))
    (candidate,) = kept.candidates("day")
    candidate.path.write_bytes(b"nothing of the kind")

    assert candidate.read() is None
    assert "cannot be read" in caplog.text
    candidate.path.unlink()
    assert candidate.read() is None


def test_other_files_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    kept = store(tmp_path, most=1)
    kept.keep(a_frame(1.0))
    other = tmp_path / "drift" / "day" / "notes.txt"
    other.write_text("mine")
    kept.keep(a_frame(2.0))

    assert other.exists()
    assert len(kept.candidates("day")) == 1


def test_nobody_else_may_look_at_the_pictures(tmp_path: Path) -> None:
    store(tmp_path).keep(a_frame(1.0))

    assert stat.S_IMODE((tmp_path / "drift").stat().st_mode) == 0o700


def test_a_disk_that_takes_nothing_costs_the_candidate_and_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "drift").write_text("in the way")
    kept = store(tmp_path)
    kept.keep(a_frame(1.0))

    assert kept.problem
    assert "is lost" in caplog.text
