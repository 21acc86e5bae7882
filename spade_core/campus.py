"""The ``campus`` method: SPADE's idea for cameras that do not move (docs/method.md).

What is normal is known per place, so a frame is compared there and nearly there only. Three channels:

appearance
    distance of the deep features at a place to the closest that the gallery shows at this place or next to it
motion
    speed at a place, in units of what is usual around there
persistence
    the appearance that a place has kept for some seconds: walkers pass, a bag left behind stays

Appearance and motion, each scaled by what normal footage reaches, are two coordinates of one deviation, and its length
counts; persistence stands alone. Both are divided by their own threshold, so the fused score is 1 where an alert
begins. Retrieval of the nearest normal frame (K = 1) stays: it explains the alert.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from spade_core.calibration import Calibration
from spade_core.detail import Detail
from spade_core.errors import GalleryCorrupt, InputError
from spade_core.extractor import Features
from spade_core.gallery import NormalFrames
from spade_core.later import Later
from spade_core.motion import GRID, MEMORY, confirmed_speed, usual_speed
from spade_core.place_bank import PlaceBank, build_bank, extended_bank
from spade_core.retrieval import NearestFrames, image_score
from spade_core.runtime import Runtime
from spade_core.scorer import Explanation, FrameScore, Smoothing

CHANNELS: Final = ("appearance", "motion", "persistence")

BANK, USUAL_SPEED = "bank", "usual_speed"
"""Names of the arrays that a gallery keeps ready for this method."""

DETAIL_FROM = 0.7
"""Score, in thresholds, from which the detail map is made: below it no frame is ever shown in an alert."""


@dataclass(frozen=True, slots=True)
class CampusParameters:
    """The method's free parameters. Those after ``persistence`` are there for ablations."""

    k: int = 1  # K: nearest normal frames retrieved, to explain an alert
    sigma: float = 4.0  # Gaussian that smooths the maps, in pixels of the scoring image
    persistence: float = 8.0  # s: a place must look odd for so long; walkers linger for less
    channels: tuple[str, ...] = CHANNELS  # that count
    motion_memory: float = MEMORY  # s, time constant of the average of motion along itself; 0 = none
    bank: int = 128  # features kept of each place, chosen by k-center
    average: int = 3  # cells a side over which a place's feature is averaged; odd, 1 = none
    reach: int = 1  # places beside its own that a feature may match in; 0 or 1

    def __post_init__(self) -> None:
        if self.k < 1 or not 0 <= self.sigma < 100 or not 0 < self.persistence <= 600:
            raise InputError(f"{self}: k must be at least 1, sigma 0 or more, persistence above 0 and at most 600 s")
        if not 0 <= self.motion_memory <= 10:
            raise InputError(f"motion_memory = {self.motion_memory}: must be 0 to 10 s")
        if self.bank < 1 or self.average not in (1, 3, 5) or self.reach not in (0, 1):
            raise InputError(f"{self}: bank must be at least 1, average 1, 3 or 5, reach 0 or 1")
        known = [name for name in CHANNELS if name in self.channels]
        if list(self.channels) != known or not set(self.channels) & {"appearance", "motion"}:
            raise InputError(
                f"channels = {', '.join(self.channels) or 'none'}: must be some of {', '.join(CHANNELS)}, in this "
                "order, and hold appearance or motion"
            )

    def describe(self) -> Mapping[str, Any]:
        """JSON-able; a threshold is valid only for the parameters that it was set with."""
        return {"method": "campus", **asdict(self), "channels": list(self.channels)}


@dataclass(frozen=True, slots=True, eq=False)
class Channels:
    """One frame's maps before fusion."""

    appearance: NDArray[np.float32]  # (h, w) feature distance
    motion: NDArray[np.float32] | None  # (GRID, GRID) in units of the usual speed; None = not known
    persistence: NDArray[np.float32]  # (h, w) feature distance; zero until the memory is filled


class SceneMemory:
    """What a camera's scorer remembers of the last seconds. One per camera; forgets at a gap in time.

    Args:
        seconds: length of the memory.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._maps: deque[tuple[float, NDArray[np.float32]]] = deque()

    def lasting(self, appearance: NDArray[np.float32], time: float) -> NDArray[np.float32]:
        """The lowest appearance score that each place had over the memory, the present frame included.

        Args:
            appearance: (h, w) of the frame at ``time``.
            time: seconds; running backwards or a gap of half the memory empties it.

        Returns:
            (h, w) float32; zero while the memory does not reach back far enough to say.
        """
        maps = self._maps
        if maps and not 0 <= time - maps[-1][0] <= self._seconds / 2:
            maps.clear()
        maps.append((time, appearance))
        while len(maps) > 1 and time - maps[1][0] >= self._seconds:
            maps.popleft()
        if time - maps[0][0] < self._seconds * 0.95:
            return np.zeros_like(appearance)
        return np.asarray(np.min([kept for _, kept in maps], axis=0), np.float32)


class CampusScorer:
    """Channels of frames of one scene against its gallery.

    Args:
        normal: the scene's normal frames.
        size: S, side of the scoring image in pixels.
        parameters: see there.
        runtime: what searches the bank.

    Raises:
        GalleryCorrupt: the gallery holds no motion maps.
        InputError: it holds fewer than K frames.
    """

    def __init__(self, normal: NormalFrames, *, size: int, parameters: CampusParameters, runtime: Runtime) -> None:
        self.parameters = parameters
        self.smoothed = Smoothing(size=size, sigma=parameters.sigma)
        self._nearest = NearestFrames(np.asarray(normal.pooled), device=runtime.device)
        if parameters.k > len(self._nearest):
            raise InputError(f"K = {parameters.k}, but the gallery holds only {len(self._nearest)} frame(s)")
        self.detail = Detail(normal, self._nearest)
        ready = {name: normal.array(name) for name in (BANK, USUAL_SPEED)}
        found = {name: array for name, array in ready.items() if array is not None}
        if len(found) < len(ready):
            found = campus_arrays(normal, parameters=parameters, device=runtime.device)
        self._bank = PlaceBank(
            found[BANK],
            shapes=[level.shape for level in normal.pyramid(0)],
            average=parameters.average,
            reach=parameters.reach,
            runtime=runtime,
        )
        self._usual_speed = np.array(found[USUAL_SPEED], np.float32)

    def channels(
        self, features: Features, *, motion: NDArray[np.float16] | None, time: float, memory: SceneMemory
    ) -> Channels:
        """The maps of one frame.

        Args:
            features: of one frame (B = 1).
            motion: (GRID, GRID) flow pixels per interval, from :class:`spade_core.motion.MotionMeter`; None = not
                known.
            time: seconds.
            memory: of the camera.

        Raises:
            InputError: the features are not finite (a failed inference must not read as a score).
        """
        appearance = self._bank.distances(features.levels)
        if not np.isfinite(appearance).all():
            raise InputError("features are not finite: inference failed")
        speed = None if motion is None else np.asarray(motion.astype(np.float32) / self._usual_speed, np.float32)
        if speed is not None and not np.isfinite(speed).all():
            raise InputError("the motion map is not finite")
        return Channels(appearance, speed, memory.lasting(appearance, time))

    def explanation(self, features: Features) -> Explanation:
        """Eq. 2 and the K nearest normal frames of one frame."""
        distances, indices = self._nearest.search(features.pooled.float().cpu().numpy(), self.parameters.k)
        return Explanation(
            float(image_score(distances)[0]),
            tuple((int(i), float(d)) for i, d in zip(indices[0], distances[0], strict=True)),
        )

    def fused(self, channels: Channels, scales: Mapping[str, float]) -> NDArray[np.float32]:
        """(S, S) float32 scores: 1 = threshold.

        Where motion is not known (the first frame of a stream), appearance counts alone, against its own threshold: a
        frame of which less is known is not a quieter frame.

        Args:
            channels: of a frame.
            scales: as :class:`spade_core.campus_calibration.CampusCalibrator` sets them.
        """
        score = self.moving(channels, scales)
        if score is None:
            score = self.smoothed(channels.appearance / np.float32(scales["passing"]))
        else:
            score /= np.float32(scales["moving"])
        if "persistence" in self.parameters.channels and channels.persistence.any():
            lasting = self.smoothed(channels.persistence / np.float32(scales["persistence"]))
            np.maximum(score, lasting, out=score)
        return score

    def parts(self, channels: Channels, scales: Mapping[str, float], row: int, column: int) -> dict[str, float]:
        """What each channel alone would score at a pixel: 1 = it would alert without the others.

        So the squares of appearance and motion add up to that of the score, unless persistence made it. A channel that
        does not count, or is not known, is not there.
        """
        wanted = self.parameters.channels
        with_motion = "motion" in wanted and channels.motion is not None
        # As in ``fused``: appearance has a threshold of its own where motion is not known.
        passing = "motion" in wanted and not with_motion
        found = {}
        if "appearance" in wanted or passing:
            scale = scales["passing"] if passing else scales["appearance"] * scales["moving"]
            found["appearance"] = channels.appearance / np.float32(scale)
        if with_motion:
            assert channels.motion is not None
            found["motion"] = channels.motion / np.float32(scales["motion"] * scales["moving"])
        if "persistence" in wanted:
            found["persistence"] = channels.persistence / np.float32(scales["persistence"])
        return {name: float(self.smoothed(cells)[row, column]) for name, cells in found.items()}

    def moving(self, channels: Channels, scales: Mapping[str, float]) -> NDArray[np.float32] | None:
        """(S, S) length of the deviation in appearance and motion, each in its own scale; None where motion is unknown.

        A sum of squares, for neither says anything of the other: what is far off in one need not be in both.
        """
        wanted = self.parameters.channels
        # Scaled as cells: smoothing is linear, and there are a hundred times as many pixels.
        if "motion" not in wanted:
            return self.smoothed(channels.appearance / np.float32(scales["appearance"]))
        if channels.motion is None:
            return None
        motion = self.smoothed(channels.motion / np.float32(scales["motion"]))
        if "appearance" not in wanted:
            return motion
        appearance = self.smoothed(channels.appearance / np.float32(scales["appearance"]))
        return np.asarray(cv2.magnitude(appearance, motion), np.float32)


def campus_arrays(
    normal: NormalFrames,
    *,
    parameters: CampusParameters,
    device: torch.device,
    confirmed: Sequence[int] = (),
    motion_scale: float = 1.0,
) -> dict[str, NDArray[Any]]:
    """What a gallery keeps ready for this method: the bank of places, and how fast what moves usually is.

    Args:
        normal: the scene's normal frames.
        parameters: of the method.
        device: where to compute.
        confirmed: frames that somebody called normal. Each is in the bank whatever the others are; and a speed that one
            shows at a place counts there as what held-out normal footage reaches, not as more.
        motion_scale: what that reaches, in usual speeds (``scales["motion"]``); 1 where nothing is confirmed.

    Raises:
        GalleryCorrupt: the gallery holds no motion maps.
    """
    motion = np.asarray(normal.motion)
    if motion.ndim != 3 or motion.shape[1:] != (GRID, GRID):
        raise GalleryCorrupt("the gallery has no motion maps")
    return {
        BANK: build_bank(
            normal, count=parameters.bank, average=parameters.average, device=device, confirmed=confirmed
        ),
        USUAL_SPEED: confirmed_speed(
            usual_speed(np.delete(motion, list(confirmed), axis=0) if confirmed else motion),
            motion[list(confirmed)],
            scale=motion_scale,
        ),
    }


def extended_campus_arrays(
    arrays: Mapping[str, NDArray[Any]],
    levels: Sequence[Sequence[NDArray[np.floating]]],
    motion: NDArray[np.float16],
    *,
    parameters: CampusParameters,
    before: int,
    motion_scale: float,
) -> dict[str, NDArray[Any]]:
    """What :func:`campus_arrays` makes when frames are confirmed on top of a gallery, without reading that again.

    Args:
        arrays: of the gallery as it is.
        levels: of each new frame, finest first.
        motion: (M, GRID, GRID) of the M new frames; NaN where it is not known.
        parameters: of the method.
        before: confirmed frames in the gallery as it is.
        motion_scale: see :func:`campus_arrays`.
    """
    bank = np.asarray(arrays[BANK])
    return {
        BANK: extended_bank(bank, levels, average=parameters.average, before=before),
        USUAL_SPEED: confirmed_speed(np.asarray(arrays[USUAL_SPEED]), motion, scale=motion_scale),
    }


class CampusFrameScorer:
    """Scores frames with a calibrated scene.

    Args:
        scorer: of the scene.
        calibration: with the scales that :class:`spade_core.campus_calibration.CampusCalibrator` found.
    """

    def __init__(self, scorer: CampusScorer, calibration: Calibration) -> None:
        self._scorer, self._scales, self._grow = scorer, calibration.scales, calibration.grow_threshold

    def new_memory(self) -> SceneMemory:
        """An empty memory for one camera."""
        return SceneMemory(self._scorer.parameters.persistence)

    def score_frame(
        self,
        features: Features,
        *,
        motion: NDArray[np.float16] | None,
        time: float,
        memory: SceneMemory,
        threshold_factor: float = 1.0,
    ) -> FrameScore:
        """See :class:`spade_core.methods.FrameScorer`."""
        channels = self._scorer.channels(features, motion=motion, time=time, memory=memory)
        pixels = self._scorer.fused(channels, self._scales)
        peak, scorer, scales = float(pixels.max()), self._scorer, self._scales

        def parts(row: int, column: int) -> Mapping[str, float]:
            return scorer.parts(channels, scales, row, column)

        # Of a lower threshold, weaker frames are shown and regions reach further; of a higher one, never less far.
        lowered = min(1.0, threshold_factor)
        grow = self._grow * lowered
        if peak < DETAIL_FROM * lowered:
            return FrameScore(peak, pixels, Later(lambda: scorer.explanation(features)), parts=parts)
        kept = features.kept()  # an alert shows its strongest frame when it ends
        return FrameScore(
            peak,
            pixels,
            Later(lambda: scorer.explanation(kept)),
            Later(lambda: scorer.detail.map(kept, pixels >= grow)),  # regions are nowhere else
            parts,
        )
