"""What ``gallery follow`` does: lets galleries follow slow change, a little at a time, under the guard of
``drift_guard``.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spade_core.errors import SpadeError
from spade_core.gallery import Gallery
from spade_core.preprocess import Preprocess
from stream.cli_arguments import add_command, add_origin, add_progress
from stream.config import Config
from stream.config_arguments import chosen_scenes, load_named
from stream.drift_guard import FollowLimits, Told
from stream.drift_store import DriftStore
from stream.errors import GalleryStoreError, StreamError
from stream.gallery_store_commands import publish_in_force, store_words
from stream.kept_frame import decode_kept
from stream.messages import Alert, iso_time
from stream.normal import place_of
from stream.outbox import OutboxReader
from stream.progress import Step, progress_reporter, tell_result
from stream.stopping import StopSignal

if TYPE_CHECKING:  # loads torch, which the command line does without
    from stream.drift_alerts import OldAlert

log = logging.getLogger(__name__)

MOST_OLD_ALERTS = 200
"""Alerts of a scene that are scored again, the newest: each takes some 0.1 s."""

_PAGE = 500  # alerts read at once


def add_follow(actions: Any) -> None:
    """Adds ``follow`` to the actions of ``gallery``."""
    command = add_command(
        actions,
        "follow",
        follow,
        "let galleries follow slow change: add quiet frames that were collected",
        "Takes what the worker collected (drift.mode), drops what is young, near an alert, or too far from what was\n"
        "enrolled, and makes a new version of the rest: a few frames a day. Undo with 'gallery use'.",
    )
    command.add_argument("config", type=Path, metavar="CONFIG")
    command.add_argument("--scene", metavar="NAME", help="only this scene (all)")
    command.add_argument("--dry-run", action="store_true", help="only say what would be added")
    command.add_argument("--scheduled", action="store_true", help="do nothing unless drift.mode is apply; for a timer")
    add_progress(command)
    add_origin(command)


def follow(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """Lets the galleries of one scene or of all follow. Exits 1 where one of several could not."""
    config = load_named(arguments)
    scenes = chosen_scenes(config, arguments.scene)
    if arguments.scheduled and config.drift.mode != "apply":
        print(f"drift.mode is {config.drift.mode}: nothing is added by itself")
        return 0
    results: list[dict[str, Any]] = []
    failures = 0
    for scene in scenes:
        try:
            results.append(_follow_one(config, scene, arguments, stop))
        except (SpadeError, GalleryStoreError) as error:
            if len(scenes) == 1:
                raise
            failures += 1
            log.error("scene %s: %s", scene, error)
    if arguments.progress == "json":
        tell_result(results[0] if arguments.scene else {"scenes": results})
    else:
        for result in results:
            _print(config, result, arguments)
    return 1 if failures else 0


def _follow_one(config: Config, scene: str, arguments: argparse.Namespace, stop: StopSignal) -> dict[str, Any]:
    store = DriftStore(config.drift_folder, most=config.drift.keep)
    candidates = store.candidates(scene)
    if not candidates:  # before the network is loaded
        return {"scene": scene, "version": None, "added": 0, "refused": []}
    from stream.drift_follow import Follower  # loads torch, which the command line does without
    from stream.drift_follow import follow as decide
    from stream.engine import extractor_of, use_threads
    from stream.enroll import Progress
    from stream.normal_judge import as_seen

    use_threads(config.worker.threads)
    with progress_reporter(f"follow {scene}", unit="frame", form=arguments.progress) as tell:

        def on_progress(progress: Progress) -> None:
            if stop():
                raise StreamError("stopped; no gallery was changed")
            tell(Step(progress.stage, progress.frames, progress.expected))

        follower = Follower(
            Gallery(config.gallery_of(scene)),
            extractor=extractor_of(config),
            limits=_limits(config),
            cameras=as_seen(config),
            part=config.method.part,
            on_progress=on_progress,
        )
        with OutboxReader(config.outbox, config.evidence) as outbox:
            alerts = list(_alerts(outbox))
            now = time.time()
            found = decide(
                scene,
                follower,
                candidates,
                told=told_of(alerts),
                old=_old_alerts(config, outbox, alerts, scene),
                now=now,
                note=None if arguments.dry_run else {"made": iso_time(now), "sources": ["drift following"]},
                decided=store.remove,
            )
    if found.version is not None:
        publish_in_force(config, scene, stop=stop, form=arguments.progress)
    return found.to_json()


def _limits(config: Config) -> FollowLimits:
    drift = config.drift
    return FollowLimits(hold=drift.hold_hours * 3600, day_part=drift.day_part, total_part=drift.total_part)


def _alerts(outbox: OutboxReader) -> Iterator[Alert]:
    seq = 0
    while page := outbox.read_after(seq, limit=_PAGE):
        yield from page
        seq = page[-1].seq


def told_of(alerts: Sequence[Alert]) -> list[Told]:
    """When there were alerts, from their messages."""
    found: dict[str, Told] = {}
    for alert in alerts:
        last = max(alert.frame_time, alert.ended_at or alert.frame_time)
        before = found.get(alert.alert_id)
        begin = min(alert.started_at, before.begin if before else alert.started_at)
        found[alert.alert_id] = Told(alert.camera, begin, max(last, before.end if before else last))
    return list(found.values())


def _old_alerts(config: Config, outbox: OutboxReader, alerts: Sequence[Alert], scene: str) -> Iterator[OldAlert]:
    """What the newest alerts of a scene were scored by; what cannot be read is passed over."""
    from stream.drift_alerts import OldAlert

    preprocess = Preprocess(config.method.size, config.method.crop)
    newest = {alert.alert_id: alert for alert in alerts if alert.scene == scene and alert.frame is not None}
    for alert in list(newest.values())[-MOST_OLD_ALERTS:]:
        try:
            frame = decode_kept((config.evidence / str(alert.frame)).read_bytes())
        except (OSError, ValueError) as error:
            log.warning("alert %s cannot be scored again: %s", alert.alert_id, error)
            continue
        lasted = alert.why.get("persistence", 0.0)
        yield OldAlert(frame, alert.threshold, lasted, place_of(outbox, alert, preprocess) if lasted >= 1 else None)


def _print(config: Config, result: dict[str, Any], arguments: argparse.Namespace) -> None:
    folder, store = config.gallery_of(result["scene"]), store_words(config, arguments)
    refused = ", ".join(f"{entry['count']} {entry['reason']}" for entry in result["refused"]) or "none"
    if arguments.dry_run:
        print(f"scene {result['scene']}: {result['added']} frame(s) would be added; refused: {refused}")
    elif result["version"] is None:
        print(f"scene {result['scene']}: nothing was added; refused: {refused}")
    else:
        print(
            f"{folder}: {result['version']}, {result['added']} frame(s) added; refused: {refused}; a worker that runs "
            f"takes it up when it is told to (SIGHUP)\n"
            f"undo: spade-stream gallery use {folder} VERSION{store}, one of 'spade-stream gallery versions {folder}'"
        )
