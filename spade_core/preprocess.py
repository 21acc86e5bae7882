"""From a camera's frame to the scoring image. Reader processes use it, so it needs NumPy and OpenCV alone: no torch.

Normalisation belongs to the extractor (it is done on its device); its constants live here because they are part of
what a gallery was made with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from spade_core.errors import InputError

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
"""Per channel (R, G, B), of values scaled to 0..1: what every ImageNet backbone here was trained with."""

IMAGENET_STD: Final = (0.229, 0.224, 0.225)
"""Per channel (R, G, B), of values scaled to 0..1."""

MIN_SIDE: Final = 32  # pixels: the deepest maps have stride 32
MAX_SIDE: Final = 2048  # pixels: the largest scoring image that a message may carry

_TO_RGB: Final = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}


@dataclass(frozen=True, slots=True)
class Preprocess:
    """How a frame becomes a scoring image. The aspect ratio is not kept (as in the paper).

    Raises:
        InputError: a side is out of bounds, or the crop is larger than the image.
    """

    size: int = 256  # pixels: the frame is resized to size x size
    crop: int | None = None  # pixels: then the centre crop x crop is kept (MVTec: 224 of 256); None keeps all

    def __post_init__(self) -> None:
        if not MIN_SIDE <= self.size <= MAX_SIDE:
            raise InputError(f"size is {self.size} pixels; it must be {MIN_SIDE}..{MAX_SIDE}")
        if self.crop is not None and not MIN_SIDE <= self.crop <= self.size:
            raise InputError(f"crop is {self.crop} pixels; it must be {MIN_SIDE}..{self.size} (size), or None")

    @property
    def side(self) -> int:
        """S: height and width of the scoring image in pixels."""
        return self.size if self.crop is None else self.crop

    def part(self, width: int, height: int) -> tuple[int, int, int, int]:
        """The part of a frame that is scored, as (x, y, width, height) in its pixels: all of it without a crop.

        Args:
            width: of the frame, in pixels.
            height: of the frame, in pixels.
        """
        start, end = self._start, self._start + self.side
        x, y = (round(pixels * start / self.size) for pixels in (width, height))
        right, bottom = (round(pixels * end / self.size) for pixels in (width, height))
        return x, y, max(1, right - x), max(1, bottom - y)

    @property
    def _start(self) -> int:
        return (self.size - self.side) // 2

    def describe(self) -> dict[str, Any]:
        """All that makes two scoring images of one frame differ, as JSON values: part of a gallery's fingerprint."""
        return {
            "size": self.size,
            "crop": self.crop,
            "resize": "INTER_AREA",
            "channels": "RGB",
            "mean": list(IMAGENET_MEAN),
            "std": list(IMAGENET_STD),
        }


def scoring_image(frame_bgr: NDArray[np.uint8], preprocess: Preprocess) -> NDArray[np.uint8]:
    """The scoring image (S, S, 3) uint8 RGB of a frame (H, W, 3) uint8 BGR.

    Gray frames, (H, W) or (H, W, 1), get three equal channels; of BGRA frames, (H, W, 4), alpha is ignored.

    Raises:
        InputError: the frame is not such an array, or has no pixels.
    """
    channels = _channels(frame_bgr)
    size, side, start = preprocess.size, preprocess.side, preprocess._start
    resized = cv2.resize(frame_bgr, (size, size), interpolation=cv2.INTER_AREA)
    # Colour last: on fewer pixels, and it makes the cropped view contiguous.
    rgb = cv2.cvtColor(resized[start : start + side, start : start + side], _TO_RGB[channels])
    return np.asarray(rgb, dtype=np.uint8)


def _channels(frame: object) -> int:
    if not isinstance(frame, np.ndarray):
        raise InputError(f"frame is a {type(frame).__name__}, not a uint8 array")
    found = f"frame has shape {frame.shape} and dtype {frame.dtype}"
    if frame.dtype != np.uint8:
        raise InputError(f"{found}; uint8 (0..255) is needed")
    channels = 1 if frame.ndim == 2 else frame.shape[-1] if frame.ndim == 3 else 0
    if channels not in _TO_RGB:
        raise InputError(f"{found}; (H, W), (H, W, 1), (H, W, 3) BGR or (H, W, 4) BGRA is needed")
    if frame.size == 0:
        raise InputError(f"{found}: it has no pixels")
    return channels
