"""Fixed buckets, and which stage of a frame's way is counted when."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scoring_fakes import THRESHOLD
from worker_bench import HIGH, LOW, Bench, FakeLink, Ticking, a_frame, joined

from stream.latency import SECONDS, STAGES, STRENGTHS, Histogram, StageTimes


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    here = Bench(tmp_path)
    yield here
    here.outbox.close()


def counted(found: Any) -> dict[float, int]:
    """Values by the bound of their bucket; none where there are none."""
    bounds = [*found["le"], math.inf]
    return {bound: n for bound, n in zip(bounds, found["counts"], strict=True) if n}


def test_a_value_on_a_bound_belongs_to_it_and_what_is_above_all_is_counted_too() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 9.0):
        histogram.add(value)

    assert histogram.to_json() == {"le": [1.0, 2.0], "counts": [2, 2, 1], "sum": 14.0, "count": 5}


def test_what_is_no_number_spoils_no_sum_and_does_not_count_as_low() -> None:
    histogram = Histogram((1.0,))
    for value in (math.nan, math.inf, 0.5):
        histogram.add(value)

    assert histogram.to_json() == {"le": [1.0], "counts": [1, 2], "sum": 0.5, "count": 3}


def test_a_reader_whose_clock_is_beyond_belief_adds_up_to_no_sum_beyond_numbers() -> None:
    histogram = Histogram((1.0,))
    for _ in range(3):
        histogram.add(1.7e308)

    told = histogram.to_json()
    assert told["count"] == 3
    json.dumps(told, allow_nan=False)  # as the feed tells the status of all cameras


def test_the_bounds_rise_and_alerts_begin_at_one_of_them() -> None:
    for bounds in (SECONDS, STRENGTHS):
        assert list(bounds) == sorted(set(bounds))
    assert 1.0 in STRENGTHS


def test_every_stage_is_counted_from_where_the_one_before_ended() -> None:
    times = StageTimes()
    times.arrive("gate", 10.0, captured=9.8)
    times.begin("gate", 10.04)
    times.arrive("gate", 10.04, captured=10.0)  # a recording's next frame comes meanwhile
    times.scored("gate", 10.44)
    times.committed(0.02, 0.7)

    found = times.to_json()
    assert {stage: counted(found[stage]) for stage in STAGES} == {
        "capture_to_worker": {0.05: 1, 0.25: 1},
        "queue": {0.05: 1},
        "score": {0.5: 1},
        "commit": {0.025: 1},
        "capture_to_commit": {1.0: 1},
    }


def test_times_of_another_machine_are_not_compared() -> None:
    times = StageTimes()
    times.arrive("gate", 10.0, captured=None)
    times.committed(0.02, None)

    found = times.to_json()
    assert [stage for stage in STAGES if found[stage]["count"]] == ["commit"]


def test_a_frame_that_was_never_begun_has_no_scoring_time() -> None:
    times = StageTimes()
    times.scored("gate", 10.0)

    assert times.to_json()["score"]["count"] == 0


# In the worker's status


def test_the_status_tells_how_long_frames_took(bench: Bench) -> None:
    clock = Ticking()
    captured = clock.mono - 0.2
    frames = [a_frame(seq, HIGH, captured_mono=captured) for seq in range(3)]
    link = FakeLink([joined(), *([frame] for frame in frames)], bench.log)
    bench.worker(link, lambda: link.empty, clock=clock).run()

    latency = bench.status["worker"]["latency"]
    assert counted(latency["capture_to_worker"]) == {0.25: 3}
    assert (latency["queue"]["count"], latency["score"]["count"]) == (3, 3)
    assert latency["commit"]["count"] == latency["capture_to_commit"]["count"] == 1  # the alert's start
    assert counted(bench.camera()["age_histogram"]) == {0.25: 3}


def test_without_a_shared_clock_no_age_is_told(bench: Bench) -> None:
    bench.run(joined(), [a_frame(0, LOW)], shared_clock=False)

    latency = bench.status["worker"]["latency"]
    assert (latency["capture_to_worker"]["count"], latency["score"]["count"]) == (0, 1)
    assert bench.camera()["age_histogram"]["count"] == 0


def test_scores_are_counted_in_thresholds_and_frames_without_a_score_are_not(bench: Bench) -> None:
    answers: Iterator[float | str] = iter([THRESHOLD / 4, THRESHOLD, "no gallery", THRESHOLD * 100])
    bench.engine.rule = lambda scene, image: next(answers)
    bench.run(joined(), *([a_frame(seq, LOW)] for seq in range(4)))

    found = bench.camera()["strength_histogram"]
    assert counted(found) == {0.25: 1, 1.0: 1, math.inf: 1}
    assert found["sum"] == pytest.approx(101.25)
    assert json.loads(json.dumps(found)) == found
