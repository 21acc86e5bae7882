"""What one connection shows: its size, its faults, and which frames are worth scoring."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from spade_core.motion import MotionMeter
from stream.lookout import Lookout, Size, Watching
from stream.messages import CameraState
from stream.sources.base import SourceFrame

BOXES = np.kron(np.random.default_rng(1).integers(40, 200, (12, 16, 3)), np.ones((20, 20, 1)))


def picture(seed: int) -> np.ndarray:
    """240 x 320, a scene with noise of its own."""
    return np.clip(BOXES + np.random.default_rng(seed).normal(0, 2, BOXES.shape), 0, 255).astype(np.uint8)


BLACK = np.zeros((240, 320, 3), np.uint8)


class Meter(MotionMeter):
    """Writes down the times of what it sees."""

    def __init__(self, seen: list[float]) -> None:
        super().__init__()
        self._seen = seen

    def see(self, image: np.ndarray, time: float, segment: str = "") -> None:
        self._seen.append(time)
        super().see(image, time, segment)


class Watched:
    """A lookout, what it reported, and what its meters saw (one list for each meter)."""

    def __init__(self, watching: Watching | None, *, size: Size | None = None) -> None:
        self.states: list[tuple[CameraState, str]] = []
        self.measured: list[list[float]] = []
        self._count = 0
        self.lookout = Lookout(
            "gate",
            new_meter=self._meter,
            watching=watching,
            size=size,
            report=lambda state, reason: self.states.append((state, reason)),
        )

    def _meter(self) -> MotionMeter:
        self.measured.append([])
        return Meter(self.measured[-1])

    def see(self, images: Iterable[np.ndarray]) -> list[str | None]:
        """One picture a second."""
        drops = []
        for image in images:
            frame = SourceFrame(self._count, float(self._count), image)
            drops.append(self.lookout.see(frame, float(self._count)))
            self._count += 1
        return drops

    @property
    def story(self) -> list[CameraState]:
        return [state for state, _ in self.states]


@pytest.mark.fault("camera repeats pictures", "repeats are counted and not scored; the camera stays LIVE")
def test_a_repeated_picture_is_not_scored_and_is_no_motion_of_zero() -> None:
    watched = Watched(Watching())
    drops = watched.see([picture(0), picture(0), picture(1), picture(1), picture(2)])

    assert drops == [None, "reader.duplicate", None, "reader.duplicate", None]
    assert watched.measured == [[0.0, 2.0, 4.0]]
    assert watched.states == [(CameraState.LIVE, "gate: 320x240")]


def test_a_recording_is_scored_whatever_it_shows() -> None:
    watched = Watched(None)
    drops = watched.see([picture(0)] * 50 + [BLACK] * 50)

    assert drops == [None] * 100
    assert watched.measured == [[float(second) for second in range(100)]]
    assert watched.story == [CameraState.LIVE]


@pytest.mark.fault("camera freezes", "FROZEN; its frames are not scored, each is counted; LIVE when it moves again")
def test_a_frozen_picture_is_reported_once_and_not_scored_until_it_is_new() -> None:
    watched = Watched(Watching(frozen_after=3.0))
    drops = watched.see([picture(0)] * 6 + [picture(1), picture(2)])

    assert drops == [None, *["reader.duplicate"] * 2, *["reader.frozen"] * 3, None, None]
    assert watched.states == [
        (CameraState.LIVE, "gate: 320x240"),
        (CameraState.FROZEN, "the picture has not changed for 3 s: the camera repeats itself"),
        (CameraState.LIVE, "gate: 320x240; the picture is good again"),
    ]


@pytest.mark.fault("black lens", "OBSCURED; frames are not scored, each is counted; LIVE when uncovered")
def test_a_covered_lens_is_reported_and_what_it_shows_is_not_scored() -> None:
    watched = Watched(Watching(obscured_after=2.0))
    noise = [np.random.default_rng(seed).integers(0, 6, BLACK.shape, np.uint8) for seed in range(6)]
    drops = watched.see([picture(0), *noise, picture(1), picture(2), picture(3)])

    assert watched.story == [CameraState.LIVE, CameraState.OBSCURED, CameraState.LIVE]
    assert drops.count("reader.obscured") >= 3
    assert drops[-1] is None


@pytest.mark.fault("resolution change", "LIVE with both sizes named; frames go on in the new size")
def test_another_size_is_reported_and_everything_begins_anew() -> None:
    watched = Watched(Watching(frozen_after=3.0))
    watched.see([picture(0)] * 5)
    drops = watched.see([picture(0)[:120, :160]] * 2)

    assert drops == [None, "reader.duplicate"]
    assert watched.states[-1] == (CameraState.LIVE, "gate: 160x120 (was 320x240)")
    assert watched.measured == [[0.0], [5.0]]
    assert watched.lookout.size == (160, 120)


def test_a_camera_that_comes_back_with_another_size_says_so() -> None:
    watched = Watched(Watching(), size=(1280, 720))
    watched.see([picture(0), picture(1)])

    assert watched.states == [(CameraState.LIVE, "gate: 320x240 (was 1280x720)")]
