"""What stands about: benches, a bin, lamps and trees, each as a sprite; and the shadows that they cast for good."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.campus.camera import Camera, Floats
from stream.campus.figure import rgb
from stream.campus.layout import FAR_EDGE, Layout, Tree
from stream.campus.mesh import Mesh, box, ellipsoid, join, lines, loft
from stream.campus.raster import Light, Sprite, cast_shadow, rasterise

_CLUMPS = 150  # balls of leaves in a crown
_SUPER = 3  # canvas pixels per frame pixel, for crowns
_SWAY = 0.028  # metres: how far leaves move in the wind


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """One thing that stands on the ground."""

    depth: float  # metres along the camera's axis: what is nearer covers it
    sprite: Sprite
    sway: float = 0.0  # pixels that its leaves move at most


def furnish(layout: Layout) -> tuple[tuple[Standing, ...], NDArray[np.uint8]]:
    """Everything that stands about, and (H, W) the sunless part of the ground: 255 = full shadow of it."""
    camera, light = layout.camera, layout.light
    ground = np.zeros((camera.height, camera.width), np.uint8)
    standing = []
    for mesh, x, z in _solids(layout):
        solid = mesh.placed(x, z, 0.0)
        cast_shadow(solid, camera, light, ground)
        sprite = rasterise(solid, camera, light)
        if sprite is not None:
            standing.append(Standing(ground_depth(camera, x, z), sprite))
    for number, tree in enumerate(layout.trees):
        clumps = _clumps(tree, np.random.default_rng((layout.seed, number, 0x7EE)))
        _cast_crown(clumps, camera, light, ground)
        crown = _crown(tree, clumps, camera, light, np.random.default_rng((layout.seed, number, 0x1EAF)))
        if crown is not None:
            depth = ground_depth(camera, tree.x, tree.z)
            standing.append(Standing(depth, crown, sway=_SWAY * camera.focal / depth))
    return tuple(standing), ground


def ground_depth(camera: Camera, x: float, z: float) -> float:
    """Depth in metres of the ground point (x, z): the order in which things cover each other."""
    return float(camera.project(np.array([[x, 0, z]], np.float32))[0, 2])


def swayed(sprite: Sprite, amount: float, time: float) -> Sprite:
    """The leaves at ``time`` (seconds); ``amount`` is in pixels."""
    height, width = sprite.alpha.shape
    rows = np.arange(height, dtype=np.float32)[:, None]
    columns = np.arange(width, dtype=np.float32)[None, :]
    free = np.clip(1.25 - 1.6 * rows / height, 0, 1) * np.float32(amount)  # the trunk stands still
    wave = rows * 0.11 + columns * 0.07 + sprite.x
    across = columns + free * np.sin(wave + np.float32(1.9 * time)) * np.float32(1 + 0.5 * np.sin(0.31 * time))
    down = rows + free * 0.6 * np.sin(wave * 1.7 + np.float32(2.6 * time))
    # At the edge of the picture the crown goes on, elsewhere its box ends in nothing: both repeat the last pixels.
    colour, alpha = (
        np.asarray(cv2.remap(part, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)
        for part in (sprite.colour, sprite.alpha)
    )
    return Sprite(sprite.x, sprite.y, colour, alpha, alpha)


def _solids(layout: Layout) -> Iterator[tuple[Mesh, float, float]]:
    for x in layout.benches:
        yield _bench(), x, FAR_EDGE + 0.55
    for x in layout.bins:
        yield _bin(), x, FAR_EDGE + 0.5
    for x, z in layout.lamps:
        yield _lamp(), x, z


def _bench() -> Mesh:
    wood, iron = rgb(0x8A6544), rgb(0x3A3C3E)
    seat = [box((-0.85, 0.43, -0.22 + 0.15 * i), (0.85, 0.47, -0.10 + 0.15 * i), wood) for i in range(3)]
    back = [box((-0.85, 0.58 + 0.16 * i, 0.24), (0.85, 0.69 + 0.16 * i, 0.28), wood) for i in range(2)]
    feet = [box((x - 0.03, 0, -0.2), (x + 0.03, 0.43, 0.26), iron) for x in (-0.65, 0.65)]
    return join([*feet, *seat, *back])


def _bin() -> Mesh:
    heights = np.array([0.0, 0.05, 0.80, 0.86], np.float32)
    centres = heights[:, None] * np.array([[0, 1, 0]], np.float32)
    radii = np.repeat(np.array([0.05, 0.24, 0.27, 0.12], np.float32)[:, None], 2, axis=1)
    green, dark = rgb(0x3F5247), rgb(0x2B302D)
    axes = np.eye(3, dtype=np.float32)
    return loft(centres, axes[0], axes[2], radii, np.array([green, green, dark], np.float32))


def _lamp() -> Mesh:
    iron = rgb(0x43484A)
    pole = np.array([[[0, 0.6 * i, 0], [0, 0.6 * (i + 1), 0]] for i in range(7)], np.float32)
    return join(
        [
            lines(pole, 0.055, iron),
            lines(np.array([[[0, 0, 0], [0, 0.5, 0]]], np.float32), 0.085, iron),
            ellipsoid(np.array([0, 4.35, 0], np.float32), (0.24, 0.20, 0.24), rgb(0xE4E0D2)),
            box((-0.26, 4.52, -0.26), (0.26, 4.62, 0.26), iron, taper=(0.4, 0.4)),
        ]
    )


def _clumps(tree: Tree, rng: np.random.Generator) -> Floats:
    """(N, 5): where the balls of leaves are, their radius, and how far out in the crown (0..1)."""
    spread = rng.normal(size=(_CLUMPS, 3))
    spread /= np.linalg.norm(spread, axis=1, keepdims=True)
    shell = rng.uniform(0.25, 1.0, (_CLUMPS, 1)) ** 0.5
    lumps = 1 + 0.18 * np.sin(spread @ rng.normal(size=(3, 1)) * 4 + rng.uniform(0, 6))
    offsets = spread * shell * lumps * tree.radius * np.array([1.0, 0.86, 1.0])
    centres = np.array([tree.x, tree.trunk, tree.z]) + offsets
    radii = tree.radius * rng.uniform(0.15, 0.27, (_CLUMPS, 1))
    return np.concatenate([centres, radii, shell], axis=1).astype(np.float32)


def _crown(tree: Tree, clumps: Floats, camera: Camera, light: Light, rng: np.random.Generator) -> Sprite | None:
    seen = camera.project(clumps[:, :3])
    sizes = camera.focal * clumps[:, 3] / seen[:, 2]
    foot = camera.project(np.array([[tree.x, 0, tree.z], [tree.x, tree.trunk, tree.z]], np.float32))
    left = max(0, int((seen[:, 0] - sizes).min()) - 3)
    right = min(camera.width, int((seen[:, 0] + sizes).max()) + 4)
    top, bottom = max(0, int((seen[:, 1] - sizes).min()) - 3), min(camera.height, int(foot[0, 1]) + 3)
    if left >= right or top >= bottom:
        return None
    canvas = np.zeros(((bottom - top) * _SUPER, (right - left) * _SUPER, 4), np.uint8)

    def at(point: Floats) -> tuple[int, int]:
        return int((point[0] - left) * _SUPER), int((point[1] - top) * _SUPER)

    width = max(2, round(2 * _SUPER * camera.focal * 0.15 / foot[0, 2]))
    cv2.line(canvas, at(foot[0]), at(foot[1]), (52, 66, 82, 255), width)
    shade = (1 if light.sun[0] > 0 else -1) * width // 4
    a, b = at(foot[0]), at(foot[1])
    cv2.line(canvas, (a[0] + shade, a[1]), (b[0] + shade, b[1]), (74, 92, 112, 255), max(1, width // 2))
    outward = clumps[:, :3] - np.array([tree.x, tree.trunk, tree.z], np.float32)
    outward /= np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-6)
    bright = light.shade(outward) * (0.55 + 0.5 * clumps[:, 4]) * rng.uniform(0.9, 1.1, len(clumps))
    for i in np.argsort(-seen[:, 2]).tolist():
        middle, size = np.array(at(seen[i])), float(sizes[i]) * _SUPER
        cv2.circle(canvas, at(seen[i]), max(1, int(size)), _leaf(tree, bright[i] * 0.88), -1)
        # Single leaves: lighter towards the sun, and over the edge of the ball so that it is no circle.
        for x, y, tone in np.clip(rng.normal(0, (0.55, 0.55, 0.10), (26, 3)), -0.95, 0.95):
            lit = bright[i] * (1 - 0.14 * y + 0.08 * x * np.sign(light.sun[0]) + tone)
            spot = (int(middle[0] + x * size), int(middle[1] + y * size))
            axes = (max(1, int(0.24 * size)), max(1, int(0.14 * size)))
            cv2.ellipse(canvas, spot, axes, x * 180, 0, 360, _leaf(tree, lit), -1)
    small = cv2.resize(canvas, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
    alpha = np.ascontiguousarray(small[..., 3], np.uint8)
    return Sprite(left, top, np.ascontiguousarray(small[..., :3], np.uint8), alpha, alpha)


def _leaf(tree: Tree, brightness: float) -> tuple[float, float, float, float]:
    b, g, r = (min(255.0, float(part * brightness)) for part in tree.leaf)
    return (b, g, r, 255.0)


def _cast_crown(clumps: Floats, camera: Camera, light: Light, ground: NDArray[np.uint8]) -> None:
    slope = light.sun / light.sun[1]
    around = np.arange(12) * (np.pi / 6)
    disc = np.stack([np.cos(around), 0 * around, np.sin(around)], axis=-1).astype(np.float32)
    for clump in clumps:
        centre = clump[:3] - clump[1] * slope
        cv2.fillConvexPoly(ground, camera.project(centre + disc * clump[3])[:, :2].astype(np.int32), 255)
