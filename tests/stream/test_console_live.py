"""Event streams, live views, and the whole server on a real socket."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from console_fakes import SIZE, a_config, a_launcher, commit, write_status
from feed_fakes import PATIENCE_S

from stream.console import connections, guard
from stream.console.board import Board
from stream.console.budget import Budgets
from stream.console.checks import check_certificate
from stream.console.commands import monitor_routes
from stream.console.events import MOST_BROWSERS, MOST_WAITING, Browser, Hub, TooManyBrowsers, encode_event
from stream.console.server import listen, serve
from stream.console.token import FILE
from stream.console.watcher import STALE, STAY, Watcher
from stream.endpoints import parse_endpoint
from stream.errors import ConsoleError, EndpointBusy, UsageError
from stream.feed import FeedServer
from stream.live import LiveFrame, LivePublisher
from stream.outbox import Outbox, OutboxReader


def a_frame(seq: int, camera: str = "north-gate") -> LiveFrame:
    return LiveFrame(camera, camera, seq, 100.0, 3.0, 2.0, None, "", SIZE, (0.0, 0.0, 1.0, 1.0), b"jpeg", b"png")


async def take(browser: Browser, count: int) -> str:
    text = ""
    async for part in browser.texts(is_welcome=lambda: True):
        text += part
        if text.count("event:") >= count:
            break
    return text


def test_an_event_is_one_event_whatever_stands_in_it() -> None:
    text = encode_event("alert", {"note": "a\n\nevent: alert\ndata: {}"})
    assert text.count("\n\n") == 1
    assert json.loads(text.partition("data: ")[2])["note"].startswith("a\n\n")


def test_every_browser_is_told_and_of_live_views_the_newest() -> None:
    async def told() -> str:
        hub = Hub()
        browser, other = hub.join(frozenset({"gate"})), hub.join(frozenset())
        assert hub.watched() == {"gate"}
        hub.publish("job", {"id": 1})
        for number in (1, 2, 3):
            hub.publish_live("gate", {"n": number})
            hub.publish_live("yard", {"n": number})
        assert await take(other, 1) == 'event: job\ndata: {"id":1}\n\n'
        text = await take(browser, 2)
        hub.leave(browser)
        assert hub.watched() == frozenset()
        return text

    assert asyncio.run(told()) == 'event: job\ndata: {"id":1}\n\nevent: live\ndata: {"n":3}\n\n'


def test_a_browser_that_does_not_keep_up_is_let_go_of() -> None:
    async def behind() -> str:
        hub = Hub()
        browser = hub.join(frozenset())
        for number in range(MOST_WAITING + 1):
            hub.publish("job", {"id": number})
        return "".join([part async for part in browser.texts(is_welcome=lambda: True)])

    assert asyncio.run(behind()) == ""


def test_who_is_logged_out_hears_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.console.events.COMMENT_EVERY", 0.05)

    async def until(welcome: Iterator[bool]) -> list[str]:
        browser = Hub().join(frozenset())
        return [part async for part in browser.texts(is_welcome=lambda: next(welcome))]

    assert asyncio.run(until(iter([True, True, False]))) == [": still here\n\n"] * 2


def test_there_are_only_so_many_browsers() -> None:
    async def crowd() -> None:
        hub = Hub()
        browsers = [hub.join(frozenset()) for _ in range(MOST_BROWSERS)]
        with pytest.raises(TooManyBrowsers):
            hub.join(frozenset())
        browsers[0].close()
        hub.join(frozenset())

    asyncio.run(crowd())


def test_a_stream_that_begins_at_the_end_ends_at_once() -> None:
    async def late() -> str:
        hub = Hub()
        hub.close()
        return "".join([part async for part in hub.join(frozenset()).texts(is_welcome=lambda: True)])

    assert asyncio.run(late()) == ""


def test_views_are_kept_only_while_somebody_looks() -> None:
    now = [100.0]
    watcher = Watcher(["north-gate"], subscribe=nullcontext, hub=Hub(), clock=lambda: now[0])  # type: ignore[arg-type]
    assert watcher.latest("north-gate") is None
    assert watcher.latest("elsewhere") is None
    assert watcher.wanted() == {"north-gate"}
    watcher.take(a_frame(1))
    assert watcher.latest("north-gate") is not None
    now[0] += STALE
    assert watcher.latest("north-gate") is None, "an old view would look like a live one"
    now[0] += STAY
    assert watcher.wanted() == frozenset()


@contextmanager
def served(config: Any, program: tuple[str, ...] = ("true",)) -> Iterator[str]:
    """The real server in a thread; gives its address."""
    stop, failed = threading.Event(), []

    def run() -> None:
        try:
            routes = lambda parts: monitor_routes(config, parts)  # noqa: E731
            serve(config, a_launcher(config, program), stopping=stop.is_set, routes=routes)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        address = f"http{'s' * config.console.tls}://localhost:{config.console.endpoint.port}"
        wait_for(lambda: failed or answers(f"{address}/healthz"), "it answers")
        assert not failed
        yield address
    finally:
        stop.set()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert not failed


def wait_for(condition: Any, what: str) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not (answer := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
    return answer


def answers(url: str) -> bool:
    try:
        return httpx.get(url, verify=False, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_browser_sees_views_and_alerts_as_they_come_and_the_end(tmp_path_factory: pytest.TempPathFactory) -> None:
    config = a_config(tmp_path_factory.mktemp("c"), port=free_port())
    write_status(config, now=time.time())
    stop = threading.Event()
    with (
        Outbox(config.outbox, config.evidence) as outbox,
        OutboxReader(config.outbox, config.evidence) as reader,
        FeedServer(config.feed.endpoint, reader, dict) as feed,
        LivePublisher(parse_endpoint(config.live_endpoint)) as live,
    ):
        serving = threading.Thread(target=feed.run, args=(stop.is_set,))
        serving.start()
        try:
            kinds: set[str] = set()
            with served(config) as address:
                token = (config.state / "run" / FILE).read_text().strip()
                headers = {"Authorization": f"Bearer {token}"}
                with httpx.stream(
                    "GET", f"{address}/api/v1/stream?live=north-gate", headers=headers, timeout=20
                ) as answer:
                    assert answer.headers["content-type"].startswith("text/event-stream")
                    committed, deadline = False, time.monotonic() + PATIENCE_S
                    for line in answer.iter_lines():
                        kinds |= {line.removeprefix("event: ")} if line.startswith("event: ") else set()
                        if not committed and live.wants("north-gate"):
                            live.publish(a_frame(1))
                        if not committed and "feed" in kinds and "live" in kinds:
                            commit(outbox, 1, at=time.time())
                            committed = True
                        elif not committed:
                            write_status(config, now=time.time(), states={})
                        if {"hello", "live", "alert", "feed", "camera"} <= kinds:
                            # While the stream is open: a view that nobody watches is given up.
                            view = httpx.get(f"{address}/api/v1/cameras/north-gate/view.jpg", headers=headers)
                            break
                        assert time.monotonic() < deadline, kinds
                assert view.content == b"jpeg"
        finally:
            stop.set()
            serving.join(PATIENCE_S)


def test_it_ends_at_once_although_somebody_watches(tmp_path: Path) -> None:
    config = a_config(tmp_path, port=free_port())
    write_status(config, now=time.time())
    ended: list[str] = []

    def watch(address: str, token: str) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.stream("GET", f"{address}/api/v1/stream", headers=headers, timeout=20) as answer:
            ended.extend(answer.iter_lines())

    with served(config) as address:
        token = (config.state / "run" / FILE).read_text().strip()
        thread = threading.Thread(target=watch, args=(address, token))
        thread.start()
        time.sleep(0.5)
    thread.join(PATIENCE_S)
    assert ended[0] == "event: hello"


def connected(address: str) -> socket.socket:
    host, _, port = address.rpartition("/")[2].partition(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE_S)


def is_ended(connection: socket.socket) -> bool:
    """Waits for that, whatever is said before."""
    with suppress(ConnectionResetError):
        while connection.recv(1000):
            pass
    return True


@pytest.mark.parametrize(
    "said", [b"", b"GET /healthz HTT", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /"], ids=len
)
def test_who_sends_no_whole_request_is_let_go_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    monkeypatch.setattr(connections, "REQUEST_WITHIN", 0.3)
    config = a_config(tmp_path, port=free_port())
    write_status(config, now=time.time())
    with served(config) as address, connected(address) as silent:
        silent.sendall(said)
        assert is_ended(silent)


def test_who_sends_no_whole_body_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "BODY_WITHIN", 0.3)
    config = a_config(tmp_path, port=free_port())
    write_status(config, now=time.time())
    with served(config) as address, connected(address) as slow:
        slow.sendall(
            b"POST /api/v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b'Content-Length: 40\r\n\r\n{"'
        )
        assert b" 408 " in slow.recv(1000).partition(b"\r\n")[0]


def test_an_answer_that_takes_longer_than_a_request_may_is_sent_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "REQUEST_WITHIN", 0.3)
    monkeypatch.setattr(Board, "status", lambda board: time.sleep(0.8) or {"slow": True})
    config = a_config(tmp_path, port=free_port())
    write_status(config, now=time.time())
    with served(config) as address:
        token = (config.state / "run" / FILE).read_text().strip()
        answer = httpx.get(f"{address}/api/v1/status", headers={"Authorization": f"Bearer {token}"})
        assert answer.json() == {"slow": True}


def test_one_address_does_not_get_all_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST_OF_ADDRESS", 2)
    monkeypatch.setattr(connections, "is_loopback_address", lambda address: False)
    config = a_config(tmp_path, port=free_port())
    write_status(config, now=time.time())
    with served(config) as address, connected(address), connected(address), connected(address) as third:
        assert is_ended(third)


def test_what_takes_long_holds_up_neither_health_nor_logins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    began: list[int] = []

    def long(*_: Any) -> Any:
        began.append(1)
        go_on.wait(PATIENCE_S)
        return {}

    monkeypatch.setattr(Budgets, "_curve", long)
    config = a_config(tmp_path, port=free_port())
    write_status(config, now=time.time())
    with served(config) as address:
        bearer = {"Authorization": f"Bearer {(config.state / 'run' / FILE).read_text().strip()}"}
        path = f"{address}/api/v1/cameras/north-gate/budget"
        httpx.get(f"{address}/api/v1/cameras", headers=bearer)
        codes: list[int] = []
        asking = [
            threading.Thread(target=lambda: codes.append(httpx.get(path, headers=bearer, timeout=60).status_code))
            for _ in range(60)
        ]
        for thread in asking:
            thread.start()
        deadline = time.monotonic() + PATIENCE_S
        while len(codes) < 51 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert codes == [503] * 51, "one is made, eight wait"
        assert httpx.get(f"{address}/healthz").status_code == 200
        assert httpx.get(f"{address}/api/v1/me", headers=bearer).status_code == 200
        assert len(began) == 1
        go_on.set()
        for thread in asking:
            thread.join(PATIENCE_S)
        assert sorted(codes) == [200] * 9 + [503] * 51


def test_a_port_that_is_taken_is_said_so(tmp_path: Path) -> None:
    config = a_config(tmp_path, port=free_port())
    with listen(config), pytest.raises(EndpointBusy, match="in use already"):
        listen(config)


def test_an_address_of_another_machine_is_said_so(tmp_path: Path) -> None:
    config = a_config(tmp_path, address="192.0.2.77:8470", insecure=True)
    with pytest.raises(UsageError, match=r"192\.0\.2\.77"):
        listen(config)


@pytest.fixture
def certificate(tmp_path: Path) -> dict[str, str]:
    key, chain = tmp_path / "key.pem", tmp_path / "chain.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", key, "-out", chain),
        ],
        check=True,
        capture_output=True,
    )
    key.chmod(0o600)
    return {"tls_certificate": str(chain), "tls_key": str(key)}


def test_with_a_certificate_it_speaks_https_and_the_cookie_is_secure(
    tmp_path: Path, certificate: dict[str, str]
) -> None:
    config = a_config(tmp_path, port=free_port(), **certificate)
    write_status(config, now=time.time())
    context = ssl.create_default_context(cafile=certificate["tls_certificate"])
    with served(config) as address:
        token = (config.state / "run" / FILE).read_text().strip()
        answer = httpx.post(f"{address}/api/v1/login", json={"token": token}, verify=context)
        assert answer.status_code == 200
        assert "Secure" in answer.headers["set-cookie"]
        assert "server" not in answer.headers


def test_a_key_that_is_open_or_does_not_fit_is_refused(tmp_path: Path, certificate: dict[str, str]) -> None:
    config = a_config(tmp_path, **certificate)
    check_certificate(config)
    Path(certificate["tls_key"]).chmod(0o644)
    with pytest.raises(ConsoleError, match="chmod 600"):
        check_certificate(config)
    Path(certificate["tls_key"]).write_text("no key")
    Path(certificate["tls_key"]).chmod(0o600)
    with pytest.raises(ConsoleError, match="cannot be used"):
        check_certificate(config)
