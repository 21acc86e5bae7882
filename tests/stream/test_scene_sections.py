"""Several scenes of a camera in the configuration: what may stand there, and what is refused in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stream.config import build_config
from stream.config_sections import CameraSection
from stream.errors import ConfigError
from stream.scene_choice import Window

DAY_AND_NIGHT = [{"scene": "day", "hours": "06:00-20:00"}, {"scene": "night"}]


def camera(**values: Any) -> CameraSection:
    data = {"cameras": [{"id": "gate", "source": "0", **values}]}
    return build_config(data, where="site.yaml", base=Path("/site"), environment={}).cameras[0]


def test_a_camera_without_scenes_has_one() -> None:
    assert (camera().scene_name, camera().scene_names, camera().scene_plan) == ("gate", ("gate",), None)
    assert camera(scene="yard").scene_names == ("yard",)


def test_hours_are_a_schedule_unless_the_picture_is_asked_for() -> None:
    by_hours = camera(scenes=DAY_AND_NIGHT, timezone="Europe/Berlin").scene_plan
    by_picture = camera(scenes=[{"scene": "day"}, {"scene": "night"}]).scene_plan

    assert by_hours is not None
    assert (by_hours.by, by_hours.timezone) == ("schedule", "Europe/Berlin")
    assert [entry.hours for entry in by_hours.entries] == [Window(360, 1200), None]
    assert by_picture is not None
    assert (by_picture.by, by_picture.scenes) == ("picture", ("day", "night"))


def test_a_scene_that_only_a_second_place_names_may_have_a_gallery_elsewhere() -> None:
    data = {
        "cameras": [{"id": "gate", "source": "0", "scenes": DAY_AND_NIGHT}],
        "scenes": {"night": {"gallery": "old/night"}},
    }
    config = build_config(data, where="site.yaml", base=Path("/site"), environment={})

    assert [config.gallery_of(scene) for scene in ("day", "night")] == [
        Path("/site/galleries/day"),
        Path("/site/old/night"),
    ]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"scene": "yard", "scenes": DAY_AND_NIGHT}, "give 'scene' for one scene or 'scenes' for several, not both"),
        ({"scenes": DAY_AND_NIGHT[:1]}, "'scenes' are two at least"),
        ({"scenes": []}, "'scenes' are two at least"),
        ({"choose": "picture"}, "'choose' has no effect without 'scenes'"),
        ({"timezone": "Europe/Berlin"}, "'timezone' has no effect without 'scenes'"),
        ({"scenes": DAY_AND_NIGHT, "timezone": "Europe/Atlantis"}, "knows no such time zone"),
        ({"scenes": DAY_AND_NIGHT, "timezone": "../../etc/passwd"}, "knows no such time zone"),
        ({"scenes": [{"scene": "a", "hours": "6-20"}, {"scene": "b"}]}, "'6-20' are no hours"),
        ({"scenes": DAY_AND_NIGHT, "choose": "picture"}, "hours of day have no effect"),
        ({"scenes": [{"scene": "a"}, {"scene": "b"}], "choose": "schedule"}, "a and b have no hours"),
        (
            {"scenes": [{"scene": "a", "hours": "06:00-20:00"}, {"scene": "b", "hours": "21:00-06:00"}]},
            "no scene is in force at 20:00-21:00",
        ),
        ({"scenes": [{"scene": "a", "when": "day"}, {"scene": "b"}]}, "unknown key"),
    ],
)
def test_scenes_that_contradict_each_other_are_refused(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        camera(**values)

    assert problem in str(refused.value)
    assert "cameras[0]" in str(refused.value)
