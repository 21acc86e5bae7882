"""The labels of a clip, put together: which frames are anomalous (by one of several rules) and which pixels (or nobody
knows). Used by the loaders of the layouts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stream.errors import DatasetError
from stream.evaluate.datasets.frames import Frames
from stream.evaluate.datasets.masks import BlankMasks, Masks, expect_length, open_array


class FrameTruth(Protocol):
    """Which frames of one clip are anomalous."""

    def expect(self, count: int) -> None:
        """Raises DatasetError, naming both numbers, where the labels are not of ``count`` frames. Quick."""
        ...

    def frame_labels(self, count: int) -> NDArray[np.bool_]:
        """(T,) which frames are anomalous; T = count, which :meth:`expect` has accepted."""
        ...


@dataclass(frozen=True, slots=True)
class Uniform:
    """All frames are alike."""

    frames: Frames
    anomalous: bool

    def expect(self, count: int) -> None:
        self.frames.expect(count)

    def frame_labels(self, count: int) -> NDArray[np.bool_]:
        return np.full(count, self.anomalous)


@dataclass(frozen=True, slots=True)
class AnyPixel:
    """A frame is anomalous if any of its pixels is. Reads all masks."""

    masks: Masks

    def expect(self, count: int) -> None:
        self.masks.expect(count)

    def frame_labels(self, count: int) -> NDArray[np.bool_]:
        return np.array([self.masks.mask(index).any() for index in range(count)], np.bool_)


@dataclass(frozen=True, slots=True)
class Ranges:
    """Stretches of anomalous frames."""

    where: str  # they are written, for messages
    frames: Frames
    ranges: Sequence[range]  # of frames counted from 0

    def expect(self, count: int) -> None:
        self.frames.expect(count)
        end = max((stretch.stop for stretch in self.ranges), default=0)
        if end > count:
            raise DatasetError(f"{self.where}: labels frames up to {end}, but {count} frames were decoded")

    def frame_labels(self, count: int) -> NDArray[np.bool_]:
        labels = np.zeros(count, np.bool_)
        for stretch in self.ranges:
            labels[stretch.start : stretch.stop] = True
        return labels


@dataclass(frozen=True, slots=True)
class FrameArray:
    """A NumPy file of (T,) numbers or truth values; any but 0 is anomalous."""

    file: Path

    def expect(self, count: int) -> None:
        expect_length(self.file, len(open_array(self.file, dimensions=1)), count)

    def frame_labels(self, count: int) -> NDArray[np.bool_]:
        return np.asarray(open_array(self.file, dimensions=1) != 0, np.bool_)


@dataclass(frozen=True, slots=True)
class ClipLabels:
    """Frames by a rule, pixels by masks where there are any. Implements ``model.Labels``."""

    truth: FrameTruth
    masks: Masks | None = None

    @property
    def known(self) -> bool:
        return True

    @property
    def has_masks(self) -> bool:
        return self.masks is not None

    def frame_labels(self, count: int) -> NDArray[np.bool_]:
        self.expect(count)
        return self.truth.frame_labels(count)

    def mask(self, index: int) -> NDArray[np.bool_] | None:
        return None if self.masks is None else self.masks.mask(index)

    def expect(self, count: int) -> None:
        """Raises DatasetError where frames or masks are not ``count``. Quick, but for MATLAB files."""
        self.truth.expect(count)
        if self.masks is not None:
            self.masks.expect(count)


class Unlabelled:
    """Of a clip that nobody has labelled. Implements ``model.Labels``."""

    known = False
    has_masks = False

    def frame_labels(self, count: int) -> None:
        return None

    def mask(self, index: int) -> None:
        return None


def by_masks(masks: Masks) -> ClipLabels:
    """Labels of a clip whose masks say all."""
    return ClipLabels(AnyPixel(masks), masks)


def all_normal(frames: Frames) -> ClipLabels:
    """Labels of a clip, in a dataset with masks, in which all is normal."""
    return ClipLabels(Uniform(frames, anomalous=False), BlankMasks(frames))


def checked(labels: ClipLabels, frames: Frames) -> ClipLabels:
    """The labels, once they fit the clip's images: what is wrong is said before hours of scoring, not after.

    The length of a video file is known only when it is decoded.
    """
    if frames.files:
        labels.expect(len(frames.files))
    return labels
