"""How a camera sees a score now: what its zones leave of it, and what its threshold is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from spade_core.campus import CampusParameters
from spade_core.errors import InputError
from stream.config import build_config
from stream.kept_frame import KeptFrame
from stream.normal_judge import AsSeen, Eyes, as_seen
from stream.operator_settings import CameraOperator, OperatorSettings, encode_settings
from stream.zones import Zone

FRAME = KeptFrame("gate", "yard", 1, 1000.0, np.zeros((8, 8, 3), np.uint8), None)
LEFT = Zone("tree", "ignore", ((0, 0), (0.5, 0), (0.5, 1), (0, 1)))
FEATURES: Any = None


class Scorer:
    """3 in the left half and 1 in the right one; twice as much once it has lasted for 8 s."""

    def new_memory(self) -> list[float]:
        return []

    def score_frame(self, features: Any, *, motion: Any, time: float, memory: list[float]) -> Any:
        memory.append(time)
        pixels = np.full((8, 8), 1.0, np.float32)
        pixels[:, :4] = 3.0
        return SimpleNamespace(pixel_scores=pixels * (2 if time - memory[0] >= 8 else 1))


SCORER: Any = Scorer()


def eyes(threshold: float = 0.5, **cameras: AsSeen) -> Eyes:
    calibration: Any = SimpleNamespace(threshold=threshold)
    return Eyes(calibration, parameters=CampusParameters(), cameras=cameras)


def test_what_is_ignored_does_not_count() -> None:
    assert eyes().score(SCORER, FRAME, FEATURES, None) == 3.0
    assert eyes(gate=AsSeen((LEFT,))).score(SCORER, FRAME, FEATURES, None) == 1.0
    assert eyes(roof=AsSeen((LEFT,))).score(SCORER, FRAME, FEATURES, None) == 3.0


def test_what_operators_drew_is_told_from_what_is_configured(tmp_path: Path) -> None:
    camera = {"id": "gate", "source": "gate.mp4", "scene": "yard", "zones": [LEFT.to_json()]}
    data = {"state": "state", "gallery": {"folder": "galleries"}, "cameras": [camera]}
    config = build_config(data, where="a test", base=tmp_path, environment={})
    own = replace(LEFT, name="scaffold")
    config.operator_settings.parent.mkdir(parents=True, exist_ok=True)
    config.operator_settings.write_bytes(
        encode_settings(OperatorSettings().put("gate", CameraOperator((own,), threshold_factor=1.5)))
    )
    seen = as_seen(config)["gate"]

    assert seen == AsSeen((LEFT, own), 1.5, configured=(LEFT,))
    assert seen.without_operators() == AsSeen((LEFT,), 1.5, configured=(LEFT,))
    assert AsSeen((LEFT,)).without_operators() == AsSeen((LEFT,))


def test_only_the_pixels_that_may_have_lasted_are_scored_so() -> None:
    corner = np.zeros((8, 8), np.bool_)
    corner[0, 7] = True

    assert eyes(gate=AsSeen((LEFT,))).score(SCORER, FRAME, FEATURES, corner) == 2.0
    assert eyes().score(SCORER, FRAME, FEATURES, corner) == 3.0


def test_the_threshold_is_the_one_that_is_set_for_the_camera() -> None:
    seen = eyes(gate=AsSeen(threshold_factor=1.5))

    assert (seen.threshold("gate"), seen.threshold("roof")) == (0.75, 0.5)


def test_without_a_threshold_nothing_can_be_judged() -> None:
    with pytest.raises(InputError, match="threshold is 0: enroll the scene again"):
        eyes(0.0)
