"""Alerts and the states of cameras for an MQTT broker, and for Home Assistant behind it.

An alert is delivered when the broker has confirmed it (PUBACK) together with what it changes of the retained topics.
What is retained is published anew after each connection: a broker that was restarted may have lost it.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream.durable import safe_name
from stream.errors import SinkError
from stream.messages import Alert, CameraState, Evidence, Phase, StateEvent, iso_time
from stream.sink_sections import MqttSection
from stream.sinks.announced import Announced
from stream.sinks.base import identity_of, without_pictures
from stream.sinks.home_assistant import OFF, OFFLINE, ON, ONLINE, Topics, device
from stream.sinks.mqtt_link import Message, MqttLink

_log = logging.getLogger(__name__)

Identity = tuple[str, str, int]


@dataclass(slots=True)
class _Retained:
    """What a broker keeps of one camera."""

    alert: str  # ON or OFF
    state: bytes = b""  # JSON; empty: not told yet
    last: bytes = b""  # JSON of the last alert message; empty: there was none since this process began
    snapshot: bytes = b""  # JPEG of it


def open_mqtt(section: MqttSection, *, cameras: Mapping[str, str], folder: Path, trial: bool) -> MqttSink:
    """The sink of a section.

    Args:
        section: see there.
        cameras: scene by camera, those whose state is published.
        folder: for what has to be remembered over restarts.
        trial: for one test alert beside the sink itself: nothing retained is touched, and the client id is another one.

    Raises:
        SinkError: a certificate, a secret or what was remembered cannot be read.
    """
    known = {} if trial else cameras
    remembered = None if trial else Announced(folder / safe_name(section.name) / "announced.json")
    name = section.client_id or f"spade-stream-{section.name}"
    return MqttSink(section, cameras=known, remembered=remembered, client_id=f"{name}-test" if trial else name)


class MqttSink:
    """See the module. An alert of a camera that is not among ``cameras`` is published, and nothing retained of it.

    Args:
        section: of the configuration.
        cameras: scene by camera.
        remembered: topics of earlier runs, so that those of cameras that left are cleared; None: nothing is retained.
        client_id: at the broker.

    Raises:
        SinkError: see :func:`open_mqtt`. A broker that is not there is no error yet.
    """

    def __init__(
        self, section: MqttSection, *, cameras: Mapping[str, str], remembered: Announced | None, client_id: str
    ) -> None:
        self._topics, self._snapshots = Topics(section.prefix, section.discovery), section.snapshots
        self._cameras, self._remembered = cameras, remembered
        open_alerts = remembered.open_alerts if remembered else frozenset()
        self._retained = {name: _Retained(ON if name in open_alerts else OFF) for name in cameras}
        self._lock = threading.Lock()  # of _retained: what is published follows it in the same order
        self._under_way: tuple[Identity, list[int]] | None = None
        topics = {topic for camera in cameras for topic in self._topics.retained(camera)}
        self._departed = sorted(remembered.take(topics)) if remembered else []
        self._closed = False
        gone = Message(self._topics.status, OFFLINE.encode(), retain=True)
        self._last_word = gone if remembered else None
        self._link = MqttLink(section, client_id=client_id, will=self._last_word, standing=self._publish_standing)

    def deliver(self, alert: Alert, evidence: Evidence) -> None:
        """Publishes the alert and waits for the broker's confirmation; see :meth:`stream.sinks.base.Sink.deliver`."""
        self._check_open()
        if self._under_way is None or self._under_way[0] != identity_of(alert):
            self._link.await_connection()
            self._clear_departed()
            with self._lock:
                self._under_way = identity_of(alert), self._link.publish(self._messages(alert, evidence))
        sent = self._under_way[1]
        try:
            self._link.await_confirmation(sent)
        except SinkError:
            if self._link.all_confirmed(sent):  # refused, not lost: what is tried again has to be sent again
                self._under_way = None
            raise
        self._under_way = None
        if self._remembered is not None and alert.camera in self._cameras:
            self._remembered.set_open(alert.camera, alert.phase is not Phase.END)

    def tell(self, event: StateEvent) -> None:
        """Publishes a camera's state, retained; see :meth:`stream.sinks.base.EventSink.tell`."""
        self._check_open()
        if event.camera not in self._cameras:
            return
        self._link.await_connection()
        self._clear_departed()
        with self._lock:
            self._retained[event.camera].state = state_json(event)
            message = Message(self._topics.of(event.camera, "state"), state_json(event), retain=True)
            sent = self._link.publish([message])
        self._link.await_confirmation(sent)

    def close(self) -> None:
        """Says ``offline`` and leaves. May be called twice."""
        if not self._closed:
            self._closed = True
            self._link.close(self._last_word)

    def _check_open(self) -> None:
        if self._closed:
            raise SinkError("the MQTT sink is closed")

    def _messages(self, alert: Alert, evidence: Evidence) -> Iterator[Message]:
        body = json.dumps(without_pictures(alert).to_json(), separators=(",", ":")).encode()
        yield Message(self._topics.alerts(alert.camera), body)
        known = self._retained.get(alert.camera)
        if known is None:
            return
        known.alert, known.last = (OFF if alert.phase is Phase.END else ON), last_json(alert)
        yield self._keep(alert.camera, "last", known.last)
        yield self._keep(alert.camera, "alert", known.alert.encode())
        if self._snapshots and evidence.snapshot_jpeg:
            known.snapshot = evidence.snapshot_jpeg
            yield self._keep(alert.camera, "snapshot", known.snapshot)

    def _keep(self, camera: str, what: str, payload: bytes) -> Message:
        return Message(self._topics.of(camera, what), payload, retain=True)

    def _publish_standing(self, publish: Callable[[Message], object]) -> None:
        """In the network's thread, after each connection."""
        with self._lock:
            for message in self._standing():
                publish(message)

    def _standing(self) -> Iterator[Message]:
        if self._remembered is None:
            return
        for camera, known in self._retained.items():
            if self._topics.discovery is not None:
                about = device(self._topics, camera, self._cameras[camera], snapshots=self._snapshots)
                yield Message(self._topics.announcement(camera), about, retain=True)
            yield self._keep(camera, "alert", known.alert.encode())
            for what in ("state", "last", "snapshot"):
                if payload := getattr(known, what):
                    yield self._keep(camera, what, payload)
        yield Message(self._topics.status, ONLINE.encode(), retain=True)

    def _clear_departed(self) -> None:
        """Topics of cameras that left, and of a prefix that was changed."""
        if not self._departed or self._remembered is None:
            return
        self._link.await_confirmation(self._link.publish(Message(topic, b"", retain=True) for topic in self._departed))
        _log.info("cleared %d topic(s) of cameras that are no longer in the configuration", len(self._departed))
        self._remembered.forget(self._departed)
        self._departed = []


def state_json(event: StateEvent) -> bytes:
    """A camera event, and whether anybody watches that place."""
    return json.dumps({**event.to_json(), "watched": event.state is CameraState.LIVE}).encode()


def last_json(alert: Alert) -> bytes:
    """What of an alert fits into a sensor and its attributes. ``strength`` is score / threshold."""
    about: dict[str, Any] = {
        "alert_id": alert.alert_id,
        "phase": str(alert.phase),
        "started_at": iso_time(alert.started_at),
        "ended_at": None if alert.ended_at is None else iso_time(alert.ended_at),
        "strength": round(alert.score / alert.threshold, 3) if alert.threshold > 0 else None,
        "regions": len(alert.regions),
    }
    return json.dumps(about).encode()
