"""Which workers do not keep what they promise: those that fall out of work again and again, and those that do not get a
camera's gallery open. Without this a camera would stay blind where it is, though another worker could score it. For
``scoring``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

FALLS = 3
"""Times that a worker falls out of work until it is not relied on: once is an accident, twice may be one."""

FALLS_WITHIN = 300.0
"""Seconds in which they count."""

TRY_AGAIN = 300.0
"""Seconds until a worker is tried again for a camera that it did not get ready for."""

TRIES = 2
"""Workers without the galleries of a camera that are tried for it in that time. More would not help where there is no
gallery to be had."""


class Trust:
    """What was seen of the workers. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._at_work: frozenset[str] = frozenset()
        self._falls: dict[str, list[float]] = {}  # by worker: when it fell out of work
        self._failed: dict[tuple[str, str], float] = {}  # camera and worker -> until when this is held against it
        self._blind: dict[str, tuple[str, float]] = {}  # camera -> its worker, which does not score it, and since when

    def look(self, at_work: Collection[str], now: float) -> None:
        """Sees who is at work now."""
        for name in self._at_work - frozenset(at_work):
            self._falls.setdefault(name, []).append(now)
        self._at_work = frozenset(at_work)
        recent = {name: [at for at in falls if now - at <= FALLS_WITHIN] for name, falls in self._falls.items()}
        self._falls = {name: falls for name, falls in recent.items() if falls}
        self._failed = {pair: until for pair, until in self._failed.items() if now < until}

    def unsteady(self, worker: str) -> bool:
        """Whether it falls out of work again and again."""
        return len(self._falls.get(worker, ())) >= FALLS

    @property
    def problems(self) -> list[str]:
        """Workers that are not relied on, and why."""
        return [
            f"worker {name} fell out of work {len(falls)} times within {FALLS_WITHIN / 60:g} min: it gets no more "
            "cameras until it is steady, and loses those that it has when it falls again"
            for name, falls in sorted(self._falls.items())
            if self.unsteady(name)
        ]

    def fail(self, camera: str, worker: str, now: float) -> None:
        """It did not get ready for the camera in time."""
        self._failed[camera, worker] = now + TRY_AGAIN

    def failed(self, camera: str, worker: str) -> bool:
        """Whether that was so a while ago."""
        return (camera, worker) in self._failed

    def tried_enough(self, camera: str) -> bool:
        """Whether so many workers failed that one without the camera's galleries would fail, too."""
        return sum(name == camera for name, _ in self._failed) >= TRIES

    def blind_for(
        self, placed: Mapping[str, str], scores: Callable[[str, str], bool], now: float
    ) -> Mapping[str, float]:
        """Cameras that their workers do not score though they are at work, and for how many seconds already.

        Args:
            placed: camera -> worker.
            scores: whether a worker would score a camera's frames now: ``scores(camera, worker)``.
            now: monotonic seconds.
        """
        found: dict[str, tuple[str, float]] = {}
        for camera, worker in placed.items():
            if worker in self._at_work and not scores(camera, worker):
                known = self._blind.get(camera)
                found[camera] = known if known is not None and known[0] == worker else (worker, now)
        self._blind = found
        return {camera: now - since for camera, (_, since) in found.items()}
