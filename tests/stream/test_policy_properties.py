"""The alert policy against everything a camera may do in any order: gaps, clocks that step back, clips that end.

``test_policy`` holds the rules of one stream whose time runs on. Here time and streams break off as they like, and what
must hold between any two calls is checked after each.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stream.messages import Phase
from stream.policy import HOUR, TIME_TOLERANCE, AlertPolicy, Decision, Observation, PolicySettings

QUARTERS = st.integers(0, 12).map(lambda quarters: quarters / 4)  # steps of time that float64 adds exactly
GAPS = QUARTERS | st.sampled_from([60.0, 1200.0, HOUR - 0.25, HOUR, HOUR + 0.25])
SCORES = st.sampled_from([0.1, 0.9, 1.0, 1.2, 1.5, 2.0]) | st.floats(-10, 10)
SETTINGS = st.builds(
    PolicySettings,
    min_duration=QUARTERS,
    release_ratio=st.sampled_from([0.5, 0.8, 1.0]),
    end_after=QUARTERS,
    update_every=QUARTERS,
    cooldown=QUARTERS,
    max_alerts_per_hour=st.integers(1, 3),
)
USUAL = st.sampled_from([0.0, 0.5, 0.9, 1.3])
START = 1_000_000.0


class Camera(RuleBasedStateMachine):
    """One camera's policy, a second one that is shown the same, and what was decided so far."""

    @initialize(chosen=SETTINGS)
    def begin(self, chosen: PolicySettings) -> None:
        self.settings = chosen
        self.policy, self.twin = (AlertPolicy("gate", chosen) for _ in range(2))
        self.now, self.seq = START, 0
        self.segment: list[Observation] = []  # since the last finish or step back
        self.by_alert: dict[str, list[Decision]] = defaultdict(list)
        self.starts: list[float] = []
        self.stepped_back = False

    @rule(gap=GAPS, score=SCORES, usual=USUAL)
    def sees_a_frame(self, gap: float, score: float, usual: float) -> None:
        self.now += gap
        self.show(score, usual)

    @rule(gap=QUARTERS, score=st.sampled_from([1.2, 1.5, 2.0]), times=st.integers(2, 8))
    def sees_something_odd(self, gap: float, score: float, times: int) -> None:
        for _ in range(times):
            self.now += gap
            self.show(score, 0.0)

    @rule(gap=QUARTERS, times=st.integers(2, 8))
    def sees_nothing(self, gap: float, times: int) -> None:
        for _ in range(times):
            self.now += gap
            self.show(0.0, 0.0)

    @precondition(lambda self: self.segment)
    @rule(back=st.sampled_from([0.25, 5.0, HOUR, 2 * HOUR]), score=SCORES)
    def time_runs_backwards(self, back: float, score: float) -> None:
        breaks, open_before, last = self.policy.time_breaks, self.policy.open_alert, self.now
        self.now -= back
        self.segment, self.stepped_back = [], True
        ended = self.show(score, 0.0)

        assert self.policy.time_breaks == breaks + 1
        assert [d.alert_id for d in ended] == ([open_before] if open_before else []), "it ends, and nothing starts"
        assert all((d.phase, d.at) == (Phase.END, last) for d in ended)

    @rule(after=st.integers(-12, 12).map(lambda quarters: quarters / 4))
    def segment_ends(self, after: float) -> None:
        open_before = self.policy.open_alert
        ended = self.policy.finish(self.now + after)
        assert self.twin.finish(self.now + after) == ended
        self.take(ended)
        self.segment = []

        assert [d.alert_id for d in ended] == ([open_before] if open_before else [])
        assert (self.policy.open_alert, self.policy.held, self.policy.is_peak) == (None, None, False)

    def show(self, score: float, usual: float) -> tuple[Decision, ...]:
        observation = Observation(self.now, self.seq, score, 1.0, usual)
        self.seq += 1
        self.segment.append(observation)
        decisions = self.policy.observe(observation)
        assert self.twin.observe(observation) == decisions, "the same frames, the same decisions"
        self.take(decisions)
        return decisions

    def take(self, decisions: tuple[Decision, ...]) -> None:
        for decision in decisions:
            history = self.by_alert[decision.alert_id]
            if decision.phase is Phase.START:
                assert history == [], "an id is used once"
                assert self.segment, "an alert starts with a frame"
                self.check_start(decision)
            else:
                assert history, "an alert that was never started"
                assert history[-1].phase is not Phase.END, "an alert that is over"
                assert decision.started_at == history[0].started_at
                assert decision.peak.strength >= history[-1].peak.strength
            history.append(decision)
            self.check_times(history)
        assert len(decisions) <= 1

    def check_start(self, start: Decision) -> None:
        """There is evidence enough, all of it from this segment, and the hour has room."""
        evidence = [o for o in self.segment if start.started_at <= o.time <= start.at]
        above = [o for o in evidence if o.above]
        assert start.observation == self.segment[-1] == above[-1]
        assert len(above) >= 2
        assert start.at - start.started_at >= self.settings.min_duration - TIME_TOLERANCE
        assert start.peak in above
        self.starts.append(start.at)
        if not self.stepped_back:  # after a step back an hour of the policy's clock is no hour of ours
            within = [at for at in self.starts if at > start.at - HOUR]
            assert len(within) <= self.settings.max_alerts_per_hour

    def check_times(self, history: list[Decision]) -> None:
        last = history[-1]
        assert last.started_at <= last.until <= last.at
        assert all(before.at <= after.at for before, after in pairwise(history))
        if last.phase is Phase.UPDATE:
            assert last.at - history[-2].at >= self.settings.update_every - TIME_TOLERANCE
            assert last.observation.above
        if last.phase is Phase.END:
            assert last.observation == last.peak

    @invariant()
    def what_is_open_is_what_was_started_and_not_ended(self) -> None:
        running = [name for name, history in self.by_alert.items() if history[-1].phase is not Phase.END]
        assert running == ([self.policy.open_alert] if self.policy.open_alert else [])

    @invariant()
    def nothing_is_held_while_an_alert_is_open(self) -> None:
        assert self.policy.open_alert is None or self.policy.held is None

    def teardown(self) -> None:
        if hasattr(self, "policy"):
            self.take(self.policy.finish(self.now))
            assert all(history[-1].phase is Phase.END for history in self.by_alert.values()), "every alert ends"


TestCamera = Camera.TestCase
TestCamera.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

STEPS = st.lists(st.tuples(QUARTERS, SCORES), max_size=60)  # gap, score


BRISK = st.builds(  # so that most segments hold an alert, and the next one begins before the cooldown is over
    PolicySettings,
    min_duration=st.sampled_from([0.0, 0.25]),
    end_after=st.sampled_from([0.25, 1.0]),
    cooldown=st.sampled_from([5.0, 60.0]),
    max_alerts_per_hour=st.just(1_000),
)
SEGMENTS = st.lists(st.lists(st.sampled_from([0.1, 1.2, 1.5, 2.0]), min_size=1, max_size=12), max_size=6)


@given(BRISK, SEGMENTS)
def test_a_segment_is_decided_as_if_there_had_been_none_before_but_for_the_rate_cap(
    chosen: PolicySettings, segments: list[list[float]]
) -> None:
    whole, now, seq = AlertPolicy("gate", chosen), START, 0
    for scores in segments:
        alone = AlertPolicy("gate", chosen)
        for score in scores:
            now, seq = now + 0.25, seq + 1
            observation = Observation(now, seq, score, 1.0)
            assert whole.observe(observation) == alone.observe(observation)
        assert whole.finish(now) == alone.finish(now)


@given(SETTINGS, STEPS, st.sampled_from([0.5, 2.0, 1024.0]))
def test_scores_count_in_thresholds(chosen: PolicySettings, steps: list[tuple[float, float]], unit: float) -> None:
    plain, scaled, now = AlertPolicy("gate", chosen), AlertPolicy("gate", chosen), START
    for seq, (gap, score) in enumerate(steps):
        now += gap
        first = plain.observe(Observation(now, seq, score, 1.0))
        second = scaled.observe(Observation(now, seq, score * unit, unit))
        assert [(d.phase, d.alert_id, d.at, d.until) for d in first] == [
            (d.phase, d.alert_id, d.at, d.until) for d in second
        ]
