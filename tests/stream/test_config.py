"""The configuration: what is wrong is named, all of it and without secrets; what is right means what it says."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest

from spade_core.campus import CampusParameters
from spade_core.methods import parameters_from
from spade_core.scorer import SpadeParameters
from stream.config import Config, build_config, load_config
from stream.config_sections import CameraSection
from stream.errors import ConfigError
from stream.policy import PolicySettings

GATE = {"id": "gate", "source": "rtsp://cam/1"}
SECRET = "hunter2"


def built(base: Path = Path("/base"), environment: dict[str, str] | None = None, **sections: Any) -> Config:
    return build_config(
        {"cameras": [GATE], **sections}, where="site.yaml", base=base, environment=environment or {}
    )


def a_camera(environment: dict[str, str] | None = None, **fields: Any) -> CameraSection:
    return built(cameras=[{**GATE, **fields}], environment=environment).cameras[0]


def problems_of(data: Any, environment: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        build_config(data, where="site.yaml", base=Path("/base"), environment=environment or {})
    assert str(caught.value).startswith("site.yaml: ")
    return list(caught.value.problems)


def problems_with(**sections: Any) -> list[str]:
    return problems_of({"cameras": [GATE], **sections})


def problems_in_file(path: Path, text: str) -> list[str]:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(path, {})
    assert str(path) in str(caught.value)
    return list(caught.value.problems)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "site.yaml"


def test_one_camera_is_a_whole_configuration() -> None:
    config = built()

    assert [camera.id for camera in config.cameras] == ["gate"]
    assert config.cameras[0].scene_name == "gate"
    assert (config.state, config.gallery_of("gate")) == (Path("/base/state"), Path("/base/galleries/gate"))
    assert config.alerts.settings() == PolicySettings()


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        ("method", "name", "magic"),
        ("method", "k", 0),
        ("method", "kappa", 1.5),
        ("method", "sigma", -1.0),
        ("method", "size", 250),
        ("method", "crop", 63),
        ("method", "crop", 257),
        ("method", "crop", 224.0),
        ("method", "levels", []),
        ("method", "levels", [2, 1]),
        ("method", "levels", [1, 1]),
        ("method", "levels", 2),
        ("method", "neighbours", "far"),
        ("method", "seed", -1),
        ("gallery", "folder", 5),
        ("gallery", "capacity", 0),
        ("gallery", "holdout", 1.0),
        ("gallery", "false_alarms_per_day", 0.0),
        ("gallery", "false_alarms_per_day", 10_001.0),
        ("alerts", "min_duration", -0.1),
        ("alerts", "release_ratio", 0.0),
        ("alerts", "end_after", "2"),
        ("alerts", "update_every", 0),
        ("alerts", "cooldown", float("nan")),
        ("alerts", "max_alerts_per_hour", 0),
        ("worker", "threads", 0),
        ("worker", "max_batch", True),
        ("worker", "maps", ["maps"]),
        ("backbone", "device", 0),
        ("backbone", "runtime", "tensorrt"),
        ("feed", "insecure", "yes"),
        ("link", "endpoint", 7),
    ],
)
def test_a_wrong_value_names_its_field(section: str, field: str, value: object) -> None:
    (problem,) = problems_with(**{section: {field: value}})

    assert problem.startswith(f"{section}.{field}: ")


@pytest.mark.parametrize("level", [0, 4, True, "2"], ids=repr)
def test_a_level_that_no_backbone_has_is_named_by_its_place(level: object) -> None:
    (problem,) = problems_with(method={"name": "spade", "levels": [1, level]})

    assert problem.startswith("method.levels[1]: ")


@pytest.mark.parametrize(
    ("name", "key", "value", "owner"),
    [
        ("campus", "kappa", 2, "spade"),
        ("campus", "levels", [1, 2], "spade"),
        ("campus", "neighbours", "random", "spade"),
        ("campus", "seed", 1, "spade"),
        ("spade", "persistence", 5.0, "campus"),
    ],
)
def test_a_key_of_the_other_method_is_an_error_and_not_ignored(name: str, key: str, value: object, owner: str) -> None:
    (problem,) = problems_with(method={"name": name, key: value})

    assert problem.startswith(f"method.{key}: has no effect with 'name: {name}', only with '{owner}'")


def test_a_key_of_the_other_method_may_stand_there_with_its_default() -> None:
    assert built(method={"kappa": 1, "levels": [1, 2, 3]}).method.parameters()["method"] == "campus"


def test_the_parameters_are_those_of_the_method_in_use() -> None:
    settings = {"name": "spade", "k": 50, "kappa": 8, "levels": [2, 3], "neighbours": "random", "seed": 4}
    parameters = SpadeParameters(k=50, kappa=8, levels=(2, 3), neighbours="random", seed=4)

    assert parameters_from(built(method=settings).method.parameters()) == parameters
    assert parameters_from(built(method={"name": "spade"}).method.parameters()) == SpadeParameters()
    assert parameters_from(built().method.parameters()) == CampusParameters()


@pytest.mark.parametrize(
    ("method", "side"),
    [({}, 256), ({"crop": 224}, 224), ({"size": 64, "crop": 64}, 64), ({"name": "campus", "crop": 100}, 100)],
    ids=str,
)
def test_the_scoring_image_is_as_large_as_what_the_crop_leaves(method: dict[str, object], side: int) -> None:
    assert built(method=method).method.side == side


def test_a_crop_is_not_blamed_where_the_size_is_wrong() -> None:
    (problem,) = problems_with(method={"size": 250, "crop": 260})

    assert problem.startswith("method.size: ")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "two words"),
        ("id", "../up"),
        ("id", "gate\n"),
        ("id", "x" * 65),
        ("source", ""),
        ("source", None),
        ("source", True),
        ("source", -1),
        ("scene", "a/b"),
        ("fps", 0),
        ("fps", float("inf")),
        ("fps", "5"),
        ("mode", "fast"),
        ("folder_fps", 241),
        ("start", -1),
        ("seconds", 0),
        ("recorded_at", "yesterday"),
        ("open_timeout", 0),
        ("read_timeout", 121),
    ],
)
def test_a_wrong_value_of_a_camera_names_the_camera_by_its_place(field: str, value: object) -> None:
    (problem,) = problems_of({"cameras": [GATE, {**GATE, "id": "yard", field: value}]})

    assert problem.startswith(f"cameras[1].{field}: ")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ([], "the file must hold a mapping"),
        (None, "the file must hold a mapping"),
        ({}, "cameras: is required"),
        ({"cameras": []}, "cameras: "),
        ({"cameras": {"gate": GATE}}, "cameras: "),
        ({"cameras": ["gate"]}, "cameras[0]: "),
        ({"cameras": [{"id": "gate"}]}, "cameras[0].source: is required"),
        ({"cameras": [GATE], "feed": None}, "feed: "),
        ({"cameras": [GATE], "sinks": [{"type": "jsonl"}]}, "sinks[0].jsonl.folder: is required"),
        ({"cameras": [GATE], "sinks": [{"type": "pigeon"}]}, "sinks[0]: "),
        ({"cameras": [GATE], "scenes": {"gate": {}}}, "scenes.gate.gallery: is required"),
    ],
)
def test_a_wrong_shape_names_where_it_is(data: object, expected: str) -> None:
    (problem,) = problems_of(data)

    assert problem.startswith(expected)


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"cameras": [GATE], "camera": []}, "camera"),
        ({"cameras": [{**GATE, "sourse": "x"}]}, "cameras[0].sourse"),
        ({"cameras": [GATE], "alerts": {"threshold": 1}}, "alerts.threshold"),
        ({"cameras": [GATE], "sinks": [{"type": "stdout", "folder": "x"}]}, "sinks[0].stdout.folder"),
    ],
)
def test_a_misspelt_key_is_refused_at_every_level(data: object, field: str) -> None:
    assert problems_of(data) == [f"{field}: unknown key"]


def test_all_wrong_values_are_named_at_once() -> None:
    problems = problems_of({"cameras": [{**GATE, "fps": 0, "mode": "fast"}], "method": {"k": 0}, "colour": "red"})

    fields = {problem.split(": ")[0] for problem in problems}
    assert fields == {"cameras[0].fps", "cameras[0].mode", "method.k", "colour"}


def test_all_things_that_do_not_fit_together_are_named_at_once() -> None:
    problems = problems_of(
        {
            "cameras": [GATE, {"id": "gate", "source": "rtsp://${NOBODY}/1"}],
            "sinks": [{"type": "stdout"}, {"type": "stdout"}],
            "scenes": {"attic": {"gallery": "g"}},
            "feed": {"endpoint": "udp://x:1"},
            "link": {"endpoint": "tcp://0.0.0.0:5571"},
        }
    )

    assert [problem.split(": ")[0] for problem in problems] == [
        "cameras[1].source",
        "cameras[1].id",
        "sinks[1].name",
        "link.endpoint",
        "feed.endpoint",
        "scenes.attic",
    ]


def test_two_cameras_of_one_name_are_refused() -> None:
    assert problems_of({"cameras": [GATE, {**GATE, "id": "yard"}, GATE]}) == [
        "cameras[2].id: 'gate' is used twice (first by cameras[0])"
    ]


def test_two_cameras_may_share_a_scene() -> None:
    config = built(cameras=[{**GATE, "scene": "yard"}, {"id": "back", "source": "1", "scene": "yard"}])

    assert [camera.scene_name for camera in config.cameras] == ["yard", "yard"]


def test_a_camera_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match=r"'roof' is not in the configuration; it has: gate"):
        built().camera("roof")


# The file


def test_a_file_is_read(file: Path) -> None:
    file.write_text("cameras:\n  - {id: gate, source: clip.mp4, fps: 2}\n")

    (camera,) = load_config(file, {}).cameras

    assert (camera.source, camera.fps) == (str(file.parent / "clip.mp4"), 2)


def test_a_key_that_stands_twice_is_refused_with_its_line(file: Path) -> None:
    problems = problems_in_file(file, "state: a\ncameras: []\nstate: b\n")

    assert problems == ["line 3, column 1: duplicate key 'state'"]


def test_a_nested_key_that_stands_twice_is_refused_with_its_line(file: Path) -> None:
    problems = problems_in_file(file, "cameras:\n  - id: gate\n    source: a\n    source: b\n")

    assert problems == ["line 4, column 5: duplicate key 'source'"]


@pytest.mark.parametrize("value", [f"*{SECRET}", f"!{SECRET}", f"!{SECRET}!x"])
def test_a_secret_that_begins_like_a_sign_of_yaml_is_not_shown(file: Path, value: str) -> None:
    problems = problems_in_file(file, f"cameras: []\nsinks:\n  - password: {value}\n")

    assert problems[0].startswith("line 3, column 15: ")
    assert problems[0].endswith("text that begins with * or ! must be in quotes")
    assert SECRET not in str(problems)


@pytest.mark.parametrize("value", ["2024-02-30", "2024-01-01 25:00:00", f"!!int {SECRET}", f"!!bool {SECRET}", "0x_"])
def test_a_value_that_yaml_takes_for_what_it_is_not_is_named_and_not_shown(file: Path, value: str) -> None:
    problems = problems_in_file(file, f"cameras:\n  - recorded_at: {value}\n")

    assert problems[0].startswith("line 2, column 18: no ")
    assert problems[0].endswith("put it in quotes if it is text")
    assert SECRET not in str(problems)


def test_what_cameras_have_in_common_can_be_written_once(file: Path) -> None:
    file.write_text('cameras:\n  - &a {id: a, source: "rtsp://h/1", fps: 2}\n  - {<<: *a, id: b}\n')

    assert [(camera.id, camera.fps) for camera in load_config(file, {}).cameras] == [("a", 2), ("b", 2)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cameras: [\n", "line 2"),
        ("cameras:\n\t- x\n", "line 2"),
        ("? [a, b]\n: 1\n", "line 1, column 3: a key must be a plain value"),
        ("cameras: !!python/object/apply:os.getcwd []\n", "line 1"),
    ],
)
def test_what_is_no_yaml_is_refused_with_its_line(file: Path, text: str, expected: str) -> None:
    (problem,) = problems_in_file(file, text)

    assert problem.startswith(expected)


@pytest.mark.parametrize("text", ["", "42\n", "- a\n"])
def test_a_file_without_sections_is_refused(file: Path, text: str) -> None:
    assert problems_in_file(file, text) == ["the file must hold a mapping with at least 'cameras'"]


def test_a_file_that_is_not_text_is_refused(file: Path) -> None:
    file.write_bytes(b"cameras: \xff\n")

    with pytest.raises(ConfigError, match="is not UTF-8 text: byte 9"):
        load_config(file, {})


def test_a_missing_file_is_refused_with_the_reason(file: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_config(file, {})


# Sources, and their secrets


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("rtsp://cam/1", "rtsp://cam/1"),
        ("HTTPS://cam/x", "HTTPS://cam/x"),
        ("campus:?seed=3", "campus:?seed=3"),
        ("0", "0"),
        (0, "0"),
        ("./7", "/base/7"),
        ("clips/a.mp4", "/base/clips/a.mp4"),
        ("/abs/a.mp4", "/abs/a.mp4"),
        ("loop:clips/a.mp4", "loop:/base/clips/a.mp4"),
        ("loop:/abs/a.mp4", "loop:/abs/a.mp4"),
    ],
)
def test_paths_are_relative_to_the_file_and_other_forms_stay_as_they_are(source: object, expected: str) -> None:
    assert a_camera(source=source).source == expected


def test_the_environment_fills_in_a_source() -> None:
    camera = a_camera(source="rtsp://${CAM_USER}:${CAM_PASS}@cam/1", environment={"CAM_USER": "me", "CAM_PASS": SECRET})

    assert camera.source == f"rtsp://me:{SECRET}@cam/1"


def test_every_variable_that_is_not_set_is_named() -> None:
    problems = problems_of({"cameras": [{"id": "gate", "source": "rtsp://${A}:${B}@${C}/1"}]}, {"B": SECRET})

    assert problems == [
        "cameras[0].source: environment variable A is not set",
        "cameras[0].source: environment variable C is not set",
    ]


@pytest.mark.parametrize("source", ["rtsp://$CAM/1", "rtsp://${}/1", "rtsp://${1A}/1", "rtsp://p$s@cam/1"])
def test_a_dollar_that_names_no_variable_stays(source: str) -> None:
    assert a_camera(source=source).source == source


def test_the_home_folder_is_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")

    assert a_camera(source="~/a.mp4").source == "/home/me/a.mp4"
    assert built(state="~/state").state == Path("/home/me/state")


def test_the_home_folder_of_nobody_is_refused() -> None:
    (of_source,) = problems_of({"cameras": [{"id": "gate", "source": "~no-such-user/a.mp4"}]})
    (of_state,) = problems_with(state="~no-such-user/x")

    assert of_source == "cameras[0].source: ~no-such-user is nobody's home folder: write the path in full"
    assert of_state.startswith("state: ")


@pytest.mark.parametrize(
    "data",
    [
        {"cameras": [{"id": "gate", "source": f"rtsp://me:{SECRET}@cam/1", "fps": 0}]},
        {"cameras": [{"id": "gate", "source": [f"rtsp://me:{SECRET}@cam/1"]}]},
        {"cameras": [{"id": "gate", "source": f"rtsp://me:{SECRET}@${{NOBODY}}/1"}]},
        {"cameras": [{"id": "gate", "sourse": f"rtsp://me:{SECRET}@cam/1"}]},
        {"cameras": [{"id": f"rtsp://me:{SECRET}@cam/1", "source": "a"}]},
        {"cameras": [{**GATE, f"rtsp://me:{SECRET}@cam/1": "gate"}]},
        {"cameras": [f"rtsp://me:{SECRET}@cam/1"]},
        {"cameras": f"rtsp://me:{SECRET}@cam/1"},
        {"cameras": [{**GATE, "mode": f"rtsp://me:{SECRET}@cam/1"}]},
        {"cameras": [{"id": "gate", "source": "rtsp://me:${PASS}@${NOBODY}/1"}]},
        {"cameras": [GATE], "feed": {"endpoint": f"tcp://me:{SECRET}@0.0.0.0:5570"}},
    ],
)
def test_no_error_shows_the_password_of_a_source(data: object) -> None:
    problems = problems_of(data, {"PASS": SECRET})

    assert problems
    assert SECRET not in "\n".join(problems)


def test_no_text_of_a_configuration_shows_the_password_of_a_source() -> None:
    config = built(cameras=[{"id": "gate", "source": "rtsp://me:${PASS}@cam/1"}], environment={"PASS": SECRET})

    assert SECRET in config.cameras[0].source
    assert SECRET not in repr(config) + str(config) + repr(config.cameras) + f"{config.cameras[0]}"


# Paths, times, endpoints


def test_relative_paths_are_relative_to_the_file() -> None:
    config = built(
        state="../state",
        gallery={"folder": "g"},
        backbone={"weights": "w.pth"},
        worker={"maps": "/maps"},
        scenes={"gate": {"gallery": "special"}},
        sinks=[{"type": "jsonl", "folder": "out"}],
    )

    assert config.state == Path("/state")
    assert (config.gallery_of("gate"), config.gallery_of("yard")) == (Path("/base/special"), Path("/base/g/yard"))
    assert (config.backbone.weights, config.worker.maps) == (Path("/base/w.pth"), Path("/maps"))
    assert config.sinks[0].folder == Path("/base/out")  # type: ignore[union-attr]


def test_everything_that_is_kept_lies_in_the_state_folder() -> None:
    config = built(state="/s")

    assert {config.outbox.parent, config.evidence.parent, config.scores.parent, config.status.parent} == {Path("/s")}


@pytest.mark.parametrize(
    ("written", "unix"),
    [
        ("1970-01-01T00:01:00Z", 60.0),
        ("1970-01-01T02:01:00+02:00", 60.0),
        ("1970-01-01 00:01:00", 60.0),  # without a zone: UTC
    ],
)
def test_the_time_of_a_recording_is_taken_in_utc(file: Path, written: str, unix: float) -> None:
    file.write_text(f"cameras:\n  - {{id: gate, source: a.mp4, recorded_at: {written}}}\n")

    assert load_config(file, {}).cameras[0].recorded_at_unix == unix


def test_a_recording_of_unknown_time_counts_from_1970() -> None:
    assert a_camera().recorded_at_unix == 0.0


@pytest.mark.parametrize("section", ["feed", "link"])
@pytest.mark.parametrize(
    "endpoint", ["tcp://0.0.0.0:5570", "tcp://*:5570", "tcp://[::]:5570", "tcp://10.0.0.1:5570", "tcp://host:1"]
)
def test_an_endpoint_that_others_can_reach_must_be_asked_for(section: str, endpoint: str) -> None:
    (problem,) = problems_with(**{section: {"endpoint": endpoint}})
    allowed = built(**{section: {"endpoint": endpoint, "insecure": True}})

    assert problem.startswith(f"{section}.endpoint: other machines can reach {endpoint}")
    assert f"{section}.insecure: true" in problem
    assert getattr(allowed, section).endpoint == endpoint


@pytest.mark.parametrize(
    "endpoint", ["tcp://127.0.0.1:5570", "tcp://[::1]:5570", "tcp://localhost:5570", "ipc:///tmp/sp/feed"]
)
def test_an_endpoint_of_this_machine_needs_no_permission(endpoint: str) -> None:
    assert built(feed={"endpoint": endpoint}, link={"endpoint": endpoint}).link_endpoint == endpoint


@pytest.mark.parametrize("endpoint", ["5570", "tcp://127.0.0.1", "udp://127.0.0.1:5570", "ipc://relative"])
def test_a_malformed_endpoint_stays_refused_even_where_others_may_connect(endpoint: str) -> None:
    (problem,) = problems_with(feed={"endpoint": endpoint, "insecure": True})

    assert problem.startswith("feed.endpoint: ")


def test_the_link_lives_in_the_state_folder() -> None:
    assert built(state="/s").link_endpoint == "ipc:///s/run/link"


def test_a_deep_state_folder_gets_a_short_socket_that_every_process_finds() -> None:
    deep = built(state="/" + "deep/" * 30)
    other = built(state="/" + "deep/" * 31)

    path = deep.link_endpoint.removeprefix("ipc://")
    assert Path(path).parent.parent == Path(tempfile.gettempdir())  # no folder between that another user could own
    assert len(path) <= 100
    assert path.startswith(tempfile.gettempdir())
    assert built(state="/" + "deep/" * 30).link_endpoint == deep.link_endpoint
    assert other.link_endpoint != deep.link_endpoint


ROOF = {"name": "roof", "kind": "ignore", "polygon": [[0, 0], [1, 0], [1, 0.2], [0, 0.2]]}


def test_zones_are_fractions_of_the_picture() -> None:
    (zone,) = a_camera(zones=[ROOF]).zones

    assert (zone.name, zone.kind) == ("roof", "ignore")
    assert zone.polygon == ((0.0, 0.0), (1.0, 0.0), (1.0, 0.2), (0.0, 0.2))
    assert a_camera().zones == ()
    assert a_camera(zones=[ROOF]).model_dump()["zones"] == [ROOF], "as it may stand in the file"


@pytest.mark.parametrize(
    ("zones", "problem"),
    [
        ([{**ROOF, "kind": "hide"}], "cameras[0].zones: zones[0]: zone 'roof': kind is 'hide'; it can be ignore or"),
        ([ROOF, ROOF], "cameras[0].zones: 2 zones are called 'roof'"),
        ([{**ROOF, "polygon": [[0, 0], [2, 0], [1, 1]]}], "cameras[0].zones: zones[0]: zone 'roof': polygon[1] is"),
        ([{**ROOF, "polygon": [[0, 0], [1, 0], [1, 1], [0, 1]]}], "cameras[0].zones: the zones 'roof' leave nothing"),
        ([{**ROOF, "polygon": [[0, 0], [0.5, 0.5], [1, 1]]}], "cameras[0].zones: zone 'roof' covers nothing"),
        ({"roof": ROOF}, "cameras[0].zones: zones is {"),
    ],
)
def test_zones_that_cannot_be_are_refused(zones: Any, problem: str) -> None:
    (said,) = problems_of({"cameras": [{**GATE, "zones": zones}]})

    assert said.startswith(problem)


def test_a_crop_is_the_middle_of_the_picture_and_a_watch_zone_beside_it_is_refused() -> None:
    assert built(method={"size": 256}).method.part == (0.0, 0.0, 1.0, 1.0)
    assert built(method={"size": 256, "crop": 128}).method.part == (0.25, 0.25, 0.5, 0.5)

    (problem,) = problems_with(cameras=[{**GATE, "zones": [{**ROOF, "kind": "watch"}]}], method={"crop": 128})
    assert "leave nothing of the picture to watch" in problem


def test_operators_settings_lie_in_the_state_folder() -> None:
    assert built(state="/s").operator_settings == Path("/s/operator.json")
