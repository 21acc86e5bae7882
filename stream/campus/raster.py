"""Solids to pixels: shaded, sorted far to near, anti-aliased; and sprites onto frames."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.campus.camera import Camera, Floats
from stream.campus.mesh import Solid

_SUBPIXEL = 4  # fractional bits of polygon corners
_FINE, _COARSE = 4, 2  # canvas pixels per frame pixel, for small objects and for those above _LARGE
_LARGE = 160  # pixels high
_NEAREST = 0.2  # metres: what comes closer to the camera is not drawn


@dataclass(frozen=True, slots=True, eq=False)
class Light:
    """The sun and the sky."""

    sun: Floats  # (3,) unit vector towards the sun
    ambient: float = 0.62
    diffuse: float = 0.50

    def shade(self, normals: Floats) -> Floats:
        """Brightness factors (F,) of surfaces with unit normals (F, 3); what looks down gets less of the sky."""
        sky = self.ambient * (0.8 + 0.2 * normals[:, 1])
        return np.asarray(sky + self.diffuse * np.maximum(normals @ self.sun, 0), np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Sprite:
    """A drawn object, cut to its box."""

    x: int  # left column of the box in the frame
    y: int  # top row
    colour: NDArray[np.uint8]  # (h, w, 3) BGR, already multiplied by alpha
    alpha: NDArray[np.uint8]  # (h, w) coverage
    extent: NDArray[np.uint8]  # (h, w) coverage that counts as the object: alpha and the screens of the mesh

    def over(self, frame: NDArray[np.uint8], mask: NDArray[np.uint8] | None, *, anomalous: bool = False) -> None:
        """Lays it over ``frame`` (H, W, 3) and takes it out of ``mask`` (H, W), or puts it in where it is anomalous."""
        box = np.s_[self.y : self.y + self.alpha.shape[0], self.x : self.x + self.alpha.shape[1]]
        clear = cv2.bitwise_not(self.alpha)
        under = cv2.multiply(frame[box], cv2.merge([clear, clear, clear]), scale=1 / 255)
        frame[box] = cv2.add(under, self.colour)
        if mask is not None:
            mask[box] = cv2.multiply(mask[box], clear, scale=1 / 255)
            if anomalous:
                mask[box] = cv2.max(mask[box], self.extent)

    def faded(self, opacity: float) -> Sprite:
        """The same with its coverage scaled by ``opacity`` (0..1)."""
        colour, alpha, extent = (
            np.asarray(cv2.convertScaleAbs(part, alpha=opacity), np.uint8)
            for part in (self.colour, self.alpha, self.extent)
        )
        return Sprite(self.x, self.y, colour, alpha, extent)


def rasterise(solid: Solid, camera: Camera, light: Light) -> Sprite | None:
    """The object as the camera sees it; None where it is out of the picture."""
    corners = camera.project(solid.mesh.faces)  # (F, 4, 3)
    rods = camera.project(solid.mesh.lines)  # (L, 2, 3)
    points = np.concatenate([corners.reshape(-1, 3), rods.reshape(-1, 3)])
    low, high = points.min(axis=0), points.max(axis=0)
    left, top = max(0, int(low[0]) - 2), max(0, int(low[1]) - 2)
    right, bottom = min(camera.width, int(high[0]) + 3), min(camera.height, int(high[1]) + 3)
    if left >= right or top >= bottom or low[2] <= _NEAREST:
        return None
    scale = _FINE if bottom - top <= _LARGE else _COARSE
    canvas = np.zeros(((bottom - top) * scale, (right - left) * scale, 4), np.uint8)
    corner, zoom = np.array([left, top, 0], np.float32), np.array([scale, scale, 1], np.float32)
    _fill(canvas, solid, camera, light, (corners - corner) * zoom, (rods - corner) * zoom, scale)
    size = (right - left, bottom - top)
    small = cv2.resize(canvas, size, interpolation=cv2.INTER_AREA)
    colour = np.ascontiguousarray(small[..., :3], np.uint8)
    alpha = np.ascontiguousarray(small[..., 3], np.uint8)
    extent = alpha
    if len(solid.mesh.screens):
        whole = np.ascontiguousarray(canvas[..., 3])
        for screen in (camera.project(solid.mesh.screens) - corner) * zoom:
            cv2.fillPoly(whole, [screen[:, :2].astype(np.int32)], 255)
        extent = np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), np.uint8)
    return Sprite(left, top, colour, alpha, extent)


def _fill(
    canvas: NDArray[np.uint8], solid: Solid, camera: Camera, light: Light, corners: Floats, rods: Floats, scale: int
) -> None:
    """Paints faces and rods, both in canvas pixels, far ones first. The fourth channel of ``canvas`` is coverage."""
    mesh = solid.mesh
    facing = np.einsum("fc,fc->f", solid.normals, solid.middles - camera.eye) < 0
    seen = corners[facing]
    colours = np.minimum(mesh.colours[facing] * light.shade(solid.normals[facing])[:, None], 255)
    polygons = (seen[..., :2] * (1 << _SUBPIXEL)).astype(np.int32) - (1 << _SUBPIXEL >> 1)
    rod_depths = (rods[:, 0, 2] + rods[:, 1, 2]) / 2
    widths = np.maximum(1, np.rint(2 * scale * camera.focal * mesh.radii / rod_depths)).astype(int).tolist()
    ends = rods[..., :2].astype(int).tolist()
    order = np.argsort(-np.concatenate([(seen[:, 0, 2] + seen[:, 2, 2]) / 2, rod_depths])).tolist()
    # Lists once, not array scalars one by one: this loop is most of the cost of a frame.
    shades, rod_shades = colours.tolist(), mesh.line_colours.tolist()
    count = len(polygons)
    for i in order:
        if i < count:
            cv2.fillConvexPoly(canvas, polygons[i], (*shades[i], 255), shift=_SUBPIXEL)
        else:
            a, b = ends[i - count]
            cv2.line(canvas, a, b, (*rod_shades[i - count], 255), widths[i - count])


def cast_shadow(solid: Solid, camera: Camera, light: Light, ground: NDArray[np.uint8]) -> None:
    """Marks with 255 in ``ground`` (H, W) where the object keeps the sun off the ground."""
    slope = light.sun / light.sun[1]
    faces = solid.mesh.faces[solid.normals @ light.sun > 0]  # these alone have the whole outline
    polygons = camera.project(faces - faces[..., 1:2] * slope)[..., :2] * (1 << _SUBPIXEL)
    for polygon in polygons.astype(np.int32):
        cv2.fillConvexPoly(ground, polygon, 255, shift=_SUBPIXEL)
    thick = solid.mesh.radii > 0.01  # spokes cast nothing that a camera sees
    rods = solid.mesh.lines[thick]
    ends = camera.project(rods - rods[..., 1:2] * slope)
    widths = np.maximum(1, np.rint(2 * camera.focal * solid.mesh.radii[thick] / ends[:, 0, 2])).astype(int).tolist()
    for (a, b), width in zip(ends[..., :2].astype(int).tolist(), widths, strict=True):
        cv2.line(ground, a, b, 255, width)
