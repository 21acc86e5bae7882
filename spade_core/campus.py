"""The ``campus`` method: SPADE's idea for cameras that do not move (DESIGN section 5).

What is normal is known per place, so a frame is compared there and nearly there only. Three channels:

appearance
    distance of the deep features at a place to the closest that any gallery frame shows at this place or next to it
motion
    speed at a place, in units of the scene's own normal motion there
persistence
    the appearance that a place has kept for some seconds: walkers pass, a bag left behind stays

Appearance and motion are added after each is scaled by what normal footage reaches; persistence stands alone. Both sums
are divided by their own threshold, so the fused score is 1 where an alert begins. Retrieval of the nearest normal frame
(K = 1) stays: it explains the alert.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import avg_pool2d, interpolate, pad, unfold

from spade_core.calibration import (
    MIN_HELD_OUT,
    Calibration,
    check_change,
    check_held_out,
    grow_threshold,
    tail_threshold,
    usual_level,
)
from spade_core.errors import GalleryCorrupt, InputError
from spade_core.extractor import Features
from spade_core.gallery import NormalFrames
from spade_core.motion import normal_motion
from spade_core.retrieval import NearestFrames, image_score
from spade_core.sampling import evenly_spaced
from spade_core.scorer import FrameScore, smooth

BANK_FRAMES = 512
"""Gallery frames in the bank of places, evenly spaced: enough for walkers to have been everywhere, 80 MB a scene."""

SCALE_QUANTILE = 0.9
"""Appearance and motion are scaled by this quantile of the held-out frames' highest values, so that they weigh
alike.
"""


LEAST_MOTION = 0.25
"""Motion is scaled by at least this part of normal motion: where nothing ever moved, noise would else count as much."""

LEAST_PERSISTENCE = 0.75
"""What lasts must be odder than this part of what passes (the scale of appearance): half a minute of held-out footage
may hold nobody who stands still for a while, or who walks straight towards the camera."""

DETAIL_FRAMES = 8
"""Similar normal frames that an object is cut out against: in one of them nobody stands at its place."""

DETAIL_FROM = 0.7
"""Score, in thresholds, from which the detail map is made: below it no frame is ever shown in an alert."""


@dataclass(frozen=True, slots=True)
class CampusParameters:
    """The method's free parameters."""

    k: int = 1  # K: nearest normal frames retrieved, to explain an alert
    sigma: float = 4.0  # Gaussian that smooths the maps, in pixels of the scoring image
    persistence: float = 4.0  # s: a place must look odd for so long; a walker crosses a place in one

    def __post_init__(self) -> None:
        if self.k < 1 or not 0 <= self.sigma < 100 or not 0 < self.persistence <= 600:
            raise InputError(f"{self}: k must be at least 1, sigma 0 or more, persistence above 0 and at most 600 s")

    def describe(self) -> Mapping[str, Any]:
        """JSON-able; a threshold is valid only for the parameters that it was set with."""
        return {"method": "campus", **asdict(self)}


@dataclass(frozen=True, slots=True)
class Channels:
    """One frame's maps before fusion."""

    appearance: NDArray[np.float32]  # (h, w) feature distance
    motion: NDArray[np.float32]  # (GRID, GRID) in units of normal motion; zero where motion is not known
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
        device: where the bank is kept.

    Raises:
        GalleryCorrupt: the gallery holds no motion maps.
    """

    def __init__(self, normal: NormalFrames, *, size: int, parameters: CampusParameters, device: torch.device) -> None:
        self.size, self.parameters = size, parameters
        self._nearest = NearestFrames(np.asarray(normal.pooled))
        if parameters.k > len(self._nearest):
            raise InputError(f"K = {parameters.k}, but the gallery holds only {len(self._nearest)} frame(s)")
        self.detail = _Detail(normal, self._nearest)
        frames = evenly_spaced(len(self._nearest), BANK_FRAMES)
        rows = [_places([torch.from_numpy(np.array(level)) for level in normal.pyramid(i)]) for i in frames]
        self._grid = rows[0].shape[1:]
        # (places, frames, channels): one product per place meets all frames, and reads the bank once.
        self._bank = torch.stack([row.flatten(1).T for row in rows], dim=1).contiguous().to(device)
        self._squares = self._bank.square().sum(dim=2, keepdim=True)
        motion = np.asarray(normal.motion)
        if motion.ndim != 3:
            raise GalleryCorrupt("the gallery has no motion maps")
        self._normal_motion = normal_motion(motion)

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
        appearance = self._appearance([level[0] for level in features.levels])
        if not np.isfinite(appearance).all():
            raise InputError("features are not finite: inference failed")
        speed = (
            np.zeros_like(self._normal_motion) if motion is None else motion.astype(np.float32) / self._normal_motion
        )
        if not np.isfinite(speed).all():
            raise InputError("the motion map is not finite")
        return Channels(appearance, speed, memory.lasting(appearance, time))

    def neighbours(self, features: Features) -> tuple[float, tuple[tuple[int, float], ...]]:
        """Eq. 2 and the K nearest normal frames of one frame."""
        distances, indices = self._nearest.search(features.pooled.float().cpu().numpy(), self.parameters.k)
        return float(image_score(distances)[0]), tuple(
            (int(i), float(d)) for i, d in zip(indices[0], distances[0], strict=True)
        )

    def fused(self, channels: Channels, scales: Mapping[str, float]) -> NDArray[np.float32]:
        """(S, S) float32 scores: 1 = threshold. ``scales`` as :meth:`scales_of` sets them."""
        lasting = self._up(channels.persistence) / scales["persistence"]
        return np.asarray(np.maximum(self._moving(channels, scales) / scales["moving"], lasting), np.float32)

    def scales_of(self, samples: list[Channels], *, exceedance: float) -> dict[str, float]:
        """Scales from held-out normal frames: what each channel reaches there, and the thresholds of both sums.

        Raises:
            CalibrationError: nothing changes from one frame to the next.
        """
        appearance = np.array([self._up(sample.appearance).max() for sample in samples])
        motion = np.array([self._up(sample.motion).max() for sample in samples])
        lasting = np.array([self._up(sample.persistence).max() for sample in samples])
        scales = {
            "appearance": max(float(np.quantile(appearance, SCALE_QUANTILE)), 1e-6),
            "motion": max(float(np.quantile(motion, SCALE_QUANTILE)), LEAST_MOTION),
        }
        moving = np.array([self._moving(sample, scales).max() for sample in samples])
        check_change(moving)
        # Either sum may alert, so each gets half of the frames that are allowed to.
        scales["moving"] = tail_threshold(moving, exceedance / 2)
        known = lasting[lasting > 0]
        # Footage too short to show what lasts: then it may be as odd as what passes.
        least = tail_threshold(known if len(known) >= MIN_HELD_OUT else appearance, exceedance / 2)
        scales["persistence"] = max(least, LEAST_PERSISTENCE * scales["appearance"])
        return scales

    def _moving(self, channels: Channels, scales: Mapping[str, float]) -> NDArray[np.float32]:
        """(S, S) appearance and motion together, each in its own scale."""
        appearance = self._up(channels.appearance) / scales["appearance"]
        return np.asarray(appearance + self._up(channels.motion) / scales["motion"], np.float32)

    def _up(self, grid: NDArray[np.float32]) -> NDArray[np.float32]:
        return smooth(grid, size=self.size, sigma=self.parameters.sigma)

    def _appearance(self, levels: list[torch.Tensor]) -> NDArray[np.float32]:
        """(h, w) distance of each place to the nearest bank entry there or one place beside it."""
        with torch.inference_mode():
            query = _places(levels)
            height, width = self._grid
            # (places, C, 9): for each place of the bank, the query at it and around it.
            around = unfold(query[None], kernel_size=3, padding=1)[0].reshape(len(query), 9, -1).permute(2, 0, 1)
            nearest = torch.baddbmm(self._squares, self._bank, around.contiguous(), alpha=-2.0).amin(dim=1)
            nearest = nearest.T.reshape(3, 3, height, width)
            best = torch.full((height, width), torch.inf, device=query.device)
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    target = best[max(0, dy) : height + min(0, dy), max(0, dx) : width + min(0, dx)]
                    shifted = nearest[dy + 1, dx + 1][
                        max(0, -dy) : height - max(0, dy), max(0, -dx) : width - max(0, dx)
                    ]
                    torch.minimum(target, shifted, out=target)
            squared = best + query.square().sum(dim=0)
            return np.asarray(squared.clamp_min(0).sqrt().cpu().numpy(), np.float32)


class _Detail:
    """Where exactly in a region the odd thing is: the finest level against what the most similar normal frames show
    there.

    It is too sensitive to alert by (every walker differs from the ground behind), and just right to cut an object out.
    """

    def __init__(self, normal: NormalFrames, nearest: NearestFrames) -> None:
        self._normal, self._nearest = normal, nearest

    def map(self, features: Features) -> NDArray[np.float32]:
        """(h, w) float32 on the finest level's grid: distance to the closest of ``DETAIL_FRAMES`` frames, within a
        cell.
        """
        count = min(DETAIL_FRAMES, len(self._nearest))
        _, indices = self._nearest.search(features.pooled.float().cpu().numpy(), count)
        query = features.levels[0].float()
        frames = np.stack([self._normal.pyramid(int(i))[0] for i in indices[0]])
        normal = pad(torch.from_numpy(frames).to(query.device).float(), (1, 1, 1, 1), mode="replicate")
        height, width = query.shape[2:]
        with torch.inference_mode():
            best = torch.full((height, width), torch.inf, device=query.device)
            for dy in range(3):
                for dx in range(3):
                    shifted = normal[:, :, dy : dy + height, dx : dx + width]
                    best = torch.minimum(best, (query - shifted).square().sum(dim=1).amin(dim=0))
        return np.asarray(best.sqrt().cpu().numpy(), np.float32)


class CampusFrameScorer:
    """Scores frames with a calibrated scene.

    Args:
        scorer: of the scene.
        calibration: with the scales that :class:`CampusCalibrator` found.
    """

    def __init__(self, scorer: CampusScorer, calibration: Calibration) -> None:
        self._scorer, self._scales = scorer, calibration.scales

    def new_memory(self) -> SceneMemory:
        """An empty memory for one camera."""
        return SceneMemory(self._scorer.parameters.persistence)

    def score_frame(
        self, features: Features, *, motion: NDArray[np.float16] | None, time: float, memory: SceneMemory
    ) -> FrameScore:
        """See :class:`spade_core.methods.FrameScorer`."""
        channels = self._scorer.channels(features, motion=motion, time=time, memory=memory)
        pixels = self._scorer.fused(channels, self._scales)
        image, neighbours = self._scorer.neighbours(features)
        peak = float(pixels.max())
        detail = self._scorer.detail.map(features) if peak >= DETAIL_FROM else None
        return FrameScore(peak, image, pixels, neighbours, detail)


class CampusCalibrator:
    """Collects held-out normal frames and sets scales and thresholds from them. See
    :class:`spade_core.methods.Calibrator`.
    """

    def __init__(self, scorer: CampusScorer) -> None:
        self._scorer = scorer
        self._memory = SceneMemory(scorer.parameters.persistence)
        self._samples: list[Channels] = []

    def add(self, features: Features, *, motion: NDArray[np.float16] | None, time: float) -> None:
        """Takes the next held-out frame."""
        self._samples.append(self._scorer.channels(features, motion=motion, time=time, memory=self._memory))

    def finish(self, *, exceedance: float) -> Calibration:
        """The calibration. Raises CalibrationError where there were too few frames."""
        check_held_out(len(self._samples), exceedance)
        scales = self._scorer.scales_of(self._samples, exceedance=exceedance)
        maps = [self._scorer.fused(sample, scales) for sample in self._samples]
        peaks = np.array([pixels.max() for pixels in maps])
        return Calibration(
            threshold=1.0,
            grow_threshold=grow_threshold(peaks, 1.0),
            exceedance=exceedance,
            held_out=len(self._samples),
            median=float(np.median(peaks)),
            highest=float(peaks.max()),
            usual=usual_level(peaks),
            parameters=dict(self._scorer.parameters.describe()),
            scales=scales,
        )


def _places(levels: list[torch.Tensor]) -> torch.Tensor:
    """(C, h, w) features of the places: levels 2 and 3 on the grid of level 3, each averaged over 3 x 3 cells.

    The average makes a place's feature less dependent on where exactly in it a limb or an edge lies.
    """
    grid = levels[2].shape[1:]
    fine = interpolate(_averaged(levels[1]), size=grid, mode="area")
    return torch.cat([fine, _averaged(levels[2])], dim=1)[0]


def _averaged(level: torch.Tensor) -> torch.Tensor:
    return avg_pool2d(level.float()[None], kernel_size=3, stride=1, padding=1, count_include_pad=False)
