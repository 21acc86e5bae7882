"""Sustained levels, clusters and tails: values by hand, the alert policy itself as judge, and long random series."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from spade_core.alarms import (
    DAY,
    ENOUGH_CLUSTERS,
    FEW_CLUSTERS,
    LEAST_SCALE,
    MOST_PER_DAY,
    START_QUANTILES,
    TIME_TOLERANCE,
    USUAL_SCALE,
    AlarmRule,
    HeldOutAlarms,
    Tail,
    Timeline,
    alarm_threshold,
    cluster_peaks,
    days_of,
    fit_tail,
    held_out_alarms,
    poisson_upper,
    sustained_levels,
)
from spade_core.errors import CalibrationError
from stream import policy
from stream.config_sections import GallerySection
from stream.messages import Phase
from stream.policy import AlertPolicy, Observation, PolicySettings

RULE = AlarmRule(min_duration=0.6, quiet=2.0)


def steady(count: int, *, fps: float = 5.0, segments: list[str] | None = None) -> Timeline:
    return Timeline.of([number / fps for number in range(count)], segments or ["a"] * count)


def levels_of(*scores: float, min_duration: float = 0.6, fps: float = 5.0) -> list[float]:
    found = sustained_levels(np.array(scores), steady(len(scores), fps=fps), min_duration=min_duration)
    return [float(level) for level in found]


# --- sustained levels by hand: five frames a second, so that 0.6 s are four frames


def test_a_level_is_what_all_frames_of_the_minimum_duration_stay_above():
    assert levels_of(5, 5, 5, 5) == [-math.inf] * 3 + [5]
    assert levels_of(3, 5, 5, 4)[3] == 3
    assert levels_of(5, 4, 4, 5)[3] == 4


def test_one_low_frame_within_is_forgiven_and_two_are_not():
    assert levels_of(5, 0, 5, 5)[3] == 5
    assert levels_of(5, 0, 1, 5)[3] == 1


def test_a_low_frame_at_the_start_is_forgiven_where_the_one_before_it_is_high():
    assert levels_of(5, 0, 5, 5, 5)[4] == 5
    assert levels_of(0, 0, 5, 5, 5)[4] == 0


def test_a_low_frame_at_the_end_is_not_forgiven():
    assert levels_of(5, 5, 5, 5, 0)[4] == 0


def test_without_a_minimum_duration_two_frames_are_needed_all_the_same():
    assert levels_of(7, 5, min_duration=0.0) == [-math.inf, 5]
    assert levels_of(7, 0, 5, min_duration=0.0)[2] == 5


def test_slow_frames_need_no_more_than_two():
    assert levels_of(7, 5, 6, fps=0.5) == [-math.inf, 5, 6]


def test_rounding_of_times_does_not_cost_a_frame():
    timeline = Timeline.of([100.0, 100.2, 100.4, 100.6 - 4e-4], ["a"] * 4)
    assert sustained_levels(np.full(4, 5.0), timeline, min_duration=0.6)[3] == 5
    assert TIME_TOLERANCE == policy.TIME_TOLERANCE


@pytest.mark.parametrize("times", [[0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4], [9, 9.2, 9.4, 9.6, 0, 0.2, 0.4, 0.6]])
def test_nothing_is_sustained_from_one_clip_into_the_next(times: list[float]):
    same_name = times[0] > times[-1]  # then it is time that runs backwards
    timeline = Timeline.of(times, ["a"] * 8 if same_name else ["a"] * 4 + ["b"] * 4)
    levels = sustained_levels(np.full(8, 5.0), timeline, min_duration=0.6)
    assert np.flatnonzero(np.isfinite(levels)).tolist() == [3, 7]


def test_nothing_is_sustained_over_a_score_that_is_not_known():
    levels = levels_of(5, 5, 5, math.nan, 5, 5, 5, 5)
    assert levels == [-math.inf] * 7 + [5]


# --- the policy as the judge


def starts_in(scores: NDArray[np.float64], timeline: Timeline, *, threshold: float, settings: PolicySettings) -> int:
    """Alerts that the real policy starts."""
    machine, count = AlertPolicy("gate", settings), 0
    for number, (score, time) in enumerate(zip(scores, timeline.times, strict=True)):
        if number and timeline.stretches[number] != timeline.stretches[number - 1]:
            machine.finish(float(time))
        decisions = machine.observe(Observation(float(time), number, float(score), threshold))
        count += sum(decision.phase is Phase.START for decision in decisions)
    return count


def a_series(seed: int) -> tuple[NDArray[np.float64], Timeline, float]:
    """Scores that hang together, frames that come unevenly, some clips; and a minimum duration."""
    generator = np.random.default_rng(seed)
    count = 120
    noise = generator.exponential(size=count + 4)
    scores = np.convolve(noise, np.ones(int(generator.integers(1, 4))), mode="valid")[:count]
    times = np.cumsum(generator.choice([0.1, 0.2, 0.2, 0.5], size=count))
    clips = np.cumsum(generator.random(count) < 0.03)
    duration = float(generator.choice([0.0, 0.2, 0.6, 1.5, 3.0]))
    return scores, Timeline.of(times.tolist(), [f"clip{clip}" for clip in clips]), duration


@pytest.mark.parametrize("seed", range(60))
def test_the_policy_starts_an_alert_if_and_only_if_the_threshold_is_below_the_highest_level(seed: int):
    scores, timeline, duration = a_series(seed)
    settings = PolicySettings(min_duration=duration)
    highest = float(sustained_levels(scores, timeline, min_duration=duration).max())
    assert math.isfinite(highest)
    assert starts_in(scores, timeline, threshold=highest, settings=settings) == 0
    assert starts_in(scores, timeline, threshold=highest * (1 - 1e-9), settings=settings) > 0


@pytest.mark.parametrize("seed", range(20))
def test_the_policy_starts_at_the_very_frames_whose_level_is_above_the_threshold(seed: int):
    scores, timeline, duration = a_series(seed)
    levels = sustained_levels(scores, timeline, min_duration=duration)
    threshold = float(np.quantile(levels[np.isfinite(levels)], 0.7))
    for frame in np.flatnonzero(timeline.stretches == 0)[1:]:
        upto = slice(0, frame + 1)
        starts = starts_in(scores[upto], timeline[upto], threshold=threshold, settings=PolicySettings(duration))
        assert (starts > 0) == bool((levels[upto] > threshold).any())


@pytest.mark.parametrize("seed", range(20))
def test_there_are_never_more_alerts_than_clusters(seed: int):
    scores, timeline, duration = a_series(seed)
    settings = PolicySettings(min_duration=duration, cooldown=0.0, max_alerts_per_hour=1000)
    levels = sustained_levels(scores, timeline, min_duration=duration)
    for quantile in (0.5, 0.8, 0.95):
        threshold = float(np.quantile(levels[np.isfinite(levels)], quantile))
        peaks = cluster_peaks(levels, timeline, above=threshold, quiet=settings.end_after)
        starts = starts_in(scores, timeline, threshold=threshold, settings=settings)
        assert (starts > 0) == (len(peaks) > 0)
        assert starts <= len(peaks)


# --- clusters


def test_one_excursion_counts_once_and_with_its_peak():
    levels = np.array([0, 3, 4, 0, 0, 2, 0, 0, 0, 0, 9, 0], float)
    peaks = cluster_peaks(levels, steady(12, fps=1.0), above=1, quiet=4.0)
    assert peaks.tolist() == [4, 9]


def test_the_quiet_that_parts_two_clusters_is_counted_from_frame_to_frame():
    levels = np.array([5, 0, 0, 6], float)
    assert cluster_peaks(levels, steady(4, fps=1.0), above=1, quiet=3.0).tolist() == [5, 6]
    assert cluster_peaks(levels, steady(4, fps=1.0), above=1, quiet=3.1).tolist() == [6]


def test_without_any_quiet_frames_apart_are_clusters_apart():
    assert cluster_peaks(np.array([5.0, 6.0]), steady(2), above=1, quiet=0.0).tolist() == [5, 6]


def test_a_cluster_ends_with_its_clip():
    levels = np.array([5, 6], float)
    assert cluster_peaks(levels, steady(2, segments=["a", "b"]), above=1, quiet=9.0).tolist() == [5, 6]


def test_a_level_at_the_value_is_not_above_it():
    assert cluster_peaks(np.array([1.0, -np.inf]), steady(2), above=1, quiet=1.0).tolist() == []


# --- tails


def test_the_length_of_footage_is_that_in_which_an_alert_could_start():
    timeline = steady(20, segments=["a"] * 10 + ["b"] * 10)
    levels = sustained_levels(np.ones(20), timeline, min_duration=0.6)
    assert days_of(levels, timeline) * DAY == pytest.approx(14 * 0.2)  # three frames of each clip are too early


def test_a_tail_by_hand():
    tail = Tail(start=10.0, scale=2.0, clusters=20, days=0.5)
    assert tail.threshold(40) == 10
    assert tail.threshold(40 / math.e) == pytest.approx(12)
    assert tail.threshold(1) == pytest.approx(10 + 2 * math.log(40))


def test_a_threshold_is_never_below_the_start_of_the_tail():
    assert Tail(start=10.0, scale=2.0, clusters=20, days=0.5).threshold(5000) == 10


def spikes(heights: list[float], *, apart: int = 40, ground: float = 1.0) -> tuple[NDArray[np.float64], Timeline]:
    """Excursions of a second each, far apart."""
    scores = np.full(apart * len(heights), ground)
    for number, height in enumerate(heights):
        scores[number * apart + 10 : number * apart + 16] = height
    return scores, steady(len(scores))


def test_the_scale_is_the_mean_excess_of_the_peaks():
    scores, timeline = spikes([3.0, 5.0, 4.0, 3.0, 6.0])
    tail = fit_tail(scores, timeline, RULE, per_day=1.0)
    assert (tail.start, tail.clusters) == (1.0, 5)  # less than a tenth of the frames are in an excursion
    assert tail.scale == pytest.approx((2 + 4 + 3 + 2 + 5) / 5)
    assert tail.days * DAY == pytest.approx((200 - 3) * 0.2)


def test_clusters_that_short_footage_lacks_count_as_usual_ones():
    tail = fit_tail(*spikes([3.0, 5.0]), RULE, per_day=1.0)
    assert tail.clusters == 2
    assert tail.scale == pytest.approx((2 + 4 + (FEW_CLUSTERS - 2) * USUAL_SCALE * 1.0) / FEW_CLUSTERS)


def test_the_tail_starts_further_out_where_there_are_enough_clusters():
    generator = np.random.default_rng(5)
    short, long = (
        fit_tail(*spikes((1 + generator.exponential(size=count)).tolist()), RULE, per_day=1.0)
        for count in (10, 40 * ENOUGH_CLUSTERS)
    )
    assert short.clusters < ENOUGH_CLUSTERS <= long.clusters
    assert long.start > 2 > short.start
    assert sorted(START_QUANTILES, reverse=True) == list(START_QUANTILES)


def test_the_tail_starts_where_there_are_as_many_clusters_as_are_asked_for():
    heights = (1 + np.random.default_rng(5).exponential(size=40 * ENOUGH_CLUSTERS)).tolist()
    scores, timeline = spikes(heights)
    starts = [fit_tail(scores, timeline, RULE, per_day=per_day).start for per_day in (1.0, 1000.0)]
    assert starts[1] < starts[0]


def test_a_tail_without_width_still_gets_a_margin():
    tail = fit_tail(*spikes([10 + 1e-6] * FEW_CLUSTERS, ground=10.0), RULE, per_day=1.0)
    assert tail.clusters == FEW_CLUSTERS
    assert tail.scale == pytest.approx(LEAST_SCALE * 10)


def test_footage_that_hardly_changes_gets_a_tail_of_the_usual_width():
    tail = fit_tail(np.full(50, 10.0), steady(50), RULE, per_day=1.0)
    assert (tail.start, tail.scale, tail.clusters) == (10, USUAL_SCALE * 10, 1)


def test_more_alarms_allowed_mean_a_lower_threshold():
    tail = fit_tail(*spikes([3.0, 5.0, 4.0]), RULE, per_day=1.0)
    thresholds = [tail.threshold(per_day) for per_day in (0.1, 1.0, 10.0, 1000.0)]
    assert thresholds == sorted(thresholds, reverse=True)
    assert len(set(thresholds)) == 4


def test_a_longer_minimum_duration_means_a_lower_threshold():
    scores, timeline, _ = a_series(3)
    thresholds = [
        alarm_threshold(scores, timeline, AlarmRule(min_duration=duration, quiet=2.0), per_day=1.0)
        for duration in (0.2, 1.5)
    ]
    assert thresholds[0] > thresholds[1]


def test_clips_that_are_too_short_to_sustain_anything_are_refused_with_a_remedy():
    timeline = steady(40, segments=[f"clip{number // 2}" for number in range(40)])
    with pytest.raises(CalibrationError, match=r"min_duration = 0\.6 s.*enroll longer clips"):
        fit_tail(np.arange(40.0), timeline, RULE, per_day=1.0)


@pytest.mark.parametrize("frames_alike", [1, 5], ids=["noise", "noise that hangs together"])
def test_a_rate_that_is_asked_for_is_met_on_long_footage(frames_alike: int):
    generator = np.random.default_rng(11)

    def footage(hours: float) -> tuple[NDArray[np.float64], Timeline]:
        count = round(hours * 3600 * 5)
        noise = generator.exponential(size=count + frames_alike - 1)
        return np.lib.stride_tricks.sliding_window_view(noise, frames_alike).max(axis=1), steady(count)

    known = footage(2.0)
    scores, timeline = footage(12.0)
    levels = sustained_levels(scores, timeline, min_duration=RULE.min_duration)
    for per_day in (100.0, 300.0, 1000.0):
        threshold = alarm_threshold(*known, RULE, per_day=per_day)
        peaks = cluster_peaks(levels, timeline, above=threshold, quiet=RULE.quiet)
        assert per_day / 1.5 < len(peaks) * 2 < per_day * 1.5


# --- what was asked for against what was seen


def seen_by(
    scores: NDArray[np.float64], timeline: Timeline, *, per_day: float, thresholds: dict[int, float]
) -> HeldOutAlarms:
    return held_out_alarms(
        timeline, RULE, per_day=per_day, scored_by=lambda frames: scores / thresholds[frames.start or 0]
    )


def test_each_half_is_held_against_the_threshold_of_the_other():
    scores, timeline = spikes([3.0, 5.0, 4.0, 6.0])
    # The first half sets 5: one excursion of the second is above. The second sets 2: both of the first are.
    alarms = seen_by(scores, timeline, per_day=1.0, thresholds={0: 5.0, 80: 2.0})
    assert alarms.seen == 3
    days = (160 - 6) * 0.2 / DAY  # the first three frames of each half are too early for an alert
    assert alarms.seen_per_day == pytest.approx(3 / days)
    assert alarms.upper_per_day == pytest.approx(6.681 / days, rel=1e-3)
    assert alarms.hours == pytest.approx((160 - 3) * 0.2 / 3600)
    assert (alarms.min_duration, alarms.quiet) == (0.6, 2.0)


def test_how_far_a_rate_is_extrapolated_is_counted_from_one_alarm_in_the_footage():
    scores, timeline = spikes([3.0] * 18)  # 720 frames
    least = DAY / ((720 - 3) * 0.2)  # per day: one in the footage
    for per_day, expected in ((1.0, least), (least / 2, 2.0), (least * 5, 1.0)):
        alarms = seen_by(scores, timeline, per_day=per_day, thresholds={0: 9.0, 360: 9.0})
        assert alarms.extrapolated == pytest.approx(expected)


def test_footage_too_short_to_be_halved_sets_a_threshold_but_shows_no_rate():
    def refuse(frames: slice) -> NDArray[np.float64]:
        raise CalibrationError("too few")

    alarms = held_out_alarms(steady(30), RULE, per_day=1.0, scored_by=refuse)
    assert (alarms.seen, alarms.seen_per_day, alarms.upper_per_day) == (None, None, None)
    assert alarms.hours > 0


@pytest.mark.parametrize(("count", "expected"), [(0, 2.3026), (1, 3.8897), (2, 5.3223), (10, 15.4066)])
def test_the_upper_bound_is_that_of_the_tables(count: int, expected: float):
    assert poisson_upper(count) == pytest.approx(expected, abs=1e-4)


def test_the_upper_bound_of_many_events_is_little_above_them():
    assert 2000 < poisson_upper(2000) < 2100


def test_what_was_seen_survives_json():
    for seen in (None, 3):
        alarms = HeldOutAlarms(0.5, 48.0, 0.6, 2.0, seen, None if seen is None else 1.5, None if seen is None else 2.5)
        assert HeldOutAlarms.from_json(alarms.to_json()) == alarms


@pytest.mark.parametrize(("field", "value"), [("min_duration", -0.1), ("quiet", math.nan), ("quiet", math.inf)])
def test_a_rule_out_of_bounds_is_refused(field: str, value: float):
    with pytest.raises(CalibrationError, match=field):
        AlarmRule(**{"min_duration": 0.6, "quiet": 2.0, field: value})


def test_the_configuration_allows_the_rates_that_can_be_asked_for():
    GallerySection(false_alarms_per_day=MOST_PER_DAY)
    with pytest.raises(ValueError, match="false_alarms_per_day"):
        GallerySection(false_alarms_per_day=MOST_PER_DAY * 1.001)
