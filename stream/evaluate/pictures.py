"""The frames that say most about a run, as pictures: what it missed, what it took for odd, what it saw best."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from spade_core.gallery import Gallery
from spade_core.preprocess import Preprocess
from spade_core.regions import mask_regions, placed
from stream.durable import write_durably
from stream.evaluate.figures import Which
from stream.evaluate.maps import Frame
from stream.evaluate.scored import ScoredClip, ScoredScene
from stream.overlay import encode
from stream.sources import open_source

SHOWN = 4
"""Frames of each kind."""

APART = 3.0
"""Seconds between two frames shown of one clip: a second later the same thing is still there."""

HEAT = 0.75
"""Opacity of the heat map where it is hottest: what is under it stays recognisable."""

FOLDER = "pictures"


@dataclass(frozen=True, slots=True)
class Pick:
    """A frame to show."""

    kind: str  # "missed" | "false" | "found" | "highest"
    clip: ScoredClip
    position: int  # among the clip's scored frames

    @property
    def frame(self) -> Frame:
        """As the maps are asked for."""
        return self.clip.name, self.position


@dataclass(frozen=True, slots=True)
class Shown:
    """A frame with its pictures, relative to the report's folder; None = there is no such picture."""

    kind: str
    title: str
    caption: str
    frame: Path
    heat: Path
    mask: Path | None
    truth: Path | None
    normal: Path | None


def choose(scenes: Sequence[ScoredScene], which: Which, *, apart: float) -> list[Pick]:
    """The frames to show: anomalous ones with the lowest scores, normal ones with the highest, anomalous ones with the
    highest; where nothing is labelled, the highest. Frames of one clip are ``apart`` seconds from each other.
    """
    frames = [(c, i) for scene in scenes for c in scene.clips for i in range(len(c.indices))]
    rising = sorted(frames, key=lambda frame: _score(frame, which))
    anomalous = [f for f in rising if (labels := f[0].labels) is not None and labels[f[1]]]
    normal = [f for f in rising if (labels := f[0].labels) is not None and not labels[f[1]]]
    if not anomalous and not normal:
        return _spread("highest", reversed(rising), apart)
    found = _spread("found", reversed(anomalous), apart)
    return _spread("missed", anomalous, apart) + _spread("false", reversed(normal), apart) + found


def write_pictures(
    picks: Sequence[Pick],
    maps: Mapping[Frame, NDArray[np.float32]],
    *,
    out: Path,
    preprocess: Preprocess,
    galleries: Mapping[str, Gallery],
    thresholds: Mapping[str, tuple[float, float] | None],
    folder_fps: float,
) -> list[Shown]:
    """Writes the pictures of all picks under ``out``.

    Args:
        picks: frames to show.
        maps: pixel scores of each.
        out: folder of the report.
        preprocess: what frames became scoring images by.
        galleries: by scene; may lack scenes.
        thresholds: by scene: score that makes a region and score that belongs to one; None = no mask is drawn.
        folder_fps: rate of image folders.
    """
    wanted: dict[str, list[Pick]] = {}
    for pick in picks:
        wanted.setdefault(pick.clip.name, []).append(pick)
    natives = {}
    for name, of_clip in wanted.items():
        indices = {int(pick.clip.indices[pick.position]) for pick in of_clip}
        natives[name] = _natives(of_clip[0].clip.clip.frames, indices, folder_fps)
    hottest = max((float(scores.max()) for scores in maps.values()), default=0.0) or 1.0
    return [
        _write(
            number,
            pick,
            natives[pick.clip.name][int(pick.clip.indices[pick.position])],
            maps[pick.frame],
            preprocess,
            out=out,
            gallery=galleries.get(pick.clip.scene),
            threshold=thresholds.get(pick.clip.scene),
            hottest=hottest,
        )
        for number, pick in enumerate(picks, start=1)
        if pick.frame in maps and int(pick.clip.indices[pick.position]) in natives[pick.clip.name]
    ]


def heat_map(
    image: NDArray[np.uint8], scores: NDArray[np.float32], preprocess: Preprocess, *, hottest: float
) -> NDArray[np.uint8]:
    """The frame (H, W, 3) BGR with its scores (S, S) laid over it: the higher, the brighter and the less transparent.
    What a crop left out is cold.
    """
    x, y, width, height = preprocess.part(image.shape[1], image.shape[0])
    part = np.zeros(image.shape[:2], np.float32)
    scaled = cv2.resize(scores, (width, height), interpolation=cv2.INTER_LINEAR)
    part[y : y + height, x : x + width] = np.clip(scaled / hottest, 0.0, 1.0)
    colours = cv2.applyColorMap(np.round(part * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    opacity = (HEAT * np.sqrt(part))[..., None]
    # Half the frame's own light: the cold part must not outshine the hot one.
    return np.asarray(image * 0.5 * (1 - opacity) + colours * opacity, np.uint8)


def _write(
    number: int,
    pick: Pick,
    image: NDArray[np.uint8],
    scores: NDArray[np.float32],
    preprocess: Preprocess,
    *,
    out: Path,
    gallery: Gallery | None,
    threshold: tuple[float, float] | None,
    hottest: float,
) -> Shown:
    clip, index = pick.clip, int(pick.clip.indices[pick.position])
    stem = f"{FOLDER}/{pick.kind}-{number:02d}"
    size = (image.shape[1], image.shape[0])
    x, y, width, height = preprocess.part(*size)

    def keep(name: str, suffix: str, picture: NDArray[np.uint8]) -> Path:
        path = Path(f"{stem}-{name}{suffix}")
        write_durably(out / path, encode(suffix, picture))
        return path

    mask = normal = None
    if threshold is not None:
        cut, _ = mask_regions(scores, size=(width, height), threshold=threshold[0], grow_threshold=threshold[1])
        mask = keep("mask", ".png", placed(cut, (), at=(x, y), size=size)[0])
    nearest = clip.nearest[pick.position]
    if gallery is not None and nearest is not None:
        normal = Path(f"{stem}-normal.jpg")
        write_durably(out / normal, gallery.thumbnail(nearest))
    true = clip.clip.labels.mask(index) if clip.truth is not None and clip.clip.labels.has_masks else None
    peak, whole = clip.peaks[pick.position], clip.image_scores[pick.position]
    return Shown(
        kind=pick.kind,
        title=f"{clip.name}, frame {index}",
        caption=f"highest pixel score {peak:.4g}, image score {whole:.4g}",
        frame=keep("frame", ".jpg", image),
        heat=keep("heat", ".jpg", heat_map(image, scores, preprocess, hottest=hottest)),
        mask=mask,
        truth=None if true is None else keep("truth", ".png", np.asarray(true, np.uint8) * np.uint8(255)),
        normal=normal,
    )


def _natives(path: Path, indices: set[int], folder_fps: float) -> dict[int, NDArray[np.uint8]]:
    """Native frames of one clip, by index. A clip has to be read up to the last of them."""
    source = open_source(str(path.resolve()), folder_fps=folder_fps)
    found = {}
    try:
        for frame in source.frames():
            if frame.index in indices:
                found[frame.index] = frame.image
            if frame.index >= max(indices):
                break
    finally:
        source.close()
    return found


def _spread(kind: str, frames: Iterable[tuple[ScoredClip, int]], apart: float) -> list[Pick]:
    picks: list[Pick] = []
    for clip, position in frames:
        time = clip.times[position]
        if all(p.clip is not clip or abs(p.clip.times[p.position] - time) >= apart for p in picks):
            picks.append(Pick(kind, clip, position))
            if len(picks) == SHOWN:
                break
    return picks


def _score(frame: tuple[ScoredClip, int], which: Which) -> float:
    clip, position = frame
    return float((clip.peaks if which == "peaks" else clip.image_scores)[position])
