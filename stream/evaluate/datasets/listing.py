"""Finds a dataset's folders and clips on disk, and says what was there instead where it does not. Used by the loaders
of the layouts. Image files are listed as the sources list them, so that labels and frames have the same order.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from stream.errors import DatasetError
from stream.evaluate.datasets.model import Scene
from stream.sources.folder import IMAGE_SUFFIXES, VIDEO_SUFFIXES, files_in, is_visible, natural_key

_SHOWN = 6
"""Entries of a folder that a message names."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")  # what a camera's id may be


def find_layout(what: str, root: Path, *, under: Sequence[str], looked_for: str, fits: Callable[[Path], bool]) -> Path:
    """The folder in which a dataset's layout begins: the one that the user gave, or a well-known one in it.

    Args:
        what: the dataset's name, for messages.
        root: what the user gave.
        under: folders of ``root`` that it may be in instead.
        looked_for: the layout in words.
        fits: whether a folder has it.

    Raises:
        DatasetError: ``root`` is no folder, or the layout is in none of them.
    """
    if not root.is_dir():
        raise DatasetError(f"{what}: {root} is not a folder: --root is the folder that the dataset was unpacked in")
    places = [root, *(root / name for name in under)]
    for place in places:
        if place.is_dir() and fits(place):
            return place
    raise DatasetError(
        f"{what}: looked for {looked_for} in {' and in '.join(map(str, places))}, and found no such thing; "
        f"{root} holds {contents(root)}"
    )


def clips_in(folder: Path, *, name: str = ".*") -> tuple[Path, ...]:
    """The clips of a folder in natural order: folders of images, or video files.

    Args:
        folder: must exist.
        name: regular expression; folders whose whole name it does not match are passed over.

    Raises:
        DatasetError: there are none, there are both kinds, or a clip's folder holds no images.
    """
    folders = tuple(entry for entry in subfolders(folder) if re.fullmatch(name, entry.name))
    videos = files_in(folder, VIDEO_SUFFIXES)
    if folders and videos:
        raise DatasetError(
            f"{folder}: holds clips as folders ({folders[0].name}) and as files ({videos[0].name}): keep one kind"
        )
    if not folders and not videos:
        raise DatasetError(f"{folder}: holds no clips (folders of images, or video files), but {contents(folder)}")
    for clip in folders:
        if not image_files(clip):
            raise DatasetError(f"{clip}: is a clip without images ({contents(clip)}): fill the folder or remove it")
    return folders or videos


def clip_names(clips: Sequence[Path]) -> list[str]:
    """Their names, as the sources name segments: of a video file without the ending, unless two would be the same."""
    plain = [clip.name if clip.is_dir() else clip.stem for clip in clips]
    times = Counter(plain)
    return [name if times[name] == 1 else clip.name for name, clip in zip(plain, clips, strict=True)]


def image_files(folder: Path) -> tuple[Path, ...]:
    """The images of a clip in the order in which its source gives them; () for a video file."""
    return files_in(folder, IMAGE_SUFFIXES) if folder.is_dir() else ()


def subfolders(folder: Path) -> tuple[Path, ...]:
    """Folders in natural order, without hidden ones; () where there is no such folder."""
    if not folder.is_dir():
        return ()
    return tuple(sorted((entry for entry in folder.iterdir() if entry.is_dir() and is_visible(entry)), key=natural_key))


def checked_name(what: str, folder: Path) -> str:
    """The name of a folder that becomes a scene. Raises DatasetError if no camera could have that name."""
    if not _NAME.fullmatch(folder.name):
        raise DatasetError(
            f"{what}: {folder} cannot be the name of a scene: rename it to letters, digits, '.', '_' and '-'"
        )
    return folder.name


def missing_clips(scenes: Iterable[Scene], *, train: int, test: int) -> tuple[str, ...]:
    """A note where this copy of a dataset has fewer clips than was published."""
    scenes = tuple(scenes)
    trained, tested = sum(len(scene.train) for scene in scenes), sum(len(scene.test) for scene in scenes)
    if (trained, tested) == (train, test):
        return ()
    return (
        f"This copy has {trained} of the {train} training clips and {tested} of the {test} test clips: "
        "published figures are over all of them.",
    )


def contents(folder: Path) -> str:
    """What a folder holds, for messages."""
    entries = sorted(filter(is_visible, folder.iterdir()), key=natural_key)
    names = [f"{entry.name}/" if entry.is_dir() else entry.name for entry in entries[:_SHOWN]]
    more = f" and {len(entries) - _SHOWN} more" if len(entries) > _SHOWN else ""
    return ", ".join(names) + more if names else "nothing"
