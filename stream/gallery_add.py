"""``gallery add`` and "this is normal": frames that an operator calls normal, as a new version of a gallery."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spade_core.confirmed import NewFrame, WithConfirmed, only_inside
from spade_core.errors import GalleryError, GalleryMismatch
from spade_core.extractor import FeatureExtractor, fingerprint_mismatch
from spade_core.gallery import Gallery, GalleryFrame, confirmed_frames
from spade_core.gallery_layout import current_version
from spade_core.gallery_writer import GalleryWriter
from spade_core.methods import Parameters, gallery_arrays, gallery_parameters, motion_meter
from spade_core.motion import MotionMeter
from spade_core.retrieval import NearestFrames
from stream.enroll import Progress
from stream.errors import SourceNotFound, UsageError
from stream.footage import batches, features_of, put, sampled, thumbnail_over
from stream.kept_frame import KeptFrame
from stream.messages import iso_time
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
    _check_extractor(gallery, extractor)
    parameters = gallery_parameters(gallery)
    capacity = settings.capacity or int(gallery.manifest["note"].get("capacity", DEFAULT_CAPACITY))
    if len(gallery) >= capacity:
        raise _full(gallery, capacity)
    with _writer(gallery, extractor, capacity=capacity, expected=len(gallery) + 1) as writer:
        _take_over(writer, gallery, on_progress)
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
        writer.keep(_arrays(writer, gallery, parameters, extractor))
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


def new_frames(
    gallery: Gallery,
    frames: Sequence[KeptFrame],
    *,
    extractor: FeatureExtractor,
    inside: Sequence[NDArray[np.bool_] | None],
    confirmed: bool = False,
) -> list[NewFrame]:
    """What a gallery gets of frames that were kept beside their alerts: features of exactly what was scored.

    Args:
        gallery: that they are for.
        frames: see :class:`stream.kept_frame.KeptFrame`.
        extractor: as the gallery was made with.
        inside: for each frame (S, S) pixels of the scoring image that alone are to become normal; None = all of it.
            What lies outside is taken from its nearest normal frame, see :func:`spade_core.confirmed.only_inside`.
        confirmed: somebody said of each that it is normal; such a frame counts whatever the gallery's other frames are.

    Raises:
        GalleryMismatch: the extractor is another one.
        GalleryCorrupt: a normal frame is damaged.
        InputError: a frame is of another size than the gallery's.
    """
    _check_extractor(gallery, extractor)
    nearest = NearestFrames(np.asarray(gallery.pooled))
    found = []
    for kept, region in zip(frames, inside, strict=True):
        features = extractor.extract(kept.image[None])
        pooled = features.pooled.float().cpu().numpy()
        like = int(nearest.search(pooled, 1)[1][0, 0])
        new = NewFrame(
            pooled=pooled[0],
            levels=tuple(level[0].half().cpu().numpy() for level in features.levels),
            motion=kept.motion,
            frame=GalleryFrame(f"{kept.camera} {iso_time(kept.frame_time)}", kept.frame_seq, 0.0, confirmed),
            thumbnail=thumbnail_over(gallery.thumbnail(like), kept.image, extractor.preprocess, region),
        )
        found.append(new if region is None else only_inside(new, region, gallery.pyramid(like)))
    return found


def add_kept(
    gallery: Gallery,
    frames: Sequence[KeptFrame],
    *,
    extractor: FeatureExtractor,
    note: Mapping[str, Any],
    on_progress: Callable[[Progress], None],
    inside: Sequence[NDArray[np.bool_] | None],
    confirmed: bool = False,
) -> Gallery:
    """Makes a new version that holds all frames of a gallery and these, on top of its capacity.

    The calibration is kept as it is. With ``confirmed``, no frame that is added can be lost in the choice of frames
    that ``campus`` compares with, and no score but faithful SPADE's can rise: more is normal, nothing less.

    Args: as for :func:`new_frames`; ``note`` and ``on_progress`` as for :func:`add_frames`.

    Raises:
        GalleryMismatch, GalleryCorrupt, InputError: see :func:`new_frames`; nothing was changed.
        GalleryError: another program changes the gallery, or the disk has no room.
        UsageError: there are no frames.
    """
    if not frames:
        raise UsageError(f"{gallery.folder}: no frames were given, so there is nothing to add")
    new = new_frames(gallery, frames, extractor=extractor, inside=inside, confirmed=confirmed)
    parameters, device = gallery_parameters(gallery), extractor.backbone.device
    together = len(gallery) + len(new)
    capacity = int(gallery.manifest["note"].get("capacity", DEFAULT_CAPACITY))
    with _writer(gallery, extractor, capacity=max(capacity, together), expected=together) as writer:
        _take_over(writer, gallery, on_progress)
        for frame in new:
            writer.put(
                len(writer),
                pooled=frame.pooled,
                levels=frame.levels,
                frame=frame.frame,
                thumbnail=frame.thumbnail,
                motion=frame.motion,
            )
        on_progress(Progress("writing", together, together))
        if confirmed:
            writer.keep(WithConfirmed(gallery, new, parameters=parameters, device=device).arrays)
        else:
            writer.keep(_arrays(writer, gallery, parameters, extractor))
        return writer.publish(
            gallery.calibration,
            note={**gallery.manifest["note"], **note, "added": len(new), "from": gallery.version},
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


def _arrays(
    writer: GalleryWriter, gallery: Gallery, parameters: Parameters, extractor: FeatureExtractor
) -> dict[str, NDArray[Any]]:
    """Made anew from all frames; what was confirmed before stays so."""
    return gallery_arrays(
        writer,
        parameters=parameters,
        device=extractor.backbone.device,
        confirmed=confirmed_frames(writer.frames),
        scales=gallery.calibration.scales,
    )


def _check_extractor(gallery: Gallery, extractor: FeatureExtractor) -> None:
    if difference := fingerprint_mismatch(extractor.fingerprint(), gallery.fingerprint):
        raise GalleryMismatch(f"{gallery.folder}: made with something else than what runs: {difference}")


def _writer(gallery: Gallery, extractor: FeatureExtractor, *, capacity: int, expected: int) -> GalleryWriter:
    return GalleryWriter(
        gallery.folder,
        capacity=capacity,
        fingerprint=gallery.fingerprint,
        pooled=extractor.backbone.pooled_channels,
        levels=extractor.level_shapes,
        expected=expected,
    )


def _take_over(writer: GalleryWriter, gallery: Gallery, on_progress: Callable[[Progress], None]) -> None:
    _check_still_in_force(gallery)
    for _, done, total in gallery.verify():
        on_progress(Progress("checking", done * len(gallery) // total, len(gallery)))
    writer.take_over(gallery)


def _check_still_in_force(gallery: Gallery) -> None:
    """Asked while no other program can change it: what was opened before may be in force no more."""
    if (now := current_version(gallery.folder)) != gallery.version:
        raise GalleryError(f"{gallery.folder}: another program has put {now} in force meanwhile; try again")


def _full(gallery: Gallery, capacity: int) -> UsageError:
    return UsageError(
        f"{gallery.folder}: {gallery.version} holds {len(gallery)} frames, and with these it would hold more than "
        f"{capacity}: allow more with --capacity, or add fewer (--fps, --seconds). Nothing was added"
    )
