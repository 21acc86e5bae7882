"""``tune``: how many alerts the last days would have had at other thresholds, from the stored scores."""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from spade_core.gallery import Gallery
from stream import comparable
from stream.cli_arguments import add_command, from_zero
from stream.config import Config, load_config
from stream.errors import StreamError, UsageError
from stream.operator_settings import CameraOperator, read_settings
from stream.score_table import read_table
from stream.stopping import StopSignal
from stream.what_if import DAY, BudgetPoint, factor_for

ENOUGH = 3.0
"""Alerts that the budget must allow in the time that was watched, for the time to say whether it is kept."""


UNKNOWN = "which version of a gallery they were scored by cannot be told"
"""Of rows whose threshold fits none of the versions that are there, or more than one."""


def add_tune(groups: Any) -> None:
    """Adds the command."""
    command = add_command(
        groups,
        "tune",
        tune,
        "show how many alerts the last days would have had at other thresholds",
        "Replays the alert policy over the stored scores of a camera, and says from which factor on there would have\n"
        "been no more than gallery.false_alarms_per_day. Changes nothing: the console, or\n"
        "'operator sensitivity', sets the factor.",
    )
    command.add_argument("config", type=Path, metavar="CONFIG")
    command.add_argument("--camera", required=True, metavar="ID")
    command.add_argument("--days", type=from_zero, default=7.0, help="back from now (7)")
    command.add_argument(
        "--real",
        action="append",
        default=[],
        metavar="ALERT_ID",
        help="an alert that was real: not counted as a false alarm; may be given several times",
    )
    command.add_argument("--json", action="store_true", help="print it as JSON")


def tune(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """Prints the curve of one camera."""
    config = load_config(arguments.config, os.environ)
    found = curve_of(config, arguments.camera, since=time.time() - arguments.days * DAY, real=frozenset(arguments.real))
    print(json.dumps(found, indent=1) if arguments.json else "\n".join(in_words(found)))
    return 0


def curve_of(config: Config, camera_id: str, *, since: float, real: frozenset[str]) -> dict[str, Any]:
    """The curve of one camera, JSON-able.

    Raises:
        ConfigError: there is no such camera.
        UsageError: it has no scores in that time.
        StreamError: its score files cannot be read.
        SpadeError: its gallery cannot be opened.
    """
    camera = config.camera(camera_id)
    calibration = Gallery(config.gallery_of(camera.scene_name)).calibration
    try:
        table = read_table(config.scores, camera_id, since=since)
    except (ValueError, OSError) as error:
        raise StreamError(f"the scores of {camera_id} cannot be read: {error}") from None
    now = read_settings(config.operator_settings).cameras.get(camera_id, CameraOperator()).threshold_factor
    units = comparable.units_of(config, camera_id, factors=(now,))
    curve = comparable.curve_of(table, units, calibration.threshold, config.alerts.settings(), known_real=real)
    days = curve.covered_days
    if table.damaged and not len(table):
        raise StreamError(
            f"the scores of {camera_id} cannot be read: all that {config.scores / camera_id} has is damaged"
        )
    if not days:
        others = f" ({curve.not_comparable} were, but {UNKNOWN})" if curve.not_comparable else ""
        raise UsageError(f"{config.scores / camera_id}: no frame was scored in that time{others}; allow more --days")
    wanted = config.gallery.false_alarms_per_day
    return {
        "camera": camera_id,
        "covered_days": days,
        "damaged_rows": table.damaged,
        "not_comparable_rows": curve.not_comparable,
        "calibrated_threshold": calibration.threshold,
        "factor": now,
        "false_alarms_per_day": wanted,
        "enough": wanted * days >= ENOUGH,
        "suggested": asdict(factor_for(curve.points, wanted)),
        "curve": [asdict(point) for point in curve.points],
    }


def in_words(found: dict[str, Any]) -> list[str]:
    """The same for people, a line each."""
    points = [BudgetPoint(**point) for point in found["curve"]]
    suggested, wanted, days = found["suggested"], found["false_alarms_per_day"], found["covered_days"]
    lines = [
        f"{found['camera']}: {days:.2f} days watched, threshold in force {found['factor']:g} x calibrated",
        f"{'factor':>8} {'threshold':>10} {'alerts':>8} {'per day':>9} {'real':>5}",
        *(
            f"{point.factor:8.2f} {point.threshold:10.4g} {point.alerts:8d} {point.alerts_per_day:9.2f} {point.real:5d}"
            for point in points
        ),
    ]
    if suggested["alerts_per_day"] > wanted:
        lines.append(f"no factor up to {suggested['factor']:.2f} keeps to {wanted:g} a day (false_alarms_per_day)")
    else:
        lines.append(f"from factor {suggested['factor']:.2f} on: at most {wanted:g} a day (false_alarms_per_day)")
    if found["damaged_rows"]:
        lines.append(f"{found['damaged_rows']} rows of the scores are damaged and left out")
    if found["not_comparable_rows"]:
        lines.append(f"{found['not_comparable_rows']} scored frames are left out: {UNKNOWN}")
    if not found["enough"]:
        lines.append(f"{days:.2f} days are too few to be sure of {wanted:g} a day: look again when there are more")
    return lines
