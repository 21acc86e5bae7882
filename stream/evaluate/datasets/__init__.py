"""The field's datasets on disk: found, checked, and described as plain values. Used by ``evaluate``.

Each layout has a module of its own, whose first lines describe it; ``model`` is what all of them give.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path

from stream.errors import DatasetError
from stream.evaluate.datasets.avenue import open_avenue
from stream.evaluate.datasets.clips import open_clips
from stream.evaluate.datasets.model import Dataset, Kind, Labels, Published, Scene, TestClip
from stream.evaluate.datasets.mvtec import open_mvtec
from stream.evaluate.datasets.shanghaitech import open_shanghaitech
from stream.evaluate.datasets.ucsd import open_ucsd

__all__ = ["DATASETS", "Dataset", "Kind", "Labels", "Published", "Scene", "TestClip", "open_dataset"]

_OPENERS: Mapping[str, Callable[[str, Path], Dataset]] = {
    "clips": open_clips,
    "ped1": open_ucsd,
    "ped2": open_ucsd,
    "shanghaitech": open_shanghaitech,
    "avenue": open_avenue,
    "mvtec": open_mvtec,
}

DATASETS = tuple(_OPENERS)
"""The names of all datasets that can be opened."""


def open_dataset(name: str, root: Path) -> Dataset:
    """Finds a dataset and checks as much of it as can be checked without decoding frames.

    Args:
        name: one of ``DATASETS``.
        root: the folder that it was unpacked in, or one above it where that has its usual name.

    Raises:
        DatasetError: the name is unknown, the layout is not there, or labels do not fit the frames. It says what was
            looked for and what was found.
    """
    if name not in _OPENERS:
        close = difflib.get_close_matches(name, DATASETS, n=1)
        hint = f", did you mean {close[0]}?" if close else ""
        raise DatasetError(f"--dataset {name!r}: known are {', '.join(DATASETS)}{hint}")
    return _OPENERS[name](name, root.expanduser().absolute())
