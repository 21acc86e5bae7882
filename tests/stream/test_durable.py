"""Files that are whole or not there, and names that are safe for any text."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_disk import full_disk

from stream.durable import safe_name, write_durably


def test_a_picture_is_never_seen_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a" / "b" / "picture.jpg"
    write_durably(target, b"old")

    def power_cut(_: int) -> None:
        raise OSError("power cut")

    monkeypatch.setattr(os, "fsync", power_cut)
    with pytest.raises(OSError, match="power cut"):
        write_durably(target, b"newer")
    assert target.read_bytes() == b"old"


def test_a_file_that_could_not_be_written_takes_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_durably(tmp_path / "picture.jpg", b"data")
    assert list(tmp_path.iterdir()) == []


# -- file names -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name"),
    [("gate-1", "gate-1"), ("a/b", "a%2Fb"), ("..", "%2E."), (".hidden", "%2Ehidden"), ("", "="), ("Tür", "T%C3%BCr")],
)
def test_a_name_is_safe_for_files_and_still_legible(text: str, name: str) -> None:
    assert safe_name(text) == name


NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


@given(NAMES, NAMES)
def test_different_texts_get_different_file_names_that_stay_in_their_folder(one: str, other: str) -> None:
    for name in (safe_name(one), safe_name(other)):
        assert 0 < len(name.encode()) <= 100
        assert "/" not in name
        assert "\0" not in name
        assert not name.startswith(".")
    assert (safe_name(one) == safe_name(other)) == (one == other)
