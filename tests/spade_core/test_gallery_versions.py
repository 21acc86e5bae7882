"""Versions of a gallery: listed, put in force, deleted; and never one that is damaged, nor the one in force."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from gallery_files import CALIBRATION, build, new_writer, put

from spade_core.errors import GalleryCorrupt, GalleryError, GalleryNotFound, InputError
from spade_core.gallery import Gallery
from spade_core.gallery_versions import list_versions, prunable, prune, use_version, version_name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three versions, of one, two and three frames."""
    for count in (1, 2, 3):
        build(tmp_path, range(count))
    return tmp_path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("v"))


def use(folder: Path, name: str) -> Gallery:
    return use_version(folder, name, on_progress=lambda done, total: None)


def flip(path: Path, position: int = 3) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def test_versions_are_listed_with_what_is_known_of_them(folder: Path):
    found = list_versions(folder)
    assert [(v.name, v.frames, v.in_force, v.fault) for v in found] == [
        ("v000001", 1, False, ""),
        ("v000002", 2, False, ""),
        ("v000003", 3, True, ""),
    ]
    assert found[1].note == {"source": "a test"}
    assert found[1].size_bytes == Gallery(folder, "v000002").size_bytes


def test_a_version_was_made_when_its_note_says_else_when_its_manifest_was_written(folder: Path):
    os.utime(folder / "v000003" / "manifest.json", (1_700_000_000, 1_700_000_000))
    with new_writer(folder) as writer:
        put(writer, 0, 0)
        writer.publish(CALIBRATION, note={"made": "2026-03-01T12:00:00+01:00"})
    made = [version.made for version in list_versions(folder)]
    assert made[2] == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert made[3] == datetime(2026, 3, 1, 11, tzinfo=UTC)


def test_a_version_with_a_damaged_manifest_is_listed_with_the_fault(folder: Path):
    flip(folder / "v000001" / "manifest.json", 20)
    shutil.rmtree(folder / "v000002")
    (folder / "v000002").mkdir()
    faults = {version.name: version.fault for version in list_versions(folder)}
    assert "altered" in faults["v000001"]
    assert "No such file" in faults["v000002"]
    assert faults["v000003"] == ""


@pytest.mark.parametrize("text", ["v000002", "v2", "2", "0002"])
def test_a_version_may_be_named_in_short(folder: Path, text: str):
    assert version_name(folder, text) == "v000002"


@pytest.mark.parametrize("text", ["", "v", "4", "v000004", "two", "../v000001", "-1", "CURRENT"])
def test_a_version_that_is_not_there_is_refused_with_those_that_are(folder: Path, text: str):
    with pytest.raises(GalleryNotFound, match=r"there are v000001, v000002, v000003"):
        use(folder, text)
    assert Gallery(folder).version == "v000003"


def test_an_older_version_can_be_used_and_then_the_newer_one_again(folder: Path):
    read: list[tuple[int, int]] = []
    assert len(use_version(folder, "v1", on_progress=lambda done, total: read.append((done, total)))) == 1
    assert len(Gallery(folder)) == 1
    assert read[-1] == (Gallery(folder).size_bytes, Gallery(folder).size_bytes)
    assert len(use(folder, "v3")) == 3
    assert (folder / "CURRENT").read_text() == "v000003\n"
    assert names(folder) == ["v000001", "v000002", "v000003"]


@pytest.mark.parametrize("file", ["pooled.f32", "level2.f16", "thumbnails.bin", "manifest.json", "frames.json"])
def test_a_damaged_version_is_refused_and_the_one_in_force_stays(folder: Path, file: str):
    flip(folder / "v000001" / file)
    with pytest.raises(GalleryCorrupt):
        use(folder, "v1")
    assert len(Gallery(folder)) == 3


def test_a_version_is_not_used_while_another_program_builds(folder: Path):
    with new_writer(folder), pytest.raises(GalleryError, match="another program"):
        use(folder, "v1")
    assert len(use(folder, "v1")) == 1


def test_after_going_back_the_next_version_is_a_new_one(folder: Path):
    use(folder, "v1")
    assert build(folder).version == "v000004"
    assert names(folder) == ["v000001", "v000002", "v000003", "v000004"]


@pytest.mark.parametrize(("keep", "gone"), [(1, ["v000001", "v000002"]), (2, ["v000001"]), (3, []), (9, [])])
def test_the_newest_versions_stay(folder: Path, keep: int, gone: list[str]):
    assert [version.name for version in prunable(folder, keep=keep)] == gone
    assert names(folder) == ["v000001", "v000002", "v000003"], "looking deletes nothing"
    assert [version.name for version in prune(folder, keep=keep)] == gone
    assert set(names(folder)) == {"v000001", "v000002", "v000003"} - set(gone)
    assert len(Gallery(folder)) == 3


@pytest.mark.parametrize(("keep", "stay"), [(1, ["v000001"]), (2, ["v000001", "v000003"])])
def test_the_version_in_force_stays_even_where_it_is_the_oldest(folder: Path, keep: int, stay: list[str]):
    use(folder, "v1")
    prune(folder, keep=keep)
    assert names(folder) == stay
    assert len(Gallery(folder)) == 1


def test_numbers_of_deleted_versions_are_not_used_again(folder: Path):
    use(folder, "v1")
    prune(folder, keep=1)
    assert build(folder).version == "v000004"
    prune(folder, keep=1)
    assert build(folder).version == "v000005"


def test_at_least_the_version_in_force_is_kept(folder: Path):
    with pytest.raises(InputError, match="keep = 0"):
        prune(folder, keep=0)
    assert names(folder) == ["v000001", "v000002", "v000003"]


def test_nothing_is_deleted_while_another_program_builds(folder: Path):
    with new_writer(folder), pytest.raises(GalleryError, match="another program"):
        prune(folder, keep=1)
    assert names(folder) == ["v000001", "v000002", "v000003"]


def test_a_damaged_version_can_be_deleted(folder: Path):
    flip(folder / "v000001" / "manifest.json", 20)
    assert [version.name for version in prune(folder, keep=2)] == ["v000001"]


def test_a_deletion_that_was_interrupted_leaves_no_half_version(folder: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupted(path: Path, **_: object) -> None:
        raise OSError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", interrupted)
        with pytest.raises(GalleryError, match="v000001 cannot be deleted: Permission denied"):
            prune(folder, keep=1)
    assert names(folder) == ["v000002", "v000003"]
    build(folder)  # the next builder removes what is left
    assert not list(folder.glob(".building-*"))


@pytest.mark.parametrize("act", [list_versions, lambda folder: prune(folder, keep=1), lambda folder: use(folder, "1")])
def test_where_there_is_no_gallery_nothing_is_made(tmp_path: Path, act):
    with pytest.raises(GalleryNotFound, match="no gallery here"):
        act(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_an_open_gallery_goes_on_after_its_version_was_deleted(folder: Path):
    old = Gallery(folder, "v000001")
    prune(folder, keep=1)
    assert old.pyramid(0)[0].shape == (3, 7, 5)
