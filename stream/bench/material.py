"""What the benchmarks within one process score: a short rendered recording, its frames as the worker gets them, and a
gallery of the same place, enrolled from other footage of it and filled up to a given size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spade_core.calibration import Calibration
from spade_core.extractor import FeatureExtractor
from spade_core.gallery import Gallery, GalleryFrame
from spade_core.gallery_writer import GalleryWriter
from spade_core.methods import Parameters, calibrator, gallery_arrays, motion_meter
from spade_core.preprocess import scoring_image
from spade_core.sampling import evenly_spaced
from stream.bench.clips import render_clip
from stream.campus import CampusScene, EventKind, Script, ScriptedEvent, normal_script
from stream.config import Config, build_config
from stream.engine import ToScore, alarm_rule_of, extractor_of, parameters_of, use_threads
from stream.errors import StreamError
from stream.footage import Sample, batches, features_of, put, sampled
from stream.progress import progress_bar
from stream.sources import open_source

PLACE = 7
"""Seed of the place, the demo's."""

PICTURE = (640, 360)  # pixels
NATIVE_FPS, SCORED_FPS = 10.0, 5.0

NORMAL_SECONDS = 30.0
"""Footage that is enrolled; the second half is held out and sets the threshold."""

TEST_SECONDS = 12.0
"""Footage that is scored: walkers, and for a while a cyclist, so that there is an alert to draw."""

_CYCLIST = ScriptedEvent(EventKind.CYCLIST, 5.0, 9.5)

NOISE = 0.1
"""Frames that fill the gallery up differ from those that were enrolled by noise: this part of what features vary, those
of a level from place to place, pooled ones from frame to frame."""

_SEED = 1  # of that noise


@dataclass(frozen=True, slots=True)
class ScoringOptions:
    """What scores, against how much."""

    backbone: str
    weights: Path | None  # None: the published ones
    size: int  # S, side of the scoring image in pixels
    device: str
    runtime: str
    threads: int | None  # None: as many as torch takes by itself
    gallery_frames: int


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What there is to score with, and to be scored."""

    config: Config
    extractor: FeatureExtractor
    parameters: Parameters  # of campus
    gallery: Gallery
    clip: Path  # the test footage, H.264
    samples: tuple[Sample, ...]  # of it, with known motion, at ``SCORED_FPS``
    enrolled: int  # the first so many frames of the gallery are real, the others fill it up

    @property
    def images(self) -> list[NDArray[np.uint8]]:
        """The scoring images of the samples, (S, S, 3) each."""
        return [scoring_image(sample.frame.image, self.extractor.preprocess) for sample in self.samples]


class Playing:
    """The samples over and over, as one endless stream: its times go on. One frame at a time for each of some cameras.

    Args:
        material: whose samples.
        scene: name of the scene.
        cameras: how many; each begins elsewhere in the footage.
    """

    def __init__(self, material: Material, *, scene: str, cameras: int = 1) -> None:
        self._images, self._samples = material.images, material.samples
        self._scene, self._cameras, self._turn, self._time = scene, cameras, -1, 0.0

    def next(self, seconds: float = 1 / SCORED_FPS) -> list[ToScore]:
        """A frame of each camera, so much later than the last."""
        self._turn, self._time = self._turn + 1, self._time + seconds
        return [self._frame(camera) for camera in range(self._cameras)]

    def _frame(self, camera: int) -> ToScore:
        index = (self._turn + 7 * camera) % len(self._samples)
        motion = self._samples[index].motion
        return ToScore(f"cam-{camera}", self._scene, self._time, "", self._images[index], motion)


def make_material(
    folder: Path, options: ScoringOptions, *, stopping: Callable[[], bool], normal_seconds: float = NORMAL_SECONDS
) -> Material:
    """Renders, enrolls and fills up.

    Args:
        folder: for footage and gallery; must exist.
        options: see there.
        stopping: polled.
        normal_seconds: length of the footage that is enrolled.

    Raises:
        ConfigError: an option is out of bounds.
        SpadeError: there is no such backbone, or it cannot run here.
        StreamError: stopped.
    """
    config = build_config(_settings(options), where="bench", base=folder.resolve(), environment={})
    use_threads(options.threads)
    extractor, parameters = extractor_of(config), parameters_of(config)
    clip, normal = folder / "test.mp4", folder / "normal.mp4"
    _render(normal, normal_script(normal_seconds, 0), stopping)
    _render(clip, Script(TEST_SECONDS, 1, (_CYCLIST,)), stopping)
    footage = list(_samples(normal, extractor, parameters))
    first, held_out = footage[: len(footage) // 2], footage[len(footage) // 2 :]
    kept = [first[index] for index in evenly_spaced(len(first), min(options.gallery_frames, len(first)))]
    gallery = _enroll(
        folder / "gallery", kept, held_out, config, extractor, capacity=options.gallery_frames, stopping=stopping
    )
    samples = tuple(sample for sample in _samples(clip, extractor, parameters) if sample.motion is not None)
    return Material(config, extractor, parameters, gallery, clip, samples, enrolled=len(kept))


def _settings(options: ScoringOptions) -> dict[str, Any]:
    backbone: dict[str, Any] = {"name": options.backbone, "device": options.device, "runtime": options.runtime}
    if options.weights is not None:
        backbone["weights"] = str(options.weights.resolve())
    return {
        "cameras": [{"id": "bench", "source": "campus:", "fps": SCORED_FPS}],
        "backbone": backbone,
        "method": {"size": options.size},
        # Nobody binds them. The usual ones depend on the folder, whose name may be too long for a socket.
        "link": {"endpoint": "tcp://127.0.0.1:9"},
        "feed": {"endpoint": "tcp://127.0.0.1:9"},
    }


def described(options: ScoringOptions) -> Mapping[str, Any]:
    """What a result says of them."""
    return {
        "backbone": options.backbone,
        "weights": "own" if options.weights else "published",
        "size": options.size,
        "runtime": options.runtime,
        "threads": options.threads,
        "gallery_frames": options.gallery_frames,
        "picture": "x".join(map(str, PICTURE)),
    }


def _render(path: Path, script: Script, stopping: Callable[[], bool]) -> None:
    scene = CampusScene(seed=PLACE, width=PICTURE[0], height=PICTURE[1], fps=NATIVE_FPS, script=script)
    render_clip(scene, path, f"render {path.stem} footage", stopping=stopping)


def _samples(path: Path, extractor: FeatureExtractor, parameters: Parameters) -> Iterator[Sample]:
    source = open_source(str(path))
    try:
        yield from sampled(source.frames(), SCORED_FPS, motion_meter(parameters, extractor.preprocess))
    finally:
        source.close()


def _enroll(
    folder: Path,
    kept: Sequence[Sample],
    held_out: Sequence[Sample],
    config: Config,
    extractor: FeatureExtractor,
    *,
    capacity: int,
    stopping: Callable[[], bool],
) -> Gallery:
    """As ``stream.enroll`` does it, but for the frames that fill the gallery up."""
    parameters = parameters_of(config)
    with (
        GalleryWriter(
            folder,
            capacity=capacity,
            fingerprint=extractor.fingerprint(),
            pooled=extractor.backbone.pooled_channels,
            levels=extractor.level_shapes,
        ) as writer,
        progress_bar("enroll", unit="frame", total=capacity + len(held_out)) as bar,
    ):

        def on_frames(count: int) -> None:
            _check(stopping)
            bar.update(count)

        for batch in batches(kept):
            features = features_of(extractor, batch)
            for row, sample in enumerate(batch):
                put(writer, len(writer), sample, features, row, source="normal.mp4")
            on_frames(len(batch))
        _fill_up(writer, on_frames)
        writer.keep(gallery_arrays(writer, parameters=parameters, device=extractor.backbone.device))
        calibration = _calibrated(writer, held_out, config, extractor, on_frames)
        return writer.publish(calibration, note={"source": "bench"})


def _calibrated(
    writer: GalleryWriter,
    held_out: Sequence[Sample],
    config: Config,
    extractor: FeatureExtractor,
    on_frames: Callable[[int], None],
) -> Calibration:
    thresholds = calibrator(
        writer,
        size=extractor.preprocess.side,
        parameters=parameters_of(config),
        runtime=extractor.backbone.runtime,
    )
    for sample in held_out:
        features = features_of(extractor, [sample])
        thresholds.add(features, motion=sample.motion, time=sample.frame.media_time, segment="")
        on_frames(1)
    return thresholds.finish(false_alarms_per_day=config.gallery.false_alarms_per_day, rule=alarm_rule_of(config))


def _fill_up(writer: GalleryWriter, on_frames: Callable[[int], None]) -> None:
    """Fills the slots that are left with the enrolled frames, each time with other noise."""
    rng, enrolled = np.random.default_rng(_SEED), len(writer)
    spread = np.array(writer.pooled).std(axis=0)

    def noisy(values: NDArray[np.floating], by: NDArray[np.floating] | np.floating) -> NDArray[np.float32]:
        noise = rng.standard_normal(values.shape, np.float32)
        return np.asarray(values.astype(np.float32) + NOISE * by * noise, np.float32)

    for slot in range(enrolled, writer.capacity):
        index = slot % enrolled
        motion = np.array(writer.motion[index])
        writer.put(
            slot,
            pooled=noisy(writer.pooled[index], spread),
            levels=[noisy(level, level.astype(np.float32).std()) for level in writer.pyramid(index)],
            frame=GalleryFrame("filled up", slot, slot / SCORED_FPS),
            thumbnail=b"",
            motion=motion if np.isfinite(motion).all() else None,
        )
        on_frames(1)


def _check(stopping: Callable[[], bool]) -> None:
    if stopping():
        raise StreamError("stopped")
