"""The first configuration: no secret is left in it, and what a shell reads back is what was typed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from stream.config import parse_config
from stream.errors import UsageError
from stream.new_config import (
    SYNTHETIC,
    NewCamera,
    config_text,
    new_camera,
    next_commands,
    part_secrets,
    secrets_text,
)

HERE = Path("/site")
PRINTABLE = st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_categories=["Cc", "Cf", "Cs", "Zs"])


def loaded_by_a_shell(text: str, folder: Path) -> dict[str, str]:
    (folder / "x.env").write_text(text)
    done = subprocess.run(
        ["sh", "-c", "set -a; . ./x.env; set +a; env -0"],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": "/root"},
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(line.split("=", 1) for line in done.stdout.split("\0") if "=" in line)


@pytest.mark.parametrize(
    ("typed", "stands_there", "value"),
    [
        ("rtsp://admin:secret@cam/1", "rtsp://admin:${GATE_PASSWORD}@cam/1", "secret"),
        ("rtsp://admin:p@ss/w?rd@cam:554/1", "rtsp://admin:${GATE_PASSWORD}@cam:554/1", "p%40ss%2Fw%3Frd"),
        ("rtsp://admin:p%40ss@cam/1", "rtsp://admin:${GATE_PASSWORD}@cam/1", "p%40ss"),
        ("rtsp://admin:100%@cam/1", "rtsp://admin:${GATE_PASSWORD}@cam/1", "100%25"),
        ("rtsp://admin:~root@cam/1", "rtsp://admin:${GATE_PASSWORD}@cam/1", "%7Eroot"),
        ("rtsp://admin:@cam/1", "rtsp://admin:${GATE_PASSWORD}@cam/1", ""),
    ],
)
def test_a_password_before_the_host_becomes_a_variable(typed: str, stands_there: str, value: str) -> None:
    assert part_secrets(typed, "GATE") == (stands_there, {"GATE_PASSWORD": value})


@pytest.mark.parametrize(
    "typed",
    [
        "http://cam/video?user=admin&pwd=secret",
        "rtsp://cam/user=admin_password=secret_channel=1",
        "rtsp://secret@cam/1",
        "rtsp://admin:x@cam/1?token=secret",
        "rtsp://admin:x@cam/1?whatever=secret",
        "rtsp://cam/live?account=admin&pw=secret",
        "http://cam/c?code=secret",
        "http://cam/c?pin=1234",
        "http://cam/c?channel=1&x=secret",
        "http://cam/c?s3cret",
    ],
)
def test_a_secret_elsewhere_makes_the_whole_address_a_variable(typed: str) -> None:
    assert part_secrets(typed, "GATE") == ("${GATE_URL}", {"GATE_URL": typed})


@pytest.mark.parametrize(
    "typed",
    [
        "rtsp://cam/1",
        "rtsp://cam/c?channel=1&subtype=0",
        "rtsp://cam/1?x=${TOKEN}",
        "0",
        "campus:?seed=7",
        "video.mp4",
        "rtsp://viewer:${CAMERA_PASSWORD}@cam/1",
        "${CAM}",
    ],
)
def test_what_holds_no_secret_stays_as_it_is(typed: str) -> None:
    assert part_secrets(typed, "GATE") == (typed, {})


@given(st.text(PRINTABLE, min_size=1))
def test_no_part_of_a_password_stands_in_the_configuration(password: str) -> None:
    camera = new_camera("gate", f"rtsp://admin:{password}@192.0.2.1/x", here=HERE)
    text = config_text([camera], name="a.yaml", secrets_name="a.env")
    source = yaml.safe_load(text)["cameras"][0]["source"]
    assert source in ("rtsp://admin:${CAMERA_GATE_PASSWORD}@192.0.2.1/x", "${CAMERA_GATE_URL}") or "${" in password
    assert list(camera.secrets.values()) != [""] or "${" in password


@pytest.mark.parametrize(
    "typed",
    ["rtsp://a:$HOME`id`'\"\\;#@cam/1", 'http://cam/v?user=a&pwd=it\'s $(id) \\ "x"', "rtsp://a:~@cam/1"],
)
def test_a_shell_that_loads_the_file_of_secrets_runs_and_changes_nothing(typed: str, tmp_path: Path) -> None:
    camera = new_camera("gate", typed, here=HERE)
    [(name, value)] = camera.secrets.items()
    loaded = loaded_by_a_shell(secrets_text([camera]), tmp_path)
    assert loaded[name] == value.replace("'", "%27").replace("\\", "%5C")


def test_a_secret_is_in_no_repr() -> None:
    assert "s3cret" not in repr(new_camera("gate", "rtsp://admin:s3cret@cam/1", here=HERE))


def test_cameras_whose_names_differ_in_punctuation_have_passwords_of_their_own() -> None:
    first = new_camera("north-gate", "rtsp://a:one@cam/1", here=HERE)
    second = new_camera("north.gate", "rtsp://a:two@cam/2", here=HERE, taken=["north-gate"])
    assert not first.secrets.keys() & second.secrets.keys()


def test_a_new_line_in_an_address_cannot_add_a_variable() -> None:
    with pytest.raises(UsageError, match="cannot be shown") as error:
        new_camera("gate", "rtsp://a:b\nPATH=/tmp@cam/1", here=HERE)
    assert "PATH" not in str(error.value)


@pytest.mark.parametrize("camera_id", ["", "north gate", "-x", "a" * 65, "rtsp://a:secret@cam/1"])
def test_an_id_that_cannot_be_used_is_refused_without_telling_secrets(camera_id: str) -> None:
    with pytest.raises(UsageError, match="is no id") as error:
        new_camera(camera_id, "0", here=HERE)
    assert "secret" not in str(error.value)


def test_an_id_is_used_once() -> None:
    with pytest.raises(UsageError, match="'gate' is used twice"):
        new_camera("gate", "0", here=HERE, taken=["gate"])


@pytest.mark.parametrize(
    ("typed", "stands_there"),
    [
        ("clips/a.mp4", "/site/clips/a.mp4"),
        ("loop:clips/a.mp4", "loop:/site/clips/a.mp4"),
        ("/data/a.mp4", "/data/a.mp4"),
        ("${DATA}/a.mp4", "${DATA}/a.mp4"),
    ],
)
def test_a_path_means_the_same_from_where_the_configuration_lies(typed: str, stands_there: str) -> None:
    assert new_camera("a", typed, here=HERE).source == stands_there


def test_the_configuration_is_right_and_says_what_each_key_is(tmp_path: Path) -> None:
    cameras = [new_camera("gate", "rtsp://a:s3cret@cam/1", fps=2.0, here=HERE), NewCamera("campus", SYNTHETIC)]
    text = config_text(cameras, name="a.yaml", secrets_name="a.env")
    config = parse_config(text, where="a.yaml", base=tmp_path, environment=cameras[0].secrets)
    assert [(camera.id, camera.source, camera.fps) for camera in config.cameras] == [
        ("gate", "rtsp://a:s3cret@cam/1", 2.0),
        ("campus", SYNTHETIC, 5.0),
    ]
    assert "s3cret" not in text
    keys = [line for line in text.splitlines() if line.strip().endswith((":", "")) and ":" in line.split("#")[0]]
    assert sum("#" in line for line in keys) > 10
    assert "set -a; . ./a.env; set +a" in text


def test_what_it_writes_where_nothing_was_asked_are_the_defaults(tmp_path: Path) -> None:
    text = config_text([NewCamera("campus", SYNTHETIC)], name="a.yaml", secrets_name="a.env")
    made = parse_config(text, where="a.yaml", base=tmp_path, environment={})
    least = parse_config("cameras: [{id: a, source: '0'}]", where="b", base=tmp_path, environment={})
    for section in ("gallery", "alerts", "retention", "state"):
        assert getattr(made, section) == getattr(least, section)
    assert "a.env" not in text  # no secrets, no file of them


def test_the_next_commands_load_the_secrets_first_and_enroll_every_camera() -> None:
    cameras = [
        new_camera("gate", "rtsp://a:b@cam/1", here=HERE),
        NewCamera("campus", SYNTHETIC),
        new_camera("film", "a.mp4", here=HERE),
    ]
    assert next_commands(cameras, name="my site.yaml", secrets_name="my site.env") == [
        "set -a; . './my site.env'; set +a",
        "spade-stream check 'my site.yaml'",
        "spade-stream enroll 'my site.yaml' --camera gate --minutes 30",
        "spade-stream enroll 'my site.yaml' --camera campus --source 'campus:?seed=7&walk_seed=1' --seconds 120",
        "spade-stream enroll 'my site.yaml' --camera film",
        "spade-stream run 'my site.yaml'",
    ]


@pytest.mark.parametrize(
    ("source", "minutes"),
    [("0", True), ("campus:?seed=7", True), ("campus:?duration=60", False), ("loop:a.mp4", True), ("a.mp4", False)],
)
def test_what_has_no_end_is_enrolled_for_some_minutes(source: str, minutes: bool) -> None:
    line = next_commands([new_camera("gate", source, here=HERE)], name="a.yaml", secrets_name="a.env")[1]

    assert ("--minutes 30" in line) is minutes
