"""Where things are at one place: walkway, path to the door, buildings, trees and furniture. One seed, one place."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stream.campus.camera import Camera, Floats
from stream.campus.figure import rgb
from stream.campus.mesh import Colour
from stream.campus.raster import Light

NEAR_EDGE, FAR_EDGE = 9.0, 17.2  # metres: the walkway lies between
LANES_OUT = (10.0, 11.0, 12.0)  # z of walkers towards +x
LANES_BACK = (14.4, 15.4, 16.3)  # z of walkers towards -x
FAST_LANES = (12.6, 13.2, 13.8)  # z of whatever is faster
FACADE = 29.0  # z of the buildings' fronts
NEAR_END = 3.6  # z where somebody on the path is below the picture


@dataclass(frozen=True, slots=True)
class Building:
    """A box of a house: its front is at ``z``, from ``left`` to ``right``."""

    left: float  # metres
    right: float
    z: float
    wall: Colour
    plinth: Colour
    frame: Colour  # of windows
    bay: float  # metres from window to window
    sill: float  # metres above each floor
    storey: float  # metres
    door: float | None  # x of its middle
    brick: float  # 0 = plaster .. 1 = strong courses


@dataclass(frozen=True, slots=True)
class Tree:
    """A round-crowned tree."""

    x: float
    z: float
    trunk: float  # metres to the crown's middle
    radius: float  # metres
    leaf: Colour


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Everything that stays where it is."""

    seed: int
    camera: Camera
    light: Light
    path: float  # x of the middle of the path to the door
    path_width: float  # metres
    paving: Colour
    path_colour: Colour
    grass: Colour
    slab: float  # metres
    buildings: tuple[Building, ...]
    trees: tuple[Tree, ...]
    benches: tuple[float, ...]  # x; behind the walkway
    bins: tuple[float, ...]
    lamps: tuple[tuple[float, float], ...]  # x, z

    @classmethod
    def of(cls, seed: int, *, width: int, height: int) -> Layout:
        """The place with this seed, in a picture of this size (pixels)."""
        rng = np.random.default_rng((seed, 0x91ACE))
        camera = Camera.mounted(
            width=width,
            height=height,
            mast=float(rng.uniform(5.0, 5.5)),
            pitch=math.radians(rng.uniform(18.5, 20.5)),
            yaw=math.radians(rng.uniform(-9.0, 9.0)),
        )
        sun = np.array([rng.choice([-1.0, 1.0]) * rng.uniform(0.35, 0.6), 0.85, -rng.uniform(0.3, 0.55)])
        path = float(rng.uniform(-2.5, 2.5)) + FACADE * 0.5 * math.tan(camera.yaw)
        return cls(
            seed=seed,
            camera=camera,
            light=Light((sun / np.linalg.norm(sun)).astype(np.float32)),
            path=path,
            path_width=float(rng.uniform(2.8, 3.4)),
            paving=_pick(rng, 0xA7A29A, 0xB0A594, 0x9FA3A6, 0xAA9A8C),
            path_colour=_pick(rng, 0x6E6F72, 0x8C6A58, 0x77746E),
            grass=_pick(rng, 0x66793F, 0x5F7340, 0x707A44),
            slab=float(rng.choice([0.6, 0.75, 0.9])),
            buildings=_buildings(rng, path),
            trees=_trees(rng, path, camera),
            benches=tuple(path + side * float(rng.uniform(4.0, 6.0)) for side in (-1, 1)),
            bins=(path + float(rng.choice([-1, 1])) * float(rng.uniform(2.4, 2.9)),),
            lamps=(
                (path - float(rng.uniform(6.8, 8.0)), FAR_EDGE + 0.5),
                (path + float(rng.uniform(7.0, 8.5)), FAR_EDGE + 0.5),
                (path + float(rng.choice([-1, 1])) * float(rng.uniform(3.0, 4.2)), NEAR_EDGE - 0.5),
            ),
        )


def _pick(rng: np.random.Generator, *colours: int) -> Colour:
    return rgb(colours[int(rng.integers(len(colours)))])


def _buildings(rng: np.random.Generator, path: float) -> tuple[Building, ...]:
    gap = path + float(rng.choice([-1, 1])) * float(rng.uniform(9.5, 12.5))
    walls = [0xA4694F, 0xC9BFA8, 0xB9B4AC, 0x8F5B48, 0xD2C6A6]
    first, second = rng.permutation(len(walls))[:2]
    frames = [0xE6E4DE, 0x4A4F55, 0x6B5A48]

    def building(left: float, right: float, z: float, wall: int, door: float | None) -> Building:
        return Building(
            left=left,
            right=right,
            z=z,
            wall=rgb(wall),
            plinth=_pick(rng, 0x77736C, 0x5E5B57, 0x8A857B),
            frame=_pick(rng, *frames),
            bay=float(rng.uniform(2.5, 3.1)),
            sill=float(rng.uniform(0.9, 1.1)),
            storey=float(rng.uniform(3.3, 3.6)),
            door=door,
            brick=float(rng.uniform(0.3, 1.0)),
        )

    if gap > path:
        return (
            building(-60, gap - 2.0, FACADE, walls[first], path),
            building(gap + 2.5, 60, FACADE + 3, walls[second], None),
        )
    return (
        building(gap + 2.0, 60, FACADE, walls[first], path),
        building(-60, gap - 2.5, FACADE + 3, walls[second], None),
    )


def _trees(rng: np.random.Generator, path: float, camera: Camera) -> tuple[Tree, ...]:
    left, right = camera.lane_span(22.0, -0.5)
    spots = [x for x in np.linspace(left, right, 5) + rng.uniform(-0.8, 0.8, 5) if abs(x - path) > 3.6]
    return tuple(
        Tree(
            x=float(x),
            z=float(rng.uniform(20.0, 24.5)),
            trunk=float(rng.uniform(3.2, 3.9)),
            radius=float(rng.uniform(1.4, 1.9)),
            leaf=_pick(rng, 0x5F7F3A, 0x6E8A42, 0x547238, 0x7C8744),
        )
        for x in spots
    )


def ground_shadow_tint() -> Floats:
    """(3,) BGR: what is left of the light where the sun does not reach; the sky's part is bluish."""
    return np.array([0.64, 0.59, 0.56], np.float32)
