"""``enroll --cluster`` with everything but the cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from nearly import nearly
from task_fakes import GO, InProcess
from tiny_extractor import tiny_extractor

from spade_core.gallery import Gallery
from spade_core.gallery_layout import CALIBRATION
from stream import cli, commands
from stream.cluster.enroll_tasks import enroll_config, enroll_on_cluster
from stream.cluster.tasks import FOLDER, Runner
from stream.config import Config
from stream.errors import UsageError
from stream.stopping import StopSignal

SCENE = "campus:?seed={}&size=64x64&duration=20"
SITE: dict[str, Any] = {
    "cameras": [
        {"id": "gate", "source": SCENE.format(3), "fps": 5},
        {"id": "yard", "source": SCENE.format(4), "fps": 5, "network": "north"},
    ],
    "method": {"size": 64},
    "gallery": {"folder": "galleries", "holdout": 0.4},
    "sinks": [{"type": "mqtt", "host": "broker", "username": "u", "password": "${MQTT_PASSWORD}", "insecure": True}],
    "console": {"enabled": False},
}


def site(folder: Path, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "site.yaml").write_text(yaml.safe_dump({**SITE, "sinks": [], **changes}))
    return folder / "site.yaml"


def enroll(path: Path, runner: InProcess, *words: str) -> int:
    def make(address: str, config: Config, stop: StopSignal) -> AbstractContextManager[Runner]:
        return nullcontext(runner)

    arguments = cli._parser().parse_args(["enroll", str(path), "--cluster", "auto", *words])
    return enroll_on_cluster(arguments, GO, runner=make)


def checksums(gallery: Path) -> dict[str, str]:
    """Of everything in it but the thresholds, which are compared as numbers."""
    files = Gallery(gallery).manifest["files"]
    return {name: entry["sha256"] for name, entry in files.items() if name != CALIBRATION}


def calibration(gallery: Path) -> Any:
    return json.loads((gallery / Gallery(gallery).version / CALIBRATION).read_bytes())


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("stream.engine.extractor_of", lambda config: tiny_extractor(side=config.method.side))
    yield
    torch.set_num_threads(1)


# --- whole runs


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread", "tiny")
def test_galleries_hold_the_same_bytes_as_those_of_one_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands.enroll(cli._parser().parse_args(["enroll", str(site(tmp_path / "alone"))]), GO)
    capsys.readouterr()
    runner = InProcess(tmp_path / "node")

    assert enroll(site(tmp_path / "spread"), runner) == 0

    for scene in ("gate", "yard"):
        spread, alone = (tmp_path / name / "galleries" / scene for name in ("spread", "alone"))
        assert checksums(spread) == checksums(alone)
        assert nearly(calibration(spread), calibration(alone))
    assert [(task.name, task.network) for task in runner.tasks] == [("gate", None), ("yard", "north")]
    said = capsys.readouterr().out
    assert f"gate: gate/v000001 is in force in {tmp_path / 'spread' / 'galleries'}, made on node" in said
    assert "threshold" in said
    assert str(tmp_path / "node") not in said
    assert sorted(path.name for path in (tmp_path / "spread" / "galleries").iterdir()) == ["gate", "yard"]


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread", "tiny")
def test_options_reach_the_nodes(tmp_path: Path) -> None:
    runner = InProcess(tmp_path / "node")
    path = site(tmp_path / "site", gallery={"folder": "galleries", "holdout": 0.4, "store": "store"})

    words = ("--camera", "yard", "--source", SCENE.format(3), "--seconds", "16", "--capacity", "30")
    assert enroll(path, runner, *words) == 0

    assert len(Gallery(tmp_path / "site" / "store" / "yard")) == 30
    assert not (tmp_path / "site" / "galleries").exists()
    assert runner.tasks[0].network is None  # the footage is not the camera's


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread", "tiny")
def test_a_camera_whose_node_is_lost_fails_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert enroll(site(tmp_path / "site"), InProcess(tmp_path / "node", lost=["gate"])) == 1

    assert [path.name for path in (tmp_path / "site" / "galleries").iterdir()] == ["yard"]
    assert "camera gate: its node died" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread", "tiny")
def test_a_gallery_that_workers_look_for_in_another_folder_than_the_store_is_not_said_to_be_in_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gallery = {"folder": "galleries", "holdout": 0.4, "store": "store"}
    path = site(tmp_path / "site", gallery=gallery, scenes={"yard": {"gallery": "apart"}})

    assert enroll(path, InProcess(tmp_path / "node"), "--camera", "yard") == 0

    said = capsys.readouterr().out
    assert f"workers look for it in {tmp_path / 'site' / 'apart'} (scenes.yard.gallery)" in said
    command = said.partition("'spade-stream ")[2].partition("'")[0].split()
    assert cli.main([str(path) if word == "CONFIG" else word for word in command]) == 0
    assert len(Gallery(tmp_path / "site" / "apart")) > 0


# --- what a node is told


def test_without_a_store_a_scene_with_a_folder_of_its_own_is_refused(tmp_path: Path) -> None:
    runner = InProcess(tmp_path / "node", lost=["gate", "yard"])

    with pytest.raises(UsageError, match=r"scenes\.gate\.gallery"):
        enroll(site(tmp_path / "site", scenes={"gate": {"gallery": "apart"}}), runner)
    assert runner.tasks == []
    assert enroll(site(tmp_path / "site", scenes={"gate": {"gallery": "galleries/gate"}}), runner) == 1
    assert len(runner.tasks) == 2


def test_a_node_is_told_of_one_camera_and_of_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cameras = [{"id": name, "source": f"rtsp://u:${{{name.upper()}}}@cam/{name}"} for name in ("gate", "yard")]
    for name in ("GATE", "YARD", "MQTT_PASSWORD"):
        monkeypatch.setenv(name, f"hunter-{name}")
    path = site(tmp_path / "site", cameras=cameras, sinks=SITE["sinks"])
    runner = InProcess(tmp_path / "node", lost=["gate", "yard"])

    assert enroll(path, runner, "--seconds", "60") == 1

    assert runner.environment == {"gate": {"GATE": "hunter-GATE"}, "yard": {"YARD": "hunter-YARD"}}
    assert "hunter" not in runner.tasks[0].to_text()
    assert "yard" not in runner.tasks[0].to_text()
    assert runner.tasks[0].words[-2:] == ("--seconds", "60.0")


def test_footage_given_by_address_is_told_as_a_secret(tmp_path: Path) -> None:
    runner = InProcess(tmp_path / "node", lost=["gate"])

    enroll(site(tmp_path / "site"), runner, "--camera", "gate", "--source", "rtsp://u:hunter2@cam/1", "--minutes", "1")

    assert runner.environment["gate"] == {"SPADE_TASK_SOURCE": "rtsp://u:hunter2@cam/1"}
    assert "hunter2" not in runner.tasks[0].to_text()
    assert "--seconds" in runner.tasks[0].words


def test_footage_given_by_path_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "day.mp4").touch()
    runner = InProcess(tmp_path / "node", lost=["gate"])

    enroll(site(tmp_path / "site"), runner, "--camera", "gate", "--source", "day.mp4")

    assert runner.environment["gate"] == {"SPADE_TASK_SOURCE": str(tmp_path / "day.mp4")}


def test_the_gallery_is_made_in_the_folder_of_the_task_and_published_in_the_store() -> None:
    text = yaml.safe_dump({**SITE, "scenes": {"gate": {"gallery": "elsewhere"}}, "security": {"keys": "keys"}})

    told = yaml.safe_load(enroll_config(text, "gate", store="s3://site/galleries", source=False))

    assert told["gallery"] == {"folder": f"{FOLDER}/galleries", "holdout": 0.4, "store": "s3://site/galleries"}
    assert [camera["id"] for camera in told["cameras"]] == ["gate"]
    assert told.keys() & {"scenes", "security", "sinks"} == set()


def test_nodes_have_to_see_the_folder_of_galleries_but_not_of_a_store_with_an_address(tmp_path: Path) -> None:
    for name, gallery, seen in (
        ("folder", {"folder": "galleries"}, tmp_path / "folder" / "galleries"),
        ("store", {"folder": "galleries", "store": "store"}, tmp_path / "store" / "store"),
        ("address", {"folder": "galleries", "store": "memory://site"}, None),
    ):
        runner = InProcess(tmp_path / "node", lost=["gate", "yard"])
        enroll(site(tmp_path / name, gallery=gallery), runner)
        shared = runner.tasks[0].shared
        assert (shared and Path(shared.path)) == seen


def test_a_cluster_that_is_to_use_no_gpu_enrolls_without_one(tmp_path: Path) -> None:
    for name, section, device in (("auto", {}, "cpu"), ("chosen", {"device": "cuda:1"}, "cuda:1")):
        runner = InProcess(tmp_path / "node", lost=["gate", "yard"])
        enroll(site(tmp_path / name, cluster={"gpus": False}, backbone=section), runner)
        [told] = runner.tasks[0].files.values()
        assert yaml.safe_load(told)["backbone"]["device"] == device


def test_a_node_speaks_for_people_whatever_the_log_is_like(tmp_path: Path) -> None:
    runner = InProcess(tmp_path / "node", lost=["gate", "yard"])

    enroll(site(tmp_path / "site", log={"format": "json"}), runner)

    words = runner.tasks[0].words
    assert words[words.index("--log-format") + 1] == "human"


def test_a_store_that_cannot_be_opened_is_said_before_anything_is_watched(tmp_path: Path) -> None:
    path = site(tmp_path / "site", gallery={"folder": "galleries", "store": "nonesuch://site"})
    runner = InProcess(tmp_path / "node")

    with pytest.raises(UsageError, match="nonesuch"):
        enroll(path, runner)
    with pytest.raises(UsageError, match="nonesuch"):
        commands.enroll(cli._parser().parse_args(["enroll", str(path)]), GO)
    assert runner.tasks == []
    assert not (tmp_path / "site" / "galleries").exists()


def test_one_footage_for_two_cameras_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--camera"):
        enroll(site(tmp_path / "site"), InProcess(tmp_path / "node"), "--source", "day.mp4")


def test_without_the_option_nothing_of_a_cluster_is_asked(tmp_path: Path) -> None:
    arguments = cli._parser().parse_args(["enroll", str(site(tmp_path / "site"))])

    assert arguments.cluster is None
