"""A run's hold on its control: it has what is in force now, also after a new start, and is told nothing twice."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stream import __version__
from stream.cluster.ray_link import ControlLink
from stream.cluster.settings_text import ClusterSettings
from stream.config import Config, build_config
from stream.errors import LinkLost, UsageError

HERE = "ab" * 28  # as Ray names nodes
CONFIG = "cameras: [{id: gate, source: rtsp://gate/1}]\n"


class RayError(Exception):
    pass


class FakeControl:
    """As the actor answers."""

    def __init__(
        self, *, node: str = HERE, state: str = "", version: str = __version__, followed: bool = False
    ) -> None:
        self.told: list[tuple[str, ...]] = []
        self.has = {"token": "", "operator": "", "state": state, "ray_node": node, "drained": False, "problem": ""}
        self.has |= {"version": version, "followed": followed}

    def __getattr__(self, method: str) -> Any:
        return SimpleNamespace(remote=lambda *arguments: self._do(method, *arguments))

    def _do(self, method: str, *arguments: str) -> str:
        if method not in ("health", "follow"):
            self.told.append((method, *arguments))
        if method == "configure":
            self.has["token"] = ClusterSettings.from_text("".join(arguments)).token
        elif method == "set_operator":
            self.has["operator"] = arguments[0]
        elif method == "drain":
            self.has["drained"] = True
        return json.dumps({**self.has, "directory": {"endpoint": "tcp://10.0.0.1:8480", "server": "S" * 40}})


class FakeRay:
    exceptions = SimpleNamespace(RayError=RayError, GetTimeoutError=TimeoutError, RayTaskError=KeyError)

    def __init__(self, control: FakeControl) -> None:
        self.control: FakeControl | None = control
        self.silent = False
        self.killed: list[str] = []
        self.util = SimpleNamespace(list_named_actors=lambda: ["control:spade-stream", "worker:spade-stream:0:0"])

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(get_node_id=lambda: HERE)

    def get_actor(self, name: str, namespace: str) -> FakeControl:
        if self.control is None:
            raise ValueError(f"no actor {name}")
        return self.control

    def kill(self, actor: FakeControl, no_restart: bool) -> None:
        self.killed.append(str(actor.has["version"]))
        self.control = None

    def remote(self, kind: type) -> Any:
        def start(*_: object) -> FakeControl:
            self.control = FakeControl()
            return self.control

        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=start))

    def wait(self, references: list[str], timeout: float) -> tuple[list[str], list[str]]:
        return ([], references) if self.silent else (references, [])

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
        (FakeControl(node="there", followed=True), "is run on another machine: stop that run"),
        (FakeControl(state="/srv/other", followed=True), "is run with state /srv/other: stop that run"),
        (FakeControl(state="/srv/other"), "'spade-stream cluster stop --name spade-stream' ends it"),
    ],
)
def test_a_cluster_that_another_run_has_is_left_alone(
    control: FakeControl, words: str, config: Config, tmp_path: Path
) -> None:
    link, _ = link_to(control, config, tmp_path)

    with pytest.raises(UsageError, match=words):
        link.begin(CONFIG)
    assert control.told == []


def test_a_cluster_of_another_version_is_ended_and_started_anew(config: Config, tmp_path: Path) -> None:
    old = FakeControl(version="0.1.0", state=str(config.state))
    link, ray = link_to(old, config, tmp_path)
    pytest.importorskip("ray", reason="needs Ray, which comes with the extra cluster")

    link.begin(CONFIG)

    assert "0.1.0" in ray.killed
    assert old.told == []
    assert ray.control is not None
    assert methods(ray.control) == ["configure"]


def test_a_cluster_of_another_version_that_another_run_has_is_left_alone(config: Config, tmp_path: Path) -> None:
    link, ray = link_to(FakeControl(version="0.1.0", state="/srv/other", followed=True), config, tmp_path)

    with pytest.raises(UsageError, match="stop that run"):
        link.begin(CONFIG)
    assert ray.killed == []


def test_a_run_that_is_told_to_stop_does_not_wait_for_its_control(config: Config, tmp_path: Path) -> None:
    link, ray = link_to(FakeControl(), config, tmp_path)
    ray.silent = True

    with pytest.raises(LinkLost, match="stopped"):
        link.begin(CONFIG, stopping=lambda: True)


def test_a_long_configuration_travels_in_parts_that_no_object_store_sees(config: Config, tmp_path: Path) -> None:
    control, text = FakeControl(), CONFIG + "# " + "x" * 200_000 + "\n"
    link, _ = link_to(control, config, tmp_path)

    link.begin(text)

    (told,) = control.told
    assert max(map(len, told[1:])) < 100 * 1024  # above that Ray stores an argument
    assert ClusterSettings.from_text("".join(told[1:])).config == text


def test_an_earlier_run_s_cluster_that_cannot_take_the_configuration_is_told_with_the_remedy(
    config: Config, tmp_path: Path
) -> None:
    control = FakeControl(state=str(config.state))
    link, ray = link_to(control, config, tmp_path)
    ray.exceptions = SimpleNamespace(**vars(ray.exceptions))
    healthy, ray.get = ray.get, lambda answer, timeout: _refuses() if control.told else healthy(answer, timeout)  # type: ignore[method-assign]

    with pytest.raises(LinkLost, match="'spade-stream cluster stop --name spade-stream' ends what an earlier run"):
        link.begin(CONFIG)
    assert ray.killed == []


def test_a_control_that_was_started_in_vain_is_taken_away_again(config: Config, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="needs Ray, which comes with the extra cluster")
    link, ray = link_to(FakeControl(), config, tmp_path)
    ray.control = None
    calls: list[str] = []
    healthy = ray.get

    def get(answer: str, timeout: float) -> str:
        calls.append(answer)
        return _refuses() if len(calls) == 2 else healthy(answer, timeout)

    ray.get = get  # type: ignore[method-assign]

    with pytest.raises(LinkLost):
        link.begin(CONFIG)
    assert ray.killed == [__version__]


def test_what_the_control_does_not_end_is_ended_from_here(config: Config, tmp_path: Path) -> None:
    link, ray = link_to(FakeControl(), config, tmp_path)
    link.begin(CONFIG)
    ray.get = _dies  # type: ignore[method-assign]

    assert link.end()
    assert ray.killed


def test_a_cluster_that_cannot_be_ended_is_an_error(config: Config, tmp_path: Path) -> None:
    link, ray = link_to(FakeControl(), config, tmp_path)
    link.begin(CONFIG)
    ray.util = SimpleNamespace(list_named_actors=_dies)

    assert not link.end()


def _dies(*_: object, **__: object) -> str:
    raise RayError("the head is away")


def _refuses() -> str:
    raise RayError("no")
