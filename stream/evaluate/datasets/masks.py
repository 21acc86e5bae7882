"""Pixel labels of one clip, however they are stored: image files, an array, MATLAB cells, or nothing because all is
normal. Read when asked for, one frame at a time. Used by the loaders of the layouts.

Any value but 0 is anomalous: datasets write 1 or 255, and taking 1 for normal would go unnoticed.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stream.errors import DatasetError
from stream.evaluate.datasets.frames import Frames, image_size
from stream.sources.ffmpeg import MAX_PIXELS
from stream.sources.folder import IMAGE_SUFFIXES, files_in

MATLAB_NAME = "volLabel"
"""The variable that CUHK Avenue keeps its masks in: one cell for each frame."""


class Masks(Protocol):
    """The masks of all frames of one clip, counted from 0."""

    def expect(self, count: int) -> None:
        """Raises DatasetError, naming both numbers, where the masks are not of ``count`` frames."""
        ...

    def mask(self, index: int) -> NDArray[np.bool_]:
        """(H, W) which pixels are anomalous. Raises DatasetError if it cannot be read, IndexError beyond the end."""
        ...


@dataclass(frozen=True, slots=True)
class BlankMasks:
    """Of a clip in which all is normal: masks of the frames' own sizes."""

    frames: Frames

    def expect(self, count: int) -> None:
        self.frames.expect(count)

    def mask(self, index: int) -> NDArray[np.bool_]:
        return np.zeros(self.frames.size(index), np.bool_)


@dataclass(frozen=True, slots=True)
class MaskFiles:
    """One image per frame; a frame that has none is normal."""

    frames: Frames
    files: Mapping[int, Path]  # by frame

    def expect(self, count: int) -> None:
        self.frames.expect(count)
        if self.files and (last := max(self.files)) >= count:
            raise DatasetError(f"{self.files[last]}: is the mask of frame {last}, but {count} frames were decoded")

    def mask(self, index: int) -> NDArray[np.bool_]:
        file = self.files.get(index)
        return np.zeros(self.frames.size(index), np.bool_) if file is None else read_mask(file)


@dataclass(frozen=True, slots=True)
class ArrayMasks:
    """A NumPy file of (T, H, W) numbers or truth values. Mapped anew for every mask, so that no file stays open."""

    file: Path

    def expect(self, count: int) -> None:
        expect_length(self.file, len(open_array(self.file, dimensions=3)), count)

    def mask(self, index: int) -> NDArray[np.bool_]:
        return np.asarray(open_array(self.file, dimensions=3)[index] != 0, np.bool_)


class MatlabClip:
    """The masks of the last MATLAB file that was asked for, one bit a pixel: only one clip is ever held.

    One such object is shared by all clips of a dataset.
    """

    def __init__(self) -> None:
        self._file: Path | None = None
        self._rows: list[NDArray[np.uint8]] = []  # T times (H, ceil(W / 8))
        self._width = 0

    def count(self, file: Path) -> int:
        """T, the frames that the file is about."""
        self._load(file)
        return len(self._rows)

    def mask(self, file: Path, index: int) -> NDArray[np.bool_]:
        """(H, W) the mask of a frame."""
        self._load(file)
        return np.unpackbits(self._rows[index], axis=-1, count=self._width).astype(np.bool_)

    def _load(self, file: Path) -> None:
        if file == self._file:
            return
        cells = _matlab_cells(file)
        shapes = {np.shape(cell) for cell in cells}
        if len(shapes) != 1 or len(shape := shapes.pop()) != 2:
            raise DatasetError(f"{file}: {MATLAB_NAME} is not one H x W mask per frame; copy the file again")
        self._rows = [np.packbits(cell != 0, axis=-1) for cell in cells]
        self._file, self._width = file, shape[1]


@dataclass(frozen=True, slots=True)
class MatlabMasks:
    """A MATLAB file of a row of cells, each (H, W). Read by SciPy, which only this needs."""

    file: Path
    shared: MatlabClip

    def expect(self, count: int) -> None:
        expect_length(self.file, self.shared.count(self.file), count)

    def mask(self, index: int) -> NDArray[np.bool_]:
        return self.shared.mask(self.file, index)


def mask_files(frames: Frames, folder: Path, *, ending: str = "") -> MaskFiles:
    """The masks in a folder, each matched to the frame with the same name.

    Args:
        frames: of the clip.
        folder: of the masks; may be empty.
        ending: what mask names have after the frame's name (``_mask``).

    Raises:
        DatasetError: a mask belongs to no frame.
    """
    found = {}
    for file in files_in(folder, IMAGE_SUFFIXES):
        index = frames.index_of(file.stem.removesuffix(ending)) if file.stem.endswith(ending) else None
        if index is None:
            frame = (
                f"image in {frames.clip} with that name" if frames.files else f"frame of {frames.clip} by that number"
            )
            raise DatasetError(f"{file}: is the mask of no frame: there is no {frame}; rename it or remove it")
        found[index] = file
    return MaskFiles(frames, found)


def read_mask(file: Path) -> NDArray[np.bool_]:
    """(H, W) where an image of any mode is not black. Raises DatasetError if it cannot be read."""
    height, width = image_size(file)
    if height * width > MAX_PIXELS:
        raise DatasetError(f"{file}: the mask has {width} x {height} pixels; at most {MAX_PIXELS} are decoded")
    try:
        with Image.open(file) as image:
            if image.mode in ("1", "L", "I", "F") or image.mode.startswith("I;16"):
                return np.asarray(np.asarray(image) != 0, np.bool_)
            # Palettes are looked up and transparency left out: what counts is the colour that one sees.
            return np.asarray(np.asarray(image.convert("RGB")).any(axis=-1), np.bool_)
    except (OSError, ValueError, SyntaxError) as error:
        raise DatasetError(f"{file}: the mask is damaged or cut short ({error}); copy it again") from None


def open_array(file: Path, *, dimensions: int) -> NDArray[Any]:
    """A NumPy file, mapped and not read. Raises DatasetError if it is not an array of numbers with these dimensions."""
    array = _mapped(file)
    if array.ndim != dimensions:
        raise DatasetError(f"{file}: must hold an array with {dimensions} dimension(s), holds shape {array.shape}")
    return array


def array_dimensions(file: Path) -> int:
    """How many dimensions a NumPy file's array has. Raises DatasetError if it is not an array of numbers."""
    return _mapped(file).ndim


def expect_length(file: Path, length: int, count: int) -> None:
    """Raises DatasetError where a file's labels are not of as many frames as were decoded."""
    if length != count:
        raise DatasetError(f"{file}: holds labels of {length} frames, but {count} frames were decoded")


def need_scipy(file: Path) -> None:
    """Raises DatasetError where MATLAB files cannot be read; asked early, because scoring takes hours."""
    if importlib.util.find_spec("scipy") is None:
        raise DatasetError(
            f"{file}: MATLAB files are read by SciPy, which is not installed: pip install scipy "
            f"(or save the masks beside it as a NumPy file of frames x height x width, named NN.npy like the clip)"
        )


def _mapped(file: Path) -> NDArray[Any]:
    try:
        # Labels come from strangers: an array of objects would run their code.
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DatasetError(f"{file}: cannot be read as a NumPy array ({error}); copy it again") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        found = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise DatasetError(f"{file}: must hold one array of numbers, holds {found}")
    return array


def _matlab_cells(file: Path) -> list[NDArray[Any]]:
    need_scipy(file)
    # Not at the top: SciPy is no dependency of ours, and only this dataset needs it.
    loadmat = importlib.import_module("scipy.io").loadmat
    try:
        variables = loadmat(str(file), appendmat=False, variable_names=[MATLAB_NAME])
    except Exception as error:  # it raises many kinds, some of its own
        raise DatasetError(f"{file}: cannot be read as a MATLAB file ({error}); copy it again") from error
    if MATLAB_NAME not in variables:
        raise DatasetError(f"{file}: holds no variable {MATLAB_NAME}, the masks of CUHK Avenue")
    return [np.asarray(cell) for cell in np.ravel(variables[MATLAB_NAME])]
