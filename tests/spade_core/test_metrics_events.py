"""Alerts held against events, with times that can be checked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spade_core.errors import InputError
from spade_core.metrics import AlertSpan, Event, events_from_labels, judge_alerts

HOUR = 3600.0


def event(start: float, end: float, clip: str = "a") -> Event:
    return Event(clip, start, end)


def alert(start: float, end: float, clip: str = "a") -> AlertSpan:
    return AlertSpan(clip, start, end)


# -- alerts -----------------------------------------------------------------------------------------------------------


def test_figures_by_hand():
    # The first event is found after 2 s (two alerts in it: the earlier one counts), the second is missed, the third is
    # found after 1 s; one alert is about nothing; half an hour is normal.
    events = [event(10, 20), event(50, 60), event(5, 9, clip="b")]
    alerts = [alert(15, 16), alert(12, 14), alert(30, 31), alert(6, 30, clip="b")]
    figures = judge_alerts(events, alerts, HOUR / 2)
    assert (figures.events, figures.found, figures.recall) == (3, 2, 2 / 3)
    assert (figures.alerts, figures.false_alerts, figures.false_alerts_per_hour) == (4, 1, 2.0)
    assert figures.delays == (2.0, 1.0)
    assert figures.median_delay == 1.5


@pytest.mark.parametrize(("start", "end"), [(20.0, 25.0), (8.0, 10.0), (12.0, 13.0)], ids=["end", "start", "within"])
def test_the_ends_belong_to_both(start: float, end: float):
    assert judge_alerts([event(10, 20)], [alert(start, end)], HOUR).found == 1


@pytest.mark.parametrize(("start", "end"), [(20.1, 25.0), (8.5, 9.9)], ids=["after", "before"])
def test_an_alert_that_does_not_overlap_is_false(start: float, end: float):
    figures = judge_alerts([event(10, 20)], [alert(start, end)], HOUR)
    assert (figures.found, figures.false_alerts) == (0, 1)


def test_an_alert_of_another_clip_is_false():
    figures = judge_alerts([event(10, 20)], [alert(10, 20, clip="b")], HOUR)
    assert (figures.found, figures.false_alerts) == (0, 1)


def test_an_alert_that_was_open_long_before_was_about_something_else():
    events, alerts = [event(10, 20)], [alert(7.9, 15)]
    assert judge_alerts(events, alerts, HOUR).found == 0
    assert judge_alerts(events, alerts, HOUR).false_alerts == 1
    assert judge_alerts(events, alerts, HOUR, early=2.1).found == 1
    assert judge_alerts(events, alerts, HOUR, early=math.inf).false_alerts == 0  # any overlap will do


def test_an_alert_without_end_finds_nothing():
    figures = judge_alerts([event(10, 20), event(40, 50)], [alert(0, 1000)], HOUR)
    assert (figures.recall, figures.false_alerts) == (0.0, 1)


def test_who_is_looking_already_need_not_be_called_again():
    # Raised for the first event, still open when the second begins: both are found, the second at once.
    figures = judge_alerts([event(10, 12), event(18, 25)], [alert(11, 20)], HOUR)
    assert (figures.found, figures.false_alerts) == (2, 0)
    assert figures.delays == (1.0, 0.0)


def test_an_alert_just_before_its_event_has_no_delay():
    assert judge_alerts([event(10, 20)], [alert(8.5, 15)], HOUR).delays == (0.0,)


def test_late_alerts_can_be_let_through():
    events, alerts = [event(10, 20)], [alert(20.4, 22)]
    assert judge_alerts(events, alerts, HOUR, late=0.4).delays == (pytest.approx(10.4),)
    assert judge_alerts(events, alerts, HOUR, late=0.3).found == 0


def test_nothing_happens_and_nothing_is_raised():
    figures = judge_alerts([], [], HOUR)
    assert (figures.recall, figures.median_delay, figures.delays) == (None, None, ())
    assert figures.false_alerts_per_hour == 0.0


def test_without_normal_footage_there_is_no_rate_of_false_alerts():
    figures = judge_alerts([event(0, 20)], [], 0.0)
    assert figures.false_alerts_per_hour is None
    assert (figures.recall, figures.median_delay) == (0.0, None)


@pytest.mark.parametrize("value", [-1.0, math.nan])
@pytest.mark.parametrize("name", ["normal_seconds", "early", "late"])
def test_seconds_that_are_none_are_refused(name: str, value: float):
    with pytest.raises(InputError, match=name):
        judge_alerts([], [], **{"normal_seconds": HOUR, name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(("start", "end"), [(2.0, 1.0), (math.nan, 1.0), (0.0, math.inf)])
def test_spans_that_are_none_are_refused(start: float, end: float):
    with pytest.raises(InputError, match="an event in clip 'a' must end at or after its start"):
        event(start, end)
    with pytest.raises(InputError, match="an alert in clip 'a' must end at or after its start"):
        alert(start, end)


# -- events -----------------------------------------------------------------------------------------------------------


def runs(labels: list[int], join: float = 0.0, step: float = 0.5) -> list[tuple[float, float]]:
    return events_from_labels(np.array(labels, bool), np.arange(len(labels)) * step, join=join)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0, 1, 1, 0, 0, 1], [(0.5, 1.0), (2.5, 2.5)]),
        ([1, 1, 1], [(0.0, 1.0)]),
        ([0, 0, 0], []),
        ([], []),
        ([1, 0, 1], [(0.0, 0.0), (1.0, 1.0)]),
    ],
)
def test_events_are_the_runs_of_anomalous_frames(labels: list[int], expected: list[tuple[float, float]]):
    assert runs(labels) == expected


def test_short_gaps_are_joined():
    labels = [1, 0, 1, 0, 0, 1]  # frames every 0.5 s: gaps of 1.0 and 1.5 s from frame to frame
    assert runs(labels, join=0.9) == [(0, 0), (1, 1), (2.5, 2.5)]
    assert runs(labels, join=1.0) == [(0, 1), (2.5, 2.5)]
    assert runs(labels, join=1.5) == [(0, 2.5)]


@given(st.lists(st.booleans(), max_size=30))
def test_events_hold_the_anomalous_frames_and_no_others(labels: list[bool]):
    found = runs([int(label) for label in labels], step=1.0)
    inside = [any(start <= time <= end for start, end in found) for time in range(len(labels))]
    assert inside == labels


def test_times_need_not_be_even():
    assert events_from_labels(np.array([True, True, False]), np.array([3.0, 7.5, 8.0])) == [(3.0, 7.5)]


@pytest.mark.parametrize(
    ("labels", "times", "reason"),
    [
        (np.array([True]), np.array([0.0, 1.0]), r"\(1,\) and \(2,\)"),
        (np.array([0, 1]), np.array([0.0, 1.0]), "bool, got int64"),
        (np.array([True, True]), np.array([1.0, 1.0]), "rise"),
        (np.array([True, True]), np.array([0.0, math.nan]), "finite"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: np.ndarray, times: np.ndarray, reason: str):
    with pytest.raises(InputError, match=reason):
        events_from_labels(labels, times)


def test_a_negative_gap_is_refused():
    with pytest.raises(InputError, match="join"):
        runs([1, 0], join=-1)
