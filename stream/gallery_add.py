"""``gallery add``: frames that an operator calls normal, added to a gallery as a new version of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from spade_core.errors import GalleryError, GalleryMismatch
from spade_core.extractor import FeatureExtractor, fingerprint_mismatch
from spade_core.gallery import Gallery
from spade_core.gallery_layout import current_version
from spade_core.gallery_writer import GalleryWriter
from spade_core.methods import gallery_arrays, gallery_parameters, motion_meter
from spade_core.motion import MotionMeter
from stream.enroll import Progress
from stream.errors import SourceNotFound, UsageError
from stream.footage import batches, features_of, put, sampled
from stream.sources.base import Source

DEFAULT_CAPACITY = 5000
"""Most frames of a gallery that does not say what it was made for."""


@dataclass(frozen=True, slots=True)
class AddSettings:
    """What is added."""

    fps: float | None  # sampling rate; None: every frame
    capacity: int | None  # most frames of the new version; None: what the gallery was made for


def add_frames(
    gallery: Gallery,
    sources: Iterable[Callable[[], Source]],
    *,
    settings: AddSettings,
    extractor: FeatureExtractor,
    note: Mapping[str, Any],
    on_progress: Callable[[Progress], None],
) -> Gallery:
    """Makes a new version that holds all frames of a gallery and those of the sources. Going back is using the old one.

    The calibration is kept as it is. A frame that is added is another one that others may be like, so that whatever
    looks like it scores lower from now on, and faithful SPADE's image score (eq. 2, K = 1) never higher. Scores that
    are relative to a statistic of the whole gallery can move either way, though by little while few frames are added.
    Enrolling the scene again is what sets the threshold anew.

    Args:
        gallery: the version in force.
        sources: each opened when its turn comes, and closed.
        settings: see there.
        extractor: as the gallery was made with.
        note: remarks for the manifest, beside those of the old version.
        on_progress: told after every batch; may raise.

    Raises:
        GalleryMismatch: the extractor is another one.
        GalleryCorrupt: the old version is damaged: nothing is built on that.
        GalleryError: another program changes the gallery, or the disk has no room.
        UsageError: the gallery is full, or a source has no end.
        SourceError: a source cannot be read, or none of them holds a frame.
    """
    if difference := fingerprint_mismatch(extractor.fingerprint(), gallery.fingerprint):
        raise GalleryMismatch(f"{gallery.folder}: made with something else than what runs: {difference}")
    parameters = gallery_parameters(gallery)
    capacity = settings.capacity or int(gallery.manifest["note"].get("capacity", DEFAULT_CAPACITY))
    if len(gallery) >= capacity:
        raise _full(gallery, capacity)
    with GalleryWriter(
        gallery.folder,
        capacity=capacity,
        fingerprint=gallery.fingerprint,
        pooled=extractor.backbone.pooled_channels,
        levels=extractor.level_shapes,
        expected=len(gallery) + 1,
    ) as writer:
        _check_still_in_force(gallery)
        for _, done, total in gallery.verify():
            on_progress(Progress("checking", done * len(gallery) // total, len(gallery)))
        writer.take_over(gallery)
        for open_source in sources:
            source = open_source()
            try:
                meter = motion_meter(parameters, extractor.preprocess)
                _add(writer, source, settings, extractor, gallery, on_progress, meter)
            finally:
                source.close()
        added = len(writer) - len(gallery)
        if added == 0:
            raise SourceNotFound("none of the sources holds a frame: nothing was added")
        on_progress(Progress("writing", len(writer), len(writer)))
        writer.keep(gallery_arrays(writer, parameters=parameters, device=extractor.backbone.device))
        return writer.publish(
            gallery.calibration,
            note={
                **gallery.manifest["note"],
                **note,
                "capacity": capacity,
                "added": added,
                "from": gallery.version,
            },
        )


def _add(
    writer: GalleryWriter,
    source: Source,
    settings: AddSettings,
    extractor: FeatureExtractor,
    gallery: Gallery,
    on_progress: Callable[[Progress], None],
    meter: MotionMeter,
) -> None:
    for batch in batches(sampled(source.frames(), settings.fps, meter)):
        features = features_of(extractor, batch)
        for row, sample in enumerate(batch):
            if len(writer) == writer.capacity:
                raise _full(gallery, writer.capacity)
            put(writer, len(writer), sample, features, row, source=source.info.name)
        on_progress(Progress("adding", len(writer), None))


def _check_still_in_force(gallery: Gallery) -> None:
    """Asked while no other program can change it: what was opened before may be in force no more."""
    if (now := current_version(gallery.folder)) != gallery.version:
        raise GalleryError(f"{gallery.folder}: another program has put {now} in force meanwhile; try again")


def _full(gallery: Gallery, capacity: int) -> UsageError:
    return UsageError(
        f"{gallery.folder}: {gallery.version} holds {len(gallery)} frames, and with these it would hold more than "
        f"{capacity}: allow more with --capacity, or add fewer (--fps, --seconds). Nothing was added"
    )
