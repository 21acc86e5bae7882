"""Alerts and the states of cameras for an MQTT broker, and for Home Assistant behind it.

An alert is delivered when the broker has confirmed it (PUBACK) together with what it changes of the retained topics.
What is retained is published anew after each connection: a broker that was restarted may have lost it.

A picture must not stand in the way of an alert: one that is too large for the broker is made smaller, or left out.
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
from stream.errors import SinkError, SinkRefused
from stream.messages import Alert, CameraState, Evidence, Phase, StateEvent, iso_time
from stream.sink_sections import MqttSection
from stream.sinks.announced import Announced
from stream.sinks.base import identity_of, without_pictures
from stream.sinks.home_assistant import OFF, OFFLINE, ON, ONLINE, Topics, device
from stream.sinks.mqtt_link import Message, MqttLink
from stream.sinks.smaller import fitted
from stream.sinks.snapshot_limit import SnapshotLimit

LOST_TIMES = 3
"""Connections lost during one delivery after which its snapshot is held to be what the broker does not stand."""

_log = logging.getLogger(__name__)

Identity = tuple[str, str, int]


@dataclass(slots=True)
class _Retained:
    """What a broker keeps of one camera."""

    alert: str  # ON or OFF
    state: bytes = b""  # JSON; empty: not told yet
    last: bytes = b""  # JSON of the last alert message; empty: there was none since this process began
    snapshot: bytes = b""  # JPEG of the last that the broker has confirmed


@dataclass(frozen=True, slots=True)
class _UnderWay:
    """A delivery that is not confirmed yet."""

    identity: Identity
    sent: list[int]  # to be confirmed; with a snapshot, that is the last
    lost: int  # connections lost before it
    snapshot: bytes  # that is among them; empty: none
    problem: str  # why the broker can never take the alert itself; empty: it may


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
        self._under_way: _UnderWay | None = None
        self._left_out = ""  # in words: the last snapshot, where there was no sending it
        self._limit = SnapshotLimit()
        own = [self._topics.retained(camera, snapshots=section.snapshots) for camera in cameras]
        self._departed = sorted(remembered.take({topic for topics in own for topic in topics})) if remembered else []
        if remembered is not None:
            remembered.keep_open(cameras)
        self._closed = False
        gone = Message(self._topics.status, OFFLINE.encode(), retain=True)
        self._last_word = gone if remembered else None
        self._section, self._client_id = section, client_id
        self._link = self._new_link()
        self._link.start()

    def deliver(self, alert: Alert, evidence: Evidence) -> None:
        """Publishes the alert and waits for the broker's confirmation; see :meth:`stream.sinks.base.Sink.deliver`."""
        self._check_open()
        under_way = self._under_way
        if under_way is None or under_way.identity != identity_of(alert):
            self._link.await_connection()
            self._clear_departed()
            self._end()  # of one that was laid aside, before all of it was answered
            under_way = self._begin(alert, evidence)
        try:
            self._link.await_confirmation(under_way.sent)
        except SinkError as error:
            raise self._failed(under_way, error) from None
        self._end()
        known = self._retained.get(alert.camera)
        if known is not None and under_way.snapshot:
            known.snapshot = under_way.snapshot
        if evidence.snapshot_jpeg and known is not None and self._snapshots:
            self._limit.taken()
        if under_way.problem:
            raise SinkRefused(under_way.problem)

    def tell(self, event: StateEvent) -> None:
        """Publishes a camera's state, retained; see :meth:`stream.sinks.base.EventSink.tell`."""
        self._check_open()
        if event.camera not in self._cameras:
            return
        self._link.await_connection()
        self._clear_departed()
        with self._lock:
            self._retained[event.camera].state = state_json(event)
            message = self._keep(event.camera, "state", state_json(event))
            sent = self._link.publish([message])
        try:
            self._link.await_confirmation(sent)
        finally:
            self._link.forget(sent)

    def tend(self) -> SinkError | None:
        """What the broker does not take though alerts reach it; see :meth:`stream.sinks.base.Tended.tend`."""
        if problem := self._link.standing_problem:
            return SinkError(f"the MQTT broker does not take {problem}. Check its access list and limits")
        if self._left_out:
            return SinkError(f"{self._left_out}. Check the MQTT broker's limits; alerts reach it")
        return None

    def close(self) -> None:
        """Says ``offline`` and leaves. May be called twice."""
        if not self._closed:
            self._closed = True
            self._link.close(self._last_word)

    def _new_link(self) -> MqttLink:
        return MqttLink(self._section, client_id=self._client_id, will=self._last_word, standing=self._publish_standing)

    def _check_open(self) -> None:
        if self._closed:
            raise SinkError("the MQTT sink is closed")

    def _begin(self, alert: Alert, evidence: Evidence) -> _UnderWay:
        body = json.dumps(without_pictures(alert).to_json(), separators=(",", ":")).encode()
        message = Message(self._topics.alerts(alert.camera), body)
        fits = self._link.fits(message)
        problem = f"the MQTT broker takes {self._link.most_bytes} bytes, and the alert has {message.size}"
        snapshot = self._snapshot(alert, evidence)
        if self._remembered is not None and (alert.phase is Phase.END or alert.camera in self._cameras):
            # Before it is confirmed: it comes again until then, and after that nobody would say it if this were killed.
            self._remembered.set_open(alert.camera, alert.phase is not Phase.END)
        with self._lock:
            messages = [*([message] if fits else []), *self._changes(alert, snapshot)]
            sent, lost = self._link.publish(messages), self._link.lost
        self._under_way = _UnderWay(identity_of(alert), sent, lost, snapshot, "" if fits else problem)
        return self._under_way

    def _changes(self, alert: Alert, snapshot: bytes) -> Iterator[Message]:
        """What it changes of the retained topics, also where the alert itself is too large for the broker."""
        known = self._retained.get(alert.camera)
        if known is None:
            return
        known.alert, known.last = (OFF if alert.phase is Phase.END else ON), last_json(alert)
        yield self._keep(alert.camera, "last", known.last)
        yield self._keep(alert.camera, "alert", known.alert.encode())
        if snapshot:
            yield self._keep(alert.camera, "snapshot", snapshot)

    def _snapshot(self, alert: Alert, evidence: Evidence) -> bytes:
        """The picture to publish, of a size that the broker takes; empty: none."""
        jpeg = evidence.snapshot_jpeg
        if not (self._snapshots and jpeg and alert.camera in self._cameras):
            return b""
        most = self._limit.most
        if self._link.most_bytes is not None:
            most = min(most, self._link.most_bytes - self._keep(alert.camera, "snapshot", b"").size)
        found = fitted(jpeg, most)
        self._left_out = "" if found else f"a snapshot of {len(jpeg)} bytes is left out, at most {most} are sent now"
        if not found:
            _log.warning("alert %d: its snapshot of %d bytes is left out, %d fit", alert.seq, len(jpeg), most)
        return found

    def _failed(self, under_way: _UnderWay, error: SinkError) -> SinkError:
        if under_way.snapshot and self._is_to_blame(under_way):
            self._suspect(under_way.snapshot)
            return SinkError(str(error))  # and no refusal: of the alert the broker has said nothing
        if self._link.all_confirmed(under_way.sent):  # refused, not lost: what is tried again has to be sent again
            self._end()
        return error

    def _is_to_blame(self, under_way: _UnderWay) -> bool:
        """Whether it may be the snapshot that the broker does not stand."""
        picture = under_way.sent[-1]
        if self._link.too_large(picture):
            return True
        return self._link.lost - under_way.lost >= LOST_TIMES and not self._link.all_confirmed([picture])

    def _suspect(self, snapshot: bytes) -> None:
        """The broker may not stand this picture: smaller ones for now, and nothing of it is sent again.

        Raises:
            SinkError: a certificate or secret cannot be read now; the link stays as it is, and this comes again.
        """
        fresh = self._new_link()  # before the old one is closed, for there may be none
        self._limit.suspect(len(snapshot))
        _log.warning(
            "the MQTT broker does not take a snapshot of %d bytes: for now they have %d at most",
            len(snapshot),
            self._limit.most,
        )
        with self._lock:
            for known in self._retained.values():
                known.snapshot = b""
        self._end()
        self._link.close(None)  # it would go on to send what is under way
        self._link = fresh
        self._link.start()

    def _end(self) -> None:
        if self._under_way is not None:
            self._link.forget(self._under_way.sent)
            self._under_way = None

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
        self._link.settle(Message(topic, b"", retain=True) for topic in self._departed)
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
