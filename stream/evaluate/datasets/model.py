"""What a dataset is once it is found on disk: scenes, clips and labels as plain values. Frames are read by the sources,
labels when they are asked for. Used by everything in ``evaluate``; knows no layout.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Kind = Literal["video", "images"]


class Labels(Protocol):
    """The truth about one test clip. Frames are its native frames, counted from 0."""

    @property
    def known(self) -> bool:
        """Whether anybody has labelled the clip; else there is no truth, neither of frames nor of pixels."""
        ...

    @property
    def has_masks(self) -> bool:
        """Whether its pixels are labelled too."""
        ...

    def frame_labels(self, count: int) -> NDArray[np.bool_] | None:
        """(T,) which frames are anomalous, or None where the clip is not labelled.

        Args:
            count: T, the frames that were decoded.

        Raises:
            DatasetError: the labels are of another number of frames, or cannot be read.
        """
        ...

    def mask(self, index: int) -> NDArray[np.bool_] | None:
        """(H, W) which pixels of a frame are anomalous, or None where pixels are not labelled.

        H x W is usually the frame's size; some copies of datasets have frames reduced and masks not.

        Raises:
            DatasetError: the mask cannot be read.
            IndexError: the clip has no such frame, where its length is known.
        """
        ...


class Published(NamedTuple):
    """A figure that others have published for a dataset, all of it."""

    method: str
    metric: str  # the key of ``metrics.json`` that it is set beside
    value: float  # 0..1
    source: str  # who, where and when


@dataclass(frozen=True, slots=True)
class TestClip:
    """One clip to score."""

    __test__ = False  # pytest: no tests in here

    name: str  # unique in its scene, and usable as the name of a folder
    frames: Path  # a folder of images, or a video file; absolute
    labels: Labels


@dataclass(frozen=True, slots=True)
class Scene:
    """What one gallery is made of and judged by: a camera's view, or a category of images."""

    name: str  # usable as a camera's id
    train: tuple[Path, ...]  # normal clips: folders of images, or video files; absolute, at least one
    test: tuple[TestClip, ...]  # at least one


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset that was found and checked."""

    name: str  # as it was asked for
    root: Path  # the folder in which its layout begins; absolute
    scenes: tuple[Scene, ...]
    fps: float  # frames per second of its image folders; video files have their own
    kind: Kind  # images: frames are single photographs, so that nothing moves and no alert is raised
    citation: str  # one line; "" for footage that is nobody's dataset
    published: tuple[Published, ...] = ()
    notes: tuple[str, ...] = ()  # what a reader of the figures has to know, one sentence each

    @property
    def labels_known(self) -> bool:
        """Whether all test clips are labelled. If not, there are scores and alerts, but no figures of merit."""
        return all(clip.labels.known for scene in self.scenes for clip in scene.test)

    @property
    def has_masks(self) -> bool:
        """Whether pixels are labelled in some test clips; pixel figures are over those clips alone."""
        return any(clip.labels.has_masks for scene in self.scenes for clip in scene.test)
