"""The generic layout: ``train/CLIP``, ``test/CLIP``, ``masks/CLIP``. For footage of one's own, and for copies of other
datasets that came this way.

A clip is a folder of images (jpg, png, tif, bmp) or a video file. Masks are images with the name of their frame (of a
video: the frame's number from 0), anomalous where not black. A frame is anomalous if any of its pixels is; one without
a mask is normal, and so is a clip without a folder in ``masks/``. Without ``masks/`` nothing is labelled.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stream.errors import DatasetError
from stream.evaluate.datasets.frames import Frames
from stream.evaluate.datasets.labels import Unlabelled, all_normal, by_masks, checked
from stream.evaluate.datasets.listing import clip_names, clips_in, find_layout, subfolders
from stream.evaluate.datasets.masks import mask_files
from stream.evaluate.datasets.model import Dataset, Labels, Scene, TestClip

FPS = 10.0
"""Frames per second that image folders are taken to have. Nothing in them says it; it is that of UCSD's cameras."""

LAYOUT = "train/CLIP and test/CLIP (and masks/CLIP)"


def open_clips(name: str, root: Path) -> Dataset:
    """The dataset in this folder, as one scene."""
    return read_clips(name, find_layout(name, root, under=(), looked_for=LAYOUT, fits=has_clips))


def has_clips(folder: Path) -> bool:
    """Whether a folder has this layout."""
    return (folder / "train").is_dir() and (folder / "test").is_dir()


def read_clips(name: str, root: Path) -> Dataset:
    """The dataset in a folder that has this layout. It is one scene, called like the dataset.

    Raises:
        DatasetError: there are no clips, or a mask belongs to no frame or no clip.
    """
    train, test = clips_in(root / "train"), clips_in(root / "test")
    names = clip_names(test)
    masks = root / "masks"
    if masks.is_dir():
        labels: list[Labels] = _read_masks(masks, names, test)
        notes: tuple[str, ...] = ()
    else:
        labels = [Unlabelled() for _ in test]
        notes = (f"There is no {masks}: nothing is labelled, so there are no figures of merit.",)
    clips = tuple(TestClip(*clip) for clip in zip(names, test, labels, strict=True))
    return Dataset(name, root, (Scene(name, train, clips),), fps=FPS, kind="video", citation="", notes=notes)


def _read_masks(folder: Path, names: Sequence[str], clips: Sequence[Path]) -> list[Labels]:
    masked = {entry.name: entry for entry in subfolders(folder)}
    if not masked:
        raise DatasetError(f"{folder}: holds no folder of masks: name one like its clip ({names[0]}), or remove masks/")
    if strangers := sorted(masked.keys() - set(names)):
        # Not passed over: a misspelt folder would turn an anomalous clip into a normal one.
        raise DatasetError(
            f"{folder / strangers[0]}: there is no test clip of that name (there are {', '.join(names[:6])}"
            f"{', ...' * (len(names) > 6)}): rename the folder or remove it"
        )
    return [_labels(masked.get(name), Frames(clip)) for name, clip in zip(names, clips, strict=True)]


def _labels(masks: Path | None, frames: Frames) -> Labels:
    return all_normal(frames) if masks is None else checked(by_masks(mask_files(frames, masks)), frames)
