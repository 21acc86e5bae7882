"""The commands that ask a running feed: ``alerts``, ``status``. One function a command: (arguments, stop) -> exit code.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from stream import security
from stream.cluster.alerts_command import cluster_alerts
from stream.durable import write_durably
from stream.errors import LinkLost, UsageError
from stream.messages import Alert, Evidence, StateEvent
from stream.stopping import StopSignal
from stream.subscriber import AlertSubscriber, request_status

log = logging.getLogger(__name__)

FEED_WAIT = 5.0
"""Seconds after which ``alerts`` says that no feed answers."""


def alerts(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """JSON lines of alerts."""
    if arguments.cluster is not None:
        return cluster_alerts(arguments, stop, _save)
    if isinstance(arguments.since, dict):
        raise UsageError("--since OUTBOX=N: one feed has one number; name a cluster with --cluster")
    patience: float | None = time.monotonic() + FEED_WAIT
    on_event = _print_event if arguments.events else None
    with AlertSubscriber(
        arguments.connect,
        since=arguments.since,
        name=arguments.name,
        on_event=on_event,
        secure=security.command_client(arguments.key),
    ) as subscriber:
        while not stop():
            if arguments.no_follow and subscriber.caught_up:
                return 0
            found = subscriber.poll(0.2)
            if patience is not None and (subscriber.connected or time.monotonic() > patience):
                patience = None  # said once
                if not subscriber.connected and arguments.no_follow:
                    raise LinkLost(f"no feed answers at {arguments.connect}: does it run, and does it want a key?")
                if not subscriber.connected:
                    log.warning("no feed answers at %s yet (or it wants a key); waiting for one", arguments.connect)
            if found is None:
                continue
            alert, evidence = found
            if arguments.save is not None:
                alert = _save(arguments.save, alert, evidence)
            print(json.dumps(alert.to_json()), flush=True)
            subscriber.ack(alert.seq)
    return 0


def _print_event(event: StateEvent) -> None:
    print(json.dumps(event.to_json()), flush=True)


def status(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """States of all cameras. Exits 1 if any camera is not watched, or a sink takes nothing."""
    answer = request_status(arguments.connect, 3.0, secure=security.command_client(arguments.key))
    if arguments.json:
        print(json.dumps(answer, indent=1))
    else:
        _print_status(answer)
    watched = answer.get("worker", {}).get("state") == "RUNNING"
    watched = watched and all(c["state"] in ("LIVE", "ENDED") for c in answer.get("cameras", {}).values())
    return 0 if watched and not _down(answer) else 1


def _save(folder: Path, alert: Alert, evidence: Evidence) -> Alert:
    """The alert with its pictures written to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{alert.seq:08d}-{alert.alert_id}-{alert.phase}"

    def write(suffix: str, data: bytes) -> str | None:
        if not data:
            return None
        write_durably(folder / f"{stem}-{suffix}", data)
        return str(folder / f"{stem}-{suffix}")

    return replace(
        alert,
        mask=write("mask.png", evidence.mask_png),
        snapshot=write("snapshot.jpg", evidence.snapshot_jpeg),
        clip=write("clip.mp4", evidence.clip_mp4),
    )


def _down(answer: dict[str, Any]) -> bool:
    """Whether a process is not there, or the supervisor that should start it again, or a sink takes nothing."""
    states = [process["state"] for process in answer.get("processes", {}).values()]
    failing = any(sink.get("failing_since") for sink in answer.get("sinks", {}).values())
    lost = answer.get("supervisor", {}).get("state") == "NOT_ANSWERING"
    return lost or failing or not {"waiting", "hung"}.isdisjoint(states)


def _print_processes(answer: dict[str, Any]) -> None:
    supervisor = answer.get("supervisor", {})
    if supervisor.get("state") == "NOT_ANSWERING":
        print(f"supervisor NOT_ANSWERING {supervisor['reason']}")
    for name, process in answer.get("processes", {}).items():
        if process["restarts"] or process["state"] in ("waiting", "hung"):
            print(
                f"process {name}: {process['state']}, {process['restarts']} restart(s), "
                f"{process['hung']} of them because it hung; last end: {process['last_exit']}"
            )
    if error := answer.get("config", {}).get("error"):
        print(f"configuration not reloaded, the one of {answer['config']['loaded']} is in force: {error}")


def _print_sinks(answer: dict[str, Any]) -> None:
    """Those that take nothing at the moment, and those that refused something for good."""
    for name, sink in sorted(answer.get("sinks", {}).items()):
        if sink.get("failing_since"):
            print(f"sink {name}: takes nothing since {sink['failing_since']}: {sink['last_error']}")
        if sink.get("rejected"):
            print(f"sink {name}: {sink['rejected']} alert(s) laid aside in sinks/{name}/rejected of the state folder")


def _print_status(answer: dict[str, Any]) -> None:
    _print_processes(answer)
    _print_sinks(answer)
    worker = answer.get("worker", {})
    print(f"worker {worker.get('state')} {worker.get('reason', '')}".rstrip())
    for name, camera in sorted(answer.get("cameras", {}).items()):
        # Frames between two samples are passed over on purpose; only the others are lost.
        dropped = sum(count for reason, count in camera["drops"].items() if reason != "reader.sampled_out")
        age = camera["age_p95"]
        print(
            f"  {name:24} {camera['state']:12} scored {camera['scored']}, lost {dropped}"
            + ("" if age is None else f", age p95 {age * 1000:.0f} ms")
            + f" - {camera['reason']}"
            + _set_by_operators(camera)
        )


def _set_by_operators(camera: dict[str, Any]) -> str:
    """What keeps a camera from alerting as it was calibrated to."""
    words = ""
    if until := camera.get("snoozed_until"):
        reason = f": {camera['snooze_reason']}" if camera.get("snooze_reason") else ""
        words += f"; SNOOZED until {until}{reason}, {camera.get('held_by_snooze', 0)} alert(s) held"
    if (factor := camera.get("threshold_factor", 1.0)) != 1.0:
        words += f"; threshold x {factor:g}"
    return words
