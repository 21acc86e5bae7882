"""A bicycle with its rider, and a utility cart with its driver. Local axes: x forward, y up, z right; metres."""

from __future__ import annotations

import math

import numpy as np

from stream.campus.camera import Floats
from stream.campus.figure import Look, person, rgb
from stream.campus.mesh import Colour, Mesh, box, ellipsoid, join, lines, loft, spoked_wheel
from stream.campus.pose import held

WHEEL = 0.34  # metres: a bicycle wheel's radius
_CRANK = 0.17
_GEAR = 2.4  # turns of the wheel for one turn of the pedals
_TYRE, _SPOKE, _RUBBER = rgb(0x1C1C1E), rgb(0xA9ADB2), rgb(0x202124)
_CART_WHEEL = 0.23


def cyclist(look: Look, frame: Colour, distance: float) -> Mesh:
    """Somebody on a bicycle that has rolled ``distance`` metres."""
    roll = -distance / WHEEL
    rear, front, crank = (-0.50, WHEEL, 0.0), (0.56, WHEEL, 0.0), (-0.04, 0.29, 0.0)
    saddle, steer, fork, bar = (-0.20, 0.93, 0.0), (0.36, 0.90, 0.0), (0.40, 0.74, 0.0), (0.34, 1.02, 0.0)
    turn = roll / _GEAR
    arm = np.array([_CRANK * math.cos(turn), _CRANK * math.sin(turn), -0.11])
    pedals = np.array(crank) + np.stack([arm, -arm])
    grips = np.array([[0.38, 1.02, -0.26], [0.38, 1.02, 0.26]])
    bicycle = join(
        [
            spoked_wheel(rear, WHEEL, roll, _TYRE, _SPOKE),
            spoked_wheel(front, WHEEL, roll, _TYRE, _SPOKE),
            _rods(0.021, frame, (crank, saddle), (crank, fork), (saddle, steer), (steer, fork), (fork, front)),
            _rods(0.014, frame, (crank, rear), (saddle, rear)),
            _rods(0.014, _RUBBER, (steer, bar), (bar, grips[0]), (bar, grips[1])),
            _rods(0.015, _SPOKE, (crank, pedals[0]), (crank, pedals[1])),
            box((-0.34, 0.92, -0.07), (-0.06, 0.98, 0.07), _RUBBER, taper=(0.9, 0.7)),
        ]
    )
    soles = pedals + np.array([-0.06, 0.07, 0.0])
    pose = held(look.height, np.array([-0.20, 1.05, 0.0]), 0.50, hands=grips, ankles=soles)
    helmet = ellipsoid(
        pose.head + np.array([-0.01, 0.035, 0], np.float32) * look.height,
        (0.070 * look.height, 0.048 * look.height, 0.060 * look.height),
        rgb(0x3A3F47),
    )
    return join([bicycle, person(look, pose), helmet])


def cart(look: Look, paint: Colour, distance: float) -> Mesh:
    """A utility cart with a load box and a roof, and its driver, after ``distance`` metres."""
    seat, frame, roof = rgb(0x4A4038), rgb(0x3B3E42), rgb(0xD9D6CC)
    posts = [
        ((x0, 0.95, z), (x1, 1.86, z))
        for x0, x1, z in ((0.86, 0.62, -0.56), (0.86, 0.62, 0.56), (-0.52, -0.50, -0.56), (-0.52, -0.50, 0.56))
    ]
    rim = np.arange(13) * (2 * math.pi / 12)
    circle = np.stack([0.55 - 0.06 * np.cos(rim), 1.02 + 0.13 * np.cos(rim), -0.28 + 0.16 * np.sin(rim)], axis=-1)
    body = join(
        [
            box((-1.30, 0.26, -0.58), (1.22, 0.40, 0.58), frame),
            box((0.62, 0.40, -0.60), (1.28, 0.98, 0.60), paint, taper=(0.62, 0.92)),
            box((-0.46, 0.40, -0.58), (0.16, 0.74, 0.58), paint),
            box((-0.44, 0.74, -0.55), (0.14, 0.84, 0.55), seat),
            box((-0.52, 0.84, -0.55), (-0.40, 1.28, 0.55), seat, taper=(0.8, 0.95)),
            box((-1.34, 0.44, -0.62), (-0.56, 0.96, 0.62), paint),
            box((-1.28, 0.94, -0.56), (-0.62, 0.99, 0.56), rgb(0x2C2E30)),
            box((-0.66, 1.86, -0.64), (0.78, 1.94, 0.64), roof),
            lines(np.array(posts, np.float32), 0.025, frame),
            lines(np.stack([circle[:-1], circle[1:]], axis=1).astype(np.float32), 0.016, _RUBBER),
            *(_cart_wheel(x, z, -distance / _CART_WHEEL) for x in (-0.88, 0.86) for z in (-0.58, 0.58)),
            *(_rods(0.03, rgb(0xE8E4C8), ((1.24, 0.66, z), (1.27, 0.66, z))) for z in (-0.42, 0.42)),
        ]
    )
    pose = held(
        look.height,
        np.array([-0.18, 0.93, -0.28]),
        -0.05,
        hands=np.array([[0.52, 1.08, -0.42], [0.52, 1.08, -0.14]]),
        ankles=np.array([[0.52, 0.49, -0.38], [0.52, 0.49, -0.18]]),
    )
    return join([body, person(look, pose)])


def _cart_wheel(x: float, z: float, angle: float) -> Mesh:
    out = math.copysign(1.0, z)
    steps = np.array([-0.09, -0.09, 0.07, 0.08], np.float32) * out
    centres = np.array([x, _CART_WHEEL, z], np.float32) + steps[:, None] * np.array([0, 0, 1], np.float32)
    radii = np.repeat(np.array([0.02, _CART_WHEEL, _CART_WHEEL, 0.11], np.float32)[:, None], 2, axis=1)
    u = np.array([math.cos(angle), math.sin(angle), 0], np.float32)
    v = np.array([-math.sin(angle), math.cos(angle), 0], np.float32)
    tyre = loft(centres, u, v, radii, np.array([_RUBBER] * 3, np.float32))
    hub = np.array([0.0, 0.085], np.float32) * out
    hubs = np.array([x, _CART_WHEEL, z], np.float32) + hub[:, None] * np.array([0, 0, 1], np.float32)
    cap = loft(hubs[::-1], u, v, np.array([[0.01, 0.01], [0.12, 0.12]], np.float32), np.array([_SPOKE], np.float32))
    return join([tyre, cap])


def _rods(radius: float, colour: Colour, *ends: tuple[Floats | tuple[float, ...], Floats | tuple[float, ...]]) -> Mesh:
    return lines(np.array([[np.asarray(a), np.asarray(b)] for a, b in ends], np.float32), radius, colour)
