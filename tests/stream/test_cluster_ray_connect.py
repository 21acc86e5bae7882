"""Meeting a Ray cluster: what is wrong is said in our words, at once. Ray is loaded by nobody who does not need it."""

from __future__ import annotations

import importlib
import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from stream.cluster import ray_connect
from stream.cluster.ray_connect import (
    ask,
    belongs,
    connect,
    control_name,
    control_of,
    directory_of,
    is_directory,
    pieces,
    ray_module,
    readers_name,
    whole,
    worker_name,
)
from stream.errors import ConfigError, KeyFileError, LinkLost, UsageError
from stream.key_making import make_folder
from stream.keys import load_local

NODE = "0123456789abcdef" * 3


class RayError(Exception):
    pass


class GetTimeoutError(RayError):
    pass


class RayTaskError(RayError):
    def __init__(self, cause: Exception) -> None:
        super().__init__("a long story")
        self.cause = cause


class FakeRay:
    """Answers as one actor would."""

    def __init__(self, answer: object, *, node: str = "here", actors: tuple[str, ...] = ()) -> None:
        self._answer = answer
        self.exceptions = SimpleNamespace(RayError=RayError, GetTimeoutError=GetTimeoutError, RayTaskError=RayTaskError)
        self.util = SimpleNamespace(
            list_named_actors=lambda all_namespaces: [{"name": name, "namespace": "spade-stream"} for name in actors]
        )
        self._node = node

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(get_node_id=lambda: self._node)

    def get_actor(self, name: str, namespace: str) -> Any:
        if self._answer is None:
            raise ValueError(f"no actor {name}")
        return SimpleNamespace(health=SimpleNamespace(remote=lambda: None))

    def wait(self, references: list[object], timeout: float) -> tuple[list[object], list[object]]:
        late = isinstance(self._answer, GetTimeoutError)
        return ([], references) if late else (references, [])

    def get(self, reference: object, timeout: float) -> object:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    def shutdown(self) -> None:
        pass


@pytest.mark.parametrize(
    ("address", "directory"), [("tcp://10.0.0.1:8480", True), ("auto", False), ("10.0.0.1:6379", False)]
)
def test_an_address_with_a_scheme_is_a_directorys(address: str, directory: bool) -> None:
    assert is_directory(address) is directory


def test_actors_are_named_after_the_cluster_and_the_node() -> None:
    assert control_name("campus") == "control:campus"
    assert worker_name("campus", NODE, 1) == "worker:campus:0123456789ab:1"
    assert readers_name("campus", NODE) == "readers:campus:0123456789ab"


def test_actors_of_another_cluster_are_not_ours() -> None:
    ours = (control_name("a"), worker_name("a", NODE, 0), readers_name("a", NODE))

    assert all(belongs(name, "a") for name in ours)
    assert not any(belongs(name, "ab") or belongs(name, "") for name in ours)


def test_without_ray_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> ModuleType:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)

    with pytest.raises(UsageError, match=r"pip install 'spade-stream\[cluster\]'"):
        ray_module()


@pytest.mark.parametrize(
    "address", ["", "nonsense:", ":6379", "host:name", "local", "localhost", "ray://host:10001", "http://host:1"]
)
def test_what_is_no_address_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_connect, "ray_module", lambda: FakeRay(None))

    with pytest.raises(UsageError, match="must be auto, HOST:PORT"):
        connect(address)


def test_a_directorys_address_is_refused_where_ray_is_needed() -> None:
    with pytest.raises(UsageError, match="is a directory's address"):
        connect("tcp://10.0.0.1:8480")


def test_an_address_where_nothing_answers_is_refused_before_ray_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_connect, "ray_module", lambda: FakeRay(None))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and nobody listens
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        with pytest.raises(LinkLost, match="nothing answers there"):  # Ray may be starting, after a reboot
            connect(address)


MISMATCH = """Version mismatch: The cluster was started with:
    Ray: 2.60.0
    Python: 3.11.2
This process on 10.0.0.2:0 was started with:
    Ray: 2.44.0
    Python: 3.11.2
"""


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        (RuntimeError(MISMATCH), UsageError, r"Ray: 2.60.0 .* was started with: Ray: 2.44.0 .*Install the same"),
        (RayError("the token is wrong"), LinkLost, "the token is wrong. Is Ray running here"),
        (ConnectionError("Could not find any running Ray instance."), LinkLost, "Is Ray running here"),
    ],
)
def test_what_ray_says_when_it_cannot_be_met_is_one_line(
    said: Exception, kind: type[Exception], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(**_: object) -> None:
        raise said

    monkeypatch.setattr(ray_connect, "ray_module", lambda: SimpleNamespace(init=refuses))

    with pytest.raises(kind, match=words) as refused:
        connect("auto")
    assert "\n" not in str(refused.value)


def test_a_long_text_is_the_same_after_its_way_in_parts() -> None:
    text = "".join(map(str, range(30_000)))

    assert whole(pieces(text)) == text
    assert pieces("") == ("",)


def test_a_cluster_that_does_not_run_is_told_with_those_that_do() -> None:
    ray = FakeRay(None, actors=("control:north", "worker:north:0:0"))

    with pytest.raises(LinkLost, match=r"no cluster named 'south'.*there are: north"):
        control_of(ray, "south")


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (GetTimeoutError(), "has not answered for 0.1 s"),
        (RayTaskError(ValueError("no such outbox\nat line 3")), "the control: no such outbox$"),
        (RayTaskError(ConfigError("reload", ["state: is a", "fps: is b"])), "2 problems - state: is a - fps: is b$"),
        (RayError("insides"), r"does not answer \(RayError\)"),
    ],
)
def test_a_control_that_fails_is_told_in_one_line(failure: Exception, words: str) -> None:
    actor = SimpleNamespace(health=SimpleNamespace(remote=lambda: None))

    with pytest.raises(LinkLost, match=words):
        ask(FakeRay(failure), actor, "health", wait=0.1)


def health(keys: Path, node: str = "here", endpoint: str = "tcp://10.0.0.1:8480") -> str:
    return json.dumps({"ray_node": node, "keys": str(keys), "directory": {"endpoint": endpoint, "server": "S" * 40}})


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def answers(text: str) -> None:
        monkeypatch.setattr(ray_connect, "connect", lambda address: FakeRay(text))

    return answers


def test_a_directory_is_found_with_this_machines_own_key(tmp_path: Path, reached: Callable[[str], None]) -> None:
    keys = tmp_path / "keys"
    make_folder(keys)
    reached(health(keys))

    assert directory_of("auto", "campus") == ("tcp://10.0.0.1:8480", "S" * 40, load_local(keys))


def test_on_another_machine_a_key_is_asked_for(tmp_path: Path, reached: Callable[[str], None]) -> None:
    reached(health(tmp_path, node="there"))

    with pytest.raises(KeyFileError, match="--key FILE"):
        directory_of("auto", "campus")


def test_a_control_without_configuration_has_no_directory(tmp_path: Path, reached: Callable[[str], None]) -> None:
    reached(health(tmp_path, endpoint=""))

    with pytest.raises(LinkLost, match="waits for its configuration"):
        directory_of("auto", "campus")


def test_the_command_line_loads_no_ray() -> None:
    code = "import sys, stream.cli; sys.exit('ray' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
