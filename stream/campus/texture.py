"""Seeded noise, the stuff that surfaces are made of."""

from __future__ import annotations

import cv2
import numpy as np

from stream.campus.camera import Floats

_GRID = 128  # cells; the noise repeats after so many


class Noise:
    """Smooth noise in the plane: values 0..1 at lattice points, linear between them."""

    def __init__(self, rng: np.random.Generator) -> None:
        lattice = rng.random((_GRID, _GRID), np.float32)
        self._lattice = np.pad(lattice, ((0, 1), (0, 1)), mode="wrap")

    def at(self, x: Floats, y: Floats) -> Floats:
        """Values 0..1 at (x, y), both (H, W), in cells."""
        columns, rows = (np.asarray(v - _GRID * np.floor(v * (1 / _GRID)), np.float32) for v in (x, y))
        return np.asarray(cv2.remap(self._lattice, columns, rows, cv2.INTER_LINEAR), np.float32)

    def cells(self, x: Floats, y: Floats) -> Floats:
        """One value 0..1 for each whole cell: what differs from tile to tile."""
        return np.asarray(self._lattice[np.floor(y).astype(int) % _GRID, np.floor(x).astype(int) % _GRID])

    def cloud(self, x: Floats, y: Floats, *, octaves: int, sharp: Floats | float = 0.0) -> Floats:
        """Several scales at once, -0.5..0.5. ``sharp`` is the size of a pixel in cells: finer scales fade away."""
        total = np.zeros_like(x)
        weight, norm, scale = 1.0, 0.0, 1.0
        for octave in range(octaves):
            visible = np.clip(1.5 - np.asarray(sharp) * scale * 2, 0, 1)
            total += (self.at(x * scale + 17.3 * octave, y * scale + 5.1 * octave) - 0.5) * visible * weight
            norm += weight
            weight, scale = weight * 0.6, scale * 2.1
        return np.asarray(total / norm, np.float32)


def blend(under: Floats, over: Floats, share: Floats) -> Floats:
    """``share`` (H, W) of ``over`` on ``under``, both (H, W, 3)."""
    return np.asarray(under + (over - under) * share[..., None], np.float32)


def smooth(value: Floats, low: float, high: float) -> Floats:
    """0 below ``low``, 1 above ``high``, and a soft step between."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def stripe(position: Floats, period: float, width: float, pixel: Floats) -> Floats:
    """1 on lines of ``width`` every ``period`` and 0 between, averaged over a pixel of size ``pixel`` (all metres)."""
    away = np.abs(np.mod(position + period / 2, period) - period / 2)
    covered = np.clip((width / 2 + pixel / 2 - away) / np.maximum(pixel, 1e-3), 0, 1)
    # A pixel that holds more than one line sees their mean.
    return np.asarray(np.where(pixel > period, width / period, covered * np.minimum(1, width / pixel)), np.float32)
