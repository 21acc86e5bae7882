"""Which reader station reads which camera: pure rules. For ``control``.

A camera stays where it is read as long as that can be: every change costs it some seconds. Otherwise it goes to the
station with the fewest cameras, of those that reach its network; to that on the node of its worker where the counts
differ by one at most, so that its frames stay on one machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

EVEN = 1
"""Cameras that a station may have more than another one, for the sake of having them beside their worker."""


@dataclass(frozen=True, slots=True)
class ReaderPlace:
    """What is known of a station that reads."""

    name: str
    node: str  # durable name of its machine
    network: str | None  # that its machine reaches; None: no label


@dataclass(frozen=True, slots=True)
class CameraWish:
    """What matters of a camera."""

    name: str
    network: str | None  # that its reader must reach; None: any station will do
    node: str | None  # of the worker that scores it; None: nowhere


def assign_readers(
    cameras: Iterable[CameraWish], stations: Mapping[str, ReaderPlace], read: Mapping[str, str]
) -> dict[str, str]:
    """The station of each camera that can have one.

    Args:
        cameras: all that are to be read.
        stations: those that answer, by name.
        read: camera -> station, so far.
    """
    wishes = sorted(cameras, key=lambda camera: camera.name)
    placed = {
        camera.name: read[camera.name]
        for camera in wishes
        if (station := stations.get(read.get(camera.name, ""))) is not None and _reaches(station, camera)
    }
    counts = dict.fromkeys(stations, 0)
    for name in placed.values():
        counts[name] += 1
    for camera in wishes:
        if camera.name in placed:
            continue
        if fit := [station for station in stations.values() if _reaches(station, camera)]:
            best = _best(fit, camera, counts)
            placed[camera.name] = best
            counts[best] += 1
    return placed


def _reaches(station: ReaderPlace, camera: CameraWish) -> bool:
    return camera.network is None or station.network == camera.network


def _best(fit: list[ReaderPlace], camera: CameraWish, counts: Mapping[str, int]) -> str:
    least = min(counts[station.name] for station in fit)
    beside = [station for station in fit if station.node == camera.node and counts[station.name] <= least + EVEN]
    return min(beside or fit, key=lambda station: (counts[station.name], station.name)).name
