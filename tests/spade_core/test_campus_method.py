"""The campus method: places compared with themselves, against the same thing written out slowly."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from spade_core.alarms import AlarmRule, Timeline, cluster_peaks, sustained_levels
from spade_core.calibration import Calibration
from spade_core.campus import (
    DETAIL_FROM,
    CampusFrameScorer,
    CampusParameters,
    CampusScorer,
    Channels,
    SceneMemory,
    campus_arrays,
)
from spade_core.campus_calibration import CampusCalibrator, Peaks, peaks_of, scales_of, thresholds
from spade_core.errors import CalibrationError, GalleryCorrupt, InputError
from spade_core.extractor import Features
from spade_core.motion import GRID, NOISE_FLOOR, NOTHING_MOVES
from spade_core.runtime import TorchRuntime
from spade_core.scorer import FrameScore

pytestmark = pytest.mark.usefixtures("one_thread")

Levels = list[NDArray[np.float32]]
Map = NDArray[np.float32]

SIZE = 16
GRIDS = [(6, 6), (5, 7), (1, 4), (3, 1), (1, 1)]
CPU = torch.device("cpu")
IN_TORCH = TorchRuntime(CPU)


@dataclass(frozen=True, slots=True, eq=False)
class Normal:
    """Normal frames in memory."""

    frames: Sequence[Levels]
    motion: NDArray[np.float16]
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def array(self, name: str) -> NDArray[Any] | None:
        return self.arrays.get(name)

    @property
    def pooled(self) -> NDArray[np.float32]:
        return np.stack([pooled_of(levels) for levels in self.frames])

    def pyramid(self, index: int) -> tuple[NDArray[np.float16], ...]:
        return tuple(level.astype(np.float16) for level in self.frames[index])


def pooled_of(levels: Levels) -> NDArray[np.float32]:
    return np.asarray(levels[2].mean(axis=(1, 2)), np.float32)


def levels_of(seed: int, grid: tuple[int, int] = (6, 6), *, odd: bool = False) -> Levels:
    """Random features that half precision holds exactly; ``odd``: the finer levels have an odd cell more or less."""
    height, width = grid
    shapes = [(2, 4 * height, 4 * width), (3, 2 * height, 2 * width), (4, height, width)]
    if odd:
        shapes[1] = (3, 2 * height - 1, 2 * width + 1)
    generator = np.random.default_rng(seed)
    return [generator.standard_normal(shape).astype(np.float16).astype(np.float32) for shape in shapes]


def features_of(levels: Levels) -> Features:
    return Features(torch.from_numpy(pooled_of(levels))[None], tuple(torch.from_numpy(level)[None] for level in levels))


def a_scene(frames: Sequence[Levels], *, motion: float = 0.0, sigma: float = 0.0, **parameters: Any) -> CampusScorer:
    normal = Normal(frames, np.full((len(frames), GRID, GRID), motion, np.float16))
    return CampusScorer(normal, size=SIZE, parameters=CampusParameters(sigma=sigma, **parameters), runtime=IN_TORCH)


def seen(scene: CampusScorer, levels: Levels, *, motion: Map | None = None) -> Channels:
    given = None if motion is None else motion.astype(np.float16)
    return scene.channels(features_of(levels), motion=given, time=0.0, memory=SceneMemory(1.0))


def flat(value: float, shape: tuple[int, int] = (2, 2)) -> Map:
    return np.full(shape, value, np.float32)


# --- the same, one value at a time


def literal_average(level: Map) -> NDArray[np.float64]:
    """Mean of each cell and those of its eight neighbours that exist."""
    result = np.zeros(level.shape)
    _, height, width = level.shape
    for y in range(height):
        for x in range(width):
            around = level[:, max(0, y - 1) : min(height, y + 2), max(0, x - 1) : min(width, x + 2)]
            result[:, y, x] = around.astype(np.float64).mean(axis=(1, 2))
    return result


def literal_area(level: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Each new cell is the mean of the old ones that it touches."""
    result = np.zeros((len(level), height, width))
    _, rows, columns = level.shape
    for y in range(height):
        for x in range(width):
            top, bottom = math.floor(y * rows / height), math.ceil((y + 1) * rows / height)
            left, right = math.floor(x * columns / width), math.ceil((x + 1) * columns / width)
            result[:, y, x] = level[:, top:bottom, left:right].mean(axis=(1, 2))
    return result


def literal_places(levels: Levels) -> NDArray[np.float64]:
    height, width = levels[2].shape[1:]
    return np.concatenate([literal_area(literal_average(levels[1]), height, width), literal_average(levels[2])])


def literal_appearance(levels: Levels, frames: Sequence[Levels]) -> NDArray[np.float64]:
    query, bank = literal_places(levels), [literal_places(frame) for frame in frames]
    _, height, width = query.shape
    result = np.full((height, width), np.inf)
    for y in range(height):
        for x in range(width):
            for entry in bank:
                for v in range(max(0, y - 1), min(height, y + 2)):
                    for u in range(max(0, x - 1), min(width, x + 2)):
                        distance = math.sqrt(((query[:, y, x] - entry[:, v, u]) ** 2).sum())
                        result[y, x] = min(result[y, x], distance)
    return result


@pytest.mark.parametrize("odd", [False, True], ids=["even levels", "odd levels"])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_appearance_is_the_least_distance_to_any_normal_frame_at_a_place_or_beside_it(grid: tuple[int, int], odd: bool):
    frames = [levels_of(seed, grid, odd=odd) for seed in range(4)]
    query = levels_of(99, grid, odd=odd)
    fast = seen(a_scene(frames), query).appearance
    assert (fast.shape, fast.dtype) == (grid, np.float32)
    np.testing.assert_allclose(
        fast, literal_appearance(query, frames), rtol=2e-3, atol=2e-3
    )  # the bank is in half precision


def test_a_frame_that_the_gallery_holds_is_not_odd_anywhere():
    frames = [levels_of(seed) for seed in range(3)]
    scene = a_scene(frames)
    for levels in frames:
        np.testing.assert_allclose(seen(scene, levels).appearance, 0, atol=5e-3)
    assert seen(scene, levels_of(99)).appearance.min() > 0.3


def shifted(levels: Levels, places: int) -> Levels:
    """The content moved to the right by that many places of the coarsest level."""
    return [np.roll(level, places * scale, axis=2) for level, scale in zip(levels, (4, 2, 1), strict=True)]


def test_content_may_move_by_one_place_but_not_by_two():
    levels = levels_of(0, (8, 8))
    scene = a_scene([levels])
    np.testing.assert_allclose(seen(scene, shifted(levels, 1)).appearance[:, 2:-1], 0, atol=5e-3)
    assert seen(scene, shifted(levels, 2)).appearance[:, 3:-2].min() > 0.3


def test_a_place_is_compared_with_all_frames_each_for_itself():
    left, right = levels_of(0, (8, 8)), levels_of(1, (8, 8))
    mixed = []
    for one, other in zip(left, right, strict=True):
        half = one.shape[2] // 2
        mixed.append(np.concatenate([one[..., :half], other[..., half:]], axis=2))
    appearance = seen(a_scene([left, right]), mixed).appearance
    np.testing.assert_allclose(appearance[:, [0, 1, 2, 5, 6, 7]], 0, atol=5e-3)  # between them the average mixes both


def test_of_a_large_gallery_those_features_are_kept_that_differ():
    values = [0.0] * 40 + [0.125] * 40 + [8.0] + [0.0] * 40  # the one frame that shows something else is kept
    frames = [[flat(value, (1, 1))[None]] * 3 for value in values]
    scene = a_scene(frames, bank=2)
    far = [float(seen(scene, levels).appearance[0, 0]) for levels in frames]
    assert max(far) <= math.sqrt(2) * 0.125 + 1e-6


def test_what_the_gallery_keeps_ready_is_used_as_it_is():
    normal = Normal([levels_of(seed) for seed in range(4)], np.full((4, GRID, GRID), 3.0, np.float16))
    parameters = CampusParameters(sigma=0.0, bank=2)
    ready = replace(normal, arrays=campus_arrays(normal, parameters=parameters, device=CPU))
    other = Normal([levels_of(9)], np.zeros((1, GRID, GRID), np.float16), arrays=ready.arrays)
    scenes = [CampusScorer(each, size=SIZE, parameters=parameters, runtime=IN_TORCH) for each in (normal, ready, other)]
    moving = flat(2.0, (GRID, GRID))
    maps = [seen(scene, levels_of(99), motion=moving) for scene in scenes]
    for map_ in maps[1:]:
        np.testing.assert_array_equal(map_.appearance, maps[0].appearance)
        np.testing.assert_array_equal(map_.motion, maps[0].motion)


def test_features_that_are_not_finite_are_refused():
    scene, levels = a_scene([levels_of(0)]), levels_of(1)
    levels[2][1, 3, 3] = np.nan
    with pytest.raises(InputError, match="features are not finite"):
        seen(scene, levels)


@pytest.mark.parametrize("value", [np.nan, np.inf], ids=str)
def test_motion_that_is_not_finite_is_refused(value: float):
    motion = flat(1.0, (GRID, GRID))
    motion[5, 5] = value
    with pytest.raises(InputError, match="motion map is not finite"):
        seen(a_scene([levels_of(0)]), levels_of(1), motion=motion)


def test_a_gallery_without_motion_is_refused():
    with pytest.raises(GalleryCorrupt, match="no motion maps"):
        CampusScorer(
            Normal([levels_of(0)], np.zeros(0, np.float16)),
            size=SIZE,
            parameters=CampusParameters(),
            runtime=IN_TORCH,
        )


def test_more_neighbours_than_frames_are_refused():
    with pytest.raises(InputError, match=r"K = 3, but the gallery holds only 2 frame\(s\)"):
        a_scene([levels_of(0), levels_of(1)], k=3)


@pytest.mark.parametrize("wrong", [{"k": 0}, {"sigma": -1}, {"persistence": 0}, {"persistence": 601}], ids=str)
def test_parameters_out_of_bounds_are_refused(wrong: dict[str, float]):
    with pytest.raises(InputError, match="persistence above 0"):
        CampusParameters(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"bank": 0}, {"average": 2}, {"average": 7}, {"reach": 2}], ids=str)
def test_parameters_of_the_bank_out_of_bounds_are_refused(wrong: dict[str, int]):
    with pytest.raises(InputError, match="bank must be at least 1, average 1, 3 or 5, reach 0 or 1"):
        CampusParameters(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "channels", [(), ("persistence",), ("motion", "appearance"), ("motion", "motion"), ("sound",)], ids=str
)
def test_channels_that_make_no_score_are_refused(channels: tuple[str, ...]):
    with pytest.raises(InputError, match="must be some of appearance, motion, persistence"):
        CampusParameters(channels=channels)


def test_motion_is_in_units_of_what_is_usual_at_the_place():
    scene = a_scene([levels_of(0)], motion=3.0)
    speed = seen(scene, levels_of(0), motion=flat(8.0, (GRID, GRID))).motion
    np.testing.assert_allclose(speed, 8 / (3 + NOISE_FLOOR), rtol=1e-5)


def test_in_a_scene_where_nothing_ever_moved_motion_is_in_units_of_a_walker():
    speed = seen(a_scene([levels_of(0)]), levels_of(0), motion=flat(2.0, (GRID, GRID))).motion
    np.testing.assert_allclose(speed, 2 / NOTHING_MOVES)


def test_motion_that_is_not_known_stays_unknown():
    assert seen(a_scene([levels_of(0)], motion=3.0), levels_of(0), motion=None).motion is None


def test_the_nearest_frame_explains():
    frames = [levels_of(seed) for seed in range(4)]
    explanation = a_scene(frames, k=2).explanation(features_of(frames[2]))
    image, neighbours = explanation.image_score, explanation.neighbours
    assert neighbours[0] == (2, pytest.approx(0, abs=1e-6))
    assert image == pytest.approx(sum(distance for _, distance in neighbours) / 2)


# --- memory


def test_what_lasts_is_the_lowest_that_each_place_had():
    memory = SceneMemory(2.0)
    for time, map_ in enumerate([[5, 1], [4, 9], [7, 8]]):
        lasting = memory.lasting(np.array([map_], np.float32), float(time))
    np.testing.assert_array_equal(lasting, [[4, 1]])


def test_nothing_lasts_before_the_memory_reaches_back_far_enough():
    memory = SceneMemory(2.0)
    lasting = [float(memory.lasting(flat(3.0), time)[0, 0]) for time in (0.0, 0.5, 1.0, 1.5, 2.0, 2.5)]
    assert lasting == [0, 0, 0, 0, 3, 3]


def test_the_memory_lets_go_of_what_is_older_than_it_is_long():
    memory = SceneMemory(2.0)
    values = [1, 9, 9, 9, 9, 9]  # one a half second
    lasting = [float(memory.lasting(flat(value), step / 2)[0, 0]) for step, value in enumerate(values)]
    assert lasting == [0, 0, 0, 0, 1, 9]


@pytest.mark.parametrize("then", [2.0 + 1.1, 1.9, -50.0], ids=["gap", "a little back", "far back"])
def test_the_memory_forgets_at_a_gap_and_where_time_runs_back(then: float):
    memory = SceneMemory(2.0)
    for step in range(5):
        filled = memory.lasting(flat(3.0), step / 2)
    assert filled.any()
    assert not memory.lasting(flat(3.0), then).any()
    again = [memory.lasting(flat(3.0), then + step / 2).any() for step in range(1, 5)]
    assert again == [False, False, False, True]


def test_a_short_gap_is_bridged():
    memory = SceneMemory(2.0)
    for time in (0.0, 1.0, 2.0):
        lasting = memory.lasting(flat(3.0), time)
    assert lasting.any()


# --- fusion and thresholds

SCALES = {"appearance": 2.0, "motion": 4.0, "moving": 1.5, "passing": 3.5, "persistence": 10.0}


@pytest.mark.parametrize(
    ("appearance", "motion", "persistence", "score"),
    # (1.8 / 2, 4.8 / 4) is (0.9, 1.2), whose length is 1.5: the threshold of what moves
    [(3, 0, 0, 1), (0, 6, 0, 1), (1.8, 4.8, 0, 1), (0, 0, 10, 1), (6, 0, 5, 2), (3, 0, 40, 4), (0, 0, 0, 0)],
)
def test_the_fused_score_is_one_at_a_threshold(appearance: float, motion: float, persistence: float, score: float):
    channels = Channels(flat(appearance), flat(motion, (GRID, GRID)), flat(persistence))
    pixels = a_scene([levels_of(0)]).fused(channels, SCALES)
    assert pixels.shape == (SIZE, SIZE)
    np.testing.assert_allclose(pixels, score, rtol=1e-6)


def test_where_motion_is_not_known_appearance_counts_alone_against_its_own_threshold():
    unknown = Channels(flat(7.0), None, flat(0.0))
    np.testing.assert_allclose(a_scene([levels_of(0)]).fused(unknown, SCALES), 2, rtol=1e-6)
    lasting = Channels(flat(7.0), None, flat(40.0))
    np.testing.assert_allclose(a_scene([levels_of(0)]).fused(lasting, SCALES), 4, rtol=1e-6)


@pytest.mark.parametrize(
    ("channels", "score"),
    [
        (("appearance",), 6 / 2 / 1.5),
        (("motion",), 16 / 4 / 1.5),
        (("appearance", "motion"), math.hypot(6 / 2, 16 / 4) / 1.5),
        (("appearance", "persistence"), 4.5),
    ],
    ids=str,
)
def test_only_the_channels_that_are_wanted_count(channels: tuple[str, ...], score: float):
    scene = a_scene([levels_of(0)], channels=channels)
    maps = Channels(flat(6.0), flat(16.0, (GRID, GRID)), flat(45.0))
    np.testing.assert_allclose(scene.fused(maps, SCALES), score, rtol=1e-6)


RULE = AlarmRule(min_duration=0.6, quiet=2.0)


def steady(count: int) -> Timeline:
    return Timeline.of([number / 5 for number in range(count)], [""] * count)


def exponential(seed: int, count: int, *, persistence: bool) -> Peaks:
    """Held-out frames whose highest values are exponential; each stays for two seconds, as what is seen does."""
    passing, lasting = np.random.default_rng(seed).exponential(size=(2, count // 10)).repeat(10, axis=1)
    return Peaks(moving=passing, lasting=lasting if persistence else np.full(count, np.nan), passing=passing)


@pytest.mark.parametrize(("persistence", "share"), [(False, 0.5), (True, 1.0)], ids=["passing", "passing or lasting"])
@pytest.mark.parametrize("per_day", [200.0, 2000.0])
def test_normal_footage_raises_as_many_alarms_as_are_asked_for(per_day: float, persistence: bool, share: float):
    found = thresholds(
        exponential(3, 20_000, persistence=persistence),
        steady(20_000),
        least_lasting=0.0,
        false_alarms_per_day=per_day,
        rule=RULE,
    )
    count = 5 * 12 * 3600  # half a day
    scores = exponential(4, count, persistence=persistence).fused(found)
    levels = sustained_levels(scores, steady(count), min_duration=RULE.min_duration)
    seen = 2 * len(cluster_peaks(levels, steady(count), above=1.0, quiet=RULE.quiet))
    assert per_day * share / 1.5 < seen < per_day * share * 1.5


def test_the_fused_peak_is_the_highest_pixel():
    scene = a_scene([levels_of(0)])
    samples = [Channels(flat(value), flat(2 * value, (GRID, GRID)), flat(3 * (value % 5))) for value in range(9)]
    samples.append(Channels(flat(5.0), None, flat(0.0)))
    pixels = [scene.fused(sample, SCALES).max() for sample in samples]
    np.testing.assert_allclose(peaks_of(scene, samples, SCALES).fused(SCALES), pixels, rtol=1e-6)


def test_each_channel_is_scaled_by_what_nine_in_ten_normal_frames_stay_below():
    samples = [Channels(flat(value), flat(3 * value, (GRID, GRID)), flat(0.0)) for value in range(101)]
    scales = scales_of(a_scene([levels_of(0)]), samples)
    assert scales["appearance"] == pytest.approx(90)
    assert scales["motion"] == pytest.approx(270)


def test_motion_far_below_what_is_normal_is_not_blown_up():
    scene = a_scene([levels_of(0)])
    scales = [
        scales_of(scene, [Channels(flat(value), flat(value / noise, (GRID, GRID)), flat(0.0)) for value in range(101)])[
            "motion"
        ]
        for noise in (1e4, 1e6)  # at most a hundredth of normal motion
    ]
    assert scales[0] == scales[1] > 0.1


@pytest.mark.parametrize(("known", "as_passing"), [(19, True), (20, False)])
def test_footage_too_short_to_show_what_lasts_lets_it_be_as_odd_as_what_passes(known: int, as_passing: bool):
    lasting = np.full(100, np.nan)
    lasting[-known:] = np.linspace(0.1, 0.2, known)
    passing = np.linspace(1, 2, 100)
    peaks = Peaks(moving=passing, lasting=lasting, passing=passing)
    found = thresholds(peaks, steady(100), least_lasting=0.0, false_alarms_per_day=1.0, rule=RULE)
    assert (found["persistence"] == found["passing"]) == as_passing
    assert as_passing or found["persistence"] < 1


def test_what_lasts_must_be_odder_than_a_part_of_what_passes():
    peaks = exponential(3, 200, persistence=True)
    found = [
        thresholds(peaks, steady(200), least_lasting=least, false_alarms_per_day=1.0, rule=RULE)["persistence"]
        for least in (0.0, 50.0)
    ]
    assert found[0] < 50 == found[1]


def calibrated(scene: CampusScorer, frames: Sequence[Levels], *, segments: Sequence[str] = ()) -> CampusCalibrator:
    calibrator = CampusCalibrator(scene)
    for number, levels in enumerate(frames):
        segment = segments[number] if segments else ""
        calibrator.add(features_of(levels), motion=None, time=number / 10, segment=segment)
    return calibrator


def finished(calibrator: CampusCalibrator) -> Calibration:
    return calibrator.finish(false_alarms_per_day=1.0, rule=RULE)


@pytest.mark.parametrize(("length", "as_passing"), [(60, False), (14, True)], ids=["one clip", "clips of 1.4 s"])
def test_what_lasts_is_not_remembered_from_one_clip_into_the_next(length: int, as_passing: bool):
    scene = a_scene([levels_of(seed) for seed in range(3)], persistence=1.5)
    normal = [levels_of(seed) for seed in range(100, 160)]
    found = finished(calibrated(scene, normal, segments=[f"clip{number // length}" for number in range(60)])).scales
    # Without anything that lasts for long enough, its threshold is that of what passes.
    assert (found["persistence"] == pytest.approx(found["passing"])) == as_passing


def test_a_calibration_puts_the_threshold_at_one():
    scene = a_scene([levels_of(seed) for seed in range(3)])
    calibration = finished(calibrated(scene, [levels_of(seed) for seed in range(100, 130)]))
    assert calibration.threshold == 1
    assert 0.5 <= calibration.grow_threshold <= 1
    assert calibration.held_out == 30
    assert calibration.median < calibration.highest < 1.5
    assert calibration.parameters == CampusParameters(sigma=0.0).describe()
    assert set(calibration.scales) == {"appearance", "motion", "moving", "passing", "persistence"}


def test_too_few_held_out_frames_are_refused():
    scene = a_scene([levels_of(0)])
    with pytest.raises(CalibrationError, match="5 held-out"):
        finished(calibrated(scene, [levels_of(seed) for seed in range(5)]))


@pytest.mark.parametrize("seed", [0, 7], ids=["as the gallery", "as nothing in the gallery"])
def test_a_frozen_source_is_refused(seed: int):
    scene = a_scene([levels_of(0)])
    with pytest.raises(CalibrationError, match="looks frozen"):
        finished(calibrated(scene, [levels_of(seed)] * 60))


# --- scoring with a calibrated scene


@pytest.fixture(scope="module")
def scoring() -> CampusFrameScorer:
    scene = a_scene([levels_of(seed) for seed in range(3)], sigma=1.0, persistence=1.0)
    return CampusFrameScorer(scene, finished(calibrated(scene, [levels_of(seed) for seed in range(100, 140)])))


def odd(by: float) -> Levels:
    return [level + np.float32(by) for level in levels_of(0)]


def test_a_score_is_the_highest_pixel(scoring: CampusFrameScorer):
    score = scoring.score_frame(features_of(odd(5)), motion=None, time=0.0, memory=scoring.new_memory())
    assert score.score == score.pixel_scores.max() > 1
    assert score.pixel_scores.shape == (SIZE, SIZE)
    assert len(score.neighbours) == 1
    assert score.image_score == pytest.approx(score.neighbours[0][1])


def test_only_frames_near_an_alert_get_a_detail_map(scoring: CampusFrameScorer):
    for by in (0.0, 5.0):
        score = scoring.score_frame(features_of(odd(by)), motion=None, time=0.0, memory=scoring.new_memory())
        assert (score.detail is not None) == (score.score >= DETAIL_FROM) == (by == 5.0)


def test_where_the_threshold_is_lowered_weaker_frames_get_one(scoring: CampusFrameScorer):
    def scored(by: float, factor: float = 1.0) -> FrameScore:
        memory, features = scoring.new_memory(), features_of(odd(by))
        return scoring.score_frame(features, motion=None, time=0.0, memory=memory, threshold_factor=factor)

    weak = next(by for by in np.arange(0.02, 5, 0.02) if scored(by).score > DETAIL_FROM / 2)
    assert DETAIL_FROM / 2 < scored(weak).score < DETAIL_FROM
    assert scored(weak, 0.5).score == scored(weak, 20.0).score == scored(weak).score, "no score changes"
    assert scored(weak, 0.5).detail is not None
    assert scored(weak).detail is None
    assert scored(weak, 20.0).detail is None


def test_what_stays_scores_higher_than_what_passes():
    scene = a_scene([levels_of(seed) for seed in range(3)], persistence=1.0)
    normal = [levels_of(seed) for seed in range(100, 140)]
    calibration = finished(calibrated(scene, normal))
    assert calibration.scales["persistence"] < calibration.scales["moving"] * calibration.scales["appearance"]
    scoring = CampusFrameScorer(scene, calibration)
    memory, features = scoring.new_memory(), features_of(odd(2))
    scores = [scoring.score_frame(features, motion=None, time=t / 4, memory=memory).score for t in range(6)]
    assert len(set(scores[:4])) == 1
    assert scores[4] == scores[5] > scores[0]


def test_the_detail_map_is_zero_where_a_similar_frame_looks_the_same_within_one_cell():
    levels = levels_of(0)
    scene = a_scene([levels, levels_of(1)])
    moved = [np.roll(levels[0], (1, -1), axis=(1, 2)), *levels[1:]]
    detail = scene.detail.map(features_of(moved))
    assert detail.shape == (24, 24)
    np.testing.assert_allclose(detail[1:, :-1], 0, atol=1e-6)


WHOLE = (0, 24)


@pytest.mark.parametrize(
    ("rows", "columns"), [((0, 1), (0, 1)), ((5, 9), (20, 24)), ((23, 24), (3, 9)), (WHOLE, WHOLE)]
)
def test_the_detail_map_of_a_part_is_that_of_the_whole_there(rows: tuple[int, int], columns: tuple[int, int]):
    scene, query = a_scene([levels_of(0), levels_of(1)]), features_of(levels_of(2))
    within = np.zeros((SIZE, SIZE), bool)
    top, bottom, left, right = (at * SIZE // 24 for at in (*rows, *columns))
    within[top : max(bottom, top + 1), left : max(right, left + 1)] = True
    whole, part = scene.detail.map(query), scene.detail.map(query, within)
    wanted = np.s_[rows[0] : rows[1], columns[0] : columns[1]]
    np.testing.assert_allclose(part[wanted], whole[wanted], rtol=1e-5)
    known = part != 0
    np.testing.assert_allclose(part[known], whole[known], rtol=1e-5)
    assert known.all() == (rows == columns == WHOLE)


def test_the_detail_map_is_whole_where_nothing_is_pointed_at():
    scene, query = a_scene([levels_of(0)]), features_of(levels_of(2))
    np.testing.assert_array_equal(scene.detail.map(query, np.zeros((SIZE, SIZE), bool)), scene.detail.map(query))


def test_the_detail_map_by_hand():
    levels = [flat(1.0, (4, 4))[None], flat(0.0)[None], flat(0.0, (1, 1))[None]]
    query = [levels[0].copy(), *levels[1:]]
    query[0][0, 2, 1] = 4.0
    expected = np.zeros((4, 4))
    expected[2, 1] = 3.0
    np.testing.assert_allclose(a_scene([levels]).detail.map(features_of(query)), expected, atol=1e-6)


# --- why a frame scores as it does

PART_SCALES = {"appearance": 2.0, "motion": 4.0, "moving": 5.0, "passing": 8.0, "persistence": 10.0}


def test_each_channel_says_what_it_alone_would_score() -> None:
    scene = a_scene([levels_of(1)])
    channels = Channels(flat(30.0), flat(80.0), flat(25.0))

    parts = scene.parts(channels, PART_SCALES, 3, 3)

    assert parts == pytest.approx({"appearance": 30 / 2 / 5, "motion": 80 / 4 / 5, "persistence": 2.5})  # 3, 4, 2.5
    assert scene.fused(channels, PART_SCALES)[3, 3] == pytest.approx(5.0)  # the square root of 3 * 3 + 4 * 4


def test_where_motion_is_not_known_appearance_has_its_own_threshold() -> None:
    scene = a_scene([levels_of(1)])
    channels = Channels(flat(24.0), None, flat(0.0))

    assert scene.parts(channels, PART_SCALES, 0, 0) == pytest.approx({"appearance": 3.0, "persistence": 0.0})
    assert scene.fused(channels, PART_SCALES)[0, 0] == pytest.approx(3.0)


@pytest.mark.parametrize(
    "channels", [("appearance",), ("motion",), ("appearance", "motion"), ("motion", "persistence")]
)
@pytest.mark.parametrize("known", [True, False])
def test_what_does_not_count_is_not_named_and_the_strongest_is_never_above_the_score(
    channels: tuple[str, ...], known: bool
) -> None:
    scene = a_scene([levels_of(1)], channels=channels)
    maps = Channels(flat(30.0), flat(80.0) if known else None, flat(25.0))

    parts = scene.parts(maps, PART_SCALES, 0, 0)

    assert parts.keys() <= {*channels} | (set() if known else {"appearance"})
    assert max(parts.values()) <= scene.fused(maps, PART_SCALES)[0, 0] + 1e-5


def test_a_frame_tells_its_channels_where_it_scores_highest(scoring: CampusFrameScorer) -> None:
    frame = scoring.score_frame(features_of(levels_of(9)), motion=None, time=0.0, memory=SceneMemory(1.0))

    assert frame.channels == pytest.approx({"appearance": frame.score, "persistence": 0.0}, rel=1e-5)


def test_pixels_that_do_not_count_are_not_where_a_frame_scores_highest(scoring: CampusFrameScorer) -> None:
    frame = scoring.score_frame(features_of(levels_of(9)), motion=None, time=0.0, memory=SceneMemory(1.0))
    masked = np.where(frame.pixel_scores < frame.score, frame.pixel_scores, 0)

    ignoring = replace(frame, score=float(masked.max()), pixel_scores=masked)

    assert ignoring.score < frame.score
    assert ignoring.channels["appearance"] == pytest.approx(ignoring.score, rel=1e-5)
