"""``run --cluster`` on the machine where it is started: what runs there, what it refuses, how it ends."""

from __future__ import annotations

import re
import time
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import pytest

from stream.cluster.ray_control import access_of, check_stays
from stream.cluster.ray_link import END_WAIT, LOOK_WAIT
from stream.cluster.run_command import COLLECT, DRAIN_WAIT, END_WITHIN, Draining, children, end_surely, runnable
from stream.cluster.run_keys import keys_of
from stream.config import Config, build_config
from stream.errors import ConfigError
from stream.key_making import issue, make_folder
from stream.keys import Role, load_folder
from stream.stopping import StopSignal
from stream.supervisor import DRAIN_BY


def config_of(folder: Path, **sections: Any) -> Config:
    data = {
        "cameras": [{"id": "gate", "source": "rtsp://camera/1"}],
        "sinks": [{"type": "jsonl", "name": "log", "folder": "alerts"}],
        "console": {"enabled": False},
        **sections,
    }
    return build_config(data, where="campus.yaml", base=folder, environment={})


def test_only_what_there_is_once_runs_here(tmp_path: Path) -> None:
    config = config_of(tmp_path)

    specs = children(
        config, tmp_path / "c.yaml", base=tmp_path, named=tmp_path / "campus.yaml", log_level="info", log_format=None
    )

    assert [spec.name for spec in specs] == ["feed", "sink log", COLLECT]
    assert not any(spec.ends for spec in specs)


def test_keys_are_made_in_the_state_folder_where_the_configuration_names_none(tmp_path: Path) -> None:
    assert keys_of(config_of(tmp_path)) == tmp_path / "state" / "keys"
    assert keys_of(config_of(tmp_path, security={"keys": "mine"})) == tmp_path / "mine"


def test_cameras_and_galleries_need_not_be_here(tmp_path: Path) -> None:
    config = config_of(tmp_path, cameras=[{"id": "gate", "source": "/only/on/a/node.mp4"}])

    assert runnable(config, tmp_path / "campus.yaml") is config


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"security": {"key": "gate.key"}}, "security.key: is of another machine"),
        ({"link": {"insecure": True}}, "everything is encrypted"),
        ({"feed": {"insecure": True}}, "everything is encrypted"),
    ],
)
def test_a_cluster_without_keys_of_its_own_is_refused(sections: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        runnable(config_of(tmp_path, **sections), tmp_path / "campus.yaml")


def test_what_every_node_would_have_to_find_anew_stays_while_it_runs(tmp_path: Path) -> None:
    old = config_of(tmp_path, cluster={"name": "north"})

    check_stays(old, config_of(tmp_path, cluster={"name": "north", "moves": 7}))
    with pytest.raises(ConfigError, match=r"cluster.directory: is tcp://\*:8480 and would be tcp://\*:9000"):
        check_stays(old, config_of(tmp_path, cluster={"name": "north", "directory": "tcp://*:9000"}))


@pytest.mark.parametrize(("name", "value"), [("worker_cpus", 2), ("gpus", False)])
def test_what_workers_were_started_with_stays_while_it_runs(name: str, value: object, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"cluster\.{name}: is \w+ and would be {value}: workers keep the cores"):
        check_stays(config_of(tmp_path), config_of(tmp_path, cluster={name: value}))


def test_issued_keys_and_this_machine_are_let_in_by_all_machines(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    make_folder(keys)
    issue(keys, Role.READER, ["gate"])
    issue(keys, Role.SUBSCRIBER, ["desk"])

    access = access_of(keys)

    assert access.nodes == {"run": load_folder(keys).local.public}
    assert list(access.readers.values()) == [("gate",)]
    assert list(access.subscribers.values()) == [("desk",)]


class FakeLink:
    def __init__(self) -> None:
        self.asked, self.drained = 0, False

    def drain(self) -> None:
        self.asked += 1


def test_this_machine_waits_for_the_nodes_to_drain() -> None:
    stop, link = StopSignal(), FakeLink()
    draining = Draining(stop, link, wait=1000.0)

    assert not draining()
    stop.ask()
    assert not draining()
    assert not draining()
    assert link.asked == 1
    link.drained = True
    assert draining()


def test_nodes_that_do_not_drain_do_not_hold_up_the_end() -> None:
    stop, link = StopSignal(), FakeLink()
    stop.ask()
    draining = Draining(stop, link, wait=0.0)

    draining()
    time.sleep(0.01)

    assert draining()


def test_a_run_that_hangs_after_it_was_told_to_stop_is_ended() -> None:
    stop, left = StopSignal(), Queue[int]()

    end_surely(stop, within=0.1, leave=left.put)
    stop.ask()

    assert left.get(timeout=20) == 1


def test_a_run_that_is_not_told_to_stop_goes_on() -> None:
    left = Queue[int]()

    end_surely(StopSignal(), within=0.0, leave=left.put)

    with pytest.raises(Empty):
        left.get(timeout=0.6)


def test_the_service_waits_longer_for_a_run_than_any_run_takes() -> None:
    unit = (Path(__file__).parents[2] / "deploy" / "ray" / "spade-stream-cluster.conf").read_text(encoding="utf-8")
    (patience,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)

    assert int(patience) > END_WITHIN
    assert DRAIN_WAIT + max(DRAIN_BY.values()) + END_WAIT + LOOK_WAIT < END_WITHIN
