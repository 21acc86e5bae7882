"""Whole frames, from the scoring image to the score: by ``campus``, by the faithful method, and by peers; and the
backbone's forward pass alone, which everything is compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spade_core.extractor import FeatureExtractor
from spade_core.methods import frame_scorer
from spade_core.preprocess import IMAGENET_MEAN, IMAGENET_STD
from spade_core.pyramid import PyramidNetwork
from spade_core.retrieval import NearestFrames
from spade_core.scorer import SpadeParameters
from stream.bench.material import Material, Playing
from stream.bench.peers import Nearest, PatchCore, by_cdist, by_differences, frames_for, spade_map
from stream.bench.timed import Task
from stream.engine import NotScored, ScoringEngine, extractor_of
from stream.errors import StreamError, UsageError

BACKBONE = "backbone alone"
CAMPUS, EXPLAINED = "campus scorer", "campus scorer, every frame explained"
SPADE = "faithful SPADE, K = 1"
DIFFERENCES, CDIST = "peer: SPADE by differences", "peer: SPADE by cdist"
PATCHCORE = "peer: anomalib PatchCore"
PEERS = (DIFFERENCES, CDIST, PATCHCORE)

SCENE = "bench"

_MEMORY_STEP = 3.0
"""Seconds between the frames that fill the memory beforehand: as far apart as it may be without being forgotten."""

_SHARES = 4  # of the timing, for the two that everything is compared with

_EVERY = 8  # of the samples, for peers: a large backbone's features of all of them take gigabytes


def several(name: str, count: int) -> str:
    """Name of the row for so many frames at once."""
    return name if count == 1 else f"{name}, {count} at once"


def backbone_tasks(material: Material, batches: Sequence[int]) -> list[Task]:
    """One forward pass of the whole network, for each number of images at once."""
    extractor = material.extractor
    backbone, side = extractor.backbone, extractor.preprocess.side
    example = torch.zeros(1, 3, side, side, device=backbone.device)
    networks = {
        count: extractor_for(material, count).backbone.runtime.compile(_Whole(backbone.network), example)
        for count in batches
    }
    images = _normalised(material)
    return [
        Task(
            several(BACKBONE, count),
            networks[count],
            cycle([images.roll(-start, 0)[:count].clone() for start in range(len(images))]).__next__,
            per=count,
            shares=_SHARES if count == 1 else 1,
        )
        for count in batches
    ]


def engine_of(material: Material, *, cameras: int = 1, every: bool = False) -> ScoringEngine:
    """As the worker makes one. Raises StreamError where the gallery cannot be used.

    Args:
        material: see there.
        cameras: that send frames at once.
        every: explain every frame, and not only those that alerts show.
    """
    engine = ScoringEngine(
        extractor_for(material, cameras),
        material.parameters,
        {SCENE: material.gallery.folder},
        explain="always" if every else "alerts",
    )
    for failure in engine.failures.values():
        raise StreamError(str(failure))
    return engine


def extractor_for(material: Material, cameras: int) -> FeatureExtractor:
    """The extractor that a worker with so many cameras has."""
    return material.extractor if cameras == 1 else extractor_of(material.config, at_once=cameras)


def campus_tasks(material: Material, batches: Sequence[int]) -> list[Task]:
    """``campus`` as the worker runs it, for each number of cameras at once; and with every frame explained."""
    live = [_scoring(several(CAMPUS, count), material, engine_of(material, cameras=count), count) for count in batches]
    return [*live[:1], _scoring(EXPLAINED, material, engine_of(material, every=True), 1), *live[1:]]


def spade_task(material: Material) -> Task:
    """The faithful method as the worker runs it, against the same gallery."""
    extractor, images = material.extractor, cycle(material.images)
    scorer = frame_scorer(
        material.gallery,
        material.gallery.calibration,  # of campus; this method's scores do not depend on it
        size=extractor.preprocess.side,
        parameters=SpadeParameters(k=1),
        runtime=extractor.backbone.runtime,
    )
    memory = scorer.new_memory()
    return Task(
        SPADE,
        lambda image: scorer.score_frame(extractor.extract(image[None]), motion=None, time=0.0, memory=memory),
        lambda: next(images),
    )


def peer_tasks(material: Material) -> tuple[list[Task], str]:
    """The peers' scoring of features that are there already, without the forward pass.

    Returns:
        The tasks; and why PatchCore is not among them, or "".
    """
    pairs = _features_with_nearest(material)
    frames, batched = cycle(pairs), cycle([[level[None] for level in levels] for levels, _ in pairs])
    size = material.extractor.preprocess.side

    def task(name: str, nearest: Nearest) -> Task:
        return Task(name, lambda given: spade_map(*given, size=size, nearest=nearest), lambda: next(frames))

    tasks = [task(DIFFERENCES, by_differences), task(CDIST, by_cdist)]
    gallery, backbone = material.gallery, material.extractor.backbone
    normal = [_levels(material, index) for index in range(min(len(gallery), frames_for(len(gallery))))]
    try:
        patchcore = PatchCore(backbone, normal, frames=len(gallery))
    except UsageError as error:
        return tasks, str(error)
    return [*tasks, Task(PATCHCORE, patchcore.score, lambda: next(batched))], ""


def _scoring(name: str, material: Material, engine: ScoringEngine, cameras: int) -> Task:
    playing = Playing(material, scene=SCENE, cameras=cameras)

    def score(seconds: float) -> None:
        for result in engine.score(playing.next(seconds)):
            if isinstance(result, NotScored):
                raise StreamError(result.reason)

    for _ in range(4):
        score(_MEMORY_STEP)
    shares = _SHARES if name == CAMPUS else 1
    return Task(name, lambda frames: engine.score(frames), playing.next, per=cameras, shares=shares)


def scores_of(material: Material) -> list[NDArray[np.float32]]:
    """(S, S) campus scores of the samples, in order.

    Raises:
        StreamError: one cannot be scored.
    """
    engine, playing, found = engine_of(material), Playing(material, scene=SCENE), []
    for _ in material.samples:
        [result] = engine.score(playing.next())
        if isinstance(result, NotScored):
            raise StreamError(result.reason)
        found.append(result.score.pixel_scores)
    return found


def _features_with_nearest(material: Material) -> list[tuple[list[Tensor], list[Tensor]]]:
    """Of some samples the levels (C, H, W), and those of the normal frame nearest to each."""
    nearest = NearestFrames(np.asarray(material.gallery.pooled))
    pairs = []
    for image in material.images[::_EVERY]:
        features = material.extractor.extract(image[None])
        _, indices = nearest.search(features.pooled.float().cpu().numpy(), 1)
        pairs.append(([level[0].float() for level in features.levels], _levels(material, int(indices[0, 0]))))
    return pairs


def _levels(material: Material, index: int) -> list[Tensor]:
    """Levels of a gallery frame, (C, H, W) float32 on the device."""
    device = material.extractor.backbone.device
    return [torch.from_numpy(np.array(level)).to(device).float() for level in material.gallery.pyramid(index)]


def _normalised(material: Material) -> Tensor:
    """(B, 3, S, S) float32 of all samples, as the network takes them."""
    device = material.extractor.backbone.device
    pixels = torch.from_numpy(np.stack(material.images)).to(device)
    mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return ((pixels.permute(0, 3, 1, 2).float() / 255 - mean) / std).contiguous()


class _Whole(nn.Module):
    """The network as one: normalised images to pooled features and all levels."""

    def __init__(self, network: PyramidNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        weights = next(self.network.parameters(), images)
        pooled, levels = self.network(images.to(weights.dtype))
        return (pooled, *levels)
