"""The example configurations: each is accepted as it is, and what they show as defaults are the defaults."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from stream import commands
from stream.config import Config, load_config
from stream.endless import is_endless
from stream.programs import mode_of

FOLDER = Path(__file__).parents[1] / "configs"
FILES = sorted(FOLDER.glob("*.yaml"))
CAMPUS = FOLDER / "campus.yaml"


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """What the examples take from the environment."""
    (tmp_path / "test" / "01").mkdir(parents=True)
    values = {"CAMERA_PASSWORD": "s3cret%40", "RECORDINGS": str(tmp_path)}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return values


def test_the_examples_are_those_that_the_documents_name() -> None:
    assert [file.name for file in FILES] == ["campus.yaml", "minimal.yaml", "replay-folder.yaml", "synthetic.yaml"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_check_accepts_the_example(
    file: Path, environment: Mapping[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert commands.check(argparse.Namespace(config=file), lambda: False) == 0
    said = capsys.readouterr().out
    assert "the configuration is right" in said
    assert environment["CAMERA_PASSWORD"] not in said


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_example_says_which_variables_it_needs(file: Path, environment: Mapping[str, str]) -> None:
    needed = set(re.findall(r"\$\{(\w+)\}", "\n".join(_without_comments(file))))
    load_config(file, {name: environment[name] for name in needed})


def test_the_minimal_example_is_one_camera_in_two_lines(environment: Mapping[str, str]) -> None:
    lines = [line for line in _without_comments(FOLDER / "minimal.yaml") if line.strip()]
    assert [line.split(":")[0].strip(" -") for line in lines] == ["cameras", "id", "source"]


def test_synthetic_cameras_never_end_and_recordings_do(environment: Mapping[str, str]) -> None:
    assert all(is_endless(camera) for camera in load_config(FOLDER / "synthetic.yaml", environment).cameras)
    assert [mode_of(c) for c in load_config(FOLDER / "replay-folder.yaml", environment).cameras] == ["replay"]


def test_the_examples_can_run_beside_each_other(environment: Mapping[str, str]) -> None:
    own = [load_config(FOLDER / name, environment) for name in ("campus.yaml", "synthetic.yaml", "replay-folder.yaml")]
    for value in ("state", "link_endpoint"):
        assert len({getattr(config, value) for config in own}) == len(own)
    assert len({config.feed.endpoint for config in own}) == len(own)


def test_the_campus_example_names_every_key() -> None:
    text = CAMPUS.read_text(encoding="utf-8")
    shown = set(re.findall(r"^[ #-]*(\w+):", text, re.MULTILINE))
    assert {path for path in _keys(Config) if path.rpartition(".")[2] not in shown} == set()


def test_the_values_that_the_campus_example_shows_are_the_defaults() -> None:
    shown = yaml.safe_load(CAMPUS.read_text(encoding="utf-8"))
    first = {key: value for key, value in shown["cameras"][0].items() if key not in ("id", "source")}
    camera = Config.model_validate({"cameras": [{"id": "a", "source": "b"}]}).cameras[0].model_dump()
    assert first == {key: camera[key] for key in first}
    defaults = Config.model_construct(cameras=[]).model_dump(mode="json")
    sections = {key: value for key, value in shown.items() if key not in ("cameras", "scenes", "sinks")}
    assert sections == {key: defaults[key] for key in sections}
    assert set(shown) == set(defaults) | {"cameras"}


def _keys(model: type[BaseModel]) -> Iterator[str]:
    """``section.key`` of everything that may stand in the file."""
    schema = model.model_json_schema()
    for name in schema["properties"]:
        yield name
    sections: dict[str, Any] = schema["$defs"]
    for name, section in sections.items():
        yield from (f"{name}.{key}" for key in section["properties"])


def _without_comments(file: Path) -> list[str]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return [line.split(" #")[0] for line in lines if not line.lstrip().startswith("#")]
