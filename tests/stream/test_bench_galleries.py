"""``bench gallery`` with a network that needs no weights: its rows, and the galleries that it makes up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_extractor import tiny_extractor

from spade_core.extractor import FeatureExtractor
from spade_core.motion import GRID
from stream.bench import galleries, material
from stream.bench.galleries import KINDS, GalleryOptions, RepeatedFrames, named, rows_of, run_gallery, write_pooled
from stream.bench.material import ScoringOptions
from stream.bench.result import BenchResult
from stream.config import Config
from stream.errors import StreamError

pytestmark = pytest.mark.usefixtures("one_thread")

SCORING = ScoringOptions("efficientnet_lite0", None, 64, "cpu", "torch", None, 1)


def tiny_one(config: Config, *, at_once: int = 1) -> FeatureExtractor:
    return tiny_extractor(side=config.method.size)


@pytest.fixture(scope="module")
def small() -> Iterator[None]:
    """A tiny network, tiny pictures, little footage, few frames that are really there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(material, "extractor_of", tiny_one)
        patch.setattr(material, "PICTURE", (128, 72))
        patch.setattr(galleries, "NORMAL_SECONDS", 16.0)
        patch.setattr(galleries, "BLOCK", 30)
        yield


@pytest.fixture(scope="module")
def result(small: None) -> BenchResult:
    return run_gallery(GalleryOptions(SCORING, (20, 50), 0.5), stopping=lambda: False)


def test_every_way_has_a_row_for_every_size(result: BenchResult) -> None:
    found = {row.name: row for row in result.rows}
    assert found.keys() == {named(kind, count) for kind in (*KINDS, "opening") for count in (20, 50)}
    for kind in KINDS:
        assert found[named(kind, 20)].base is None
        assert found[named(kind, 50)].base == named(kind, 20)
    assert result.options["gallery_frames"] == [20, 50]


def test_opening_says_what_it_took(result: BenchResult) -> None:
    found = {row.name: row.figures for row in result.rows}
    assert found["opening, 50 frames"].keys() == {"open_ms", "rss_mib", "own_mib"}
    assert (found["opening, 50 frames"]["open_ms"] or 0) > 0


def test_others_are_beside_5000_frames_where_there_are_so_many() -> None:
    found = {named(kind, count): [count * 1e-6] for kind in KINDS for count in (500, 5000, 50000)}
    rows = {row.name: row for row in rows_of((500, 5000, 50000), found)}
    assert rows["campus scorer, 5,000 frames"].base is None
    assert rows["campus scorer, 50,000 frames"].base == "campus scorer, 5,000 frames"
    assert rows["campus scorer, 50,000 frames"].ratio == pytest.approx(10)
    assert rows["campus scorer, 500 frames"].ratio == pytest.approx(0.1)


@dataclass(frozen=True, slots=True)
class Stored:
    """What a gallery gives."""

    motion: np.ndarray
    levels: list[str]
    bank: np.ndarray

    def __len__(self) -> int:
        return len(self.levels)

    def pyramid(self, index: int) -> str:
        return self.levels[index]

    def array(self, name: str) -> np.ndarray | None:
        return self.bank if name == "bank" else None


def real(count: int = 40, length: int = 16) -> np.ndarray:
    """Features that differ along three directions."""
    rng = np.random.default_rng(3)
    return (5 + rng.standard_normal((count, 3)) @ rng.standard_normal((3, length))).astype(np.float32)


def test_made_up_features_begin_with_the_real_ones_and_are_like_them(tmp_path: Path) -> None:
    rows = real()
    made = write_pooled(tmp_path / "p.npy", rows, 3000)
    assert made.shape == (3000, 16)
    assert made.dtype == np.float32
    assert np.array_equal(made[:40], rows)
    assert len(np.unique(made, axis=0)) == 3000
    np.testing.assert_allclose(made.mean(axis=0), rows.mean(axis=0), atol=0.3)
    spread, expected = made[40:].std(axis=0), rows.std(axis=0)
    np.testing.assert_allclose(spread, expected * np.sqrt(1 + galleries.WANDERING**2), rtol=0.2)
    lengths = np.linalg.svd(made - made.mean(axis=0), compute_uv=False)
    assert lengths[3] < 0.1 * lengths[2], "they differ along the same directions"


def test_made_up_features_change_gradually(tmp_path: Path) -> None:
    rows = real()
    away = write_pooled(tmp_path / "p.npy", rows, 3000)[40:] - rows[np.arange(40, 3000) % 40]

    def alike(frames: int) -> float:
        return float((away[:-frames] * away[frames:]).mean() / np.square(away).mean())

    assert alike(1) > 0.9
    assert abs(alike(1000)) < 0.4


def test_fewer_than_there_are_are_the_first_of_them(tmp_path: Path) -> None:
    assert np.array_equal(write_pooled(tmp_path / "p.npy", real(), 7), real()[:7])


def test_pyramids_repeat_and_arrays_serve() -> None:
    bank = np.zeros(1)
    gallery: Any = Stored(motion=np.ones((3, GRID, GRID), np.float16), levels=["first", "second", "third"], bank=bank)
    frames = RepeatedFrames(gallery, np.zeros((100, 4), np.float32))
    assert frames.motion.shape == (100, GRID, GRID)
    assert [frames.pyramid(index) for index in (1, 2, 3, 98)] == ["second", "third", "first", "third"]
    assert frames.array("bank") is bank
    assert frames.array("none") is None


def test_it_ends_where_it_is_stopped(small: None) -> None:
    with pytest.raises(StreamError, match="stopped"):
        run_gallery(GalleryOptions(SCORING, (20,), 0.5), stopping=lambda: True)
