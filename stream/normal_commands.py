"""``gallery normal``: see ``normal``. Also the home of its arguments."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from spade_core.gallery import Gallery
from spade_core.preprocess import Preprocess
from stream.cli_arguments import add_command, add_origin, add_progress, from_zero, sequence_number
from stream.config import Config
from stream.config_arguments import load_named
from stream.errors import StreamError, UsageError
from stream.gallery_store_commands import publish_in_force, store_words
from stream.messages import Phase, iso_time
from stream.outbox import OutboxReader
from stream.progress import Step, progress_reporter, tell_result
from stream.stopping import StopSignal

DAY = 86_400.0  # s

MOST_TOLD = 200
"""Alerts of each list that a program is told: a job's line has an end. Real ones come first, and all are counted."""


def add_normal(actions: Any) -> None:
    """Adds the action to those of ``gallery``."""
    command = add_command(
        actions,
        "normal",
        normal,
        "say that what an alert shows is normal: it joins the gallery, as a new version",
        "First scores the stored alerts of the scene again, and says which of them there would not have been.\n"
        "Undo with 'gallery use DIR OLD-VERSION'.",
    )
    command.add_argument("config", type=Path, metavar="CONFIG")
    command.add_argument("alert", metavar="ALERT_ID")
    command.add_argument(
        "--message",
        choices=[str(phase) for phase in Phase],
        help="only the frames of this kind of message (all; with --region the strongest one)",
    )
    command.add_argument(
        "--region",
        type=sequence_number,
        action="append",
        default=[],
        metavar="N",
        help="only this region of the frame, counted from 0; may be given several times (the whole frame)",
    )
    command.add_argument(
        "--seen",
        type=sequence_number,
        metavar="SEQ",
        help="the message whose regions are counted, by its sequence number (the strongest one)",
    )
    command.add_argument("--dry-run", action="store_true", help="only say what would have been silenced")
    command.add_argument("--days", type=from_zero, default=30.0, help="of alerts that are scored again (30)")
    command.add_argument(
        "--real",
        action="append",
        default=[],
        metavar="ALERT_ID",
        help="an alert that somebody called real: listed first if it would be silenced; may be given several times",
    )
    add_progress(command)
    add_origin(command)


def normal(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """Adds an alert's frame, or regions of it, to the gallery of its scene."""
    config = load_named(arguments)
    if not config.outbox.is_file():
        raise UsageError(f"{config.outbox}: there is no outbox yet, and so no alert that could be normal")
    with (
        OutboxReader(config.outbox, config.evidence) as outbox,
        progress_reporter("normal", unit="frame", form=arguments.progress) as report,
    ):

        def tell(stage: str, done: int, total: int | None, text: str) -> None:
            if stop():
                raise StreamError("stopped; nothing was added")
            report(Step(stage, done, total, text))

        result = make_normal(
            config,
            outbox,
            arguments.alert,
            message=None if arguments.message is None else Phase(arguments.message),
            regions=tuple(dict.fromkeys(arguments.region)),
            seen=arguments.seen,
            since=time.time() - arguments.days * DAY,
            real=frozenset(arguments.real),
            dry_run=arguments.dry_run,
            tell=tell,
        )
    if result["version"] is not None:
        publish_in_force(config, result["scene"], stop=stop, form=arguments.progress)
        result = {**result, "undo": result["undo"] + store_words(config, arguments)}
    if arguments.progress == "json":
        tell_result(_bounded(result))
    else:
        print("\n".join(in_words(result, config.gallery_of(result["scene"]))))
    return 0


def _bounded(result: dict[str, Any]) -> dict[str, Any]:
    """The result for a program, which reads no line without an end: the first of each list, and how many there are."""
    counts = {f"{name}_count": len(result[name]) for name in ("silenced", "kept")}
    real = sum(bool(one.get("real")) for one in result["silenced"])
    short = {name: result[name][:MOST_TOLD] for name in ("silenced", "kept")}
    return {**result, **short, **counts, "silenced_real_count": real}


def make_normal(
    config: Config,
    outbox: OutboxReader,
    alert_id: str,
    *,
    message: Phase | None,
    regions: Sequence[int],
    since: float,
    real: frozenset[str],
    dry_run: bool,
    tell: Callable[[str, int, int | None, str], None],
    seen: int | None = None,
) -> dict[str, Any]:
    """See ``stream.normal``.

    Args:
        config: of the run.
        outbox: its alerts.
        alert_id: the alert that shows something normal.
        message: see :func:`stream.normal.chosen_frames`.
        regions: see there.
        since: Unix seconds, from which on alerts are scored again.
        real: ids of alerts that an operator called real.
        dry_run: write nothing.
        tell: told (stage, done, total, words); may raise, and then nothing was added.
        seen: see :func:`stream.normal.chosen_frames`.

    Returns:
        JSON-able: ``scene``, ``from`` and ``version`` (None: nothing was written), ``frames`` that were added,
        ``left_out`` (frames of the alert that show other scenes of its camera), ``rescored``, ``not_rescored``,
        ``already_silent`` (today's threshold and zones let them pass, without this), ``silenced``, ``kept`` and the
        command that undoes it.

    Raises:
        UsageError: there is no such alert, region or stored frame.
        SpadeError: the gallery cannot be used or changed.
        OutboxError: the outbox cannot be read.
    """
    from spade_core.confirmed import WithConfirmed
    from spade_core.methods import gallery_parameters
    from stream import normal as rules
    from stream.engine import extractor_of, use_threads
    from stream.gallery_add import add_kept, new_frames
    from stream.normal_judge import TwoVersions, as_seen

    tell("reading", 0, None, "reading the alert")
    preprocess = Preprocess(config.method.size, config.method.crop)
    choice = rules.chosen_frames(outbox, alert_id, message=message, regions=regions, preprocess=preprocess, seen=seen)
    scene = choice.scene
    gallery = Gallery(config.gallery_of(scene))
    frames, inside = [one.frame for one in choice.chosen], [one.inside for one in choice.chosen]
    use_threads(config.worker.threads)
    extractor, parameters = extractor_of(config), gallery_parameters(gallery)
    new = new_frames(gallery, frames, extractor=extractor, inside=inside, confirmed=True)
    judge = TwoVersions(
        gallery,
        WithConfirmed(gallery, new, parameters=parameters, device=extractor.backbone.device),
        gallery.calibration,
        parameters=parameters,
        extractor=extractor,
        cameras=as_seen(config),
        part=config.method.part,
    )
    history = rules.rescored(
        outbox,
        scene=scene,
        since=since,
        always=alert_id,
        judge=judge,
        preprocess=preprocess,
        real=real,
        on_progress=lambda done, total: tell("rescoring", done, total, f"{done} of {total} alerts scored again"),
    )
    after = None
    if not dry_run:
        after = add_kept(
            gallery,
            frames,
            extractor=extractor,
            inside=inside,
            confirmed=True,
            note={"made": iso_time(time.time()), "sources": [f"alert {alert_id}"], "regions": list(regions)},
            on_progress=lambda progress: tell(progress.stage, progress.frames, progress.expected, progress.stage),
        )
    return {
        "scene": scene,
        "from": gallery.version,
        "version": None if after is None else after.version,
        "frames": len(frames),
        "left_out": choice.left_out,
        "rescored": history.rescored,
        "not_rescored": history.not_rescored,
        "already_silent": history.rescored - len(history.silenced) - len(history.kept),
        "silenced": [one.to_json() for one in history.silenced],
        "kept": [one.to_json() for one in history.kept],
        "undo": None if after is None else f"spade-stream gallery use {gallery.folder} {gallery.version}",
    }


def in_words(result: dict[str, Any], folder: Path) -> list[str]:
    """The result for people, a line each."""
    real = [one["alert_id"] for one in result["silenced"] if one.get("real")]
    lines = [
        f"scene {result['scene']}: {result['rescored']} alerts scored again, {result['not_rescored']} could not be",
        *(f"  a REAL alert is silenced: {alert_id}" for alert_id in real),
        f"  {len(result['silenced'])} would have been silenced, {len(result['kept'])} not",
    ]
    if result["already_silent"]:
        lines.append(f"  {result['already_silent']} are silent already, by the threshold and zones of today")
    for name in ("silenced", "kept"):
        lines += [
            f"    {name:9} {one['alert_id']}  {one['before']:.2f} -> {one['after']:.2f} x threshold"
            for one in result[name]
        ]
    if result["left_out"]:
        lines.append(f"  {result['left_out']} frame(s) of the alert show another scene of the camera and are left out")
    if result["version"] is None:
        return [*lines, f"{folder}: {result['from']} stays in force; without --dry-run this makes a new version"]
    return [
        *lines,
        f"{folder}: {result['version']} is in force ({result['frames']} frame(s) added); a worker that runs takes it "
        "up when it is reloaded (SIGHUP) or started again",
        f"undo: {result['undo']}",
    ]
