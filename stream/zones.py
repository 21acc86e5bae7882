"""Zones: parts of a camera's picture that do not count, or that alone count. Pure; NumPy only. Anybody may use it.

Places are fractions of the native frame, x to the right and y down, so that a zone means the same whatever size a
frame, a score map or an operator's screen has. A place inside any ``ignore`` zone does not count. Where there are
``watch`` zones, only places inside one of them do.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from stream.fields import as_list, as_object, brief, number, text

Kind = Literal["ignore", "watch"]
KINDS: tuple[Kind, ...] = ("ignore", "watch")

Part = tuple[float, float, float, float]
"""x, y, width and height of a part of the frame, as fractions of it."""

WHOLE: Part = (0.0, 0.0, 1.0, 1.0)
"""All of the frame."""

LEAST_POINTS, MOST_POINTS = 3, 64
"""Corners of a zone: a triangle at least; more than anybody draws by hand at most."""

MOST_ZONES = 32
"""Zones of one camera: more than anybody keeps in mind."""

MOST_NAME = 64
"""Characters of a zone's name."""

_RASTER = (256, 256)  # rows, columns of the map that zones are tried on: the usual size of a score map

_KEYS = frozenset({"name", "kind", "polygon"})


@dataclass(frozen=True, slots=True)
class Zone:
    """One zone. Where its outline crosses itself, what lies inside twice is outside (even-odd rule).

    Raises:
        ValueError: a value is out of bounds; names it.
    """

    name: str  # for people; unique within a camera
    kind: Kind  # ignore: what lies inside does not count; watch: only what lies inside one of these counts
    polygon: tuple[tuple[float, float], ...]  # corners x, y: fractions 0..1 of the native frame

    def __post_init__(self) -> None:
        if not self.name.strip() or len(self.name) > MOST_NAME or not self.name.isprintable():
            raise ValueError(f"a zone's name is {brief(self.name)}; 1 to {MOST_NAME} printable characters belong there")
        if self.kind not in KINDS:
            raise ValueError(f"zone {self.name!r}: kind is {brief(self.kind)}; it can be {' or '.join(KINDS)}")
        if not LEAST_POINTS <= len(self.polygon) <= MOST_POINTS:
            raise ValueError(
                f"zone {self.name!r}: polygon has {len(self.polygon)} corners; "
                f"it needs {LEAST_POINTS} to {MOST_POINTS}, each as [x, y]"
            )
        for index, (x, y) in enumerate(self.polygon):
            if not (math.isfinite(x) and math.isfinite(y) and 0 <= x <= 1 and 0 <= y <= 1):
                raise ValueError(
                    f"zone {self.name!r}: polygon[{index}] is [{x}, {y}]; x and y are fractions of the frame, 0 to 1"
                )

    def to_json(self) -> dict[str, Any]:
        """JSON-able form."""
        return {"name": self.name, "kind": self.kind, "polygon": [[x, y] for x, y in self.polygon]}

    @classmethod
    def from_json(cls, value: object) -> Zone:
        """Inverse of :meth:`to_json`, read strictly. Raises ValueError, which names the value."""
        fields = as_object(value, "a zone")
        if unknown := sorted(map(str, fields.keys() - _KEYS)):
            raise ValueError(f"a zone has the unknown key {brief(unknown[0])}; its keys are name, kind and polygon")
        corners = as_list(_found(fields, "polygon"), "polygon", least=LEAST_POINTS, most=MOST_POINTS)
        polygon = tuple(_corner(corner, index) for index, corner in enumerate(corners))
        return cls(text(fields, "name", most=MOST_NAME), cast(Kind, text(fields, "kind", most=MOST_NAME)), polygon)


def zones_from_json(value: object) -> tuple[Zone, ...]:
    """The zones of one camera from a JSON list. Raises ValueError, which says which of them is wrong."""
    zones: list[Zone] = []
    for index, entry in enumerate(as_list(value, "zones", most=MOST_ZONES)):
        try:
            zones.append(Zone.from_json(entry))
        except ValueError as error:
            raise ValueError(f"zones[{index}]: {error}") from None
    check_names(zones)
    return tuple(zones)


def check_names(zones: Sequence[Zone]) -> None:
    """Raises ValueError where there are too many, or two have one name."""
    if len(zones) > MOST_ZONES:
        raise ValueError(f"{len(zones)} zones; a camera has {MOST_ZONES} at most: draw one round several")
    for name, count in Counter(zone.name for zone in zones).items():
        if count > 1:
            raise ValueError(f"{count} zones are called {name!r}; give each a name of its own")


def check_zones(zones: Sequence[Zone], *, part: Part = WHOLE) -> None:
    """Refuses zones that would leave a camera blind. To be asked where zones are set.

    Args:
        zones: all that the camera will have.
        part: of the frame that is scored.

    Raises:
        ValueError: one of them covers nothing, two have one name, or together they leave nothing to watch.
    """
    check_names(zones)
    for zone in zones:
        if not _inside(zone, _RASTER, WHOLE).any():
            raise ValueError(f"zone {zone.name!r} covers nothing: its corners lie on a line or too close together")
    kept = keep_mask(zones, shape=_RASTER, part=part)
    if kept is not None and not kept.any():
        raise ValueError(
            f"the zones {', '.join(repr(zone.name) for zone in zones)} leave nothing of the picture to watch: "
            "make an ignore zone smaller, or a watch zone larger"
        )


def keep_mask(zones: Sequence[Zone], *, shape: tuple[int, int], part: Part = WHOLE) -> NDArray[np.bool_] | None:
    """Which pixels of a score map count. A pixel lies where its centre lies.

    Args:
        zones: of the camera.
        shape: (H, W) of the map.
        part: of the frame that the map shows.

    Returns:
        (H, W) bool, False where a zone is ignored and outside all zones to watch; None = everything counts.
    """
    if not zones:
        return None
    watched = [_inside(zone, shape, part) for zone in zones if zone.kind == "watch"]
    kept = np.logical_or.reduce(watched) if watched else np.ones(shape, np.bool_)
    for zone in zones:
        if zone.kind == "ignore":
            kept &= ~_inside(zone, shape, part)
    return np.asarray(kept, np.bool_)


def _inside(zone: Zone, shape: tuple[int, int], part: Part) -> NDArray[np.bool_]:
    """(H, W) bool: pixels whose centre lies in the zone. Along a row, each crossing of the outline goes in or out."""
    left, top, width, height = part
    xs = left + (np.arange(shape[1]) + 0.5) / shape[1] * width
    ys = top + (np.arange(shape[0]) + 0.5) / shape[0] * height
    crossings = np.zeros((shape[0], shape[1] + 1), np.int32)
    for (x1, y1), (x2, y2) in zip(zone.polygon, (*zone.polygon[1:], zone.polygon[0]), strict=True):
        rows = np.flatnonzero((y1 <= ys) != (y2 <= ys))  # a side that lies along the row crosses nothing
        at = x1 + (ys[rows] - y1) / ((y2 - y1) or 1.0) * (x2 - x1)
        np.add.at(crossings, (rows, np.searchsorted(xs, at)), 1)
    return np.asarray(np.cumsum(crossings[:, :-1], axis=1) % 2 == 1)


def _corner(value: object, index: int) -> tuple[float, float]:
    pair = as_list(value, f"polygon[{index}]", least=2, most=2)
    x, y = (number({name: given}, name) for name, given in zip(_axes(index), pair, strict=True))
    return x, y


def _axes(index: int) -> tuple[str, str]:
    return f"x of polygon[{index}]", f"y of polygon[{index}]"


def _found(fields: Mapping[str, Any], name: str) -> object:
    if name not in fields:
        raise ValueError(f"{name} is missing")
    return fields[name]
