"""What an evaluation is going to do, and what came of it: the values that its parts hand on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from spade_core.gallery import Gallery
from spade_core.preprocess import Preprocess
from stream.config import Config
from stream.evaluate.datasets.model import Dataset
from stream.evaluate.figures import Which
from stream.evaluate.options import EvalOptions
from stream.evaluate.scored import ScoredScene
from stream.evaluate.workspace import SceneFootage


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is settled before the first frame is read."""

    options: EvalOptions
    dataset: Dataset
    footage: tuple[SceneFootage, ...]
    config: Config

    @property
    def preprocess(self) -> Preprocess:
        """What frames become scoring images by."""
        return Preprocess(self.config.method.size, self.config.method.crop)

    @property
    def which(self) -> Which:
        """The score that frames are judged by: of images and of faithful SPADE the paper's, else what alerts go by."""
        return "image_scores" if self.options.is_peer or self.config.method.name == "spade" else "peaks"


@dataclass(frozen=True, slots=True)
class Scored:
    """What a method made of all test frames."""

    scenes: tuple[ScoredScene, ...]
    galleries: Mapping[str, Gallery]
    frames_per_second: float | None
    problems: tuple[str, ...]
