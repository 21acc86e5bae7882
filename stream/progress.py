"""How far long work is: a bar on standard error for people, or JSON lines on standard output for a program."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TextIO

from tqdm import tqdm

JSON_EVERY = 0.25
"""Least seconds between two lines of the same stage."""

Form = Literal["bar", "json"]
"""Who is told."""


@dataclass(frozen=True, slots=True)
class Step:
    """How far it is."""

    stage: str  # what is being done, one word
    done: int
    total: int | None = None  # of ``done`` at the end; None = not known
    text: str = ""  # the same for people
    coverage: Mapping[str, Any] | None = None  # of an enrolment: how well the scene is known so far

    def to_json(self) -> dict[str, Any]:
        """What stands under ``progress`` in a line."""
        said = {"stage": self.stage, "done": self.done, "total": self.total, "text": self.text or self.stage}
        return said if self.coverage is None else {**said, "coverage": dict(self.coverage)}


@contextmanager
def progress_reporter(
    description: str,
    *,
    unit: str,
    form: Form = "bar",
    scaled: bool = False,
    out: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Callable[[Step], None]]:
    """Gives a function that tells of every step.

    Args:
        description: what is going on.
        unit: what is counted.
        form: ``bar`` for people; ``json``: a line ``{"progress": {...}}`` a step, a few a second at most.
        scaled: show kilo, mega, ... in the bar.
        out: where JSON goes; None = standard output.
        clock: monotonic seconds.
    """
    if form == "json":
        yield _lines(out, clock)
        return
    with progress_bar(description, unit=unit, scaled=scaled) as bar:

        def show(step: Step) -> None:
            bar.total = step.total
            bar.set_postfix_str(step.text or step.stage, refresh=False)
            bar.update(step.done - bar.n)

        yield show


def tell_result(result: Mapping[str, Any], *, out: TextIO | None = None) -> None:
    """The last line for a program: ``{"result": {...}}``."""
    print(json.dumps({"result": dict(result)}), file=out or sys.stdout, flush=True)


def _lines(out: TextIO | None, clock: Callable[[], float]) -> Callable[[Step], None]:
    stage, due = "", 0.0

    def tell(step: Step) -> None:
        nonlocal stage, due
        if step.stage == stage and clock() < due and step.done != step.total:
            return
        stage, due = step.stage, clock() + JSON_EVERY
        print(json.dumps({"progress": step.to_json()}), file=out or sys.stdout, flush=True)

    return tell


def progress_bar(description: str, *, unit: str, total: int | None = None, scaled: bool = False) -> Any:
    """A tqdm bar, to be used as a context manager.

    Args:
        description: what is going on.
        unit: what is counted.
        total: how many there are; None = unknown.
        scaled: show kilo, mega, ...
    """
    interval = 0.5 if sys.stderr.isatty() else 15.0
    return tqdm(desc=description, unit=unit, total=total, unit_scale=scaled, file=sys.stderr, mininterval=interval)
