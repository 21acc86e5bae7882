"""From the configuration to the sockets: where keys are named they are used, or nothing starts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zmq

from stream import security
from stream.cli import main
from stream.config import Config, build_config
from stream.errors import ConfigError, KeyFileError, UsageError
from stream.feed import FeedServer
from stream.key_making import issue, make_folder
from stream.keys import Role, load_folder
from stream.outbox import Outbox

REMOTE = "tcp://192.0.2.1:5571"
LOOPBACK = "tcp://127.0.0.1:5571"
SERVER = zmq.curve_keypair()[0].decode()  # public key of another machine


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    folder = tmp_path / "keys"
    make_folder(folder)
    issue(folder, Role.READER, ["gate"])
    issue(folder, Role.SUBSCRIBER, ["archive"])
    return folder


def built(base: Path, *, link: str = LOOPBACK, feed: str = LOOPBACK, **sections: Any) -> Config:
    data = {
        "cameras": [{"id": "gate", "source": "0"}],
        "link": {"endpoint": link},
        "feed": {"endpoint": feed},
        **sections,
    }
    return build_config(data, where="test", base=base, environment={})


def problems(base: Path, **sections: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        built(base, **sections)
    return str(caught.value)


def test_beyond_loopback_keys_are_needed_or_the_word_insecure(tmp_path: Path) -> None:
    assert "security.keys" in problems(tmp_path, link=REMOTE)
    assert "security.keys" in problems(tmp_path, feed=REMOTE)

    built(tmp_path, link=REMOTE, feed=REMOTE, security={"keys": "keys"})
    insecure = {"endpoint": REMOTE, "insecure": True}
    config = build_config(
        {"cameras": [{"id": "gate", "source": "0"}], "link": insecure, "feed": insecure},
        where="test",
        base=tmp_path,
        environment={},
    )
    assert security.link_server(config) is None


def test_what_contradicts_itself_is_refused(tmp_path: Path) -> None:
    both = {"keys": "keys", "key": "gate.key"}
    assert "not both" in problems(tmp_path, security=both)
    with pytest.raises(ConfigError, match="contradicts"):
        build_config(
            {
                "cameras": [{"id": "gate", "source": "0"}],
                "feed": {"endpoint": REMOTE, "insecure": True},
                "security": {"keys": "keys"},
            },
            where="test",
            base=tmp_path,
            environment={},
        )


def test_a_server_uses_its_keys_on_tcp_loopback_included_and_not_on_ipc(tmp_path: Path, keys: Path) -> None:
    over_tcp = built(tmp_path, security={"keys": "keys"})
    assert security.link_server(over_tcp) is not None
    assert security.feed_server(over_tcp) is not None
    assert security.link_client(over_tcp, "gate") is not None

    private = built(tmp_path, link=f"ipc://{tmp_path}/link", feed=f"ipc://{tmp_path}/feed", security={"keys": "keys"})
    assert security.link_server(private) is None
    assert security.feed_client(private, "archive") is None


@pytest.mark.parametrize("harm", ["missing", "open folder", "open file", "damaged"])
def test_keys_that_cannot_be_used_stop_everything(tmp_path: Path, keys: Path, harm: str) -> None:
    config = built(tmp_path, security={"keys": "keys"})
    if harm == "missing":
        keys.rename(tmp_path / "moved")
    elif harm == "open folder":
        keys.chmod(0o755)
    elif harm == "open file":
        (keys / "local.key").chmod(0o644)
        (keys / "server.key").chmod(0o644)
    else:
        (keys / "local.key").write_text("damaged")
        (keys / "server.key").write_text("damaged")

    for start in (
        lambda: security.link_server(config),
        lambda: security.feed_server(config),
        lambda: security.link_client(config, "gate"),
        lambda: security.feed_client(config, "archive"),
        lambda: security.check(config),
    ):
        with pytest.raises(KeyFileError):
            start()


def test_a_damaged_public_key_is_refused_by_the_check_and_keeps_no_server_from_starting_again(
    tmp_path: Path, keys: Path
) -> None:
    config = built(tmp_path, security={"keys": "keys"})
    (keys / "readers" / "gate.pub").write_text("damaged")

    assert security.link_server(config) is not None
    assert security.feed_server(config) is not None
    with pytest.raises(KeyFileError, match=r"gate\.pub"):
        security.check(config)


def test_a_machine_with_an_issued_key_serves_nothing(tmp_path: Path, keys: Path) -> None:
    config = built(tmp_path, link=REMOTE, security={"key": "keys/issued/gate.key"})

    assert security.link_client(config, "gate") is not None
    for serve in (security.link_server, security.feed_server):
        with pytest.raises(ConfigError, match=r"security\.keys"):
            serve(config)


def test_a_key_of_another_camera_or_role_is_refused_before_anything_is_sent(tmp_path: Path, keys: Path) -> None:
    reader = built(tmp_path, security={"key": "keys/issued/gate.key"})
    sink = built(tmp_path, security={"key": "keys/issued/archive.key"})

    assert security.feed_client(sink, "archive") is not None
    for start in (
        lambda: security.link_client(reader, "yard"),
        lambda: security.feed_client(reader, "gate"),
        lambda: security.feed_client(sink, "other"),
        lambda: security.command_client(keys / "issued" / "gate.key"),
    ):
        with pytest.raises(KeyFileError):
            start()


def test_a_reader_asks_a_directory_with_its_machines_own_key(tmp_path: Path, keys: Path) -> None:
    config = built(tmp_path, security={"keys": "keys"})
    assert security.directory_key(config, "gate") == load_folder(keys).local
    assert security.directory_key(config, "gate", server=SERVER) == replace(load_folder(keys).local, server=SERVER)


def test_a_reader_of_another_machine_asks_a_directory_with_the_key_that_was_issued_for_it(
    tmp_path: Path, keys: Path
) -> None:
    config = built(tmp_path, link=REMOTE, security={"key": "keys/issued/gate.key"})

    assert security.directory_key(config, "gate").server == load_folder(keys).server.public
    with pytest.raises(KeyFileError, match="not of reader yard"):
        security.directory_key(config, "yard")


def test_a_directory_is_never_asked_without_a_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"security\.key"):
        security.directory_key(built(tmp_path), "gate")


def test_what_is_no_key_of_a_directory_is_wrong_usage(tmp_path: Path, keys: Path) -> None:
    with pytest.raises(UsageError, match="40 characters"):
        security.directory_key(built(tmp_path, security={"keys": "keys"}), "gate", server="short")


@pytest.fixture
def feed(tmp_path: Path, keys: Path) -> Iterator[FeedServer]:
    """A running feed with keys."""
    config = built(tmp_path, security={"keys": "keys"})
    stop = threading.Event()
    with ExitStack() as stack:
        outbox = stack.enter_context(Outbox(tmp_path / "outbox.sqlite", tmp_path / "evidence"))
        status = {"worker": {"state": "RUNNING"}, "cameras": {}}
        server = FeedServer("tcp://127.0.0.1:*", outbox, lambda: status, secure=security.feed_server(config))
        stack.enter_context(server)
        thread = threading.Thread(target=server.run, args=(stop.is_set,))
        thread.start()
        stack.callback(thread.join)
        stack.callback(stop.set)
        yield server


def test_the_commands_take_a_key(feed: FeedServer, keys: Path) -> None:
    own, issued = str(keys / "local.key"), str(keys / "issued" / "archive.key")

    assert main(["status", "--connect", feed.endpoint, "--key", own]) == 0
    assert main(["status", "--connect", feed.endpoint, "--key", issued]) == 0
    assert main(["alerts", "--connect", feed.endpoint, "--key", issued, "--name", "archive", "--no-follow"]) == 0
    assert main(["alerts", "--connect", feed.endpoint, "--key", issued, "--name", "other", "--no-follow"]) == 1
    assert main(["status", "--connect", feed.endpoint]) == 1
    assert main(["status", "--connect", feed.endpoint, "--key", str(keys / "issued" / "gate.key")]) == 2
