"""Runs the test footage through the ordinary pipeline: reader processes, worker, policy, outbox, feed and sink."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stream.config import Config
from stream.errors import ProcessMisconfigured, StreamError
from stream.evaluate.workspace import SceneFootage
from stream.progress import Form
from stream.replay import run_with_progress


@dataclass(frozen=True, slots=True)
class Scoring:
    """How the run went."""

    problems: tuple[str, ...]  # why it is not complete
    frames_per_second: float | None  # None: too short to tell


def score_footage(
    config: Config,
    path: Path,
    footage: Sequence[SceneFootage],
    *,
    every: int,
    stopping: Callable[[], bool],
    progress: Form = "bar",
) -> Scoring:
    """Scores all test clips, with a bar that counts frames. What is scored is in the score log, whatever happens.

    Raises:
        ProcessMisconfigured: a process cannot work with this configuration.
    """
    clock, expected = ScoringClock(config.scores), sum(scene.expected(every) for scene in footage)
    try:
        outcome = run_with_progress(
            config, path, expected=expected, stopping=stopping, on_tick=clock.look, form=progress
        )
        problems = [f"{failure}: its footage was not read to the end" for failure in outcome.failed]
    except ProcessMisconfigured:
        raise
    except StreamError as error:  # figures of what was scored are worth more than none
        problems = [str(error)]
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
