"""Runs the test footage through the ordinary pipeline: reader processes, worker, policy, outbox, feed and sink."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stream import programs
from stream.config import Config
from stream.errors import ProcessMisconfigured, StreamError
from stream.evaluate.workspace import SceneFootage
from stream.health import read_status
from stream.progress import progress_bar

_STATUS_EVERY = 0.5  # s between two looks at how far it is


@dataclass(frozen=True, slots=True)
class Scoring:
    """How the run went."""

    problems: tuple[str, ...]  # why it is not complete
    frames_per_second: float | None  # None: too short to tell


def score_footage(
    config: Config, path: Path, footage: Sequence[SceneFootage], *, every: int, stopping: Callable[[], bool]
) -> Scoring:
    """Scores all test clips, with a bar that counts frames. What is scored is in the score log, whatever happens.

    Raises:
        ProcessMisconfigured: a process cannot work with this configuration.
    """
    clock, due = ScoringClock(config.scores), 0.0
    with progress_bar("score", unit="frame", total=sum(scene.expected(every) for scene in footage)) as bar:

        def on_tick() -> None:
            nonlocal due
            clock.look()
            if time.monotonic() >= due:
                due = time.monotonic() + _STATUS_EVERY
                cameras = read_status(config.status, now=time.time())["cameras"].values()
                bar.update(sum(camera["scored"] + camera["not_scored"] for camera in cameras) - bar.n)

        try:
            outcome = programs.run(config, path, stopping=stopping, on_tick=on_tick)
            problems = [f"{failure}: its footage was not read to the end" for failure in outcome.failed]
        except ProcessMisconfigured:
            raise
        except StreamError as error:  # figures of what was scored are worth more than none
            problems = [str(error)]
        due = 0.0
        on_tick()
    if stopping():
        problems.append("stopped before the end")
    return Scoring(tuple(problems), clock.frames_per_second())


class ScoringClock:
    """Tells the rate of scoring from the growth of the score log: its lines, and when the first and last were written.

    Args:
        folder: of the log.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._first: tuple[float, int] | None = None  # when it was first seen to hold lines (s), and how many

    def look(self) -> None:
        """To be called often, until the first frames are scored."""
        if self._first is None and (state := self._state()) is not None:
            self._first = state

    def frames_per_second(self) -> float | None:
        """Frames a second from the first to the last; None where all came at once."""
        last = self._state()
        if self._first is None or last is None or last[0] <= self._first[0]:
            return None
        return (last[1] - self._first[1]) / (last[0] - self._first[0])

    def _state(self) -> tuple[float, int] | None:
        written, lines = 0.0, 0
        for file in self._folder.glob("*/*.csv"):
            data = file.read_bytes()
            lines += max(0, data.count(b"\n") - 1)  # less the heading
            written = max(written, file.stat().st_mtime)
        return (written, lines) if lines else None
