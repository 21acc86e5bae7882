"""One view of all tasks of a command: bars on a terminal, lines in a log, JSON for a program."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

from tqdm import tqdm

from stream.cluster.tasks import Outcome, Progress, Task, View
from stream.progress import Form, Step, progress_reporter

LINE_EVERY = 15.0
"""Seconds between two lines of a log that only say how far it is."""

MOST_BARS = 20
"""Running tasks that a terminal shows one by one."""

_WAIT_SAID = 5.0  # s that nothing begins before it is said why

Shown = Callable[[str], None]


def view_of(form: Form, *, out: TextIO | None = None) -> View:
    """The view that suits whoever looks: a program, a terminal, or a log."""
    if form == "json":
        return JsonView()
    stream = out or sys.stderr
    return BarView(stream) if stream.isatty() else LineView(lambda line: print(line, file=stream, flush=True))


def summary(tasks: Sequence[Task], progress: Mapping[str, Progress], ended: Mapping[str, Outcome]) -> str:
    """All of it in one line."""
    failed = sum(outcome.code != 0 for outcome in ended.values())
    running = [name for name in progress if name not in ended]
    waiting = len(tasks) - len(ended) - len(running)
    words = [f"{len(ended)} of {len(tasks)} ended", f"{len(running)} running", f"{waiting} waiting"]
    return ", ".join([*words, f"{failed} failed"] if failed else words)


def in_words(progress: Progress) -> str:
    """How far a running task is."""
    share = "" if not progress.total else f" {100 * progress.done // progress.total} %"
    return f"{progress.stage or 'begins'}{share} on {progress.node}"


class LineView:
    """Lines: each beginning, each end, each node that died, and now and then how far all are.

    Args:
        say: takes a line.
        clock: monotonic seconds.
    """

    def __init__(self, say: Shown, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._say, self._clock = say, clock
        self._starts: dict[str, int] = {}
        self._ended: set[str] = set()
        self._due = clock() + LINE_EVERY
        self._idle_since: float | None = None
        self._waiting = ""  # as it was said last

    def show(
        self, tasks: Sequence[Task], progress: Mapping[str, Progress], ended: Mapping[str, Outcome], waiting: str
    ) -> None:
        """See :class:`stream.cluster.tasks.View`."""
        self._beginnings(progress)
        self._ends(ended)
        self._say_waiting(tasks, progress, ended, waiting)
        if self._clock() >= self._due and len(ended) < len(tasks):
            self._due = self._clock() + LINE_EVERY
            running = [f"{name}: {in_words(told)}" for name, told in progress.items() if name not in ended]
            self._say("; ".join([summary(tasks, progress, ended), *running[:MOST_BARS]]))

    def _beginnings(self, progress: Mapping[str, Progress]) -> None:
        for name, told in progress.items():
            if told.starts > self._starts.get(name, 0):
                again = " again: its node, or its process there, died" if told.starts > 1 else ""
                self._say(f"{name}: begins on {told.node}{again}")
                self._starts[name] = told.starts

    def _ends(self, ended: Mapping[str, Outcome]) -> None:
        for name in ended.keys() - self._ended:
            self._say(f"{name}: {'done' if ended[name].code == 0 else 'failed'}")
        self._ended |= ended.keys()

    def _say_waiting(
        self, tasks: Sequence[Task], progress: Mapping[str, Progress], ended: Mapping[str, Outcome], waiting: str
    ) -> None:
        if len(ended) == len(tasks) or any(name not in ended for name in progress):
            self._idle_since = None
            return
        now = self._clock()
        self._idle_since = now if self._idle_since is None else self._idle_since
        if now - self._idle_since >= _WAIT_SAID and waiting and waiting != self._waiting:
            self._waiting = waiting
            self._say(waiting)


class BarView:
    """A bar for all tasks and one for each that runs; what has to stay is printed above them."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._lines = LineView(self._above)
        self._total: Any = None
        self._bars: dict[str, Any] = {}

    def show(
        self, tasks: Sequence[Task], progress: Mapping[str, Progress], ended: Mapping[str, Outcome], waiting: str
    ) -> None:
        """See :class:`stream.cluster.tasks.View`."""
        if self._total is None:
            self._total = self._bar("all", len(tasks), 0)
        self._total.n = len(ended)
        self._total.set_postfix_str(summary(tasks, progress, ended))
        running = {name: told for name, told in progress.items() if name not in ended}
        for name in self._bars.keys() - running.keys():
            self._bars.pop(name).close()
        for name, told in list(running.items())[:MOST_BARS]:
            self._show_one(name, told)
        self._lines.show(tasks, progress, ended, waiting)
        if len(ended) == len(tasks):
            self._total.close()

    def _show_one(self, name: str, told: Progress) -> None:
        if name not in self._bars:
            taken = {bar.spade_position for bar in self._bars.values()}
            place = next(place for place in range(1, MOST_BARS + 2) if place not in taken)
            self._bars[name] = self._bar(name, told.total, place)
            self._bars[name].spade_position = place
        bar = self._bars[name]
        bar.total, bar.n = told.total, told.done
        bar.set_postfix_str(told.text or in_words(told))

    def _bar(self, name: str, total: int | None, place: int) -> Any:
        return tqdm(desc=name, total=total, position=place, leave=place == 0, file=self._out, mininterval=0.0)

    def _above(self, line: str) -> None:
        tqdm.write(line, file=self._out)


class JsonView:
    """The form that the console reads: how many tasks have ended."""

    def show(
        self, tasks: Sequence[Task], progress: Mapping[str, Progress], ended: Mapping[str, Outcome], waiting: str
    ) -> None:
        """See :class:`stream.cluster.tasks.View`."""
        running = any(name not in ended for name in progress)
        words = summary(tasks, progress, ended) if running or len(ended) == len(tasks) else waiting
        with progress_reporter("tasks", unit="task", form="json") as tell:
            tell(Step("tasks", len(ended), len(tasks), words))
