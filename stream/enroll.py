"""Enrolment: watching a scene while it is normal, and making its gallery from that.

The footage is used in two contiguous parts. The first fills the gallery; the rest is held out of it, scored against it,
and sets the threshold. Frames come through the same sources, sampling and preprocessing as live.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from spade_core.calibration import MIN_HELD_OUT
from spade_core.errors import CalibrationError
from spade_core.extractor import FeatureExtractor, Features
from spade_core.gallery import Gallery, GalleryFrame
from spade_core.gallery_writer import GalleryWriter
from spade_core.methods import Parameters, calibrator
from spade_core.motion import MotionMeter
from spade_core.preprocess import scoring_image
from spade_core.sampling import FrameSampler, ReservoirSampler, UniformSampler
from stream.capture import RateSampler
from stream.errors import UsageError
from stream.overlay import encode
from stream.sources.base import Source, SourceFrame

BATCH = 8
"""Frames per forward pass: enough to keep two cores or a small GPU busy."""

MAX_HELD_OUT = 600
"""Held-out frames that are scored, evenly spaced: two minutes at 5 fps say as much about a tail as ten."""

HELD_OUT_GAP = 2.0
"""Seconds of continuous footage left out between the two parts: a walker who is in both would make the held-out part
look better known than new footage is. Never more than a quarter of the held-out part."""

THUMBNAIL_WIDTH = 160  # pixels


@dataclass(frozen=True, slots=True)
class EnrollSettings:
    """How a gallery is made."""

    capacity: int  # most gallery frames
    holdout: float  # part of the footage kept out of the gallery
    exceedance: float  # part of normal frames allowed above the threshold
    fps: float | None  # sampling rate; None: every frame
    seconds: float | None  # length of the footage, for sources without an end of their own


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an enrolment is."""

    stage: str  # "gallery" | "threshold" | "writing"
    frames: int  # sampled frames so far
    expected: int | None  # sampled frames in all, None = unknown


def enroll(
    source: Source,
    folder: Path,
    *,
    settings: EnrollSettings,
    extractor: FeatureExtractor,
    parameters: Parameters,
    note: dict[str, Any],
    on_progress: Callable[[Progress], None],
) -> Gallery:
    """Makes a gallery version from normal footage. Nothing is left behind where it fails.

    Raises:
        SourceError: the footage cannot be read to its end.
        CalibrationError: it is too short.
        UsageError: it has no end and ``settings.seconds`` is not given.
    """
    plan = _plan(source, settings)
    with GalleryWriter(
        folder,
        capacity=settings.capacity if plan.gallery_frames is None else min(settings.capacity, plan.gallery_frames),
        fingerprint=extractor.fingerprint(),
        pooled=extractor.backbone.pooled_channels,
        levels=extractor.level_shapes,
    ) as writer:
        parts = _Parts(source, settings.fps, plan)
        done = 0
        for done, batch in _counted(parts.gallery()):
            _fill(writer, batch, plan.sampler(settings.capacity), extractor, source.info.name)
            on_progress(Progress("gallery", done, plan.expected))
        if len(writer) < parameters.k or parts.gallery_count == 0:
            raise CalibrationError(
                f"{source.info.name}: {len(writer)} frame(s) for the gallery, K = {parameters.k} are needed"
            )
        thresholds = calibrator(
            writer, size=extractor.preprocess.side, parameters=parameters, device=extractor.backbone.device
        )
        thin = UniformSampler(plan.held_out_frames or MAX_HELD_OUT, MAX_HELD_OUT)
        for seen, batch in _counted(parts.held_out()):
            kept = [sample for sample in batch if thin.offer() is not None]
            for sample in kept:
                thresholds.add(_features(extractor, [sample]), motion=sample.motion, time=sample.frame.media_time)
            on_progress(Progress("threshold", done + seen, plan.expected))
        calibration = thresholds.finish(exceedance=settings.exceedance)
        on_progress(Progress("writing", done, plan.expected))
        return writer.publish(calibration, note={**note, "source": source.info.name, "footage_frames": parts.seen})


@dataclass(slots=True)
class _Plan:
    """Where the footage is cut in two."""

    cut_index: int | None  # frames before this one (counted from the first read) are for the gallery
    cut_time: float  # s; where no length in frames is known
    end_time: float | None  # s
    gap: float  # s left out after the cut
    expected: int | None  # sampled frames in all
    gallery_frames: int | None  # sampled frames before the cut
    held_out_frames: int | None  # sampled frames after it
    _sampler: FrameSampler | None = None

    def sampler(self, capacity: int) -> FrameSampler:
        """Uniform over a known length, else a reservoir."""
        if self._sampler is None:
            known = self.gallery_frames
            self._sampler = ReservoirSampler(capacity) if known is None else UniformSampler(known, capacity)
        return self._sampler


def _plan(source: Source, settings: EnrollSettings) -> _Plan:
    info, keep = source.info, 1 - settings.holdout
    if info.frame_count is None or info.live:
        if settings.seconds is None:
            raise UsageError(f"{info.name} has no end: say how long to watch it, with --seconds")
        gap = min(HELD_OUT_GAP, settings.seconds * settings.holdout / 4)
        expected = None if settings.fps is None else max(1, round(settings.seconds * settings.fps))
        return _Plan(None, settings.seconds * keep, settings.seconds, gap, expected, None, None)
    count, rate = info.frame_count, info.fps or settings.fps or 1.0
    cut = round(count * keep)
    whole_clips = [start for start in info.segment_starts if start >= cut and start < count]
    if whole_clips and count - whole_clips[0] >= MIN_HELD_OUT:
        cut, gap = whole_clips[0], 0.0  # another clip is another time
    else:
        gap = min(HELD_OUT_GAP, (count - cut) / rate / 4)
    share = 1.0 if settings.fps is None else min(1.0, settings.fps / rate)
    gallery, held_out = max(1, round(cut * share)), max(1, round((count - cut) * share))
    return _Plan(cut, 0.0, None, gap, gallery + held_out, gallery, held_out)


@dataclass(frozen=True, slots=True, eq=False)
class _Sample:
    """A sampled frame with the motion at it."""

    frame: SourceFrame
    motion: NDArray[np.float16] | None


class _Parts:
    """The sampled footage in its two parts, read once, in batches."""

    def __init__(self, source: Source, fps: float | None, plan: _Plan) -> None:
        self._frames = self._sampled(source, fps)
        self._plan = plan
        self._pending: _Sample | None = None
        self.seen = 0  # native frames read
        self.gallery_count = 0
        self._position = -1

    def gallery(self) -> Iterator[list[_Sample]]:
        """Batches before the cut."""
        yield from _batches(self._before_cut())

    def held_out(self) -> Iterator[list[_Sample]]:
        """Batches after the cut and the gap."""
        yield from _batches(self._after_gap())

    def _before_cut(self) -> Iterator[_Sample]:
        plan = self._plan
        for sample in self._frames:
            time = sample.frame.media_time
            if self._position >= plan.cut_index if plan.cut_index is not None else time >= plan.cut_time:
                self._pending = sample
                return
            self.gallery_count += 1
            yield sample

    def _after_gap(self) -> Iterator[_Sample]:
        if self._pending is None:
            return
        start = self._pending.frame.media_time + self._plan.gap
        if self._plan.gap == 0:
            yield self._pending
        for sample in self._frames:
            if sample.frame.media_time >= start:
                yield sample

    def _sampled(self, source: Source, fps: float | None) -> Iterator[_Sample]:
        sampler, meter = RateSampler(fps), MotionMeter()
        begin: float | None = None
        for position, frame in enumerate(source.frames()):
            begin = frame.media_time if begin is None else begin
            if self._plan.end_time is not None and frame.media_time - begin >= self._plan.end_time:
                return
            self.seen, self._position = position + 1, position
            meter.see(frame.image, frame.media_time, frame.segment)
            if sampler.keep(frame.media_time):
                yield _Sample(frame, meter.measure())


def _batches(samples: Iterator[_Sample]) -> Iterator[list[_Sample]]:
    batch: list[_Sample] = []
    for sample in samples:
        batch.append(sample)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _counted(batches: Iterator[list[_Sample]]) -> Iterator[tuple[int, list[_Sample]]]:
    count = 0
    for batch in batches:
        count += len(batch)
        yield count, batch


def _fill(
    writer: GalleryWriter, batch: list[_Sample], sampler: FrameSampler, extractor: FeatureExtractor, name: str
) -> None:
    chosen = [(slot, sample) for sample in batch if (slot := sampler.offer()) is not None]
    if not chosen:
        return
    features = _features(extractor, [sample for _, sample in chosen])
    pooled = features.pooled.float().cpu().numpy()
    levels = [level.float().cpu().numpy() for level in features.levels]
    for row, (slot, sample) in enumerate(chosen):
        frame = sample.frame
        writer.put(
            slot,
            pooled=pooled[row],
            levels=[level[row] for level in levels],
            frame=GalleryFrame(frame.segment or name, frame.index, frame.media_time),
            thumbnail=_thumbnail(frame.image),
            motion=sample.motion,
        )


def _features(extractor: FeatureExtractor, samples: list[_Sample]) -> Features:
    return extractor.extract(np.stack([scoring_image(s.frame.image, extractor.preprocess) for s in samples]))


def _thumbnail(image: NDArray[np.uint8]) -> bytes:
    height = max(1, round(image.shape[0] * THUMBNAIL_WIDTH / image.shape[1]))
    small = cv2.resize(image, (THUMBNAIL_WIDTH, height), interpolation=cv2.INTER_AREA)
    return encode(".jpg", np.asarray(small, np.uint8))
