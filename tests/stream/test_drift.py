"""Which frames become candidates of drift following: quiet ones only, far in time from anything that was told of."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from stream.drift import CALM, DAY, QUIET, DriftCollector, Seen
from stream.kept_frame import KeptFrame

PICTURE = np.zeros((8, 8, 3), np.uint8)


class Watch:
    """A camera that gives a frame every half minute; what is kept of it."""

    def __init__(self, per_day: int = 24) -> None:
        self.kept: list[KeptFrame] = []
        self.collector = DriftCollector(per_day, self.kept.append)
        self.time = 0.0

    def see(self, *strengths: float | None, camera: str = "gate", scene: str = "day", watched: bool = True) -> None:
        for strength in strengths:
            at = self.time
            self.collector.see(Seen(camera, scene, at, strength, watched), partial(a_frame, camera, scene, at))
            self.time += 30.0

    def quiet(self, seconds: float, **where: Any) -> None:
        self.see(*[0.3] * round(seconds / 30), **where)

    @property
    def times(self) -> list[float]:
        return [frame.frame_time for frame in self.kept]


def a_frame(camera: str, scene: str, time: float) -> KeptFrame:
    return KeptFrame(camera, scene, 0, time, PICTURE, None)


def test_a_quiet_frame_is_kept_when_it_was_quiet_before_and_after() -> None:
    watch = Watch()
    watch.quiet(2 * CALM)
    assert watch.times == []  # what comes after is not known yet
    watch.quiet(60)

    assert watch.times == [CALM]


def test_one_frame_is_taken_now_and_then() -> None:
    watch = Watch(per_day=24)
    watch.quiet(3 * 3600)

    assert watch.times == [CALM, CALM + 3600, CALM + 7200]


def test_nothing_is_taken_where_following_is_off() -> None:
    watch = Watch(per_day=0)
    watch.quiet(3600)

    assert watch.times == []


def test_a_frame_before_an_alert_is_dropped_though_it_was_quiet_itself() -> None:
    watch = Watch()
    watch.quiet(CALM + 60)  # the candidate waits
    watch.see(1.2)
    watch.quiet(CALM)

    assert watch.times == []


def test_nothing_is_taken_for_minutes_after_an_alert() -> None:
    watch = Watch()
    watch.see(1.5)
    watch.quiet(2 * CALM + 60)

    assert watch.times == [CALM]  # the first frame that is five minutes after it


@pytest.mark.parametrize("strength", [QUIET + 0.01, 0.99])
def test_someone_who_loiters_below_the_threshold_is_never_taken(strength: float) -> None:
    watch = Watch()
    watch.quiet(CALM)
    watch.see(*[strength] * 200)

    assert watch.times == []


def test_someone_who_comes_and_goes_leaves_no_frame() -> None:
    watch = Watch()
    for _ in range(50):  # four minutes alone, then seen above the threshold
        watch.quiet(240)
        watch.see(1.1)

    assert watch.times == []


@pytest.mark.parametrize("strength", [None, float("nan"), float("inf")])
def test_a_frame_without_a_score_is_no_quiet_one(strength: float | None) -> None:
    watch = Watch()
    watch.quiet(CALM + 60)
    watch.see(strength)
    watch.quiet(CALM)

    assert watch.times == []


def test_a_camera_that_is_snoozed_alerting_or_not_live_gives_none() -> None:
    watch = Watch()
    watch.quiet(3600, watched=False)

    assert watch.times == []


def test_a_gap_is_time_in_which_nobody_looked() -> None:
    watch = Watch()
    watch.quiet(CALM + 60)
    watch.time += CALM
    watch.quiet(60)

    assert watch.times == []


def test_a_clock_that_is_put_back_begins_anew() -> None:
    watch = Watch()
    watch.time = DAY
    watch.quiet(CALM + 60)
    watch.time = 1000.0
    watch.quiet(2 * CALM + 60)

    assert watch.times == [1000.0 + CALM]


def test_cameras_of_one_scene_share_its_number_and_other_scenes_have_their_own() -> None:
    watch = Watch()
    for _ in range(60):
        watch.see(0.3, camera="gate", scene="yard")
        watch.see(0.3, camera="back", scene="yard")
        watch.see(0.3, camera="roof", scene="sky")

    assert [frame.scene for frame in watch.kept].count("yard") == 1 + 1  # an hour and a half
    assert {frame.scene for frame in watch.kept} == {"yard", "sky"}


def test_a_camera_that_begins_anew_waits_again() -> None:
    watch = Watch()
    watch.quiet(CALM + 60)
    watch.collector.forget("gate")
    watch.quiet(CALM + 60)

    assert watch.times == []
