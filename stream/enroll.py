"""Enrolment: watching a scene while it is normal, and making its gallery from that.

The footage is used in two contiguous parts. The first fills the gallery; the rest is held out of it, scored against it,
and sets the threshold. Frames come through the same sources, sampling and preprocessing as live.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spade_core.alarms import AlarmRule
from spade_core.calibration import MIN_HELD_OUT
from spade_core.coverage import COVERED, Coverage
from spade_core.errors import CalibrationError
from spade_core.extractor import FeatureExtractor
from spade_core.gallery import Gallery
from spade_core.gallery_writer import GalleryWriter
from spade_core.methods import Parameters, calibrator, gallery_arrays, motion_meter
from spade_core.motion import MotionMeter
from spade_core.sampling import BlockSampler, FrameSampler, ReservoirSampler, UniformSampler
from stream.errors import UsageError
from stream.footage import Sample, batches, features_of, put, sampled
from stream.sources.base import Source, SourceFrame

MAX_HELD_OUT = 1500
"""Held-out frames that are scored: five minutes at 5 fps, taken in blocks from all over the held-out part."""

BLOCK = 30.0
"""Seconds of such a block: an alert is about what lasts, and frames far apart would not show that."""

HELD_OUT_GAP = 2.0
"""Seconds of continuous footage left out between the two parts: a walker who is in both would make the held-out part
look better known than new footage is. Never more than a quarter of the held-out part, nor frames that a threshold
needs."""


@dataclass(frozen=True, slots=True)
class EnrollSettings:
    """How a gallery is made."""

    capacity: int  # most gallery frames
    holdout: float  # part of the footage kept out of the gallery
    false_alarms_per_day: float  # per camera; the threshold is set for that
    rule: AlarmRule  # of the alert policy that the scores will go to
    fps: float | None  # sampling rate; None: every frame
    seconds: float | None  # length of the footage, for sources without an end of their own
    until_covered: bool = False  # of those: watch no longer than new footage still adds something


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an enrolment is."""

    stage: str  # "gallery" | "arranging" | "threshold" | "writing"
    frames: int  # sampled frames so far
    expected: int | None  # sampled frames in all, None = unknown
    coverage: float | None = None  # 0..1, see ``spade_core.coverage``; None = too early to say

    @property
    def in_words(self) -> str:
        """For a progress bar."""
        if self.coverage is None:
            return self.stage
        news = "new footage adds little" if self.coverage >= COVERED else "still learning"
        return f"{self.stage}, coverage {self.coverage:.0%}, {news}"

    @property
    def coverage_json(self) -> dict[str, Any] | None:
        """For a program that shows it; None = too early to say."""
        return None if self.coverage is None else {"value": self.coverage, "covered": self.coverage >= COVERED}


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
        UsageError: it has no end and ``settings.seconds`` is not given; or it has one, and is to be watched until it is
            covered.
        GalleryError: the folder cannot be written, or has not enough room.
    """
    plan, coverage = _plan(source, settings), Coverage()
    with GalleryWriter(
        folder,
        capacity=settings.capacity if plan.is_endless else min(settings.capacity, plan.gallery_frames or 1),
        expected=plan.gallery_frames,
        fingerprint=extractor.fingerprint(),
        pooled=extractor.backbone.pooled_channels,
        levels=extractor.level_shapes,
    ) as writer:
        parts = _Parts(source, settings.fps, plan, motion_meter(parameters, extractor.preprocess))
        done = 0
        for done, batch in _counted(parts.gallery()):
            _fill(writer, batch, plan, extractor, coverage, source.info.name)
            if settings.until_covered and coverage.is_lasting:
                plan.cut_now(parts.watched, settings)
            on_progress(Progress("gallery", done, plan.expected, coverage.value))
        if len(writer) < parameters.k or parts.gallery_count == 0:
            raise CalibrationError(
                f"{source.info.name}: {len(writer)} frame(s) for the gallery, K = {parameters.k} are needed"
            )
        on_progress(Progress("arranging", done, plan.expected))
        writer.keep(gallery_arrays(writer, parameters=parameters, device=extractor.backbone.device))
        thresholds = calibrator(
            writer, size=extractor.preprocess.side, parameters=parameters, runtime=extractor.backbone.runtime
        )
        thin = _blocks(plan, settings.fps or source.info.fps)
        for seen, batch in _counted(parts.held_out()):
            for sample in batch:
                if (block := thin.offer()) is not None:
                    thresholds.add(
                        features_of(extractor, [sample]),
                        motion=sample.motion,
                        time=sample.frame.media_time,
                        segment=f"{block}/{sample.frame.segment}",
                    )
            on_progress(Progress("threshold", done + seen, plan.expected))
        calibration = thresholds.finish(false_alarms_per_day=settings.false_alarms_per_day, rule=settings.rule)
        on_progress(Progress("writing", done, plan.expected))
        return writer.publish(
            calibration,
            note={
                **note,
                "source": source.info.name,
                "footage_frames": parts.seen,
                "capacity": settings.capacity,
                **_noted(coverage),
            },
        )


@dataclass(slots=True)
class _Plan:
    """Where the footage is cut in two."""

    cut_index: int | None  # frames before this one (counted from the first read) are for the gallery
    cut_time: float  # s since the first frame; where no length in frames is known
    end_time: float | None  # s since the first frame
    gap: float  # s left out after the cut
    expected: int | None  # sampled frames in all
    gallery_frames: int | None  # sampled frames before the cut
    held_out_frames: int | None  # sampled frames after it
    sampler: FrameSampler  # uniform over a known length, else a reservoir

    @property
    def is_endless(self) -> bool:
        """The source has no end of its own."""
        return self.cut_index is None

    def offer(self) -> int | None:
        """Slot of the next frame before the cut."""
        return self.sampler.offer()

    def cut_now(self, seconds: float, settings: EnrollSettings) -> None:
        """Ends the gallery's part after that many seconds; what is held out keeps its share."""
        shorter = _endless_plan(seconds / (1 - settings.holdout), settings)
        self.cut_time, self.end_time, self.gap = shorter.cut_time, shorter.end_time, shorter.gap
        self.expected, self.held_out_frames = shorter.expected, shorter.held_out_frames


def _endless_plan(seconds: float, settings: EnrollSettings) -> _Plan:
    fps, cut = settings.fps, seconds * (1 - settings.holdout)
    gap = min(HELD_OUT_GAP, seconds * settings.holdout / 4)
    parts = (seconds, cut, seconds - cut - gap)
    expected, gallery, held_out = (None if fps is None else max(1, round(part * fps)) for part in parts)
    return _Plan(None, cut, seconds, gap, expected, gallery, held_out, ReservoirSampler(settings.capacity))


def _plan(source: Source, settings: EnrollSettings) -> _Plan:
    info, keep = source.info, 1 - settings.holdout
    if info.frame_count is None or info.live:
        if settings.seconds is None:
            raise UsageError(f"{info.name} has no end: say how long to watch it, with --seconds or --minutes")
        return _endless_plan(settings.seconds, settings)
    if settings.until_covered:
        raise UsageError(f"{info.name} has an end: it is read to that, and --until-covered is for cameras")
    count, rate = info.frame_count, info.fps or settings.fps or 1.0
    share = 1.0 if settings.fps is None else min(1.0, settings.fps / rate)
    cut = round(count * keep)
    whole_clips = [start for start in info.segment_starts if start >= cut and start < count]
    if whole_clips and count - whole_clips[0] >= MIN_HELD_OUT:
        cut, gap = whole_clips[0], 0.0  # another clip is another time
    else:
        spare = (count - cut - 1 - MIN_HELD_OUT / share) / rate  # s; short footage is cut closer before it is refused
        gap = max(0.0, min(HELD_OUT_GAP, (count - cut) / rate / 4, spare))
    gallery, held_out = max(1, round(cut * share)), max(1, round((count - cut) * share))
    sampler = UniformSampler(gallery, settings.capacity)
    return _Plan(cut, 0.0, None, gap, gallery + held_out, gallery, held_out, sampler)


def _blocks(plan: _Plan, fps: float | None) -> BlockSampler:
    """Which of the held-out frames are scored."""
    length = plan.held_out_frames or MAX_HELD_OUT  # of unknown footage the first ones
    return BlockSampler(length, MAX_HELD_OUT, max(1, math.ceil(BLOCK * (fps or 1.0))))


class _Parts:
    """The sampled footage in its two parts, read once, in batches."""

    def __init__(self, source: Source, fps: float | None, plan: _Plan, meter: MotionMeter) -> None:
        self._plan = plan
        self._frames = sampled(self._native(source), fps, meter)
        self._pending: Sample | None = None
        self.seen = 0  # native frames read
        self.gallery_count = 0
        self.watched = 0.0  # s from the first of them to the last

    def gallery(self) -> Iterator[list[Sample]]:
        """Batches before the cut."""
        yield from batches(self._before_cut())

    def held_out(self) -> Iterator[list[Sample]]:
        """Batches after the cut and the gap."""
        yield from batches(self._after_gap())

    def _before_cut(self) -> Iterator[Sample]:
        plan = self._plan
        for sample in self._frames:
            if self.seen > plan.cut_index if plan.cut_index is not None else self.watched >= plan.cut_time:
                self._pending = sample
                return
            self.gallery_count += 1
            yield sample

    def _after_gap(self) -> Iterator[Sample]:
        if self._pending is None:
            return
        start = self._pending.frame.media_time + self._plan.gap
        if self._plan.gap == 0:
            yield self._pending
        for sample in self._frames:
            if sample.frame.media_time >= start:
                yield sample

    def _native(self, source: Source) -> Iterator[SourceFrame]:
        begin: float | None = None
        for frame in source.frames():
            begin = frame.media_time if begin is None else begin
            self.watched = frame.media_time - begin
            if self._plan.end_time is not None and self.watched >= self._plan.end_time:
                return
            self.seen += 1
            yield frame


def _counted(batches: Iterator[list[Sample]]) -> Iterator[tuple[int, list[Sample]]]:
    count = 0
    for batch in batches:
        count += len(batch)
        yield count, batch


def _fill(
    writer: GalleryWriter, batch: list[Sample], plan: _Plan, extractor: FeatureExtractor, coverage: Coverage, name: str
) -> None:
    slots = [plan.offer() for _ in batch]
    # What is watched live is looked at in full, since how much of it is new decides whether to go on.
    used = [(slot, sample) for slot, sample in zip(slots, batch, strict=True) if slot is not None or plan.is_endless]
    if not used:
        return
    features = features_of(extractor, [sample for _, sample in used])
    pooled = features.pooled.float().cpu().numpy()
    for row, (slot, sample) in enumerate(used):
        coverage.see(pooled[row], sample.frame.media_time)
        if slot is not None:
            put(writer, slot, sample, features, row, source=name)


def coverage_in_words(note: Mapping[str, Any]) -> list[str]:
    """What to tell people of a gallery's coverage, by the note in its manifest; nothing where that is not known."""
    found = note.get("coverage")
    if found is None:
        return []
    share = f"coverage {found['value']:.0%}"
    if found["value"] >= COVERED:
        return [f"ready: {share}, new footage adds little"]
    latest = f"the last {found['window_seconds']:.0f} s"
    return [f"watch longer: {share}, {latest} still brought {found['new_frames']} new frames"]


def _noted(coverage: Coverage) -> dict[str, Any]:
    """What the manifest says of coverage; nothing where the footage was too short to say."""
    if coverage.value is None:
        return {}
    found = {
        "value": round(coverage.value, 3),
        "new_frames": coverage.new_frames,
        "window_seconds": round(coverage.window_seconds, 1),
        "curve": [list(point) for point in coverage.curve],
    }
    return {"coverage": found}
