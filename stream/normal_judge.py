"""Frames of old alerts scored against versions of a gallery, as their cameras would see the scores now.

For ``normal_commands`` (what would that silence?) and ``drift_follow`` (it must not silence anything).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spade_core.calibration import Calibration
from spade_core.campus import CampusParameters
from spade_core.errors import InputError
from spade_core.extractor import FeatureExtractor, Features
from spade_core.gallery import NormalFrames
from spade_core.methods import FrameScorer, Parameters, frame_scorer
from stream.config import Config
from stream.kept_frame import KeptFrame
from stream.operator_settings import CameraOperator, read_settings
from stream.zones import WHOLE, Part, Zone, keep_mask


@dataclass(frozen=True, slots=True)
class AsSeen:
    """What is set for one camera."""

    zones: tuple[Zone, ...] = ()
    threshold_factor: float = 1.0  # of the calibrated threshold
    configured: tuple[Zone, ...] | None = None  # of ``zones``, those of the configuration; None = all of them

    def without_operators(self) -> AsSeen:
        """As it is once operators took their zones back."""
        return self if self.configured is None else replace(self, zones=self.configured)


def as_seen(config: Config) -> dict[str, AsSeen]:
    """What is set for each camera now: alerts are judged as they would come now.

    Raises:
        OperatorSettingsError: what operators have set cannot be read.
    """
    operators = read_settings(config.operator_settings).cameras
    found = {}
    for camera in config.cameras:
        own = operators.get(camera.id, CameraOperator())
        found[camera.id] = AsSeen((*camera.zones, *own.zones), own.threshold_factor, camera.zones)
    return found


class Eyes:
    """The score of a frame as its camera sees it: what zones leave of it, and what may have lasted.

    Args:
        calibration: of the gallery.
        parameters: of the method.
        cameras: what is set for each; one that is not there has nothing set.
        part: of a frame that is scored.

    Raises:
        InputError: the threshold is not above 0: nothing can be told in it.
    """

    def __init__(
        self, calibration: Calibration, *, parameters: Parameters, cameras: Mapping[str, AsSeen], part: Part = WHOLE
    ) -> None:
        if not calibration.threshold > 0:
            raise InputError(f"the gallery's threshold is {calibration.threshold:g}: enroll the scene again")
        self._calibration, self._cameras, self._part = calibration, cameras, part
        # Of the method that remembers: three frames in a row of one picture fill its memory, see SceneMemory.
        span = parameters.persistence if isinstance(parameters, CampusParameters) else 0.0
        self._lasting = (0.0, span / 2, span)

    def threshold(self, camera: str) -> float:
        """In force for a camera now."""
        return self._calibration.threshold * self._cameras.get(camera, AsSeen()).threshold_factor

    def score(
        self, scorer: FrameScorer, frame: KeptFrame, features: Features, lasting: NDArray[np.bool_] | None
    ) -> float:
        """The highest score that counts.

        Args:
            scorer: of a version.
            frame: that was kept.
            features: of its image.
            lasting: (S, S) pixels that have always looked like that, the most that any can have lasted; None: none.

        Raises:
            InputError: the features are not finite.
        """
        pixels = _pixels(scorer, frame, features, times=(0.0,))
        if lasting is not None:
            pixels = np.where(lasting, _pixels(scorer, frame, features, times=self._lasting), pixels)
        zones = self._cameras.get(frame.camera, AsSeen()).zones
        keep = keep_mask(zones, shape=(pixels.shape[0], pixels.shape[1]), part=self._part)
        found = float(np.max(pixels if keep is None else pixels[keep], initial=0.0))
        if not np.isfinite(found):
            raise InputError("the score is not finite")
        return found


def _pixels(
    scorer: FrameScorer, frame: KeptFrame, features: Features, *, times: Sequence[float]
) -> NDArray[np.float32]:
    memory = scorer.new_memory()
    scores = [scorer.score_frame(features, motion=frame.motion, time=time, memory=memory) for time in times]
    return scores[-1].pixel_scores


class TwoVersions:
    """Scores frames by an old and a new version; see :data:`stream.normal.Judge`.

    Args:
        old: normal frames of the one.
        new: of the other.
        calibration: of both.
        parameters: of the method.
        extractor: that both were made with.
        cameras, part: see :class:`Eyes`.
    """

    def __init__(
        self,
        old: NormalFrames,
        new: NormalFrames,
        calibration: Calibration,
        *,
        parameters: Parameters,
        extractor: FeatureExtractor,
        cameras: Mapping[str, AsSeen],
        part: Part = WHOLE,
    ) -> None:
        self._extractor = extractor
        self._eyes = Eyes(calibration, parameters=parameters, cameras=cameras, part=part)
        self._old, self._new = (
            frame_scorer(
                normal,
                calibration,
                size=extractor.preprocess.side,
                parameters=parameters,
                runtime=extractor.backbone.runtime,
            )
            for normal in (old, new)
        )

    def __call__(self, frame: KeptFrame, lasting: NDArray[np.bool_] | None) -> tuple[float, float]:
        """Strength of a frame by the old version and by the new one.

        Args:
            frame: that was kept.
            lasting: (S, S) pixels that have always looked like that, the most that any can have lasted; None: none.

        Raises:
            GalleryCorrupt: a normal frame is damaged.
            InputError: the frame is of another size, or its features are not finite.
        """
        features, threshold = self._extractor.extract(frame.image[None]), self._eyes.threshold(frame.camera)
        before, after = (self._eyes.score(scorer, frame, features, lasting) for scorer in (self._old, self._new))
        return before / threshold, after / threshold
