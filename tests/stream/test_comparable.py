"""Stored scores in thresholds: which gallery a row was scored by, and what is left out where nobody can tell."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import gallery_files
import numpy as np
import pytest

from spade_core.gallery import Gallery
from spade_core.gallery_versions import use_version
from stream.comparable import Units, curve_of, in_thresholds, units_of, units_of_gallery
from stream.config import Config, build_config
from stream.policy import PolicySettings
from stream.score_table import ScoreTable
from stream.scorelog import ScoreRow
from stream.what_if import FACTORS, budget_curve, covered_days

SETTINGS = PolicySettings(min_duration=1.0, end_after=2.0)


def table(*rows: tuple[float | None, float | None]) -> ScoreTable:
    """Score and threshold of frames that follow one another in seconds."""
    return ScoreTable.of(
        ScoreRow(float(n), n, float(n), "", score, None, threshold, None, None, "", "")
        for n, (score, threshold) in enumerate(rows)
    )


def strengths(found: ScoreTable) -> list[float | None]:
    return [None if np.isnan(score) else round(float(score), 6) for score in found.scores]


def test_a_row_is_told_in_the_threshold_of_the_version_that_scored_it() -> None:
    by_day, by_night, sensitive = (3.0, 2.0), (30.0, 20.0), (3.0, 1.0)
    found, lost = in_thresholds(table(by_day, by_night, sensitive), Units((2.0, 20.0), factors=(1.0, 0.5)))

    assert (strengths(found), lost) == ([1.5, 1.5, 1.5], 0)
    assert found.thresholds.tolist() == [1.0, 1.0, 0.5]


def test_rows_whose_threshold_fits_no_version_or_two_are_left_out_and_counted() -> None:
    rows = [(3.0, 2.0), (9.0, 7.0), (9.0, 8.0), (None, None)]
    found, lost = in_thresholds(table(*rows), Units((2.0, 4.0, 8.0), factors=(1.0, 2.0)))

    # 2 = 1 x 2; 7 is nobody's; 8 = 1 x 8 or 2 x 4; and a frame that was not scored stays so.
    assert (strengths(found), lost) == ([1.5, None, None, None], 2)


def test_where_there_was_one_threshold_only_any_factor_may_have_been_set() -> None:
    assert Units((2.0,), complete=True).of(2.6) == 2.0
    assert Units((2.0,), complete=True).of(2.0 * 21) is None  # more than can be set
    assert Units((2.0,)).of(2.6) is None  # a version that is gone may have had it
    assert Units((2.0, 3.0), complete=True).of(2.2) is None


def test_the_factor_behind_a_threshold_is_told_by_the_version_that_it_fits_or_by_all_it_may_be_of() -> None:
    units = Units((2.0, 8.0), factors=(1.0, 0.5))

    assert units.factors_of(8.0) == (1.0,)
    assert units.factors_of(4.0) == (0.5,)  # of 8; 2 was never set
    assert units.factors_of(6.4) == (3.2, 0.8)
    assert units.factors_of(0.8) == (0.4,)  # 0.1 of 8 cannot be set
    assert units.factors_of(1000.0) == ()


def test_thresholds_are_written_with_six_digits() -> None:
    assert Units((1.23456789,)).of(1.23457) == 1.23456789
    assert Units((1.23456789,)).of(1.23467) is None


def test_with_a_threshold_of_one_the_curve_is_what_it_was() -> None:
    scores = [0.1] * 20 + [1.4] * 5 + [0.1] * 20 + [2.5] * 5 + [0.1] * 20
    rows = table(*[(score, 1.5) for score in scores])  # an operator had set 1.5

    found = curve_of(rows, Units((1.0,), complete=True, usual=0.5), 1.0, SETTINGS, known_real=())

    assert found.points == tuple(budget_curve(rows, FACTORS, 1.0, SETTINGS, usual=0.5))
    assert (found.covered_days, found.not_comparable) == (covered_days(rows), 0)


def test_a_curve_over_two_galleries_is_told_in_the_threshold_that_is_in_force() -> None:
    event = [0.1] * 20 + [1.4] * 5 + [0.1] * 20
    rows = table(*[(2.0 * s, 2.0) for s in event], *[(20.0 * s, 20.0) for s in event], *[(50.0, 11.0)] * 10)

    found = curve_of(rows, Units((2.0, 20.0)), 20.0, SETTINGS, known_real=())

    alerts = {round(point.factor, 2): point.alerts for point in found.points}
    assert (alerts[1.0], alerts[1.32], alerts[1.52]) == (2, 2, 0)
    assert next(point for point in found.points if point.factor == 1.0).threshold == 20.0
    assert found.not_comparable == 10


# -- what is there -----------------------------------------------------------------------------------------------------


def configured(folder: Path, scenes: Sequence[str], *, method: str = "spade") -> Config:
    several = {"scenes": [{"scene": scene} for scene in scenes]}
    camera = {"id": "gate", "source": "gate.mp4", **(several if len(scenes) > 1 else {"scene": scenes[0]})}
    gallery = {"folder": "galleries"}
    data = {"state": "state", "gallery": gallery, "method": {"name": method}, "cameras": [camera]}
    return build_config(data, where="a test", base=folder, environment={})


def test_all_versions_of_all_scenes_of_a_camera_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    day, night = tmp_path / "galleries" / "day", tmp_path / "galleries" / "night"
    made = gallery_files.CALIBRATION
    for folder, threshold in ((day, 2.0), (day, 3.0), (night, 2.0), (night, 20.0)):
        monkeypatch.setattr(gallery_files, "CALIBRATION", replace(made, threshold=threshold, usual=1.0))
        gallery_files.build(folder)
    use_version(day, "v000001", on_progress=lambda done, total: None)

    found = units_of(configured(tmp_path, ["day", "night"]), "gate", factors=(1.5,))

    assert Gallery(day).calibration.threshold == 2.0
    assert sorted(found.calibrated) == [2.0, 3.0, 20.0]
    assert (sorted(found.factors), found.complete) == ([1.0, 1.5], True)
    assert found.usual == 0.5  # of 1 / 2 by day and 1 / 20 by night the higher one


def test_where_a_version_is_gone_not_all_are_known(tmp_path: Path) -> None:
    folder = tmp_path / "galleries" / "day"
    gallery_files.build(folder)
    gallery_files.build(folder)
    config = configured(tmp_path, ["day", "night"])
    assert not units_of(config, "gate").complete, "the scene by night was never enrolled, or is gone"
    assert units_of(configured(tmp_path, ["day"]), "gate").complete
    shutil.rmtree(folder / "v000001")

    assert not units_of(configured(tmp_path, ["day"]), "gate").complete
    assert len(units_of(config, "gate").calibrated) == 1


def test_with_campus_a_version_that_is_gone_had_the_same_threshold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "galleries" / "day"
    monkeypatch.setattr(gallery_files, "CALIBRATION", replace(gallery_files.CALIBRATION, threshold=1.0))
    gallery_files.build(folder)
    gallery_files.build(folder)
    shutil.rmtree(folder / "v000001")
    units = units_of(configured(tmp_path, ["day"], method="campus"), "gate")

    assert units.complete
    assert in_thresholds(table((3.0, 1.5)), units)[1] == 0, "an operator had set 1.5 meanwhile"


def test_the_units_of_one_gallery_are_those_of_its_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, made = tmp_path / "day", gallery_files.CALIBRATION
    for threshold in (2.0, 3.0, 2.0):
        monkeypatch.setattr(gallery_files, "CALIBRATION", replace(made, threshold=threshold))
        gallery_files.build(folder)
    found = units_of_gallery(folder, factors={1.5})

    assert (sorted(found.calibrated), sorted(found.factors), found.complete) == ([2.0, 3.0], [1.0, 1.5], True)
