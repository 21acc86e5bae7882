"""Figures that need the score maps: one pass over them, clip by clip, with nothing kept but counts and a few pictures'
worth of maps. Maps are deleted as soon as their clip is counted, unless they are to be kept."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from spade_core.metrics import PixelTally, RegionCurves, RegionTally, region_thresholds, tracks_from_masks
from spade_core.preprocess import Preprocess
from stream.evaluate.scored import ScoredClip, ScoredScene

CURVE_POINTS = 400
"""Of each curve that is kept: finer than a pixel of any chart."""

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]

Frame = tuple[str, int]
"""(name of the clip, position among its scored frames)."""


@dataclass(frozen=True, slots=True)
class PixelFigures:
    """Of one scene or of all."""

    auc: float | None
    pro: float | None
    roc: Curve | None = None
    pro_curve: Curve | None = None


@dataclass(frozen=True, slots=True)
class MapFigures:
    """What the maps were worth."""

    total: PixelFigures
    scenes: Mapping[str, PixelFigures]
    rbdc: float | None
    tbdc: float | None
    regions: RegionCurves | None
    threshold: float | None  # score that one normal pixel in a hundred reaches
    wanted: Mapping[Frame, NDArray[np.float32]] = field(default_factory=dict)  # (S, S) maps that were asked for


def fit_mask(mask: NDArray[np.bool_], preprocess: Preprocess) -> NDArray[np.bool_]:
    """A true mask (H, W) as the score map sees its frame: (S, S) bool, resized to the nearest pixel, cropped alike."""
    size, start = preprocess.size, (preprocess.size - preprocess.side) // 2
    resized = cv2.resize(mask.astype(np.uint8), (size, size), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(resized[start : start + preprocess.side, start : start + preprocess.side] > 0, np.bool_)


def judge_maps(
    scenes: Sequence[ScoredScene],
    preprocess: Preprocess,
    *,
    regions: bool,
    wanted: Collection[Frame],
    done: Callable[[ScoredClip], None],
) -> MapFigures:
    """Counts all maps.

    Args:
        scenes: whose maps are there.
        preprocess: what frames became scoring images by.
        regions: whether RBDC and TBDC are asked for: they are of video.
        wanted: frames whose maps are handed back.
        done: told of every clip that is counted; its maps are not read again.
    """
    peaks = [clip.peaks for scene in scenes for clip in scene.clips if _has_masks(clip)]
    tally = _regions_tally(peaks) if regions else None
    total, of_scene, kept = PixelTally(), {}, {}
    for scene in scenes:
        pixels = PixelTally()
        for clip in scene.clips:
            kept.update(_judge_clip(clip, preprocess, pixels, tally, wanted))
            done(clip)
        of_scene[scene.name] = PixelFigures(pixels.auc(), pixels.pro())
        total.merge(pixels)
    return MapFigures(
        total=PixelFigures(
            total.auc(), total.pro(), total.roc(points=CURVE_POINTS), total.pro_curve(points=CURVE_POINTS)
        ),
        scenes=of_scene,
        rbdc=tally.rbdc() if tally else None,
        tbdc=tally.tbdc() if tally else None,
        regions=tally.curves() if tally else None,
        threshold=total.threshold_at_fpr(0.01),
        wanted=kept,
    )


def read_map(path: Path) -> NDArray[np.float32]:
    """(S, S) pixel scores as the worker kept them."""
    return np.asarray(np.load(path, allow_pickle=False), np.float32)


def _regions_tally(peaks: Sequence[NDArray[np.float64]]) -> RegionTally | None:
    scores = np.concatenate(peaks) if peaks else np.zeros(0)
    with np.errstate(over="ignore"):
        halves = scores.astype(np.float16).astype(np.float64)
    # In the maps' own precision: else none reaches the highest threshold.
    kept = np.where(np.isfinite(halves), halves, scores.astype(np.float32))
    return RegionTally(region_thresholds(kept)) if kept.size else None


def _judge_clip(
    clip: ScoredClip,
    preprocess: Preprocess,
    pixels: PixelTally,
    regions: RegionTally | None,
    wanted: Collection[Frame],
) -> dict[Frame, NDArray[np.float32]]:
    masks = _masks(clip, preprocess)
    tracks = tracks_from_masks(masks, clip=clip.name) if masks is not None else None
    kept = {}
    for position, (index, path) in enumerate(zip(clip.indices.tolist(), clip.maps, strict=True)):
        is_wanted = (clip.name, position) in wanted
        if masks is None and not is_wanted:
            continue
        scores = read_map(path)
        if is_wanted:
            kept[clip.name, position] = scores
        if masks is None or tracks is None:
            continue
        pixels.add(scores, masks[index])
        if regions is not None:
            regions.add(scores, tracks[index])
    return kept


def _masks(clip: ScoredClip, preprocess: Preprocess) -> list[NDArray[np.bool_]] | None:
    """Of every native frame, for a track is followed from one to the next; None where pixels are not labelled."""
    if clip.truth is None or not _has_masks(clip):
        return None
    nothing = np.zeros((preprocess.side, preprocess.side), np.bool_)  # one for all normal frames
    masks = []
    for index in range(len(clip.truth)):
        mask = clip.clip.labels.mask(index)
        masks.append(nothing if mask is None or not mask.any() else fit_mask(mask, preprocess))
    return masks


def _has_masks(clip: ScoredClip) -> bool:
    return clip.truth is not None and clip.clip.labels.has_masks
