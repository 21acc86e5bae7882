"""Alerts as records of a Kafka topic, keyed by camera, so that those of one camera stay in order.

An alert is delivered when all replicas in sync have it (``acks=all``), as the delivery report says. The producer is
idempotent: what it sends again by itself stands in the topic once. Needs confluent-kafka, the extra ``kafka``.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from stream.errors import ConfigError, SinkError, SinkRefused
from stream.messages import Alert, Evidence, StateEvent
from stream.sink_sections import KafkaSection
from stream.sinks.base import without_pictures
from stream.sinks.secret_file import secret_of

_POLL_S = 0.1  # how long librdkafka is asked at a stretch
_LEAVE_S = 2.0  # to hand over what is still under way when the sink is closed
_GRACE_S = 5.0  # beyond librdkafka's own time-out, which reports by itself

_log = logging.getLogger(__name__)


class Producer(Protocol):
    """What this needs of a ``confluent_kafka.Producer``."""

    def produce(self, topic: str, value: bytes, key: bytes, *, headers: Any, on_delivery: Any) -> None:
        """Queues a record."""
        ...

    def poll(self, timeout: float) -> int:
        """Serves delivery reports."""
        ...

    def flush(self, timeout: float) -> int:
        """Waits for what is queued; how much is left."""
        ...

    def purge(self) -> None:
        """Gives up what is queued."""
        ...


class KafkaSink:
    """See the module. The pictures stay where they are: a broker takes a megabyte, and a clip has more.

    Args:
        section: topics and times.
        connect: makes a producer; made anew after an error that librdkafka calls fatal.
    """

    def __init__(self, section: KafkaSection, connect: Callable[[], Producer]) -> None:
        self._section, self._connect = section, connect
        self._producer: Producer | None = connect()
        self._closed = False

    def deliver(self, alert: Alert, evidence: Evidence) -> None:
        """Produces one record and waits for its report; see :meth:`stream.sinks.base.Sink.deliver`."""
        about = without_pictures(alert).to_json()
        headers = {"alert_id": alert.alert_id, "phase": str(alert.phase), "frame_seq": str(alert.frame_seq)}
        self._send(self._section.topic, alert.camera, about, headers)

    def tell(self, event: StateEvent) -> None:
        """The same for a camera event, where there is a topic for them."""
        if self._section.events is not None:
            self._send(self._section.events, event.camera, event.to_json(), {"state": str(event.state)})

    def close(self) -> None:
        """Leaves. May be called twice."""
        self._closed = True
        if self._producer is not None:
            self._producer.flush(_LEAVE_S)
            self._producer = None

    def _send(self, topic: str, key: str, about: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        if self._closed:
            raise SinkError("the Kafka sink is closed")
        producer = self._producer = self._producer or self._connect()
        reports: list[Any] = []
        value = json.dumps(about, separators=(",", ":")).encode()
        try:
            producer.produce(
                topic,
                value,
                key.encode(),
                headers=[("schema", str(about["schema"]).encode()), *((k, v.encode()) for k, v in headers.items())],
                on_delivery=lambda error, message: reports.append(error),
            )
        except Exception as error:  # KafkaException, BufferError: the library is not imported here
            raise self._failure(_error_in(error)) from None
        deadline = time.monotonic() + self._section.timeout + _GRACE_S
        while not reports and time.monotonic() < deadline:
            producer.poll(_POLL_S)
        if not reports:
            self._start_anew(producer)
            raise SinkError(f"Kafka {self._section.servers}: no report within {self._section.timeout:g} s")
        if reports[0] is not None:
            raise self._failure(reports[0])

    def _failure(self, error: Any) -> SinkError:
        text = f"Kafka {self._section.servers}: {error}. Check brokers, topic and rights"
        if getattr(error, "fatal", lambda: False)() and self._producer is not None:
            self._start_anew(self._producer)
        name = getattr(error, "name", lambda: "")()
        return SinkRefused(text) if name in ("MSG_SIZE_TOO_LARGE", "INVALID_RECORD") else SinkError(text)

    def _start_anew(self, producer: Producer) -> None:
        producer.purge()
        self._producer = None


def open_kafka(section: KafkaSection) -> KafkaSink:
    """The sink of a section.

    Raises:
        ConfigError: confluent-kafka is not installed, or refuses the settings.
        SinkError: a secret cannot be read.
    """
    return KafkaSink(section, _connector(section))


def check_kafka(section: KafkaSection) -> str:
    """The brokers in words. Raises as :func:`open_kafka`; nothing is connected."""
    _connector(section)
    events = f" and {section.events}" if section.events else ""
    return f"{section.servers} ({'TLS' if section.tls else 'not encrypted'}), topic {section.topic}{events}"


def producer_settings(section: KafkaSection) -> dict[str, Any]:
    """As librdkafka names them. Holds the password: never to be logged. Raises SinkError."""
    secured, named = section.tls, section.username is not None
    settings: dict[str, Any] = {
        "bootstrap.servers": section.servers,
        "client.id": f"spade-stream-{section.name}",
        "security.protocol": f"{'SASL_' * named}{'SSL' if secured else 'PLAINTEXT'}",
        "enable.idempotence": True,
        "acks": "all",
        "compression.type": "gzip",
        "linger.ms": 0,  # one record at a time is waited for
        "message.timeout.ms": int(section.timeout * 1000),
        "queue.buffering.max.messages": 1000,
    }
    files = {
        "ssl.ca.location": section.ca,
        "ssl.certificate.location": section.certificate,
        "ssl.key.location": section.key,
    }
    settings |= {name: str(path) for name, path in files.items() if path is not None}
    if named:
        password = secret_of(section.password, section.password_file) or ""
        settings |= {"sasl.mechanism": section.mechanism, "sasl.username": section.username, "sasl.password": password}
    return settings


def _connector(section: KafkaSection) -> Callable[[], Producer]:
    try:
        import confluent_kafka
    except ImportError:
        problem = "type kafka needs confluent-kafka, which is not installed: pip install 'spade-stream[kafka]'"
        raise ConfigError(f"sink {section.name}", [problem]) from None
    settings = producer_settings(section)

    def connect() -> Producer:
        try:
            producer: Producer = confluent_kafka.Producer(settings, logger=_log)
        except confluent_kafka.KafkaException as error:
            raise ConfigError(f"sink {section.name}", [f"Kafka's library refuses the settings: {error}"]) from None
        return producer

    return connect


def _error_in(error: Exception) -> Any:
    """The ``KafkaError`` that a ``KafkaException`` carries, else the exception itself."""
    return error.args[0] if error.args and hasattr(error.args[0], "name") else error
