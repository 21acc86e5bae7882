"""Whose footage makes which gallery: what ``enroll --camera --scene`` means, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stream.config import Config, build_config
from stream.enroll_choice import to_enroll
from stream.errors import ConfigError, UsageError


def config(*cameras: dict[str, Any]) -> Config:
    listed = [{"source": "0", **camera} for camera in cameras]
    return build_config({"cameras": listed}, where="site.yaml", base=Path("/site"), environment={})


GATE = {"id": "gate", "scenes": [{"scene": "day", "hours": "06:00-20:00"}, {"scene": "night"}]}
YARD = {"id": "yard"}


def chosen(config: Config, camera: str | None = None, scene: str | None = None) -> list[tuple[str, str]]:
    return [(found.id, found.scene_name) for found in to_enroll(config, camera, scene)]


def test_cameras_of_one_scene_are_all_enrolled() -> None:
    assert chosen(config(YARD, {"id": "roof", "scene": "sky"})) == [("yard", "yard"), ("roof", "sky")]


def test_one_scene_of_a_camera_is_named() -> None:
    site = config(GATE, YARD)

    assert chosen(site, "gate", "night") == [("gate", "night")]
    assert chosen(site, None, "night") == [("gate", "night")]  # only one camera sees it
    assert chosen(site, "yard", "yard") == [("yard", "yard")]


@pytest.mark.parametrize("camera", [None, "gate"])
def test_a_camera_with_several_scenes_asks_which_its_footage_shows(camera: str | None) -> None:
    with pytest.raises(UsageError, match=r"gate has several scenes \(day, night\).*--camera gate --scene NAME"):
        to_enroll(config(GATE, YARD), camera, None)


def test_a_scene_that_nobody_looks_at_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="'dusk': no camera looks at it; there is: day, night, yard"):
        to_enroll(config(GATE, YARD), None, "dusk")
    with pytest.raises(UsageError, match="'night': camera yard does not look at it; there is: yard"):
        to_enroll(config(GATE, YARD), "yard", "night")


def test_a_scene_of_two_cameras_asks_whose_footage_to_use() -> None:
    site = config(GATE, {"id": "back", "scene": "night"})

    with pytest.raises(UsageError, match="scene night is seen by gate, back"):
        to_enroll(site, None, "night")
    assert chosen(site, "back", "night") == [("back", "night")]
    with pytest.raises(UsageError, match="scene sky is seen by a, b"):
        to_enroll(config({"id": "a", "scene": "sky"}, {"id": "b", "scene": "sky"}), None, None)


def test_a_camera_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="'roof' is not in the configuration"):
        to_enroll(config(GATE), "roof", None)
