"""Curves as pairs of arrays: the area below, the part up to a limit, fewer points to draw. Used within the package."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spade_core.errors import InputError

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]
"""x and y of the same length; x never falls."""


def area_below(curve: Curve) -> float:
    """The area below the straight lines from point to point."""
    x, y = curve
    return float((np.diff(x) * (y[1:] + y[:-1])).sum() / 2)


def cut_at(curve: Curve, limit: float) -> Curve:
    """The part of a curve with x up to ``limit``, with a last point there.

    That point lies on the line from the last point before to the first one behind. A curve that ends sooner goes on
    level.
    """
    x, y = curve
    inside = int(np.searchsorted(x, limit, side="right"))  # points up to the limit; x[0] is 0, so at least one
    if x[inside - 1] == limit:
        return x[:inside], y[:inside]
    if inside == len(x):
        last = y[-1]
    else:
        part = (limit - x[inside - 1]) / (x[inside] - x[inside - 1])
        last = y[inside - 1] + part * (y[inside] - y[inside - 1])
    return np.append(x[:inside], limit), np.append(y[:inside], last)


def thinned(curve: Curve, points: int | None) -> Curve:
    """At most ``points`` points of a rising curve, evenly spread along it, its two ends among them; None = all.

    Raises:
        InputError: fewer than two points are asked for.
    """
    if points is None:
        return curve
    if points < 2:
        raise InputError(f"a curve cannot be thinned to {points} points: it has two ends")
    x, y = curve
    way = x / x[-1] + y  # both axes count alike, else a steep curve would lose its corner
    kept = np.unique(np.searchsorted(way, np.linspace(way[0], way[-1], points)))
    return x[kept], y[kept]
