"""How bodies move: joints of people who walk, run, stoop, ride and sit. Axes x forward, y up, z right; metres."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stream.campus.camera import Floats

# Lengths as fractions of body height (Drillis & Contini's table, rounded).
THIGH, SHIN, SOLE = 0.245, 0.245, 0.042
TRUNK, NECK, UPPER_ARM, FOREARM = 0.29, 0.115, 0.17, 0.155
SHOULDERS, HIPS = 0.118, 0.055  # half widths


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """Joint positions; pairs are (2, 3), left then right."""

    pelvis: Floats
    neck: Floats  # where it meets the trunk
    head: Floats  # centre of the skull
    shoulders: Floats
    elbows: Floats
    hands: Floats
    hips: Floats
    knees: Floats
    ankles: Floats
    toes: Floats


@dataclass(frozen=True, slots=True)
class Gait:
    """How somebody gets along on foot."""

    stride: float  # metres for two steps, per metre of body height
    swing: float  # radians: the thigh's greatest angle to either side
    knee: float  # radians: the swinging leg's greatest bend
    rest_knee: float  # radians: the standing leg's bend
    arm: float  # radians: the upper arm's greatest angle to either side
    elbow: float  # radians
    lean: float  # radians forward
    flight: float  # metres: how far both feet leave the ground, twice a stride


WALK = Gait(stride=0.80, swing=0.37, knee=0.95, rest_knee=0.08, arm=0.36, elbow=0.28, lean=0.04, flight=0.0)
RUN = Gait(stride=1.35, swing=0.80, knee=1.75, rest_knee=0.35, arm=0.75, elbow=1.55, lean=0.20, flight=0.07)


def on_foot(height: float, gait: Gait, phase: float, *, vigour: float = 1.0, stoop: float = 0.0) -> Pose:
    """Somebody walking or running.

    Args:
        height: body height in metres.
        gait: the manner.
        phase: radians; 2 pi for each stride.
        vigour: 0 = standing still .. 1 = in full motion.
        stoop: radians that the trunk bends forward on top of the gait's lean.
    """
    phases = np.array([phase, phase + math.pi])
    thigh = gait.swing * vigour * np.sin(phases) + 0.5 * gait.rest_knee * vigour
    bend = vigour * (gait.rest_knee + gait.knee * np.maximum(0, np.cos(phases + 0.35)) ** 1.5)
    hips = _pair(0, 0, HIPS * height)
    knees = hips + _swing(thigh) * THIGH * height
    ankles = knees + _swing(thigh - bend) * SHIN * height
    pitch = np.clip(thigh - bend, -1.2, 0.5) * 0.8  # the foot follows the shin when it swings and lies flat else
    toes = ankles + np.stack([0.13 * np.cos(pitch), 0.13 * np.sin(pitch) - 0.015, 0 * pitch], axis=-1) * height
    # The lower foot stands on the ground: that alone gives a natural rise and fall.
    lift = SOLE * height - float(ankles[:, 1].min()) + gait.flight * vigour * abs(math.sin(phase + 0.6))
    arms = -gait.arm * vigour * np.sin(phases)
    pelvis = np.array([0, lift, 0])
    return _assemble(
        height,
        pelvis,
        gait.lean * vigour + stoop,
        hips + pelvis,
        knees + pelvis,
        ankles + pelvis,
        toes + pelvis,
        arms,
        np.full(2, gait.elbow * (0.5 + 0.5 * vigour)),
    )


def held(height: float, pelvis: Floats, lean: float, *, hands: Floats, ankles: Floats) -> Pose:
    """Somebody whose hands (2, 3) hold something and whose feet (2, 3) rest on something: a rider or a driver."""
    hips = pelvis + _pair(0, 0, HIPS * height)
    knees = np.stack([_bent(hips[i], ankles[i], THIGH * height, SHIN * height, forward=1) for i in (0, 1)])
    toes = ankles + np.array([0.12 * height, -0.02, 0])
    still = np.zeros(2)
    pose = _assemble(height, pelvis, lean, hips, knees, ankles, toes, still, still)
    upper, fore = UPPER_ARM * height, FOREARM * height
    elbows = np.stack([_bent(pose.shoulders[i], hands[i], upper, fore, forward=-1) for i in (0, 1)])
    return Pose(
        pose.pelvis,
        pose.neck,
        pose.head,
        pose.shoulders,
        _f32(elbows),
        _f32(hands),
        pose.hips,
        pose.knees,
        pose.ankles,
        pose.toes,
    )


def _assemble(
    height: float,
    pelvis: Floats,
    lean: float,
    hips: Floats,
    knees: Floats,
    ankles: Floats,
    toes: Floats,
    arms: Floats,
    elbow: Floats,
) -> Pose:
    up = np.array([math.sin(lean), math.cos(lean), 0])
    neck = pelvis + up * TRUNK * height
    # The head stays more upright than the trunk.
    head = neck + np.array([math.sin(0.5 * lean) + 0.10, math.cos(0.5 * lean), 0]) * NECK * height
    shoulders = neck - up * 0.03 * height + _pair(0, 0, SHOULDERS * height)
    elbows = shoulders + (_swing(arms) * UPPER_ARM + _pair(0, 0, 0.02)) * height
    hands = elbows + _swing(arms + elbow) * FOREARM * height
    return Pose(*map(_f32, (pelvis, neck, head, shoulders, elbows, hands, hips, knees, ankles, toes)))


def _bent(root: Floats, end: Floats, first: float, second: float, *, forward: int) -> Floats:
    """The middle joint of a limb from ``root`` to ``end``, bent to the front (1) or the back (-1)."""
    span = end - root
    distance = min(float(np.linalg.norm(span)), 0.999 * (first + second))
    along = span / max(float(np.linalg.norm(span)), 1e-6)
    reach = (first**2 - second**2 + distance**2) / (2 * distance)
    out = np.array([forward, 0.35 * forward, 0], np.float64)
    out -= along * float(out @ along)
    out /= max(float(np.linalg.norm(out)), 1e-6)
    return np.asarray(root + along * reach + out * math.sqrt(max(first**2 - reach**2, 0.0)))


def _pair(x: float, y: float, z: float) -> Floats:
    return np.array([[x, y, -z], [x, y, z]], np.float32)


def _swing(angles: Floats) -> Floats:
    """(2,) angles from hanging down, forward positive, to (2, 3) unit vectors."""
    return np.stack([np.sin(angles), -np.cos(angles), 0 * angles], axis=-1)


def _f32(value: Floats) -> Floats:
    return np.asarray(value, np.float32)
