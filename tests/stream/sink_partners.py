"""What stands at the other end of sinks in tests: a real broker, a real HTTP server, a Kafka cluster; and listeners."""

from __future__ import annotations

import http.server
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from stream.messages import Alert, Evidence, Phase, Region, unix_time

PATIENCE_S = 20.0  # how long a test waits for what must happen
PICTURES = Evidence(b"png", b"jpeg", b"mp4")
NOTHING = Evidence(b"", b"")
NOON = unix_time("2026-03-01T12:00:00Z")


def an_alert(seq: int = 1, **changes: Any) -> Alert:
    values: dict[str, Any] = {
        "seq": seq,
        "alert_id": f"a{seq}",
        "phase": Phase.START,
        "camera": "gate",
        "scene": "yard",
        "started_at": NOON,
        "frame_time": NOON,
        "frame_seq": 10 * seq,
        "score": 2.5,
        "threshold": 1.25,
        "regions": (Region((1, 2, 3, 4), ((1, 2),), 10, 2.0),),
        "neighbours": (),
        "mask": "outbox/m.png",
        "snapshot": "outbox/s.jpg",
    }
    return Alert(**{**values, **changes})


def wait_until(condition: Callable[[], object], what: str = "it never came about") -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def a_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for ``localhost`` that is its own authority, and its key."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("no openssl program here")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = [program, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-out", str(certificate), "-keyout", str(key)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


# -- MQTT -------------------------------------------------------------------------------------------------------------


def mosquitto_program() -> str:
    found = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip("no mosquitto program here (Debian: mosquitto)")
    return found


class Broker:
    """A mosquitto on a port of its own, with its own configuration; what it retains is in memory alone.

    Args:
        folder: for its configuration and log.
        settings: more lines of the configuration; without any, everybody may do everything.
        on_disk: it saves every change, so that it forgets nothing when it is killed.
    """

    def __init__(self, folder: Path, *settings: str, on_disk: bool = False) -> None:
        self.port = free_port()
        self._program, self._process = mosquitto_program(), None
        self._config = folder / "mosquitto.conf"
        listener = f"listener {self.port} 127.0.0.1"
        keeps = ["persistence true", f"persistence_location {folder}/", "autosave_on_changes true", "user root"]
        keeps.append("autosave_interval 1")
        lines = [listener, *(keeps if on_disk else ["persistence false"]), *(settings or ("allow_anonymous true",))]
        self._config.write_text("\n".join(lines))
        self._log = folder / "mosquitto.log"

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([self._program, "-c", str(self._config)], stdout=log, stderr=log)
        wait_until(self._answers, f"the broker does not answer: {self._log.read_text()}")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def a_broker(folder: Path, *settings: str, on_disk: bool = False) -> Iterator[Broker]:
    broker = Broker(folder, *settings, on_disk=on_disk)
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()


class MqttListener:
    """Hears everything that a broker gets; comes back after a restart.

    Args:
        port: of the broker.
        remembered: the broker keeps what comes while this is away.
    """

    def __init__(self, port: int, *, remembered: bool = False) -> None:
        import paho.mqtt.client as paho
        from paho.mqtt.enums import CallbackAPIVersion

        self.heard: list[tuple[str, bytes, bool]] = []  # topic, payload, whether it was retained
        self._ready = threading.Event()
        name = "listener" if remembered else ""
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=not remembered)
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = lambda _, __, m: self.heard.append((m.topic, bytes(m.payload), bool(m.retain)))
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._ready.wait(PATIENCE_S)

    def of(self, topic: str) -> list[bytes]:
        return [payload for heard, payload, _ in list(self.heard) if heard == topic]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@contextmanager
def listening(port: int, *, remembered: bool = False) -> Iterator[MqttListener]:
    listener = MqttListener(port, remembered=remembered)
    try:
        yield listener
    finally:
        listener.close()


# -- HTTP -------------------------------------------------------------------------------------------------------------


@dataclass
class Answer:
    """How a receiver answers once."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    hangs: bool = False  # no answer at all, until the receiver is closed
    drips: bool = False  # one byte of the headers now and then


@dataclass
class Posted:
    """A request that came."""

    path: str
    headers: Mapping[str, str]  # names in small letters
    body: bytes


class Receiver:
    """A real HTTP server in a thread. Answers as it was told to, then with 200; remembers every request."""

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.answers: list[Answer] = []
        self.posted: list[Posted] = []
        self._closing = threading.Event()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.answer(self)

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/hook/s3cret-path?token=s3cret-token"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        self.posted.append(Posted(handler.path, headers, body))
        answer = self.answers.pop(0) if self.answers else Answer()
        if answer.hangs:
            self._closing.wait(PATIENCE_S)
            return
        if answer.drips:
            self._drip(handler)
            return
        handler.send_response(answer.status)
        for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(answer.body)

    def _drip(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        try:
            while not self._closing.wait(0.02):
                handler.wfile.write(b"H")
        except OSError:  # the other side has left
            return

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def receiving(*answers: Answer) -> Iterator[Receiver]:
    receiver = Receiver()
    receiver.answers += answers
    try:
        yield receiver
    finally:
        receiver.close()


# -- Kafka ------------------------------------------------------------------------------------------------------------


class Cluster:
    """librdkafka's own mock of a Kafka cluster: it speaks the real protocol over TCP."""

    def __init__(self) -> None:
        self._kafka = pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")
        self._owner = self._kafka.Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1})
        brokers = self._owner.list_topics(timeout=PATIENCE_S).brokers.values()
        self.servers = ",".join(f"127.0.0.1:{broker.port}" for broker in brokers)

    def records(self, topic: str, count: int) -> list[Any]:
        """The first records of a topic, over all partitions by the time they were made."""
        consumer = self._kafka.Consumer(
            {"bootstrap.servers": self.servers, "group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest"}
        )
        consumer.subscribe([topic])
        found: list[Any] = []
        deadline = time.monotonic() + PATIENCE_S
        try:
            while len(found) < count and time.monotonic() < deadline:
                record = consumer.poll(0.2)
                if record is not None and record.error() is None:
                    found.append(record)
        finally:
            consumer.close()
        return found
