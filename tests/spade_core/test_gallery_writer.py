"""Building galleries: a version is in force as a whole or not at all, whatever happens to its builder."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gallery_files import (
    CALIBRATION,
    FINGERPRINT,
    LEVELS,
    POOLED,
    build,
    files_in_force,
    frame_of,
    levels_of,
    motion_of,
    new_writer,
    pooled_of,
    put,
    thumbnail_of,
)

from spade_core import gallery_writer
from spade_core.errors import GalleryCorrupt, GalleryError, GalleryNotFound, InputError
from spade_core.gallery import Gallery
from spade_core.gallery_writer import GalleryWriter
from spade_core.motion import GRID


def visible(folder: Path) -> set[str]:
    """What lies in a gallery folder, but the lock that stays."""
    return {path.name for path in folder.iterdir()} - {".lock"}


def numbers_in(gallery: Gallery) -> list[int]:
    """Which frames of ``gallery_files`` a gallery holds, all of their parts checked to belong together."""
    numbers = [frame.index // 10 for frame in gallery.frames]
    for slot, number in enumerate(numbers):
        np.testing.assert_array_equal(gallery.pooled[slot], pooled_of(number))
        for stored, level in zip(gallery.pyramid(slot), levels_of(number), strict=True):
            np.testing.assert_array_equal(stored, level.astype(np.float16))
        known = motion_of(number)
        assert np.isnan(gallery.motion[slot]).all() if known is None else (gallery.motion[slot] == known).all()
        assert gallery.frames[slot] == frame_of(number)
        assert gallery.thumbnail(slot) == thumbnail_of(number)
    return numbers


def test_versions_count_up_and_the_last_is_in_force(tmp_path: Path):
    assert [build(tmp_path, range(n)).version for n in (1, 2, 3)] == ["v000001", "v000002", "v000003"]
    assert (tmp_path / "CURRENT").read_text() == "v000003\n"
    assert numbers_in(Gallery(tmp_path)) == [0, 1, 2]


def test_versions_count_by_number_and_no_number_is_used_twice(tmp_path: Path):
    build(tmp_path)
    (tmp_path / "v000009").mkdir()  # published by a builder that died before it was in force
    assert build(tmp_path).version == "v000010"


def test_an_old_version_is_not_touched_by_the_next(tmp_path: Path):
    build(tmp_path)
    before = files_in_force(tmp_path)
    build(tmp_path, range(2, 6))
    (tmp_path / "CURRENT").write_text("v000001\n")  # the way back
    assert files_in_force(tmp_path) == before
    assert numbers_in(Gallery(tmp_path)) == [0, 1, 2, 3]


def test_a_slot_in_use_can_be_replaced_as_a_reservoir_does(tmp_path: Path):
    with new_writer(tmp_path) as writer:
        for slot in range(3):
            put(writer, slot, slot)
        put(writer, 1, 7)
        put(writer, 0, 5)  # of the kind whose motion is not known
        assert numbers_in(writer.publish(CALIBRATION, note={})) == [5, 7, 2]


def test_only_filled_slots_are_published(tmp_path: Path):
    with new_writer(tmp_path, capacity=1000) as writer:
        put(writer, 0, 0)
        put(writer, 1, 1)
        gallery = writer.publish(CALIBRATION, note={})
    sizes = {name: len(data) for name, data in files_in_force(tmp_path).items()}
    assert sizes["pooled.f32"] == 2 * POOLED * 4
    assert sizes["level1.f16"] == 2 * 3 * 7 * 5 * 2
    assert sizes["motion.f16"] == 2 * GRID * GRID * 2
    assert numbers_in(gallery) == [0, 1]


def test_remarks_are_kept_in_the_manifest(tmp_path: Path):
    assert build(tmp_path).manifest["note"] == {"source": "a test"}


def test_what_is_filled_so_far_can_be_scored_against(tmp_path: Path):
    with new_writer(tmp_path) as writer:
        assert writer.pooled.shape == (0, POOLED)
        put(writer, 0, 0)
        put(writer, 1, 1)
        assert len(writer) == 2
        np.testing.assert_array_equal(writer.pooled, [pooled_of(0), pooled_of(1)])
        assert writer.motion.shape == (2, GRID, GRID)
        for stored, level in zip(writer.pyramid(1), levels_of(1), strict=True):
            np.testing.assert_array_equal(stored, level.astype(np.float16))


@pytest.mark.parametrize("slot", [-1, 2, 7, 8])
def test_a_hole_is_refused(tmp_path: Path, slot: int):
    with new_writer(tmp_path) as writer:
        put(writer, 0, 0)
        with pytest.raises(InputError, match=rf"slot {slot}: 1 of 8 slots are filled, the next one is 1"):
            put(writer, slot, 1)
        assert len(writer) == 1


def test_more_frames_than_there_is_room_for_are_refused(tmp_path: Path):
    with new_writer(tmp_path, capacity=2) as writer:
        put(writer, 0, 0)
        put(writer, 1, 1)
        with pytest.raises(InputError, match="slot 2: 2 of 2 slots are filled"):
            put(writer, 2, 2)


@pytest.mark.parametrize("capacity", [0, -3])
def test_a_gallery_without_room_is_refused(tmp_path: Path, capacity: int):
    with pytest.raises(InputError, match=f"capacity = {capacity}"):
        new_writer(tmp_path, capacity=capacity)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 65520.0], ids=str)  # 65,520 rounds to infinity as a half
@pytest.mark.parametrize("level", [0, 1])
def test_features_that_are_not_finite_in_half_precision_are_refused_and_change_nothing(
    tmp_path: Path, value: float, level: int
):
    levels = levels_of(1)
    levels[level][2, 1, 0] = value
    with new_writer(tmp_path) as writer:
        put(writer, 0, 0)
        with pytest.raises(InputError, match="features of frame 10 of clip0 are not finite in half precision"):
            writer.put(0, pooled=pooled_of(1), levels=levels, frame=frame_of(1), thumbnail=b"")
        assert numbers_in(writer.publish(CALIBRATION, note={})) == [0]


@pytest.mark.parametrize("value", [np.nan, np.inf], ids=str)
def test_pooled_features_that_are_not_finite_are_refused(tmp_path: Path, value: float):
    pooled = pooled_of(1)
    pooled[4] = value
    with new_writer(tmp_path) as writer, pytest.raises(InputError, match="not finite"):
        writer.put(0, pooled=pooled, levels=levels_of(1), frame=frame_of(1), thumbnail=b"")


@pytest.mark.parametrize("value", [np.nan, np.inf], ids=str)
def test_a_motion_map_that_is_not_finite_is_refused_and_changes_nothing(tmp_path: Path, value: float):
    motion = np.zeros((GRID, GRID), np.float16)
    motion[3, 4] = value
    with new_writer(tmp_path) as writer:
        put(writer, 0, 0)
        with pytest.raises(InputError, match="motion map of frame 10 of clip0"):
            writer.put(0, pooled=pooled_of(1), levels=levels_of(1), frame=frame_of(1), thumbnail=b"", motion=motion)
        assert numbers_in(writer.publish(CALIBRATION, note={})) == [0]


def test_the_largest_half_is_kept(tmp_path: Path):
    levels = [np.full(shape, 65504.0, np.float32) for shape in LEVELS]
    with new_writer(tmp_path) as writer:
        writer.put(0, pooled=pooled_of(0), levels=levels, frame=frame_of(0), thumbnail=b"")
        assert (writer.pyramid(0)[0] == 65504).all()


def wrong_shapes() -> list[tuple[np.ndarray, list[np.ndarray]]]:
    """Arrays that NumPy would spread over a whole slot, and others."""
    pooled, (first, second) = pooled_of(0), levels_of(0)
    return [
        (pooled[:1], [first, second]),
        (pooled[None], [first, second]),
        (pooled, [first[:1], second]),
        (pooled, [first[0], second]),
        (pooled, [first, second[:, :1]]),
        (pooled, [second, first]),
        (pooled, [first]),
        (pooled, [first, second, second]),
    ]


@pytest.mark.parametrize("case", range(len(wrong_shapes())))
def test_features_of_another_shape_are_refused_and_change_nothing(tmp_path: Path, case: int):
    pooled, levels = wrong_shapes()[case]
    with new_writer(tmp_path) as writer:
        put(writer, 0, 3)
        with pytest.raises(InputError, match="shapes"):
            writer.put(0, pooled=pooled, levels=levels, frame=frame_of(1), thumbnail=b"")
        assert numbers_in(writer.publish(CALIBRATION, note={})) == [3]


def test_a_gallery_without_frames_is_not_published(tmp_path: Path):
    with new_writer(tmp_path) as writer, pytest.raises(GalleryError, match="without frames"):
        writer.publish(CALIBRATION, note={})
    assert visible(tmp_path) == set()


def test_what_is_published_cannot_be_changed_any_more(tmp_path: Path):
    with new_writer(tmp_path) as writer:
        put(writer, 0, 0)
        writer.publish(CALIBRATION, note={})
        for slot in (0, 1):
            with pytest.raises(GalleryError, match="nothing can be added"):
                put(writer, slot, 1)
        with pytest.raises(GalleryError):
            writer.publish(CALIBRATION, note={})
    assert numbers_in(Gallery(tmp_path)) == [0]
    list(Gallery(tmp_path).verify())


def test_abandoning_leaves_nothing_and_may_be_repeated(tmp_path: Path):
    writer = new_writer(tmp_path)
    put(writer, 0, 0)
    writer.abandon()
    writer.abandon()
    assert visible(tmp_path) == set()
    with pytest.raises(GalleryNotFound):
        Gallery(tmp_path)
    with pytest.raises(GalleryError, match="abandoned"):
        put(writer, 1, 1)


def test_an_error_while_building_leaves_the_old_version_in_force_and_nothing_else(tmp_path: Path):
    build(tmp_path)
    with pytest.raises(InputError), new_writer(tmp_path) as writer:  # noqa: PT012 - the error comes after good frames
        put(writer, 0, 5)
        put(writer, 2, 6)
    assert visible(tmp_path) == {"CURRENT", "v000001"}
    assert numbers_in(Gallery(tmp_path)) == [0, 1, 2, 3]


@pytest.mark.parametrize("name", ["levels.crc", "thumbnails.bin", "frames.json", "calibration.json", "manifest.json"])
def test_a_full_disk_leaves_the_old_version_in_force_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    build(tmp_path)
    write = gallery_writer.write_file

    def full(path: Path, data: bytes) -> None:
        if path.name == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, data)

    monkeypatch.setattr(gallery_writer, "write_file", full)
    with pytest.raises(GalleryError, match="could not be written: No space left on device"):
        build(tmp_path, range(2))
    assert visible(tmp_path) == {"CURRENT", "v000001"}
    assert numbers_in(Gallery(tmp_path)) == [0, 1, 2, 3]


def test_a_second_builder_is_refused_until_the_first_is_done(tmp_path: Path):
    with new_writer(tmp_path) as first:
        put(first, 0, 0)
        with pytest.raises(GalleryError, match="another program is building this gallery"):
            new_writer(tmp_path)
        first.publish(CALIBRATION, note={})  # the one refused has taken nothing away from it
        with pytest.raises(GalleryError, match="another program"):
            new_writer(tmp_path)
    assert build(tmp_path).version == "v000002"


def test_other_galleries_can_be_built_meanwhile(tmp_path: Path):
    with new_writer(tmp_path / "a"), new_writer(tmp_path / "b") as other:
        put(other, 0, 0)
        assert other.publish(CALIBRATION, note={}).version == "v000001"


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o755), (0o027, 0o750), (0o077, 0o700)], ids=oct)
def test_a_version_can_be_read_by_whoever_the_umask_allows(tmp_path: Path, umask: int, mode: int):
    before = os.umask(umask)
    try:
        gallery = build(tmp_path / "yard")
    finally:
        os.umask(before)
    version = tmp_path / "yard" / gallery.version
    assert version.stat().st_mode & 0o777 == mode
    assert {path.stat().st_mode & 0o777 for path in version.iterdir()} == {mode & 0o666}


def test_a_start_that_failed_does_not_bar_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object, **__: object) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(gallery_writer, "pooled_map", full)
        with pytest.raises(GalleryError, match="cannot be written here: No space left on device"):
            new_writer(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(gallery_writer, "level_map", full)
        with pytest.raises(GalleryError, match="No space left on device"):
            new_writer(tmp_path)
        assert visible(tmp_path) == set()
    assert build(tmp_path).version == "v000001"


def test_a_place_that_is_no_folder_is_refused(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(GalleryError, match="cannot be written here"):
        new_writer(tmp_path / "file")


def test_missing_folders_are_made(tmp_path: Path):
    assert len(build(tmp_path / "deep" / "down")) == 4


# A builder that stops for good at one moment of its work and says so. Its process is then killed.
BUILDER = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from gallery_files import CALIBRATION, new_writer, put

def stop(*_, **__):
    print("stopped", flush=True)
    sys.stdin.read()

moment = sys.argv[3]
with new_writer(Path(sys.argv[2])) as writer:
    put(writer, 0, 5)
    put(writer, 1, 6)
    if moment == "filling":
        stop()
    setattr(os, moment, stop)
    writer.publish(CALIBRATION, note={})
"""

MOMENTS = {
    "filling": False,  # while frames come in
    "fsync": False,  # its files are half written
    "rename": False,  # all written, hidden yet
    "replace": True,  # it has its name, but is not in force
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_builder_that_is_killed_leaves_the_old_version_in_force_and_bars_nobody(tmp_path: Path, moment: str):
    build(tmp_path)
    before = files_in_force(tmp_path)
    arguments = [str(Path(__file__).parent), str(tmp_path), moment]
    with subprocess.Popen(
        [sys.executable, "-c", BUILDER, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as builder:
        try:
            assert builder.stdout is not None
            assert builder.stdout.readline() == "stopped\n"
            assert numbers_in(Gallery(tmp_path)) == [0, 1, 2, 3]
            with pytest.raises(GalleryError, match="another program"):  # it holds the lock while it lives
                new_writer(tmp_path)
        finally:
            builder.kill()
    has_name = MOMENTS[moment]
    left = {name for name in visible(tmp_path) if name.startswith(".building-")}
    assert len(left) == (0 if has_name else 1), "the builder was to be killed in the middle"
    assert files_in_force(tmp_path) == before
    assert numbers_in(Gallery(tmp_path)) == [0, 1, 2, 3]

    gallery = build(tmp_path, range(7, 9))

    assert gallery.version == ("v000003" if has_name else "v000002")
    assert numbers_in(Gallery(tmp_path)) == [7, 8]
    assert not {name for name in visible(tmp_path) if name.startswith(".") or name.endswith(".new")}


def test_a_version_has_all_of_its_files_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seen = []
    rename = os.rename

    def watched(source: Path, target: Path) -> None:
        seen.append({path.name for path in source.iterdir()})
        assert not target.exists()
        rename(source, target)

    monkeypatch.setattr(os, "rename", watched)
    build(tmp_path)
    assert seen == [set(files_in_force(tmp_path))]


def test_a_new_writer_without_levels_still_has_pooled_features(tmp_path: Path):
    with GalleryWriter(tmp_path, capacity=1, fingerprint=FINGERPRINT, pooled=POOLED, levels=[]) as writer:
        writer.put(0, pooled=pooled_of(0), levels=[], frame=frame_of(0), thumbnail=thumbnail_of(0))
        assert writer.publish(CALIBRATION, note={}).pyramid(0) == ()


# --- room on the disk


def free(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    usage = shutil.disk_usage("/")._replace(free=size)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)


FRAME_BYTES = 4 * POOLED + 2 * GRID * GRID + 2 * (3 * 7 * 5 + 4 * 3 * 3)


def test_a_gallery_that_does_not_fit_on_the_disk_is_refused_before_it_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    needed = 1000 * FRAME_BYTES + gallery_writer.ROOM_TO_LEAVE
    with monkeypatch.context() as patch:
        free(patch, needed - 1)
        words = r"1000 frames of 0\.01 MB need 0\.08 GB, but only 0\.08 GB are free.*gallery prune.*lower the capacity"
        with pytest.raises(GalleryError, match=words):
            new_writer(tmp_path, capacity=1000)
        assert visible(tmp_path) == set()
        free(patch, needed)
        new_writer(tmp_path, capacity=1000).abandon()
    assert build(tmp_path).version == "v000001"


def test_room_is_asked_only_for_the_frames_that_are_expected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    free(monkeypatch, 10 * FRAME_BYTES + gallery_writer.ROOM_TO_LEAVE)
    options = {"fingerprint": FINGERPRINT, "pooled": POOLED, "levels": LEVELS}
    GalleryWriter(tmp_path, capacity=1000, expected=10, **options).abandon()
    GalleryWriter(tmp_path, capacity=10, expected=1000, **options).abandon()
    with pytest.raises(GalleryError, match="11 frames"):
        GalleryWriter(tmp_path, capacity=1000, expected=11, **options)


def test_room_is_taken_before_it_is_written_to_and_a_disk_that_fills_up_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    build(tmp_path)
    taken: list[tuple[int, int]] = []

    def take(descriptor: int, offset: int, size: int) -> None:
        if offset > 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken.append((offset, size))

    monkeypatch.setattr(os, "posix_fallocate", take)
    with new_writer(tmp_path, capacity=100) as writer:
        for slot in range(64):
            put(writer, slot, slot % 7)
            assert len(taken) == 4  # pooled, motion and two levels, once for 64 frames
        with pytest.raises(GalleryError, match="no room for frame 64: No space left on device"):
            put(writer, 64, 0)
        assert len(writer) == 64
    assert sum(size for _, size in taken) == 64 * FRAME_BYTES
    assert visible(tmp_path) == {"CURRENT", "v000001"}
    assert numbers_in(Gallery(tmp_path)) == [0, 1, 2, 3]


def test_filled_slots_have_their_room_on_the_disk(tmp_path: Path):
    with new_writer(tmp_path, capacity=1000) as writer:
        put(writer, 0, 0)
        [building] = tmp_path.glob(".building-*")
        status = (building / "motion.f16").stat()
        assert status.st_size == 1000 * 2 * GRID * GRID
        assert status.st_blocks * 512 >= 64 * 2 * GRID * GRID


# --- taking over another version's frames


def test_frames_of_another_version_are_taken_over_whole(tmp_path: Path):
    old = build(tmp_path, range(5))
    with new_writer(tmp_path) as writer:
        writer.take_over(old)
        put(writer, 5, 9)
        gallery = writer.publish(old.calibration, note={})
    assert (gallery.version, numbers_in(gallery)) == ("v000002", [0, 1, 2, 3, 4, 9])
    list(gallery.verify())
    assert numbers_in(Gallery(tmp_path, "v000001")) == [0, 1, 2, 3, 4]


def test_damage_is_not_taken_over(tmp_path: Path):
    old = build(tmp_path)
    with (tmp_path / "v000001" / "level1.f16").open("r+b") as file:
        file.seek(2 * 3 * 7 * 5 * 2)
        file.write(b"\x12\x34")
    with new_writer(tmp_path) as writer, pytest.raises(GalleryCorrupt, match="features of frame 2 were altered"):
        writer.take_over(old)
    assert visible(tmp_path) == {"CURRENT", "v000001"}


def test_frames_of_other_shapes_and_too_many_are_not_taken_over(tmp_path: Path):
    old = build(tmp_path / "old")
    others = [
        (8, POOLED + 1, LEVELS, "other shapes"),
        (8, POOLED, LEVELS[:1], "other shapes"),
        (3, POOLED, LEVELS, "3 slots"),
    ]
    for capacity, pooled, levels, words in others:
        with (
            GalleryWriter(
                tmp_path / "new", capacity=capacity, fingerprint=FINGERPRINT, pooled=pooled, levels=levels
            ) as writer,
            pytest.raises(InputError, match=words),
        ):
            writer.take_over(old)
        assert len(writer) == 0
