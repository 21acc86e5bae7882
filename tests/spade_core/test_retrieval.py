"""Stage 1: the K nearest normal frames, and eq. 2."""

from __future__ import annotations

import literal
import numpy as np
import pytest
from numpy.typing import NDArray

from spade_core.errors import InputError
from spade_core.retrieval import NearestFrames, image_score, random_frames

# Four points of the plane: distances from the origin are 0, 1, 2 and 5.
POINTS = np.array([[3, 4], [0, 0], [0, -2], [1, 0]], np.float32)
ORIGIN = np.zeros((1, 2), np.float32)


def random(seed: int, *shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_the_nearest_come_first_with_squared_distances():
    distances, indices = NearestFrames(POINTS).search(ORIGIN, 4)
    np.testing.assert_array_equal(indices, [[1, 3, 2, 0]])
    np.testing.assert_array_equal(distances, [[0, 1, 4, 25]])
    assert (distances.dtype, indices.dtype) == (np.float32, np.int64)


def test_each_query_gets_its_own_neighbours():
    _, indices = NearestFrames(POINTS).search(np.array([[3, 3], [0, -5], [2, 0]], np.float32), 1)
    np.testing.assert_array_equal(indices, [[0], [2], [3]])


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_eq_2_agrees_with_the_literal_one(seed: int, k: int):
    gallery, queries = random(seed, 23, 17), random(seed + 100, 5, 17)
    distances, indices = NearestFrames(gallery).search(queries, k)
    scores = image_score(distances)
    for b, query in enumerate(queries):
        assert indices[b].tolist() == [index for index, _ in literal.retrieve(query, gallery, k)]
        assert scores[b] == pytest.approx(literal.image_score(query, gallery, k), rel=1e-6)


def test_frames_that_are_equally_near_count_each():
    gallery = np.array([[1, 0], [0, 1], [-1, 0], [0, 3]], np.float32)
    distances, indices = NearestFrames(gallery).search(ORIGIN, 3)
    assert set(indices[0]) == {0, 1, 2}
    np.testing.assert_array_equal(distances, [[1, 1, 1]])


def test_image_score_is_the_mean_of_squared_distances():
    scores = image_score(np.array([[1, 3, 8], [0, 0, 6]], np.float32))
    np.testing.assert_array_equal(scores, np.array([4, 2], np.float32))
    assert scores.dtype == np.float32


@pytest.mark.parametrize("batch", [1, 20, 200])
def test_a_frame_that_is_close_by_is_told_from_a_copy_however_many_come_at_once(batch: int):
    # Far from the origin |x|² + |y|² - 2xy loses what is left: 1,280 channels of 8 make squares of 80,000.
    gallery = random(0, 200, 1280) + 8
    queries = gallery[:batch] + 0.001 * random(1, batch, 1280)
    distances, indices = NearestFrames(gallery).search(queries, 1)
    assert indices[:, 0].tolist() == list(range(batch))
    exact = ((queries.astype(np.float64) - gallery[:batch]) ** 2).sum(axis=1)
    np.testing.assert_allclose(distances[:, 0], exact, rtol=1e-4)
    copies, _ = NearestFrames(gallery).search(gallery[:batch], 1)
    np.testing.assert_array_equal(copies, np.zeros((batch, 1)))


def test_given_frames_are_ranked_by_their_own_distance():
    frames = np.array([[0, 3, 2], [2, 0, 1]])
    distances, indices = NearestFrames(POINTS).ranked(np.array([[0, 0], [3, 4]], np.float32), frames)
    np.testing.assert_array_equal(indices, [[3, 2, 0], [0, 1, 2]])
    np.testing.assert_array_equal(distances, [[1, 4, 25], [0, 25, 45]])
    assert (distances.dtype, indices.dtype) == (np.float32, np.int64)


def test_ranking_every_frame_is_searching_for_all_of_them():
    gallery, queries = random(5, 19, 33), random(6, 4, 33)
    searched = NearestFrames(gallery).search(queries, 19)
    ranked = NearestFrames(gallery).ranked(queries, np.tile(np.arange(19), (4, 1)))
    np.testing.assert_array_equal(ranked[1], searched[1])
    np.testing.assert_allclose(ranked[0], searched[0], rtol=1e-5)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_eq_2_of_frames_drawn_agrees_with_the_literal_one(k: int):
    gallery, (query,) = random(7, 12, 17), random(8, 1, 17)
    drawn = random_frames(12, k, seed=3, time=0.25)
    distances, _ = NearestFrames(gallery).ranked(query[None], drawn[None])
    assert image_score(distances)[0] == pytest.approx(literal.image_score_of(query, gallery, drawn), rel=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e20], ids=str)
def test_a_ranking_by_what_is_no_number_is_refused(value: float):
    with pytest.raises(InputError, match="not finite"):
        NearestFrames(POINTS).ranked(np.array([[value, 0]], np.float32), np.array([[0, 1]]))


@pytest.mark.parametrize("k", [1, 7, 20])
def test_random_frames_are_different_ones(k: int):
    drawn = random_frames(20, k, seed=0, time=1.5)
    assert len(set(drawn.tolist())) == k
    assert set(drawn.tolist()) <= set(range(20))


def test_a_draw_repeats_for_the_same_time_and_seed_and_for_nothing_else():
    def draw(seed: int, time: float) -> list[int]:
        return list(random_frames(1000, 5, seed=seed, time=time))

    assert draw(1, 0.04) == draw(1, 0.04)
    assert len({tuple(draw(seed, time)) for seed in (0, 1, 2) for time in (0.0, 0.04, 0.08, 1e9 + 0.04)}) == 12


def test_a_draw_is_the_same_on_every_machine():
    assert random_frames(100, 4, seed=0, time=0.2).tolist() == [7, 52, 25, 16]


def test_every_frame_is_drawn_about_as_often():
    times = [number / 25 for number in range(4000)]
    counts = np.bincount(np.concatenate([random_frames(10, 3, seed=0, time=time) for time in times]), minlength=10)
    assert counts.sum() == 12_000
    assert (abs(counts - 1200) < 5 * np.sqrt(4000 * 0.3 * 0.7)).all()  # five standard deviations


@pytest.mark.parametrize("k", [0, 5])
def test_more_random_frames_than_there_are_cannot_be_drawn(k: int):
    with pytest.raises(InputError, match=rf"K = {k}: the gallery holds 4 frame\(s\)"):
        random_frames(4, k, seed=0, time=0.0)


def test_no_queries_no_neighbours():
    distances, indices = NearestFrames(POINTS).search(np.empty((0, 2), np.float32), 3)
    assert distances.shape == indices.shape == (0, 3)


def test_the_memory_layout_of_queries_and_gallery_does_not_matter():
    gallery, queries = random(3, 30, 6), random(4, 9, 6)
    expected = NearestFrames(gallery).search(queries, 2)
    turned = NearestFrames(np.asfortranarray(gallery)).search(np.asfortranarray(queries), 2)
    np.testing.assert_array_equal(turned[0], expected[0])
    np.testing.assert_array_equal(turned[1], expected[1])


@pytest.mark.parametrize("k", [0, -1, 5])
def test_k_beyond_the_gallery_is_refused(k: int):
    with pytest.raises(InputError, match=rf"K = {k}: the gallery holds 4 frame\(s\), so K must be 1..4"):
        NearestFrames(POINTS).search(ORIGIN, k)


@pytest.mark.parametrize("queries", [np.zeros((1, 3), np.float32), np.zeros(2, np.float32)], ids=["columns", "vector"])
def test_queries_of_another_shape_are_refused(queries: NDArray[np.float32]):
    with pytest.raises(InputError, match=r"needs \(B, 2\)"):
        NearestFrames(POINTS).search(queries, 1)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e20], ids=str)  # the square of 1e20 is no float32
def test_a_distance_that_is_no_number_is_refused_and_names_no_frame(value: float):
    queries = np.zeros((3, 2), np.float32)
    queries[1, 0] = value
    with pytest.raises(InputError, match="not finite"):
        NearestFrames(POINTS).search(queries, 1)


@pytest.mark.parametrize(
    "pooled",
    [np.empty((0, 2), np.float32), np.zeros(2, np.float32), np.zeros((2, 2), np.float64)],
    ids=["empty", "vector", "double"],
)
def test_a_gallery_that_is_no_matrix_of_floats_is_refused(pooled: NDArray[np.float32]):
    with pytest.raises(InputError, match="must be"):
        NearestFrames(pooled)


@pytest.mark.parametrize("value", [np.nan, np.inf], ids=str)
def test_a_gallery_that_is_not_finite_is_refused(value: float):
    pooled = POINTS.copy()
    pooled[2, 1] = value
    with pytest.raises(InputError, match="not finite"):
        NearestFrames(pooled)
