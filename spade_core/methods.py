"""The scoring methods behind one interface: what the pipeline calls, whichever method a scene uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from spade_core.alarms import AlarmRule, Timeline
from spade_core.calibration import Calibration, calibrate
from spade_core.campus import CampusFrameScorer, CampusParameters, CampusScorer, SceneMemory, campus_arrays
from spade_core.campus_calibration import CampusCalibrator
from spade_core.errors import GalleryMismatch
from spade_core.extractor import Features
from spade_core.gallery import Gallery, NormalFrames
from spade_core.motion import MEMORY, MotionMeter
from spade_core.preprocess import Preprocess
from spade_core.runtime import Runtime
from spade_core.scorer import FrameScore, SpadeParameters, SpadeScorer

Parameters = SpadeParameters | CampusParameters
"""Of whichever method; which one decides which method runs."""


class FrameScorer(Protocol):
    """Scores frames of one scene, of any number of cameras."""

    def new_memory(self) -> SceneMemory:
        """An empty memory; each camera needs one of its own."""
        ...

    def score_frame(
        self,
        features: Features,
        *,
        motion: NDArray[np.float16] | None,
        time: float,
        memory: SceneMemory,
        threshold_factor: float = 1.0,
    ) -> FrameScore:
        """Scores one frame.

        Args:
            features: of one frame (B = 1).
            motion: (GRID, GRID) motion map; None = not known.
            time: seconds; frames of a camera come in order.
            memory: of the camera.
            threshold_factor: of the calibrated threshold: from there on the frame may be shown. Changes no score.

        Raises:
            GalleryCorrupt: features on disk are damaged.
            InputError: features or motion are not finite.
        """
        ...


class Calibrator(Protocol):
    """Sets a scene's thresholds from normal frames that its gallery does not hold."""

    def add(self, features: Features, *, motion: NDArray[np.float16] | None, time: float, segment: str) -> None:
        """Takes the next held-out frame, in order of time. Another segment begins where frames do not go on from the
        one before: another clip, or another piece of a recording.
        """
        ...

    def finish(self, *, false_alarms_per_day: float, rule: AlarmRule) -> Calibration:
        """The calibration. Raises CalibrationError where there were too few frames.

        Args:
            false_alarms_per_day: that a camera may raise.
            rule: of the alert policy that the scores will go to.
        """
        ...


def frame_scorer(
    normal: NormalFrames, calibration: Calibration, *, size: int, parameters: Parameters, runtime: Runtime
) -> FrameScorer:
    """The scorer of a calibrated scene.

    Args:
        normal: the scene's normal frames.
        calibration: set with the same parameters.
        size: S, side of the scoring image in pixels.
        parameters: of the method to use.
        runtime: what made the features, and compares them.
    """
    if isinstance(parameters, CampusParameters):
        return CampusFrameScorer(CampusScorer(normal, size=size, parameters=parameters, runtime=runtime), calibration)
    return _SpadeFrameScorer(SpadeScorer(normal, size=size, parameters=parameters, device=runtime.device))


def calibrator(normal: NormalFrames, *, size: int, parameters: Parameters, runtime: Runtime) -> Calibrator:
    """A calibrator for a scene; arguments as for :func:`frame_scorer`."""
    if isinstance(parameters, CampusParameters):
        return CampusCalibrator(CampusScorer(normal, size=size, parameters=parameters, runtime=runtime))
    return _SpadeCalibrator(SpadeScorer(normal, size=size, parameters=parameters, device=runtime.device))


def motion_meter(parameters: Parameters, preprocess: Preprocess) -> MotionMeter:
    """Measures motion as the method wants it, in the part of the picture that is scored."""
    memory = parameters.motion_memory if isinstance(parameters, CampusParameters) else MEMORY
    return MotionMeter(preprocess, memory=memory)


def gallery_arrays(
    normal: NormalFrames,
    *,
    parameters: Parameters,
    device: torch.device,
    confirmed: Sequence[int] = (),
    scales: Mapping[str, float] | None = None,
) -> dict[str, NDArray[Any]]:
    """What the method keeps ready in a gallery, made from all of its frames; see :meth:`NormalFrames.array`.

    Args:
        normal: the scene's normal frames, all of them.
        parameters: of the method to use.
        device: where to compute.
        confirmed: frames that somebody called normal; see :func:`spade_core.campus.campus_arrays`.
        scales: of the calibration that the gallery gets; None = there is none yet, and then nothing is confirmed.

    Returns:
        Arrays by name (a-z, 0-9, _): float16, float32 or int32. Empty where the method keeps none.
    """
    if isinstance(parameters, CampusParameters):
        motion_scale = (scales or {}).get("motion", 1.0)
        return campus_arrays(
            normal, parameters=parameters, device=device, confirmed=confirmed, motion_scale=motion_scale
        )
    return {}


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
        for name in {"levels", "channels"} & rest.keys():  # JSON knows no tuples
            rest[name] = tuple(rest[name])
        return kinds[method](**rest)
    except TypeError as error:
        raise ValueError(f"method {method}: {error}") from None


def gallery_parameters(gallery: Gallery) -> Parameters:
    """The parameters that a gallery was calibrated with.

    Raises:
        GalleryMismatch: this version has no such method, or no such parameter.
    """
    try:
        return parameters_from(gallery.calibration.parameters)
    except ValueError as error:
        raise GalleryMismatch(f"{gallery.folder}: made by another version of this program: {error}") from None


class _SpadeFrameScorer:
    """Faithful SPADE looks at single frames: it has no use for motion and memory, and for time only in random draws."""

    def __init__(self, scorer: SpadeScorer) -> None:
        self._scorer = scorer

    def new_memory(self) -> SceneMemory:
        return SceneMemory(1.0)

    def score_frame(
        self,
        features: Features,
        *,
        motion: NDArray[np.float16] | None,
        time: float,
        memory: SceneMemory,
        threshold_factor: float = 1.0,
    ) -> FrameScore:
        return self._scorer.score(features, times=[time])[0]


class _SpadeCalibrator:
    def __init__(self, scorer: SpadeScorer) -> None:
        self._scorer = scorer
        self._scores: list[float] = []
        self._times: list[float] = []
        self._segments: list[str] = []

    def add(self, features: Features, *, motion: NDArray[np.float16] | None, time: float, segment: str) -> None:
        self._times.append(time)
        self._segments.append(segment)
        self._scores.append(self._scorer.score(features, times=[time])[0].score)

    def finish(self, *, false_alarms_per_day: float, rule: AlarmRule) -> Calibration:
        return calibrate(
            np.array(self._scores),
            Timeline.of(self._times, self._segments),
            false_alarms_per_day=false_alarms_per_day,
            rule=rule,
            parameters=self._scorer.parameters.describe(),
        )
