"""The shells that Ray runs, without Ray: what they take, what they refuse, and what of it anybody can see."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cluster_fakes import key_of

from stream import __version__
from stream.cluster import ray_actors, ray_control
from stream.cluster.fleet import CONFIGURE, REPORT
from stream.cluster.ray_actors import WAITS, ControlActor, ReaderActor, WorkerActor
from stream.cluster.ray_connect import pieces
from stream.cluster.ray_control import ControlDuty
from stream.cluster.settings_text import ClusterSettings
from stream.config import build_config
from stream.errors import ConfigError, UsageError
from stream.key_making import let_in_only
from stream.keys import Role

SETTINGS = ClusterSettings(
    config="cameras: [{id: gate, source: 'rtsp://u:${CAM_PASSWORD}@gate/1'}]",
    base="/srv/campus",
    named="campus.yaml",
    environment={"CAM_PASSWORD": "hush"},
)
OLDER = replace(SETTINGS, version="0.1.0")


@pytest.mark.parametrize("actor", [WorkerActor(0, 0), ReaderActor()])
def test_a_station_without_configuration_says_what_it_waits_for(actor: WorkerActor | ReaderActor) -> None:
    assert json.loads(actor.ask(REPORT))["reason"] == WAITS


@pytest.mark.parametrize("actor", [WorkerActor(0, 0), ReaderActor()])
def test_a_station_does_not_begin_with_the_configuration_of_another_version(actor: WorkerActor | ReaderActor) -> None:
    with pytest.raises(UsageError, match=r"and the run 0\.1\.0: install the same") as refused:
        actor.ask(CONFIGURE, *pieces(OLDER.to_text()))
    assert "hush" not in str(refused.value)


def test_a_control_does_not_begin_with_the_configuration_of_another_version() -> None:
    with pytest.raises(UsageError, match=r"and the run 0\.1\.0"):
        ControlActor("campus", "ab").configure(*pieces(OLDER.to_text()))


def test_a_station_takes_its_configuration_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    began: list[str] = []

    def begin(setting: Any, **_: int) -> Any:
        began.append(setting.text)
        raise RuntimeError("enough")

    monkeypatch.setattr(ray_actors, "WorkerStation", begin)
    monkeypatch.setattr(ray_actors, "_address", lambda: "10.0.0.2")
    monkeypatch.setattr(ray_actors, "_log_as", lambda settings: None)
    long = replace(SETTINGS, config=SETTINGS.config + "\n# " + "x" * 300_000)
    parts = pieces(long.to_text())

    with pytest.raises(RuntimeError, match="enough"):
        WorkerActor(0, 0).ask(CONFIGURE, *parts)
    assert began == [long.config]
    assert len(parts) > 3


def test_an_error_with_several_problems_reaches_the_run_whole() -> None:
    error = ConfigError("campus.yaml", ["state: is a and would be b", "fps: must be above 0"])

    arrived = pickle.loads(pickle.dumps(error))  # as Ray sends what an actor raises

    assert str(arrived) == str(error)
    assert arrived.problems == error.problems


def test_a_control_tells_its_version_and_whether_a_run_follows_it() -> None:
    actor = ControlActor("campus", "ab")

    before, after = json.loads(actor.health()), json.loads(actor.follow())

    assert before["version"] == __version__
    assert (before["followed"], after["followed"]) == (False, True)


class FakeControl:
    def document(self) -> dict[str, Any]:
        return {"problems": ["overload"]}

    def step(self) -> None:
        raise ValueError("a bug")


def test_rounds_that_fail_are_a_problem_of_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    duty = ControlDuty("campus", "ab", worker=object, readers=object)
    monkeypatch.setattr(duty, "_control", FakeControl())
    monkeypatch.setattr(duty._closing, "wait", lambda seconds: duty._closing.set())

    duty._go_round()

    assert json.loads(duty.document())["problems"] == ["a round of the control failed: a bug", "overload"]


def test_rounds_that_do_not_end_are_a_problem_of_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    duty = ControlDuty("campus", "ab", worker=object, readers=object)
    monkeypatch.setattr(duty, "_control", FakeControl())
    monkeypatch.setattr(ray_control, "STANDS_STILL", -1.0)

    (first, _) = json.loads(duty.document())["problems"]

    assert "has not gone round for 0 s: nothing is moved" in first


def test_a_run_that_ends_leaves_no_machine_let_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"state": str(tmp_path), "cameras": [{"id": "gate", "source": "synthetic://1"}]}
    config = build_config(settings, where="test", base=tmp_path, environment={})
    (tmp_path / "keys").mkdir(mode=0o700)
    let_in_only(tmp_path / "keys", Role.LOCAL, {key_of("a"): ["a"]})
    duty = ControlDuty("campus", "ab", worker=object, readers=object)
    monkeypatch.setattr(duty, "_config", config)
    monkeypatch.setattr(ray_control, "_ray", lambda: None)
    monkeypatch.setattr(ray_control, "kill_all", lambda ray, cluster, but: [])
    assert [path.name for path in (tmp_path / "keys" / "nodes").iterdir()] == ["a.pub"]

    duty.close()

    assert list((tmp_path / "keys" / "nodes").iterdir()) == []
