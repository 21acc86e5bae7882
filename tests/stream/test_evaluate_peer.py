"""The peer with a stand-in for anomalib: which frames it gets, in which form, and what becomes of its answers."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from evaluation_fakes import SIDE, write_clips
from tiny_extractor import tiny_extractor
from torch import nn

from stream.config import build_config
from stream.errors import UsageError
from stream.evaluate import peer
from stream.evaluate.datasets import open_dataset
from stream.evaluate.options import EvalOptions
from stream.evaluate.scored import load_scene
from stream.evaluate.workspace import link_scene, settings

pytestmark = pytest.mark.usefixtures("one_thread")


class StandIn(nn.Module):
    """A model of the peer's form: remembers mean features, and answers with the brightness of each place."""

    made: ClassVar[list[StandIn]] = []

    def __init__(self, layers: list[str], backbone: str, pre_trained: bool, num_neighbors: int) -> None:
        super().__init__()
        assert not pre_trained, "nothing may be downloaded"
        self.layers, self.num_neighbors = layers, num_neighbors
        self.feature_extractor: nn.Module = nn.Identity()
        self.batches: list[torch.Tensor] = []
        self.ratio: float | None = None
        StandIn.made.append(self)

    def forward(self, images: torch.Tensor) -> Any:
        features = self.feature_extractor(images)
        assert list(features) == self.layers == ["level2", "level3"]
        assert features["level2"].shape[2:] == (SIDE // 8, SIDE // 8)
        if self.training:
            self.batches.append(images)
            return features["level2"]
        assert self.ratio is not None, "asked before the memory bank was ready"
        return SimpleNamespace(anomaly_map=images.mean(dim=1, keepdim=True) + 3, pred_score=images.mean()[None] + 5)

    def subsample_embedding(self, ratio: float) -> None:
        self.ratio = ratio


@pytest.fixture
def anomalib(monkeypatch: pytest.MonkeyPatch) -> type[StandIn]:
    name = "anomalib.models.image.patchcore.torch_model"
    for part in ("anomalib", "anomalib.models", "anomalib.models.image", "anomalib.models.image.patchcore", name):
        monkeypatch.setitem(sys.modules, part, ModuleType(part))
    sys.modules[name].PatchcoreModel = StandIn  # type: ignore[attr-defined]
    monkeypatch.setattr("stream.engine.extractor_of", lambda config: tiny_extractor(side=config.method.side))
    StandIn.made.clear()
    return StandIn


def test_it_is_asked_for_by_name_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anomalib", None)
    with pytest.raises(UsageError, match="pip install anomalib"):
        peer.load_model()


def test_a_model_of_another_form_is_named(anomalib: type[StandIn], monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["anomalib.models.image.patchcore.torch_model"]
    monkeypatch.setattr(module, "PatchcoreModel", lambda weights: None, raising=False)
    with pytest.raises(UsageError, match="other arguments"):
        peer.load_model()(tiny_extractor(side=SIDE).backbone)


def test_it_sees_the_same_frames_and_its_scores_are_read_back_like_ours(
    anomalib: type[StandIn], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer, "GALLERY_FRAMES", 5)
    root, out = write_clips(tmp_path / "in", length=6), tmp_path / "out"
    dataset = open_dataset("clips", root)
    options = EvalOptions("clips", root, out, method="anomalib:patchcore", parameters={"size": SIDE}, every=4)
    footage = link_scene(out / "work", dataset.scenes[0], folder_fps=dataset.fps)
    plain = settings(options, dataset, [footage], sockets=tmp_path)
    config = build_config(plain, where="eval", base=out, environment={})

    scoring, normal = peer.score_with_peer(config, [footage], every=4, stopping=lambda: False)

    [model] = anomalib.made
    assert normal == {footage.scene.name: 5}
    assert sum(len(batch) for batch in model.batches) == 5
    assert (model.ratio, model.num_neighbors) == (0.01, 9)
    # Grey of 90: normalised as the backbone was trained, (90 / 255 - 0.485) / 0.229 in the first channel.
    assert float(model.batches[0][:, 0].mean()) == pytest.approx((90 / 255 - 0.485) / 0.229, abs=0.02)
    assert scoring.problems == ()
    assert scoring.frames_per_second is not None
    scene = load_scene(config, footage, out=out, every=4, gallery_frames=5, alerting=False)
    assert scene.problems == ()
    assert [clip.indices.tolist() for clip in scene.clips] == [[0, 4, 8, 12, 16]] * 2
    clip = scene.clips[0]
    kept = np.load(clip.maps[3], allow_pickle=False)
    assert kept.shape == (SIDE, SIDE)
    assert float(kept.max()) == pytest.approx(clip.peaks[3], rel=1e-3)
    assert clip.peaks[3] > clip.peaks[0] + 1, "a bright square is there from the tenth frame on"
    assert 4 < clip.image_scores[0] < 6
    assert clip.nearest == (None,) * 5


def test_it_stops_when_told(anomalib: type[StandIn], tmp_path: Path) -> None:
    root, out = write_clips(tmp_path / "in", length=6), tmp_path / "out"
    dataset = open_dataset("clips", root)
    options = EvalOptions("clips", root, out, method="anomalib:patchcore", parameters={"size": SIDE})
    footage = link_scene(out / "work", dataset.scenes[0], folder_fps=dataset.fps)
    plain = settings(options, dataset, [footage], sockets=tmp_path)
    config = build_config(plain, where="eval", base=out, environment={})
    asked = iter(range(100))
    scoring, _ = peer.score_with_peer(config, [footage], every=1, stopping=lambda: next(asked) >= 12 + 4)
    assert scoring.problems == ("stopped before the end",)
    assert len(list((out / "maps").rglob("*.npy"))) == 4
