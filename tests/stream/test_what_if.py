"""Alerts at other thresholds, from stored scores: by hand, against the policy that sees every row, and the budget."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.messages import Phase
from stream.policy import BLIND, AlertPolicy, Observation, PolicySettings
from stream.score_table import ScoreTable
from stream.scorelog import ScoreRow
from stream.what_if import BudgetPoint, Excursion, alerts_at, budget_curve, covered_days, factor_for

START = 1_000_000.0
PLAIN = PolicySettings(min_duration=0.5, release_ratio=0.8, end_after=1.0, update_every=5, cooldown=0)


def row(time: float, score: float | None, *, segment: str = "", alert: str = "") -> ScoreRow:
    return ScoreRow(
        frame_time=START + time,
        frame_seq=round(time * 4),
        media_time=time,
        segment=segment,
        score=score,
        image_score=None,
        threshold=None if score is None else 1.0,
        nearest=None,
        age=None,
        alert=alert,
        problem="" if score is not None else "no gallery",
    )


def rows(scores: Iterable[float | None], *, step: float = 0.25, **fields: Any) -> list[ScoreRow]:
    return [row(number * step, score, **fields) for number, score in enumerate(scores)]


QUIET = [0.1] * 8


def plain(found: Sequence[ScoreRow], threshold: float, chosen: PolicySettings, usual: float) -> list[tuple[float, ...]]:
    """Every scored row shown to the policy, one by one."""
    policy, ended = AlertPolicy("gate", chosen), []
    last: ScoreRow | None = None
    unscored: list[float] = []
    for this in found:
        if this.score is None:
            unscored.append(this.frame_time)
            continue
        blind = bool(unscored) and unscored[-1] - unscored[0] > BLIND
        if last and (this.segment != last.segment or this.frame_time - last.frame_time > BLIND or blind):
            ended += policy.finish(last.frame_time)
        unscored = []
        ended += policy.observe(Observation(this.frame_time, this.frame_seq, this.score, threshold, usual))
        last = this
    if last:
        ended += policy.finish(last.frame_time)
    return [(d.started_at, d.until, d.peak.score) for d in ended if d.phase is Phase.END]


def test_a_lower_threshold_finds_what_stayed_below_the_old_one() -> None:
    found = rows([*QUIET, 0.7, 0.9, 0.8, *QUIET])

    assert alerts_at(found, 1.0, PLAIN) == []
    assert alerts_at(found, 0.6, PLAIN) == [Excursion("", START + 2.0, START + 2.5, 0.9)]


def test_a_higher_threshold_silences_what_did_not_reach_it() -> None:
    found = rows([*QUIET, 1.5, 1.5, 1.5, *QUIET, 3.0, 3.0, 3.0, *QUIET])

    assert [e.peak_score for e in alerts_at(found, 1.0, PLAIN)] == [1.5, 3.0]
    assert [e.peak_score for e in alerts_at(found, 2.0, PLAIN)] == [3.0]


def test_an_alert_says_which_of_the_log_it_covers() -> None:
    found = [*rows(QUIET), *[row(2 + n / 4, 2.0, alert="a-1" if n > 1 else "") for n in range(4)]]
    found += [row(3 + n / 4, 0.1) for n in range(8)]

    (excursion,) = alerts_at(found, 0.5, PLAIN)

    assert (excursion.alert_id, excursion.covers) == ("a-1", ("a-1",))


def test_a_new_segment_ends_an_alert() -> None:
    found = rows([2.0] * 4, segment="one") + [row(1 + n / 4, 2.0, segment="two") for n in range(4)]

    assert [e.started_at - START for e in alerts_at(found, 1.0, PLAIN)] == [0.0, 1.0]


def test_time_that_runs_backwards_ends_an_alert() -> None:
    found = [row(100 + n / 4, 2.0) for n in range(4)] + rows([2.0] * 4)

    assert [e.started_at - START for e in alerts_at(found, 1.0, PLAIN)] == [100.0, 0.0]


def test_frames_that_could_not_be_scored_end_an_alert_when_there_are_enough_of_them() -> None:
    def with_hole(seconds: int) -> list[ScoreRow]:
        hole = [row(1 + n, None) for n in range(seconds)]
        return [*rows([2.0] * 4), *hole, *[row(1 + seconds + n / 4, 2.0) for n in range(4)]]

    assert len(alerts_at(with_hole(5), 1.0, PLAIN)) == 1
    assert len(alerts_at(with_hole(12), 1.0, PLAIN)) == 2


def test_so_they_do_for_a_slow_camera_whose_gaps_are_longer() -> None:
    found = rows([2.0] * 4, step=5.0) + [row(20 + 5 * n, None) for n in range(4)]
    found += [row(40 + 5 * n, 2.0) for n in range(4)]

    assert len(alerts_at(found[:4] + found[8:], 1.0, PLAIN)) == 2
    assert len(alerts_at(found, 1.0, PLAIN)) == 2
    assert len(alerts_at([*found[:5], *found[8:]], 1.0, PolicySettings(min_duration=0, end_after=60))) == 2


def test_a_frame_that_could_not_be_scored_is_no_quiet_one() -> None:
    found = rows([2.0, 2.0, 2.0, *[None] * 6, 2.0, 2.0, *QUIET])

    assert [e.ended_at - START for e in alerts_at(found, 1.0, PLAIN)] == [2.5]


def test_a_gap_ends_an_alert_but_not_of_a_camera_that_is_always_so_slow() -> None:
    gap = rows([2.0] * 4) + [row(60 + n / 4, 2.0) for n in range(4)]

    assert len(alerts_at(gap, 1.0, PLAIN)) == 2
    assert len(alerts_at(rows([2.0] * 8, step=20.0), 1.0, PLAIN)) == 1


def test_no_rows_make_no_alerts() -> None:
    assert alerts_at([], 1.0, PLAIN) == []
    assert alerts_at(rows([None, None]), 1.0, PLAIN) == []
    assert covered_days([]) == 0.0


SCORES = st.sampled_from([None, 0.1, 0.3, 0.79, 0.8, 0.9, 1.0, 1.01, 1.5, 2.0])
SETTINGS = st.builds(
    PolicySettings,
    min_duration=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    release_ratio=st.sampled_from([0.5, 0.8, 1.0]),
    end_after=st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0]),
    cooldown=st.sampled_from([0.0, 1.0, 5.0]),
    max_alerts_per_hour=st.integers(1, 4),
)
LOGS = st.lists(
    st.tuples(
        st.lists(SCORES, min_size=1, max_size=3),
        st.integers(1, 20),  # times that they are repeated
        st.sampled_from([0.25, 0.25, 0.25, 0.2, 0.0, 2.0, 11.0, -5.0]),  # s from one to the next
        st.sampled_from(["", "", "", "b"]),
    ),
    max_size=12,
)


@settings(max_examples=400)
@given(LOGS, SETTINGS, st.sampled_from([0.25, 0.8, 1.0, 1.2]), st.sampled_from([0.0, 0.5, 0.95]))
def test_what_is_left_out_changes_nothing(
    log: list[Any], chosen: PolicySettings, threshold: float, usual: float
) -> None:
    time, found = 0.0, []
    for scores, times, step, segment in log:
        for score in scores * times:
            time += step if not found or step != -5.0 or found[-1].segment == segment else 0.25
            found.append(row(time, score, segment=segment))
            step = 0.25 if step == -5.0 else step
    steps = sorted(b.frame_time - a.frame_time for a, b in pairwise(r for r in found if r.score is not None))
    forward = [step for step in steps if step > 0]
    if forward and forward[len(forward) // 2] > BLIND / 3:  # a slow camera has other gaps: there is a test for it
        return

    fast = [(e.started_at, e.ended_at, e.peak_score) for e in alerts_at(found, threshold, chosen, usual=usual)]

    assert fast == plain(found, threshold, chosen, usual)


def test_the_curve_counts_alerts_by_the_time_that_was_watched() -> None:
    day = 86_400.0
    quiet = [row(n * 5.0, 0.1) for n in range(int(day / 5) + 1)]
    odd = {1000: 1.5, 5000: 1.5, 9000: 3.0}  # row -> score, for three rows each
    found = [
        row(n * 5.0, next((score for at, score in odd.items() if at <= n < at + 3), 0.1)) for n in range(len(quiet))
    ]

    curve = budget_curve(found, [1.0, 2.0, 4.0], 1.0, PLAIN)

    assert covered_days(found) == pytest.approx(1.0)
    assert [(point.factor, point.threshold, point.alerts) for point in curve] == [(1, 1, 3), (2, 2, 1), (4, 4, 0)]
    assert [point.alerts_per_day for point in curve] == pytest.approx([3, 1, 0])


def test_hours_without_frames_do_not_make_alerts_rarer() -> None:
    found = [*rows([0.1] * 100), *[row(90_000 + n / 4, 0.1) for n in range(100)]]

    assert covered_days(found) == pytest.approx(2 * 99 * 0.25 / 86_400)


def test_what_an_operator_called_real_is_no_false_alarm_and_is_counted_beside() -> None:
    event = [row(2 + n / 4, 2.0, alert="real-1" if n > 1 else "") for n in range(4)]
    found = [*rows(QUIET), *event, *[row(3 + n / 4, 0.1) for n in range(20)]]

    curve = budget_curve(found, [1.0, 4.0], 1.0, PLAIN, known_real={"real-1"})

    assert [(point.alerts, point.real) for point in curve] == [(0, 1), (0, 0)]


def test_the_calibrated_threshold_is_what_the_factors_are_of() -> None:
    assert budget_curve(rows(QUIET), [2.0], 30.0, PLAIN)[0].threshold == 60.0


def points(*per_day: float) -> list[BudgetPoint]:
    return [BudgetPoint(float(n), float(n), 0, rate) for n, rate in enumerate(per_day, start=1)]


@pytest.mark.parametrize(
    ("per_day", "factor"),
    [(10.0, 1), (9.0, 2), (2.0, 4), (1.0, 5), (0.5, 5)],
)
def test_a_budget_chooses_the_lowest_factor_from_which_on_it_holds(per_day: float, factor: int) -> None:
    # 2 a day hold at factor 3 too, but not at 2 and not yet for good.
    assert factor_for(points(10, 9, 4, 2, 1), per_day).factor == factor


def test_a_dip_in_the_curve_is_not_taken_for_a_budget_that_holds() -> None:
    assert factor_for(points(10, 1, 5, 1), 1.0).factor == 4


def test_a_curve_without_points_has_no_factor() -> None:
    with pytest.raises(ValueError, match="no points"):
        factor_for([], 1.0)


def test_rows_and_their_table_are_the_same_to_it() -> None:
    found = rows([*QUIET, 2.0, 2.0, 2.0, *QUIET])

    assert alerts_at(ScoreTable.of(found), 1.0, PLAIN) == alerts_at(found, 1.0, PLAIN) != []


def test_a_curve_goes_no_lower_than_to_more_alerts_than_anybody_reads() -> None:
    found = [row(n * 5.0, 1.5 if n % 10 < 3 else 0.1) for n in range(2000)]  # an alert every 50 s

    curve = budget_curve(found, [0.5, 1.0, 1.4, 2.0], 1.0, PLAIN, most_per_day=100.0)

    assert [point.factor for point in curve] == [1.4, 2.0]
    assert curve[0].alerts > 100


def test_a_few_minutes_with_an_alert_in_them_do_not_cut_the_curve() -> None:
    found = rows([*QUIET, 2.0, 2.0, 2.0, *QUIET])

    curve = budget_curve(found, [0.5, 1.0, 4.0], 1.0, PLAIN)

    assert [point.factor for point in curve] == [0.5, 1.0, 4.0]
    assert curve[1].alerts_per_day > 200.0
