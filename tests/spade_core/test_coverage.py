"""Coverage: footage that repeats itself is covered, a change is not, and frames beside each other prove nothing."""

from __future__ import annotations

import numpy as np
import pytest

from spade_core import coverage as module
from spade_core.coverage import COVERED, Coverage
from spade_core.errors import InputError

FPS = 5
MINUTE = 60 * FPS


def walkers(frames: int, *, place: float = 0.0, begin: int = 0) -> np.ndarray:
    """(frames, 2) features of a scene that goes round in 30 s: one second moves it by a twelfth of its radius or so.

    Scenes of other ``place`` have nothing in common.
    """
    turn = 2 * np.pi * (begin + np.arange(frames)) / (30 * FPS)
    return np.stack([np.cos(turn) + place, np.sin(turn) + place], axis=1).astype(np.float32)


def watch(*parts: np.ndarray, coverage: Coverage | None = None, begin: float = 0.0, fps: float = FPS) -> Coverage:
    coverage = coverage or Coverage()
    for number, pooled in enumerate(np.concatenate(parts)):
        coverage.see(pooled, begin + number / fps)
    return coverage


def test_the_first_round_is_new_and_the_later_ones_are_known():
    coverage = watch(walkers(MINUTE + 1))
    # The first 10 s are compared with nothing, and 20 s of the first round are new. On a circle of radius 1 the picture
    # of a second ago is 0.209 away, so the new frames end when the first frame of all comes that near again: at 29 s.
    assert coverage.new_frames == pytest.approx(19 * FPS, abs=2)
    assert coverage.value == pytest.approx(1 - 19 / 50, abs=0.02)
    watch(walkers(2 * MINUTE, begin=MINUTE + 1), coverage=coverage, begin=60 + 1 / FPS)
    assert coverage.value == 1.0
    assert coverage.new_frames == 0


def test_what_was_never_seen_is_new_and_ends_what_lasted():
    coverage = watch(walkers(6 * MINUTE))
    assert coverage.is_lasting
    watch(walkers(6 * FPS, place=50.0), coverage=coverage, begin=360.0)
    assert coverage.new_frames == 6 * FPS
    assert coverage.value == pytest.approx(0.9, abs=0.002)  # 6 s of 60
    assert not coverage.is_covered
    assert not coverage.is_lasting


def test_what_goes_on_changing_is_never_covered():
    drift = np.linspace(0, 400, 8 * MINUTE)[:, None] + np.zeros(2)
    assert watch(drift.astype(np.float32)).value == 0.0


def test_a_change_that_stays_is_learnt():
    coverage = watch(walkers(5 * MINUTE), walkers(20 * FPS, place=50.0))
    assert not coverage.is_covered
    watch(walkers(4 * MINUTE, place=50.0, begin=20 * FPS), coverage=coverage, begin=320.0)
    assert coverage.is_lasting


def test_frames_beside_each_other_do_not_make_each_other_known():
    something_new_every_five_seconds = np.repeat(np.arange(4 * 12) * 10.0, 5 * FPS)[:, None] * np.ones(3)
    assert watch(something_new_every_five_seconds.astype(np.float32)).value == 0.0


def test_a_picture_that_never_changes_is_covered():
    assert watch(np.ones((4 * MINUTE, 6), np.float32)).value == 1.0


def test_noise_is_not_news():
    noise = np.random.default_rng(0).normal(0, 1, (4 * MINUTE, 50)).astype(np.float32)
    assert watch(noise).is_lasting


def test_the_few_who_pass_an_empty_corridor_set_the_yardstick():
    """Nobody for 26 s, then for 4 s somebody walks through, a step a second; always the same way."""
    walk = np.concatenate([np.zeros(26 * FPS), np.linspace(1, 5, 4 * FPS)])
    noise = np.random.default_rng(0).normal(0, 0.01, (8 * MINUTE, 3))
    coverage = watch((np.tile(walk, 16)[:, None] + noise).astype(np.float32))
    assert coverage.value is not None
    assert coverage.value >= COVERED


def test_there_is_no_value_before_a_minute():
    assert watch(walkers(MINUTE)).value is None
    assert watch(walkers(MINUTE + 1)).value is not None


def test_nothing_lasts_before_three_minutes():
    still = np.ones((3 * MINUTE, 6), np.float32)
    coverage = watch(still)  # the last frame is a fifth of a second before the third minute
    assert coverage.is_covered
    assert not coverage.is_lasting
    watch(still[:1], coverage=coverage, begin=180.0)
    assert coverage.is_lasting


def test_a_dip_begins_the_wait_anew():
    still, odd = np.ones((4 * MINUTE, 6), np.float32), np.full((5 * FPS, 6), 9.0, np.float32)
    coverage = watch(still)
    assert coverage.is_lasting
    watch(odd, coverage=coverage, begin=240.0)
    assert not coverage.is_covered
    watch(still[: 2 * MINUTE], coverage=coverage, begin=245.0)
    assert coverage.is_covered  # since 302 s or so, when three seconds of what was odd had left the window
    assert not coverage.is_lasting
    watch(still[:MINUTE], coverage=coverage, begin=365.0)
    assert coverage.is_lasting


def test_the_curve_has_a_point_a_minute():
    coverage = watch(walkers(5 * MINUTE + 1))
    assert [minute for minute, _ in coverage.curve] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert [round(value, 1) for _, value in coverage.curve] == [0.6, 1.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize(("fps", "known"), [(0.4, False), (1.0, True), (0.5, True), (30.0, True)])
def test_footage_must_come_at_least_every_other_second(fps: float, known: bool):
    coverage = watch(np.ones((int(150 * fps), 2), np.float32), fps=fps)
    assert (coverage.value is not None) is known


def test_long_footage_is_thinned_and_judged_alike(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "REMEMBERED", 256)
    footage = walkers(10 * MINUTE)
    coverage = watch(footage)
    assert coverage._stride == 16  # 3,000 frames: 188 of them are kept
    np.testing.assert_array_equal(coverage._kept[: coverage._count], footage[::16])
    np.testing.assert_allclose(coverage._times[: coverage._count], np.arange(3000)[::16] / FPS)
    assert coverage.value == 1.0


def test_features_of_another_length_are_refused():
    coverage = watch(np.ones((3, 6), np.float32))
    with pytest.raises(InputError, match=r"shape \(5,\); those before had \(6,\)"):
        coverage.see(np.ones(5, np.float32), 1.0)
