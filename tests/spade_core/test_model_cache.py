"""Converted networks on disk: found again as they were, or not at all."""

from __future__ import annotations

import importlib.util
import os
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from spade_core.backbone import load_backbone
from spade_core.extractor import FeatureExtractor
from spade_core.model_cache import KEPT, ModelCache
from spade_core.preprocess import Preprocess


def saving(text: str) -> Callable[[Path], None]:
    def save(path: Path) -> None:
        path.write_text(text)
        path.with_suffix(".bin").write_bytes(b"weights of " + text.encode())

    return save


@pytest.fixture
def cache(tmp_path: Path) -> ModelCache:
    return ModelCache(tmp_path / "cache")


def test_what_was_kept_is_found_under_all_of_its_key(cache: ModelCache) -> None:
    assert cache.find("net", "1") is None
    cache.keep(saving("one"), "net", "1")
    found = cache.find("net", "1")
    assert found is not None
    assert (found.read_text(), found.with_suffix(".bin").read_bytes()) == ("one", b"weights of one")
    assert cache.find("net", "2") is None
    assert cache.find("net") is None
    assert cache.find("net1") is None


def test_what_is_kept_again_replaces_what_was_there(cache: ModelCache) -> None:
    for text in ("one", "two"):
        cache.keep(saving(text), "net")
    found = cache.find("net")
    assert found is not None
    assert found.read_text() == "two"


@pytest.mark.parametrize("name", ["model.xml", "model.bin", "sums.json"])
@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_what_is_damaged_is_not_used(
    cache: ModelCache, name: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    cache.keep(saving("one"), "net")
    found = cache.find("net")
    assert found is not None
    file = found.with_name(name)
    content = bytearray(file.read_bytes())
    file.write_bytes(content[:-2] if damage == "cut" else bytes([content[0] ^ 1, *content[1:]]))
    assert cache.find("net") is None
    assert "converted anew" in caplog.text


def test_only_those_used_last_are_kept(cache: ModelCache, tmp_path: Path) -> None:
    for number in range(KEPT):
        cache.keep(saving(str(number)), str(number))
        found = cache.find(str(number))
        assert found is not None
        os.utime(found.parent, (number, number))
    assert cache.find("0"), "and with that it is used"
    cache.keep(saving("new"), "new")
    assert [number for number in range(KEPT) if cache.find(str(number)) is None] == [1]
    assert len(list((tmp_path / "cache").iterdir())) == KEPT


def test_nobody_else_may_write_there(cache: ModelCache, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        cache.keep(saving("one"), "net")
    finally:
        os.umask(before)
    found = cache.find("net")
    assert found is not None
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "cache", found.parent)} == {0o700}


def test_a_folder_that_cannot_be_made_costs_time_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = ModelCache(tmp_path / "file" / "cache")
    cache.keep(saving("one"), "net")
    assert cache.find("net") is None
    assert "cannot be kept there" in caplog.text


def test_a_saving_that_fails_leaves_nothing(cache: ModelCache, tmp_path: Path) -> None:
    def save(path: Path) -> None:
        path.write_text("half of i")
        raise RuntimeError("disk full")

    cache.keep(save, "net")
    assert cache.find("net") is None
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.openvino
@pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="OpenVINO is optional and not installed (extra cpu)"
)
def test_a_network_from_the_cache_gives_the_same_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)

    def features() -> list[torch.Tensor]:
        backbone = load_backbone("efficientnet_lite0", runtime="openvino", cache=tmp_path)
        found = FeatureExtractor(backbone, Preprocess(64)).extract(images)
        return [found.pooled, *found.levels]

    def traced(*_: object, **__: object) -> None:
        raise AssertionError("converted anew")

    first = features()
    assert len(list(tmp_path.iterdir())) == 2, "trunk and head"
    monkeypatch.setattr(torch.jit, "trace", traced)
    for one, other in zip(first, features(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    other_size = load_backbone("efficientnet_lite0", runtime="openvino", cache=tmp_path)
    with pytest.raises(Exception, match="converted anew"):
        FeatureExtractor(other_size, Preprocess(96))
