"""The guard against being led astray: how many may join a gallery, and what never may. By hand-made numbers."""

from __future__ import annotations

import pytest

from stream.drift_guard import (
    AROUND_ALERT,
    AT_ONCE,
    BY_ALERT,
    DAY,
    FAR,
    FULL,
    UNREADABLE,
    YOUNG,
    FollowLimits,
    History,
    Judged,
    Told,
    history_of,
    judge,
    too_early_or_told,
)

LIMITS = FollowLimits(hold=DAY, day_part=0.02, total_part=0.2)
NOW = 100 * DAY


def room(history: History, *, now: float = NOW) -> int:
    return history.room(now, LIMITS)


# How many


def test_a_day_takes_two_percent_of_what_was_enrolled() -> None:
    assert room(History("v000001", 1000)) == 20
    assert room(History("v000001", 1000, ((NOW - DAY / 2, 15),))) == 5
    assert room(History("v000001", 1000, ((NOW - DAY - 1, 15),))) == 20


def test_in_all_a_fifth_joins_until_somebody_enrolls_again() -> None:
    ten_days = tuple((NOW - (2 + day) * DAY, 20) for day in range(10))

    assert room(History("v000001", 1000, ten_days)) == 0
    assert room(History("v000001", 1000, ten_days[:9])) == 20


def test_of_a_small_gallery_a_day_takes_nothing_and_of_a_large_one_not_all_at_once() -> None:
    assert room(History("v000001", 49)) == 0  # 2 % of it are no frame
    assert room(History("v000001", 100_000)) == AT_ONCE


def test_what_joined_is_remembered_in_the_note() -> None:
    history = History("v000001", 1000, ((5.0, 3),)).after(7.0, 2)
    read = history_of({"drift": history.to_json()}, version="v000009", frames=1005)

    assert read == history
    assert read.total == 5


def test_a_version_that_never_followed_anything_is_its_own_anchor() -> None:
    assert history_of({"scene": "day"}, version="v000004", frames=700) == History("v000004", 700)


@pytest.mark.parametrize(
    "told",
    [
        {},
        3,
        {"anchor": "v1", "anchor_frames": 0, "joined": []},
        {"anchor": "v1", "anchor_frames": 9, "joined": [[1, -4]]},
    ],
)
def test_a_note_that_was_tampered_with_is_refused(told: object) -> None:
    with pytest.raises(ValueError, match=r"note\.drift"):
        history_of({"drift": told}, version="v000004", frames=700)


# Which


def test_a_young_candidate_waits_and_one_from_around_an_alert_is_dropped() -> None:
    alert = Told("gate", NOW - 10 * DAY, NOW - 10 * DAY + 60)
    times = [
        NOW - DAY,
        NOW - DAY + 1,
        alert.begin - AROUND_ALERT,
        alert.end + AROUND_ALERT,
        alert.end + AROUND_ALERT + 1,
    ]
    candidates = [("gate", time) for time in times] + [("back", alert.begin)]

    found = list(too_early_or_told(candidates, [alert], now=NOW, hold=LIMITS.hold))

    assert found == [(1, YOUNG, False), (2, BY_ALERT, True), (3, BY_ALERT, True)]


def test_a_candidate_from_the_future_is_young() -> None:
    assert list(too_early_or_told([("gate", NOW + 5)], [], now=NOW, hold=LIMITS.hold)) == [(0, YOUNG, False)]


def judged(strength: float | None, fits: float = 1.0) -> Judged:
    return Judged("gate", 0.0, strength, fits)


def test_what_the_enrolled_gallery_would_raise_an_alert_about_never_joins() -> None:
    verdict = judge([judged(0.6), judged(1.0), judged(1.01), judged(0.5, 1.5)], room=10, farthest=1.4)

    assert verdict.accepted == [0, 1]
    assert verdict.refused == {FAR: 2}
    assert verdict.for_good == [2, 3]


@pytest.mark.parametrize("strength", [None, float("nan"), float("inf")])
def test_what_cannot_be_scored_never_joins(strength: float | None) -> None:
    verdict = judge([judged(strength)], room=10, farthest=1.4)

    assert (verdict.accepted, verdict.refused) == ([], {UNREADABLE: 1})
    assert judge([judged(0.5, float("nan"))], room=10, farthest=1.4).accepted == []


def test_the_oldest_join_first_and_the_rest_may_come_another_day() -> None:
    verdict = judge([judged(0.5), None, judged(0.5), judged(0.5)], room=2, farthest=1.4)

    assert (verdict.accepted, verdict.refused, verdict.for_good) == ([0, 2], {FULL: 1}, [])


def test_small_steps_lead_no_farther_than_the_first_one_could() -> None:
    """Something comes nearer by a hundredth a day: it is judged by the enrolled gallery, not by yesterday's."""
    history, joined = History("v000001", 1000), 0
    farthest = 0.0
    for day in range(200):
        strength = 0.5 + 0.01 * day
        verdict = judge([judged(strength)], room=room(history, now=day * DAY), farthest=1.4)
        if verdict.accepted:
            history, joined, farthest = history.after(day * DAY, 1), joined + 1, strength

    assert farthest <= 1.0
    assert joined == 51
