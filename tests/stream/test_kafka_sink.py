"""The Kafka sink at librdkafka's mock of a cluster, and at a producer that fails as it is told to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sink_partners import PICTURES, Cluster, an_alert

from stream.errors import SinkError, SinkRefused
from stream.messages import Alert, CameraState, StateEvent
from stream.sink_sections import KafkaSection
from stream.sinks.kafka import KafkaSink, check_kafka, open_kafka, producer_settings


def a_section(**settings: Any) -> KafkaSection:
    return KafkaSection(**{"type": "kafka", "servers": "127.0.0.1:9092", "timeout": 1.0, **settings})


# -- a cluster --------------------------------------------------------------------------------------------------------


@pytest.mark.kafka
def test_a_record_is_the_alert_keyed_by_camera_with_its_identity_in_the_headers() -> None:
    cluster = Cluster()
    sink = open_kafka(a_section(servers=cluster.servers, events="events", timeout=20.0))
    sink.deliver(an_alert(1), PICTURES)
    sink.tell(StateEvent("gate", CameraState.STALLED, "no frame for 5 s", 0.0, 4))
    sink.close()

    [record] = cluster.records("spade-stream.alerts", 1)
    [event] = cluster.records("events", 1)
    assert record.key() == event.key() == b"gate"
    assert Alert.from_json(json.loads(record.value())) == an_alert(1, mask=None, snapshot=None)
    headers = {"schema": b"spade-stream/alert/1", "alert_id": b"a1", "phase": b"start", "frame_seq": b"10"}
    assert dict(record.headers()) == headers
    assert json.loads(event.value())["state"] == "STALLED"


@pytest.mark.kafka
def test_an_alert_larger_than_a_broker_takes_is_refused_for_good() -> None:
    sink = open_kafka(a_section())
    with pytest.raises(SinkRefused, match=r"127\.0\.0\.1:9092: .*too large"):
        sink.deliver(an_alert(1, scene="x" * 1_100_000), PICTURES)


# -- a producer that does as it is told -------------------------------------------------------------------------------


class Error:
    """As librdkafka reports one."""

    def __init__(self, name: str, *, fatal: bool = False) -> None:
        self._name, self._fatal = name, fatal

    def name(self) -> str:
        return self._name

    def fatal(self) -> bool:
        return self._fatal

    def __str__(self) -> str:
        return f"KafkaError {self._name}"


class Producer:
    """Reports what it is told to; None is a delivery, "never" no report at all."""

    def __init__(self, report: Any) -> None:
        self.report, self.purged, self.waiting = report, False, list[Any]()

    def produce(self, topic: str, value: bytes, key: bytes, *, headers: Any, on_delivery: Any) -> None:
        self.waiting.append(on_delivery)

    def poll(self, timeout: float) -> int:
        if self.report == "never":
            return 0
        for callback in self.waiting:
            callback(self.report, None)
        self.waiting.clear()
        return 1

    def flush(self, timeout: float) -> int:
        return 0

    def purge(self) -> None:
        self.purged = True


def test_only_a_report_without_an_error_is_a_delivery() -> None:
    producer = Producer(Error("_MSG_TIMED_OUT"))
    sink = KafkaSink(a_section(), lambda: producer)
    with pytest.raises(SinkError, match="_MSG_TIMED_OUT"):
        sink.deliver(an_alert(1), PICTURES)
    producer.report = None
    sink.deliver(an_alert(1), PICTURES)
    assert not producer.purged


@pytest.mark.fault("Kafka's idempotent producer breaks for good", "a new producer is made; the alert is brought again")
def test_after_a_fatal_error_a_new_producer_is_made() -> None:
    producers = [Producer(Error("OUT_OF_ORDER_SEQUENCE_NUMBER", fatal=True)), Producer(None)]
    first, made = producers[0], iter(producers)
    sink = KafkaSink(a_section(), lambda: next(made))
    with pytest.raises(SinkError, match="OUT_OF_ORDER"):
        sink.deliver(an_alert(1), PICTURES)
    sink.deliver(an_alert(1), PICTURES)
    assert first.purged


def test_without_any_report_the_producer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.sinks.kafka._GRACE_S", -0.9)
    silent = Producer("never")
    sink = KafkaSink(a_section(), lambda: silent)
    with pytest.raises(SinkError, match="no report within 1 s"):
        sink.deliver(an_alert(1), PICTURES)
    assert silent.purged


# -- settings ---------------------------------------------------------------------------------------------------------


def test_a_record_is_safe_at_all_replicas_and_stands_there_once() -> None:
    settings = producer_settings(a_section())
    assert settings["acks"] == "all"
    assert settings["enable.idempotence"] is True
    assert settings["security.protocol"] == "PLAINTEXT"


def test_user_and_password_are_sent_over_tls(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret\n")
    section = a_section(tls=True, username="u", password_file=tmp_path / "password", ca=tmp_path / "ca.pem")
    settings = producer_settings(section)
    assert settings["security.protocol"] == "SASL_SSL"
    assert settings["sasl.mechanism"] == "SCRAM-SHA-512"
    assert settings["sasl.password"] == "s3cret"
    assert settings["ssl.ca.location"] == str(tmp_path / "ca.pem")


@pytest.mark.kafka
def test_the_check_names_brokers_and_topics_and_no_password() -> None:
    said = check_kafka(a_section(tls=True, username="u", password="s3cret", events="e"))
    assert said == "127.0.0.1:9092 (TLS), topic spade-stream.alerts and e"
