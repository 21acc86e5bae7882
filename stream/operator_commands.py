"""What ``operator`` does: shows and sets zones, sensitivity and snoozes of cameras, without a console. One function an
action: (arguments, stop) -> exit code.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from stream.cli_arguments import add_command
from stream.config import Config, load_config
from stream.config_sections import CameraSection
from stream.errors import UsageError
from stream.fields import read_object
from stream.messages import iso_time
from stream.operator_settings import (
    LEAST_FACTOR,
    MOST_FACTOR,
    CameraOperator,
    OperatorSettings,
    change_settings,
    read_settings,
    with_factor,
    with_snooze,
    with_zones,
    without_snooze,
)
from stream.stopping import StopSignal
from stream.zones import Zone, zones_from_json

_Change = Callable[[OperatorSettings], OperatorSettings]


def add_operator(groups: Any) -> None:
    """Adds ``operator`` to the commands."""
    text = "set zones, sensitivity and snoozes of cameras while they are watched"
    operator = groups.add_parser(
        "operator",
        help=text,
        description=f"{text[:1].upper()}{text[1:]}. A running system takes a change within a second.",
    )
    actions = operator.add_subparsers(title="actions", metavar="ACTION", required=True)
    shown = add_command(actions, "show", show, "show what is set")
    shown.add_argument("config", type=Path, metavar="CONFIG")
    shown.add_argument("--json", action="store_true", help="print it as JSON, with the corners of zones")
    _add_snooze(actions)
    _add_sensitivity(actions)
    _add_zones(actions)


def _add_snooze(actions: Any) -> None:
    snoozed = _add_action(
        actions,
        "snooze",
        snooze,
        "let a camera start no alert for some minutes",
        "It is scored and logged on, and alerts that would have started are counted. An open alert ends at once.",
    )
    snoozed.add_argument("--minutes", type=float, required=True, metavar="N", help="from now; at most a week")
    snoozed.add_argument("--reason", default="", metavar="TEXT", help="for people; 'status' shows it")
    _add_action(actions, "unsnooze", unsnooze, "end a camera's snooze")


def _add_sensitivity(actions: Any) -> None:
    asked = _add_action(
        actions,
        "sensitivity",
        sensitivity,
        "multiply a camera's alert threshold",
        "The threshold in force is the calibrated one times F: 1 is as calibrated, 1.5 gives fewer alerts, 0.8 more.",
    )
    asked.add_argument(
        "--factor", type=float, required=True, metavar="F", help=f"from {LEAST_FACTOR:g} to {MOST_FACTOR:g}"
    )


def _add_zones(actions: Any) -> None:
    drawn = _add_action(
        actions,
        "zones",
        zones,
        "set the parts of a camera's picture that do not count, or that alone count",
        'FILE holds {"zones": [{"name": "tree", "kind": "ignore", "polygon": [[0, 0], [0.3, 0], [0, 0.4]]}]}: corners\n'
        "x, y as fractions of the picture, 0, 0 upper left. kind 'watch': only what lies inside counts.\n"
        "They replace what was set before. Zones in the configuration stay.",
    )
    what = drawn.add_mutually_exclusive_group(required=True)
    what.add_argument("--file", type=Path, metavar="FILE", help="the new zones")
    what.add_argument("--clear", action="store_true", help="no zones but those in the configuration")


def _add_action(
    actions: Any, name: str, run: Callable[[argparse.Namespace, StopSignal], int], help_text: str, more: str = ""
) -> argparse.ArgumentParser:
    parser = add_command(actions, name, run, help_text, more)
    parser.add_argument("config", type=Path, metavar="CONFIG")
    parser.add_argument("--camera", required=True, metavar="ID")
    return parser


def show(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """What is set for every camera of the configuration."""
    config = load_config(arguments.config, os.environ)
    settings = read_settings(config.operator_settings)
    if arguments.json:
        cameras = {camera.id: settings.of(camera.id).to_json() for camera in config.cameras}
        print(json.dumps({"revision": settings.revision, "cameras": cameras}, indent=1))
        return 0
    print(f"{config.operator_settings}: revision {settings.revision}")
    for camera in config.cameras:
        print(f"  {camera.id:24} {_in_words(camera, settings.of(camera.id), time.time())}")
    return 0


def snooze(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """No alert of a camera for some minutes."""
    now, camera, minutes, reason = time.time(), arguments.camera, arguments.minutes, arguments.reason
    return _change(arguments, lambda config: lambda s: with_snooze(s, camera, now=now, minutes=minutes, reason=reason))


def unsnooze(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """Alerts again."""
    return _change(arguments, lambda config: lambda settings: without_snooze(settings, arguments.camera))


def sensitivity(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """Another factor on a camera's threshold."""
    return _change(arguments, lambda config: lambda s: with_factor(s, arguments.camera, arguments.factor))


def zones(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """Other zones of a camera."""
    drawn = () if arguments.clear else _zones_in(arguments.file)

    def change_of(config: Config) -> _Change:
        fixed, part = config.camera(arguments.camera).zones, config.method.part
        return lambda settings: with_zones(settings, arguments.camera, drawn, fixed=fixed, part=part)

    return _change(arguments, change_of)


def _change(arguments: argparse.Namespace, change_of: Callable[[Config], _Change]) -> int:
    """Makes a change, and says what is set then."""
    config = load_config(arguments.config, os.environ)
    camera = config.camera(arguments.camera)
    try:
        settings = change_settings(config.operator_settings, change_of(config))
    except ValueError as error:  # what the command line asks for is out of bounds
        raise UsageError(f"camera {camera.id}: {error}") from None
    print(f"{camera.id}: {_in_words(camera, settings.of(camera.id), time.time())} (revision {settings.revision})")
    return 0


def _zones_in(path: Path) -> tuple[Zone, ...]:
    try:
        fields = read_object(path.read_bytes())
        if fields.keys() != {"zones"}:
            raise ValueError('it must hold {"zones": [...]} and nothing else')
        return zones_from_json(fields["zones"])
    except OSError as error:
        raise UsageError(f"--file {path}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"--file {path}: {error}") from None


def _in_words(camera: CameraSection, settings: CameraOperator, now: float) -> str:
    return ", ".join(_words(camera, settings, now))


def _words(camera: CameraSection, settings: CameraOperator, now: float) -> Iterator[str]:
    yield f"threshold x {settings.threshold_factor:g}"
    named = [f"{zone.kind} {zone.name}" for zone in (*camera.zones, *settings.zones)]
    yield f"zones: {'; '.join(named)}" if named else "no zones"
    if settings.snoozed_until is not None and settings.snoozed_until > now:
        reason = f" ({settings.snooze_reason})" if settings.snooze_reason else ""
        yield f"snoozed until {iso_time(settings.snoozed_until)}{reason}"
