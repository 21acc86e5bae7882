"""Normal footage on its way into a gallery: sampled, in batches, as features. For ``enroll`` and ``gallery_add``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from spade_core.extractor import FeatureExtractor, Features
from spade_core.gallery import GalleryFrame
from spade_core.gallery_writer import GalleryWriter
from spade_core.motion import MotionMeter
from spade_core.preprocess import Preprocess, scoring_image
from stream.capture import RateSampler
from stream.overlay import encode
from stream.sources.base import SourceFrame

BATCH = 8
"""Frames per forward pass: enough to keep two cores or a small GPU busy."""

THUMBNAIL_WIDTH = 160  # pixels


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A sampled frame with the motion at it."""

    frame: SourceFrame
    motion: NDArray[np.float16] | None


def sampled(frames: Iterable[SourceFrame], fps: float | None, meter: MotionMeter) -> Iterator[Sample]:
    """Native frames at a rate (None = all), each with its motion. All of them go through the meter."""
    sampler = RateSampler(fps)
    for frame in frames:
        meter.see(frame.image, frame.media_time, frame.segment)
        if sampler.keep(frame.media_time):
            yield Sample(frame, meter.measure())


def batches(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    """The same in lists of up to ``BATCH``."""
    batch: list[Sample] = []
    for sample in samples:
        batch.append(sample)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def features_of(extractor: FeatureExtractor, samples: list[Sample]) -> Features:
    """Features of B samples."""
    return extractor.extract(np.stack([scoring_image(s.frame.image, extractor.preprocess) for s in samples]))


def put(writer: GalleryWriter, slot: int, sample: Sample, features: Features, row: int, *, source: str) -> None:
    """Puts a sample into a gallery.

    Args:
        slot: see :meth:`GalleryWriter.put`.
        features: of a batch.
        row: which of the batch it is.
        source: name of its source, for frames that belong to no clip.
    """
    frame = sample.frame
    writer.put(
        slot,
        pooled=features.pooled[row].float().cpu().numpy(),
        levels=[level[row].float().cpu().numpy() for level in features.levels],
        frame=GalleryFrame(frame.segment or source, frame.index, frame.media_time),
        thumbnail=_thumbnail(frame.image),
        motion=sample.motion,
    )


def thumbnail_over(
    jpeg: bytes, image: NDArray[np.uint8], preprocess: Preprocess, inside: NDArray[np.bool_] | None
) -> bytes:
    """A thumbnail of a frame of which only the scoring image is left.

    Args:
        jpeg: thumbnail of a frame that looks like it, for its form and for what the scoring image does not show.
        image: (S, S, 3) RGB scoring image.
        preprocess: that it was made with.
        inside: (S, S) the part of it that is wanted; None = all.
    """
    found = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR) if jpeg else None
    # Without one: of the form that the scoring image has.
    base = np.zeros((THUMBNAIL_WIDTH, THUMBNAIL_WIDTH, 3), np.uint8) if found is None else np.array(found, np.uint8)
    x, y, width, height = preprocess.part(base.shape[1], base.shape[0])
    part = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), (width, height), interpolation=cv2.INTER_AREA)
    where = np.ones((height, width), bool)
    if inside is not None:
        where = cv2.resize(inside.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA) > 0
    base[y : y + height, x : x + width][where] = part[where]
    return encode(".jpg", base)


def _thumbnail(image: NDArray[np.uint8]) -> bytes:
    height = max(1, round(image.shape[0] * THUMBNAIL_WIDTH / image.shape[1]))
    small = cv2.resize(image, (THUMBNAIL_WIDTH, height), interpolation=cv2.INTER_AREA)
    return encode(".jpg", np.asarray(small, np.uint8))
