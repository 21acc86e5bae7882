"""Alerts and camera events on a ZeroMQ PUB socket: for whoever listens at that moment, without a word of protocol.

Parts: the camera's id (what is subscribed to), JSON, and for an alert each picture that was asked for, empty where
there is none. Published means delivered: what nobody hears, or what a slow listener has no room for, is gone. Who must
miss nothing subscribes to the feed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import zmq

from stream.curve import CurveServer
from stream.endpoints import Claim, bind, claim, parse_endpoint
from stream.errors import SinkError
from stream.keys import Role, load_folder
from stream.messages import Alert, Evidence, StateEvent
from stream.sink_sections import Pictures, ZmqSection
from stream.sinks.base import without_pictures

_QUEUE = 100  # messages that wait for one slow listener: with clips, at most 1.6 GB


def open_zmq(section: ZmqSection, *, keys: Path | None) -> ZmqSink:
    """The sink of a section.

    Args:
        section: see there.
        keys: folder of the server's keys; over TCP only subscribers with a key are let in. None: anybody.

    Raises:
        EndpointBusy: another process has the endpoint, a run with this very sink for example.
        UsageError: the endpoint cannot be bound.
        KeyFileError: the keys cannot be used.
    """
    guarded = keys is not None and parse_endpoint(section.endpoint).path is None
    guard = CurveServer(load_folder(keys), Role.SUBSCRIBER) if guarded and keys is not None else None
    return ZmqSink(section.endpoint, pictures=section.pictures, guard=guard)


class ZmqSink:
    """See the module.

    Args:
        endpoint: to bind.
        pictures: that go along, in this order.
        guard: who is let in; None: everybody who can reach it.

    Raises:
        EndpointBusy: another process has it.
        UsageError: it cannot be bound.
    """

    def __init__(self, endpoint: str, *, pictures: Pictures = (), guard: CurveServer | None = None) -> None:
        parsed = parse_endpoint(endpoint)
        self._pictures, self._guard = pictures, guard
        self._claim: Claim = claim(parsed)
        self._context: zmq.Context[Any] = zmq.Context()
        try:
            self._socket: zmq.Socket[bytes] = self._context.socket(zmq.PUB)
            self._socket.sndhwm, self._socket.linger = _QUEUE, 500
            if guard is not None:
                guard(self._context, self._socket)
            self.endpoint = bind(self._socket, parsed)
        except BaseException:
            self.close()
            raise

    def deliver(self, alert: Alert, evidence: Evidence) -> None:
        """Publishes the alert; see :meth:`stream.sinks.base.Sink.deliver`."""
        there = {"snapshot": evidence.snapshot_jpeg, "mask": evidence.mask_png, "clip": evidence.clip_mp4}
        about = without_pictures(alert).to_json()
        self._publish(alert.camera, about, *(there[name] for name in self._pictures))

    def tell(self, event: StateEvent) -> None:
        """Publishes a camera event."""
        self._publish(event.camera, event.to_json())

    def close(self) -> None:
        """Leaves what is under way half a second. May be called twice."""
        if not self._context.closed:
            if self._guard is not None:
                self._guard.close()
            self._context.destroy(linger=500)
        self._claim.close()

    def _publish(self, camera: str, about: dict[str, Any], *pictures: bytes) -> None:
        if self._context.closed:
            raise SinkError("the ZeroMQ sink is closed")
        if self._guard is not None:
            self._guard.refresh()
        try:
            self._socket.send_multipart([camera.encode(), json.dumps(about).encode(), *pictures])
        except zmq.ZMQError as error:
            raise SinkError(f"{self.endpoint}: cannot be published: {error.strerror}") from error
