"""A backbone that needs no weights: its features are mean colours. For tests of enrolment and scoring as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from pipeline_fakes import GreySource
from torch import Tensor
from torch.nn.functional import avg_pool2d

from spade_core.alarms import AlarmRule
from spade_core.backbone import Backbone
from spade_core.extractor import FeatureExtractor
from spade_core.preprocess import Preprocess
from spade_core.pyramid import PyramidNetwork
from spade_core.runtime import TorchRuntime
from stream.enroll import EnrollSettings
from stream.sources.base import SourceFrame

SIDE = 32
_STRIDES = (4, 8, 16)


class _MeanColours(PyramidNetwork):
    def levels(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(avg_pool2d(images, stride) for stride in _STRIDES)

    def pooled(self, deepest: Tensor) -> Tensor:
        return deepest.mean(dim=(2, 3))


def tiny_extractor(*, side: int = SIDE, weights_id: str = "none") -> FeatureExtractor:
    """Mean colours of the picture, and of its blocks of 4, 8 and 16 pixels."""
    backbone = Backbone(
        name="mean_colours",
        weights_id=weights_id,
        level_names=("fours", "eights", "sixteens"),
        level_channels=(3, 3, 3),
        strides=_STRIDES,
        pooled_channels=3,
        network=_MeanColours(),
        runtime=TorchRuntime(torch.device("cpu")),
    )
    return FeatureExtractor(backbone, Preprocess(side))


def brief_settings(*, capacity: int = 1000, false_alarms_per_day: float = 1.0) -> EnrollSettings:
    """Every frame; the last two fifths are held out, for alerts of 0.6 s."""
    return EnrollSettings(
        capacity=capacity,
        holdout=0.4,
        false_alarms_per_day=false_alarms_per_day,
        rule=AlarmRule(min_duration=0.6, quiet=2.0),
        fps=None,
        seconds=None,
    )


class Footage(GreySource):
    """Grey frames, each brighter than the one before (see there), of any declared length and clips.

    Args:
        count: frames.
        declared: length that the source claims to have; None: the true one.
        clips: frame at which each clip begins.
        still: all frames are the first one.
    """

    def __init__(
        self,
        count: int,
        *,
        declared: int | None = None,
        clips: tuple[int, ...] = (),
        still: bool = False,
        live: bool = False,
        error: Exception | None = None,
    ) -> None:
        names = [f"clip{sum(start <= index for start in clips)}" for index in range(count)] if clips else []
        super().__init__(count, live=live, error=error, segments=names)
        self._still = still
        if not live:
            self.info = replace(self.info, frame_count=declared or count, segment_starts=clips)

    def frames(self) -> Iterator[SourceFrame]:
        first: SourceFrame | None = None
        for frame in super().frames():
            first = first or frame
            yield replace(frame, image=first.image) if self._still else frame


def a_picture(brightness: int, *, side: int = SIDE) -> np.ndarray:
    """The scoring image of a grey frame."""
    return np.full((side, side, 3), brightness, np.uint8)
