"""``check``: what it says of a threshold that was set for something else than the configuration says now."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_extractor import Footage, brief_settings, tiny_extractor

from spade_core.alarms import AlarmRule
from spade_core.campus import CampusParameters
from spade_core.errors import BackboneError
from stream import commands
from stream.config import load_config
from stream.engine import alarm_rule_of, extractor_of, runtime_of
from stream.enroll import enroll
from stream.errors import ConfigError

pytestmark = pytest.mark.usefixtures("one_thread")

SIDE = 64


@pytest.fixture(scope="module")
def galleries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With one scene, ``gate``, enrolled for two false alarms a day and alerts of 0.6 s."""
    folder = tmp_path_factory.mktemp("galleries")
    enroll(
        Footage(100),
        folder / "gate",
        settings=brief_settings(false_alarms_per_day=2.0),
        extractor=tiny_extractor(side=SIDE),
        parameters=CampusParameters(),
        note={},
        on_progress=lambda progress: None,
    )
    return folder


def said_by_check(folder: Path, galleries: Path, capsys: pytest.CaptureFixture[str], **sections: Any) -> str:
    path = folder / "site.yaml"
    gallery = {"folder": str(galleries), **sections.pop("gallery", {})}
    values = {
        "cameras": [{"id": "gate", "source": "campus:"}],
        "backbone": {"name": "mean_colours"},
        "method": {"size": SIDE},
        "gallery": gallery,
        **sections,
    }
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    assert commands.check(argparse.Namespace(config=path), lambda: False) == 0
    return capsys.readouterr().out


def test_a_threshold_that_was_set_for_what_is_configured_is_not_remarked_upon(
    tmp_path: Path, galleries: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = said_by_check(tmp_path, galleries, capsys, gallery={"false_alarms_per_day": 2.0})
    assert "v000001, 60 frames\n" in said


def test_another_minimum_duration_is_remarked_upon_and_works_all_the_same(
    tmp_path: Path, galleries: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = said_by_check(
        tmp_path, galleries, capsys, gallery={"false_alarms_per_day": 2.0}, alerts={"min_duration": 1.5}
    )
    assert "its threshold was set for alerts.min_duration 0.6, and this configuration says 1.5; enroll again" in said
    assert "the configuration is right" in said


def test_another_rate_of_false_alarms_is_remarked_upon(
    tmp_path: Path, galleries: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = said_by_check(tmp_path, galleries, capsys)
    assert "set for gallery.false_alarms_per_day 2, and this configuration says 1; enroll again" in said


def test_all_scenes_of_a_camera_are_listed_with_their_hours_and_what_is_missing(
    tmp_path: Path, galleries: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    camera = {"id": "yard", "source": "campus:"}
    hours = [{"scene": "gate", "hours": "06:00-20:00"}, {"scene": "night"}]
    said = said_by_check(tmp_path, galleries, capsys, cameras=[{**camera, "scenes": hours}])

    assert "scene gate (06:00-20:00, local time): gallery" in said
    assert "scene night (otherwise, local time): not enrolled yet" in said
    assert "(spade-stream enroll ... --camera yard --scene night)" in said
    by_picture = [{"scene": "gate"}, {"scene": "night"}]
    said = said_by_check(tmp_path, galleries, capsys, cameras=[{**camera, "scenes": by_picture}])
    assert "scene night (chosen by the picture): not enrolled yet" in said


def test_a_threshold_is_set_for_the_alerts_that_are_configured(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    alerts = {"min_duration": 1.5, "end_after": 3.0, "cooldown": 9.0}
    path.write_text(yaml.safe_dump({"cameras": [{"id": "gate", "source": "campus:"}], "alerts": alerts}))
    assert alarm_rule_of(load_config(path, {})) == AlarmRule(min_duration=1.5, quiet=3.0)


def site_with(folder: Path, **backbone: str) -> Path:
    path = folder / "site.yaml"
    path.write_text(yaml.safe_dump({"cameras": [{"id": "gate", "source": "campus:"}], "backbone": backbone}))
    return path


def test_it_says_what_runs_the_backbone(tmp_path: Path, galleries: Path, capsys: pytest.CaptureFixture[str]) -> None:
    backbone = {"name": "mean_colours", "runtime": "torch", "device": "cpu"}
    assert "\n  the backbone runs in torch on cpu\n" in said_by_check(tmp_path, galleries, capsys, backbone=backbone)


def test_a_device_that_is_not_there_is_a_problem_of_the_configuration(tmp_path: Path) -> None:
    path = site_with(tmp_path, device="cuda:99")
    with pytest.raises(ConfigError, match="backbone: device is 'cuda:99', but torch sees"):
        commands.check(argparse.Namespace(config=path), lambda: False)


def test_weights_that_are_not_there_are_a_problem_of_the_configuration(tmp_path: Path) -> None:
    path = site_with(tmp_path, weights="none.pth")
    with pytest.raises(ConfigError, match=r"backbone\.weights: .*none\.pth: there is no such file"):
        commands.check(argparse.Namespace(config=path), lambda: False)


def test_the_configured_runtime_is_what_the_backbone_gets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)  # OpenVINO is not installed
    config = load_config(site_with(tmp_path, runtime="torch", device="cpu"), {})
    assert (extractor_of(config).backbone.runtime.name, runtime_of(config)) == ("torch", "torch on cpu")
    config = load_config(site_with(tmp_path, runtime="openvino", device="cpu"), {})
    for needs_it in (extractor_of, runtime_of):
        with pytest.raises(BackboneError, match="'openvino', which is not installed: pip install"):
            needs_it(config)
