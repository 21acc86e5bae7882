"""Zones, threshold factor and snooze, applied to the scores of one camera."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pipeline_fakes import a_packet
from scoring_fakes import GROW, SCENE, THRESHOLD, a_result

from spade_core.later import Later
from spade_core.preprocess import Preprocess
from spade_core.scorer import Explanation, FrameScore
from stream.camera_settings import CameraSettings
from stream.engine import NotScored, Scored
from stream.operator_settings import CameraOperator
from stream.policy import PolicySettings
from stream.zones import Zone, keep_mask

POLICY = PolicySettings(min_duration=0.1, end_after=0.2, cooldown=0.0)
LEFT = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
RIGHT = ((0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0))


def camera(*fixed: Zone, policy: PolicySettings = POLICY, **operators: Any) -> CameraSettings:
    made = CameraSettings("gate", fixed=fixed, policy=policy)
    made.take(CameraOperator(**operators))
    return made


def ignored(polygon: Any = LEFT, name: str = "tree") -> Zone:
    return Zone(name, "ignore", polygon)


def scored(pixels: Any, *, scene: Any = SCENE) -> Scored:
    """A frame with these pixel scores."""
    values = np.array(pixels, np.float32)
    return Scored(FrameScore(float(values.max()), values, Later.known(Explanation(0.0, ()))), scene)


def in_force(settings: CameraSettings, result: Scored, **packet: Any) -> Scored:
    found = settings.in_force(a_packet(**packet), result)
    assert isinstance(found, Scored)
    return found


# Zones


def test_without_settings_a_result_goes_through_as_it_is() -> None:
    result = scored([[1, 2], [3, 4]])

    assert camera().in_force(a_packet(), result) is result


def test_pixels_that_are_ignored_count_as_zero_and_the_score_is_the_highest_of_the_others() -> None:
    raw = scored([[9, 2], [3, 4]])
    found = in_force(camera(zones=(ignored(),)), raw)

    assert found.score.pixel_scores.tolist() == [[0, 2], [0, 4]]
    assert found.score.score == 4.0
    assert found.score.pixel_scores.dtype == np.float32
    assert raw.score.pixel_scores.tolist() == [[9, 2], [3, 4]], "maps on disk stay as they were scored"
    assert raw.score.score == 9.0


def test_only_watched_pixels_count() -> None:
    found = in_force(camera(zones=(Zone("door", "watch", LEFT),)), scored([[1, 2], [3, 4]]))

    assert (found.score.score, found.score.pixel_scores.tolist()) == (3.0, [[1, 0], [3, 0]])


def test_zones_of_the_configuration_and_of_operators_add_up() -> None:
    lower = Zone("road", "ignore", ((0.0, 0.5), (1.0, 0.5), (1.0, 1.0), (0.0, 1.0)))
    found = in_force(camera(ignored(), zones=(lower,)), scored([[1, 2], [3, 4]]))

    assert found.score.pixel_scores.tolist() == [[0, 2], [0, 0]]


def test_what_explains_a_frame_stays() -> None:
    raw = a_result(20.0)
    found = in_force(camera(zones=(ignored(RIGHT),)), raw)

    assert found.score.score == 20.0
    assert found.score.explanation is raw.score.explanation


def test_new_zones_hold_from_the_next_frame_on() -> None:
    settings = camera(zones=(ignored(),))
    assert in_force(settings, scored([[1, 2]])).score.score == 2.0

    settings.take(CameraOperator(zones=(ignored(RIGHT),)))
    assert in_force(settings, scored([[1, 2]])).score.score == 1.0
    settings.take(CameraOperator())
    settings.set_fixed((ignored(),))
    assert in_force(settings, scored([[5, 2]])).score.score == 2.0
    settings.set_fixed(())
    assert in_force(settings, scored([[5, 2]])).score.score == 5.0


def test_maps_of_another_size_get_a_mask_of_their_own() -> None:
    settings = camera(zones=(ignored(),))

    assert in_force(settings, scored([[1, 2]])).score.pixel_scores.tolist() == [[0, 2]]
    assert in_force(settings, scored([[1, 2, 3, 4]])).score.pixel_scores.tolist() == [[0, 0, 3, 4]]


def test_a_mask_is_drawn_once_for_as_long_as_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []

    def draw(zones: Any, **where: Any) -> Any:
        drawn.append(where)
        return keep_mask(zones, **where)

    monkeypatch.setattr("stream.camera_settings.keep_mask", draw)
    settings = camera(zones=(ignored(),))
    for _ in range(3):
        in_force(settings, scored([[1, 2]]))
    settings.take(CameraOperator(zones=(ignored(),), threshold_factor=2.0))
    in_force(settings, scored([[1, 2]]))

    assert len(drawn) == 1


def test_with_a_crop_zones_lie_where_they_lie_in_the_whole_frame() -> None:
    # 64 x 48 pixels; the middle half is scored. The left 3/8 of the frame are the left quarter of that.
    scene = SimpleNamespace(preprocess=Preprocess(size=128, crop=64), calibration=SCENE.calibration)
    zone = ignored(((0.0, 0.0), (0.375, 0.0), (0.375, 1.0), (0.0, 1.0)))
    found = in_force(camera(zones=(zone,)), scored([[4, 3, 2, 1]], scene=scene))

    assert found.score.pixel_scores.tolist() == [[0, 3, 2, 1]]


def test_zones_that_leave_nothing_make_no_quiet_camera_but_one_that_is_not_scored() -> None:
    found = camera(ignored(), zones=(ignored(RIGHT, "car"),)).in_force(a_packet(), scored([[1, 2]]))

    assert found == NotScored("its zones leave nothing of the picture to watch: change them")


# The factor


def test_the_factor_multiplies_thresholds_and_leaves_scores_and_what_is_usual() -> None:
    raw = a_result(15.0)
    found = in_force(camera(threshold_factor=2.0), raw)

    assert (raw.threshold, raw.grow_threshold) == (THRESHOLD, GROW)
    assert (found.threshold, found.grow_threshold) == (2 * THRESHOLD, 2 * GROW)
    assert found.score is raw.score
    assert found.scene is raw.scene


@pytest.mark.parametrize("factor", [0.2, 0.3, 0.7, 1.1, 3.3, 20.0])
def test_a_mask_never_needs_more_than_an_alert(factor: float) -> None:
    calibration = SimpleNamespace(threshold=0.1, grow_threshold=0.1, usual=0.0)
    found = replace(a_result(1.0), scene=SimpleNamespace(calibration=calibration), threshold_factor=factor)  # type: ignore[arg-type]

    assert found.grow_threshold <= found.threshold


def test_factor_and_zones_hold_together() -> None:
    found = in_force(camera(zones=(ignored(),), threshold_factor=0.5), scored([[9, 4]]))

    assert (found.score.score, found.threshold) == (4.0, THRESHOLD / 2)


# Snooze


def hold(settings: CameraSettings, *levels: float, segment: str = "", first: int = 0) -> int:
    """Frames a tenth of a second apart; returns how many alerts were held so far."""
    for seq, level in enumerate(levels, start=first):
        settings.hold(a_packet(seq, segment=segment), a_result(level))
    return settings.held


def test_a_snooze_ends_by_itself_at_its_time() -> None:
    settings = camera(snoozed_until=2000.0)

    assert settings.snoozed(1999.9)
    assert not settings.snoozed(2000.0)
    assert not camera().snoozed(0.0)


def test_alerts_that_would_have_started_are_counted() -> None:
    settings = camera(snoozed_until=2000.0)

    assert hold(settings, 20, 1, 1) == 0, "too short for an alert"
    assert hold(settings, 20, 20, 20, 1, 1, 1, 1, first=10) == 1
    assert hold(settings, 20, 20, first=20) == 2


def test_an_excursion_does_not_go_on_in_the_next_clip() -> None:
    settings = camera(snoozed_until=2000.0)
    hold(settings, 20, segment="a")

    assert hold(settings, 20, segment="b", first=1) == 0


def test_what_nobody_sees_the_end_of_is_forgotten() -> None:
    settings = camera(snoozed_until=2000.0)
    hold(settings, 20, 20)
    settings.let_go()

    assert hold(settings, 20, first=2) == 1, "the same excursion would have gone on"
    assert hold(settings, 20, first=3) == 2


def test_the_status_says_what_is_set_and_when_a_snooze_is_over_nothing_of_it() -> None:
    settings = camera(ignored(), zones=(ignored(RIGHT, "car"),), snoozed_until=2000.0, snooze_reason="roadworks")
    hold(settings, 20, 20)

    assert settings.to_json(1000.0) == {
        "threshold_factor": 1.0,
        "snoozed_until": "1970-01-01T00:33:20.000Z",
        "snooze_reason": "roadworks",
        "zones": 2,
        "held_by_snooze": 1,
    }
    assert settings.to_json(2000.0) | {"snoozed_until": None, "snooze_reason": ""} == settings.to_json(2000.0)
    until = "snoozed until 1970-01-01T00:33:20.000Z: no alert starts"
    assert settings.in_words(1000.0) == f"2 zone(s), threshold x 1, {until}"
    assert settings.in_words(2000.0) == "2 zone(s), threshold x 1"


def test_taking_the_same_again_changes_nothing() -> None:
    settings = camera(threshold_factor=2.0)

    assert not settings.take(CameraOperator(threshold_factor=2.0))
    assert settings.take(CameraOperator())
