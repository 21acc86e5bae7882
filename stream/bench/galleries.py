"""``bench gallery``: what scoring costs as a scene's gallery grows, in time and in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from spade_core.campus import CampusFrameScorer, CampusScorer
from spade_core.extractor import Features
from spade_core.gallery import Gallery
from spade_core.methods import FrameScorer, frame_scorer
from spade_core.motion import GRID
from spade_core.scorer import FrameScore, SpadeParameters
from stream.bench.beside import moment, other_cores
from stream.bench.folder import work_folder
from stream.bench.material import Material, Playing, ScoringOptions, described, make_material
from stream.bench.pieces import campus_parameters
from stream.bench.process_stats import Usage, check_supported, usage_of
from stream.bench.result import BenchResult, Row, machine, timing
from stream.bench.stages import synchronizer
from stream.bench.timed import Task, measure
from stream.engine import ToScore
from stream.errors import StreamError

BLOCK = 500
"""Gallery frames that are really there; a larger gallery repeats their pyramids. 50,000 take 17 GB of the default
backbone's."""

NORMAL_SECONDS = 60.0
"""Footage that is rendered; the first half gives gallery frames."""

BASE = 5000
"""Frames that other galleries are compared with, where they are measured too."""

WANDERING = 0.5
"""Pooled features of frames that are not there wander from those of frames that are: by this part of what real ones
vary along each direction in which they vary,"""

REST = 0.05
"""and by this part of that in all."""

WANDERING_FRAMES = 50
"""Frames over which they wander: ten seconds at 5 fps."""

RETRIEVAL, CAMPUS = "retrieval (eq. 2)", "campus scorer"
EXPLAINED, SPADE = "campus scorer, every frame explained", "faithful SPADE, K = 1"
OPENING = "opening"
KINDS = (RETRIEVAL, CAMPUS, EXPLAINED, SPADE)

_OPENING_NOTE = "memory on top of the galleries above; own_mib without mapped files"
_SEED = 1
_ROWS = 1024  # rows made at once


@dataclass(frozen=True, slots=True)
class GalleryOptions:
    """What ``bench gallery`` was asked for."""

    scoring: ScoringOptions  # its gallery frames do not count
    frames: tuple[int, ...]  # sizes of galleries, rising
    seconds: float  # for all timings together


class RepeatedFrames:
    """Normal frames (see :class:`spade_core.gallery.NormalFrames`), as many as there are pooled features.

    Args:
        gallery: its pyramids are repeated, and its arrays serve: a bank holds no more of a place however many frames it
            was chosen from.
        pooled: (N, D) float32.
    """

    def __init__(self, gallery: Gallery, pooled: NDArray[np.float32]) -> None:
        self._gallery, self.pooled = gallery, pooled
        self.motion = np.broadcast_to(gallery.motion[0], (len(pooled), GRID, GRID))

    def pyramid(self, index: int) -> tuple[NDArray[np.float16], ...]:
        """See there."""
        return self._gallery.pyramid(index % len(self._gallery))

    def array(self, name: str) -> NDArray[Any] | None:
        """See there."""
        return self._gallery.array(name)


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A gallery of some size, ready to score."""

    frames: int
    campus: CampusScorer
    scorer: FrameScorer  # of campus
    spade: FrameScorer
    row: Row  # what opening it took


def run_gallery(options: GalleryOptions, *, stopping: Callable[[], bool]) -> BenchResult:
    """Opens galleries of all sizes, and times each way to score against each of them, all in turn.

    Raises:
        UsageError: this system does not say how much memory a process has.
        SpadeError, StreamError: see ``make_material``.
    """
    check_supported()
    with work_folder(None) as folder:
        scoring = replace(options.scoring, gallery_frames=min(BLOCK, max(options.frames)))
        material = make_material(folder, scoring, stopping=stopping, normal_seconds=NORMAL_SECONDS)
        galleries = [_opened(material, frames, folder, stopping) for frames in options.frames]
        tasks = [task for gallery in galleries for task in _tasks(material, gallery)]
        device = material.extractor.backbone.device
        began = moment()
        found = measure(tasks, seconds=options.seconds, stopping=stopping, sync=synchronizer(device))
        others = other_cores(began, moment())
        ran = {"ran_in": f"{material.extractor.backbone.runtime.name}, {torch.get_num_threads()} threads"}
    rows = [*rows_of(options.frames, found), *(gallery.row for gallery in galleries)]
    sizes = {"gallery_frames": list(options.frames), "real_frames": material.enrolled}
    given = {**described(scoring), **ran, **sizes, "seconds": options.seconds}
    return BenchResult("gallery", given, tuple(rows), {"others_cores": others}, machine(str(device)))


def rows_of(frames: Sequence[int], found: dict[str, list[float]]) -> list[Row]:
    """A row of each way and size, beside the same way at ``BASE`` frames (or the fewest)."""
    base = BASE if BASE in frames else min(frames)
    rows = []
    for kind in KINDS:
        beside = timing(named(kind, base), found[named(kind, base)])
        rows += [
            timing(name, found[name], base=None if name == beside.name else beside)
            for name in (named(kind, count) for count in frames)
        ]
    return rows


def named(kind: str, frames: int) -> str:
    """Name of a row."""
    return f"{kind}, {frames:,} frames"


def write_pooled(path: Path, real: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Pooled features of ``count`` frames of one camera, in a file: the real ones, then others that are like them.

    Frames of one camera differ along few directions, and change gradually: the others are real ones moved along those
    directions, by a walk that is drawn to the middle (autoregressive of the first order).

    Args:
        path: written.
        real: (M, D) float32.
        count: N.

    Returns:
        (N, D) float32, memory-mapped.
    """
    rng, kept = np.random.default_rng(_SEED), min(count, len(real))
    centred = real - real.mean(axis=0)
    _, lengths, directions = np.linalg.svd(centred, full_matrices=False)
    spread = (lengths / np.sqrt(len(real))).astype(np.float32)
    rest = REST * float(np.sqrt(np.square(spread).mean()))
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(count, real.shape[1]))
    array[:kept] = real[:kept]
    place, memory = rng.standard_normal(len(spread), np.float32), np.float32(np.exp(-1 / WANDERING_FRAMES))
    for start in range(kept, count, _ROWS):
        rows = np.arange(start, min(start + _ROWS, count))
        walk = np.sqrt(1 - memory**2) * rng.standard_normal((len(rows), len(spread)), np.float32)
        for step in walk:
            step += memory * place
            place = step
        noise = rng.standard_normal((len(rows), real.shape[1]), np.float32)
        array[rows] = real[rows % len(real)] + (WANDERING * walk * spread) @ directions + np.float32(rest) * noise
    array.flush()
    read: NDArray[np.float32] = np.load(path, mmap_mode="r")
    return read


def _opened(material: Material, frames: int, folder: Path, stopping: Callable[[], bool]) -> Opened:
    if stopping():
        raise StreamError("stopped")
    gallery, extractor = material.gallery, material.extractor
    real = np.array(gallery.pooled[: material.enrolled])
    normal = RepeatedFrames(gallery, write_pooled(folder / f"pooled-{frames}.npy", real, frames))
    size, runtime = extractor.preprocess.side, extractor.backbone.runtime
    before, began = _used(), time.perf_counter()
    campus = CampusScorer(normal, size=size, parameters=campus_parameters(material), runtime=runtime)
    took, after = time.perf_counter() - began, _used()
    figures = {
        "open_ms": took * 1e3,
        "rss_mib": after.rss_mib - before.rss_mib,
        "own_mib": after.own_mib - before.own_mib,
    }
    row = Row(named(OPENING, frames), figures, note=_OPENING_NOTE)
    spade = frame_scorer(normal, gallery.calibration, size=size, parameters=SpadeParameters(k=1), runtime=runtime)
    return Opened(frames, campus, CampusFrameScorer(campus, gallery.calibration), spade, row)


def _tasks(material: Material, gallery: Opened) -> list[Task]:
    extractor, scorer, spade = material.extractor, gallery.scorer, gallery.spade
    live, explained = (_Camera(material, scorer) for _ in range(2))
    queries, images = cycle(_with_pooled(material)), cycle(material.images)
    nothing_kept = spade.new_memory()
    return [
        Task(named(RETRIEVAL, gallery.frames), gallery.campus.explanation, lambda: next(queries)),
        Task(named(CAMPUS, gallery.frames), live.score, live.next),
        Task(named(EXPLAINED, gallery.frames), lambda frame: explained.score(frame).explanation(), explained.next),
        Task(
            named(SPADE, gallery.frames),
            lambda image: spade.score_frame(extractor.extract(image[None]), motion=None, time=0.0, memory=nothing_kept),
            lambda: next(images),
        ),
    ]


class _Camera:
    """A camera's frames, scored one after another."""

    def __init__(self, material: Material, scorer: FrameScorer) -> None:
        self._extractor, self._scorer, self._memory = material.extractor, scorer, scorer.new_memory()
        self._playing = Playing(material, scene="bench")

    def next(self) -> ToScore:
        """The next one."""
        return self._playing.next()[0]

    def score(self, frame: ToScore) -> FrameScore:
        """As the engine does it."""
        features = self._extractor.extract(frame.image[None])
        return self._scorer.score_frame(features, motion=frame.motion, time=frame.time, memory=self._memory)


def _with_pooled(material: Material) -> list[Features]:
    """Features of the samples, whose pooled ones are made."""
    found = [material.extractor.extract(image[None]) for image in material.images]
    for features in found:
        _ = features.pooled
    return found


def _used() -> Usage:
    return usage_of(Path("/proc/self"))
