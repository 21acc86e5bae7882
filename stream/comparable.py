"""Stored scores in thresholds, so that those of several scenes and gallery versions compare. For ``what_if``.

A row of the score log has the threshold that was in force: the calibrated one of the gallery version times the factor
that operators had set. With ``campus`` every calibrated threshold is 1, so that scores are in thresholds already. With
faithful SPADE each version has a unit of its own; which one a row was scored in is told by its threshold, where that
fits one version alone. Other rows are left out and counted: nobody knows what they would mean at another factor.
``drift_follow`` tells the thresholds of old alerts so, too.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from spade_core.calibration import Calibration
from spade_core.errors import SpadeError
from spade_core.gallery_layout import CALIBRATION, read_json
from spade_core.gallery_versions import list_versions
from stream.config import Config
from stream.operator_settings import LEAST_FACTOR, MOST_FACTOR
from stream.policy import PolicySettings
from stream.score_table import ScoreTable
from stream.what_if import FACTORS, BudgetPoint, budget_curve, covered_days

_SAME: Final = 1e-5  # relative; thresholds are written with six digits


@dataclass(frozen=True, slots=True)
class Units:
    """What the scores of a camera may have been measured in."""

    calibrated: tuple[float, ...]  # thresholds of the versions of its galleries, each once
    factors: tuple[float, ...] = (1.0,)  # that are known to have been set; with 1
    complete: bool = False  # there were no other versions
    usual: float = 0.0  # what normal frames seldom exceed, in thresholds, by the versions in force; 0 = not known

    def of(self, threshold: float) -> float | None:
        """The calibrated threshold behind one that was in force; None where that cannot be told."""
        fitting = [
            one for one in self.calibrated if any(np.isclose(threshold, one * f, rtol=_SAME) for f in self.factors)
        ]
        if not fitting and self.complete and len(self.calibrated) == 1:
            # Another factor was set meanwhile.
            fitting = [one for one in self.calibrated if LEAST_FACTOR <= threshold / one <= MOST_FACTOR]
        return fitting[0] if len(fitting) == 1 else None

    def factors_of(self, threshold: float) -> tuple[float, ...]:
        """What may have been set when this threshold was in force: by the one version that it fits, else by any in
        whose unit it can be.
        """
        told = self.of(threshold)
        units = self.calibrated if told is None else (told,)
        return tuple(threshold / one for one in units if LEAST_FACTOR <= threshold / one <= MOST_FACTOR)

    def with_one(self, calibrated: float) -> Units:
        """With one more, unless it is there."""
        if any(np.isclose(calibrated, one, rtol=_SAME) for one in self.calibrated):
            return self
        return replace(self, calibrated=(*self.calibrated, calibrated), complete=False)


def units_of(config: Config, camera: str, *, factors: Collection[float] = ()) -> Units:
    """By what the stored scores of a camera may have been measured: all versions of its galleries that are there.

    Args:
        config: see there.
        camera: id, of the configuration.
        factors: that are known to have been set.
    """
    found, usual, complete = dict[str, float](), 0.0, True
    campus = config.method.name == "campus"  # each of its versions has a threshold of 1, also one that is gone
    for scene in config.camera(camera).scene_names:
        calibrations, whole = _calibrations(config.gallery_of(scene))
        complete &= whole or campus
        for in_force, calibration in calibrations:
            found.setdefault(f"{calibration.threshold:.6g}", calibration.threshold)
            if in_force:
                # The highest of several scenes: an alert then ends rather too early, and there are more of them.
                usual = max(usual, calibration.usual / calibration.threshold)
    return Units(tuple(found.values()), tuple({1.0, *factors}), complete, usual)


def units_of_gallery(folder: Path, *, factors: Collection[float] = ()) -> Units:
    """By what the stored scores of one gallery may have been measured; ``usual`` is left out. Arguments: as above."""
    calibrations, whole = _calibrations(folder)
    found = {f"{calibration.threshold:.6g}": calibration.threshold for _, calibration in calibrations}
    return Units(tuple(found.values()), tuple({1.0, *factors}), whole)


@dataclass(frozen=True, slots=True)
class Curve:
    """What the stored scores of a camera would have given at other thresholds."""

    points: tuple[BudgetPoint, ...]  # by rising factor
    covered_days: float  # in which frames were scored that can be compared
    not_comparable: int  # scored frames that were left out


def curve_of(
    table: ScoreTable, units: Units, calibrated: float, settings: PolicySettings, *, known_real: Container[str]
) -> Curve:
    """The curve of a camera's stored scores, see :func:`stream.what_if.budget_curve`.

    Args:
        table: rows as they were stored.
        units: that they may be in.
        calibrated: threshold of the version that is in force, above 0: the points are told in it.
        settings: of the policy.
        known_real: ids of alerts that an operator confirmed.
    """
    rows, lost = in_thresholds(table, units.with_one(calibrated))
    points = budget_curve(rows, FACTORS, 1.0, settings, known_real=known_real, usual=units.usual)
    told = tuple(replace(point, threshold=point.factor * calibrated) for point in points)
    return Curve(told, covered_days(rows), lost)


def in_thresholds(table: ScoreTable, units: Units) -> tuple[ScoreTable, int]:
    """The rows with score and threshold divided by the calibrated threshold, and how many cannot be compared: these
    count as if they had not been scored.
    """
    values, places = np.unique(table.thresholds, return_inverse=True)  # a few, however many rows
    scale = np.array([np.nan if np.isnan(value) else units.of(float(value)) or np.nan for value in values])[places]
    scored = ~np.isnan(table.scores)
    lost = int(np.count_nonzero(scored & np.isnan(scale)))
    return replace(table, scores=table.scores / scale, thresholds=table.thresholds / scale), lost


def _calibrations(folder: Path) -> tuple[list[tuple[bool, Calibration]], bool]:
    """(in force, calibration) of every version that can be read, and whether none ever was that is not there."""
    try:
        versions = list_versions(folder)
    except SpadeError:
        return [], False
    found = list(_read(folder, [(version.name, version.in_force) for version in versions]))
    numbers = [int(digits) for version in versions if (digits := re.sub(r"\D", "", version.name))]
    return found, len(found) == len(versions) == max(numbers, default=0)


def _read(folder: Path, versions: Collection[tuple[str, bool]]) -> Iterator[tuple[bool, Calibration]]:
    for name, in_force in versions:
        try:
            calibration = Calibration.from_json(read_json(folder / name / CALIBRATION))
        except SpadeError:
            continue
        if calibration.threshold > 0:
            yield in_force, calibration
