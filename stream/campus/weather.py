"""Light that drifts, clouds that pass and a sensor that is never quiet. All of it is a function of seed and time."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.campus.camera import Camera
from stream.campus.texture import Noise, smooth

_COARSE = 16  # pixels of the frame per sample of the light: clouds have no edges
_NOISE_SIGMA = 2.2  # grey levels
_NOISE_MARGIN = 64  # pixels by which the stored noise is larger than a frame: it is shifted for each frame
_WIND = (0.75, 0.35)  # metres per second
_CLOUD_SIZE = 22.0  # metres


class Weather:
    """Turns the clean picture of a moment into what the sensor gives."""

    def __init__(self, camera: Camera, seed: tuple[int, int]) -> None:
        rng = np.random.default_rng((*seed, 0x5EA))
        self._seed = seed
        self._size = (camera.width, camera.height)
        self._phases = rng.uniform(0, 2 * math.pi, 5).tolist()
        self._noise = Noise(rng)
        rays = cv2.resize(camera.rays(1), (camera.width // _COARSE + 1, camera.height // _COARSE + 1))
        reach = np.minimum(-camera.mast / np.minimum(rays[..., 1], -1e-3), 60)
        self._x = (rays[..., 0] * reach / _CLOUD_SIZE).astype(np.float32)
        self._z = (rays[..., 2] * reach / _CLOUD_SIZE).astype(np.float32)
        grain = rng.normal(0, _NOISE_SIGMA, (camera.height + _NOISE_MARGIN, camera.width + _NOISE_MARGIN, 3))
        # Demosaicing couples the channels: mostly one grain, with a little colour.
        self._grain = np.rint(0.75 * grain[..., :1] + 0.6 * grain).astype(np.int8)

    def apply(self, frame: NDArray[np.uint8], time: float, index: int) -> NDArray[np.uint8]:
        """(H, W, 3) BGR as seen at ``time`` (seconds), frame number ``index``."""
        lit = cv2.multiply(frame, cv2.resize(self._light(time), self._size), dtype=cv2.CV_8U)
        rng = np.random.default_rng((*self._seed, index, 0x9015E))
        y, x = rng.integers(0, _NOISE_MARGIN, 2).tolist()
        grain = self._grain[y : y + self._size[1], x : x + self._size[0]]
        return np.asarray(cv2.add(lit, grain, dtype=cv2.CV_8U), np.uint8)

    def _light(self, time: float) -> NDArray[np.float32]:
        """(h, w, 3) factors, coarse."""
        a, b, c, dx, dz = self._phases
        level = 1 + 0.035 * math.sin(2 * math.pi * time / 143 + a) + 0.015 * math.sin(2 * math.pi * time / 31 + b)
        warmth = 0.012 * math.sin(2 * math.pi * time / 211 + c)
        x = self._x + np.float32(10 * dx + _WIND[0] * time / _CLOUD_SIZE)
        z = self._z + np.float32(10 * dz + _WIND[1] * time / _CLOUD_SIZE)
        cloud = smooth(self._noise.cloud(x, z, octaves=2), -0.05, 0.22)
        shade = np.float32(level) * (1 - 0.13 * cloud)
        return np.stack([shade * np.float32(1 - warmth), shade, shade * np.float32(1 + warmth)], axis=-1)
