"""What a node's processes read: the user's configuration with this node's places in it, and no secret."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from stream.cluster.node_config import endpoint, feed_config, free_port, is_free, reader_config, worker_config
from stream.config import Config, parse_config
from stream.endpoints import parse_endpoint
from stream.errors import ConfigError, UsageError

USERS = """
state: /srv/state
cameras:
  - {id: gate, source: "rtsp://ops:${CAM_PASSWORD}@10.0.0.9/1", network: lab}
link: {endpoint: "tcp://0.0.0.0:5571", insecure: true}
feed: {endpoint: "tcp://0.0.0.0:5570", insecure: true}
console: {enabled: true}
sinks: [{type: jsonl, name: archive, path: /srv/alerts.jsonl}]
method: {size: 128}
"""


def for_a_worker(text: str = USERS, **changes: Any) -> str:
    values: dict[str, Any] = {
        "named": "site.yaml",
        "state": Path("/node/worker-0"),
        "keys": Path("/node/keys"),
        "link": "tcp://10.1.0.7:20001",
        "feed": "tcp://10.1.0.7:20002",
        "threads": 4,
        "device": "cpu",
    }
    return worker_config(text, **(values | changes))


def read(text: str) -> Config:
    return parse_config(text, where="derived", base=Path("/base"), environment={"CAM_PASSWORD": "hunter2"})


def test_a_worker_has_its_own_places_and_the_users_cameras_and_method() -> None:
    config = read(for_a_worker())

    assert config.state == Path("/node/worker-0")
    assert (config.link_endpoint, config.feed.endpoint) == ("tcp://10.1.0.7:20001", "tcp://10.1.0.7:20002")
    assert (config.link.insecure, config.feed.insecure) == (False, False)
    assert config.security.keys == Path("/node/keys")
    assert config.method.size == 128
    assert config.cameras[0].source == "rtsp://ops:hunter2@10.0.0.9/1"


def test_sinks_console_and_slow_change_are_the_business_of_the_machine_that_runs_it() -> None:
    config = read(for_a_worker())

    assert (config.sinks, config.console.enabled, config.drift.mode) == ([], False, "off")


def test_no_secret_is_written() -> None:
    text = for_a_worker()

    assert "${CAM_PASSWORD}" in text
    assert "hunter2" not in text


def test_a_key_for_one_machine_gives_way_to_the_nodes_own_keys() -> None:
    config = read(for_a_worker("cameras: [{id: gate, source: '0'}]\nsecurity: {key: /srv/gate.key}\n"))

    assert (config.security.key, config.security.keys) == (None, Path("/node/keys"))


@pytest.mark.parametrize(
    ("users", "given", "expected"), [("{}", 4, 4), ("{threads: 2}", 4, 2), ("{}", None, None), ("null", 4, 4)]
)
def test_a_worker_takes_as_many_cores_as_it_has_unless_the_user_says_how_many(
    users: str, given: int | None, expected: int | None
) -> None:
    config = read(for_a_worker(f"{USERS}\nworker: {users}\n", threads=given))

    assert config.worker.threads == expected


@pytest.mark.parametrize(("users", "expected"), [("{}", "cpu"), ("{device: auto}", "cpu"), ("{device: cuda}", "cuda")])
def test_a_worker_without_a_gpu_computes_on_its_cores_unless_the_user_says_what(users: str, expected: str) -> None:
    assert read(for_a_worker(f"{USERS}\nbackbone: {users}\n")).backbone.device == expected


def test_readers_have_keys_and_no_link_of_their_own() -> None:
    text = reader_config(USERS, named="site.yaml", state=Path("/node/readers"), keys=Path("/node/keys"))
    config = read(text)

    assert (config.link.endpoint, config.security.keys) == (None, Path("/node/keys"))
    assert config.state == Path("/node/readers")


def test_the_feed_of_another_outbox_differs_in_where_it_lies_and_where_it_is_served(tmp_path: Path) -> None:
    own = tmp_path / "config.yaml"
    own.write_text(for_a_worker())

    config = read(feed_config(own, state=Path("/node/worker-3"), feed="tcp://10.1.0.7:20009"))

    assert (config.state, config.feed.endpoint) == (Path("/node/worker-3"), "tcp://10.1.0.7:20009")
    assert config.security.keys == Path("/node/keys")


@pytest.mark.parametrize("text", ["[]", "a: [", "3"])
def test_a_text_that_is_no_configuration_is_refused_by_name(text: str) -> None:
    with pytest.raises(ConfigError, match=r"site\.yaml"):
        for_a_worker(text)


def test_a_port_is_one_of_those_that_are_named_and_that_nobody_has() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        assert not is_free("127.0.0.1", port)
        with pytest.raises(UsageError, match=rf"no free port from {port} to {port} .*cluster\.ports"):
            free_port("127.0.0.1", (port, port))
    assert free_port("127.0.0.1", (port, port)) == port


def test_ports_that_are_given_out_already_are_not_given_again() -> None:
    first = free_port("127.0.0.1", None)

    with pytest.raises(UsageError):
        free_port("127.0.0.1", (first, first), taken={first})


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(UsageError, match=r"on 192\.0\.2\.1"):
        free_port("192.0.2.1", (20000, 20001))


@pytest.mark.parametrize("address", ["10.1.0.7", "::1"])
def test_an_endpoint_can_be_read_again(address: str) -> None:
    parsed = parse_endpoint(endpoint(address, 20001))

    assert (parsed.host, parsed.port) == (address, 20001)
