"""The threshold is 1.0 throughout unless a test says otherwise, so a score reads as its strength."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.messages import Phase
from stream.policy import AlertPolicy, Decision, Observation, PolicySettings, Suppression, alert_id

HIGH, HOVER, LOW = 1.5, 0.9, 0.1  # above the threshold; between release level (0.8) and threshold; below both

SETTINGS = PolicySettings(
    min_duration=0.5, release_ratio=0.8, end_after=1.0, update_every=2.0, cooldown=4.0, max_alerts_per_hour=60
)


def observations(scores: Iterable[float], *, start: float = 0.0, interval: float = 0.25) -> list[Observation]:
    """Every ``interval`` (exact in binary) one score; seq counts quarter seconds, so that it never repeats."""
    timed = [(start + index * interval, score) for index, score in enumerate(scores)]
    return [Observation(time, int(time * 4), score, 1.0) for time, score in timed]


def play(policy: AlertPolicy, scores: Iterable[float], *, start: float = 0.0, interval: float = 0.25) -> list[Decision]:
    return [d for o in observations(scores, start=start, interval=interval) for d in policy.observe(o)]


def phases(decisions: Iterable[Decision]) -> list[str]:
    return [str(decision.phase) for decision in decisions]


@pytest.fixture
def policy() -> AlertPolicy:
    return AlertPolicy("north-gate", SETTINGS)


class TestStart:
    def test_alert_starts_once_the_score_stayed_above_for_the_minimum_duration(self, policy: AlertPolicy) -> None:
        assert play(policy, [LOW, HIGH, HIGH]) == []  # above at 0.25 and 0.5: 0.25 s
        (start,) = play(policy, [HIGH], start=0.75)  # 0.5 s
        assert (start.phase, start.started_at, start.at, start.observation.seq) == (Phase.START, 0.25, 0.75, 3)
        assert policy.open_alert == start.alert_id == alert_id("north-gate", Observation(0.25, 1, HIGH, 1.0))

    def test_a_score_equal_to_the_threshold_is_not_above_it(self, policy: AlertPolicy) -> None:
        assert play(policy, [1.0] * 20) == []

    def test_one_observation_never_starts_an_alert(self) -> None:
        policy = AlertPolicy("gate", replace(SETTINGS, min_duration=0.0))
        assert play(policy, [99.0]) == []
        assert phases(play(policy, [99.0], start=0.25)) == ["start"]

    def test_a_camera_at_one_frame_a_second_needs_two_observations(self, policy: AlertPolicy) -> None:
        assert phases(play(policy, [LOW, HIGH, HIGH, HIGH], interval=1.0)) == ["start"]
        assert policy.observe(Observation(9.0, 9, LOW, 1.0)) == ()

    def test_dropped_frames_do_not_hinder_the_confirmation(self, policy: AlertPolicy) -> None:
        policy.observe(Observation(0.0, 0, HIGH, 1.0))
        assert phases(policy.observe(Observation(0.5, 12, HIGH, 1.0))) == ["start"]

    def test_rounding_of_unix_times_does_not_cost_a_frame(self) -> None:
        policy = AlertPolicy("gate", PolicySettings(min_duration=0.6))
        began = 1_795_468_530.4  # in steps of 0.1 s the span comes as 0.59999990
        decided = [policy.observe(Observation(began + index * 0.1, index, HIGH, 1.0)) for index in range(7)]
        assert [len(d) for d in decided] == [0, 0, 0, 0, 0, 0, 1]

    def test_a_single_low_observation_inside_is_tolerated(self, policy: AlertPolicy) -> None:
        (start,) = play(policy, [HIGH, LOW, HIGH])
        assert start.started_at == 0.0

    def test_two_low_observations_in_a_row_end_the_candidate(self, policy: AlertPolicy) -> None:
        (start,) = play(policy, [HIGH, LOW, LOW, HIGH, HIGH, HIGH])
        assert (start.started_at, start.at) == (0.75, 1.25)

    def test_a_second_low_observation_moves_the_span_on_behind_the_first(self) -> None:
        policy = AlertPolicy("gate", replace(SETTINGS, min_duration=1.0))
        # spans that end above with at most one low inside: 0-0.75 is too short, 0.5-1.5 is the first of 1 s
        (start,) = play(policy, [HIGH, LOW, HIGH, HIGH, LOW, HIGH, HIGH])
        assert (start.at, start.started_at) == (1.5, 0.0)

    def test_flicker_that_is_low_every_other_frame_never_confirms_a_span_of_three_frames(self) -> None:
        policy = AlertPolicy("gate", replace(SETTINGS, min_duration=0.75))
        assert play(policy, [HIGH, LOW] * 20) == []

    def test_hovering_below_the_threshold_does_not_start(self, policy: AlertPolicy) -> None:
        assert play(policy, [HIGH] + [HOVER] * 20) == []


class TestOpenAlert:
    def test_it_is_updated_every_so_often_and_shows_the_current_frame(self, policy: AlertPolicy) -> None:
        decisions = play(policy, [HIGH] * 20)  # 0 to 4.75 s, started at 0.5
        assert [(str(d.phase), d.at, d.observation.time) for d in decisions] == [
            ("start", 0.5, 0.5),
            ("update", 2.5, 2.5),
            ("update", 4.5, 4.5),
        ]

    def test_updates_wait_for_a_frame_above_the_threshold(self) -> None:
        policy = AlertPolicy("gate", replace(SETTINGS, update_every=0.5, end_after=60.0))
        play(policy, [HIGH] * 3)
        assert play(policy, [LOW] * 20, start=0.75) == []
        assert play(policy, [HOVER], start=5.75) == []
        assert phases(play(policy, [HIGH], start=6.0)) == ["update"]

    def test_it_goes_on_at_the_release_level_exactly(self, policy: AlertPolicy) -> None:
        play(policy, [HIGH] * 3)
        assert "end" not in phases(play(policy, [0.8] * 40, start=0.75))

    @pytest.mark.parametrize(("score", "goes_on"), [(0.94, False), (0.96, True)])
    def test_where_normal_frames_come_near_the_threshold_it_goes_on_above_the_middle_between(
        self, policy: AlertPolicy, score: float, goes_on: bool
    ) -> None:
        after = [HIGH] * 3 + [score] * 40
        decisions = [d for o in observations(after) for d in policy.observe(replace(o, usual=0.9))]
        assert ("end" not in phases(decisions)) == goes_on

    def test_where_normal_frames_lie_above_the_threshold_it_goes_on_at_the_threshold(self, policy: AlertPolicy) -> None:
        decisions = [d for o in observations([HIGH] * 3 + [1.0] * 40) for d in policy.observe(replace(o, usual=1.3))]
        assert "end" not in phases(decisions)

    def test_flutter_round_the_threshold_is_one_alert(self, policy: AlertPolicy) -> None:
        decisions = play(policy, [HIGH] * 3 + [HOVER, HIGH, HOVER, HOVER, HIGH] * 10 + [LOW] * 5)
        assert (phases(decisions)[0], phases(decisions)[-1]) == ("start", "end")
        assert len({d.alert_id for d in decisions}) == 1

    def test_it_ends_after_the_quiet_and_shows_the_peak(self, policy: AlertPolicy) -> None:
        end = play(policy, [HIGH, 3.0, HIGH, 2.0, LOW, LOW, LOW, LOW, LOW])[-1]  # low from 1.0 s on
        assert (end.phase, end.until, end.at) == (Phase.END, 0.75, 2.0)
        assert end.observation == end.peak == Observation(0.25, 1, 3.0, 1.0)
        assert policy.open_alert is None

    def test_quiet_starts_anew_when_the_score_comes_back(self, policy: AlertPolicy) -> None:
        decisions = play(policy, [HIGH] * 3 + ([LOW] * 4 + [HOVER]) * 5)
        assert "end" not in phases(decisions)

    def test_one_low_frame_of_a_slow_camera_does_not_end_it(self, policy: AlertPolicy) -> None:
        decisions = play(policy, [HIGH, HIGH, LOW, HIGH, LOW, LOW], interval=10.0)
        assert phases(decisions) == ["start", "update", "end"]

    def test_finish_ends_it_and_says_when_it_was_last_seen(self, policy: AlertPolicy) -> None:
        play(policy, [HIGH, 2.5, HIGH, LOW])
        (end,) = policy.finish(9.0)
        assert (end.phase, end.until, end.at, end.peak.score) == (Phase.END, 0.5, 9.0, 2.5)
        assert policy.finish(9.0) == ()

    def test_finish_never_ends_it_before_the_last_frame(self, policy: AlertPolicy) -> None:
        play(policy, [HIGH] * 4)
        (end,) = policy.finish(0.0)
        assert end.at == 0.75

    def test_finish_forgets_a_candidate(self, policy: AlertPolicy) -> None:
        play(policy, [HIGH, HIGH])
        assert policy.finish(0.5) == ()
        assert play(policy, [HIGH], start=0.5) == []

    def test_after_finish_time_may_begin_anywhere(self, policy: AlertPolicy) -> None:
        play(policy, [HIGH] * 3, start=100.0)
        policy.finish(101.0)
        assert phases(play(policy, [HIGH] * 3)) == ["start"]
        assert policy.time_breaks == 0


class TestPeak:
    def test_caller_who_keeps_what_is_peak_holds_the_picture_that_the_end_shows(self, policy: AlertPolicy) -> None:
        kept = None
        flags = []
        for o in observations([LOW, 1.2, 1.9, 1.1, 1.9, 2.0, *[LOW] * 5]):
            decisions = policy.observe(o)
            if decisions and decisions[-1].phase is Phase.END:
                assert decisions[-1].observation == kept
            flags.append(policy.is_peak)
            kept = o if policy.is_peak else kept
        assert flags == [False, True, True, False, False, True, False, False, False, False, False]
        assert policy.open_alert is None

    def test_a_new_candidate_has_its_own_peak(self, policy: AlertPolicy) -> None:
        play(policy, [9.0, LOW, LOW])
        policy.observe(Observation(1.0, 4, 1.1, 1.0))
        assert policy.is_peak

    def test_peaks_compare_in_thresholds_where_the_threshold_changes(self, policy: AlertPolicy) -> None:
        play(policy, [2.0, 2.0, 2.0])
        policy.observe(Observation(0.75, 3, 3.0, 2.0))  # a higher score, but 1.5 thresholds only
        assert not policy.is_peak


class TestCooldown:
    """One alert with peak 2.0 ended at 2.0 s; the cooldown is over at 6.0 s."""

    @pytest.fixture
    def cooling(self, policy: AlertPolicy) -> AlertPolicy:
        decisions = play(policy, [2.0] * 4 + [LOW] * 5)
        assert (phases(decisions), decisions[-1].at) == (["start", "end"], 2.0)
        return policy

    def test_a_weaker_excursion_is_suppressed_and_counted(self, cooling: AlertPolicy) -> None:
        assert play(cooling, [HIGH] * 6 + [LOW] * 2, start=2.25) == []
        assert cooling.suppressed == {Suppression.COOLDOWN: 1, Suppression.RATE_CAP: 0}

    def test_an_equal_one_is_not_stronger(self, cooling: AlertPolicy) -> None:
        assert play(cooling, [2.0] * 6, start=2.25) == []
        assert cooling.held is Suppression.COOLDOWN

    def test_a_stronger_one_starts_at_once(self, cooling: AlertPolicy) -> None:
        (start,) = play(cooling, [HIGH, HIGH, 2.1], start=2.25)
        assert (start.at, start.peak.score) == (2.75, 2.1)

    def test_one_that_grows_stronger_while_held_starts_then(self, cooling: AlertPolicy) -> None:
        assert play(cooling, [HIGH] * 5, start=2.25) == []
        assert phases(play(cooling, [2.5], start=3.5)) == ["start"]

    def test_one_that_lasts_beyond_the_cooldown_starts_when_it_is_over(self, cooling: AlertPolicy) -> None:
        (start,) = play(cooling, [HIGH] * 16, start=2.25)  # 2.25 to 6.0
        assert (start.started_at, start.at) == (2.25, 6.0)
        assert cooling.suppressed[Suppression.COOLDOWN] == 0

    def test_a_short_one_is_not_counted(self, cooling: AlertPolicy) -> None:
        play(cooling, [HIGH, HIGH, LOW, LOW], start=2.25)
        assert cooling.suppressed[Suppression.COOLDOWN] == 0

    def test_it_does_not_reach_into_the_next_segment(self, cooling: AlertPolicy) -> None:
        cooling.finish(2.0)
        assert phases(play(cooling, [HIGH] * 3, start=2.25)) == ["start"]

    def test_one_that_is_held_when_the_segment_ends_is_counted(self, cooling: AlertPolicy) -> None:
        play(cooling, [HIGH] * 6, start=2.25)
        cooling.finish(4.0)
        assert (cooling.suppressed[Suppression.COOLDOWN], cooling.held) == (1, None)


class TestRateCap:
    EVENT = (HIGH,) * 3 + (LOW,) * 5  # starts 0.5 s and ends 1.75 s after its beginning

    @pytest.fixture
    def capped(self) -> AlertPolicy:
        """Allows two starts an hour, and has made them at 0.5 s and 100.5 s."""
        policy = AlertPolicy("gate", replace(SETTINGS, cooldown=0.0, max_alerts_per_hour=2))
        for start in (0.0, 100.0):
            assert phases(play(policy, self.EVENT, start=start)) == ["start", "end"]
        return policy

    def test_further_starts_are_suppressed_and_counted(self, capped: AlertPolicy) -> None:
        assert play(capped, self.EVENT, start=200.0) + play(capped, self.EVENT, start=300.0) == []
        assert capped.suppressed[Suppression.RATE_CAP] == 2

    def test_a_start_is_free_again_an_hour_after_the_oldest(self, capped: AlertPolicy) -> None:
        assert phases(play(capped, self.EVENT, start=3600.0)) == ["start", "end"]
        assert play(capped, self.EVENT, start=3650.0) == []

    def test_an_excursion_that_lasts_until_then_starts_then(self, capped: AlertPolicy) -> None:
        (start,) = play(capped, [HIGH] * 42, start=3590.25)
        assert start.at == 3600.5

    def test_a_segment_end_does_not_reset_it(self, capped: AlertPolicy) -> None:
        capped.finish(101.75)
        assert play(capped, self.EVENT, start=200.0) == []

    def test_after_a_step_back_of_the_clock_it_counts_for_an_hour_and_not_for_longer(self) -> None:
        policy = AlertPolicy("gate", replace(SETTINGS, max_alerts_per_hour=1))
        play(policy, self.EVENT, start=1_000_000.0)
        assert play(policy, self.EVENT, start=0.0) == []
        assert phases(play(policy, self.EVENT, start=3600.5)) == ["start", "end"]


class TestTime:
    def test_a_step_back_ends_the_open_alert_at_the_last_time_before_it(self, policy: AlertPolicy) -> None:
        play(policy, [HIGH] * 4, start=100.0)
        (end,) = policy.observe(Observation(50.0, 9, HIGH, 1.0))
        assert (end.phase, end.until, end.at) == (Phase.END, 100.75, 100.75)
        assert (policy.time_breaks, policy.open_alert) == (1, None)

    def test_the_observation_after_the_step_is_the_first_of_the_new_segment(self, policy: AlertPolicy) -> None:
        play(policy, [HIGH] * 2, start=100.0)
        assert phases(play(policy, [HIGH, HIGH, HIGH], start=50.0)) == ["start"]
        assert policy.time_breaks == 1

    def test_equal_times_are_no_step_back(self, policy: AlertPolicy) -> None:
        play(policy, [HIGH] * 2, interval=0.0)
        assert policy.time_breaks == 0


class TestRefusals:
    @pytest.mark.parametrize("field", ["time", "score", "threshold"])
    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_what_is_not_finite_is_refused_with_camera_frame_and_field(self, field: str, value: float) -> None:
        policy = AlertPolicy("gate", SETTINGS)
        with pytest.raises(ValueError, match=rf"camera 'gate', frame 7: {field} is {value}"):
            policy.observe(replace(Observation(1.0, 7, 1.0, 1.0), **{field: value}))  # type: ignore[arg-type]

    @pytest.mark.parametrize("threshold", [0.0, -1.0])
    def test_a_threshold_that_is_not_positive_is_refused(self, threshold: float, policy: AlertPolicy) -> None:
        with pytest.raises(ValueError, match="calibrate the scene"):
            policy.observe(Observation(1.0, 7, 1.0, threshold))

    def test_a_refused_observation_changes_nothing(self, policy: AlertPolicy) -> None:
        play(policy, [HIGH, HIGH])
        with pytest.raises(ValueError, match="score is nan"):
            policy.observe(Observation(0.4, 2, math.nan, 1.0))
        assert phases(play(policy, [HIGH], start=0.5)) == ["start"]

    def test_finish_refuses_a_time_that_is_not_finite(self, policy: AlertPolicy) -> None:
        with pytest.raises(ValueError, match="finish time is nan"):
            policy.finish(math.nan)

    @pytest.mark.parametrize(
        ("field", "value", "bound"),
        [
            ("min_duration", -0.1, "0 or more"),
            ("end_after", math.nan, "finite"),
            ("update_every", math.inf, "finite"),
            ("cooldown", -1.0, "0 or more"),
            ("release_ratio", 0.0, "above 0"),
            ("release_ratio", 1.01, "at most 1"),
            ("release_ratio", math.nan, "at most 1"),
            ("max_alerts_per_hour", 0, "1 or more"),
            ("max_alerts_per_hour", 2.5, "whole number"),
            ("max_alerts_per_hour", True, "whole number"),
        ],
    )
    def test_settings_name_the_field_and_its_bound(self, field: str, value: float, bound: str) -> None:
        with pytest.raises(ValueError, match=rf"^{field} is {value}; .*{bound}"):
            replace(PolicySettings(), **{field: value})  # type: ignore[arg-type]


class TestAlertId:
    FIRST = Observation(1795468530.4, 7, 2.0, 1.0)

    def test_it_holds_camera_time_in_milliseconds_and_a_hash(self) -> None:
        assert alert_id("north-gate", self.FIRST) == "north-gate-20261123T211530.400Z-8f523ae6"

    def test_it_depends_on_camera_time_and_sequence_number_only(self) -> None:
        changed = [
            alert_id("gate", self.FIRST),
            alert_id("north-gate", replace(self.FIRST, time=self.FIRST.time + 0.001)),
            alert_id("north-gate", replace(self.FIRST, seq=8)),
        ]
        assert len({alert_id("north-gate", self.FIRST), *changed}) == 4
        assert alert_id("north-gate", replace(self.FIRST, score=9.0)) == alert_id("north-gate", self.FIRST)

    @pytest.mark.parametrize("camera", ["../../etc/x", "a b/ü", "..", "x" * 300, ""])
    def test_it_is_safe_as_a_file_name(self, camera: str) -> None:
        text = alert_id(camera, self.FIRST)
        assert len(text) < 120
        assert text[0] not in ".-"
        assert all(c.isascii() and (c.isalnum() or c in "._-") for c in text)

    def test_cameras_that_look_alike_when_made_safe_stay_apart(self) -> None:
        assert alert_id("a/b", self.FIRST) != alert_id("a b", self.FIRST)


QUARTERS = st.integers(0, 12).map(lambda quarters: quarters / 4)  # steps of time that float64 adds exactly
SCORES = st.sampled_from([LOW, HOVER, 1.0, 1.2, HIGH, 2.0])
STREAMS = st.lists(st.tuples(QUARTERS, SCORES), max_size=80)
ANY_SETTINGS = st.builds(
    PolicySettings,
    min_duration=QUARTERS,
    end_after=QUARTERS,
    update_every=QUARTERS,
    cooldown=QUARTERS,
    max_alerts_per_hour=st.integers(1, 4),
)


def stream(steps: list[tuple[float, float]]) -> list[Observation]:
    time, made = 0.0, []
    for seq, (step, score) in enumerate(steps):
        time += step
        made.append(Observation(time, seq, score, 1.0))
    return made


def run(settings: PolicySettings, observed: list[Observation]) -> list[Decision]:
    policy = AlertPolicy("gate", settings)
    decisions = [d for o in observed for d in policy.observe(o)]
    return decisions + list(policy.finish(observed[-1].time if observed else 0.0))


def is_confirmed(observed: list[Observation], needed: float) -> bool:
    """The rule as it is documented, by brute force: some span up to now is long enough and has at most one gap."""
    for begin in range(len(observed) - 1):
        span = observed[begin:]
        ends_above = span[0].above and span[-1].above
        if ends_above and sum(not o.above for o in span) <= 1 and span[-1].time - span[0].time >= needed:
            return True
    return False


@given(ANY_SETTINGS, STREAMS)
def test_every_alert_starts_once_and_ends_once_and_never_two_are_open(
    settings: PolicySettings, steps: list[tuple[float, float]]
) -> None:
    opened, seen = None, set()
    for decision in run(settings, stream(steps)):
        if decision.phase is Phase.START:
            assert opened is None
            assert decision.alert_id not in seen
            opened = decision.alert_id
            seen.add(opened)
        assert decision.alert_id == opened
        if decision.phase is Phase.END:
            opened = None
    assert opened is None


@given(ANY_SETTINGS, STREAMS)
def test_every_start_is_confirmed_by_the_documented_rule(
    settings: PolicySettings, steps: list[tuple[float, float]]
) -> None:
    observed = stream(steps)
    for decision in run(settings, observed):
        if decision.phase is Phase.START:
            span = [o for o in observed if o.time >= decision.started_at and o.seq <= decision.observation.seq]
            assert decision.observation.seq >= 1
            assert is_confirmed(span, settings.min_duration)


@given(st.builds(PolicySettings, min_duration=QUARTERS), STREAMS)
def test_the_first_alert_starts_with_the_first_confirmed_observation(
    settings: PolicySettings, steps: list[tuple[float, float]]
) -> None:
    observed = stream(steps)
    confirmed = [n for n in range(len(observed)) if is_confirmed(observed[: n + 1], settings.min_duration)]
    starts = [d.observation.seq for d in run(settings, observed) if d.phase is Phase.START]
    assert starts[:1] == confirmed[:1]


@given(ANY_SETTINGS, STREAMS)
def test_durations_hold(settings: PolicySettings, steps: list[tuple[float, float]]) -> None:
    observed = stream(steps)
    decisions = run(settings, observed)
    for before, after in pairwise(decisions):
        if after.phase is Phase.UPDATE:
            assert after.at - before.at >= settings.update_every
            assert after.observation.score >= settings.release_ratio
        if after.phase is Phase.END and after is not decisions[-1]:  # the last one may be made by finish
            assert after.at - after.until >= settings.end_after
            quiet = [o for o in observed if after.until < o.time <= after.at]
            assert all(o.score < settings.release_ratio for o in quiet)


@given(ANY_SETTINGS, STREAMS)
def test_peak_is_the_strongest_since_the_start_and_the_end_shows_it(
    settings: PolicySettings, steps: list[tuple[float, float]]
) -> None:
    observed = stream(steps)
    for decision in run(settings, observed):
        if decision.phase is Phase.END:
            assert decision.observation == decision.peak
            alive = [o.score for o in observed if decision.started_at < o.time < decision.at]
            assert all(score <= decision.peak.score for score in alive)


@given(ANY_SETTINGS, STREAMS)
def test_the_same_input_gives_the_same_decisions(settings: PolicySettings, steps: list[tuple[float, float]]) -> None:
    assert run(settings, stream(steps)) == run(settings, stream(steps))


@given(ANY_SETTINGS, STREAMS)
def test_never_more_starts_in_an_hour_than_allowed(settings: PolicySettings, steps: list[tuple[float, float]]) -> None:
    starts = [d.at for d in run(settings, stream(steps)) if d.phase is Phase.START]  # 80 steps of 3 s: within one hour
    assert len(starts) <= settings.max_alerts_per_hour
