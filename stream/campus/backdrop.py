"""The picture without anybody in it: ground and house fronts, ray by ray. Made once for each place."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from stream.campus.camera import Floats
from stream.campus.layout import FACADE, FAR_EDGE, NEAR_EDGE, Building, Layout
from stream.campus.mesh import Colour
from stream.campus.texture import Noise, blend, smooth, stripe

_SUPER = 2  # rays per pixel and side
_HAZE = np.array([222, 214, 204], np.float32)  # BGR of the far distance


def paint_backdrop(layout: Layout) -> NDArray[np.uint8]:
    """(H, W, 3) BGR: everything flat, without furniture and trees."""
    camera = layout.camera
    rays = camera.rays(_SUPER)
    down = np.minimum(rays[..., 1], -1e-3)
    reach = -camera.mast / down  # depth where the ray meets the ground
    noise = Noise(np.random.default_rng((layout.seed, 0x6A0)))
    picture = _ground(layout, noise, rays[..., 0] * reach, np.minimum(rays[..., 2] * reach, 400), reach)
    picture = _hedge(layout, noise, rays, picture)
    for building in sorted(layout.buildings, key=lambda b: -b.z):
        depth = building.z / np.maximum(rays[..., 2], 1e-3)
        x, y = rays[..., 0] * depth, camera.mast + rays[..., 1] * depth
        inside = (y > 0) & (x > building.left) & (x < building.right)
        rows = np.s_[: int(np.flatnonzero(inside.any(axis=1)).max(initial=0)) + 1]  # a front fills the top, not all
        front = _front(building, noise, x[rows], y[rows], depth[rows] / (camera.focal * _SUPER))
        picture[rows] = np.where(inside[rows][..., None], front, picture[rows])
    size = (camera.width, camera.height)
    small = cv2.resize(np.clip(picture, 0, 255), size, interpolation=cv2.INTER_AREA)
    return np.asarray(np.rint(small), np.uint8)


def _hedge(layout: Layout, noise: Noise, rays: Floats, picture: Floats) -> Floats:
    """A line of shrubs far behind, which closes the view between the houses."""
    depth = (FACADE + 9) / np.maximum(rays[..., 2], 1e-3)
    x, y = rays[..., 0] * depth, layout.camera.mast + rays[..., 1] * depth
    leaves = noise.cloud(x * 1.6, y * 1.6, octaves=4)
    colour = _flat((58, 84, 72), 1 + 1.1 * leaves + 0.12 * np.clip(y, 0, 3))
    top = 3.1 + 1.6 * noise.cloud(x * 0.6, y * 0, octaves=3)
    return np.where(((y > 0) & (y < top))[..., None], colour, picture)


def _ground(layout: Layout, noise: Noise, x: Floats, z: Floats, reach: Floats) -> Floats:
    across = reach / (layout.camera.focal * _SUPER)  # metres per sample, left to right
    deep = across * reach / layout.camera.mast  # and away from the camera
    stains = noise.cloud(x * 0.35, z * 0.35, octaves=3, sharp=deep * 0.35)

    blades = noise.cloud(x * 5, z * 5, octaves=3, sharp=deep * 5)
    patches = noise.cloud(x * 0.5, z * 0.5, octaves=3, sharp=deep * 0.5)
    lawn = _flat(layout.grass, 1 + 0.55 * blades + 0.55 * patches)
    lawn[..., 2] *= 1 + 0.25 * patches  # drier where it is lighter

    path_away = np.abs(x - layout.path) - layout.path_width / 2
    grit = noise.cloud(x * 9, z * 9, octaves=2, sharp=deep * 9)
    path = _flat(layout.path_colour, 1 + 0.22 * grit + 0.35 * stains)
    ground = blend(lawn, path, _within(path_away, across))
    ground = _kerb(ground, path_away, across, noise.cells(z / 0.9, x * 0))

    apron = _flat((150, 152, 154), 1 + 0.2 * stains + 0.1 * grit - 0.12 * stripe(x, 2.0, 0.05, across))
    ground = blend(ground, apron, _within(FACADE - 2.0 - z, deep) * (z < FACADE + 4))

    row = np.floor(z / layout.slab)
    shifted = x + layout.slab / 2 * np.mod(row, 2)
    tint = noise.cells(shifted / layout.slab, row + 0.5) - 0.5
    joints = np.maximum(stripe(z, layout.slab, 0.035, deep), stripe(shifted, layout.slab, 0.035, across))
    slabs = _flat(layout.paving, 1 + 0.13 * tint + 0.22 * stains + 0.14 * grit - 0.30 * joints)
    band = np.maximum(NEAR_EDGE - z, z - FAR_EDGE)
    ground = blend(ground, slabs, _within(band, deep))
    ground = _kerb(ground, band, deep, noise.cells(x / 0.9, z * 0 + 3))

    lid = np.hypot(x - layout.path - 3.1, z - 13.1)
    iron = _flat((82, 84, 86), 1 + 0.5 * stripe(x + z, 0.12, 0.05, across))
    ground = blend(ground, iron, _within(lid - 0.42, across))
    ground *= (1 - 0.35 * smooth(z, FACADE - 1.8, FACADE) * (z < FACADE + 3))[..., None]  # less sky beside a wall
    return blend(ground, np.broadcast_to(_HAZE, ground.shape), smooth(z, 30, 260) * 0.85)


def _kerb(ground: Floats, away: Floats, pixel: Floats, stone: Floats) -> Floats:
    stones = _flat((176, 180, 183), 0.94 + 0.12 * stone)
    ground = blend(ground, stones, _within(np.abs(away) - 0.09, pixel))
    return np.asarray(ground * (1 - 0.28 * _within(np.abs(away - 0.12) - 0.03, pixel))[..., None])


def _front(house: Building, noise: Noise, x: Floats, y: Floats, pixel: Floats) -> Floats:
    grain = noise.cloud(x * 3, y * 3, octaves=3, sharp=pixel * 3)
    weather = noise.cloud(x * 0.3 + 9, y * 0.15, octaves=2)
    brick = noise.cells(x / 0.25, y / 0.09) - 0.5
    courses = stripe(y, 0.36, 0.05, pixel)
    wall = _flat(house.wall, 1 + 0.10 * grain + 0.16 * weather + house.brick * (0.10 * brick - 0.14 * courses))
    wall = blend(wall, _flat(house.plinth, 1 + 0.14 * grain), _within(y - 0.55, pixel))

    floor = np.floor(y / house.storey)
    bay = np.floor((x - house.left) / house.bay)
    u = x - house.left - (bay + 0.5) * house.bay
    v = y - floor * house.storey
    across, above = np.abs(u) - 0.72, np.maximum(house.sill - v, v - (house.sill + 1.65))
    own = noise.cells(bay + 0.5, floor + 0.5)
    pane = _glass(noise, x, v - house.sill, own)
    blind = _flat((188, 196, 200), 0.86 + 0.10 * stripe(v, 0.12, 0.04, pixel))
    drawn = np.where(own > 0.62, 0.8, 0.0) * _within(house.sill + 1.65 * (own - 0.2) - v + 0.35, pixel)
    pane = blend(pane, blind, drawn)
    bars = np.maximum(_within(np.abs(u) - 0.04, pixel), _within(np.abs(v - house.sill - 1.1) - 0.035, pixel))
    pane = blend(pane, _flat(house.frame, np.ones_like(x)), bars)
    window = np.maximum(across, above)
    reveal = blend(_flat(house.frame, np.ones_like(x)), pane, _within(window + 0.08, pixel))
    wall = blend(wall, reveal, _within(window, pixel))
    ledge = np.maximum(np.abs(u) - 0.82, np.abs(v - house.sill + 0.06) - 0.06)
    wall = blend(wall, _flat((192, 196, 198), np.ones_like(x)), _within(ledge, pixel))
    wall *= (1 - 0.35 * _within(np.maximum(np.abs(u) - 0.8, np.abs(v - house.sill + 0.17) - 0.05), pixel))[..., None]
    return wall if house.door is None else _door(wall, house, house.door, noise, x, y, pixel)


def _door(wall: Floats, house: Building, door: float, noise: Noise, x: Floats, y: Floats, pixel: Floats) -> Floats:
    side = np.abs(x - door)
    surround = _flat((150, 156, 160), 1 + 0.1 * noise.cloud(x * 3, y * 3, octaves=2))
    wall = blend(wall, surround, _within(np.maximum(side - 1.9, y - 3.05), pixel))
    glass = _glass(noise, x, y, np.full_like(x, 0.15)) * 0.75
    uprights = np.abs(np.abs(side - 0.65) - 0.65) - 0.06
    bars = np.maximum(_within(uprights, pixel), _within(np.abs(y - 2.15) - 0.05, pixel))
    leaf = blend(glass, _flat(house.frame, np.full_like(x, 0.8)), bars)
    wall = blend(wall, leaf, _within(np.maximum(side - 1.36, y - 2.55), pixel))
    canopy = np.maximum(side - 2.3, np.abs(y - 2.9) - 0.13)
    wall *= (1 - 0.4 * _within(np.maximum(side - 2.2, np.abs(y - 2.6) - 0.2), pixel))[..., None]
    return blend(wall, _flat((92, 94, 96), np.ones_like(x)), _within(canopy, pixel))


def _glass(noise: Noise, x: Floats, up: Floats, own: Floats) -> Floats:
    """Dark rooms with the sky in the upper part of the panes."""
    sky = np.clip(0.25 + 0.35 * up + 0.7 * noise.cloud(x * 0.8, up * 0.5, octaves=2), 0, 1) * (0.35 + 0.5 * own)
    room = _flat((62, 54, 46), 0.85 + 0.4 * own)
    return blend(room, np.broadcast_to(np.array([205, 188, 168], np.float32), room.shape), sky)


def _within(distance: Floats, pixel: Floats) -> Floats:
    """1 where the signed ``distance`` to a shape is inside it, 0 outside, and the share of the pixel on its edge."""
    return np.asarray(np.clip(0.5 - distance / np.maximum(pixel, 1e-3), 0, 1), np.float32)


def _flat(colour: Colour, brightness: Floats) -> Floats:
    return np.asarray(np.asarray(colour, np.float32) * brightness[..., None], np.float32)
