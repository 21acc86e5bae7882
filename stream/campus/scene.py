"""The camera's picture and the truth about it, frame by frame."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.campus.backdrop import paint_backdrop
from stream.campus.cast import Stage, nearest_last
from stream.campus.furniture import Standing, furnish, swayed
from stream.campus.layout import Layout, ground_shadow_tint
from stream.campus.raster import Sprite, cast_shadow, rasterise
from stream.campus.script import Script
from stream.campus.weather import Weather
from stream.errors import UsageError

MIN_SIDE, MAX_SIDE = 64, 3840  # pixels
MAX_FPS = 120.0


class CampusScene:
    """A fixed camera over a walkway. Equal arguments give equal pictures, in any order and on every call.

    Args:
        seed: the place: buildings, trees, paving, camera and sun.
        width, height: of the picture, pixels.
        fps: frames per second.
        script: what happens.

    Raises:
        UsageError: the size, the rate or the seed is out of bounds.
    """

    def __init__(self, *, seed: int, width: int = 640, height: int = 360, fps: float = 10.0, script: Script) -> None:
        if not (MIN_SIDE <= width <= MAX_SIDE and MIN_SIDE <= height <= MAX_SIDE):
            raise UsageError(f"campus size is {width}x{height}: both sides must be {MIN_SIDE}..{MAX_SIDE} pixels")
        if not 0 < fps <= MAX_FPS:
            raise UsageError(f"campus fps is {fps}: it must be above 0 and at most {MAX_FPS:g}")
        if seed < 0:
            raise UsageError(f"campus seed is {seed}: give a whole number of 0 or more")
        self.seed = seed
        self.width = width
        self.height = height
        self.fps = fps
        self.script = script
        self._layout = Layout.of(seed, width=width, height=height)
        self._stage = Stage(self._layout, script)
        self._weather = Weather(self._layout.camera, (seed, script.walk_seed))
        self._standing, shadows = furnish(self._layout)
        self._backdrop = _shaded(paint_backdrop(self._layout), shadows)

    @property
    def frame_count(self) -> int | None:
        """How many frames the script has; None for an endless one."""
        return None if self.script.duration is None else max(1, math.floor(self.script.duration * self.fps + 1e-6))

    def render(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Frame ``index`` as (H, W, 3) BGR, and its truth (H, W): 255 = visible part of an anomalous object, else 0.

        Shadows are not part of an object; the discs of spoked wheels are.

        Raises:
            IndexError: the script has no such frame.
        """
        if index < 0 or (self.frame_count is not None and index >= self.frame_count):
            raise IndexError(f"frame {index} of a scene with {self.frame_count or 'endless'} frames, counted from 0")
        time = index / self.fps
        camera, light = self._layout.camera, self._layout.light
        figures = nearest_last(self._stage.at(time), self._layout)
        shadows = np.zeros((self.height, self.width), np.uint8)
        layers: list[tuple[float, Sprite, bool]] = []
        for depth, figure in figures:
            opaque = figure.opacity == 1.0
            if opaque:
                cast_shadow(figure.solid, camera, light, shadows)
            sprite = rasterise(figure.solid, camera, light)
            if sprite is not None:
                layers.append((depth, sprite if opaque else sprite.faded(figure.opacity), figure.anomalous))
        layers += [(thing.depth, _now(thing, time), False) for thing in self._standing]
        layers.sort(key=lambda layer: -layer[0])
        frame = _shaded(self._backdrop, shadows)
        mask = np.zeros((self.height, self.width), np.uint8)
        for _, sprite, anomalous in layers:
            sprite.over(frame, mask, anomalous=anomalous)
        truth = np.where(mask >= 128, 255, 0).astype(np.uint8)
        return self._weather.apply(frame, time, index), truth


def _now(thing: Standing, time: float) -> Sprite:
    return swayed(thing.sprite, thing.sway, time) if thing.sway else thing.sprite


def _shaded(picture: NDArray[np.uint8], shadows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A copy of ``picture`` (H, W, 3) with soft ``shadows`` (H, W) on it."""
    shaded = picture.copy()
    x, y, width, height = cv2.boundingRect(shadows)
    if width == 0:
        return shaded
    box = np.s_[max(0, y - 3) : y + height + 3, max(0, x - 3) : x + width + 3]
    soft = cv2.GaussianBlur(shadows[box], (5, 5), 0)
    kept = [cv2.LUT(soft, _kept(float(tint))) for tint in ground_shadow_tint()]
    shaded[box] = cv2.multiply(shaded[box], cv2.merge(kept), scale=1 / 255)
    return shaded


def _kept(tint: float) -> NDArray[np.uint8]:
    return np.asarray(np.rint(255 - np.arange(256) * (1 - tint)), np.uint8)
