"""Stage 2: pyramids put together, and eq. 3, against the literal one."""

from __future__ import annotations

import gc
import itertools
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import literal
import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from spade_core import correspondence
from spade_core.correspondence import BLOCK_CELLS, concatenated_pyramid, pixel_scores
from spade_core.errors import InputError

# Odd sizes that do not divide each other, finest first.
PYRAMIDS = [
    ((2, 7, 9), (3, 4, 5), (4, 3, 2)),
    ((3, 5, 5), (1, 3, 3), (2, 1, 1)),
    ((1, 1, 11), (2, 1, 3)),
    ((4, 9, 7),),
]

K_AND_KAPPA = list(itertools.product([1, 2, 3], [1, 2, 3]))


def pyramid(seed: int, shapes: tuple[tuple[int, int, int], ...], *, steps: int | None = None) -> list[torch.Tensor]:
    """Random levels; with ``steps``, of so few whole values that many distances are equal."""
    generator = np.random.default_rng(seed)
    arrays = [
        generator.standard_normal(shape) if steps is None else generator.integers(0, steps, shape) for shape in shapes
    ]
    return [torch.from_numpy(array.astype(np.float32)) for array in arrays]


def as_arrays(levels: list[torch.Tensor]) -> list[np.ndarray]:
    return [level.numpy().astype(np.float64) for level in levels]


@pytest.mark.parametrize("shapes", PYRAMIDS, ids=str)
def test_a_pyramid_is_put_together_as_the_literal_one(shapes: tuple[tuple[int, int, int], ...]):
    levels = pyramid(0, shapes)
    features = concatenated_pyramid(levels)
    assert features.shape == (shapes[0][1] * shapes[0][2], sum(shape[0] for shape in shapes))
    assert features.dtype == torch.float32
    np.testing.assert_allclose(features.numpy(), literal.concatenated_pyramid(as_arrays(levels)), atol=1e-5)


def test_a_pyramid_by_hand():
    fine = torch.tensor([[[1.0, 2.0, 3.0, 4.0]]])
    coarse = torch.tensor([[[0.0, 8.0]]])  # its centres lie at 1 and 3, the fine ones at 0.5, 1.5, 2.5 and 3.5
    expected = [[1, 0], [2, 2], [3, 6], [4, 8]]
    np.testing.assert_array_equal(concatenated_pyramid([fine, coarse]).numpy(), expected)


def test_locations_are_in_rows_of_the_finest_map():
    features = concatenated_pyramid([torch.arange(6.0).reshape(1, 2, 3)])
    assert features[:, 0].tolist() == [0, 1, 2, 3, 4, 5]


def test_half_precision_levels_are_worked_on_in_single():
    levels = pyramid(1, PYRAMIDS[0])
    halves = [level.half() for level in levels]
    expected = concatenated_pyramid([half.float() for half in halves])
    torch.testing.assert_close(concatenated_pyramid(halves), expected, rtol=0, atol=0)


def test_a_pyramid_without_levels_is_refused():
    with pytest.raises(InputError, match="at least one level"):
        concatenated_pyramid([])


def fast_and_literal(
    query: list[torch.Tensor], references: list[list[torch.Tensor]], kappa: int
) -> tuple[np.ndarray, np.ndarray]:
    fast = pixel_scores(concatenated_pyramid(query), [concatenated_pyramid(r) for r in references], kappa=kappa)
    slow = literal.pixel_scores(
        literal.concatenated_pyramid(as_arrays(query)),
        [literal.concatenated_pyramid(as_arrays(reference)) for reference in references],
        kappa,
    )
    return fast.numpy(), slow


@pytest.mark.parametrize(("k", "kappa"), K_AND_KAPPA)
@pytest.mark.parametrize("shapes", PYRAMIDS[:3], ids=str)
def test_eq_3_agrees_with_the_literal_one(shapes: tuple[tuple[int, int, int], ...], k: int, kappa: int):
    query, references = pyramid(10, shapes), [pyramid(20 + i, shapes) for i in range(k)]
    fast, slow = fast_and_literal(query, references, kappa)
    np.testing.assert_allclose(fast, slow, rtol=1e-5)


@pytest.mark.parametrize(("k", "kappa"), [(50, 1), (50, 8), (7, 5), (1, 8)])
@pytest.mark.parametrize("chosen", [(1,), (2,), (3,), (1, 2), (1, 3), (2, 3), (1, 2, 3)], ids=str)
def test_eq_3_agrees_on_any_choice_of_levels_up_to_the_papers_k(chosen: tuple[int, ...], k: int, kappa: int):
    shapes = ((2, 5, 7), (3, 3, 4), (2, 3, 3))
    frame, gallery = pyramid(70, shapes), [pyramid(80 + i, shapes) for i in range(k)]
    used = [[levels[number - 1] for number in chosen] for levels in (frame, *gallery)]
    query, *references = (concatenated_pyramid(levels) for levels in used)
    slow = literal.pixel_scores(
        literal.concatenated_pyramid(as_arrays(frame), chosen),
        [literal.concatenated_pyramid(as_arrays(levels), chosen) for levels in gallery],
        kappa,
    )
    fast = pixel_scores(query, references, kappa=kappa)
    assert fast.shape == (shapes[chosen[0] - 1][1] * shapes[chosen[0] - 1][2],)
    np.testing.assert_allclose(fast.numpy(), slow, rtol=2e-5)


@pytest.mark.parametrize("kappa", [1, 8])
def test_eq_3_agrees_with_ties_among_50_frames(kappa: int):
    shapes = ((1, 5, 7),)
    query = pyramid(30, shapes, steps=4)
    fast, slow = fast_and_literal(query, [pyramid(90 + i, shapes, steps=4) for i in range(50)], kappa)
    np.testing.assert_array_equal(fast, slow)


@pytest.mark.parametrize(("k", "kappa"), K_AND_KAPPA)
def test_eq_3_agrees_where_many_features_are_equally_near(k: int, kappa: int):
    shapes = ((2, 7, 9), (1, 7, 9))  # no upsampling: whole numbers stay whole, and float32 is exact
    query = pyramid(30, shapes, steps=2)
    references = [pyramid(40 + i, shapes, steps=2) for i in range(k)]
    fast, slow = fast_and_literal(query, references, kappa)
    np.testing.assert_array_equal(fast, slow)


def test_eq_3_counts_a_feature_once_for_each_place_that_has_it():
    query = torch.tensor([[0.0]])
    references = [torch.tensor([[1.0], [1.0], [5.0]]), torch.tensor([[2.0], [1.0], [9.0]])]
    assert [pixel_scores(query, references, kappa=kappa).item() for kappa in (1, 2, 3)] == [1, 1, 1]


def test_eq_3_by_hand():
    query = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    references = [torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([[0.0, 2.0], [9.0, 9.0]])]
    # From (0, 0): 1, 4, 9, 162. From (3, 4): 13, 16, 20, 61.
    assert pixel_scores(query, references, kappa=1).tolist() == [1, 13]
    assert pixel_scores(query, references, kappa=2).tolist() == [2.5, 14.5]


def test_the_order_of_the_retrieved_frames_does_not_matter():
    query, *references = (concatenated_pyramid(pyramid(seed, PYRAMIDS[0])) for seed in range(4))
    expected = pixel_scores(query, references, kappa=3)
    for order in itertools.permutations(references):
        torch.testing.assert_close(pixel_scores(query, order, kappa=3), expected, rtol=1e-6, atol=0)


def test_another_frame_never_makes_a_place_odder():
    query, *references = (concatenated_pyramid(pyramid(seed, PYRAMIDS[0])) for seed in range(4))
    for kappa in (1, 2, 3):
        scores = [pixel_scores(query, references[:k], kappa=kappa) for k in (1, 2, 3)]
        assert (scores[1] <= scores[0]).all()
        assert (scores[2] <= scores[1]).all()


@pytest.mark.parametrize("places_at_once", [1, 2, 62, 63, 64])
def test_blocks_of_any_size_agree_at_every_place(places_at_once: int, monkeypatch: pytest.MonkeyPatch):
    query, references = pyramid(50, PYRAMIDS[0]), [pyramid(51, PYRAMIDS[0]), pyramid(52, PYRAMIDS[0])]
    monkeypatch.setattr(correspondence, "BLOCK_CELLS", 63 * places_at_once)
    fast, slow = fast_and_literal(query, references, 2)
    assert len(fast) == 63
    np.testing.assert_allclose(fast, slow, rtol=1e-5)


def test_maps_larger_than_a_block_agree_at_the_seams():
    shapes = ((2, 52, 43), (1, 17, 17))
    places = 52 * 43
    seam = BLOCK_CELLS // places
    assert seam < places
    features, reference = (concatenated_pyramid(pyramid(seed, shapes)) for seed in (50, 51))
    fast = pixel_scores(features, [reference], kappa=2).numpy()
    exact = features.numpy().astype(np.float64)
    for place in (0, 1, seam - 1, seam, places - 1):
        slow = literal.pixel_scores(exact[place : place + 1], [reference.numpy().astype(np.float64)], 2)
        assert fast[place] == pytest.approx(slow[0], rel=1e-5)


class Tensors(TorchDispatchMode):
    """Watches every tensor that any operation makes: the largest one, and how much is alive at once."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = self.alive = self.most_alive = 0  # values
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._see(tensor)
        return result

    def _see(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        values, key = storage.nbytes() // 4, storage.data_ptr()
        self.largest = max(self.largest, values)
        if key in self._known:  # a view of what is counted already
            return
        self._known.add(key)
        self.alive += values
        self.most_alive = max(self.most_alive, self.alive)
        weakref.finalize(tensor, self._forget, key, values)

    def _forget(self, key: int, values: int) -> None:
        self._known.discard(key)
        self.alive -= values


def watched(shapes: Sequence[tuple[int, int, int]], *, k: int, kappa: int) -> Tensors:
    """The tensors made while a frame is scored against K streamed ones."""
    generator = torch.Generator().manual_seed(0)

    def frame() -> torch.Tensor:
        return concatenated_pyramid([torch.randn(shape, generator=generator) for shape in shapes])

    def frames() -> Iterator[torch.Tensor]:
        for _ in range(k):
            yield frame()

    query = frame()
    gc.collect()
    with Tensors() as tensors:
        pixel_scores(query, frames(), kappa=kappa)
    return tensors


@pytest.mark.parametrize("kappa", [1, 8])
def test_memory_does_not_grow_with_k_and_holds_nothing_of_queries_by_gallery_by_channels(
    kappa: int, monkeypatch: pytest.MonkeyPatch
):
    shapes = ((24, 16, 16), (40, 8, 8), (112, 4, 4))  # a quarter of the default backbone's sides
    places, channels = 16 * 16, 24 + 40 + 112
    monkeypatch.setattr(correspondence, "BLOCK_CELLS", 32 * places)
    few, many = (watched(shapes, k=k, kappa=kappa) for k in (3, 50))
    assert many.largest == few.largest == places * channels, "one frame's features are the largest there is"
    assert many.most_alive == few.most_alive < 6 * places * channels
    assert many.most_alive < places * places * channels / 40


def test_a_block_of_distances_has_its_bound_whatever_the_size_of_the_maps():
    tensors = watched(((1, 72, 72),), k=2, kappa=2)
    assert 6 * BLOCK_CELLS < 72**4
    assert BLOCK_CELLS // 2 < tensors.largest <= BLOCK_CELLS


def test_a_frame_seen_before_scores_exactly_zero_anywhere_in_feature_space():
    features = concatenated_pyramid(pyramid(60, PYRAMIDS[0])) + 1000  # there |q|² - 2qr + |r|² is off by about one
    other = concatenated_pyramid(pyramid(61, PYRAMIDS[0]))
    assert (pixel_scores(features, [other, features]) == 0).all()


def test_small_distances_keep_their_digits_far_from_the_origin():
    features = concatenated_pyramid(pyramid(62, PYRAMIDS[0])) + 100
    moved = features + 0.01 * torch.randn(features.shape, generator=torch.Generator().manual_seed(0))
    exact = (features.double() - moved.double()).square().sum(dim=1).float()
    torch.testing.assert_close(pixel_scores(moved, [features]), exact, rtol=1e-5, atol=0)


def test_retrieved_frames_are_taken_one_at_a_time():
    query = torch.zeros(2, 1)
    held = []

    def references():
        for value in (3.0, 1.0, 2.0):
            held.append(value)
            yield torch.full((2, 1), value)

    assert pixel_scores(query, references()).tolist() == [1, 1]
    assert held == [3.0, 1.0, 2.0]


@pytest.mark.parametrize(("k", "kappa"), [(1, 3), (2, 5)])
def test_kappa_beyond_what_the_frames_have_is_refused(k: int, kappa: int):
    most = 2 * k
    words = rf"kappa = {kappa}: {k} frame\(s\) have {most} locations, so kappa must be 1..{most}"
    with pytest.raises(InputError, match=words):
        pixel_scores(torch.zeros(2, 1), [torch.zeros(2, 1)] * k, kappa=kappa)


@pytest.mark.parametrize("kappa", [0, -1])
def test_kappa_below_one_is_refused(kappa: int):
    with pytest.raises(InputError, match=rf"kappa = {kappa}: it must be at least 1"):
        pixel_scores(torch.zeros(2, 1), [torch.zeros(2, 1)], kappa=kappa)


def test_kappa_may_be_more_than_one_frame_has():
    query = torch.tensor([[0.0]])
    references = [torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [0.0]])]
    scores = [pixel_scores(query, references, kappa=kappa).item() for kappa in (1, 2, 3, 4)]
    assert scores == pytest.approx([0, 1 / 2, 5 / 3, 14 / 4])  # squares: 0, 1, 4, 9


def test_a_frame_with_other_channels_is_refused():
    with pytest.raises(InputError, match="query has 1 channels, a gallery frame 2"):
        pixel_scores(torch.zeros(2, 1), [torch.zeros(2, 2)])


def test_nothing_to_compare_with_is_refused():
    with pytest.raises(InputError, match="no gallery frame"):
        pixel_scores(torch.zeros(2, 1), [])


@pytest.mark.parametrize("kappa", [1, 2])
def test_a_place_that_is_no_number_does_not_get_a_score(kappa: int):
    query, reference = (concatenated_pyramid(pyramid(seed, PYRAMIDS[0])) for seed in (0, 1))
    query[5, 2] = torch.nan
    scores = pixel_scores(query, [reference], kappa=kappa)
    assert torch.isnan(scores[5])
    assert torch.isfinite(scores[:5]).all()
    assert torch.isfinite(scores[6:]).all()


@pytest.mark.cuda
@pytest.mark.parametrize("kappa", [1, 2, 3])
def test_a_gpu_gives_the_same_scores(kappa: int):
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    query, *references = (concatenated_pyramid(pyramid(seed, PYRAMIDS[0])) for seed in range(4))
    expected = pixel_scores(query, references, kappa=kappa)
    found = pixel_scores(query.cuda(), [reference.cuda() for reference in references], kappa=kappa)
    assert found.is_cuda
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-5, atol=1e-6)
