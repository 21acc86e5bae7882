"""SPADE for one scene: the whole fast path against the whole literal one."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import gallery_files
import literal
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from spade_core.errors import GalleryCorrupt, InputError
from spade_core.extractor import Features
from spade_core.gallery import Gallery
from spade_core.motion import GRID
from spade_core.retrieval import random_frames
from spade_core.scorer import Smoothing, SpadeParameters, SpadeScorer

SHAPES = ((3, 9, 7), (2, 5, 4), (4, 3, 1))
SIZE = 40


@dataclass(frozen=True, slots=True, eq=False)
class Normal:
    """Normal frames in memory."""

    pooled: NDArray[np.float32]
    pyramids: list[tuple[NDArray[np.float16], ...]]

    @property
    def motion(self) -> NDArray[np.float16]:
        return np.full((len(self.pooled), GRID, GRID), np.nan, np.float16)

    def pyramid(self, index: int) -> tuple[NDArray[np.float16], ...]:
        return self.pyramids[index]


def features_of(seed: int, batch: int = 1, shapes: tuple[tuple[int, int, int], ...] = SHAPES) -> Features:
    generator = np.random.default_rng(seed)
    return Features(
        torch.from_numpy(generator.standard_normal((batch, 6)).astype(np.float32)),
        tuple(torch.from_numpy(generator.standard_normal((batch, *shape)).astype(np.float32)) for shape in shapes),
    )


def normal_frames(features: Features) -> Normal:
    """A gallery of those frames, in half precision as on disk."""
    pyramids = [tuple(level[b].half().numpy() for level in features.levels) for b in range(len(features.pooled))]
    return Normal(features.pooled.numpy(), pyramids)


def row(features: Features, b: int) -> Features:
    return Features(features.pooled[b : b + 1], tuple(level[b : b + 1] for level in features.levels))


@pytest.fixture
def normal() -> Normal:
    return normal_frames(features_of(0, batch=5))


@pytest.mark.parametrize(("k", "kappa"), list(itertools.product([1, 2, 3], [1, 2, 3])))
def test_scores_agree_with_the_paper_taken_literally(normal: Normal, k: int, kappa: int):
    frame = features_of(1)
    parameters = SpadeParameters(k=k, kappa=kappa, sigma=2.0)

    (fast,) = SpadeScorer(normal, size=SIZE, parameters=parameters).score(frame)

    pooled = frame.pooled[0].numpy()
    retrieved = literal.retrieve(pooled, normal.pooled, k)
    query = literal.concatenated_pyramid([level[0].numpy() for level in frame.levels])
    references = [literal.concatenated_pyramid(normal.pyramid(index)) for index, _ in retrieved]
    cells = literal.pixel_scores(query, references, kappa).reshape(9, 7)
    pixels = literal.gaussian(literal.bilinear(cells, SIZE, SIZE), 2.0)

    assert fast.image_score == pytest.approx(literal.image_score(pooled, normal.pooled, k), rel=1e-6)
    assert [index for index, _ in fast.neighbours] == [index for index, _ in retrieved]
    assert [d for _, d in fast.neighbours] == pytest.approx([d for _, d in retrieved], rel=1e-6)
    assert fast.pixel_scores.shape == (SIZE, SIZE)
    assert fast.pixel_scores.dtype == np.float32
    np.testing.assert_allclose(fast.pixel_scores, pixels, rtol=2e-5)
    assert fast.score == pytest.approx(pixels.max(), rel=2e-5)


LEVELS = [(1,), (2,), (3,), (1, 2), (1, 3), (2, 3), (1, 2, 3)]


@pytest.mark.parametrize("neighbours", ["nearest", "random"])
@pytest.mark.parametrize("levels", LEVELS, ids=str)
def test_any_choice_of_levels_and_neighbours_agrees_with_the_literal_one(
    normal: Normal, levels: tuple[int, ...], neighbours: Literal["nearest", "random"]
):
    frame = features_of(1)
    parameters = SpadeParameters(k=3, kappa=2, sigma=0, levels=levels, neighbours=neighbours, seed=4)

    (fast,) = SpadeScorer(normal, size=SIZE, parameters=parameters).score(frame, times=[2.5])

    pooled = frame.pooled[0].numpy()
    drawn = list(random_frames(5, 3, seed=4, time=2.5))
    frames = [i for i, _ in literal.retrieve(pooled, normal.pooled, 3)] if neighbours == "nearest" else drawn
    query = literal.concatenated_pyramid([level[0].numpy() for level in frame.levels], levels)
    references = [literal.concatenated_pyramid(normal.pyramid(index), levels) for index in frames]
    shape = SHAPES[levels[0] - 1][1:]
    cells = literal.pixel_scores(query, references, 2).reshape(shape)
    assert fast.image_score == pytest.approx(literal.image_score_of(pooled, normal.pooled, frames), rel=1e-6)
    assert {index for index, _ in fast.neighbours} == set(frames)
    assert [d for _, d in fast.neighbours] == sorted(d for _, d in fast.neighbours)
    np.testing.assert_allclose(fast.pixel_scores, literal.bilinear(cells, SIZE, SIZE), rtol=2e-5)


def test_a_level_that_is_not_chosen_does_not_count(normal: Normal):
    frame = features_of(1)
    scorer = SpadeScorer(normal, size=SIZE, parameters=SpadeParameters(levels=(2,)))
    before = scorer.score(frame)[0].score
    frame.levels[0].zero_()
    frame.levels[2].zero_()
    assert scorer.score(frame)[0].score == before
    frame.levels[1].zero_()
    assert scorer.score(frame)[0].score != before


def test_a_level_that_the_backbone_does_not_have_is_refused(normal: Normal):
    scorer = SpadeScorer(normal, size=SIZE, parameters=SpadeParameters(levels=(2, 4)))
    with pytest.raises(InputError, match=r"levels are \(2, 4\), but the backbone's pyramid has only 3"):
        scorer.score(features_of(1))


def test_random_neighbours_of_a_batch_are_those_of_its_frames(normal: Normal):
    parameters = SpadeParameters(k=2, neighbours="random")
    scorer = SpadeScorer(normal, size=SIZE, parameters=parameters)
    batch, times = features_of(2, batch=8), [number / 10 for number in range(8)]
    scores = scorer.score(batch, times=times)
    assert len({frozenset(i for i, _ in score.neighbours) for score in scores}) > 1
    for b, score in enumerate(scores):
        (alone,) = scorer.score(row(batch, b), times=times[b : b + 1])
        assert (score.score, score.image_score, score.neighbours) == (alone.score, alone.image_score, alone.neighbours)


def test_random_neighbours_without_times_are_refused(normal: Normal):
    scorer = SpadeScorer(normal, size=SIZE, parameters=SpadeParameters(neighbours="random"))
    with pytest.raises(InputError, match=r"2 frame\(s\) with 0 time\(s\): random neighbours need one for each"):
        scorer.score(features_of(1, batch=2))


def test_only_the_retrieved_frames_count(normal: Normal):
    frame = features_of(1)
    k1 = SpadeScorer(normal, size=SIZE, parameters=SpadeParameters(k=1)).score(frame)[0]
    (nearest, _), *_ = k1.neighbours
    alone = Normal(normal.pooled[nearest : nearest + 1], [normal.pyramids[nearest]])
    only = SpadeScorer(alone, size=SIZE, parameters=SpadeParameters(k=1)).score(frame)[0]
    np.testing.assert_array_equal(only.pixel_scores, k1.pixel_scores)


def test_a_frame_of_the_gallery_scores_zero_and_is_its_own_neighbour():
    seen = features_of(0, batch=5)
    halves = Features(seen.pooled, tuple(level.half().float() for level in seen.levels))
    scorer = SpadeScorer(normal_frames(seen), size=SIZE, parameters=SpadeParameters())
    for b, score in enumerate(scorer.score(halves)):
        assert score.neighbours == ((b, 0.0),)
        assert (score.score, score.image_score) == (0, 0)
        assert not score.pixel_scores.any()


def test_a_place_never_seen_is_where_the_score_is_highest(normal: Normal):
    levels = tuple(torch.from_numpy(level)[None].float() for level in normal.pyramid(0))
    frame = Features(torch.from_numpy(normal.pooled[:1]), levels)
    frame.levels[0][0, :, 6, 1] += 10
    (score,) = SpadeScorer(normal, size=90, parameters=SpadeParameters(sigma=1.0)).score(frame)
    y, x = np.unravel_index(score.pixel_scores.argmax(), score.pixel_scores.shape)
    assert (y * 9 // 90, x * 7 // 90) == (6, 1)
    assert score.score == score.pixel_scores.max() > 0


def test_a_batch_scores_as_its_frames_do(normal: Normal):
    batch = features_of(2, batch=4)
    scorer = SpadeScorer(normal, size=SIZE, parameters=SpadeParameters(k=2))
    scores = scorer.score(batch)
    assert len(scores) == 4
    for b, score in enumerate(scores):
        (alone,) = scorer.score(row(batch, b))
        assert (score.score, score.image_score, score.neighbours) == (alone.score, alone.image_score, alone.neighbours)
        np.testing.assert_array_equal(score.pixel_scores, alone.pixel_scores)


def test_pixels_scored_before_smoothing_are_those_of_eq_3(normal: Normal):
    shapes = ((2, 8, 8),)
    normal = normal_frames(features_of(3, batch=2, shapes=shapes))
    frame = features_of(4, shapes=shapes)
    (score,) = SpadeScorer(normal, size=8, parameters=SpadeParameters(sigma=0, levels=(1,))).score(frame)
    query = literal.concatenated_pyramid([level[0].numpy() for level in frame.levels])
    reference = literal.concatenated_pyramid(normal.pyramid(score.neighbours[0][0]))
    expected = literal.pixel_scores(query, [reference], 1).reshape(8, 8)
    np.testing.assert_allclose(score.pixel_scores, expected, rtol=1e-5)


@pytest.mark.parametrize("value", [torch.nan, torch.inf], ids=str)
def test_features_that_are_not_finite_get_no_score(normal: Normal, value: float):
    scorer = SpadeScorer(normal, size=SIZE, parameters=SpadeParameters())
    broken = features_of(5)
    broken.pooled[0, 2] = value
    with pytest.raises(InputError, match="not finite"):
        scorer.score(broken)
    for level in range(len(SHAPES)):
        broken = features_of(5)
        broken.levels[level][0, 1, 2, 0] = value
        with pytest.raises(InputError, match="not finite"):
            scorer.score(broken)


def test_more_neighbours_than_frames_are_refused_at_once(normal: Normal):
    with pytest.raises(InputError, match=r"K = 6, but the gallery holds only 5 frame\(s\)"):
        SpadeScorer(normal, size=SIZE, parameters=SpadeParameters(k=6))


def test_an_empty_gallery_is_refused():
    with pytest.raises(InputError):
        SpadeScorer(Normal(np.empty((0, 6), np.float32), []), size=SIZE, parameters=SpadeParameters())


@pytest.mark.parametrize("values", [{"k": 0}, {"kappa": 0}, {"sigma": -1.0}, {"sigma": 100.0}, {"sigma": float("nan")}])
def test_parameters_out_of_bounds_are_refused(values: dict[str, float]):
    with pytest.raises(InputError):
        SpadeParameters(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize("levels", [(), (0,), (-1, 1), (2, 1), (1, 1), (1, 2, 2)], ids=str)
def test_levels_are_named_once_and_in_order(levels: tuple[int, ...]):
    with pytest.raises(InputError, match=r"levels are .* in order, each once"):
        SpadeParameters(levels=levels)


def test_neighbours_are_nearest_or_random():
    with pytest.raises(InputError, match="neighbours are 'far'; they can be 'nearest' or 'random'"):
        SpadeParameters(neighbours="far")  # type: ignore[arg-type]


def test_parameters_describe_themselves_with_the_papers_values():
    assert SpadeParameters().describe() == {
        "method": "spade",
        "k": 1,
        "kappa": 1,
        "sigma": 4.0,
        "levels": [1, 2, 3],
        "neighbours": "nearest",
        "seed": 0,
    }


def features_on_disk(number: int) -> Features:
    levels = tuple(torch.from_numpy(level)[None] for level in gallery_files.levels_of(number))
    return Features(torch.from_numpy(gallery_files.pooled_of(number))[None], levels)


def test_a_gallery_on_disk_scores_as_one_in_memory(tmp_path: Path):
    gallery = gallery_files.build(tmp_path)
    pyramids = [tuple(level.astype(np.float16) for level in gallery_files.levels_of(n)) for n in range(4)]
    memory = Normal(np.stack([gallery_files.pooled_of(n) for n in range(4)]), pyramids)
    parameters = SpadeParameters(k=3, kappa=2, levels=(1, 2))
    frame = features_on_disk(9)
    (a,) = SpadeScorer(gallery, size=SIZE, parameters=parameters).score(frame)
    (b,) = SpadeScorer(memory, size=SIZE, parameters=parameters).score(frame)
    assert a.neighbours == b.neighbours
    np.testing.assert_array_equal(a.pixel_scores, b.pixel_scores)


def test_a_damaged_frame_gives_an_error_and_never_a_score(tmp_path: Path):
    gallery_files.build(tmp_path)
    path = tmp_path / "v000001" / "level2.f16"
    content = bytearray(path.read_bytes())
    content[2 * 4 * 3 * 3 * 2 + 7] ^= 0x40  # in frame 2
    path.write_bytes(content)
    scorer = SpadeScorer(Gallery(tmp_path), size=SIZE, parameters=SpadeParameters(levels=(1, 2)))
    for number in (0, 1, 3):
        assert scorer.score(features_on_disk(number))[0].neighbours[0][0] == number
    with pytest.raises(GalleryCorrupt, match="features of frame 2 were altered"):
        scorer.score(features_on_disk(2))


@pytest.mark.parametrize("sigma", [0.0, 0.7, 1.5, 4.0])
@pytest.mark.parametrize("shape", [(5, 5), (7, 3), (1, 1), (33, 31)], ids=str)
def test_smoothing_is_bilinear_then_gaussian(shape: tuple[int, int], sigma: float):
    cells = np.random.default_rng(0).random(shape, np.float32)
    expected = literal.bilinear(cells, 37, 37)
    if sigma:
        expected = literal.gaussian(expected, sigma)
    np.testing.assert_allclose(Smoothing(size=37, sigma=sigma)(cells), expected, rtol=1e-5)


def test_smoothing_leaves_a_flat_map_flat_to_its_border():
    np.testing.assert_allclose(Smoothing(size=48, sigma=4.0)(np.full((6, 6), 3, np.float32)), 3.0, rtol=1e-6)


def test_smoothing_spreads_a_pixel_as_a_gaussian():
    cells = np.zeros((41, 41), np.float32)
    cells[20, 20] = 1
    pixels = Smoothing(size=41, sigma=2.0)(cells)
    assert pixels.sum() == pytest.approx(1, rel=1e-5)
    assert pixels[20, 20] == pytest.approx(1 / (2 * np.pi * 4), rel=1e-3)
    assert pixels[20, 22] / pixels[20, 20] == pytest.approx(np.exp(-0.5), rel=1e-4)  # one sigma away


def test_the_one_channel_is_the_score_itself() -> None:
    frames = features_of(1, 3)
    scorer = SpadeScorer(normal_frames(frames), size=SIZE, parameters=SpadeParameters())

    (found,) = scorer.score(features_of(2))

    assert found.channels == {"correspondence": found.score}
