"""A run's hold on its control: it has what is in force now, also after a new start, and is told nothing twice."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stream.cluster.ray_link import ControlLink
from stream.cluster.settings_text import ClusterSettings
from stream.config import Config, build_config
from stream.errors import UsageError

CONFIG = "cameras: [{id: gate, source: rtsp://gate/1}]\n"


class RayError(Exception):
    pass


class FakeControl:
    """As the actor answers."""

    def __init__(self, *, node: str = "here", state: str = "") -> None:
        self.told: list[tuple[str, ...]] = []
        self.has = {"token": "", "operator": "", "state": state, "ray_node": node, "drained": False, "problem": ""}

    def __getattr__(self, method: str) -> Any:
        return SimpleNamespace(remote=lambda *arguments: self._do(method, *arguments))

    def _do(self, method: str, *arguments: str) -> str:
        if method != "health":
            self.told.append((method, *arguments))
        if method == "configure":
            self.has["token"] = ClusterSettings.from_text(arguments[0]).token
        elif method == "set_operator":
            self.has["operator"] = arguments[0]
        elif method == "drain":
            self.has["drained"] = True
        return json.dumps({**self.has, "directory": {"endpoint": "tcp://10.0.0.1:8480", "server": "S" * 40}})


class FakeRay:
    exceptions = SimpleNamespace(RayError=RayError, GetTimeoutError=TimeoutError, RayTaskError=KeyError)

    def __init__(self, control: FakeControl) -> None:
        self.control = control

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(get_node_id=lambda: "here")

    def get_actor(self, name: str, namespace: str) -> FakeControl:
        assert name == "control:spade-stream"
        return self.control

    def get(self, answer: str, timeout: float) -> str:
        return answer


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "state" / "run").mkdir(parents=True)
    (tmp_path / "state" / "run" / "config.yaml").write_text(CONFIG)
    data = {"cameras": [{"id": "gate", "source": "rtsp://gate/1"}]}
    return build_config(data, where="campus.yaml", base=tmp_path, environment={})


def link_to(control: FakeControl, config: Config, tmp_path: Path) -> tuple[ControlLink, FakeRay]:
    ray = FakeRay(control)
    return ControlLink(ray, config, tmp_path / "campus.yaml", log_level="info", log_format=None), ray


def methods(control: FakeControl) -> list[str]:
    return [told[0] for told in control.told]


def test_a_control_is_told_the_configuration_when_the_run_begins(config: Config, tmp_path: Path) -> None:
    control = FakeControl()
    link, _ = link_to(control, config, tmp_path)

    link.begin(CONFIG)

    (told,) = control.told
    assert ClusterSettings.from_text(told[1]).config == CONFIG
    assert link.directory == ("tcp://10.0.0.1:8480", "S" * 40)


def test_what_the_control_has_is_not_told_again(config: Config, tmp_path: Path) -> None:
    control = FakeControl()
    link, _ = link_to(control, config, tmp_path)
    link.begin(CONFIG)

    link.look()
    link.look()

    assert methods(control) == ["configure", "set_operator"]


def test_a_new_configuration_in_force_is_told(config: Config, tmp_path: Path) -> None:
    control = FakeControl()
    link, _ = link_to(control, config, tmp_path)
    link.begin(CONFIG)
    link.look()

    (config.state / "run" / "config.yaml").write_text(CONFIG + "log: {format: json}\n")
    link.look()

    assert methods(control) == ["configure", "set_operator", "configure"]


def test_what_operators_set_is_told(config: Config, tmp_path: Path) -> None:
    control = FakeControl()
    link, _ = link_to(control, config, tmp_path)
    link.begin(CONFIG)
    link.look()

    config.operator_settings.write_text('{"revision": 1}')
    link.look()

    assert control.told[-1][0] == "set_operator"
    assert control.told[-1][2] == '{"revision": 1}'


def test_a_control_that_was_started_anew_is_told_everything_again(config: Config, tmp_path: Path) -> None:
    link, ray = link_to(FakeControl(), config, tmp_path)
    link.begin(CONFIG)
    link.look()

    ray.control = FakeControl()
    link.look()

    assert methods(ray.control) == ["configure", "set_operator"]


def test_another_run_tells_everything_again(config: Config, tmp_path: Path) -> None:
    control = FakeControl()
    for _ in range(2):  # the environment of a new run may hold other passwords
        link, _ = link_to(control, config, tmp_path)
        link.begin(CONFIG)

    assert methods(control) == ["configure", "configure"]


def test_a_drain_is_told_and_seen_to_be_over(config: Config, tmp_path: Path) -> None:
    control = FakeControl()
    link, _ = link_to(control, config, tmp_path)
    link.begin(CONFIG)

    before = link.drained
    link.drain()
    link.look()

    assert (before, link.drained) == (False, True)
    assert methods(control)[-1] == "drain"


@pytest.mark.parametrize(
    ("control", "words"),
    [
        (FakeControl(node="there"), "is run on another machine"),
        (FakeControl(state="/srv/other"), "is run with state /srv/other"),
    ],
)
def test_a_cluster_that_another_run_has_is_left_alone(
    control: FakeControl, words: str, config: Config, tmp_path: Path
) -> None:
    link, _ = link_to(control, config, tmp_path)

    with pytest.raises(UsageError, match=words):
        link.begin(CONFIG)
    assert control.told == []
