"""Stand-ins for the scoring engine: no network, no gallery; the scores are what the test says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from spade_core.later import Later
from spade_core.preprocess import Preprocess
from spade_core.scorer import Explanation, FrameScore
from stream.engine import NotScored, Scored, ToScore

THRESHOLD, GROW = 10.0, 5.0
FRAMES = tuple(SimpleNamespace(source=f"day{n}", index=n, media_time=n / 2) for n in range(4))
SCENE: Any = SimpleNamespace(
    name="yard",
    gallery=SimpleNamespace(frames=FRAMES),
    preprocess=Preprocess(),
    calibration=SimpleNamespace(threshold=THRESHOLD, grow_threshold=GROW, usual=0.0),
)


def a_result(score: float, *, side: int = 32, at: tuple[int, int] = (0, 0), nearest: int = 2) -> Scored:
    """A frame whose upper left 8x8 pixels (moved to ``at`` = row, column) have this score, and all others 0."""
    pixels = np.zeros((side, side), np.float32)
    row, column = at
    pixels[row : row + 8, column : column + 8] = score
    neighbours = ((nearest, 0.25), (0, 0.5))
    made = FrameScore(float(score), pixels, Later.known(Explanation(score / 2, neighbours)))
    return Scored(made, SCENE)


class FakeEngine:
    """Scores a frame by the brightness of its scoring image, unless the test has another rule.

    Args:
        rule: (scene, image) -> score, or the reason why there is none.
    """

    def __init__(self, rule: Callable[[str, Any], float | str] = lambda scene, image: float(image[0, 0, 0])) -> None:
        self.rule = rule
        self.scenes: dict[str, Any] = {"yard": SCENE}
        self.failures: dict[str, Exception] = {}
        self.batches: list[list[str]] = []  # scenes of every batch
        self.placements: list[Any] = []  # what the next looks at the camera's view find; None where there are no more
        self.changed: list[dict[str, Any]] = []  # galleries of every change of scenes
        self.forgotten: list[str] = []

    at_once = 1
    degraded = ""

    def place(self, scene: str, image: Any) -> Any:
        return self.placements.pop(0) if self.placements else None

    def change_scenes(self, galleries: dict[str, Any]) -> None:
        self.changed.append(galleries)

    def forget(self, camera: str) -> None:
        self.forgotten.append(camera)

    def begin(self, frames: Sequence[ToScore]) -> list[Callable[[], Scored | NotScored]]:
        return [lambda result=result: result for result in self.score(frames)]

    def score(self, frames: Sequence[ToScore]) -> list[Scored | NotScored]:
        self.batches.append([frame.scene for frame in frames])
        answers = [(self.rule(frame.scene, frame.image), frame.image.shape[0]) for frame in frames]
        return [NotScored(a) if isinstance(a, str) else a_result(a, side=side) for a, side in answers]
