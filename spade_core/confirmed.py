"""A gallery with more frames on top, in memory: what would it make of this frame?

So that can be told before anything is written. ``gallery_writer`` makes a version of it. Frames that somebody called
normal (confirmed) differ from others in one thing: what a method keeps of a gallery is a choice among its frames, and
these are always part of it. So nothing else of the gallery has to be read for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from spade_core.campus import BANK, USUAL_SPEED, CampusParameters, extended_campus_arrays
from spade_core.gallery import Gallery, GalleryFrame, confirmed_frames
from spade_core.methods import Parameters, gallery_arrays
from spade_core.motion import GRID


@dataclass(frozen=True, slots=True, eq=False)
class NewFrame:
    """A frame for a gallery, with all that is stored of it."""

    pooled: NDArray[np.float32]  # (D,)
    levels: tuple[NDArray[np.float16], ...]  # (C_l, H_l, W_l) each, finest first
    motion: NDArray[np.float16] | None  # (GRID, GRID); None = not known
    frame: GalleryFrame  # where it came from
    thumbnail: bytes  # JPEG


def only_inside(new: NewFrame, inside: NDArray[np.bool_], normal: tuple[NDArray[np.float16], ...]) -> NewFrame:
    """The frame with what lies outside a region replaced, so that nothing but the region is added to what is normal.

    A cell belongs to the region that touches it. Elsewhere stand the features of a normal frame, and no motion, which
    says nothing: it makes no speed normal there. The pooled features, by which frames are retrieved, stay the frame's
    own: it is frames that look like this one that are to be compared with it.

    Args:
        new: the frame.
        inside: (S, S) the region, in pixels of the scoring image.
        normal: levels of the normal frame that is most like it.
    """
    levels = tuple(
        np.where(_cells(inside, level.shape[1:]), level, other).astype(np.float16)
        for level, other in zip(new.levels, normal, strict=True)
    )
    motion = new.motion
    if motion is not None:
        motion = np.where(_cells(inside, motion.shape), motion, np.float16(0)).astype(np.float16)
    return replace(new, levels=levels, motion=motion)


class WithJoined:
    """The :class:`spade_core.gallery.NormalFrames` of a gallery and of frames behind them, as the version that is made
    of both has them: what the method keeps is chosen anew among all of them, which takes as long as at an enrolment.

    Args:
        gallery: N frames.
        new: M frames, at least one.
        parameters: of the method that the gallery is for.
        device: where to compute.
    """

    def __init__(
        self, gallery: Gallery, new: Sequence[NewFrame], *, parameters: Parameters, device: torch.device
    ) -> None:
        self._gallery, self._new, self._device = gallery, tuple(new), device
        unknown = np.full((GRID, GRID), np.nan, np.float16)
        self._added_motion = np.stack([unknown if frame.motion is None else frame.motion for frame in new])
        self.frames = (*gallery.frames, *(frame.frame for frame in new))
        self.arrays: Mapping[str, NDArray[Any]] = {}  # none while they are being made
        self.arrays = self._made(parameters)

    @property
    def pooled(self) -> NDArray[np.float32]:
        """(N + M, D) float32."""
        return np.concatenate([self._gallery.pooled, [frame.pooled for frame in self._new]]).astype(np.float32)

    @property
    def motion(self) -> NDArray[np.float16]:
        """(N + M, GRID, GRID) float16; NaN where motion was not known."""
        return np.concatenate([self._gallery.motion, self._added_motion])

    def pyramid(self, index: int) -> tuple[NDArray[np.float16], ...]:
        """The levels of one frame, each (C, H, W) float16."""
        stored = len(self._gallery)
        return self._gallery.pyramid(index) if index < stored else self._new[index - stored].levels

    def array(self, name: str) -> NDArray[Any] | None:
        """What the method keeps ready; None where there is none of this name."""
        return self.arrays.get(name)

    def _made(self, parameters: Parameters) -> dict[str, NDArray[Any]]:
        confirmed, scales = confirmed_frames(self.frames), self._gallery.calibration.scales
        return gallery_arrays(self, parameters=parameters, device=self._device, confirmed=confirmed, scales=scales)


class WithConfirmed(WithJoined):
    """The same where all frames behind are confirmed, without reading those of the gallery again."""

    def _made(self, parameters: Parameters) -> dict[str, NDArray[Any]]:
        if not isinstance(parameters, CampusParameters):
            return {}
        gallery, scales = self._gallery, self._gallery.calibration.scales
        before = confirmed_frames(gallery.frames)
        found = {name: gallery.array(name) for name in (BANK, USUAL_SPEED)}
        arrays = {name: array for name, array in found.items() if array is not None}
        if len(arrays) < len(found):  # made by an older version
            arrays = gallery_arrays(
                gallery, parameters=parameters, device=self._device, confirmed=before, scales=scales
            )
        return extended_campus_arrays(
            arrays,
            [frame.levels for frame in self._new],
            self._added_motion,
            parameters=parameters,
            before=len(before),
            motion_scale=scales.get("motion", 1.0),
        )


def _cells(inside: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    height, width = shape
    return np.asarray(
        cv2.resize(inside.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA) > 0, np.bool_
    )
