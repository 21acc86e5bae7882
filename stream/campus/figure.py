"""People: what they look like, and their shape in a pose."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from stream.campus.camera import Floats
from stream.campus.mesh import Colour, Mesh, box, ellipsoid, join, lines, loft, tubes
from stream.campus.pose import SHOULDERS, Pose

_Y = np.array([0, 1, 0], np.float32)
_Z = np.array([0, 0, 1], np.float32)
_CARRIED = 0.60  # metres from a hand to the underside of the case that it holds


def rgb(value: int) -> Colour:
    """0xRRGGBB as a colour."""
    return (float(value & 255), float(value >> 8 & 255), float(value >> 16))


class Luggage(StrEnum):
    """What somebody carries."""

    NONE = "none"
    BACKPACK = "backpack"
    SHOULDER_BAG = "shoulder bag"
    SUITCASE = "suitcase"


class Bottoms(StrEnum):
    """What somebody wears below."""

    TROUSERS = "trousers"
    SHORTS = "shorts"
    SKIRT = "skirt"


@dataclass(frozen=True, slots=True)
class Look:
    """One person's appearance."""

    height: float  # metres
    breadth: float  # 1 = average
    skin: Colour
    hair: Colour
    top: Colour
    bottom: Colour
    shoes: Colour
    bag: Colour
    bottoms: Bottoms = Bottoms.TROUSERS
    long_hair: bool = False
    short_sleeves: bool = False
    coat: bool = False
    luggage: Luggage = Luggage.NONE


_SKINS = tuple(map(rgb, (0xF0C8A8, 0xE0AC86, 0xC58C62, 0x94623E, 0x6B452C)))
_HAIRS = tuple(map(rgb, (0x1E1A18, 0x2E211A, 0x4B3424, 0x7A5A36, 0xB08E58, 0x8A8782)))
_TOPS = tuple(
    map(
        rgb,
        (
            0x2B3A58,
            0x8E9299,
            0xE3E0D8,
            0x59624A,
            0x743238,
            0xC9B48C,
            0x26282C,
            0x7FA0BE,
            0xA9853F,
            0x4E6E66,
            0x9C5A48,
            0x5B4A6B,
            0xB9C4C9,
            0x3F5F8A,
        ),
    )
)
_BOTTOMS = tuple(map(rgb, (0x2F3E5C, 0x4A5C7E, 0x25272B, 0x565A60, 0x9A8A68, 0x4A3F35, 0x6B7280)))
_SHOES = tuple(map(rgb, (0x1F1D1C, 0x4A3524, 0xD8D6D0, 0x5A5D63)))
_BAGS = tuple(map(rgb, (0x24262C, 0x39475E, 0x5B3B2A, 0x6B2F31, 0x4F5B45)))


def draw_look(rng: np.random.Generator, *, luggage: Luggage | None = None) -> Look:
    """An ordinary passer-by; ``luggage`` fixes what they carry."""

    def pick(colours: tuple[Colour, ...]) -> Colour:
        base = colours[int(rng.integers(len(colours)))]
        factor = rng.uniform(0.85, 1.12)
        return (base[0] * factor, base[1] * factor, base[2] * factor)

    chances = rng.random(5)
    carried = (Luggage.BACKPACK, Luggage.SHOULDER_BAG, Luggage.SUITCASE, Luggage.NONE)
    drawn = carried[int(np.searchsorted([0.25, 0.42, 0.55], chances[0]))]
    bottoms = Bottoms.SKIRT if chances[1] < 0.15 else Bottoms.SHORTS if chances[1] < 0.25 else Bottoms.TROUSERS
    return Look(
        height=float(np.clip(rng.normal(1.72, 0.085), 1.5, 1.93)),
        breadth=float(np.clip(rng.normal(1.0, 0.08), 0.85, 1.2)),
        skin=pick(_SKINS),
        hair=pick(_HAIRS),
        top=pick(_TOPS),
        bottom=pick(_BOTTOMS),
        shoes=pick(_SHOES),
        bag=pick(_BAGS),
        bottoms=bottoms,
        long_hair=bool(chances[2] < 0.35),
        short_sleeves=bool(chances[3] < 0.4),
        coat=bool(chances[3] > 0.8),
        luggage=drawn if luggage is None else luggage,
    )


def person(look: Look, pose: Pose) -> Mesh:
    """Somebody in a pose, local axes."""
    parts = [_limbs(look, pose), _trunk(look, pose), *_head(look, pose)]
    match look.luggage:
        case Luggage.BACKPACK:
            parts.append(_backpack(look, pose))
        case Luggage.SHOULDER_BAG:
            parts += _shoulder_bag(look, pose)
        case Luggage.SUITCASE:
            x, y, z = pose.hands[1].tolist()
            parts.append(suitcase(look.bag, at=(x, max(0.0, y - _CARRIED), z + 0.05)))
        case Luggage.NONE:
            pass
    return join(parts)


def suitcase(colour: Colour, *, at: tuple[float, float, float]) -> Mesh:
    """A cabin case, 0.56 m high with its handle; ``at`` is the middle of its underside."""
    x, y, z = at
    dark = (colour[0] * 0.6, colour[1] * 0.6, colour[2] * 0.6)
    grip = np.array(
        [
            [[x - 0.09, 0, z], [x - 0.09, 0.09, z]],
            [[x - 0.09, 0.09, z], [x + 0.09, 0.09, z]],
            [[x + 0.09, 0.09, z], [x + 0.09, 0, z]],
        ],
        np.float32,
    )
    grip[..., 1] += y + 0.47
    return join(
        [
            box((x - 0.20, y, z - 0.115), (x + 0.20, y + 0.035, z + 0.115), dark),
            box((x - 0.21, y + 0.035, z - 0.12), (x + 0.21, y + 0.42, z + 0.12), colour),
            box((x - 0.21, y + 0.42, z - 0.12), (x + 0.21, y + 0.47, z + 0.12), colour, taper=(0.9, 0.75)),
            lines(grip, 0.015, (40, 38, 38)),
        ]
    )


def _limbs(look: Look, pose: Pose) -> Mesh:
    h, b = look.height, look.breadth
    sleeve = look.skin if look.short_sleeves else look.top
    shin = look.bottom if look.bottoms is Bottoms.TROUSERS else look.skin
    wide = 1.15 if look.bottoms is Bottoms.SHORTS else 1.0
    heels = pose.ankles + np.array([-0.022, -0.014, 0], np.float32) * h
    knuckles = pose.hands + (pose.hands - pose.elbows) * 0.35
    neck = np.stack([pose.neck - 0.02 * h * _Y, pose.head])
    segments = (
        *((pose.hips[i], pose.knees[i], 0.054 * b * wide, 0.040 * b * wide, look.bottom) for i in (0, 1)),
        *((pose.knees[i], pose.ankles[i], 0.038 * b, 0.026, shin) for i in (0, 1)),
        *((heels[i], pose.toes[i], 0.026, 0.020, look.shoes) for i in (0, 1)),
        *((pose.shoulders[i], pose.elbows[i], 0.035 * b, 0.029 * b, look.top) for i in (0, 1)),
        *((pose.elbows[i], pose.hands[i], 0.027 * b, 0.019, sleeve) for i in (0, 1)),
        *((pose.hands[i], knuckles[i], 0.020, 0.018, look.skin) for i in (0, 1)),
        (neck[0], neck[1], 0.032, 0.030, look.skin),
    )
    return tubes(
        np.array([(a, z) for a, z, *_ in segments], np.float32),
        np.array([(r, s) for _, _, r, s, _ in segments], np.float32) * np.float32(h),
        np.array([colour for *_, colour in segments], np.float32),
    )


def _trunk(look: Look, pose: Pose) -> Mesh:
    h, b = look.height, look.breadth
    up = pose.neck - pose.pelvis
    length = float(np.linalg.norm(up))
    front = np.cross(up / length, _Z)
    at = np.array([-0.14, 0.06, 0.40, 0.74, 0.93, 1.04], np.float32)
    radii = np.array(
        [[0.050, 0.060], [0.064, 0.090], [0.058, 0.082], [0.066, 0.104], [0.052, SHOULDERS], [0.026, 0.045]], np.float32
    )
    bands = np.array([look.bottom, look.top, look.top, look.top, look.top], np.float32)
    mesh = loft(pose.pelvis + at[:, None] * up, front, _Z, radii * np.float32(h * b), bands)
    hem = None
    if look.bottoms is Bottoms.SKIRT:
        hem = (look.bottom, 0.30)
    elif look.coat:
        hem = (look.top, 0.21)
    if hem is None:
        return mesh
    colour, drop = hem
    spread = 0.055 + 0.5 * abs(float(pose.knees[0, 0] - pose.knees[1, 0])) / h
    middle = pose.knees.mean(axis=0)
    low = pose.pelvis + (middle - pose.pelvis) * np.float32(drop / 0.245)
    rings = np.stack([low, (low + pose.pelvis) / 2, pose.pelvis + 0.25 * up])
    sizes = np.array([[spread, 0.105], [0.6 * spread + 0.03, 0.096], [0.064, 0.088]], np.float32) * np.float32(h * b)
    return join([mesh, loft(rings, front, _Z, sizes, np.array([colour, colour], np.float32))])


def _head(look: Look, pose: Pose) -> list[Mesh]:
    h = look.height
    skull = ellipsoid(pose.head, (0.056 * h, 0.069 * h, 0.047 * h), look.skin)
    back = pose.head + np.array([-0.022, 0.020, 0], np.float32) * h
    parts = [skull, ellipsoid(back, (0.052 * h, 0.061 * h, 0.052 * h), look.hair)]
    if look.long_hair:
        ends = np.stack([back, back + np.array([-0.03, -0.10, 0], np.float32) * h])[None]
        radii = np.array([[0.047, 0.034]], np.float32) * np.float32(h)
        parts.append(tubes(ends, radii, np.array([look.hair], np.float32)))
    return parts


def _backpack(look: Look, pose: Pose) -> Mesh:
    up = (pose.neck - pose.pelvis) / np.linalg.norm(pose.neck - pose.pelvis)
    front = np.cross(up, _Z)
    centre = pose.pelvis + (pose.neck - pose.pelvis) * 0.56 - front * np.float32(0.108 * look.height)
    steps = np.array([-0.115, -0.10, 0.06, 0.115], np.float32)[:, None] * look.height
    sizes = np.array([[0.03, 0.06], [0.052, 0.086], [0.048, 0.082], [0.02, 0.05]], np.float32) * np.float32(look.height)
    return loft(centre + steps * up, front, _Z, sizes, np.array([look.bag] * 3, np.float32))


def _shoulder_bag(look: Look, pose: Pose) -> list[Mesh]:
    h = look.height
    hip: Floats = pose.pelvis + np.array([0.0, 0.01 * h, 0.118 * h], np.float32)
    x, y, z = hip.tolist()
    strap = np.stack([hip + 0.05 * h * _Y, pose.shoulders[0] + 0.03 * h * _Y])[None]
    return [
        box((x - 0.15, y - 0.16, z - 0.05), (x + 0.15, y + 0.09, z + 0.05), look.bag, taper=(0.92, 0.7)),
        lines(strap, 0.017, look.bag),
    ]
