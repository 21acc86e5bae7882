"""Endpoints: what is accepted, what is refused with a remedy, and that each has one owner."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from stream.endpoints import MAX_IPC_PATH_BYTES, bind, claim, is_loopback, parse_endpoint
from stream.errors import EndpointBusy, UsageError


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short folder: pytest's own may be too long for a socket."""
    path = Path(tempfile.mkdtemp(prefix="sp"))
    yield path
    shutil.rmtree(path)


def test_an_ipc_endpoint_has_a_path() -> None:
    endpoint = parse_endpoint("ipc:///run/spade/feed.ipc")

    assert (endpoint.path, endpoint.host, str(endpoint)) == (
        Path("/run/spade/feed.ipc"),
        "",
        "ipc:///run/spade/feed.ipc",
    )


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("tcp://127.0.0.1:5555", "127.0.0.1", 5555),
        ("tcp://[::1]:5555", "::1", 5555),
        ("tcp://*:5555", "*", 5555),
        ("tcp://127.0.0.1:*", "127.0.0.1", 0),
        ("tcp://camera-host.lan:1", "camera-host.lan", 1),
    ],
)
def test_a_tcp_endpoint_has_a_host_and_a_port(text: str, host: str, port: int) -> None:
    endpoint = parse_endpoint(text)

    assert (endpoint.host, endpoint.port, endpoint.path, endpoint.url) == (host, port, None, text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "feed.ipc",
        "udp://127.0.0.1:5555",
        "ipc://",
        "ipc://feed.ipc",
        "ipc://@abstract",
        "ipc://*",
        "ipc:///run/spade/",
        "ipc:///run/\0/feed",
        "tcp://",
        "tcp://127.0.0.1",
        "tcp://:5555",
        "tcp://127.0.0.1:65536",
        "tcp://127.0.0.1:http",
        "tcp://127.0.0.1:5555/path",
        "tcp://127.0.0.1:5555?x=1",
        "tcp://127.0.0.1 :5555",
        "tcp://127.0.0.1:*:*",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="endpoint"):
        parse_endpoint(text)


@pytest.mark.parametrize("scheme", ["tcp://", "rtsp://", ""])
def test_a_refusal_never_shows_a_password(scheme: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_endpoint(f"{scheme}admin:hunter2@10.0.0.1:5555")

    assert "hunter2" not in str(caught.value)
    assert "10.0.0.1:5555" in str(caught.value)


def test_an_ipc_path_may_be_as_long_as_a_unix_socket_takes_and_no_longer() -> None:
    longest = "/" + "x" * (MAX_IPC_PATH_BYTES - 1)

    assert parse_endpoint(f"ipc://{longest}").path == Path(longest)
    with pytest.raises(UsageError, match="108 bytes"):
        parse_endpoint(f"ipc://{longest}x")
    with pytest.raises(UsageError, match="108 bytes"):  # bytes, not letters
        parse_endpoint(f"ipc://{longest[:-1]}ü")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ipc:///run/spade/feed.ipc", True),
        ("tcp://127.0.0.1:1", True),
        ("tcp://127.8.9.10:1", True),
        ("tcp://[::1]:1", True),
        ("tcp://localhost:1", True),
        ("tcp://*:1", False),
        ("tcp://0.0.0.0:1", False),
        ("tcp://10.0.0.1:1", False),
        ("tcp://127.0.0.1.example.org:1", False),
    ],
)
def test_only_what_stays_on_this_machine_is_loopback(text: str, expected: bool) -> None:
    assert is_loopback(parse_endpoint(text)) is expected


def test_claiming_makes_a_folder_that_only_this_user_may_enter(folder: Path) -> None:
    with claim(parse_endpoint(f"ipc://{folder}/new/feed")):
        assert stat.S_IMODE((folder / "new").stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o770, 0o702])
def test_a_folder_that_others_may_write_to_is_refused(folder: Path, mode: int) -> None:
    folder.chmod(mode)

    with pytest.raises(UsageError, match=f"chmod 700 {folder}"):
        claim(parse_endpoint(f"ipc://{folder}/feed"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_folder_of_another_user_is_refused(folder: Path) -> None:
    os.chown(folder, 12345, -1)

    with pytest.raises(UsageError, match="belongs to user 12345"):
        claim(parse_endpoint(f"ipc://{folder}/feed"))


def test_a_folder_that_cannot_be_made_is_refused(folder: Path) -> None:
    (folder / "file").write_text("")

    with pytest.raises(UsageError, match="Choose a folder"):
        claim(parse_endpoint(f"ipc://{folder}/file/sub/feed"))


def test_a_claimed_endpoint_cannot_be_claimed_again_until_it_is_given_up(folder: Path) -> None:
    endpoint = parse_endpoint(f"ipc://{folder}/feed")
    first = claim(endpoint)

    with pytest.raises(EndpointBusy, match=f"process {os.getpid()}"):
        claim(endpoint)
    claim(parse_endpoint(f"ipc://{folder}/other")).close()
    first.close()
    first.close()
    claim(endpoint).close()


def test_the_owner_in_another_process_is_named_and_its_death_frees_the_endpoint(folder: Path) -> None:
    code = (
        "import sys; from stream.endpoints import claim, parse_endpoint\n"
        "held = claim(parse_endpoint(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    url = f"ipc://{folder}/feed"
    owner = subprocess.Popen(
        [sys.executable, "-c", code, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=_env()
    )
    try:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "held\n"
        with pytest.raises(EndpointBusy, match=f"process {owner.pid}"):
            claim(parse_endpoint(url))
    finally:
        owner.kill()
        owner.communicate()
    claim(parse_endpoint(url)).close()


def test_a_tcp_port_in_use_is_busy_and_a_free_one_is_told() -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as first, context.socket(zmq.ROUTER) as second:
        url = bind(first, parse_endpoint("tcp://127.0.0.1:*"))

        assert parse_endpoint(url).port > 0
        with pytest.raises(EndpointBusy, match=url):
            bind(second, parse_endpoint(url))


def test_an_address_of_another_machine_cannot_be_bound() -> None:
    with (
        zmq.Context() as context,
        context.socket(zmq.ROUTER) as socket,
        pytest.raises(UsageError, match=r"192\.0\.2\.1"),  # reserved for documentation
    ):
        bind(socket, parse_endpoint("tcp://192.0.2.1:5555"))


def _env() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
