"""Galleries that machines share: the same promises for a folder and behind a URL."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import gallery_files
import pytest
from gallery_store_fakes import SECRET, FaultyFileSystem, fail, faulty_url, files_of, works, write

from spade_core.errors import GalleryBusy, GalleryCorrupt, GalleryError, GalleryMismatch, GalleryNotFound
from spade_core.gallery import Gallery
from spade_core.gallery_layout import manifest_digest
from spade_core.gallery_versions import gallery_lock, list_versions, put_in_force, use_version
from stream import gallery_copy
from stream.errors import GalleryStoreError, StreamError, UsageError
from stream.gallery_store import GalleryStore


def silent(done: int, total: int) -> None:
    """Nobody looks at it."""


@pytest.fixture
def remote() -> Iterator[str]:
    yield from faulty_url()


@pytest.fixture(params=["folder", "file URL", "other URL"])
def url(request: pytest.FixtureRequest, tmp_path: Path, remote: str) -> str:
    """An empty store of each kind."""
    return {"folder": str(tmp_path / "store"), "file URL": f"file://{tmp_path}/store", "other URL": remote}[
        request.param
    ]


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A gallery of four frames on this machine."""
    gallery_files.build(tmp_path / "here" / "gate")
    return tmp_path / "here" / "gate"


def flipped(data: bytes) -> bytes:
    """One bit is another one."""
    return bytes([data[0] ^ 1]) + data[1:]


def stored_file(url: str, path: str, change: Callable[[bytes], bytes]) -> None:
    """Alters a file of a store."""
    if url.startswith("faulty://"):
        write(url, path, change(files_of(url)[path]))
        return
    file = Path(url.removeprefix("file://")) / path
    data = change(file.read_bytes())
    file.unlink()  # the store may share the file with the gallery that it came from
    file.write_bytes(data)


def test_what_is_published_on_one_machine_is_fetched_on_another_byte_by_byte(url: str, gate: Path, tmp_path: Path):
    stored = GalleryStore(url).publish(gate, "gate", silent)
    assert (stored.scene, stored.version, stored.frames) == ("gate", "v000001", 4)

    other = GalleryStore(url)
    assert other.current("gate") == stored
    assert other.fetch(stored, tmp_path / "there" / "gate", silent) == "v000001"
    assert gallery_files.files_in_force(tmp_path / "there" / "gate") == gallery_files.files_in_force(gate)
    assert len(Gallery(tmp_path / "there" / "gate")) == 4


def test_a_store_says_which_scenes_it_has(url: str, gate: Path):
    store = GalleryStore(url)
    store.publish(gate, "yard", silent)
    store.publish(gate, "gate", silent)
    assert store.scenes() == ("gate", "yard")


def test_progress_counts_bytes_up_to_all_of_them(url: str, gate: Path, tmp_path: Path):
    told: list[tuple[int, int]] = []
    store = GalleryStore(url)
    stored = store.publish(gate, "gate", lambda done, total: told.append((done, total)))
    assert told[-1] == (stored.size_bytes, stored.size_bytes)
    told.clear()
    store.fetch(stored, tmp_path / "there", lambda done, total: told.append((done, total)))
    assert told[-1] == (stored.size_bytes, stored.size_bytes)
    assert told == sorted(told)


def test_a_scene_that_nobody_published_is_not_found_and_the_command_is_named(url: str, gate: Path):
    store = GalleryStore(url)
    store.publish(gate, "gate", silent)
    with pytest.raises(GalleryNotFound, match="gallery push CONFIG --scene yard"):
        store.current("yard")


def test_a_folder_that_is_not_mounted_does_not_look_like_an_empty_store(tmp_path: Path):
    store = GalleryStore(str(tmp_path / "share"))
    for ask in (lambda: store.current("gate"), store.scenes):
        with pytest.raises(GalleryStoreError, match="Is its disk mounted"):
            ask()


def test_a_newer_version_takes_the_place_of_the_one_before(url: str, gate: Path, tmp_path: Path):
    store, there = GalleryStore(url), tmp_path / "there"
    first = store.publish(gate, "gate", silent)
    store.fetch(first, there, silent)
    gallery_files.build(gate, range(6))
    second = store.publish(gate, "gate", silent)
    assert (second.version, second.frames) == ("v000002", 6)
    assert store.fetch(second, there, silent) == "v000002"
    assert [version.name for version in list_versions(there)] == ["v000001", "v000002"]
    assert len(Gallery(there)) == 6


def test_publishing_the_same_again_copies_nothing(url: str, gate: Path):
    store = GalleryStore(url)
    first = store.publish(gate, "gate", silent)
    assert store.publish(gate, "gate", silent) == first
    assert not any("v000002" in path for path in _names(url))


def test_an_undo_puts_the_older_version_in_force_in_the_store_and_where_it_was_fetched(
    url: str, gate: Path, tmp_path: Path
):
    store, there = GalleryStore(url), tmp_path / "there"
    store.fetch(store.publish(gate, "gate", silent), there, silent)
    gallery_files.build(gate, range(6))
    store.fetch(store.publish(gate, "gate", silent), there, silent)
    use_version(gate, "v000001", on_progress=silent)
    back = store.publish(gate, "gate", silent)
    assert back.version == "v000001"
    assert store.fetch(back, there, silent) == "v000001"
    assert len(Gallery(there)) == 4


def test_two_machines_that_made_the_same_number_get_different_ones_in_the_store(url: str, gate: Path, tmp_path: Path):
    gallery_files.build(tmp_path / "other" / "gate", range(7))
    store = GalleryStore(url)
    mine, other = store.publish(gate, "gate", silent), store.publish(tmp_path / "other" / "gate", "gate", silent)
    assert (mine.version, other.version) == ("v000001", "v000002")
    assert store.current("gate").frames == 7


def test_a_number_that_this_machine_uses_for_something_else_is_not_used_twice(url: str, gate: Path, tmp_path: Path):
    gallery_files.build(tmp_path / "other" / "gate", range(7))
    store = GalleryStore(url)
    stored = store.publish(gate, "gate", silent)
    assert store.fetch(stored, tmp_path / "other" / "gate", silent) == "v000002"
    assert [version.frames for version in list_versions(tmp_path / "other" / "gate")] == [7, 4]


def test_only_the_gallery_of_the_store_itself_is_its_own(tmp_path: Path, remote: str):
    store = GalleryStore(str(tmp_path / "store"))
    assert store.is_gallery(tmp_path / "x" / ".." / "store" / "gate", "gate")
    assert not store.is_gallery(tmp_path / "store" / "gate", "yard")
    assert not GalleryStore(remote).is_gallery(tmp_path / "store" / "gate", "gate")


def test_publishing_what_lies_in_the_store_already_changes_nothing(gate: Path):
    store = GalleryStore(str(gate.parent))
    assert store.publish(gate, "gate", silent).version == "v000001"
    assert {path.name for path in gate.iterdir()} == {".lock", "CURRENT", "v000001"}


# what is altered


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"\0", flipped])
@pytest.mark.parametrize("name", ["level1.f16", "thumbnails.bin", "pooled.f32"])
def test_a_file_that_was_altered_on_its_way_is_refused_and_the_old_version_stays(
    url: str, gate: Path, tmp_path: Path, name: str, change: Callable[[bytes], bytes]
):
    store, there = GalleryStore(url), tmp_path / "there"
    store.fetch(store.publish(gate, "gate", silent), there, silent)
    gallery_files.build(gate, range(6))
    stored = store.publish(gate, "gate", silent)
    stored_file(url, f"gate/v000002/{name}", change)
    with pytest.raises(GalleryCorrupt, match=name):
        store.fetch(stored, there, silent)
    assert len(Gallery(there)) == 4
    assert {path.name for path in there.iterdir()} == {".lock", "CURRENT", "v000001"}


def test_a_gallery_that_is_damaged_here_is_not_published(url: str, gate: Path):
    file = gate / "v000001" / "level2.f16"
    file.write_bytes(b"\xff" + file.read_bytes()[1:])
    store = GalleryStore(url)
    with pytest.raises(GalleryCorrupt, match=r"level2\.f16"):
        store.publish(gate, "gate", silent)
    assert not any("v000001" in path for path in _names(url))


def test_a_copy_that_was_damaged_here_is_replaced(url: str, gate: Path, tmp_path: Path):
    store, there = GalleryStore(url), tmp_path / "there"
    stored = store.publish(gate, "gate", silent)
    store.fetch(stored, there, silent)
    file = there / "v000001" / "level2.f16"
    data = file.read_bytes()
    file.unlink()
    file.write_bytes(b"\xff" + data[1:])
    store.fetch(stored, there, silent)
    assert gallery_files.files_in_force(there) == gallery_files.files_in_force(gate)


def _rewrite(**changes: Any) -> Callable[[bytes], bytes]:
    """A manifest with other values, and a digest that fits them: what somebody writes who means harm."""

    def change(data: bytes) -> bytes:
        body = {key: value for key, value in json.loads(data).items() if key != "digest"}
        body = {**body, **{key: make(body[key]) for key, make in changes.items()}}
        return json.dumps({**body, "digest": manifest_digest(body)}).encode()

    return change


ENTRY = {"bytes": 1, "sha256": 64 * "0"}


@pytest.mark.parametrize(
    "files",
    [
        lambda files: {**files, "../../evil.bin": ENTRY},
        lambda files: {**files, "/etc/evil.bin": ENTRY},
        lambda files: {**files, "manifest.json": ENTRY},
        lambda files: {**files, ".hidden.bin": ENTRY},
        lambda files: {**files, "level1.f16": {"bytes": -1, "sha256": 64 * "0"}},
        lambda files: {**files, "level1.f16": {"bytes": True, "sha256": 64 * "0"}},
        lambda files: {**files, "level1.f16": {"bytes": 5}},
        lambda files: {**files, **{f"a{number}.bin": ENTRY for number in range(300)}},
        lambda files: {name: entry for name, entry in files.items() if name != "pooled.f32"},
        lambda files: [1, 2],
    ],
)
def test_a_hostile_manifest_is_refused_before_anything_is_fetched(
    url: str, gate: Path, files: Callable[[Any], Any], tmp_path: Path
):
    store = GalleryStore(url)
    store.publish(gate, "gate", silent)
    stored_file(url, "gate/v000001/manifest.json", _rewrite(files=files))
    with pytest.raises(GalleryCorrupt, match=r"not well formed"):
        store.current("gate")


def test_a_manifest_whose_shapes_do_not_fit_its_files_never_gets_the_name_of_a_version(
    url: str, gate: Path, tmp_path: Path
):
    store = GalleryStore(url)
    store.publish(gate, "gate", silent)
    stored_file(url, "gate/v000001/manifest.json", _rewrite(levels=lambda levels: [[9, 9, 9], *levels[1:]]))
    with pytest.raises(GalleryCorrupt):
        store.fetch(store.current("gate"), tmp_path / "there", silent)
    assert {path.name for path in (tmp_path / "there").iterdir()} == {".lock"}


def test_a_manifest_that_was_altered_without_a_new_digest_is_refused(url: str, gate: Path):
    store = GalleryStore(url)
    store.publish(gate, "gate", silent)
    stored_file(url, "gate/v000001/manifest.json", lambda data: data.replace(b'"frames": 4', b'"frames": 5'))
    with pytest.raises(GalleryCorrupt, match="altered"):
        store.current("gate")


def test_a_gallery_of_another_program_version_is_said_to_be_one(url: str, gate: Path):
    store = GalleryStore(url)
    store.publish(gate, "gate", silent)
    stored_file(url, "gate/v000001/manifest.json", _rewrite(format=lambda form: form + 1))
    with pytest.raises(GalleryMismatch, match="Upgrade"):
        store.current("gate")


@pytest.mark.parametrize("name", [b"../../etc\n", b"", b"\xff\xfe", b"v000001/../../x"])
def test_a_current_that_names_no_version_is_refused(url: str, gate: Path, name: bytes):
    store = GalleryStore(url)
    store.publish(gate, "gate", silent)
    stored_file(url, "gate/CURRENT", lambda data: name)
    with pytest.raises(GalleryCorrupt, match="not a version name"):
        store.current("gate")


@pytest.mark.parametrize("scene", ["..", "a/b", "", ".hidden", "x" * 65])
def test_what_is_no_name_of_a_scene_is_refused(url: str, gate: Path, scene: str):
    store = GalleryStore(url)
    for act in (lambda: store.current(scene), lambda: store.publish(gate, scene, silent)):
        with pytest.raises(UsageError, match="not the name of a scene"):
            act()


def test_a_version_that_changed_under_its_name_meanwhile_is_not_fetched(url: str, gate: Path, tmp_path: Path):
    store = GalleryStore(url)
    stored = store.publish(gate, "gate", silent)
    stored_file(url, "gate/v000001/manifest.json", _rewrite(note=lambda note: {"source": "another"}))
    with pytest.raises(GalleryCorrupt, match="changed meanwhile"):
        store.fetch(stored, tmp_path / "there", silent)


# what fails


@pytest.mark.parametrize("name", ["pooled.f32", "manifest.json", ".claim-"])
def test_a_publishing_that_fails_leaves_the_store_as_it_was(remote: str, gate: Path, name: str):
    store = GalleryStore(remote)
    store.publish(gate, "gate", silent)
    before = files_of(remote)
    gallery_files.build(gate, range(6))
    fail(on="write", name=name)
    with pytest.raises(GalleryStoreError):
        store.publish(gate, "gate", silent)
    works()
    assert files_of(remote) == before
    assert store.publish(gate, "gate", silent).version > "v000001"  # numbers may be passed over


def test_where_only_its_name_could_not_be_written_the_next_try_copies_nothing(remote: str, gate: Path):
    store = GalleryStore(remote)
    fail(on="write", name="CURRENT")
    with pytest.raises(GalleryStoreError):
        store.publish(gate, "gate", silent)
    fail(on="write", name="v00000")
    assert store.publish(gate, "gate", silent).version == "v000001"


def test_a_bucket_that_is_not_there_is_not_made_for_its_name_may_be_mistyped(remote: str, gate: Path):
    fail(on="write", error=FileNotFoundError("no such bucket"), times=1)
    with pytest.raises(GalleryStoreError, match="is not there: make it") as found:
        GalleryStore(remote).publish(gate, "gate", silent)
    assert SECRET not in str(found.value)
    assert files_of(remote) == {}


def test_folders_on_the_way_are_made_where_the_first_one_is_there(remote: str, gate: Path):
    write(remote, "gate/v000001/.claim-another", b"1")
    fail(on="write", error=FileNotFoundError("no such folder"), times=1)
    assert GalleryStore(remote).publish(gate, "gate", silent).frames == 4


def test_what_another_machine_publishes_meanwhile_is_not_taken_for_ones_own(remote: str, gate: Path, tmp_path: Path):
    gallery_files.build(tmp_path / "other" / "gate", range(7))

    def other(done: int, total: int) -> None:
        if done == total:
            GalleryStore(remote).publish(tmp_path / "other" / "gate", "gate", silent)

    assert GalleryStore(remote).publish(gate, "gate", other).frames == 4


def test_a_fetching_that_fails_leaves_the_folder_as_it_was(remote: str, gate: Path, tmp_path: Path):
    store, there = GalleryStore(remote), tmp_path / "there"
    store.fetch(store.publish(gate, "gate", silent), there, silent)
    gallery_files.build(gate, range(6))
    stored = store.publish(gate, "gate", silent)
    fail(on="read", name="level2", times=1)
    with pytest.raises(GalleryStoreError, match=r"level2\.f16"):
        store.fetch(stored, there, silent)
    assert {path.name for path in there.iterdir()} == {".lock", "CURRENT", "v000001"}
    assert store.fetch(stored, there, silent) == "v000002"


def test_whoever_stops_it_leaves_nothing_behind(url: str, gate: Path, tmp_path: Path):
    def stop(done: int, total: int) -> None:
        raise StreamError("stopped")

    store = GalleryStore(url)
    with pytest.raises(StreamError, match="stopped"):
        store.publish(gate, "gate", stop)
    assert not any("v000001" in path for path in _names(url))
    stored = store.publish(gate, "gate", silent)
    with pytest.raises(StreamError, match="stopped"):
        store.fetch(stored, tmp_path / "there", stop)
    assert {path.name for path in (tmp_path / "there").iterdir()} == {".lock"}


def test_no_error_and_no_name_of_a_store_holds_the_password_of_its_url(remote: str):
    store = GalleryStore(remote)
    fail(on="read")
    with pytest.raises(GalleryStoreError) as found:
        store.current("gate")
    said = f"{found.value} {store!r} {store.name} {found.value.__cause__}"
    assert SECRET not in said
    assert "ConnectionError" in said


@pytest.mark.parametrize("url", ["nothing-knows-it://x/y", f"nothing-knows-it://user:{SECRET}@x/y"])
def test_a_url_that_nothing_knows_is_refused_at_once(url: str):
    with pytest.raises(UsageError, match="nothing-knows-it") as found:
        GalleryStore(url)
    assert SECRET not in str(found.value)


def test_of_two_that_publish_at_the_same_time_neither_gets_the_number_of_the_other(remote: str, gate: Path):
    write(remote, "gate/v000001/.claim-another", b"1")  # it has claimed, and sees none of ours yet
    store = GalleryStore(remote)
    stored = store.publish(gate, "gate", silent)
    assert int(stored.version[1:]) > 1
    assert files_of(remote)["gate/v000001/.claim-another"] == b"1"
    assert not any(".claim-" in path for path in files_of(remote) if "v000001" not in path)


def test_a_claim_that_comes_while_ours_is_written_wins_or_loses_but_never_shares(remote: str, gate: Path):
    def other(operation: str, path: str) -> None:
        if operation == "list" and path.endswith("/v000001"):
            works()
            write(remote, "gate/v000001/.claim-another", b"1")

    FaultyFileSystem.fault = staticmethod(other)
    assert GalleryStore(remote).publish(gate, "gate", silent).version != "v000001"


def test_a_gallery_that_is_being_built_is_not_written_to(gate: Path, tmp_path: Path):
    store = GalleryStore(str(tmp_path / "store"))
    stored = store.publish(gate, "gate", silent)
    (tmp_path / "there").mkdir()
    with gallery_lock(tmp_path / "there"), pytest.raises(GalleryBusy):
        store.fetch(stored, tmp_path / "there", silent)


def test_a_disk_without_room_is_named_with_the_numbers_and_the_old_version_stays(
    remote: str, gate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    store, there = GalleryStore(remote), tmp_path / "there"
    stored = store.publish(gate, "gate", silent)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(gallery_copy.shutil, "disk_usage", lambda path: usage._replace(free=1_000_000))
    with pytest.raises(GalleryError, match="1 MB are free"):
        store.fetch(stored, there, silent)
    assert {path.name for path in there.iterdir()} == {".lock"}


def test_on_one_disk_a_version_takes_its_room_once(gate: Path, tmp_path: Path):
    store = GalleryStore(str(tmp_path / "store"))
    store.fetch(store.publish(gate, "gate", silent), tmp_path / "there", silent)
    files = [folder / "v000001" / "level1.f16" for folder in (gate, tmp_path / "store" / "gate", tmp_path / "there")]
    assert len({file.stat().st_ino for file in files}) == 1


def test_where_files_cannot_be_linked_they_are_copied(gate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise OSError(1, "not permitted")

    monkeypatch.setattr(os, "link", refuse)
    store = GalleryStore(str(tmp_path / "store"))
    store.fetch(store.publish(gate, "gate", silent), tmp_path / "there", silent)
    assert gallery_files.files_in_force(tmp_path / "there") == gallery_files.files_in_force(gate)
    assert (tmp_path / "there" / "v000001" / "level1.f16").stat().st_nlink == 1


def test_what_is_in_force_is_written_only_where_it_is_another_one(
    gate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    written: list[str] = []
    monkeypatch.setattr(
        gallery_copy, "put_in_force", lambda folder, name: (written.append(name), put_in_force(folder, name))
    )
    store = GalleryStore(str(tmp_path / "store"))
    store.publish(gate, "gate", silent)
    store.publish(gate, "gate", silent)
    assert written == ["v000001"]


def _names(url: str) -> list[str]:
    """Paths of what is in a store."""
    if url.startswith("faulty://"):
        return sorted(files_of(url))
    root = Path(url.removeprefix("file://"))
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


@pytest.mark.parametrize("damage", [lambda data: None, lambda data: data[:-1], flipped])
def test_publishing_again_mends_what_is_damaged_behind_a_url(
    remote: str, gate: Path, tmp_path: Path, damage: Callable[[bytes], bytes | None]
):
    store = GalleryStore(remote)
    stored = store.publish(gate, "gate", silent)
    path = f"gate/{stored.version}/pooled.f32"
    data = damage(files_of(remote)[path])
    fs, root = fsspec.core.url_to_fs(remote)
    fs.rm(f"{root}/{path}")
    if data is not None:
        write(remote, path, data)
    with pytest.raises(GalleryCorrupt, match="spade-stream gallery push"):
        store.fetch(store.current("gate"), tmp_path / "there", silent)

    again = store.publish(gate, "gate", silent)
    assert store.current("gate") == again
    store.fetch(again, tmp_path / "there", silent)
    assert gallery_files.files_in_force(tmp_path / "there") == gallery_files.files_in_force(gate)
    assert store.publish(gate, "gate", silent) == again  # what is whole there is found, and copied no more
