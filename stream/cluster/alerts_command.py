"""``alerts --cluster``: alerts of a whole cluster as JSON lines. For ``feed_commands``."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from stream.cluster.collector import NAME
from stream.cluster.model import OutboxPlace, OutboxState
from stream.cluster.ray_connect import directory_of, is_directory
from stream.cluster.subscriber import ClusterSubscriber, OutboxGap, Received
from stream.durable import safe_name
from stream.errors import KeyFileError, LinkLost, UsageError
from stream.keys import Role, SecretKey, load_secret
from stream.messages import Alert, Evidence, StateEvent, iso_time
from stream.stopping import StopSignal
from stream.tcp import raise_file_limit

DIRECTORY_WAIT = 5.0
"""Seconds after which the command says what it waits for."""

OUTBOX_SCHEMA = "spade-stream/outbox/1"
"""Name and version of the event that an outbox came or went missing."""

Save = Callable[[Path, Alert, Evidence], Alert]
"""Writes an alert's pictures to a folder, and names them in it."""

log = logging.getLogger(__name__)


def cluster_alerts(arguments: argparse.Namespace, stop: StopSignal, save: Save) -> int:
    """JSON lines of alerts. With ``--no-follow`` exits 1 where not everything could be had.

    Raises:
        UsageError: the name, the directory or its key cannot be used.
        LinkLost: with ``--no-follow``: something does not answer, or refuses.
    """
    if arguments.name == NAME:
        raise UsageError(f"--name {NAME}: under this name the run collects its alerts; choose another one")
    endpoint, key = _directory(arguments.cluster, arguments.cluster_name, arguments.key)
    raise_file_limit()  # each outbox takes some
    with ClusterSubscriber(
        endpoint,
        key=key,
        name=arguments.name,
        since=arguments.since,
        on_event=_print_event if arguments.events else None,
        on_outbox=_Told(events=arguments.events),
    ) as alerts:
        reported = _Reported(time.monotonic() + DIRECTORY_WAIT)
        while not stop():
            if arguments.no_follow and alerts.caught_up:
                return 1 if alerts.missing or alerts.gaps else 0
            received = alerts.poll(0.2)
            reported.look(alerts, endpoint, final=arguments.no_follow)
            if received is not None:
                _print(received, arguments.save, save)
                alerts.ack(received.outbox, received.alert.seq)
    return 0


def _directory(address: str, cluster: str, path: Path | None) -> tuple[str, SecretKey]:
    if not is_directory(address):
        endpoint, server, key = directory_of(address, cluster, path)
        return endpoint, replace(_usable(key, path), server=server)
    if path is None:
        made = "'spade-stream keys DIR --subscriber NAME' makes one"
        raise UsageError(f"--cluster {address}: needs a key, --key FILE ({made})")
    return address, _usable(load_secret(path), path)


def _usable(key: SecretKey, path: Path | None) -> SecretKey:
    if key.role in (Role.SUBSCRIBER, Role.LOCAL):
        return key
    raise KeyFileError(f"{path}: is a {key.role}'s key; a subscriber's is needed, or local.key")


class _Told:
    """Says on standard error which outboxes are missing, and with ``events`` as a JSON line what becomes of each."""

    def __init__(self, *, events: bool) -> None:
        self._events = events

    def __call__(self, place: OutboxPlace) -> None:
        if self._events:
            print(json.dumps(outbox_event(place)), flush=True)
        if place.state is OutboxState.MISSING:
            since = iso_time(place.since)
            text = f"outbox {place.id} of {place.node} is missing since {since}; its alerts come when its disk is back"
            print(text, file=sys.stderr, flush=True)


def outbox_event(place: OutboxPlace) -> dict[str, object]:
    """The published form (schema ``spade-stream/outbox/1``); the time is ISO 8601 in UTC."""
    return {
        "schema": OUTBOX_SCHEMA,
        "outbox": place.id,
        "node": place.node,
        "state": str(place.state),
        "last_seq": place.last_seq,
        "at_time": iso_time(place.since),
    }


class _Reported:
    """Says once what is waited for, and ends a command that is not to wait."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._said: set[str] = set()
        self._gaps: set[OutboxGap] = set()  # said; those of all outboxes come in no order of time

    def look(self, alerts: ClusterSubscriber, endpoint: str, *, final: bool) -> None:
        """Raises LinkLost where something does not answer, and nobody wants to wait for it."""
        for found in (gap for gap in alerts.gaps if gap not in self._gaps):
            self._gaps.add(found)
            numbers = f"alerts {found.gap.first} to {found.gap.last}"
            print(f"outbox {found.outbox}: {numbers} are gone for good (its retention)", file=sys.stderr, flush=True)
        if time.monotonic() < self._patience:
            return
        problems = alerts.problems
        if not alerts.connected:
            problems[""] = f"no directory answers at {endpoint}: does the cluster run, and does it let this key in?"
        for name, problem in problems.items():
            text = f"outbox {name}: {problem}" if name else problem
            if final:
                raise LinkLost(text)
            if name not in self._said:
                log.warning("%s; waiting", text)
        self._said = set(problems)


def _print(received: Received, folder: Path | None, save: Save) -> None:
    alert = received.alert
    if folder is not None:  # numbers of different outboxes are the same
        alert = save(folder / safe_name(received.outbox), alert, received.evidence)
    print(json.dumps(alert.to_json()), flush=True)


def _print_event(outbox: str, event: StateEvent) -> None:
    print(json.dumps({**event.to_json(), "outbox": outbox}), flush=True)
