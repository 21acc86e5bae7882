"""When a camera counts as moved: after every check failed for long enough, until some were good again; and in words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pytest

from stream.view_watch import BACK, NEWS_AFTER, PAUSE, ViewFault, ViewWatch, reason_of


@dataclass(frozen=True, slots=True)
class Check:
    """A picture as it was placed."""

    in_place: bool | None
    displaced: bool = False
    agreement: float = 0.12
    normal: tuple[float, float] = (0.63, 0.9)
    shift: tuple[float, float] = (0.0, 0.0)
    turn: float = 0.0
    zoom: float = 1.0


GOOD, ELSEWHERE, UNKNOWN = Check(True), Check(False), Check(None)
SHIFTED = Check(False, displaced=True, shift=(0.12, 0.03))


def faults(watch: ViewWatch, checks: Iterable[Check], *, start: float = 100.0, every: float = 1.0) -> list[bool]:
    """Whether the camera counts as moved after each of the checks."""
    return [watch.see(start + every * index, check) is not None for index, check in enumerate(checks)]


def a_moved_camera() -> ViewWatch:
    """Since 100 s; the last check was at 120 s."""
    watch = ViewWatch("gate", 20.0)
    assert faults(watch, [ELSEWHERE] * 21)[-1]
    return watch


def test_a_camera_counts_as_moved_when_every_check_failed_for_so_long() -> None:
    assert faults(ViewWatch("gate", 20.0), [ELSEWHERE] * 22) == [False] * 20 + [True] * 2


def test_a_fault_says_since_when() -> None:
    fault = a_moved_camera().fault
    assert fault is not None
    assert fault.since == 100.0


def test_one_good_check_begins_anew() -> None:
    assert not any(faults(ViewWatch("gate", 20.0), [ELSEWHERE] * 20 + [GOOD] + [ELSEWHERE] * 20))


def test_five_checks_must_fail_however_short_the_time() -> None:
    assert faults(ViewWatch("gate", 0.5), [ELSEWHERE] * 6) == [False] * 4 + [True] * 2


def test_pictures_that_say_nothing_change_nothing() -> None:
    assert not any(faults(ViewWatch("gate", 20.0), [UNKNOWN] * 60))
    assert all(faults(a_moved_camera(), [UNKNOWN] * 60, start=121.0))


def test_the_time_up_to_a_picture_that_says_nothing_does_not_count() -> None:
    # 30 s in all, of which 20 between checks that failed: the 21st failed check is at 125 s.
    checks = [*[ELSEWHERE] * 10, *[UNKNOWN] * 10, *[ELSEWHERE] * 15]
    moved = faults(ViewWatch("gate", 20.0), checks)
    assert moved.index(True) == 10 + 10 + 10


def test_a_time_without_pictures_hardly_counts() -> None:
    watch = ViewWatch("gate", 20.0)
    faults(watch, [ELSEWHERE] * 6)  # 5 s
    assert watch.see(3600.0, ELSEWHERE) is None  # and PAUSE, not an hour
    assert PAUSE == 5.0
    assert faults(watch, [ELSEWHERE] * 10, start=3601.0) == [False] * 9 + [True]


def test_a_camera_with_few_pictures_is_found_moved_too() -> None:
    assert faults(ViewWatch("gate", 20.0), [ELSEWHERE] * 6, every=30.0) == [False] * 4 + [True] * 2


def test_it_is_back_after_three_good_checks() -> None:
    assert BACK == 3
    assert faults(a_moved_camera(), [GOOD] * 3, start=121.0) == [True, True, False]


def test_good_checks_count_only_in_a_row() -> None:
    assert all(faults(a_moved_camera(), [GOOD, GOOD, ELSEWHERE, GOOD, GOOD], start=121.0))


def test_a_camera_that_is_back_can_be_moved_again() -> None:
    watch = a_moved_camera()
    faults(watch, [GOOD] * 3, start=121.0)
    assert faults(watch, [ELSEWHERE] * 21, start=200.0) == [False] * 20 + [True]
    assert watch.fault is not None
    assert watch.fault.since == 200.0


def test_a_check_is_due_once_a_second() -> None:
    watch = ViewWatch("gate", 20.0)
    assert watch.due(100.0)
    watch.see(100.0, UNKNOWN)
    assert [watch.due(time) for time in (100.0, 100.9, 101.0, 200.0)] == [False, False, True, True]


def test_a_reason_stands_for_a_while_and_then_says_what_is_seen_now() -> None:
    watch = a_moved_camera()
    first = watch.fault
    assert watch.see(121.0, SHIFTED) is first
    later = watch.see(120.0 + NEWS_AFTER, SHIFTED)
    assert later == ViewFault(reason_of(SHIFTED, "gate"), since=100.0)
    assert later != first


@pytest.mark.parametrize(
    ("check", "words"),
    [
        (SHIFTED, "shifted by 12 % to the right and 3 % down"),
        (Check(False, displaced=True, shift=(-0.026, 0.001)), "shifted by 3 % to the left"),
        (Check(False, displaced=True, shift=(0.0, -0.2)), "shifted by 20 % up"),
        (
            Check(False, displaced=True, shift=(0.04, 0.0), turn=-2.5),
            "shifted by 4 % to the right, turned by about 2.5 degrees counter-clockwise",
        ),
        (Check(False, displaced=True, turn=5.0), "turned by about 5 degrees clockwise"),
        (Check(False, displaced=True, zoom=1.1), "zoomed in about 1.1 times"),
        (Check(False, displaced=True, zoom=1 / 1.1), "zoomed out about 1.1 times"),
    ],
)
def test_the_operator_is_told_where_the_picture_went_and_what_to_do(check: Check, words: str) -> None:
    assert reason_of(check, "gate") == (
        f"the picture is {words} from what was enrolled: put the camera back, or enroll the scene again "
        "(spade-stream enroll CONFIG --camera gate)"
    )


def test_the_operator_is_told_that_the_view_is_another_one() -> None:
    assert reason_of(ELSEWHERE, "gate") == (
        "the picture does not show what was enrolled any more (agreement 0.12, normal 0.63 to 0.90): put the camera "
        "back, or, where the place or its light has changed, enroll the scene again "
        "(spade-stream enroll CONFIG --camera gate)"
    )
