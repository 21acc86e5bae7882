"""Solid shapes of a few rings, boxes and rods; people, vehicles and street furniture are built of them.

Shapes are in metres, in axes x forward, y up, z right, until they are placed in the world.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from stream.campus.camera import Floats

Colour = tuple[float, float, float]  # blue, green, red, 0..255

SIDES = 8  # of trunks, heads and wheels: at 70 pixels for a person no more can be told apart
LIMB_SIDES = 6
_BOX = np.array(
    [[0, 1, 3, 2], [4, 5, 7, 6], [0, 1, 5, 4], [2, 3, 7, 6], [0, 2, 6, 4], [1, 3, 7, 5]]
)  # corners of the six sides; corner = 4 * (x is high) + 2 * (y is high) + (z is high)


def _circle(sides: int) -> Floats:
    angles = np.arange(sides) * (2 * math.pi / sides)
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1).astype(np.float32)


_LIMB_CIRCLE, _CIRCLE = _circle(LIMB_SIDES), _circle(SIDES)  # (sides, 2)


@dataclass(frozen=True, slots=True, eq=False)
class Mesh:
    """Faces and lines of one object."""

    faces: Floats  # (F, 4, 3) corners, metres
    colours: Floats  # (F, 3) BGR
    insides: Floats  # (F, 3) a point inside the convex part that the face belongs to: tells which way it looks
    lines: Floats  # (L, 2, 3) end points, metres
    radii: Floats  # (L,) metres
    line_colours: Floats  # (L, 3) BGR
    screens: Floats  # (S, 24, 3) polygons one can see through that count as part of the object (a spoked wheel)

    def placed(self, x: float, z: float, heading: float) -> Solid:
        """In world axes at the ground point (x, z), looking along ``heading`` (radians, 0 = +x, turning to +z)."""
        c, s = math.cos(heading), math.sin(heading)
        turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]], np.float32)
        shift = np.array([x, 0, z], np.float32)

        def moved(points: Floats) -> Floats:  # flat: a product of many small matrices is several times slower
            return (points.reshape(-1, 3) @ turn + shift).reshape(points.shape)

        faces, insides = moved(self.faces), moved(self.insides)
        middles = (faces[:, 0] + faces[:, 2]) * np.float32(0.5)
        normals = _cross(faces[:, 2] - faces[:, 0], faces[:, 3] - faces[:, 1])
        outward = np.sign(_dot(normals, middles - insides))  # corners run either way round
        normals *= (outward / np.maximum(np.sqrt(_dot(normals, normals)), 1e-9))[:, None]
        mesh = replace(self, faces=faces, insides=insides, lines=moved(self.lines), screens=moved(self.screens))
        return Solid(mesh, middles, normals)


@dataclass(frozen=True, slots=True, eq=False)
class Solid:
    """A mesh in world axes, with what picture and shadow both need of it."""

    mesh: Mesh
    middles: Floats  # (F, 3) middles of the faces, metres
    normals: Floats  # (F, 3) unit vectors that point out of the solid parts


def join(parts: Sequence[Mesh]) -> Mesh:
    """All of them as one."""
    return Mesh(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("faces", "colours", "insides", "lines", "radii", "line_colours", "screens")
        )
    )


def tubes(ends: Floats, radii: Floats, colours: Floats) -> Mesh:
    """P limbs: ``ends`` (P, 2, 3), ``radii`` (P, 2) at both ends in metres, ``colours`` (P, 3). Ends are rounded."""
    start, stop = ends[:, 0], ends[:, 1]
    along = stop - start
    along = along / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-6)
    # Any direction across will do; the one below fails only for limbs that point exactly along it.
    across = _cross(along, np.array([[0.08, 0.05, 1.0]], np.float32))
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-6)
    other = _cross(along, across)
    tip = along[:, None] * radii[..., None] * 0.8
    centres = np.stack([start - tip[:, 0], start, stop, stop + tip[:, 1]], axis=1)  # (P, 4, 3)
    sizes = radii[:, [0, 0, 1, 1]] * np.array([0.4, 1, 1, 0.4], np.float32)
    circle = _LIMB_CIRCLE[:, :1] * across[:, None] + _LIMB_CIRCLE[:, 1:] * other[:, None]  # (P, sides, 3)
    faces = _bands(centres[:, :, None] + sizes[..., None, None] * circle[:, None])
    count = len(faces) // len(ends)
    return _solid(faces, np.repeat(colours, count, axis=0), np.repeat((start + stop) / 2, count, axis=0))


def loft(centres: Floats, u: Floats, v: Floats, radii: Floats, colours: Floats) -> Mesh:
    """A skin over R elliptic rings: ``centres`` (R, 3), half axes ``radii`` (R, 2) along ``u`` and ``v`` (3,).

    ``colours`` (R - 1, 3) colours the bands between them.
    """
    circle = _CIRCLE[None, :, :] * radii[:, None, :]
    rings = centres[:, None] + circle[..., :1] * u + circle[..., 1:] * v
    middles = np.repeat((centres[:-1] + centres[1:]) / 2, SIDES, axis=0)
    return _solid(_bands(rings[None]), np.repeat(colours, SIDES, axis=0), middles)


def ellipsoid(centre: Floats, radii: tuple[float, float, float], colour: Colour) -> Mesh:
    """``radii`` along x, y and z in metres."""
    faces = centre + _SPHERE * np.array(radii, np.float32)
    return _solid(faces, _paint(colour, len(faces)), np.broadcast_to(centre, (len(faces), 3)))


def box(low: Sequence[float], high: Sequence[float], colour: Colour, *, taper: tuple[float, float] = (1, 1)) -> Mesh:
    """A box between two corners (x, y, z); ``taper`` shrinks its top along x and z."""
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float32)
    shrink = np.where(corners[:, 1:2] > 0, np.array([[taper[0], 1, taper[1]]], np.float32), np.float32(1))
    bottom, top = np.asarray(low, np.float32), np.asarray(high, np.float32)
    corners = bottom + (0.5 + (corners - 0.5) * shrink) * (top - bottom)
    middle = np.broadcast_to((bottom + top) / 2, (6, 3))
    return _solid(corners[_BOX], _paint(colour, 6), middle)


def lines(ends: Floats, radius: float | Floats, colour: Colour) -> Mesh:
    """Straight rods: ``ends`` (L, 2, 3), ``radius`` in metres, one or (L,)."""
    bare = _solid(np.empty((0, 4, 3), np.float32), _paint(colour, 0), np.empty((0, 3), np.float32))
    radii = np.broadcast_to(np.asarray(radius, np.float32), (len(ends),))
    return replace(bare, lines=ends.astype(np.float32), radii=radii, line_colours=_paint(colour, len(ends)))


def spoked_wheel(centre: Sequence[float], radius: float, angle: float, tyre: Colour, spoke: Colour) -> Mesh:
    """A wheel in the x-y plane, turned by ``angle`` radians."""
    around = angle + np.arange(24, dtype=np.float32) * np.float32(2 * math.pi / 24)
    rim = np.stack([np.cos(around), np.sin(around), np.zeros_like(around)], axis=-1) * radius
    rim += np.asarray(centre, np.float32)
    hub = np.broadcast_to(np.asarray(centre, np.float32), rim[::2].shape)
    wheel = join(
        [
            lines(np.stack([hub, rim[::2]], axis=1), 0.004, spoke),
            lines(np.stack([rim, np.roll(rim, -1, axis=0)], axis=1), 0.022, tyre),
        ]
    )
    return replace(wheel, screens=rim[None])


def _cross(a: Floats, b: Floats) -> Floats:  # np.cross spends most of its time on moving axes about
    x, y, z = a[:, 0], a[:, 1], a[:, 2]
    u, v, w = b[:, 0], b[:, 1], b[:, 2]
    return np.stack([y * w - z * v, z * u - x * w, x * v - y * u], axis=-1)


def _dot(a: Floats, b: Floats) -> Floats:
    return np.asarray(np.einsum("fc,fc->f", a, b))


def _bands(rings: Floats) -> Floats:
    """(P, R, sides, 3) rings to (P * (R - 1) * sides, 4, 3) faces between neighbours."""
    following = np.concatenate([rings[:, :, 1:], rings[:, :, :1]], axis=2)
    faces = np.stack([rings[:, :-1], following[:, :-1], following[:, 1:], rings[:, 1:]], axis=3)
    return np.asarray(faces.reshape(-1, 4, 3), np.float32)


def _paint(colour: Colour, count: int) -> Floats:
    return np.broadcast_to(np.asarray(colour, np.float32), (count, 3))


def _solid(faces: Floats, colours: Floats, insides: Floats) -> Mesh:
    return Mesh(
        faces=np.asarray(faces, np.float32),
        colours=np.asarray(colours, np.float32),
        insides=np.asarray(insides, np.float32),
        lines=np.empty((0, 2, 3), np.float32),
        radii=np.empty(0, np.float32),
        line_colours=np.empty((0, 3), np.float32),
        screens=np.empty((0, 24, 3), np.float32),
    )


def _sphere() -> Floats:
    latitude = np.linspace(-math.pi / 2, math.pi / 2, 6, dtype=np.float32)
    level = np.maximum(np.cos(latitude), 0.05)[:, None, None] * _CIRCLE  # (6, SIDES, 2)
    height = np.broadcast_to(np.sin(latitude)[:, None], level.shape[:2])
    return _bands(np.stack([level[..., 0], height, level[..., 1]], axis=-1)[None])


_SPHERE = _sphere()  # (F, 4, 3) faces of a ball of radius 1
