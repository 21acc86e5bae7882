"""Does a camera still show the place that was enrolled? Its scores mean nothing once it was bumped out of position.

What stands still in a scene is where edges run the same way in all normal pictures: people and cars average out. A
picture is compared with that by the directions of its edges, so that brightness and contrast do not matter, nor which
side of an edge is the brighter one (that changes from day to night): first as it is, then shifted, then turned and
zoomed. What counts as in place follows from normal footage alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from spade_core.errors import InputError

SIDE = 96
"""Pixels a side in which pictures are compared: no more than a thumbnail has, and 3 % of it are three pixels."""

REACH = SIDE // 3
"""Pixels; farther shifts are not looked for: less than half of the enrolled picture is left to recognise them by."""

TOLERANCE = 0.025
"""Shift, in parts of the picture, that the method bears: ``campus`` looks for matches up to one place (1/16) beside and
averages over three, but from half a place on its scores rise."""

HIDDEN = 0.4
"""Part of the lowest normal agreement below which a picture does not show the scene. A van that hides half of what
stands still leaves half of the agreement, and is no bumped camera. Other places come to no more than that by chance."""

BEATEN = 0.75
"""Where the agreement as it is stays below this part of the best one elsewhere, the picture is displaced. Shifts of 3 %
leave 0.3 to 0.5 of it, turns by 2 degrees 0.7; of normal pictures none came elsewhere to more than 0.4 of its agreement
in place."""

FITS = 0.6
"""Part of the lowest normal agreement that a displaced picture must reach: passers-by may hide some of it."""

CLEAR = 0.9
"""From this part of the usual agreement on nothing else is looked for: no shift that matters leaves so much."""

WARPS = ((2.5, 1.0), (-2.5, 1.0), (5.0, 1.0), (-5.0, 1.0), (0.0, 1.1), (0.0, 1 / 1.1))
"""(degrees clockwise, zoom) that are tried: as far apart as they may be for what lies between to be found, too."""

LEAST_PICTURES = 12
"""Normal pictures: with fewer, people who stand still for a while look like a part of the place."""

LEAST_STRUCTURE = 0.04
"""Part of the picture that must stand still and have an edge; ordinary scenes have 0.2 to 0.4."""

LEAST_AGREEMENT = 0.3
"""Lowest normal agreement of a usable scene. Other views of edges that run level and upright come to 0.1 to 0.2."""

MOST_IN_ONE_PLACE = 0.5
"""Part of the structure that one ninth of the picture may hold: who stands before that would hide the scene."""

FAINT = 0.5
"""Gray levels per pixel: what changes less from one pixel to the next is noise."""

MARGIN = 0.125
"""Outer part of each side where structure counts less, down to nothing: clocks and names that cameras write into the
picture stand there, and they stay where they are when the camera moves."""

_FOLDS = 4  # contiguous parts of the footage, each judged by the others: a slow change of light shows then
_PADDED = SIDE + REACH  # shifts within reach do not wrap around; 128 is quick to transform
_BLUR = 1.0  # pixels, sigma: below the smallest shift that matters


@dataclass(frozen=True, slots=True)
class Placement:
    """How a picture lies to the scene that was enrolled.

    Agreement is 1 where every edge that stands still is there, and about 0 by chance.
    """

    in_place: bool | None  # None: the picture shows too little to say, or the scene does
    agreement: float  # as it is
    normal: tuple[float, float]  # lowest and highest agreement of normal pictures
    shift: tuple[float, float] = (0.0, 0.0)  # best found; to the right, down; parts of width and height
    turn: float = 0.0  # degrees clockwise, before the shift
    zoom: float = 1.0  # above 1: things look larger than when they were enrolled
    shifted_agreement: float = 0.0  # there

    @property
    def displaced(self) -> bool:
        """The scene is seen, but not where it was: shift, turn and zoom say where."""
        return self.in_place is False and (self.shift != (0.0, 0.0) or self.turn != 0.0 or self.zoom != 1.0)


class ScenePlacement:
    """What stands still in a scene. Make one by :meth:`from_pictures`.

    Args:
        fields: (N, SIDE, SIDE, 2) float32 edge directions of N normal pictures, in the order of time; N >= 1.
        resolution: (width, height) of those pictures in pixels; sharper ones are reduced to it before comparing.
    """

    def __init__(self, fields: NDArray[np.float32], resolution: tuple[int, int]) -> None:
        self._resolution = resolution
        self._structure, self._total = _structure(fields)
        agreements = _held_out_agreements(fields)
        self.normal = (min(agreements), max(agreements))
        self._usual = float(np.median(agreements))
        self._spectrum = _spectrum(self._structure)
        self._overlap = _overlap(self._structure, self._total)
        self.why_not = self._find_fault(len(fields))

    @classmethod
    def from_pictures(cls, pictures: Sequence[NDArray[np.uint8]]) -> ScenePlacement:
        """Learns from normal pictures, evenly spread over the footage, in the order of time; some dozens are best.

        Args:
            pictures: N >= 1 of (h, w, 3) uint8 RGB, showing the same part of the frame as what is compared later.

        Raises:
            InputError: there are none, or one is not such an array.
        """
        if not pictures:
            raise InputError("placement needs at least one normal picture")
        resolution = (pictures[0].shape[1], pictures[0].shape[0])
        fields = [_field(_gray(picture, resolution))[0] for picture in pictures]
        return cls(np.stack(fields), resolution)

    @property
    def usable(self) -> bool:
        """Whether enough stands still here to judge by; else no picture is ever found out of place."""
        return not self.why_not

    @property
    def limit(self) -> float:
        """Agreement below which a picture does not show this scene."""
        return HIDDEN * self.normal[0]

    def compare(self, image: NDArray[np.uint8]) -> Placement:
        """Says whether a picture (H, W, 3) uint8 RGB, of any aspect ratio, shows the scene where it was enrolled.

        Takes 0.4 ms of one core while it does, 0.6 ms where it is shifted, and some 5 ms where it is found nowhere.

        Raises:
            InputError: it is not such an array.
        """
        gray = _gray(image, self._resolution)
        field, detail = _field(gray)
        agreement = self._agreement(field)
        if not self.usable:
            return Placement(None, agreement, self.normal)
        if agreement >= CLEAR * self._usual:
            return Placement(True, agreement, self.normal, shifted_agreement=agreement)
        if detail < FAINT:
            return Placement(None, agreement, self.normal)
        found = self._displacement(gray, field, agreement)
        if found is not None:
            best, shift, turn, zoom = found
            return Placement(False, agreement, self.normal, shift, turn, zoom, best)
        return Placement(agreement >= self.limit, agreement, self.normal, shifted_agreement=agreement)

    def _displacement(
        self, gray: NDArray[np.float32], field: NDArray[np.float32], agreement: float
    ) -> tuple[float, tuple[float, float], float, float] | None:
        """Where else the picture fits, and clearly better: (agreement, shift, turn, zoom); None = nowhere."""
        least = max(FITS * self.normal[0], agreement / BEATEN)
        best, shift = self._best_shift(field)
        if best >= least and max(map(abs, shift)) > TOLERANCE:
            return best, shift, 0.0, 1.0
        # Warping costs more, and a camera that was turned was mostly shifted, too.
        found = [(*self._best_shift(_field(_undone(gray, *warp))[0]), *warp) for warp in WARPS]
        fitting = max(found, key=lambda tried: tried[0])
        return fitting if fitting[0] >= least else None

    def _agreement(self, field: NDArray[np.float32]) -> float:
        return float(np.vdot(self._structure, field)) / self._total

    def _best_shift(self, field: NDArray[np.float32]) -> tuple[float, tuple[float, float]]:
        """The highest agreement within ``REACH``, and the shift (right, down) in parts of the picture."""
        product = cv2.mulSpectrums(_spectrum(field), self._spectrum, 0, conjB=True)
        sums = cv2.idft(product, flags=cv2.DFT_SCALE)[..., 0]
        agreements = np.roll(sums, (REACH, REACH), axis=(0, 1))[: 2 * REACH + 1, : 2 * REACH + 1] / self._overlap
        row, column = divmod(int(agreements.argmax()), 2 * REACH + 1)
        down = row - REACH + _vertex(agreements[:, column], row)
        right = column - REACH + _vertex(agreements[row], column)
        return float(agreements[row, column]), (right / SIDE, down / SIDE)

    def _find_fault(self, pictures: int) -> str:
        """Why this scene cannot be judged by what stands still in it; "" = it can."""
        if pictures < LEAST_PICTURES:
            return f"{pictures} normal pictures are too few; {LEAST_PICTURES} are needed"
        strength = np.hypot(self._structure[..., 0], self._structure[..., 1])
        ninths = cv2.resize(strength, (3, 3), interpolation=cv2.INTER_AREA)
        if strength.mean() < LEAST_STRUCTURE:
            return f"edges that stand still are {strength.mean():.1%} of the picture; {LEAST_STRUCTURE:.0%} are needed"
        if ninths.max() > MOST_IN_ONE_PLACE * ninths.sum():
            return "nearly all that stands still is in one place"
        if self.normal[0] < LEAST_AGREEMENT:
            return f"normal pictures differ too much (agreement down to {self.normal[0]:.2f})"
        return ""


def _gray(image: NDArray[np.uint8], resolution: tuple[int, int]) -> NDArray[np.float32]:
    """(h, w) float32 gray levels, no more pixels than ``resolution`` (w, h)."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise InputError(f"picture has shape {image.shape} and dtype {image.dtype}; (H, W, 3) uint8 RGB is needed")
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    if (gray.shape[1], gray.shape[0]) != resolution:
        # To the very pixels of the enrolled pictures, so that both are equally sharp.
        gray = cv2.resize(gray, resolution, interpolation=cv2.INTER_AREA)
    return np.asarray(gray, np.float32)


def _field(gray: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """The directions of edges, (SIDE, SIDE, 2): length near 1 at an edge, near 0 where all is even, and *twice* the
    gradient's angle, which is the same from dark to light as from light to dark. And the mean gradient, in gray levels
    per pixel.
    """
    small = cv2.GaussianBlur(cv2.resize(gray, (SIDE, SIDE), interpolation=cv2.INTER_AREA), (0, 0), _BLUR)
    right = cv2.Sobel(small, cv2.CV_32F, 1, 0, scale=1 / 8)
    down = cv2.Sobel(small, cv2.CV_32F, 0, 1, scale=1 / 8)
    length = cv2.magnitude(right, down)
    detail = float(length.mean())
    # Measured by the picture's own gradients, so that a dark or hazy one has the same field.
    scale = 1 / (np.maximum(length, 1e-6) * cv2.magnitude(length, np.full_like(length, max(FAINT, detail))))
    field = cv2.merge(((right * right - down * down) * scale, 2 * right * down * scale))
    return np.asarray(field, np.float32), detail


def _structure(fields: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """What N fields have in common, less what they would have by chance; and the sum of its lengths, above 0."""
    mean = fields.mean(axis=0)
    length = np.hypot(mean[..., 0], mean[..., 1])
    by_chance = 1 / math.sqrt(len(fields))
    weight = _window() * np.maximum(0, 1 - by_chance / np.maximum(length, 1e-9))
    structure = np.asarray(mean * weight[..., None], np.float32)
    return structure, max(float((length * weight).sum()), 1e-9)


def _held_out_agreements(fields: NDArray[np.float32]) -> list[float]:
    """The agreement of each picture with the structure of the other parts of the footage; of one picture, 0."""
    agreements = []
    for part in np.array_split(np.arange(len(fields)), min(_FOLDS, len(fields))):
        others = np.delete(fields, part, axis=0)
        if len(others) == 0:
            return [0.0]
        structure, total = _structure(others)
        agreements += [float(np.vdot(structure, fields[index])) / total for index in part]
    return agreements


def _window() -> NDArray[np.float32]:
    """(SIDE, SIDE) weights: 1 inside, falling to 0 over ``MARGIN`` of each side."""
    places = (np.arange(SIDE) + 0.5) / SIDE
    rise = np.minimum(np.minimum(places, 1 - places) / MARGIN, 1)
    ramp = np.sin(np.pi / 2 * rise) ** 2
    return np.asarray(np.outer(ramp, ramp), np.float32)


def _spectrum(field: NDArray[np.float32]) -> NDArray[np.float32]:
    """The transform of a field taken as complex numbers: products of two are then the inner products of directions."""
    padded = np.zeros((_PADDED, _PADDED, 2), np.float32)
    padded[:SIDE, :SIDE] = field
    return np.asarray(cv2.dft(padded, nonzeroRows=SIDE), np.float32)


def _overlap(structure: NDArray[np.float32], total: float) -> NDArray[np.float32]:
    """How much of the structure is within the picture at each shift, (2 REACH + 1, 2 REACH + 1).

    At least half of all counts, so that a corner that fits by chance does not.
    """
    strength = np.hypot(structure[..., 0], structure[..., 1])
    sums = cv2.integral(strength)
    shifts = np.arange(-REACH, REACH + 1)
    low, high = np.maximum(0, -shifts), SIDE - np.maximum(0, shifts)
    within = sums[np.ix_(high, high)] - sums[np.ix_(low, high)] - sums[np.ix_(high, low)] + sums[np.ix_(low, low)]
    return np.asarray(np.maximum(within, total / 2), np.float32)


def _undone(gray: NDArray[np.float32], turn: float, zoom: float) -> NDArray[np.float32]:
    """The picture as it would be had the camera not been turned (degrees clockwise) and zoomed."""
    height, width = gray.shape
    back = cv2.getRotationMatrix2D((width / 2, height / 2), turn, 1 / zoom)  # OpenCV turns the other way round
    return np.asarray(cv2.warpAffine(gray, back, (width, height), borderMode=cv2.BORDER_REPLICATE), np.float32)


def _vertex(values: NDArray[np.float32], peak: int) -> float:
    """How far the top of the parabola through a peak and its two neighbours lies from it: -0.5..0.5."""
    if not 0 < peak < len(values) - 1:
        return 0.0
    before, top, after = (float(value) for value in values[peak - 1 : peak + 2])
    bend = 2 * top - before - after
    return 0.5 * (after - before) / bend if bend > 0 else 0.0
