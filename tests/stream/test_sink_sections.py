"""The entries of ``sinks``: bounds, secrets from outside, and what is refused because others could read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stream.config import Config, build_config
from stream.errors import ConfigError
from stream.sink_sections import MqttSection, WebhookSection

HOOK = {"type": "webhook", "url": "https://hooks.example.org/x"}
MQTT = {"type": "mqtt", "host": "127.0.0.1"}
KAFKA = {"type": "kafka", "servers": "localhost:9092"}
ZMQ = {"type": "zmq"}


def build(sink: dict[str, Any], **environment: str) -> Config:
    data = {"cameras": [{"id": "gate", "source": "campus:"}], "sinks": [sink]}
    return build_config(data, where="test", base=Path("/base"), environment=environment)


@pytest.mark.parametrize("sink", [HOOK, MQTT, KAFKA, ZMQ], ids=lambda sink: sink["type"])
def test_the_shortest_entry_of_a_kind_is_enough(sink: dict[str, Any]) -> None:
    assert build(sink).sinks[0].name == sink["type"]


@pytest.mark.parametrize(
    ("sink", "problem"),
    [
        ({**HOOK, "url": "http://hooks.example.org/x"}, "sinks[0].url: is another machine, and nothing is encrypted"),
        ({**HOOK, "url": "ftp://localhost/"}, "sinks[0].url: must be http://... or https://"),
        ({**HOOK, "url": "https://h/ x"}, "sinks[0].url: must be"),
        ({**HOOK, "url": "https://[::1/"}, "sinks[0].url: is no URL"),
        ({**HOOK, "insecure": True}, "sinks[0].insecure: contradicts TLS"),
        ({**HOOK, "secret": "a", "secret_file": "b"}, "sinks[0].secret_file: give it or 'secret', not both"),
        ({**HOOK, "secret": ""}, "sinks[0].secret: is empty"),
        ({**HOOK, "headers": {"Host": "x"}}, "sinks[0].headers.Host: is set by the program itself"),
        ({**HOOK, "headers": {"X-A": "a\r\nX-B: b"}}, "sinks[0].headers.X-A: must be printable ASCII"),
        ({**HOOK, "values": {"topic": "x"}}, "sinks[0].values: are for a 'template'"),
        ({**HOOK, "phases": []}, "sinks[0].webhook.phases"),
        ({**HOOK, "pictures": ["video"]}, "sinks[0].webhook.pictures[0]"),
        ({**HOOK, "timeout": 26.0}, "sinks[0].webhook.timeout"),
        (
            {**HOOK, "template": "slack", "pictures": ["mask"], "pictures_as": "base64"},
            "sinks[0].pictures_as: base64 belongs to the alert's own JSON",
        ),
        ({**MQTT, "host": "broker.lan"}, "sinks[0].host: is another machine, and nothing is encrypted"),
        ({**MQTT, "password": "x"}, "sinks[0].username: is required with a password"),
        ({**MQTT, "username": "a", "password": "x", "password_file": "y"}, "sinks[0].password_file: give it or"),
        ({**MQTT, "ca": "ca.pem"}, "sinks[0].tls: is false, so that 'ca'"),
        ({**MQTT, "tls": True, "key": "k.pem"}, "sinks[0].certificate: give it and 'key', or neither"),
        ({**MQTT, "prefix": "a/#"}, "sinks[0].mqtt.prefix"),
        ({**MQTT, "prefix": "a/"}, "sinks[0].mqtt.prefix"),
        ({**MQTT, "version": 4}, "sinks[0].mqtt.version"),
        ({**KAFKA, "servers": "localhost"}, "sinks[0].kafka.servers"),
        ({**KAFKA, "servers": "localhost:9092,kafka.lan:9092"}, "sinks[0].servers: is another machine"),
        ({**ZMQ, "endpoint": "tcp://0.0.0.0:5580"}, "sinks[0].endpoint: other machines can reach"),
        ({**ZMQ, "endpoint": "udp://x"}, "sinks[0].endpoint: endpoint 'udp://x'"),
    ],
)
def test_what_cannot_work_or_is_open_to_others_is_refused_and_named(sink: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(sink)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    "sink",
    [
        {**HOOK, "url": "http://hooks.lan/x", "insecure": True},
        {**HOOK, "url": "http://127.0.0.1:8000/x"},
        {**MQTT, "host": "broker.lan", "tls": True},
        {**MQTT, "host": "broker.lan", "insecure": True},
        {**ZMQ, "endpoint": "tcp://0.0.0.0:5580", "insecure": True},
        {**KAFKA, "servers": "a.lan:9092", "tls": True},
    ],
)
def test_what_is_encrypted_near_or_meant_to_be_open_is_allowed(sink: dict[str, Any]) -> None:
    build(sink)


def test_secrets_come_from_the_environment() -> None:
    sink = build(
        {**HOOK, "url": "https://h/${TOKEN}", "secret": "${KEY}", "headers": {"Authorization": "Bearer ${TOKEN}"}},
        TOKEN="t0ken",
        KEY="k3y",
    ).sinks[0]
    assert isinstance(sink, WebhookSection)
    assert (sink.url, sink.secret, sink.headers) == ("https://h/t0ken", "k3y", {"Authorization": "Bearer t0ken"})
    mqtt = build({**MQTT, "username": "${USER_NAME}", "password": "${KEY}"}, USER_NAME="u", KEY="k3y").sinks[0]
    assert isinstance(mqtt, MqttSection)
    assert (mqtt.username, mqtt.password) == ("u", "k3y")


def test_a_secret_that_is_not_set_is_named() -> None:
    with pytest.raises(ConfigError, match=r"sinks\[0\]\.headers\.X-Key: environment variable KEY is not set"):
        build({**HOOK, "headers": {"X-Key": "${KEY}"}})


@pytest.mark.parametrize("field", ["secret", "url", "username", "password"])
def test_a_secret_of_the_wrong_kind_is_not_shown(field: str) -> None:
    sink = HOOK if field in ("secret", "url") else MQTT
    with pytest.raises(ConfigError) as caught:
        build({**sink, field: 4711})
    assert "4711" not in str(caught.value)


def test_no_secret_is_in_the_repr_of_a_configuration() -> None:
    config = build({**HOOK, "url": "https://h/s3cret", "secret": "s3cret", "headers": {"A": "s3cret"}})
    assert "s3cret" not in repr(config)
    assert "s3cret" not in repr(build({**MQTT, "username": "s3cret", "password": "s3cret"}))


def test_a_template_is_a_ready_one_or_a_file_beside_the_configuration() -> None:
    ready, own = (build({**HOOK, "template": name}).sinks[0] for name in ("slack", "templates/own.json"))
    assert isinstance(ready, WebhookSection)
    assert isinstance(own, WebhookSection)
    assert (ready.template, own.template) == ("slack", "/base/templates/own.json")
