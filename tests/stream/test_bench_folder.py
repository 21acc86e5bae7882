"""Where a benchmark works, and what it makes of other processes beside it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from stream.bench.beside import Moment, moment, other_cores
from stream.bench.folder import work_folder
from stream.errors import UsageError


def test_a_folder_of_its_own_is_gone_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with work_folder(None) as folder:
        (folder / "clip").touch()
        assert folder.parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_named_is_kept_and_may_be_used_again(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for clip in ("first", "second"):
        with work_folder(out) as folder:
            assert not list(folder.glob("clip-*")), "the earlier one is gone"
            (folder / f"clip-{clip}").touch()
    assert (out / "clip-second").exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").touch()
    with pytest.raises(UsageError, match="name another folder"), work_folder(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_others_take_what_is_busy_and_not_our_own() -> None:
    first, last = Moment(100.0, own_s=1.0, busy_s=50.0), Moment(110.0, own_s=9.0, busy_s=73.0)
    assert other_cores(first, last) == 1.5


def test_a_clock_that_counts_coarsely_makes_nothing_negative() -> None:
    assert other_cores(Moment(0.0, 0.0, 0.0), Moment(1.0, 1.01, 1.0)) == 0.0


def test_where_the_system_does_not_say_it_is_not_known() -> None:
    assert other_cores(Moment(0.0, 0.0, None), Moment(1.0, 1.0, 2.0)) is None
    assert moment().own_s > 0
