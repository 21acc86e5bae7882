"""Which scene a camera shows: hours of the day with a given clock, and fits of pictures that a test writes down."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from stream.scene_choice import (
    CHECKS,
    CLEARLY,
    FITS,
    MOST_DOUBTS,
    SceneChoice,
    SceneEntry,
    ScenePlan,
    Switch,
    parse_window,
    plan_problems,
    scheduled,
)

BERLIN = ZoneInfo("Europe/Berlin")
AWAY = math.inf


def entries(*pairs: tuple[str, str | None]) -> tuple[SceneEntry, ...]:
    return tuple(SceneEntry(scene, None if hours is None else parse_window(hours)) for scene, hours in pairs)


def minute(text: str) -> int:
    hours, minutes = text.split(":")
    return 60 * int(hours) + int(minutes)


def unix(text: str) -> float:
    """Of a time of the clock in Berlin."""
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp()


DAY_AND_NIGHT = entries(("day", "06:00-20:00"), ("night", None))


# Hours


@pytest.mark.parametrize(
    ("time", "scene"), [("05:59", "night"), ("06:00", "day"), ("19:59", "day"), ("20:00", "night"), ("00:00", "night")]
)
def test_a_window_holds_its_first_minute_and_not_its_end(time: str, scene: str) -> None:
    assert scheduled(DAY_AND_NIGHT, minute(time)) == scene


@pytest.mark.parametrize(
    ("time", "scene"), [("22:00", "night"), ("00:00", "night"), ("05:59", "night"), ("06:00", "day")]
)
def test_a_window_may_run_past_midnight(time: str, scene: str) -> None:
    assert scheduled(entries(("night", "22:00-06:00"), ("day", "06:00-22:00")), minute(time)) == scene


def test_the_first_window_that_fits_wins_wherever_the_one_without_hours_stands() -> None:
    plan = entries(("rest", None), ("lunch", "12:00-13:00"), ("day", "06:00-20:00"))

    assert [scheduled(plan, minute(time)) for time in ("12:30", "13:00", "21:00")] == ["lunch", "day", "rest"]


def test_the_whole_day_is_a_window() -> None:
    assert [m in parse_window("00:00-24:00") for m in (0, 720, 1439)] == [True, True, True]


@pytest.mark.parametrize(
    "text", ["6:00-20:00", "06:00", "06:60-20:00", "25:00-26:00", "24:30-06:00", "06:00-06:00", ""]
)
def test_what_are_no_hours_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"06:00-20:00|00:00-24:00"):
        parse_window(text)


# What is wrong with a plan


def test_a_gap_is_found_and_named() -> None:
    (problem,) = plan_problems(entries(("day", "06:00-20:00"), ("night", "21:30-06:00")), "schedule")

    assert problem == "no scene is in force at 20:00-21:30: give hours for that, or one scene without hours"


def test_a_scene_that_never_gets_its_turn_is_a_mistake() -> None:
    (problem,) = plan_problems(entries(("day", "00:00-24:00"), ("night", None)), "schedule")

    assert problem == "scene night is never in force: the others leave it no time"


def test_two_scenes_without_hours_are_a_mistake() -> None:
    (problem,) = plan_problems(entries(("day", "06:00-20:00"), ("night", None), ("fog", None)), "schedule")

    assert problem.startswith("night and fog have no hours")


def test_one_scene_may_have_two_windows() -> None:
    plan = entries(("rush", "07:00-09:00"), ("rush", "16:00-18:00"), ("calm", None))

    assert plan_problems(plan, "schedule") == []


def test_hours_say_nothing_where_the_picture_decides() -> None:
    assert plan_problems(entries(("day", None), ("night", None)), "picture") == []
    assert plan_problems(DAY_AND_NIGHT, "picture") == [
        "hours of day have no effect with 'choose: picture'; remove them"
    ]
    assert plan_problems(entries(("day", None), ("day", None)), "picture") == ["scene day stands there twice"]


# By schedule


def by_schedule() -> SceneChoice:
    return SceneChoice(ScenePlan(DAY_AND_NIGHT, "schedule", "Europe/Berlin"))


def test_the_frames_own_time_in_the_cameras_zone_decides() -> None:
    choice = by_schedule()

    assert choice.at(unix("2026-11-26 19:59:59")) is None
    assert choice.at(unix("2026-11-26 20:00:00")) == Switch("day", "night", "by schedule, at 20:00")
    assert choice.at(unix("2026-11-26 20:00:01")) is None
    assert choice.scene == "night"


def test_summer_time_moves_the_hours_with_the_clock_on_the_wall() -> None:
    choice = by_schedule()
    choice.at(unix("2026-03-28 23:00"))  # the night before the change

    assert choice.at(unix("2026-03-29 05:59")) is None
    assert choice.at(unix("2026-03-29 06:00")) is not None  # 04:00 UTC now; it was 05:00 UTC the day before
    assert datetime.fromtimestamp(unix("2026-03-29 06:00"), ZoneInfo("UTC")).hour == 4


def test_a_schedule_never_looks_at_pictures() -> None:
    assert not by_schedule().due(1e9)


# By the picture


class Pictures:
    """A camera that chooses by its pictures, one check a second."""

    def __init__(self) -> None:
        self.choice = SceneChoice(ScenePlan(entries(("day", None), ("night", None), ("gate", None)), "picture"))
        self.time = 1000.0

    def see(self, *fits: tuple[float, float], times: int = 1) -> list[str]:
        """Fits of day and night; the scene in force after each."""
        found = []
        for day, night in list(fits) * times:
            self.choice.see(self.time, {"day": day, "night": night})
            self.time += 1.0
            found.append(self.choice.scene)
        return found


def in_daylight() -> Pictures:
    pictures = Pictures()
    pictures.see((0.9, 2.2))
    return pictures


def test_the_first_picture_decides_at_once() -> None:
    assert Pictures().see((2.2, 0.9)) == ["night"]
    assert Pictures().see((1.9, 1.8)) == ["night"]  # nothing but its place speaks for the first scene


def test_another_scene_must_fit_clearly_better_in_several_checks_in_a_row() -> None:
    found = in_daylight().see((2.2, 0.9), times=CHECKS)

    assert found == ["day"] * (CHECKS - 1) + ["night"]


@pytest.mark.parametrize("break_", [(0.9, 2.2), (1.0, 0.9), (2.2, 2.2)])
def test_a_single_check_that_disagrees_starts_the_count_anew(break_: tuple[float, float]) -> None:
    pictures = in_daylight()
    pictures.see((2.2, 0.9), times=CHECKS - 1)
    pictures.see(break_)

    assert pictures.see((2.2, 0.9), times=CHECKS) == ["day"] * (CHECKS - 1) + ["night"]


def test_someone_before_the_camera_fits_no_scene_and_the_present_one_stays() -> None:
    assert set(in_daylight().see((1.9, FITS + 0.01), (3.0, 1.6), times=20)) == {"day"}


def test_a_scene_that_fits_hardly_better_is_no_reason_to_change() -> None:
    worse = CLEARLY * 1.2
    assert set(in_daylight().see((worse - 0.01, 1.2), times=20)) == {"day"}
    assert in_daylight().see((worse + 0.01, 1.2), times=CHECKS)[-1] == "night"


def test_light_between_two_scenes_does_not_make_it_flip() -> None:
    dusk = [(0.8 + 0.1 * n + 0.3 * (n % 2), 2.0 - 0.1 * n - 0.3 * (n % 2)) for n in range(14)]  # unsteady
    found = in_daylight().see(*dusk)

    assert (found[0], found[-1]) == ("day", "night")
    assert sum(before != after for before, after in pairwise(found)) == 1


def test_a_preset_that_is_not_in_view_gives_way_to_one_that_is() -> None:
    pictures = in_daylight()
    switches = [pictures.choice.see(2000.0 + n, {"day": AWAY, "gate": 1.1, "night": AWAY}) for n in range(CHECKS)]

    assert switches[:-1] == [None] * (CHECKS - 1)
    assert switches[-1] == Switch("day", "gate", "by the picture (fit 1.10, day is not in view)")


def test_where_no_scene_is_in_view_the_present_one_stays() -> None:
    assert set(in_daylight().see((AWAY, AWAY), times=10)) == {"day"}


def test_a_scene_in_force_without_a_gallery_gives_way_to_one_that_fits() -> None:
    pictures = in_daylight()
    found = [pictures.choice.see(2000.0 + n, {"night": 1.0}) for n in range(CHECKS)]

    assert found[-1] == Switch("day", "night", "by the picture (fit 1.00; day cannot be compared with)")


def test_nothing_to_compare_with_changes_nothing_and_the_first_comparison_still_decides() -> None:
    choice = SceneChoice(ScenePlan(entries(("day", None), ("night", None)), "picture"))

    assert [choice.see(time, fits) for time, fits in ((1.0, {}), (2.0, {"day": AWAY, "night": AWAY}))] == [None, None]
    assert choice.see(3.0, {"day": 2.0, "night": math.nan}) is None
    assert choice.scene == "day"


# Doubt


def test_until_another_scene_is_certain_there_is_doubt() -> None:
    pictures = in_daylight()
    doubts = []
    for _ in range(CHECKS):
        pictures.see((2.2, 0.9))
        doubts.append(pictures.choice.doubt)

    assert doubts[0] == "it seems to show scene night instead of day; that will be certain in a moment"
    assert [bool(doubt) for doubt in doubts] == [True] * (CHECKS - 1) + [False]


def test_doubt_ends_when_the_present_scene_fits_again() -> None:
    pictures = in_daylight()
    pictures.see((2.2, 0.9), (0.9, 2.2))

    assert pictures.choice.doubt == ""


def test_of_three_scenes_two_may_take_turns_at_beating_the_one_in_force() -> None:
    choice = in_daylight().choice
    found = []
    for n in range(6):
        best, other = ("night", "gate") if n % 2 else ("gate", "night")
        choice.see(2000.0 + n, {"day": 2.5, best: 0.9, other: 1.0})
        found.append((choice.scene, bool(choice.doubt)))

    # Counted against the scene in force, whoever beats it; the best of the last check is entered, and scored by.
    assert found == [("day", True)] * (CHECKS - 1) + [("night", False)] * 3


def at_dusk(pictures: Pictures, times: int) -> list[bool]:
    """Checks that say by turns that it is night, and that both fit alike; whether each puts off scoring."""
    doubts = []
    for n in range(times):
        pictures.see((CLEARLY * 1.2 + (0.01 if n % 2 == 0 else -0.01), 1.2))
        doubts.append(bool(pictures.choice.doubt))
    return doubts


def test_light_that_hovers_between_two_scenes_puts_off_scoring_a_few_times_only() -> None:
    doubts = at_dusk(in_daylight(), 60)

    assert doubts == [n % 2 == 0 and n < 2 * MOST_DOUBTS for n in range(60)]


def test_there_may_be_doubt_again_once_the_scene_in_force_has_fitted_best_for_a_while() -> None:
    pictures = in_daylight()
    at_dusk(pictures, 20)
    pictures.see((1.25, 1.2), times=CHECKS)  # alike: that settles nothing
    assert not any(at_dusk(pictures, 2))
    pictures.see((0.9, 1.2), times=CHECKS)

    assert at_dusk(pictures, 2) == [True, False]


def test_a_view_that_comes_and_goes_is_scored_again_too() -> None:
    pictures = in_daylight()
    doubts = []
    for _ in range(5):
        for fits in ((AWAY, AWAY), (1.0, 2.0)):
            pictures.see(fits)
            doubts.append(bool(pictures.choice.doubt))

    assert doubts == [True, False, True, False, True] + [False] * 5  # five seconds of it


def scored_on_tour(*, dwell: int, turn: int = 4, every: float = 1.0) -> tuple[int, int]:
    """Checks of a camera that turns between two presets which were scored: on the way, and by the wrong preset."""
    choice, time = SceneChoice(ScenePlan(entries(("day", None), ("night", None)), "picture")), 0.0
    turning = wrong = 0
    for n in range(20):
        shown, other = ("day", "night") if n % 2 == 0 else ("night", "day")
        for place in range(dwell + turn):
            on_the_way = place >= dwell
            choice.see(time, {shown: AWAY if on_the_way else 0.8, other: AWAY})
            time += every
            turning += on_the_way and not choice.doubt
            wrong += not on_the_way and not choice.doubt and choice.scene != shown
    return turning, wrong


@pytest.mark.parametrize(("dwell", "every"), [(5, 1.0), (6, 1.0), (7, 1.0), (7, 1.2), (12, 1.0)])
def test_on_a_tour_of_presets_nothing_is_scored_on_the_way_or_by_the_wrong_one(dwell: int, every: float) -> None:
    assert scored_on_tour(dwell=dwell, every=every) == (0, 0)


def test_a_camera_may_turn_again_once_its_scene_was_in_view_for_a_while_whichever_fitted_best() -> None:
    pictures = in_daylight()
    pictures.see((AWAY, AWAY))
    pictures.see((1.0, 0.95), times=CHECKS - 1)
    pictures.see((AWAY, AWAY), times=5)
    assert pictures.choice.doubt == ""  # too short: that is one turn still
    pictures.see((1.0, 0.95), times=CHECKS)
    pictures.see((AWAY, AWAY))

    assert pictures.choice.doubt == "it does not show scene day; it may be on its way to another one"


def test_light_that_changes_the_scene_again_and_again_does_not_add_up_to_blind() -> None:
    pictures, doubts = in_daylight(), 0
    for n in range(40 * CHECKS):
        pictures.see((2.2, 0.9) if n // CHECKS % 2 == 0 else (0.9, 2.2))
        doubts += bool(pictures.choice.doubt)

    assert doubts == MOST_DOUBTS


def test_someone_before_the_camera_raises_no_doubt() -> None:
    pictures = in_daylight()
    pictures.see((3.0, 2.9))

    assert pictures.choice.doubt == ""


def test_a_camera_on_its_way_is_in_doubt_for_as_long_as_a_turn_takes() -> None:
    pictures = in_daylight()
    doubts = []
    for _ in range(8):
        pictures.see((AWAY, AWAY))
        doubts.append(bool(pictures.choice.doubt))

    assert doubts == [True] * 5 + [False] * 3  # seconds


def test_a_score_that_rises_above_the_threshold_has_the_next_picture_compared_at_once() -> None:
    choice = in_daylight().choice  # compared at 1000 s
    choice.hear(above=False)
    assert not choice.due(1000.2)
    choice.hear(above=True)
    assert choice.due(1000.2)
    choice.see(1000.2, {"day": 2.2, "night": 0.9})
    choice.hear(above=True)  # still
    assert not choice.due(1000.4)


def due_times(choice: SceneChoice, times: Sequence[float]) -> list[float]:
    found = []
    for time in times:
        if choice.due(time):
            choice.see(time, {"day": 1.0, "night": 2.0})
            found.append(time)
    return found


def test_pictures_are_compared_once_a_second_also_after_the_clock_was_put_back() -> None:
    choice = SceneChoice(ScenePlan(entries(("day", None), ("night", None)), "picture"))

    assert due_times(choice, [10.0, 10.2, 10.9, 11.0, 11.5, 5.0, 5.5, 6.0]) == [10.0, 11.0, 5.0, 6.0]
