"""Reading galleries: what was written comes back, and what was damaged is found before it is scored."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gallery_files import (
    CALIBRATION,
    FINGERPRINT,
    LEVELS,
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

from spade_core.errors import GalleryCorrupt, GalleryMismatch, GalleryNotFound, InputError
from spade_core.gallery import Gallery
from spade_core.gallery_layout import FORMAT, manifest_digest

FOUND_AT_OPENING = ("manifest.json", "frames.json", "calibration.json", "pooled.f32", "motion.f16", "levels.crc")
FOUND_AT_FIRST_USE = ("level1.f16", "level2.f16")
FOUND_BY_VERIFY_ONLY = ("thumbnails.bin",)
EVERY_FILE = FOUND_AT_OPENING + FOUND_AT_FIRST_USE + FOUND_BY_VERIFY_ONLY


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A gallery of four frames."""
    build(tmp_path / "gallery")
    return tmp_path / "gallery"


def flip(path: Path, position: int, bit: int = 0) -> None:
    """Flips one bit of a file."""
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


def use(gallery: Gallery) -> None:
    """Reads all that scoring reads."""
    for index in range(len(gallery)):
        gallery.pyramid(index)


def verify(gallery: Gallery) -> list[tuple[str, int, int]]:
    return list(gallery.verify())


def test_what_was_put_in_comes_back(folder: Path):
    gallery = Gallery(folder)
    assert len(gallery) == 4
    assert gallery.calibration == CALIBRATION
    assert gallery.fingerprint == FINGERPRINT
    for index in range(4):
        np.testing.assert_array_equal(gallery.pooled[index], pooled_of(index))  # single precision: every bit
        for stored, level in zip(gallery.pyramid(index), levels_of(index), strict=True):
            assert stored.dtype == np.float16
            np.testing.assert_array_equal(stored, level.astype(np.float16))
            np.testing.assert_allclose(stored, level, rtol=2**-11, atol=1e-7)  # half precision rounds by no more
        motion = motion_of(index)
        expected = np.full((64, 64), np.nan) if motion is None else motion
        np.testing.assert_array_equal(gallery.motion[index], expected)
        assert gallery.frames[index] == frame_of(index)
        assert gallery.thumbnail(index) == thumbnail_of(index)


def test_the_files_are_those_of_the_published_layout(folder: Path):
    files = files_in_force(folder)
    assert set(files) == set(EVERY_FILE)
    pooled = np.frombuffer(files["pooled.f32"], "<f4").reshape(4, 5)
    np.testing.assert_array_equal(pooled[2], pooled_of(2))
    second_level = np.frombuffer(files["level2.f16"], "<f2").reshape(4, *LEVELS[1])
    np.testing.assert_array_equal(second_level[3], levels_of(3)[1].astype(np.float16))
    assert files["thumbnails.bin"] == b"".join(thumbnail_of(number) for number in range(4))


def test_features_stay_on_disk_until_they_are_used_and_cannot_be_written(folder: Path):
    gallery = Gallery(folder)
    for array in (gallery.pooled, gallery.motion, *gallery.pyramid(1)):
        assert isinstance(array, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_size_and_length_are_those_on_disk(folder: Path):
    gallery = Gallery(folder)
    files = files_in_force(folder)
    assert gallery.size_bytes == sum(map(len, files.values())) - len(files["manifest.json"])
    assert repr(gallery) == f"Gallery({str(folder)!r}, v000001, 4 frames)"


def test_verify_reads_every_file_but_the_manifest_and_reports_its_way(folder: Path):
    steps = verify(Gallery(folder))
    assert {name for name, _, _ in steps} == set(EVERY_FILE) - {"manifest.json"}
    done = [done for _, done, _ in steps]
    assert done == sorted(done)
    assert {total for _, _, total in steps} == {done[-1]} == {Gallery(folder).size_bytes}


@pytest.mark.parametrize("name", FOUND_AT_OPENING)
def test_a_flipped_bit_in_a_small_file_is_found_at_opening(folder: Path, name: str):
    path = folder / "v000001" / name
    good = path.read_bytes()
    for position in sorted({0, len(good) - 1, *range(0, len(good), max(1, len(good) // 100))}):
        flip(path, position)
        with pytest.raises((GalleryCorrupt, GalleryMismatch), match=name if name != "manifest.json" else "v000001"):
            Gallery(folder)
        path.write_bytes(good)
    use(Gallery(folder))


@pytest.mark.parametrize(("name", "size"), [("level1.f16", 3 * 7 * 5 * 2), ("level2.f16", 4 * 3 * 3 * 2)])
@pytest.mark.parametrize("frame", [0, 1, 3])
def test_a_flipped_bit_in_a_level_is_found_when_that_frame_is_first_used(
    folder: Path, name: str, size: int, frame: int
):
    flip(folder / "v000001" / name, frame * size + size // 2, bit=6)
    gallery = Gallery(folder)
    for other in {0, 1, 2, 3} - {frame}:
        gallery.pyramid(other)
    for _ in range(2):  # a second try is refused too
        with pytest.raises(GalleryCorrupt, match=f"{name}: features of frame {frame} were altered"):
            gallery.pyramid(frame)
    with pytest.raises(GalleryCorrupt, match=name):
        verify(gallery)


def test_a_flipped_bit_in_the_thumbnails_is_found_by_verify(folder: Path):
    flip(folder / "v000001" / "thumbnails.bin", 5)
    gallery = Gallery(folder)
    use(gallery)
    with pytest.raises(GalleryCorrupt, match=r"thumbnails\.bin: its checksum"):
        verify(gallery)


def test_verify_finds_what_was_damaged_after_opening(folder: Path):
    gallery = Gallery(folder)
    use(gallery)
    flip(folder / "v000001" / "pooled.f32", 3)
    with pytest.raises(GalleryCorrupt, match=r"pooled\.f32"):
        verify(gallery)


@pytest.mark.parametrize("name", EVERY_FILE)
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.999])
def test_a_truncated_file_is_found_at_opening(folder: Path, name: str, kept: float):
    path = folder / "v000001" / name
    content = path.read_bytes()
    path.write_bytes(content[: min(int(len(content) * kept), len(content) - 1)])
    with pytest.raises(GalleryCorrupt, match=name):
        Gallery(folder)


@pytest.mark.parametrize("name", EVERY_FILE)
def test_a_file_that_grew_is_found_at_opening(folder: Path, name: str):
    with (folder / "v000001" / name).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(GalleryCorrupt, match=name):
        Gallery(folder)


@pytest.mark.parametrize("name", EVERY_FILE)
def test_a_missing_file_is_found_at_opening_and_named_with_a_remedy(folder: Path, name: str):
    (folder / "v000001" / name).unlink()
    with pytest.raises(GalleryCorrupt, match=rf"{name}.*No such file.*enroll the scene again"):
        Gallery(folder)


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"v", b"v00000", b"v0000x1\n", b"../v000001", b"\xff\xfe", b"v000002\n"]
)
def test_a_damaged_current_is_found_at_opening(folder: Path, content: bytes):
    (folder / "CURRENT").write_bytes(content)
    with pytest.raises(GalleryCorrupt):
        Gallery(folder)


def test_a_flipped_bit_in_current_never_opens_anything_else(folder: Path):
    good = (folder / "CURRENT").read_bytes()
    for position in range(len(good)):
        for bit in range(8):
            flip(folder / "CURRENT", position, bit)
            try:
                assert Gallery(folder).version == "v000001"  # another white space at the end does no harm
            except GalleryCorrupt:
                pass
            else:
                assert position == len(good) - 1
            (folder / "CURRENT").write_bytes(good)


def test_no_folder_no_gallery(tmp_path: Path):
    with pytest.raises(GalleryNotFound, match=r"no gallery here.*spade-stream enroll"):
        Gallery(tmp_path / "nowhere")


def test_a_folder_without_current_is_no_gallery(tmp_path: Path):
    with pytest.raises(GalleryNotFound, match="not a gallery"):
        Gallery(tmp_path)


def rewrite_manifest(folder: Path, change: Callable[[dict[str, object]], None]) -> None:
    """Changes the manifest as a program would that writes another format: the digest fits."""
    path = folder / "v000001" / "manifest.json"
    body = json.loads(path.read_text())
    del body["digest"]
    change(body)
    path.write_text(json.dumps({**body, "digest": manifest_digest(body)}))


def test_a_newer_format_is_refused_and_not_called_damaged(folder: Path):
    rewrite_manifest(folder, lambda body: body.update(format=FORMAT + 1, something_new=[]))
    with pytest.raises(GalleryMismatch, match=f"gallery format {FORMAT + 1}.*up to {FORMAT}.*Upgrade"):
        Gallery(folder)


def test_an_older_format_is_refused_and_not_called_damaged(folder: Path):
    rewrite_manifest(folder, lambda body: body.update(format=FORMAT - 1))
    with pytest.raises(GalleryMismatch, match=f"gallery format {FORMAT - 1}, made by an earlier version: enroll"):
        Gallery(folder)


@pytest.mark.parametrize("form", [0, "1", None])
def test_a_format_that_never_was_is_refused(folder: Path, form: object):
    rewrite_manifest(folder, lambda body: body.update(format=form))
    with pytest.raises(GalleryCorrupt, match=r"manifest\.json: altered, or not a manifest"):
        Gallery(folder)


def test_a_manifest_that_contradicts_the_frames_is_refused(folder: Path):
    rewrite_manifest(folder, lambda body: body.update(frames=5))
    with pytest.raises(GalleryCorrupt, match=r"manifest says 5 frames, frames\.json lists 4"):
        Gallery(folder)


def test_a_manifest_whose_shapes_do_not_fit_the_files_is_refused(folder: Path):
    rewrite_manifest(folder, lambda body: body.update(pooled=6))
    with pytest.raises(GalleryCorrupt, match="files do not fit the manifest"):
        Gallery(folder)


@pytest.mark.parametrize("text", ["[]", "7", '"v1"', "{", "\ufeff{}", "null"])
def test_a_manifest_that_is_something_else_is_refused(folder: Path, text: str):
    (folder / "v000001" / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(GalleryCorrupt, match=r"manifest\.json"):
        Gallery(folder)


def test_no_file_of_a_gallery_is_a_pickle_or_a_container_that_may_hold_one(folder: Path):
    for name, content in (*files_in_force(folder).items(), ("CURRENT", (folder / "CURRENT").read_bytes())):
        with pytest.raises((pickle.UnpicklingError, ValueError, IndexError, EOFError)):
            pickle.loads(content)
        for magic in (b"\x93NUMPY", b"PK\x03\x04"):  # npy files of objects; npz and torch files
            assert magic not in content, name


def test_nothing_is_unpickled_when_a_gallery_is_used(folder: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    gallery = Gallery(folder)
    use(gallery)
    gallery.thumbnail(0)
    verify(gallery)


def test_an_open_gallery_outlives_the_next_version(folder: Path):
    old = Gallery(folder)
    build(folder, range(10, 12))
    np.testing.assert_array_equal(old.pooled[3], pooled_of(3))
    np.testing.assert_array_equal(old.pyramid(3)[0], levels_of(3)[0].astype(np.float16))
    assert old.thumbnail(3) == thumbnail_of(3)
    assert (old.version, Gallery(folder).version) == ("v000001", "v000002")


# --- arrays that a method keeps ready

ARRAYS = {
    "bank": np.arange(24, dtype=np.float16).reshape(2, 3, 4),
    "normal_motion": np.linspace(0, 1, 5, dtype=np.float32),
    "rows": np.array([[7, -1]], np.int32),
}


def build_with(folder: Path, arrays: dict[str, np.ndarray]) -> Gallery:
    with new_writer(folder) as writer:
        put(writer, 0, 0)
        assert writer.array("bank") is None  # made from all frames, when they are there
        writer.keep(arrays)
        return writer.publish(CALIBRATION, note={})


def test_arrays_come_back_memory_mapped_and_read_only(tmp_path: Path):
    build_with(tmp_path, ARRAYS)
    gallery = Gallery(tmp_path)
    for name, expected in ARRAYS.items():
        array = gallery.array(name)
        assert isinstance(array, np.memmap)
        assert array.dtype == expected.dtype
        np.testing.assert_array_equal(array, expected)
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    assert gallery.array("bank") is gallery.array("bank")
    assert gallery.array("others") is None
    files = files_in_force(tmp_path)
    assert files["rows.bin"] == b"\x07\0\0\0\xff\xff\xff\xff"
    assert {name for name, _, _ in gallery.verify()} == set(files) - {"manifest.json"}


def test_arrays_of_another_byte_order_or_layout_are_stored_as_the_layout_says(tmp_path: Path):
    turned = np.arange(6, dtype=">f4").reshape(2, 3).T
    gallery = build_with(tmp_path, {"turned": turned})
    np.testing.assert_array_equal(gallery.array("turned"), [[0, 3], [1, 4], [2, 5]])
    assert gallery.manifest["arrays"] == {"turned": {"dtype": "<f4", "shape": [3, 2]}}


@pytest.mark.parametrize("name", ["", "Bank", "7th", "a-b", "../x", "a.b", "thumbnails", "bank\n"])
def test_names_that_are_no_file_of_their_own_are_refused_and_nothing_is_published(tmp_path: Path, name: str):
    with pytest.raises(InputError, match="array "):
        build_with(tmp_path, {name: np.zeros(1, np.float32)})
    assert {path.name for path in tmp_path.iterdir()} == {".lock"}


@pytest.mark.parametrize(
    "array", [np.zeros(2), np.zeros(2, np.int64), np.array(["a"]), np.zeros((2, 0), np.float32)], ids=lambda a: a.dtype
)
def test_arrays_of_other_types_and_empty_ones_are_refused(tmp_path: Path, array: np.ndarray):
    with pytest.raises(InputError, match="float16, float32 or int32 with at least one value"):
        build_with(tmp_path, {"bank": array})


def test_a_damaged_array_is_found_when_it_is_first_used_and_by_verify(tmp_path: Path):
    build_with(tmp_path, ARRAYS)
    flip(tmp_path / "v000001" / "bank.bin", 3)
    gallery = Gallery(tmp_path)
    assert gallery.array("rows") is not None
    for _ in range(2):  # a second try is refused too
        with pytest.raises(GalleryCorrupt, match=r"bank\.bin: its checksum"):
            gallery.array("bank")
    with pytest.raises(GalleryCorrupt, match=r"bank\.bin"):
        verify(gallery)


def test_an_array_cut_short_is_found_at_opening(tmp_path: Path):
    build_with(tmp_path, ARRAYS)
    path = tmp_path / "v000001" / "bank.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(GalleryCorrupt, match=r"bank\.bin"):
        Gallery(tmp_path)


def test_a_gallery_from_before_there_were_arrays_opens_and_has_none(folder: Path):
    rewrite_manifest(folder, lambda body: body.pop("arrays"))
    gallery = Gallery(folder)
    use(gallery)
    assert gallery.array("bank") is None


def test_an_array_whose_shape_does_not_fit_its_file_is_refused(tmp_path: Path):
    build_with(tmp_path, ARRAYS)
    shapes = {"rows": {"dtype": "<i4", "shape": [5]}}
    rewrite_manifest(tmp_path, lambda body: body.update(arrays=shapes))
    with pytest.raises(GalleryCorrupt, match=r"rows\.bin: does not fit the manifest"):
        Gallery(tmp_path).array("rows")
