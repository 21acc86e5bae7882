"""One connection to an MQTT broker, kept up by paho's own thread. For ``mqtt``, which says what is published.

Two threads meet here: the sink's, which publishes and waits, and the network's, which connects again and hears
confirmations. Nothing is published while there is no connection, so that no queue grows.
"""

from __future__ import annotations

import logging
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from stream.errors import SinkError, SinkRefused
from stream.sink_sections import MqttSection
from stream.sinks.secret_file import secret_of

RECONNECT_MOST_S = 30
"""Seconds between two attempts to connect, at most."""

_CONNECT_S = 5.0  # for one attempt to connect, which a sink that is to end has to wait for
_QUEUE = 10_000  # messages; what is published after each new connection is some per camera
_TOO_LARGE = 0x95  # PUBACK: packet too large
_NEVER = (0x90, _TOO_LARGE, 0x99)  # topic name invalid, too large, payload format invalid: of this message, for good
_HEAD = 16  # bytes of a packet beside topic and payload, at most

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Message:
    """Something to publish, at QoS 1."""

    topic: str
    payload: bytes = field(repr=False)
    retain: bool = False

    @property
    def size(self) -> int:
        """Bytes of its packet, or some more."""
        return _HEAD + len(self.topic.encode()) + len(self.payload)


class MqttLink:
    """A connection that comes back by itself, once it was started.

    Args:
        section: broker, credentials and times.
        client_id: of this connection; a second one with the same id takes its place at the broker.
        will: published by the broker when this side is gone without a word; None: nothing.
        standing: what is published after each new connection; called in the network's thread.

    Raises:
        SinkError: a certificate or secret cannot be read.
    """

    def __init__(
        self,
        section: MqttSection,
        *,
        client_id: str,
        will: Message | None,
        standing: Callable[[Callable[[Message], object]], None],
    ) -> None:
        self._timeout, self._standing = section.timeout, standing
        self._address = broker_of(section)
        self._problem = "no answer yet"
        self._connected = threading.Event()
        self._answers = threading.Lock()  # of the next two; held for no call into paho, which has locks of its own
        self._confirmed: dict[int, ReasonCode] = {}  # by message id, of what is or will be waited for
        self._abandoned: set[int] = set()  # message ids that nobody waits for any more
        self._standing_sent: dict[int, str] = {}  # topic by message id; used by the network's thread alone
        self._standing_problem = ""
        self._most: int | None = None  # bytes of a packet, as the broker says
        self._lost = 0
        self._news = threading.Event()
        self._client = client = _client(section, client_id)
        if will is not None:
            client.will_set(will.topic, will.payload, qos=1, retain=will.retain)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.connect_async(section.host, _port(section), keepalive=section.keepalive)

    def start(self) -> None:
        """Connects, and from now on again and again."""
        self._client.loop_start()

    @property
    def connected(self) -> bool:
        """Whether the broker has taken this connection and it stands."""
        return self._connected.is_set()

    @property
    def most_bytes(self) -> int | None:
        """The largest packet that the broker takes, as it said (MQTT 5); None: it did not say."""
        return self._most

    @property
    def lost(self) -> int:
        """How often a connection that stood was lost."""
        return self._lost

    @property
    def standing_problem(self) -> str:
        """What of the standing messages the broker did not take since it was connected; empty: it said nothing."""
        return self._standing_problem

    def fits(self, message: Message) -> bool:
        """Whether the broker takes packets of this size, as far as it has said."""
        return self._most is None or message.size <= self._most

    def await_connection(self) -> None:
        """Waits for it for ``timeout`` seconds. Raises SinkError, with what stood in the way last."""
        if not self._connected.wait(self._timeout):
            raise SinkError(f"MQTT broker {self._address}: {self._problem}")

    def publish(self, messages: Iterable[Message]) -> list[int]:
        """Sends messages and returns what to wait for, and to :meth:`forget` then. One thread alone."""
        return [self._publish(message) for message in messages]

    def forget(self, sent: Iterable[int]) -> None:
        """Nobody waits for these any more. Ids come again, and an old answer must not be taken for a new one."""
        with self._answers:
            self._abandoned |= {number for number in sent if self._confirmed.pop(number, None) is None}

    def settle(self, messages: Iterable[Message]) -> None:
        """Publishes and waits, once. Raises as :meth:`await_confirmation`."""
        sent = self.publish(messages)
        try:
            self.await_confirmation(sent)
        finally:
            self.forget(sent)

    def too_large(self, number: int) -> bool:
        """Whether the broker has refused this message as too large."""
        answer = self._confirmed.get(number)
        return answer is not None and answer.value == _TOO_LARGE

    def await_confirmation(self, sent: list[int]) -> None:
        """Waits until the broker has confirmed all of them.

        Raises:
            SinkRefused: it says that it never takes one of them.
            SinkError: it refuses one of them, or does not answer within ``timeout`` seconds. What is not confirmed goes
                on by itself: wait again before anything is sent again.
        """
        deadline = time.monotonic() + self._timeout
        while True:
            self._news.clear()
            self._raise_refusal(sent)
            if self.all_confirmed(sent):
                return
            if not self._news.wait(max(0.0, deadline - time.monotonic())):
                problem = "no confirmation" if self.connected else self._problem
                raise SinkError(f"MQTT broker {self._address}: {problem} within {self._timeout:g} s")

    def all_confirmed(self, sent: list[int]) -> bool:
        """Whether the broker has answered to all of them, be it with a refusal."""
        return all(number in self._confirmed for number in sent)

    def close(self, last: Message | None) -> None:
        """Publishes ``last``, if there is a connection, and leaves. May be called twice."""
        if last is not None and self.connected:
            try:
                self.settle([last])
            except SinkError as error:
                _log.warning("the last word was not confirmed: %s", error)
        self._connected.clear()
        self._client.disable_logger()  # it would call this end an error
        self._client.disconnect()
        self._client.loop_stop()

    def _publish(self, message: Message) -> int:
        info = self._client.publish(message.topic, message.payload, qos=1, retain=message.retain)
        if info.rc == MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:
            raise SinkError(f"MQTT broker {self._address}: takes nothing, and {_QUEUE} messages wait")
        return info.mid

    def _raise_refusal(self, sent: list[int]) -> None:
        for number in sent:
            reason = self._confirmed.get(number)
            if reason is None or not reason.is_failure:
                continue
            text = f"MQTT broker {self._address} refuses what is published: {reason}. Check its access list and limits"
            raise SinkRefused(text) if reason.value in _NEVER else SinkError(text)

    # -- in the network's thread --------------------------------------------------------------------------------------

    def _on_connect(self, client: Any, data: Any, flags: Any, reason: ReasonCode, properties: Any) -> None:
        if reason.is_failure:
            self._problem = f"refuses the connection: {reason}. Check user name, password and client id"
            _log.warning("MQTT broker %s %s", self._address, self._problem)
            return
        _log.info("MQTT broker %s: connected", self._address)
        self._most = getattr(properties, "MaximumPacketSize", None)
        self._standing_problem = ""
        try:
            self._standing(self._publish_standing)
        except SinkError as error:
            _log.warning("%s", error)
        self._connected.set()

    def _publish_standing(self, message: Message) -> None:
        if self.fits(message):
            self._standing_sent[self._publish(message)] = message.topic
        else:
            self._standing_failed(message.topic, f"it takes {self._most} bytes, these are {message.size}")

    def _standing_failed(self, topic: str, why: object) -> None:
        self._standing_problem = f"{topic}: {why}"
        _log.warning("MQTT broker %s does not take %s: %s", self._address, topic, why)

    def _on_connect_fail(self, client: Any, data: Any) -> None:
        # paho does not hand the error over, but it is the one that is being handled.
        error = sys.exc_info()[1]
        self._problem = f"cannot be reached: {error}. Check address, port and TLS"
        _log.warning("MQTT broker %s %s", self._address, self._problem)

    def _on_disconnect(self, client: Any, data: Any, flags: Any, reason: ReasonCode, properties: Any) -> None:
        if self._connected.is_set():
            self._problem = f"the connection was lost: {reason}"
            self._lost += 1
            _log.warning("MQTT broker %s: %s", self._address, self._problem)
        self._connected.clear()

    def _on_publish(self, client: Any, data: Any, number: int, reason: ReasonCode, properties: Any) -> None:
        # paho holds its own lock around this call, so that no lock may be taken here that is held around calls into it.
        topic = self._standing_sent.pop(number, None)
        if reason.is_failure:
            _log.warning("MQTT broker %s refuses a message: %s", self._address, reason)
        if topic is not None:
            if reason.is_failure:
                self._standing_failed(topic, reason)
            return
        with self._answers:
            if number in self._abandoned:
                self._abandoned.remove(number)
                return
            self._confirmed[number] = reason
        self._news.set()


def broker_of(section: MqttSection) -> str:
    """``host:port`` of a section's broker."""
    return f"{section.host}:{_port(section)}"


def check_mqtt(section: MqttSection) -> str:
    """The broker in words. Raises SinkError where a certificate or secret cannot be read."""
    _client(section, "check")
    how = "TLS" if section.tls else "not encrypted"
    discovery = f", discovery below {section.discovery}" if section.discovery else ""
    return f"{broker_of(section)} ({how}), topics below {section.prefix}{discovery}"


def _port(section: MqttSection) -> int:
    return section.port or (8883 if section.tls else 1883)


def _client(section: MqttSection, client_id: str) -> paho.Client:
    version = MQTTProtocolVersion.MQTTv5 if section.version == 5 else MQTTProtocolVersion.MQTTv311
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=version)
    client.suppress_exceptions = True  # an error in a callback is logged, and does not end the network's thread
    client.enable_logger(logging.getLogger(f"{__name__}.paho"))
    client.reconnect_delay_set(1, RECONNECT_MOST_S)
    client.connect_timeout = min(section.timeout, _CONNECT_S)
    client.max_queued_messages_set(_QUEUE)
    if section.username is not None:
        client.username_pw_set(section.username, secret_of(section.password, section.password_file))
    if section.tls:
        client.tls_set_context(_tls(section))
    return client


def _tls(section: MqttSection) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=None if section.ca is None else str(section.ca))
        if section.certificate is not None and section.key is not None:
            context.load_cert_chain(section.certificate, section.key)
    except OSError as error:  # ssl.SSLError is one
        files = [str(path) for path in (section.ca, section.certificate, section.key) if path]
        raise SinkError(f"{', '.join(files)}: TLS cannot be set up: {error.strerror or error}") from error
    return context
