"""Which reader station reads which camera: pure rules. For ``control``.

A camera stays where it is read as long as that can be: every change costs it some seconds. Otherwise it goes to the
station with the fewest cameras, of those that reach its network; to that on the node of its worker where the counts
differ by one at most, so that its frames stay on one machine.

When a node joins, cameras go there slowly, a few at a time, until the difference is not felt any more
(:func:`even_out`). Each such step leaves the two stations it is between more alike and neither as full as the fuller
one was, so that it comes to rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

EVEN = 1
"""Cameras that a station may have more than another one, for the sake of having them beside their worker."""


FELT = 3
"""Cameras that a station must have more than another one before any is moved for it: the two are still not on the other
side of each other after that, whatever ``EVEN`` gave away."""

FELT_PART = 0.25
"""The same as a part of its cameras: a smaller gain is not worth the seconds for which nobody reads the camera."""


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
    stays: bool = False  # its source has an end: read elsewhere it would begin anew


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


def even_out(
    cameras: Iterable[CameraWish], stations: Mapping[str, ReaderPlace], read: Mapping[str, str], *, most: int
) -> dict[str, str]:
    """Cameras that are to be read elsewhere, so that no station has many more than another one; at most ``most``.

    Args:
        cameras: those that may be moved.
        stations: those that cameras may be moved to or from, by name.
        read: camera -> station, of all cameras.
        most: cameras.
    """
    found = Counter(read.values())
    counts = {name: found[name] for name in stations}
    own: dict[str, list[CameraWish]] = {name: [] for name in stations}
    for camera in sorted(cameras, key=lambda camera: camera.name):
        if not camera.stays and read.get(camera.name) in own:
            own[read[camera.name]].append(camera)
    moves: dict[str, str] = {}
    while len(moves) < most and (step := _step(own, stations, counts)) is not None:
        camera, source, target = step
        moves[camera.name] = target
        own[source].remove(camera)  # and it is moved once only
        counts[source] -= 1
        counts[target] += 1
    return moves


def _step(
    own: Mapping[str, list[CameraWish]], stations: Mapping[str, ReaderPlace], counts: Mapping[str, int]
) -> tuple[CameraWish, str, str] | None:
    rising = sorted(stations, key=lambda name: (counts[name], name))
    for source in reversed(rising):
        for target in rising if own[source] else ():
            if counts[source] - counts[target] < max(FELT, FELT_PART * counts[source]):
                break
            if fit := [camera for camera in own[source] if _reaches(stations[target], camera)]:
                return _loosest(fit, stations[source], stations[target]), source, target
    return None


def _loosest(fit: list[CameraWish], source: ReaderPlace, target: ReaderPlace) -> CameraWish:
    """One that comes beside its worker if there is such, otherwise one that is not beside it now."""
    return min(fit, key=lambda camera: (camera.node != target.node, camera.node == source.node, camera.name))


def _reaches(station: ReaderPlace, camera: CameraWish) -> bool:
    return camera.network is None or station.network == camera.network


def _best(fit: list[ReaderPlace], camera: CameraWish, counts: Mapping[str, int]) -> str:
    least = min(counts[station.name] for station in fit)
    beside = [station for station in fit if station.node == camera.node and counts[station.name] <= least + EVEN]
    return min(beside or fit, key=lambda station: (counts[station.name], station.name)).name
