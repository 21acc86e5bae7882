"""Galleries and the store from the command line: what publishes by itself, and ``push``, ``pull``, ``stored``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gallery_files
import pytest
from gallery_store_fakes import SECRET, fail, faulty_url, files_of, works
from test_drift_follow import Dim, a_frame
from test_normal_commands import SIDE, SMALL_BANK
from test_normal_commands import put as put_alert
from tiny_extractor import Footage, a_picture, brief_settings, tiny_extractor

from spade_core.gallery import Gallery
from spade_core.scorer import SpadeParameters
from stream import commands
from stream.cli import main
from stream.drift_store import DriftStore
from stream.enroll import enroll
from stream.errors import ConfigError, GalleryStoreError, StreamError
from stream.gallery_store import GalleryStore
from stream.gallery_store_commands import publish_in_force, push_galleries

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def url() -> Iterator[str]:
    yield from faulty_url()


def write_site(folder: Path, store: str | None, scenes: tuple[str, ...] = ("gate", "yard")) -> Path:
    """A configuration whose galleries lie beside it."""
    cameras = ", ".join(f"{{id: {scene}, source: {scene}.mp4}}" for scene in scenes)
    shared = "" if store is None else f", store: '{store}'"
    text = f"state: state\ngallery: {{folder: galleries{shared}}}\nmethod: {{size: {SIDE}}}\ncameras: [{cameras}]\n"
    folder.mkdir(exist_ok=True)
    (folder / "site.yaml").write_text(text + "worker: {threads: 1}\n")
    return folder / "site.yaml"


@pytest.fixture
def here(tmp_path: Path, url: str) -> Path:
    """A machine with the gallery of one scene of two, and a store that is empty."""
    gallery_files.build(tmp_path / "here" / "galleries" / "gate")
    return write_site(tmp_path / "here", url)


@pytest.fixture
def there(tmp_path: Path, url: str) -> Path:
    """Another machine, without galleries."""
    return write_site(tmp_path / "there", url)


def gallery(*words: str | Path) -> int:
    return main(["gallery", *map(str, words)])


def stored_frames(url: str, scene: str = "gate") -> int:
    return GalleryStore(url).current(scene).frames


# push, pull, stored


def test_what_one_machine_pushes_another_pulls(
    here: Path, there: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gallery("push", here, "--scene", "gate") == 0
    assert "scene gate: v000001 is in force in" in capsys.readouterr().out
    assert gallery("pull", there, "--scene", "gate") == 0
    assert "v000001 is in force (4 frames)" in capsys.readouterr().out
    assert len(Gallery(there.parent / "galleries" / "gate")) == 4


def test_of_all_scenes_those_that_can_be_are_pushed_and_the_other_is_named(
    here: Path, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert gallery("push", here) == 1
    assert stored_frames(url) == 4
    assert "scene yard" in caplog.text


def test_stored_lists_every_scene_and_whether_it_is_the_same_here(
    here: Path, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gallery_files.build(tmp_path / "roof", range(5))
    GalleryStore(url).publish(tmp_path / "roof", "roof", lambda done, total: None)
    gallery("push", here, "--scene", "gate")
    capsys.readouterr()

    assert gallery("stored", here) == 1  # yard is not there
    said = capsys.readouterr().out
    assert "gate: v000001, 4 frames" in said
    assert "the same is in force here" in said
    assert "yard: the store has no gallery of it" in said
    assert "roof: v000001, 5 frames" in said
    assert SECRET not in said

    gallery_files.build(here.parent / "galleries" / "gate", range(6))
    gallery("stored", here)
    assert "here v000002 is in force, which is another one" in capsys.readouterr().out


def test_stored_as_json(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gallery("push", here, "--scene", "gate")
    capsys.readouterr()
    gallery("stored", here, "--json")
    gate, yard = json.loads(capsys.readouterr().out)
    assert (gate["scene"], gate["stored"]["version"], gate["stored"]["frames"], gate["same"]) == (
        "gate",
        "v000001",
        4,
        True,
    )
    assert (yard["scene"], yard["stored"], yard["problem"]) == ("yard", None, "the store has no gallery of it")


@pytest.mark.parametrize("action", ["push", "pull", "stored"])
def test_without_a_store_the_three_say_which_key_is_missing(
    tmp_path: Path, action: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gallery(action, write_site(tmp_path, None)) == 2
    assert "gallery.store is not set" in capsys.readouterr().err


def test_a_scene_that_no_camera_has_is_wrong_usage(here: Path) -> None:
    assert gallery("push", here, "--scene", "cellar") == 2


def test_pushing_ends_when_told_and_leaves_nothing(here: Path, url: str) -> None:
    arguments = argparse.Namespace(config=here, scene="gate", progress="bar", base=None, named=None)
    with pytest.raises(StreamError, match="nothing was published"):
        push_galleries(arguments, lambda: True)  # type: ignore[arg-type]
    assert files_of(url) == {}


def test_a_program_is_told_of_the_bytes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gallery("push", here, "--scene", "gate", "--progress", "json") == 0
    steps = [json.loads(line)["progress"] for line in capsys.readouterr().out.splitlines()]
    assert steps[-1]["stage"] == "publish"
    assert steps[-1]["done"] == steps[-1]["total"] > 0


# what publishes by itself


def test_use_with_a_configuration_publishes_what_it_put_in_force(here: Path, url: str) -> None:
    folder = here.parent / "galleries" / "gate"
    gallery_files.build(folder, range(6))
    gallery("push", here, "--scene", "gate")
    assert stored_frames(url) == 6
    assert gallery("use", folder, "v1", "--config", here) == 0
    assert stored_frames(url) == 4


def test_use_without_one_leaves_the_store_alone(here: Path, url: str) -> None:
    folder = here.parent / "galleries" / "gate"
    gallery_files.build(folder, range(6))
    gallery("push", here, "--scene", "gate")
    assert gallery("use", folder, "v1") == 0
    assert stored_frames(url) == 6


def test_use_with_the_configuration_of_another_gallery_is_refused_before_anything_changes(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gallery_files.build(tmp_path / "other")
    gallery_files.build(tmp_path / "other", range(6))
    assert gallery("use", tmp_path / "other", "v1", "--config", here) == 2
    assert "is not the gallery of one of its scenes" in capsys.readouterr().err
    assert Gallery(tmp_path / "other").version == "v000002"


def test_what_cannot_be_published_is_in_force_here_and_the_way_on_is_told(
    here: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = here.parent / "galleries" / "gate"
    gallery_files.build(folder, range(6))
    fail(on="write")
    assert gallery("use", folder, "v1", "--config", here) == 1
    assert Gallery(folder).version == "v000001"
    said = capsys.readouterr().err
    assert "v000001 is in force here, but could not be published" in said
    assert "gallery push CONFIG --scene gate" in said
    assert SECRET not in said
    works()
    assert gallery("push", here, "--scene", "gate") == 0
    assert stored_frames(url) == 4


def test_a_store_that_is_the_gallery_folder_gets_no_second_copy(tmp_path: Path) -> None:
    from stream.config import load_config

    gallery_files.build(tmp_path / "galleries" / "gate")
    config = load_config(write_site(tmp_path, str(tmp_path / "galleries")), environment={})
    publish_in_force(config, "gate", stop=lambda: False)  # type: ignore[arg-type]
    assert [path.name for path in (tmp_path / "galleries" / "gate").glob("v*")] == ["v000001"]


def test_enroll_publishes(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("stream.engine.extractor_of", lambda config: tiny_extractor(side=SIDE))
    monkeypatch.setattr("stream.commands._open_to_watch", lambda camera, stop: Footage(400))
    site = write_site(tmp_path, url, ("gate",))
    assert main(["enroll", str(site), "--progress", "json"]) == 0
    assert stored_frames(url) == len(Gallery(tmp_path / "galleries" / "gate"))
    lines = capsys.readouterr().out.splitlines()
    assert json.loads(lines[-1])["result"]["scene"] == "gate"  # the result is still the last word


def test_normal_publishes_and_its_undo_does_so_too(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("stream.engine.extractor_of", lambda config: tiny_extractor(side=SIDE))
    enrolled(tmp_path / "galleries" / "gate", Footage(100), SMALL_BANK, side=SIDE)
    site = write_site(tmp_path, url, ("gate",))
    put_alert(site, "bright", a_picture(200, side=SIDE))
    assert gallery("normal", site, "bright", "--dry-run") == 0
    assert files_of(url) == {}
    assert gallery("push", site) == 0
    before = stored_frames(url)
    capsys.readouterr()

    assert gallery("normal", site, "bright", "--progress", "json") == 0
    assert stored_frames(url) == before + 1
    undo = json.loads(capsys.readouterr().out.splitlines()[-1])["result"]["undo"]
    assert main(undo.split()[1:]) == 0
    assert stored_frames(url) == before


def test_follow_publishes(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.engine.extractor_of", lambda config, at_once=1: tiny_extractor())
    enrolled(tmp_path / "galleries" / "yard", Dim(120), SpadeParameters())
    text = (
        f"cameras: [{{id: gate, source: '0', scene: yard}}]\ndrift: {{day_part: 0.05}}\ngallery: {{store: '{url}'}}\n"
    )
    (tmp_path / "site.yaml").write_text(text)
    DriftStore(tmp_path / "state" / "drift", most=10).keep(a_frame(0.1))
    assert gallery("follow", tmp_path / "site.yaml") == 0
    assert stored_frames(url, "yard") == len(Gallery(tmp_path / "galleries" / "yard"))


def enrolled(folder: Path, footage: Any, parameters: Any, *, side: int = 32) -> None:
    enroll(
        footage,
        folder,
        settings=brief_settings(capacity=60),
        extractor=tiny_extractor(side=side),
        parameters=parameters,
        note={},
        on_progress=lambda progress: None,
    )


# check


def said_by_check(site: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What it says, and what is wrong."""
    with pytest.raises(ConfigError) as found:  # the recordings of these cameras are not there
        commands.check(argparse.Namespace(config=site), lambda: False)  # type: ignore[arg-type]
    return capsys.readouterr().out + str(found.value)


def test_check_says_what_the_store_holds(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gallery("push", here, "--scene", "gate")
    capsys.readouterr()
    said = said_by_check(here, capsys)
    assert "galleries of all machines: faulty://***@" in said
    assert "scene gate: v000001, 4 frames" in said
    assert "scene yard: the store has no gallery of it" in said
    assert SECRET not in said


def test_check_names_a_store_that_does_not_answer(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fail(on="list")
    said = said_by_check(here, capsys)
    assert "gallery.store: " in said
    assert "does not answer as it should" in said


def test_check_of_one_machine_says_nothing_of_stores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "galleries of all machines" not in said_by_check(write_site(tmp_path, None), capsys)


def test_the_error_of_a_publishing_that_failed_is_one_of_the_tree(here: Path) -> None:
    from stream.config import load_config

    fail(on="write")
    with pytest.raises(GalleryStoreError):
        publish_in_force(load_config(here, environment={}), "gate", stop=lambda: False)  # type: ignore[arg-type]
