"""One frame scored against two versions of a gallery, as its camera would see the scores. For ``normal_commands``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spade_core.calibration import Calibration
from spade_core.campus import CampusParameters
from spade_core.extractor import FeatureExtractor, Features
from spade_core.gallery import NormalFrames
from spade_core.methods import FrameScorer, Parameters, frame_scorer
from stream.kept_frame import KeptFrame
from stream.zones import WHOLE, Part, Zone, keep_mask


@dataclass(frozen=True, slots=True)
class AsSeen:
    """What is set for one camera."""

    zones: tuple[Zone, ...] = ()
    threshold_factor: float = 1.0  # of the calibrated threshold


class TwoVersions:
    """Scores frames by an old and a new version; see :data:`stream.normal.Judge`.

    Args:
        old: normal frames of the one.
        new: of the other.
        calibration: of both.
        parameters: of the method.
        extractor: that both were made with.
        cameras: what is set for each; one that is not there has nothing set.
        part: of a frame that is scored.
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
        self._extractor, self._calibration = extractor, calibration
        self._cameras, self._part = cameras, part
        # Of the method that remembers: three frames in a row of one picture fill its memory, see SceneMemory.
        span = parameters.persistence if isinstance(parameters, CampusParameters) else 0.0
        self._lasting = (0.0, span / 2, span)
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
        features = self._extractor.extract(frame.image[None])
        before, after = (self._strength(scorer, frame, features, lasting) for scorer in (self._old, self._new))
        return before, after

    def _strength(
        self, scorer: FrameScorer, frame: KeptFrame, features: Features, lasting: NDArray[np.bool_] | None
    ) -> float:
        pixels = self._pixels(scorer, frame, features, times=(0.0,))
        if lasting is not None:
            held = self._pixels(scorer, frame, features, times=self._lasting)
            pixels = np.where(lasting, held, pixels)
        seen = self._cameras.get(frame.camera, AsSeen())
        keep = keep_mask(seen.zones, shape=(pixels.shape[0], pixels.shape[1]), part=self._part)
        peak = float(np.max(pixels if keep is None else pixels[keep], initial=0.0))
        return peak / (self._calibration.threshold * seen.threshold_factor)

    def _pixels(
        self, scorer: FrameScorer, frame: KeptFrame, features: Features, *, times: Sequence[float]
    ) -> NDArray[np.float32]:
        memory = scorer.new_memory()
        scores = [scorer.score_frame(features, motion=frame.motion, time=time, memory=memory) for time in times]
        return scores[-1].pixel_scores
