"""Scored clips with labels and maps as a test says, for tests of what evaluations make of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from spade_core.metrics import AlertSpan
from stream.evaluate.datasets.model import TestClip
from stream.evaluate.scored import ScoredClip, ScoredScene
from stream.score_maps import map_to_keep

SIDE = 64


class GivenLabels:
    """Labels of a clip: masks as given, frames anomalous where their mask has a pixel.

    Args:
        masks: of every native frame, or None where nothing is labelled.
        pixels: False: only frames are labelled.
    """

    def __init__(self, masks: Sequence[NDArray[np.bool_]] | None, *, pixels: bool = True) -> None:
        self._masks, self._pixels = masks, pixels

    @property
    def known(self) -> bool:
        return self._masks is not None

    @property
    def has_masks(self) -> bool:
        return self._masks is not None and self._pixels

    def frame_labels(self, count: int) -> NDArray[np.bool_] | None:
        return None if self._masks is None else np.array([mask.any() for mask in self._masks[:count]], np.bool_)

    def mask(self, index: int) -> NDArray[np.bool_] | None:
        return self._masks[index] if self._masks is not None and self._pixels else None


def square(x: int, y: int, *, width: int = 16, side: int = SIDE) -> NDArray[np.bool_]:
    """A mask with one square."""
    mask = np.zeros((side, side), np.bool_)
    mask[y : y + width, x : x + width] = True
    return mask


def nothing(*, side: int = SIDE) -> NDArray[np.bool_]:
    """The mask of a normal frame."""
    return np.zeros((side, side), np.bool_)


def scored_clip(
    folder: Path,
    masks: Sequence[NDArray[np.bool_]] | None,
    scores: Sequence[float],
    *,
    name: str = "01",
    scene: str = "yard",
    every: int = 1,
    fps: float = 10.0,
    alerts: Sequence[tuple[float, float]] = (),
    maps: Sequence[NDArray[np.floating]] | None = None,
    pixels: bool = True,
    image_scores: Sequence[float] | None = None,
) -> ScoredClip:
    """A clip of which every Nth frame got the given score, with maps on disk (else all pixels of one score)."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = GivenLabels(masks, pixels=pixels)
    indices = np.arange(len(scores)) * every
    files = []
    for index, score in zip(indices, scores, strict=True):
        files.append(folder / f"{scene}-{name}-{index:08d}.npy")
        pixel_scores = np.full((SIDE, SIDE), score) if maps is None else maps[int(index) // every]
        np.save(files[-1], map_to_keep(pixel_scores.astype(np.float32)))
    return ScoredClip(
        scene=scene,
        clip=TestClip(name, folder, labels),
        fps=fps,
        truth=labels.frame_labels(int(indices[-1]) + every),
        indices=indices.astype(np.int64),
        peaks=np.array(scores, np.float64),
        image_scores=np.array(scores if image_scores is None else image_scores, np.float64),
        nearest=(None,) * len(scores),
        maps=tuple(files),
        alerts=tuple(AlertSpan(f"{scene}/{name}", start, end) for start, end in alerts),
    )


def scored_scene(*clips: ScoredClip, threshold: float | None = 1.0) -> ScoredScene:
    """A scene of these clips."""
    return ScoredScene(clips[0].scene, clips, threshold, gallery_frames=7)


def write_clips(root: Path, *, train: int = 2, length: int = 60) -> Path:
    """A dataset in the ``clips`` layout: grey noise, and in the second half of each of two test clips a bright square
    that moves. Returns its root."""
    random = np.random.default_rng(3)

    def frame() -> NDArray[np.uint8]:
        return (random.normal(90, 4, (SIDE, SIDE, 3)).clip(0, 255)).astype(np.uint8)

    def write(path: Path, image: NDArray[np.uint8]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), image)

    for clip in range(train):
        for index in range(length):
            write(root / "train" / f"t{clip}" / f"{index:03d}.png", frame())
    for clip in ("a", "b"):
        for index in range(20):
            image, mask = frame(), nothing()
            if index >= 10:
                mask = square(2 * index, 20)
                image[mask] = 250
            write(root / "test" / clip / f"{index:03d}.png", image)
            write(root / "masks" / clip / f"{index:03d}.png", mask.astype(np.uint8) * 255)
    return root
