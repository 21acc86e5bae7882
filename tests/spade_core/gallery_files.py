"""Small galleries with values that can be told apart, for the tests of whatever reads or writes one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spade_core.alarms import HeldOutAlarms
from spade_core.calibration import Calibration
from spade_core.gallery import Gallery, GalleryFrame
from spade_core.gallery_writer import GalleryWriter
from spade_core.motion import GRID

POOLED = 5
LEVELS = ((3, 7, 5), (4, 3, 3))
FINGERPRINT = {"backbone": "none", "size": 32}
CALIBRATION = Calibration(
    threshold=7.5,
    grow_threshold=4.0,
    false_alarms_per_day=1.0,
    held_out=40,
    median=2.0,
    highest=6.0,
    parameters={"method": "spade", "k": 1},
    alarms=HeldOutAlarms(
        hours=0.5,
        extrapolated=48.0,
        min_duration=0.6,
        quiet=10.0,
        seen=None,
        seen_per_day=None,
        upper_per_day=None,
    ),
)


def pooled_of(number: int) -> NDArray[np.float32]:
    """(D,) features of the frame with that number."""
    return np.random.default_rng(number).standard_normal(POOLED).astype(np.float32)


def levels_of(number: int) -> list[NDArray[np.float32]]:
    """(C, H, W) features of each level."""
    generator = np.random.default_rng([number, 1])
    return [generator.standard_normal(shape).astype(np.float32) for shape in LEVELS]


def motion_of(number: int) -> NDArray[np.float16] | None:
    """A motion map; not known for every third frame."""
    return None if number % 3 == 2 else np.full((GRID, GRID), number / 4, np.float16)


def frame_of(number: int) -> GalleryFrame:
    """Where the frame came from."""
    return GalleryFrame(f"clip{number // 2}", 10 * number, number / 25)


def thumbnail_of(number: int) -> bytes:
    """As a JPEG: begins like one, of a length of its own."""
    return b"\xff\xd8" + bytes([number]) * (number + 1) + b"\xff\xd9"


def new_writer(folder: Path, *, capacity: int = 8) -> GalleryWriter:
    """A writer for frames of this module."""
    return GalleryWriter(folder, capacity=capacity, fingerprint=FINGERPRINT, pooled=POOLED, levels=LEVELS)


def put(writer: GalleryWriter, slot: int, number: int) -> None:
    """Puts the frame with that number there."""
    writer.put(
        slot,
        pooled=pooled_of(number),
        levels=levels_of(number),
        frame=frame_of(number),
        thumbnail=thumbnail_of(number),
        motion=motion_of(number),
    )


def build(folder: Path, numbers: range = range(4)) -> Gallery:
    """A published gallery of those frames."""
    with new_writer(folder) as writer:
        for slot, number in enumerate(numbers):
            put(writer, slot, number)
        return writer.publish(CALIBRATION, note={"source": "a test"})


def files_in_force(folder: Path) -> dict[str, bytes]:
    """Name and content of each file of the version in force."""
    version = (folder / "CURRENT").read_text().strip()
    return {path.name: path.read_bytes() for path in sorted((folder / version).iterdir())}
