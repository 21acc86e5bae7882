"""Stage 1: the K nearest normal frames, and eq. 2."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import faiss
import literal
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from spade_core import proposals, pruning
from spade_core.errors import InputError
from spade_core.proposals import OnGpu, Proposals, Reading
from spade_core.pruning import FINE, Found, Pruning
from spade_core.retrieval import PRUNED_FROM, NearestFrames, image_score, random_frames

# Four points of the plane: distances from the origin are 0, 1, 2 and 5.
POINTS = np.array([[3, 4], [0, 0], [0, -2], [1, 0]], np.float32)
ORIGIN = np.zeros((1, 2), np.float32)


def random(seed: int, *shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def walk(seed: int, n: int, d: int) -> NDArray[np.float32]:
    """Like video: a walk along a few directions, some farther than others, off the origin, a little noise."""
    directions = random(seed, 20, d) * 0.7 ** np.arange(20, dtype=np.float32)[:, None]
    return np.asarray(np.cumsum(random(seed + 1, n, 20), axis=0) @ directions + 0.1 * random(seed + 2, n, d) + 8)


def copies(seed: int, n: int, d: int) -> NDArray[np.float32]:
    """A static scene: each frame many times, all over the gallery."""
    return walk(seed, 40, d)[np.random.default_rng(seed).integers(0, 40, n)]


def uneven(seed: int, n: int, d: int) -> NDArray[np.float32]:
    return random(seed, n, d) / np.arange(1, d + 1, dtype=np.float32)


def far(seed: int, n: int, d: int) -> NDArray[np.float32]:
    return walk(seed, n, d) + 30_000


GALLERIES = [walk, copies, uneven, random, far]  # random: nothing can be ruled out


def of_everything(query: NDArray[np.float32], rows: NDArray[np.float32], k: int) -> pruning.Neighbours:
    found = Found(query, rows, k)
    found.compare(np.arange(len(rows)))
    return found.neighbours


def queries_for(rows: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """A row, a frame between two rows, a row with noise, and one that is odd."""
    a, b, noise = rows[len(rows) // 3], rows[len(rows) // 2], random(seed, *rows[0].shape) * rows.std(axis=0)
    return np.array([a, (a + b) / 2, b + 0.1 * noise, a + 5 * noise], np.float32)


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[NDArray[np.int64]]:
    """The rows that queries were compared with in full, one entry a time."""
    seen: list[NDArray[np.int64]] = []
    real = Found.compare

    def compare(self: Found, frames: NDArray[np.int64]) -> None:
        seen.append(frames)
        real(self, frames)

    monkeypatch.setattr(Found, "compare", compare)
    return seen


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


@pytest.mark.parametrize("k", [1, 5, 50])
@pytest.mark.parametrize("gallery", GALLERIES)
def test_the_search_of_a_large_gallery_is_exact(gallery, k: int):
    rows = gallery(1, PRUNED_FROM, FINE + 40)
    queries = queries_for(rows, 2)
    distances, indices = NearestFrames(rows).search(queries, k)
    for b, query in enumerate(queries):
        exact = np.square(rows.astype(np.float64) - query.astype(np.float64)).sum(axis=1)
        np.testing.assert_allclose(distances[b], np.sort(exact)[:k], rtol=2e-5)
        np.testing.assert_allclose(exact[indices[b]], np.sort(exact)[:k], rtol=2e-5)
        expected = of_everything(query, rows, k)
        np.testing.assert_array_equal(distances[b], expected[0])
        np.testing.assert_array_equal(indices[b], expected[1])


@given(
    st.sampled_from(GALLERIES),
    st.integers(0, 2**16),
    st.integers(256, 600),
    st.integers(1, 9),
    st.sampled_from([1e-20, 1e-6, 1.0, 1e12]),
)
@settings(max_examples=60, deadline=None)
def test_what_bounds_prove_is_what_comparing_everything_finds(gallery, seed: int, n: int, k: int, scale: float):
    rows = gallery(seed, n, FINE + 8) * np.float32(scale)
    queries = queries_for(rows, seed)
    for query, found in zip(queries, Pruning(rows).nearest(queries, k), strict=True):
        if found is not None:
            expected = of_everything(query, rows, k)
            np.testing.assert_array_equal(found[0], expected[0])
            np.testing.assert_array_equal(found[1], expected[1])


@given(st.sampled_from(GALLERIES), st.integers(0, 2**16), st.integers(1, 400), st.integers(1, 30), st.integers(1, 500))
@settings(max_examples=60, deadline=None)
def test_what_is_proposed_and_proven_is_what_comparing_everything_finds(gallery, seed: int, n: int, d: int, k: int):
    rows = gallery(seed, n, d)
    queries, k = queries_for(rows, seed), min(k, n)
    distances, indices = NearestFrames(rows).search(queries, k)
    for b, query in enumerate(queries):
        expected = of_everything(query, rows, k)
        np.testing.assert_array_equal(distances[b], expected[0])
        np.testing.assert_array_equal(indices[b], expected[1])


@pytest.mark.parametrize("n", [300, PRUNED_FROM])
def test_every_frame_can_be_asked_for(n: int):
    rows = walk(3, n, FINE + 1)
    distances, indices = NearestFrames(rows).search(rows[:1], n)
    assert sorted(indices[0]) == list(range(n))
    assert (np.diff(distances[0]) >= 0).all()


@pytest.mark.parametrize("n", [500, PRUNED_FROM])
def test_of_frames_equally_near_the_lower_index_comes_first(n: int):
    rows = np.ones((n, FINE + 1), np.float32)
    rows[[3, 4, n - 1]] = 5
    _, (first, second) = NearestFrames(rows).search(np.array([rows[0], rows[3]]), 4)
    assert first.tolist() == [0, 1, 2, 5]
    assert second.tolist() == [3, 4, n - 1, 0]


def shell(seed: int, n: int, near: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Rows of which ``near`` are equally near to the query but for rounding: the same differences in another order."""
    rng = np.random.default_rng(seed)
    rows, query = np.zeros((n, 300), np.float32), np.zeros((1, 300), np.float32)
    rows[:, :60] = 20 * rng.standard_normal((n, 60))
    query[:, :60] = 30 * rng.standard_normal(60)
    differences = rng.standard_normal(60).astype(np.float32)
    for row in rng.choice(n, near, replace=False):
        rows[row, :60] = query[0, :60] + rng.permutation(differences)
    return rows, query


@pytest.mark.parametrize(("n", "near"), [(1500, 1500), (1500, 30), (PRUNED_FROM, 400)])
@pytest.mark.parametrize("seed", range(5))
def test_frames_that_only_rounding_tells_apart_are_all_compared(seed: int, n: int, near: int):
    rows, query = shell(seed, n, near)
    distances, indices = NearestFrames(rows).search(query, 3)
    expected = of_everything(query[0], rows, 3)
    np.testing.assert_array_equal(distances[0], expected[0])
    np.testing.assert_array_equal(indices[0], expected[1])


@pytest.mark.parametrize("near", [44, 300])  # for K = 10, 40 are proposed
@pytest.mark.parametrize("seed", range(5))
def test_frames_that_a_gpu_cannot_tell_apart_are_all_compared(seed: int, near: int, gpu: torch.device):
    rows, query = shell(seed, 1500, near)
    distances, indices = NearestFrames(rows, device=gpu).search(query, 10)
    expected = of_everything(query[0], rows, 10)
    np.testing.assert_array_equal(distances[0], expected[0])
    np.testing.assert_array_equal(indices[0], expected[1])


@pytest.mark.parametrize("gallery", GALLERIES)
@pytest.mark.parametrize("n", [700, PRUNED_FROM])
def test_a_frame_gets_the_same_whatever_comes_with_it(gallery, n: int):
    rows = gallery(4, n, FINE + 5)
    queries, nearest = np.concatenate([queries_for(rows, seed) for seed in range(9)]), NearestFrames(rows)
    together, alone = nearest.search(queries, 3), [nearest.search(query[None], 3) for query in queries]
    for kind in range(2):
        np.testing.assert_array_equal(together[kind], np.concatenate([one[kind] for one in alone]))
    ranked = nearest.ranked(queries, together[1])
    np.testing.assert_array_equal(ranked[0], together[0])


def test_most_frames_are_ruled_out_without_comparing(compared: list[NDArray[np.int64]]):
    rows = walk(5, PRUNED_FROM, FINE + 40)
    for query in queries_for(rows, 6):
        compared.clear()
        NearestFrames(rows).search(query[None], 1)
        assert sum(len(frames) for frames in compared) < PRUNED_FROM / 20


def test_frames_that_only_seem_near_do_not_hide_the_nearest(compared: list[NDArray[np.int64]]):
    # What varies most is 60 directions. The query leaves them by 1 in a direction of its own. Frames 0..39 are in the
    # same place there and leave it by 1 elsewhere, so their bound is about 0 and their squared distance 2; frame 700
    # leaves it like the query, and lies half beside it: 0.25.
    rows = np.zeros((1000, FINE + 60), np.float32)
    rows[40:, :60] = 10 * random(7, 960, 60)
    rows[:40, 200:240] = np.eye(40)
    query = np.zeros(FINE + 60, np.float32)
    query[-1] = 1
    rows[700] = query
    rows[700, 0] = 0.5
    (found,) = Pruning(rows).nearest(query[None], 1)
    assert found is not None
    assert (found[0].tolist(), found[1].tolist()) == ([0.25], [700])
    assert set(compared[0]) < set(range(40)), "the first are those that seem nearest"
    assert len(compared) > 1


def test_where_bounds_rule_out_nothing_another_way_is_taken():
    rows = random(8, 600, FINE + 60)
    queries = random(9, 3, FINE + 60)
    assert Pruning(rows).nearest(queries, 1) == [None, None, None]
    assert Pruning(walk(8, 600, FINE + 60)).nearest(queries, 20) == [None, None, None], "K is too large a part of N"


@pytest.mark.parametrize("value", [1e15, 1e30, 3e38])
def test_one_frame_that_is_far_off_does_no_harm(value: float):
    rows = walk(9, PRUNED_FROM, FINE + 1)
    rows[10] = value
    distances, indices = NearestFrames(rows).search(rows[[10, 11]], 1)
    np.testing.assert_array_equal(indices, [[10], [11]])
    np.testing.assert_array_equal(distances, [[0], [0]])
    if value > 1e20:  # the square is no float32
        with pytest.raises(InputError, match="not finite"):
            NearestFrames(rows).search(rows[[10]], 2)


def test_the_gallery_is_read_where_it_lies(tmp_path: Path):
    rows = walk(10, PRUNED_FROM, 1280)
    rows.tofile(tmp_path / "pooled")
    mapped = np.memmap(tmp_path / "pooled", np.float32, "r", shape=rows.shape)
    tracemalloc.start()
    try:
        nearest = NearestFrames(np.asarray(mapped))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 1.5 * 4 * (pruning.COARSE + FINE) * len(rows) < rows.nbytes / 3
    assert nearest.search(rows[70:71], 1)[1] == 70


def test_proposals_that_miss_the_nearest_are_followed_by_more(compared: list[NDArray[np.int64]]):
    rows = walk(11, 1000, 30)

    class Blurred(Reading):
        """Measures as if all were nearer by up to 30."""

        def propose(self, queries, count):
            exact = np.square(rows - queries[:, None]).sum(axis=2)
            measured = np.maximum(exact - 30 * (np.arange(1000) % 2), 0)
            order = np.argsort(measured, axis=1)[:, :count]
            return np.take_along_axis(measured, order, axis=1), order

        def count(self, k):
            return 4

    query = rows[500] + 0.3 * random(12, 30)
    (found,) = Proposals(Blurred(rows), rows).nearest(query[None], 2)
    assert found is not None
    np.testing.assert_array_equal(found[1], of_everything(query, rows, 2)[1])
    assert len(compared[1]) == 16


class Expanding(faiss.IndexFlatL2):
    """Stands for faiss' index on a GPU: expands the square in float32."""

    def __init__(self, resources: object, d: int, config: SimpleNamespace) -> None:
        super().__init__(d)

    def search(self, queries, count):
        rows = self.reconstruct_n(0, self.ntotal)
        measured = (queries**2).sum(axis=1)[:, None] + (rows**2).sum(axis=1) - 2 * queries @ rows.T
        order = np.argsort(measured, axis=1)[:, :count]
        return np.take_along_axis(measured, order, axis=1), order


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    for name, value in (
        ("StandardGpuResources", object),
        ("get_num_gpus", lambda: 1),
        ("GpuIndexFlatConfig", SimpleNamespace),
        ("GpuIndexFlatL2", Expanding),
    ):
        monkeypatch.setattr(proposals.faiss, name, value, raising=False)
    return torch.device("cuda", 0)


@pytest.mark.parametrize("k", [1, 5, 50, 700])
@pytest.mark.parametrize("gallery", GALLERIES)
def test_what_a_gpu_proposes_is_proven_and_compared(gallery, gpu: torch.device, k: int):
    rows = gallery(13, 3000, 40)
    queries = queries_for(rows, 14)
    on_gpu, on_cpu = NearestFrames(rows, device=gpu).search(queries, k), NearestFrames(rows).search(queries, k)
    np.testing.assert_array_equal(on_gpu[0], on_cpu[0])
    np.testing.assert_array_equal(on_gpu[1], on_cpu[1])


def test_a_gpu_proposes_enough_in_most_cases(gpu: torch.device, compared: list[NDArray[np.int64]]):
    rows = walk(15, 3000, 400)
    (found,) = Proposals(OnGpu(rows, 0), rows).nearest(rows[5:6] + np.float32(0.05), 1)
    assert found is not None
    assert [len(frames) for frames in compared] == [32]


def test_without_faiss_for_gpus_a_gpu_changes_nothing():
    rows = walk(16, PRUNED_FROM, FINE + 1)
    found = NearestFrames(rows, device=torch.device("cuda", 0)).search(rows[:3], 2)
    np.testing.assert_array_equal(found[1], NearestFrames(rows).search(rows[:3], 2)[1])


@pytest.mark.cuda
@pytest.mark.parametrize("k", [1, 50])
@pytest.mark.parametrize("gallery", GALLERIES)
def test_a_real_gpu_finds_the_same(gallery, k: int):
    if not proposals.faiss_sees_gpus():
        pytest.skip("needs a CUDA GPU and faiss built for it")
    rows = gallery(17, PRUNED_FROM, 1280)
    queries = queries_for(rows, 18)
    on_gpu = NearestFrames(rows, device=torch.device("cuda", 0)).search(queries, k)
    on_cpu = NearestFrames(rows).search(queries, k)
    np.testing.assert_array_equal(on_gpu[0], on_cpu[0])
    np.testing.assert_array_equal(on_gpu[1], on_cpu[1])
