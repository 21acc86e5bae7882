"""What each ``outbox`` action does. One function an action: (arguments, stop) -> exit code."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from stream.config import Config, load_config
from stream.errors import UsageError
from stream.messages import iso_time
from stream.outbox import Outbox, OutboxReader
from stream.programs import limits_of
from stream.retention import Retention
from stream.stopping import StopSignal


def info(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """What the outbox holds, and how far every subscriber is."""
    config = _load(arguments.config)
    with OutboxReader(config.outbox, config.evidence) as outbox:
        found = _describe(outbox)
    if arguments.json:
        print(json.dumps(found, indent=1))
    else:
        for line in _lines(found):
            print(line)
    return 0


def prune(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """Applies the retention of the configuration now. Exits 1 where a subscriber holds it up."""
    config = _load(arguments.config)
    limits = limits_of(config)
    if arguments.include_unacknowledged:
        limits = replace(limits, keep_unacknowledged=False)
    with Outbox(config.outbox, config.evidence) as outbox:
        retention = Retention(outbox, limits, scores=config.scores)
        removed = retention.apply()
    held_by: dict[str, int] = retention.state()["held_by"]
    print(
        f"removed {removed['alerts']} alert messages ({removed['bytes'] / 1e6:.1f} MB), {removed['events']} camera "
        f"events, {removed['score_files']} score files, {removed['strays']} files that belonged to nobody"
    )
    for name, count in held_by.items():
        print(
            f"kept for {name}: {count} alert messages that it has not acknowledged. If it will not come back: "
            f"spade-stream outbox forget {arguments.config} {name}",
            file=sys.stderr,
        )
    return 1 if held_by else 0


def forget(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """Unregisters a subscriber, so that nothing is kept for it."""
    config = _load(arguments.config)
    with OutboxReader(config.outbox, config.evidence) as outbox:
        known = sorted(outbox.acknowledged())
        if not outbox.forget(arguments.name):
            raise UsageError(f"no subscriber {arguments.name!r} is registered; there are: {', '.join(known) or 'none'}")
    print(f"{arguments.name} is forgotten; should it subscribe again, it gets everything that is kept")
    return 0


def _load(path: Path) -> Config:
    """The configuration of an outbox that is there: looking must not make an empty one.

    Raises:
        UsageError: there is none.
    """
    config = load_config(path, os.environ)
    if not config.outbox.is_file():
        raise UsageError(f"{config.outbox}: there is no outbox yet; 'spade-stream run {path}' makes it")
    return config


def _describe(outbox: OutboxReader) -> dict[str, Any]:
    usage, last = outbox.usage(), outbox.last_seq()
    return {
        "path": str(outbox.path),
        "alerts": usage.alerts,
        "bytes": usage.bytes,
        "first_seq": outbox.first_seq(),
        "last_seq": last,
        "oldest": None if usage.oldest is None else iso_time(usage.oldest),
        "subscribers": [
            {"name": name, "seq": seq, "behind": last - seq} for name, seq in sorted(outbox.acknowledged().items())
        ],
        "cameras": [event.to_json() for event in outbox.camera_states()],
    }


def _lines(found: dict[str, Any]) -> list[str]:
    kept = f"{found['alerts']} alert messages, {found['bytes'] / 1e6:.1f} MB of pictures"
    if found["alerts"]:
        kept += f", {found['first_seq']} to {found['last_seq']}, the oldest of {found['oldest']}"
    subscribers = [
        f"  subscriber {subscriber['name']:24} has {subscriber['seq']}, {subscriber['behind']} behind"
        for subscriber in found["subscribers"]
    ]
    cameras = [
        f"  camera {event['camera']:24} {event['state']:12} since {event['at_time']} - {event['reason']}"
        for event in found["cameras"]
    ]
    return [f"{found['path']}: {kept}", *(subscribers or ["  no subscriber is registered"]), *cameras]
