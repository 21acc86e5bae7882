"""The methods behind one interface."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from spade_core.alarms import AlarmRule
from spade_core.calibration import Calibration
from spade_core.campus import CampusParameters
from spade_core.errors import CalibrationError
from spade_core.extractor import Features
from spade_core.methods import Parameters, calibrator, frame_scorer, parameters_from
from spade_core.motion import GRID
from spade_core.retrieval import random_frames
from spade_core.runtime import TorchRuntime
from spade_core.scorer import SpadeParameters

SIZE, CPU = 16, TorchRuntime(torch.device("cpu"))
BOTH = pytest.mark.parametrize(
    "parameters", [SpadeParameters(sigma=0.0), CampusParameters(sigma=0.0)], ids=["spade", "campus"]
)


@dataclass(frozen=True, slots=True, eq=False)
class Normal:
    """Frames of one brightness each, in memory."""

    brightness: tuple[float, ...] = (0.0, 1.0)

    @property
    def pooled(self) -> NDArray[np.float32]:
        return np.array(self.brightness, np.float32)[:, None]

    @property
    def motion(self) -> NDArray[np.float16]:
        return np.zeros((len(self.brightness), GRID, GRID), np.float16)

    def array(self, name: str) -> None:
        return None

    def pyramid(self, index: int) -> tuple[NDArray[np.float16], ...]:
        return tuple(np.full((1, side, side), self.brightness[index], np.float16) for side in (8, 4, 2))


def a_frame(brightness: float) -> Features:
    return Features(
        torch.full((1, 1), brightness), tuple(torch.full((1, 1, side, side), brightness) for side in (8, 4, 2))
    )


def calibrated(parameters: Parameters, brightness: list[float]) -> Calibration:
    thresholds = calibrator(Normal(), size=SIZE, parameters=parameters, runtime=CPU)
    for number, value in enumerate(brightness):
        thresholds.add(a_frame(value), motion=None, time=number / 10, segment="")
    return thresholds.finish(false_alarms_per_day=1.0, rule=AlarmRule(min_duration=0.6, quiet=2.0))


HELD_OUT = [1 + number / 100 for number in range(30)]


@pytest.mark.parametrize(
    "parameters",
    [SpadeParameters(), SpadeParameters(levels=(2, 3), neighbours="random", seed=7), CampusParameters()],
    ids=str,
)
def test_parameters_survive_their_description_as_json(parameters: Parameters):
    assert parameters_from(json.loads(json.dumps(parameters.describe()))) == parameters


def test_a_description_is_what_json_makes_of_it():
    # A gallery's parameters are compared with the description of what runs.
    described = dict(SpadeParameters(levels=(2, 3)).describe())
    assert json.loads(json.dumps(described)) == described


def test_levels_that_are_no_list_are_refused():
    with pytest.raises(ValueError, match=r"method spade: .*not iterable"):
        parameters_from({"method": "spade", "levels": 3})


def test_random_neighbours_follow_from_the_time_of_the_frame():
    normal = Normal(tuple(float(number) for number in range(40)))
    parameters = SpadeParameters(k=2, neighbours="random")
    calibration = calibrated(SpadeParameters(sigma=0.0), HELD_OUT)
    scorer = frame_scorer(normal, calibration, size=SIZE, parameters=parameters, runtime=CPU)

    def neighbours(time: float) -> set[int]:
        score = scorer.score_frame(a_frame(1.0), motion=None, time=time, memory=scorer.new_memory())
        return {index for index, _ in score.neighbours}

    assert neighbours(0.2) == set(random_frames(40, 2, seed=0, time=0.2)) == neighbours(0.2)
    assert neighbours(0.4) == set(random_frames(40, 2, seed=0, time=0.4)) != neighbours(0.2)


def test_the_description_decides_on_the_method():
    assert parameters_from({"method": "spade", "k": 3, "kappa": 2}) == SpadeParameters(k=3, kappa=2)
    assert parameters_from({"method": "campus", "persistence": 9.0}) == CampusParameters(persistence=9.0)


@pytest.mark.parametrize("values", [{"method": "knn"}, {"k": 1}, {}], ids=str)
def test_a_method_that_does_not_exist_is_refused(values: dict[str, object]):
    with pytest.raises(ValueError, match=r"there is no method .* known: spade, campus"):
        parameters_from(values)


@pytest.mark.parametrize("values", [{"method": "spade", "persistence": 4.0}, {"method": "campus", "kappa": 1}], ids=str)
def test_a_parameter_of_another_method_is_refused(values: dict[str, object]):
    with pytest.raises(ValueError, match=f"method {values['method']}: .*unexpected keyword"):
        parameters_from(values)


@pytest.mark.parametrize("method", ["spade", "campus"])
def test_a_value_out_of_bounds_is_refused(method: str):
    with pytest.raises(ValueError, match=r"k .*at least 1"):
        parameters_from({"method": method, "k": 0})


@BOTH
def test_what_is_calibrated_with_a_method_is_scored_with_it(parameters: Parameters):
    calibration = calibrated(parameters, HELD_OUT)
    assert calibration.parameters == parameters.describe()
    assert calibration.held_out == 30
    scorer = frame_scorer(Normal(), calibration, size=SIZE, parameters=parameters, runtime=CPU)
    memory = scorer.new_memory()
    known, new = (
        scorer.score_frame(a_frame(value), motion=None, time=time, memory=memory)
        for time, value in enumerate((1.0, 9.0))
    )
    assert known.score < 1e-3 < calibration.threshold < new.score
    assert [score.neighbours[0][0] for score in (known, new)] == [1, 1]
    assert new.neighbours[0][1] == pytest.approx(64)


def test_faithful_spade_scores_by_squared_distance_of_three_channels():
    calibration = calibrated(SpadeParameters(sigma=0.0), HELD_OUT)
    assert calibration.highest == pytest.approx(3 * 0.29**2, rel=1e-4)
    assert calibration.scales == {}


def test_campus_scores_are_thresholds():
    calibration = calibrated(CampusParameters(sigma=0.0), HELD_OUT)
    assert calibration.threshold == 1


@BOTH
@pytest.mark.parametrize("brightness", [1.0, 1.0001, 5.0], ids=["as the gallery", "rounded in the gallery", "new"])
def test_frozen_footage_is_refused(parameters: Parameters, brightness: float):
    with pytest.raises(CalibrationError, match="looks frozen"):
        calibrated(parameters, [brightness] * 60)


@BOTH
def test_too_little_footage_is_refused(parameters: Parameters):
    with pytest.raises(CalibrationError, match="19 held-out"):
        calibrated(parameters, HELD_OUT[:19])


@BOTH
def test_frames_of_different_clips_sustain_nothing_together(parameters: Parameters):
    thresholds = calibrator(Normal(), size=SIZE, parameters=parameters, runtime=CPU)
    for number, value in enumerate(HELD_OUT):
        thresholds.add(a_frame(value), motion=None, time=number / 10, segment=f"clip{number // 3}")
    with pytest.raises(CalibrationError, match="enroll longer clips"):
        thresholds.finish(false_alarms_per_day=1.0, rule=AlarmRule(min_duration=0.6, quiet=2.0))


@BOTH
def test_each_camera_gets_a_memory_of_its_own(parameters: Parameters):
    scorer = frame_scorer(Normal(), calibrated(parameters, HELD_OUT), size=SIZE, parameters=parameters, runtime=CPU)
    assert scorer.new_memory() is not scorer.new_memory()
