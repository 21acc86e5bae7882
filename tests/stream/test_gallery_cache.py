"""Galleries kept ready on a worker's disk: what is used when, what is said, and what goes again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import gallery_files
import pytest
from gallery_store_fakes import FaultyFileSystem, fail, faulty_url, works, write

from spade_core.gallery import Gallery
from spade_core.gallery_versions import gallery_lock, use_version
from stream.gallery_cache import BUSY, POLL, GalleryCache
from stream.gallery_shelf import KEPT_FOR
from stream.gallery_store import GalleryStore

PATIENCE = 20.0  # s


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        """Time goes on."""
        self.now += seconds


def silent(done: int, total: int) -> None:
    """Nobody looks at it."""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def url() -> Iterator[str]:
    yield from faulty_url()


@pytest.fixture
def publish(url: str, tmp_path: Path) -> Callable[[str, int], None]:
    """Enrolls a scene with so many frames on some machine, and publishes it."""

    def make(scene: str, frames: int = 4) -> None:
        gallery_files.build(tmp_path / "elsewhere" / scene, range(frames))
        GalleryStore(url).publish(tmp_path / "elsewhere" / scene, scene, silent)

    return make


@pytest.fixture
def new_cache(url: str, tmp_path: Path, clock: Clock) -> Callable[..., GalleryCache]:
    """A worker's cache, as after a start of its process; the disk stays."""

    def make(**options: int) -> GalleryCache:
        return GalleryCache(tmp_path / "cache", GalleryStore(url), clock=clock, wall=clock, **options)

    return make


@pytest.fixture
def cache(new_cache: Callable[..., GalleryCache]) -> GalleryCache:
    return new_cache()


def frames_of(cache: GalleryCache, scene: str) -> int | None:
    """Of the gallery that a worker would open now."""
    folder = cache.ready(scene)
    return None if folder is None else len(Gallery(folder))


def test_a_scene_that_is_wanted_is_fetched_and_then_ready(cache: GalleryCache, publish: Callable[..., None]):
    publish("gate")
    cache.want(["gate"])
    assert cache.ready("gate") is None
    assert cache.state() == {"gate": "the store is asked for it"}
    cache.step()
    assert frames_of(cache, "gate") == 4
    assert cache.state() == {}
    assert cache.cached() == {"gate"}


def test_what_nobody_wants_is_not_fetched(cache: GalleryCache, publish: Callable[..., None], tmp_path: Path):
    publish("gate")
    publish("yard")
    cache.want(["yard"])
    cache.step()
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["yard"]


def test_while_it_is_fetched_it_says_how_far_that_is(cache: GalleryCache, publish: Callable[..., None]):
    publish("gate")
    said: list[str] = []
    FaultyFileSystem.fault = staticmethod(lambda operation, path: said.append(cache.state()["gate"]))
    cache.want(["gate"])
    cache.step()
    fetching = [words for words in said if "v000001 is being fetched" in words]
    assert "0% of" in fetching[0]
    assert fetching[-1] != fetching[0]


def test_a_newer_version_is_fetched_at_the_next_look_and_the_number_of_changes_grows(
    cache: GalleryCache, publish: Callable[..., None], clock: Clock
):
    publish("gate")
    cache.want(["gate"])
    cache.step()
    before = cache.ready_at
    publish("gate", 6)
    cache.step()
    assert (frames_of(cache, "gate"), cache.ready_at) == (4, before)
    clock.pass_by(POLL)
    cache.step()
    assert (frames_of(cache, "gate"), cache.version("gate")) == (6, "v000002")
    assert cache.ready_at > before


def test_the_older_version_stays_ready_while_the_newer_one_is_fetched(
    cache: GalleryCache, publish: Callable[..., None], clock: Clock
):
    publish("gate")
    cache.want(["gate"])
    cache.step()
    publish("gate", 6)
    clock.pass_by(POLL)
    seen: list[tuple[int | None, bool]] = []
    FaultyFileSystem.fault = staticmethod(
        lambda operation, path: (
            seen.append((frames_of(cache, "gate"), bool(cache.state()))) if "level" in path else None
        )
    )
    cache.step()
    assert set(seen) == {(4, True)}
    assert frames_of(cache, "gate") == 6


def test_an_undo_on_another_machine_arrives_here(
    cache: GalleryCache, publish: Callable[..., None], clock: Clock, url: str, tmp_path: Path
):
    publish("gate")
    publish("gate", 6)
    cache.want(["gate"])
    cache.step()
    use_version(tmp_path / "elsewhere" / "gate", "1", on_progress=silent)
    GalleryStore(url).publish(tmp_path / "elsewhere" / "gate", "gate", silent)
    clock.pass_by(POLL)
    cache.step()
    assert frames_of(cache, "gate") == 4


def test_after_a_restart_what_lies_here_is_ready_before_the_store_has_answered(
    new_cache: Callable[..., GalleryCache], publish: Callable[..., None]
):
    publish("gate")
    first = new_cache()
    first.want(["gate"])
    first.step()
    fail(on="read")
    again = new_cache()
    again.want(["gate"])
    assert frames_of(again, "gate") == 4


def test_without_the_store_the_copy_is_used_and_that_is_said(
    cache: GalleryCache, publish: Callable[..., None], clock: Clock
):
    publish("gate")
    cache.want(["gate"])
    cache.step()
    fail(on="read")
    clock.pass_by(POLL)
    cache.step()
    assert frames_of(cache, "gate") == 4
    assert "v000001 is used meanwhile" in cache.state()["gate"]
    works()
    clock.pass_by(POLL)
    cache.step()
    assert cache.state() == {}


def test_a_scene_that_cannot_be_had_says_why_and_when_it_is_tried_again(
    cache: GalleryCache, publish: Callable[..., None], clock: Clock
):
    cache.want(["gate"])
    cache.step()
    assert cache.ready("gate") is None
    assert "no gallery of scene 'gate'" in cache.state()["gate"]
    assert "tried again every 15 s" in cache.state()["gate"]
    publish("gate")
    clock.pass_by(POLL)
    cache.step()
    assert frames_of(cache, "gate") == 4


def test_one_scene_that_cannot_be_had_does_not_hold_up_another(cache: GalleryCache, publish: Callable[..., None]):
    publish("yard")
    cache.want(["gate", "yard"])
    cache.step()
    assert (cache.ready("gate"), frames_of(cache, "yard")) == (None, 4)


def test_what_came_damaged_is_refused_tried_again_and_the_old_version_stays(
    cache: GalleryCache, publish: Callable[..., None], clock: Clock, url: str, tmp_path: Path
):
    publish("gate")
    cache.want(["gate"])
    cache.step()
    publish("gate", 6)
    write(url, "gate/v000002/pooled.f32", bytes(6 * 5 * 4))
    clock.pass_by(POLL)
    cache.step()
    assert frames_of(cache, "gate") == 4
    assert "pooled.f32" in cache.state()["gate"]
    good = (tmp_path / "elsewhere" / "gate" / "v000002" / "pooled.f32").read_bytes()
    write(url, "gate/v000002/pooled.f32", good)
    clock.pass_by(POLL)
    cache.step()
    assert frames_of(cache, "gate") == 6


def test_a_copy_whose_small_files_were_damaged_meanwhile_is_fetched_again_at_the_first_look(
    new_cache: Callable[..., GalleryCache], publish: Callable[..., None], tmp_path: Path
):
    publish("gate")
    first = new_cache()
    first.want(["gate"])
    first.step()
    file = tmp_path / "cache" / "gate" / "v000001" / "pooled.f32"
    good = file.read_bytes()
    file.write_bytes(bytes(len(good)))
    again = new_cache()
    again.want(["gate"])
    again.step()
    assert file.read_bytes() == good
    assert frames_of(again, "gate") == 4


def test_a_copy_cut_short_is_not_ready(
    new_cache: Callable[..., GalleryCache], publish: Callable[..., None], tmp_path: Path
):
    publish("gate")
    first = new_cache()
    first.want(["gate"])
    first.step()
    (tmp_path / "cache" / "gate" / "v000001" / "level1.f16").write_bytes(b"")
    again = new_cache()
    again.want(["gate"])
    assert again.ready("gate") is None
    again.step()
    assert frames_of(again, "gate") == 4


def test_a_copy_that_a_worker_calls_damaged_is_read_in_full_and_replaced(
    cache: GalleryCache, publish: Callable[..., None], tmp_path: Path
):
    publish("gate")
    cache.want(["gate"])
    cache.step()
    file = tmp_path / "cache" / "gate" / "v000001" / "level1.f16"  # not read when a gallery is opened
    good, before = file.read_bytes(), cache.ready_at
    file.write_bytes(bytes(len(good)))
    cache.distrust("gate")
    cache.want(["gate", "yard"])
    assert cache.ready("gate") is None
    assert "damaged" in cache.state()["gate"]
    cache.step()
    assert file.read_bytes() == good
    assert frames_of(cache, "gate") == 4
    assert cache.ready_at > before


def test_what_another_process_of_this_machine_is_fetching_is_waited_for_and_taken_up(
    new_cache: Callable[..., GalleryCache], publish: Callable[..., None], clock: Clock, tmp_path: Path
):
    publish("gate")
    mine, other = new_cache(), new_cache()
    mine.want(["gate"])
    (tmp_path / "cache" / "gate").mkdir(parents=True)
    with gallery_lock(tmp_path / "cache" / "gate"):
        mine.step()
    assert mine.state() == {"gate": "another process of this machine is fetching it"}
    other.want(["gate"])
    other.step()
    fail(on="read", name="level")  # nothing is fetched twice
    clock.pass_by(BUSY)
    mine.step()
    assert frames_of(mine, "gate") == 4


def test_only_the_latest_of_what_nobody_wants_any_more_stay(
    new_cache: Callable[..., GalleryCache], publish: Callable[..., None], clock: Clock, tmp_path: Path
):
    cache = new_cache(keep_unused=1)
    for scene in ("gate", "yard", "roof"):
        publish(scene)
        cache.want([scene])
        cache.step()
        clock.pass_by(KEPT_FOR)
    clock.pass_by(1.0)
    cache.step()
    assert cache.cached() == {"roof", "yard"}  # wanted, and the latest that was
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["roof", "yard"]


def test_what_another_process_of_this_machine_wants_stays(
    new_cache: Callable[..., GalleryCache], publish: Callable[..., None], clock: Clock
):
    publish("gate")
    mine, other = new_cache(keep_unused=0), new_cache(keep_unused=0)
    other.want(["gate"])
    other.step()
    fail(on="read", name="level")  # what was deleted would not come back
    for _ in range(10):
        other.step()
        mine.step()
        clock.pass_by(KEPT_FOR / 3)
    assert frames_of(other, "gate") == 4


def test_what_another_process_wants_stays_though_it_fetches_for_long(
    new_cache: Callable[..., GalleryCache], publish: Callable[..., None], clock: Clock, tmp_path: Path
):
    for scene in ("gate", "yard"):
        publish(scene)
    mine, other = new_cache(keep_unused=0), new_cache(keep_unused=0)
    other.want(["gate"])
    other.step()

    def slow(operation: str, path: str) -> None:
        if operation == "read" and "yard" in path:
            clock.pass_by(KEPT_FOR / 2)
            mine.step()
            assert (tmp_path / "cache" / "gate").exists(), f"deleted while {path} came"

    FaultyFileSystem.fault = staticmethod(slow)
    other.want(["gate", "yard"])
    other.step()
    assert (frames_of(other, "gate"), frames_of(other, "yard")) == (4, 4)


def test_a_copy_that_somebody_deleted_is_fetched_again(
    cache: GalleryCache, publish: Callable[..., None], clock: Clock, tmp_path: Path
):
    publish("gate")
    cache.want(["gate"])
    cache.step()
    (tmp_path / "cache" / "gate").rename(tmp_path / "away")
    clock.pass_by(POLL)
    cache.step()
    assert frames_of(cache, "gate") == 4


def test_of_many_versions_the_two_latest_stay(
    cache: GalleryCache, publish: Callable[..., None], clock: Clock, tmp_path: Path
):
    cache.want(["gate"])
    for frames in (4, 5, 6):
        publish("gate", frames)
        cache.step()
        clock.pass_by(POLL)
    assert sorted(path.name for path in (tmp_path / "cache" / "gate").glob("v*")) == ["v000002", "v000003"]


def test_without_room_what_nobody_wants_goes_first(
    new_cache: Callable[..., GalleryCache],
    publish: Callable[..., None],
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
):
    publish("gate")
    publish("yard")
    cache = new_cache(keep_unused=8)
    cache.want(["gate"])
    cache.step()
    cache.want(["yard"])
    clock.pass_by(KEPT_FOR + 1)
    monkeypatch.setattr("stream.gallery_shelf.GalleryShelf.free_bytes", lambda shelf: 1000)
    cache.step()
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["yard"]


def test_the_thread_fetches_by_itself_and_ends_when_told(url: str, publish: Callable[..., None], tmp_path: Path):
    publish("gate")
    with GalleryCache(tmp_path / "cache", GalleryStore(url)) as cache:
        cache.want(["gate"])
        end = time.monotonic() + PATIENCE
        while cache.ready("gate") is None and time.monotonic() < end:
            time.sleep(0.01)
        assert frames_of(cache, "gate") == 4
    cache.close()


def test_closing_gives_up_what_is_half_fetched(url: str, publish: Callable[..., None], tmp_path: Path):
    publish("gate")
    cache = GalleryCache(tmp_path / "cache", GalleryStore(url))

    def close(operation: str, path: str) -> None:
        if operation == "read" and path.endswith("level1.f16"):
            cache.close()

    FaultyFileSystem.fault = staticmethod(close)
    cache.want(["gate"])
    cache.step()
    assert cache.ready("gate") is None
    assert {path.name for path in (tmp_path / "cache" / "gate").iterdir()} <= {".lock", ".wanted"}


def test_a_scene_that_becomes_urgent_is_fetched_before_spare_copies_that_were_wanted_first(
    cache: GalleryCache, publish: Callable[..., None]
):
    for scene in ("gate", "spare-1", "spare-2"):
        publish(scene)
    fetched: list[str] = []

    def takes_over(operation: str, path: str) -> None:
        scene = next(name for name in path.split("/") if name in ("gate", "spare-1", "spare-2"))
        fetched.extend([] if scene in fetched else [scene])
        if operation == "read":  # while the first one comes, a camera is given to this worker, and a spare one is not
            cache.want(["gate", "spare-1"])

    FaultyFileSystem.fault = staticmethod(takes_over)
    cache.want(["spare-1", "spare-2"])
    cache.step()
    assert fetched == ["spare-1", "gate"]
    assert cache.state() == {}
