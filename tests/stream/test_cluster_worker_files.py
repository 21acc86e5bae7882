"""What a worker's station writes for its processes: in line with the orders, and nothing that has not changed."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from pipeline_fakes import Clock

from stream.assigned import Assigned, read_assigned
from stream.cluster.model import Access, WorkerOrders
from stream.cluster.node_folder import NodeFolder
from stream.cluster.node_galleries import NodeGalleries
from stream.cluster.worker_files import AGAIN_AFTER, DOUBT_AGAIN_AFTER, WorkerFiles, scenes_of
from stream.config import Config, build_config

OTHER = "b" * 40


class FakeCache:
    """Galleries that are on this disk when the test says so."""

    def __init__(self) -> None:
        self.here: dict[str, str] = {}  # scene -> version
        self.words: dict[str, str] = {}
        self.wanted: list[list[str]] = []
        self.doubted: list[str] = []

    def ready(self, scene: str) -> Path | None:
        return Path("/cache", scene) if scene in self.here else None

    def version(self, scene: str) -> str:
        return self.here.get(scene, "")

    def cached(self) -> frozenset[str]:
        return frozenset(self.here)

    def want(self, scenes: Collection[str]) -> None:
        self.wanted.append(list(scenes))

    def state(self) -> dict[str, str]:
        return self.words

    def distrust(self, scene: str) -> None:
        self.doubted.append(scene)

    def close(self) -> None:
        pass


def a_config(folder: Path, **sections: Any) -> Config:
    cameras = [
        {"id": "gate", "source": "campus:", "scene": "day"},
        {"id": "yard", "source": "campus:", "scene": "night"},
        {"id": "roof", "source": "campus:", "scene": "day"},
    ]
    return build_config({"cameras": cameras, **sections}, where="site.yaml", base=folder, environment={})


class Desk:
    """A worker's files, and the cache behind them."""

    def __init__(self, folder: Path, **sections: Any) -> None:
        self.node, self.cache, self.clock = NodeFolder(folder / "node"), FakeCache(), Clock()
        self.state = self.node.path / "worker-0"
        self.config = a_config(folder, **sections)
        galleries = NodeGalleries(self.config, self.node.cache, cache=lambda config, path: self.cache)
        self.path = self.state / "run" / "assigned.json"
        self.files = WorkerFiles(self.node, self.state, self.path, galleries, monotonic=self.clock)

    def take(self, generation: int = 1, **orders: Any) -> Assigned:
        self.files.take(WorkerOrders(generation, **orders), self.config)
        return read_assigned(self.path)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_camera_is_assigned_with_the_gallery_of_its_scene(desk: Desk) -> None:
    desk.cache.here = {"day": "v000002"}

    assigned = desk.take(5, cameras=("gate", "roof"))

    assert assigned == Assigned(5, ("gate", "roof"), {"day": Path("/cache/day")}, {"day": "v000002"}, {})
    assert desk.cache.wanted == [["day"]]


def test_a_gallery_that_is_not_here_yet_is_waited_for_in_words(desk: Desk) -> None:
    desk.cache.words = {"night": "fetched: 40 %"}

    assigned = desk.take(cameras=("gate", "yard"))

    assert assigned.galleries == {}
    assert assigned.waiting == {
        "day": "its gallery is not on this node yet: it is looked for",
        "night": "its gallery is not on this node yet: fetched: 40 %",
    }
    desk.cache.here = {"day": "v000001", "night": "v000001"}
    assert desk.take(cameras=("gate", "yard")).waiting == {}


def test_galleries_that_may_be_needed_are_wanted_after_those_that_are(desk: Desk) -> None:
    desk.take(cameras=("yard",), prefetch=("day", "night"))

    assert desk.cache.wanted == [["night", "day"]]


def test_a_new_version_of_a_gallery_is_told_and_what_stays_is_not_written_again(desk: Desk) -> None:
    desk.cache.here = {"day": "v000001"}
    desk.take(cameras=("gate",))
    written = desk.path.stat().st_ino
    desk.take(cameras=("gate",))
    assert desk.path.stat().st_ino == written

    desk.cache.here = {"day": "v000002"}
    assert desk.take(cameras=("gate",)).versions == {"day": "v000002"}


def test_before_the_first_orders_nobodys_key_is_touched(desk: Desk) -> None:
    desk.node.let_in(Access(subscribers={OTHER: ("ops",)}))

    desk.take(0)

    assert desk.node.key_folder().access.subscribers == {OTHER: frozenset({"ops"})}
    assert read_assigned(desk.path) == Assigned()


def test_whoever_the_orders_name_is_let_in(desk: Desk) -> None:
    desk.take(access=Access(subscribers={OTHER: ("ops",)}))
    assert desk.node.key_folder().access.subscribers == {OTHER: frozenset({"ops"})}

    desk.take(2)
    assert desk.node.key_folder().access.subscribers == {}


def test_what_operators_have_set_is_kept_beside_the_status(desk: Desk) -> None:
    file = desk.state / "operator.json"

    desk.take(operator='{"revision": 1}')
    assert file.read_text() == '{"revision": 1}'

    desk.take(2, operator=None)
    assert not file.exists()


def test_a_step_that_fails_holds_up_no_other_and_is_tried_again(desk: Desk) -> None:
    desk.cache.here = {"day": "v000001"}
    (desk.node.keys / "nodes").write_text("in the way")
    access = Access(nodes={"gpu-2": OTHER})

    assert desk.take(cameras=("gate",), access=access).cameras == ("gate",)
    assert "nodes" in desk.files.problem

    (desk.node.keys / "nodes").unlink()
    desk.take(cameras=("gate",), access=access)
    assert "nodes" in desk.files.problem  # not yet
    desk.clock.now += AGAIN_AFTER
    desk.take(cameras=("gate",), access=access)
    assert desk.files.problem == ""
    assert desk.node.key_folder().access.may_all(OTHER)


def test_a_damaged_gallery_is_doubted_once_in_a_while(desk: Desk) -> None:
    desk.cache.here = {"day": "v000001"}
    desk.take(cameras=("gate",))

    desk.files.distrust(["day", "night"])  # the other one is not this worker's
    desk.files.distrust(["day"])  # it still says so: its status is a second old
    assert desk.cache.doubted == ["day"]
    desk.clock.now += DOUBT_AGAIN_AFTER
    desk.files.distrust(["day"])
    assert desk.cache.doubted == ["day", "day"]


def test_a_gallery_that_the_configuration_names_by_itself_is_taken_from_there(tmp_path: Path) -> None:
    own = tmp_path / "by-hand"
    desk = Desk(tmp_path, scenes={"day": {"gallery": str(own)}})
    assert desk.take(cameras=("gate",)).waiting == {
        "day": f"its gallery is not on this node yet: no gallery in {own} on this node"
    }

    own.mkdir()
    (own / "CURRENT").write_text("v000007\n")
    assigned = desk.take(cameras=("gate",))
    desk.files.distrust(["day"])

    assert (assigned.galleries, assigned.versions) == ({"day": own}, {"day": "v000007"})
    assert (desk.cache.wanted, desk.cache.doubted) == ([[]], [])


def test_cameras_that_are_not_in_the_configuration_have_no_scene(tmp_path: Path) -> None:
    assert scenes_of(a_config(tmp_path), ["roof", "cellar", "yard", "gate"]) == ["day", "night"]
