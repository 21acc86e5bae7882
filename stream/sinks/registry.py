"""Every kind of sink there is: its section in the configuration, how it is opened, what ``check`` says of it.

The one place to add a kind. What a kind needs of libraries is imported when a sink of it is opened, not before.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream import sink_sections as sections
from stream.errors import UsageError
from stream.sink_sections import ALL_PHASES
from stream.sinks.base import Sink


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a sink may know of where it runs."""

    cameras: Mapping[str, str]  # scene by camera, as in the configuration
    folder: Path  # for what sinks remember (``Config.sink_folder``)
    keys: Path | None = None  # folder of a server's keys (``security.keys``)
    trial: bool = False  # opened beside the sink itself, for one test alert: it must not stand in its way


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of sink. The functions take its section, which must be whole: see ``sink_sections.sink_problems``."""

    section: type[sections.SinkSection]
    open: Callable[[Any, Surroundings], Sink]  # raises StreamError
    check: Callable[[Any], str]  # one line for people, without secrets; raises StreamError where it could not be opened
    takes_trials: bool = True  # False: what it writes is kept, so that opening it has to be test enough


def open_sink(section: sections.SinkSection, around: Surroundings) -> Sink:
    """Opens the sink of a section.

    Raises:
        StreamError: it cannot work with this section.
    """
    return KINDS[section.type].open(section, around)


def check_sink(section: sections.SinkSection) -> str:
    """Where a sink delivers, in words; nothing is connected. Raises StreamError where it could not be opened."""
    return f"{section.type}, {KINDS[section.type].check(section)}"


def _open_jsonl(section: sections.JsonLinesSection, around: Surroundings) -> Sink:
    from stream.sinks.jsonl import JsonLinesSink

    return JsonLinesSink(section.folder, days=section.days)


def _open_stdout(section: sections.StdoutSection, around: Surroundings) -> Sink:
    from stream.sinks.stdout import StdoutSink

    return StdoutSink(sys.stdout)


def _open_mqtt(section: sections.MqttSection, around: Surroundings) -> Sink:
    from stream.sinks.mqtt import open_mqtt

    return open_mqtt(section, cameras=around.cameras, folder=around.folder, trial=around.trial)


def _check_mqtt(section: sections.MqttSection) -> str:
    from stream.sinks.mqtt_link import check_mqtt

    return check_mqtt(section)


def _open_webhook(section: sections.WebhookSection, around: Surroundings) -> Sink:
    from stream.sinks.webhook import WebhookSink

    # A test is to arrive, whichever messages are wanted otherwise.
    return WebhookSink(section.model_copy(update={"phases": ALL_PHASES}) if around.trial else section)


def _check_webhook(section: sections.WebhookSection) -> str:
    from stream.sinks.webhook import check_webhook

    return check_webhook(section)


def _open_kafka(section: sections.KafkaSection, around: Surroundings) -> Sink:
    from stream.sinks.kafka import open_kafka

    return open_kafka(section)


def _check_kafka(section: sections.KafkaSection) -> str:
    from stream.sinks.kafka import check_kafka

    return check_kafka(section)


def _open_zmq(section: sections.ZmqSection, around: Surroundings) -> Sink:
    from stream.sinks.zmq_publish import open_zmq

    return open_zmq(section, keys=around.keys)


def _check_zmq(section: sections.ZmqSection) -> str:
    pictures = f", with {', '.join(section.pictures)}" if section.pictures else ""
    return f"{section.endpoint}{pictures}"


KINDS: Mapping[str, Kind] = {
    "jsonl": Kind(sections.JsonLinesSection, _open_jsonl, lambda section: str(section.folder), takes_trials=False),
    "stdout": Kind(sections.StdoutSection, _open_stdout, lambda section: "standard output"),
    "mqtt": Kind(sections.MqttSection, _open_mqtt, _check_mqtt),
    "webhook": Kind(sections.WebhookSection, _open_webhook, _check_webhook),
    "kafka": Kind(sections.KafkaSection, _open_kafka, _check_kafka),
    "zmq": Kind(sections.ZmqSection, _open_zmq, _check_zmq),
}
"""By ``type`` in the configuration."""


def section_named(name: str, among: list[sections.SinkSection]) -> sections.SinkSection:
    """The sink of this name. Raises UsageError where there is none."""
    for section in among:
        if section.name == name:
            return section
    known = ", ".join(section.name for section in among) or "none"
    raise UsageError(f"--name {name!r}: the configuration has no such sink; it has: {known}")
