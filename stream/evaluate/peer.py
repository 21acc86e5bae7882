"""The peer: anomalib's PatchCore on the same frames, with the same backbone and weights, for the same figures.

anomalib is no dependency of this project: it is asked for when this method is. Only its model is used (memory bank,
coreset, nearest neighbours, map); frames come through our sources, sampling and preprocessing, features from our
backbone. It has no threshold in footage alone, so that there are no alerts.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from spade_core.backbone import Backbone
from spade_core.extractor import FeatureExtractor
from spade_core.preprocess import IMAGENET_MEAN, IMAGENET_STD, scoring_image
from spade_core.sampling import UniformSampler
from stream.capture import RateSampler
from stream.config import Config
from stream.errors import UsageError
from stream.evaluate.scored import map_file
from stream.evaluate.scoring import Scoring
from stream.evaluate.workspace import SceneFootage
from stream.progress import progress_bar
from stream.score_maps import map_to_keep
from stream.scorelog import ScoreLog, ScoreRow
from stream.sources import open_source
from stream.sources.base import SourceFrame

GALLERY_FRAMES = 510
"""Most normal frames of a scene, evenly spaced: choosing the coreset of more takes hours."""

CORESET = 0.01
"""Part of the features that the memory bank keeps."""

NEIGHBOURS = 9
"""Of the image score; anomalib's own default."""

LEVELS = ("level2", "level3")
"""Of the pyramid, as in PatchCore's paper."""

BATCH = 16
"""Normal frames per forward pass: the memory bank is copied at each."""

_PLACEHOLDER = ("resnet18", ("layer2", "layer3"))
"""The network that its constructor wants; it is replaced by ours at once."""

_MODULE = "anomalib.models.image.patchcore.torch_model"


def score_with_peer(
    config: Config, footage: Sequence[SceneFootage], *, every: int, stopping: Callable[[], bool]
) -> tuple[Scoring, dict[str, int]]:
    """Scores all test clips into the score log and the folder of maps, as the worker does.

    Args:
        config: of the run; its folders, backbone, and the size of scoring images.
        footage: of all scenes.
        every: every Nth frame is scored.
        stopping: polled.

    Returns:
        How it went, and how many normal frames each scene had.

    Raises:
        UsageError: anomalib is not installed, or is of a version whose model has another form.
    """
    make = load_model()
    from stream.engine import extractor_of

    extractor = extractor_of(config)
    normal: dict[str, int] = {}
    problems: list[str] = []
    log, scored, seconds = ScoreLog(config.scores), 0, 0.0
    total = sum(min(GALLERY_FRAMES, s.train_frames) + s.expected(every) for s in footage)
    try:
        with progress_bar("anomalib", unit="frame", total=total) as bar:
            for scene in footage:
                model = make(extractor.backbone)
                normal[scene.scene.name] = _fill(model, scene, extractor, config, bar, stopping)
                began = time.monotonic()
                for frame in _test_frames(scene, config):
                    if stopping():
                        problems.append("stopped before the end")
                        return Scoring(tuple(problems), None), normal
                    _score(model, frame, scene, extractor, config, log)
                    scored += 1
                    bar.update()
                seconds += time.monotonic() - began
    finally:
        log.close()
    return Scoring(tuple(problems), scored / seconds if seconds else None), normal


def load_model() -> Callable[[Backbone], Any]:
    """Something that makes an empty PatchCore for a backbone.

    Raises:
        UsageError: anomalib is not installed, or its model has another form than the one this was written for.
    """
    try:
        model_class = importlib.import_module(_MODULE).PatchcoreModel
    except ImportError as error:
        raise UsageError(
            f"anomalib:patchcore needs anomalib, which cannot be imported ({error}): pip install anomalib"
        ) from None

    def make(backbone: Backbone) -> Any:
        try:
            name, layers = _PLACEHOLDER
            model = model_class(layers=list(layers), backbone=name, pre_trained=False, num_neighbors=NEIGHBOURS)
        except TypeError as error:
            raise UsageError(f"anomalib's PatchcoreModel takes other arguments ({error}): install anomalib 2") from None
        model.layers = list(LEVELS)
        model.feature_extractor = _Features(backbone)
        return model.to(backbone.device)

    return make


class _Features(nn.Module):
    """Our backbone as anomalib calls one: images to features by name."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self._backbone = backbone

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """(B, 3, S, S) normalised to (B, C, H, W) of levels 2 and 3."""
        _, levels = self._backbone(images)
        return dict(zip(LEVELS, levels[1:], strict=True))


def _fill(
    model: Any,
    scene: SceneFootage,
    extractor: FeatureExtractor,
    config: Config,
    bar: Any,
    stopping: Callable[[], bool],
) -> int:
    """Fills the memory bank; returns how many frames it was made from."""
    sampler = UniformSampler(scene.train_frames, GALLERY_FRAMES)
    model.train()
    batch: list[NDArray[np.uint8]] = []
    count = 0
    for frame in _frames(str(scene.train), config.camera(scene.camera).folder_fps):
        if stopping():
            raise UsageError("stopped while the memory bank was filled; nothing was scored")
        if sampler.offer() is None:
            continue
        batch.append(scoring_image(frame.image, extractor.preprocess))
        count += 1
        if len(batch) == BATCH:
            model(_tensor(batch, extractor))
            batch = []
        bar.update()
    if batch:
        model(_tensor(batch, extractor))
    model.subsample_embedding(CORESET)
    model.eval()
    return count


def _score(
    model: Any, frame: SourceFrame, scene: SceneFootage, extractor: FeatureExtractor, config: Config, log: ScoreLog
) -> None:
    with torch.inference_mode():
        found = model(_tensor([scoring_image(frame.image, extractor.preprocess)], extractor))
    pixels = found.anomaly_map.reshape(extractor.preprocess.side, extractor.preprocess.side).float().cpu().numpy()
    file = map_file(config.state.parent / "maps" / scene.camera, frame.index)
    file.parent.mkdir(parents=True, exist_ok=True)
    np.save(file, map_to_keep(pixels), allow_pickle=False)
    log.add(
        scene.camera,
        ScoreRow(
            frame_time=frame.media_time,
            frame_seq=frame.index,
            media_time=frame.media_time,
            segment=frame.segment,
            score=float(pixels.max()),
            image_score=float(found.pred_score.reshape(-1)[0]),
            threshold=None,
            nearest=None,
            age=None,
            alert="",
            problem="",
        ),
    )


def _test_frames(scene: SceneFootage, config: Config) -> Iterator[SourceFrame]:
    """The frames that a reader would send."""
    camera = config.camera(scene.camera)
    sampler = RateSampler(camera.fps)
    for frame in _frames(camera.source, camera.folder_fps):
        if sampler.keep(frame.media_time):
            yield frame


def _frames(folder: str, folder_fps: float) -> Iterator[SourceFrame]:
    source = open_source(folder, folder_fps=folder_fps)
    try:
        yield from source.frames()
    finally:
        source.close()


def _tensor(images: Sequence[NDArray[np.uint8]], extractor: FeatureExtractor) -> torch.Tensor:
    """(B, 3, S, S) float32, ImageNet-normalised, on the backbone's device."""
    pixels = torch.from_numpy(np.stack(images)).to(extractor.backbone.device)
    mean, std = (torch.tensor(v, device=pixels.device).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return (pixels.permute(0, 3, 1, 2).float() / 255 - mean) / std
