"""The fixed camera: from metres in the world to pixels. World axes: x right, y up, z away from the camera's foot."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]  # float32 wherever there are many

CHEST = 0.9  # metres: the height at which entering and leaving the picture is decided


@dataclass(frozen=True, slots=True, eq=False)
class Camera:
    """A pinhole camera above the origin of the ground."""

    width: int  # pixels
    height: int  # pixels
    focal: float  # pixels
    mast: float  # metres above the ground
    pitch: float  # radians downward
    yaw: float  # radians to the right
    axes: Floats  # (3, 3): rows are the camera's right, up and forward in world axes

    @classmethod
    def mounted(cls, *, width: int, height: int, mast: float, pitch: float, yaw: float) -> Camera:
        """A camera with a horizontal field of view of 58 degrees."""
        sp, cp, sy, cy = math.sin(pitch), math.cos(pitch), math.sin(yaw), math.cos(yaw)
        axes = np.array([[cy, 0, -sy], [sy * sp, cp, cy * sp], [sy * cp, -sp, cy * cp]], np.float32)
        return cls(width, height, 0.9 * width, mast, pitch, yaw, axes)

    @property
    def eye(self) -> Floats:
        """(3,) where it hangs, metres."""
        return np.array([0, self.mast, 0], np.float32)

    def project(self, points: Floats) -> Floats:
        """World points (..., 3) in metres to (..., 3): column and row in pixels, and depth along the axis in metres."""
        x, y, z = self.axes @ (points.reshape(-1, 3) - self.eye).T
        depth = np.maximum(z, np.float32(0.1))  # what is behind the camera must not flip over to the front
        scale = np.float32(self.focal) / depth
        pixels = np.stack([self.width / 2 + x * scale, self.height / 2 - y * scale, depth], axis=-1)
        return np.asarray(pixels.reshape(points.shape), np.float32)

    def rays(self, scale: int) -> Floats:
        """(H * scale, W * scale, 3) world directions through the pixel centres; depth along the axis is 1."""
        columns = (np.arange(self.width * scale, dtype=np.float32) + 0.5) / scale - self.width / 2
        rows = self.height / 2 - (np.arange(self.height * scale, dtype=np.float32) + 0.5) / scale
        right, up = np.meshgrid(columns / self.focal, rows / self.focal)
        return np.stack([right, up, np.ones_like(right)], axis=-1) @ self.axes

    def lane_span(self, z: float, margin: float) -> tuple[float, float]:
        """The x at which the line at ``z`` leaves the picture on the left and right, and ``margin`` more; metres."""
        return self._edge(z, 0.0) - margin, self._edge(z, float(self.width)) + margin

    def _edge(self, z: float, column: float) -> float:
        # Solves column(x) = column for x on the line (x, CHEST, z): both sides of the projection are linear in x.
        k = (column - self.width / 2) / self.focal
        (rx, _, rz), _, (fx, fy, fz) = self.axes.tolist()
        return float((k * ((CHEST - self.mast) * fy + z * fz) - z * rz) / (rx - k * fx))
