"""What every kind of sink promises, tried against the real thing at its other end."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import zmq
from sink_partners import (
    NOTHING,
    PICTURES,
    Answer,
    Cluster,
    a_broker,
    an_alert,
    free_port,
    listening,
    receiving,
    wait_until,
)

from stream.errors import SinkError
from stream.messages import CameraState, Phase, StateEvent
from stream.sink_sections import KafkaSection, MqttSection, WebhookSection
from stream.sinks.base import EventSink, Sink
from stream.sinks.events import EventBoard
from stream.sinks.jsonl import JsonLinesSink
from stream.sinks.kafka import open_kafka
from stream.sinks.mqtt import open_mqtt
from stream.sinks.registry import KINDS
from stream.sinks.stdout import StdoutSink
from stream.sinks.webhook import WebhookSink
from stream.sinks.zmq_publish import ZmqSink

Received = Callable[[int], list[str]]  # alert ids at the other end, at least so many, in order


@dataclass
class Pair:
    """A sink and how to ask its other end."""

    sink: Sink
    received: Received


@contextmanager
def a_stdout(folder: Path) -> Iterator[Pair]:
    stream = io.StringIO()
    lines = lambda count: [line.split("alert ")[1].split(" ")[0] for line in stream.getvalue().splitlines()]  # noqa: E731
    yield Pair(StdoutSink(stream), lines)


@contextmanager
def a_jsonl(folder: Path) -> Iterator[Pair]:
    def received(count: int) -> list[str]:
        return [json.loads(line)["alert_id"] for line in (folder / "alerts.jsonl").read_text().splitlines()]

    yield Pair(JsonLinesSink(folder), received)


@contextmanager
def an_mqtt(folder: Path) -> Iterator[Pair]:
    with a_broker(folder) as broker, listening(broker.port) as listener:
        section = MqttSection(type="mqtt", host="127.0.0.1", port=broker.port)
        sink = open_mqtt(section, cameras={"gate": "yard"}, folder=folder, trial=False)

        def received(count: int) -> list[str]:
            wait_until(lambda: len(listener.of("spade-stream/alerts/gate")) >= count)
            return [json.loads(payload)["alert_id"] for payload in listener.of("spade-stream/alerts/gate")]

        yield Pair(sink, received)


@contextmanager
def a_webhook(folder: Path) -> Iterator[Pair]:
    with receiving() as receiver:
        sink = WebhookSink(WebhookSection(type="webhook", url=receiver.url))
        yield Pair(sink, lambda count: [json.loads(posted.body)["alert_id"] for posted in receiver.posted])


@contextmanager
def a_kafka(folder: Path) -> Iterator[Pair]:
    cluster = Cluster()
    sink = open_kafka(KafkaSection(type="kafka", servers=cluster.servers, events="events"))

    def received(count: int) -> list[str]:
        return [json.loads(record.value())["alert_id"] for record in cluster.records("spade-stream.alerts", count)]

    yield Pair(sink, received)


@contextmanager
def a_zmq(folder: Path) -> Iterator[Pair]:
    sink = ZmqSink(f"tcp://127.0.0.1:{free_port()}", pictures=("snapshot",))
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.subscribe(b"")
        socket.linger, socket.rcvtimeo = 0, 50
        socket.connect(sink.endpoint)

        def heard() -> bool:
            sink.tell(StateEvent("gate", CameraState.LIVE, "", 0.0))
            return bool(socket.poll(20))

        wait_until(heard, "the listener never joined")

        def received(count: int) -> list[str]:
            found: list[str] = []
            while len(found) < count:
                about = json.loads(socket.recv_multipart()[1])
                found += [about["alert_id"]] if "alert_id" in about else []
            return found

        yield Pair(sink, received)


MAKERS = {"stdout": a_stdout, "jsonl": a_jsonl, "mqtt": an_mqtt, "webhook": a_webhook, "kafka": a_kafka, "zmq": a_zmq}
MARKS = {"mqtt": pytest.mark.mqtt, "kafka": pytest.mark.kafka}


@pytest.fixture(params=[pytest.param(name, marks=MARKS.get(name, ())) for name in MAKERS])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    with ExitStack() as stack:
        made = stack.enter_context(MAKERS[request.param](tmp_path))
        stack.callback(made.sink.close)
        yield made


def test_every_kind_of_sink_is_tried() -> None:
    assert set(MAKERS) == set(KINDS)


def test_every_phase_arrives_in_order_with_and_without_pictures(pair: Pair) -> None:
    assert isinstance(pair.sink, Sink)
    pair.sink.deliver(an_alert(1), PICTURES)
    pair.sink.deliver(an_alert(2, phase=Phase.UPDATE, mask=None, snapshot=None), NOTHING)
    pair.sink.deliver(an_alert(3, phase=Phase.END, regions=(), threshold=0.0), PICTURES)

    assert pair.received(3) == ["a1", "a2", "a3"]


def test_an_alert_that_comes_twice_loses_none(pair: Pair) -> None:
    pair.sink.deliver(an_alert(1), PICTURES)
    pair.sink.deliver(an_alert(1), PICTURES)
    pair.sink.deliver(an_alert(2), PICTURES)

    once = isinstance(pair.sink, JsonLinesSink)  # the only one that can look at what it has
    assert pair.received(2 if once else 3) == (["a1", "a2"] if once else ["a1", "a1", "a2"])


def test_a_sink_may_be_closed_twice_and_then_takes_nothing(pair: Pair) -> None:
    pair.sink.close()
    pair.sink.close()

    if not isinstance(pair.sink, StdoutSink):  # its stream is the caller's
        with pytest.raises(SinkError, match="closed"):
            pair.sink.deliver(an_alert(1), PICTURES)


def test_a_sink_that_wants_camera_events_takes_those_of_any_camera(pair: Pair) -> None:
    if not isinstance(pair.sink, EventSink):
        return
    board = EventBoard(clock=lambda: 0.0)
    for camera in ("gate", "left-long-ago"):
        board.note(StateEvent(camera, CameraState.STALLED, "no frame for 5 s", 0.0, 7))

    assert board.tell(pair.sink) is None
    assert board.waiting == 0


# -- one whose other end is away --------------------------------------------------------------------------------------


def nowhere(kind: str, folder: Path) -> Sink:
    """A sink whose server does not exist, with little patience."""
    port = free_port()
    if kind == "mqtt":
        section = MqttSection(type="mqtt", host="127.0.0.1", port=port, timeout=0.2)
        return open_mqtt(section, cameras={}, folder=folder, trial=False)
    if kind == "webhook":
        return WebhookSink(WebhookSection(type="webhook", url=f"http://127.0.0.1:{port}/", timeout=0.2))
    pytest.importorskip("confluent_kafka")
    return open_kafka(KafkaSection(type="kafka", servers=f"127.0.0.1:{port}", timeout=1.0))


@pytest.mark.fault("a sink's server is away", "the alert is not called delivered; it is brought again")
@pytest.mark.parametrize("kind", ["mqtt", "webhook", pytest.param("kafka", marks=pytest.mark.kafka)])
def test_an_absent_server_is_a_sink_error_that_names_it(kind: str, tmp_path: Path) -> None:
    sink = nowhere(kind, tmp_path)
    try:
        with pytest.raises(SinkError, match=r"127\.0\.0\.1:\d+"):
            sink.deliver(an_alert(1), PICTURES)
    finally:
        sink.close()


def test_a_webhook_that_came_back_gets_what_it_refused() -> None:
    with receiving(Answer(503)) as receiver:
        sink = WebhookSink(WebhookSection(type="webhook", url=receiver.url))
        with pytest.raises(SinkError, match="answers 503"):
            sink.deliver(an_alert(1), PICTURES)
        sink.deliver(an_alert(1), PICTURES)
        sink.close()

    assert len(receiver.posted) == 2
