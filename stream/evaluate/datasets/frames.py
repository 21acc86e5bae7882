"""What is known of a clip's frames without decoding them: how many images, what they are called, how large they are.
Used by the labels, to check that they fit.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from stream.errors import DatasetError
from stream.evaluate.datasets.listing import image_files
from stream.sources import open_source


class Frames:
    """The frames of one clip.

    Args:
        clip: a folder of images, or a video file.
    """

    def __init__(self, clip: Path) -> None:
        self.clip = clip
        self.files = image_files(clip)  # () for a video file
        self._by_stem = {file.stem: index for index, file in enumerate(self.files)}
        self._video_size: tuple[int, int] | None = None

    def expect(self, count: int) -> None:
        """Raises DatasetError where there are not as many images as frames were decoded. A video file may have any."""
        if self.files and len(self.files) != count:
            raise DatasetError(
                f"{self.clip}: {count} frames were decoded, but the folder holds {len(self.files)} images"
            )

    def index_of(self, stem: str) -> int | None:
        """The frame that something of this name belongs to: the image with the same name before its ending, or a
        video's frame of that number, counted from 0. None if there is none.
        """
        if not self.files:
            return int(stem) if stem.isdecimal() and stem.isascii() else None
        return self._by_stem.get(stem)

    def size(self, index: int) -> tuple[int, int]:
        """(H, W) of a frame.

        Raises:
            DatasetError: the image cannot be read.
            IndexError: there is no such image.
        """
        if self.files:
            return image_size(self.files[index])
        if self._video_size is None:
            source = open_source(str(self.clip.absolute()))
            try:
                self._video_size = source.info.height, source.info.width
            finally:
                source.close()
        return self._video_size


def image_size(path: Path) -> tuple[int, int]:
    """(H, W) of an image, from its header. Raises DatasetError if it is none."""
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DatasetError(
            f"{path}: is not an image that can be read ({type(error).__name__}); copy it again"
        ) from None
