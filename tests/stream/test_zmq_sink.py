"""The ZeroMQ PUB sink: its parts, who may listen, what it does not promise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq
from sink_partners import NOTHING, PICTURES, an_alert, free_port, wait_until

from stream.curve import CurveClient
from stream.endpoints import SecureSocket
from stream.errors import EndpointBusy
from stream.key_making import issue, make_folder
from stream.keys import Role, load_secret
from stream.messages import Alert, CameraState, StateEvent
from stream.sink_sections import ZmqSection
from stream.sinks.zmq_publish import ZmqSink, open_zmq

HELLO = StateEvent("hello", CameraState.LIVE, "", 0.0)


@contextmanager
def a_listener(sink: ZmqSink, topic: bytes, *, secure: SecureSocket | None = None) -> Iterator[zmq.Socket[bytes]]:
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.linger = 0
        if secure is not None:
            secure(context, socket)
        socket.subscribe(topic)
        socket.subscribe(b"hello")
        socket.connect(sink.endpoint)
        yield socket


def await_joined(sink: ZmqSink, socket: zmq.Socket[bytes]) -> None:
    def heard() -> bool:
        sink.tell(HELLO)
        return bool(socket.poll(20))

    wait_until(heard, "the listener never joined")
    while socket.poll(100):
        socket.recv_multipart()


def test_parts_are_the_camera_the_alert_and_the_pictures_that_were_asked_for() -> None:
    sink = ZmqSink(f"tcp://127.0.0.1:{free_port()}", pictures=("mask", "snapshot"))
    with a_listener(sink, b"gate") as socket:
        await_joined(sink, socket)
        sink.deliver(an_alert(1, camera="yard"), PICTURES)
        sink.deliver(an_alert(2), PICTURES)
        sink.deliver(an_alert(3), NOTHING)
        sink.tell(StateEvent("gate", CameraState.STALLED, "no frame", 0.0, 9))
        messages = [socket.recv_multipart() for _ in range(3)]
    sink.close()

    assert [message[0] for message in messages] == [b"gate"] * 3
    assert Alert.from_json(json.loads(messages[0][1])) == an_alert(2, mask=None, snapshot=None)
    assert messages[0][2:] == [b"png", b"jpeg"]
    assert messages[1][2:] == [b"", b""]
    assert StateEvent.from_json(json.loads(messages[2][1])).state is CameraState.STALLED
    assert len(messages[2]) == 2


def test_without_a_listener_an_alert_counts_as_delivered() -> None:
    sink = ZmqSink(f"tcp://127.0.0.1:{free_port()}")
    for seq in range(1, 1000):
        sink.deliver(an_alert(seq), PICTURES)
    sink.close()


def test_two_sinks_cannot_have_one_endpoint(tmp_path: Path) -> None:
    (tmp_path / "z").mkdir(mode=0o700)
    section = ZmqSection(type="zmq", endpoint=f"ipc://{tmp_path}/z/pub")
    first = open_zmq(section, keys=None)
    with pytest.raises(EndpointBusy):
        open_zmq(section, keys=None)
    first.close()
    open_zmq(section, keys=None).close()


def test_with_keys_only_a_subscriber_with_a_key_hears_anything(tmp_path: Path) -> None:
    keys = make_keys(tmp_path / "keys")
    sink = open_zmq(ZmqSection(type="zmq", endpoint=f"tcp://127.0.0.1:{free_port()}"), keys=keys)
    key = CurveClient(load_secret(keys / "issued" / "friend.key"))
    with a_listener(sink, b"gate", secure=key) as friend, a_listener(sink, b"gate") as stranger:
        await_joined(sink, friend)
        sink.deliver(an_alert(1), PICTURES)
        assert friend.poll(5000)
        assert not stranger.poll(300)
    sink.close()


def make_keys(folder: Path) -> Path:
    make_folder(folder)
    issue(folder, Role.SUBSCRIBER, ["friend"])
    return folder
