"""The scoring methods behind one interface: what the pipeline calls, whichever method a scene uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from spade_core.calibration import Calibration, calibrate
from spade_core.campus import CampusCalibrator, CampusFrameScorer, CampusParameters, CampusScorer, SceneMemory
from spade_core.extractor import Features
from spade_core.gallery import NormalFrames
from spade_core.scorer import FrameScore, SpadeParameters, SpadeScorer

Parameters = SpadeParameters | CampusParameters
"""Of whichever method; which one decides which method runs."""


class FrameScorer(Protocol):
    """Scores frames of one scene, of any number of cameras."""

    def new_memory(self) -> SceneMemory:
        """An empty memory; each camera needs one of its own."""
        ...

    def score_frame(
        self, features: Features, *, motion: NDArray[np.float16] | None, time: float, memory: SceneMemory
    ) -> FrameScore:
        """Scores one frame.

        Args:
            features: of one frame (B = 1).
            motion: (GRID, GRID) motion map; None = not known.
            time: seconds; frames of a camera come in order.
            memory: of the camera.

        Raises:
            GalleryCorrupt: features on disk are damaged.
            InputError: features or motion are not finite.
        """
        ...


class Calibrator(Protocol):
    """Sets a scene's thresholds from normal frames that its gallery does not hold."""

    def add(self, features: Features, *, motion: NDArray[np.float16] | None, time: float) -> None:
        """Takes the next held-out frame, in order of time."""
        ...

    def finish(self, *, exceedance: float) -> Calibration:
        """The calibration. Raises CalibrationError where there were too few frames."""
        ...


def frame_scorer(
    normal: NormalFrames, calibration: Calibration, *, size: int, parameters: Parameters, device: torch.device
) -> FrameScorer:
    """The scorer of a calibrated scene.

    Args:
        normal: the scene's normal frames.
        calibration: set with the same parameters.
        size: S, side of the scoring image in pixels.
        parameters: of the method to use.
        device: where features are.
    """
    if isinstance(parameters, CampusParameters):
        return CampusFrameScorer(CampusScorer(normal, size=size, parameters=parameters, device=device), calibration)
    return _SpadeFrameScorer(SpadeScorer(normal, size=size, parameters=parameters))


def calibrator(normal: NormalFrames, *, size: int, parameters: Parameters, device: torch.device) -> Calibrator:
    """A calibrator for a scene; arguments as for :func:`frame_scorer`."""
    if isinstance(parameters, CampusParameters):
        return CampusCalibrator(CampusScorer(normal, size=size, parameters=parameters, device=device))
    return _SpadeCalibrator(SpadeScorer(normal, size=size, parameters=parameters))


def parameters_from(values: Mapping[str, Any]) -> Parameters:
    """Inverse of ``parameters.describe()``.

    Raises:
        ValueError: no such method, or a parameter that it does not have.
    """
    rest = dict(values)
    method = rest.pop("method", None)
    kinds: dict[str, type[SpadeParameters] | type[CampusParameters]] = {
        "spade": SpadeParameters,
        "campus": CampusParameters,
    }
    if method not in kinds:
        raise ValueError(f"there is no method {method!r}; known: {', '.join(kinds)}")
    try:
        return kinds[method](**rest)
    except TypeError as error:
        raise ValueError(f"method {method}: {error}") from None


class _SpadeFrameScorer:
    """Faithful SPADE looks at single frames: it has no use for motion, time and memory."""

    def __init__(self, scorer: SpadeScorer) -> None:
        self._scorer = scorer

    def new_memory(self) -> SceneMemory:
        return SceneMemory(1.0)

    def score_frame(
        self, features: Features, *, motion: NDArray[np.float16] | None, time: float, memory: SceneMemory
    ) -> FrameScore:
        return self._scorer.score(features)[0]


class _SpadeCalibrator:
    def __init__(self, scorer: SpadeScorer) -> None:
        self._scorer = scorer
        self._scores: list[float] = []

    def add(self, features: Features, *, motion: NDArray[np.float16] | None, time: float) -> None:
        self._scores.append(self._scorer.score(features)[0].score)

    def finish(self, *, exceedance: float) -> Calibration:
        return calibrate(np.array(self._scores), exceedance=exceedance, parameters=self._scorer.parameters.describe())
