"""The synthetic campus as a source of frames (``campus:?seed=7&duration=60``), for demos and checks with known truth.

Frames come as fast as they are asked for; whoever wants a live camera paces them.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from stream.campus.scene import MAX_FPS, MAX_SIDE, MIN_SIDE, CampusScene
from stream.campus.script import MIN_RANDOM_EVERY, TEST_SECONDS, Script, normal_script, random_script, test_script
from stream.errors import UsageError
from stream.sources.base import SourceFrame, SourceInfo

_MAX_SEED = 2**32 - 1
_MAX_SECONDS = 7 * 24 * 3600.0


class Events(StrEnum):
    """Which anomalies a source shows."""

    NONE = "none"
    TEST = "test"  # one of each kind, at known times
    RANDOM = "random"  # one at a random time in every so many seconds


@dataclass(frozen=True, slots=True)
class CampusOptions:
    """What a ``campus:`` spec says; the names are those of its keys."""

    seed: int = 7  # the place
    walk_seed: int = 0  # the people and the weather
    fps: float = 10.0
    size: tuple[int, int] = (640, 360)  # width, height in pixels
    duration: float | None = None  # seconds; None = endless, but for the test events, which end by themselves
    events: Events = Events.NONE
    every: float = 60.0  # seconds; for random events

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> CampusOptions:
        """The options in a spec's query; what is absent has its default.

        Raises:
            UsageError: a key is unknown, or a value cannot be used.
        """
        unknown = [key for key in query if key not in _READERS]
        if unknown:
            raise UsageError(f"campus source: unknown key {unknown[0]!r}; the keys are {', '.join(_READERS)}")
        return cls(**{key: _READERS[key](key, value) for key, value in query.items()})  # type: ignore[arg-type]

    def script(self) -> Script:
        """What happens. Raises UsageError where the duration is too short for the events."""
        match self.events:
            case Events.NONE:
                return normal_script(self.duration, self.walk_seed)
            case Events.TEST:
                seconds = TEST_SECONDS if self.duration is None else self.duration
                return test_script(walk_seed=self.walk_seed, duration=seconds)
            case Events.RANDOM:
                return random_script(self.duration, self.walk_seed, every=self.every)


class CampusSource:
    """A :class:`stream.sources.base.Source` over a :class:`CampusScene`, which also knows the truth."""

    def __init__(self, options: CampusOptions) -> None:
        width, height = options.size
        self._scene = CampusScene(
            seed=options.seed, width=width, height=height, fps=options.fps, script=options.script()
        )
        self._info = SourceInfo(
            name=f"campus seed {options.seed}, walkers {options.walk_seed}, events {options.events}",
            width=width,
            height=height,
            fps=options.fps,
            frame_count=self._scene.frame_count,
            live=False,
        )
        self._closed = threading.Event()

    @property
    def info(self) -> SourceInfo:
        """What is known of it; ``frame_count`` is exact."""
        return self._info

    @property
    def scene(self) -> CampusScene:
        """The scene behind it: its script names the events of a finite source."""
        return self._scene

    def frames(self) -> Iterator[SourceFrame]:
        """Frames in order, until the script or :meth:`close` ends them."""
        index = 0
        while not self._closed.is_set() and (self._info.frame_count is None or index < self._info.frame_count):
            picture, _ = self._scene.render(index)
            yield SourceFrame(index, index / self._scene.fps, picture)
            index += 1

    def truth(self, index: int) -> NDArray[np.uint8]:
        """(H, W) mask of frame ``index``: 255 = anomalous, else 0. Raises IndexError where there is no such frame."""
        return self._scene.render(index)[1]

    def close(self) -> None:
        """Ends :meth:`frames` before its next frame."""
        self._closed.set()


def open_campus(query: Mapping[str, str]) -> CampusSource:
    """The source for a ``campus:`` spec.

    Args:
        query: ``seed`` and ``walk_seed`` (whole numbers), ``fps``, ``size`` (``640x360``), ``duration`` in seconds
            (absent: endless; test events take 70 s), ``events`` (``none``, ``test`` or ``random``), ``every`` (seconds
            from one random event to the next, on average). Each may be absent.

    Raises:
        UsageError: a key is unknown or a value cannot be used; it names the key, the value and what is allowed.
    """
    return CampusSource(CampusOptions.from_query(query))


def _seed(key: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", text) or int(text) > _MAX_SEED:
        raise _refused(key, text, f"a whole number, 0..{_MAX_SEED}")
    return int(text)


def _number(low: float, high: float, unit: str) -> Callable[[str, str], float]:
    def read(key: str, text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise _refused(key, text, f"a number of {unit}, {low:g}..{high:g}")
        return value

    return read


def _size(key: str, text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", text)
    sides = (int(found[1]), int(found[2])) if found else (0, 0)
    if any(side % 2 or not MIN_SIDE <= side <= MAX_SIDE for side in sides):
        raise _refused(key, text, f"WIDTHxHEIGHT, both even, {MIN_SIDE}..{MAX_SIDE}")
    return sides


def _events(key: str, text: str) -> Events:
    try:
        return Events(text)
    except ValueError:
        raise _refused(key, text, ", ".join(Events)) from None


def _refused(key: str, text: str, allowed: str) -> UsageError:
    return UsageError(f"campus source: {key}={text!r} cannot be used; allowed: {allowed}")


_READERS: Mapping[str, Callable[[str, str], object]] = {
    "seed": _seed,
    "walk_seed": _seed,
    "fps": _number(0.1, MAX_FPS, "frames per second"),
    "size": _size,
    "duration": _number(0.1, _MAX_SECONDS, "seconds"),
    "events": _events,
    "every": _number(MIN_RANDOM_EVERY, _MAX_SECONDS, "seconds"),
}
