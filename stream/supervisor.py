"""Runs the processes of one machine: starts them, restarts what dies (counted, with growing pauses), and drains them in
order: readers first, then the worker, then sinks, the feed last. It watches processes only; it opens no socket.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from stream.errors import ProcessFailed, ProcessMisconfigured

log = logging.getLogger(__name__)

RESTART_FIRST = 0.5
"""Seconds before the first restart; doubled with every death in a row."""

RESTART_MOST = 30.0
"""Longest pause before a restart, s."""

STABLE_AFTER = 60.0
"""A process that lived this many seconds had a good start: its next death counts as the first again."""

MOST_RESTARTS = 10
"""Deaths in a row after which a process is given up, and with it the run: something is wrong that restarting won't
mend.
"""

KILL_AFTER = 8.0
"""Seconds between SIGTERM and SIGKILL for a process that does not end."""

WRONG_USAGE = 2
"""Exit code that says: the configuration is wrong. Starting again would not change it."""

_TICK = 0.1  # s


class Stage(IntEnum):
    """Order of the drain; processes of one stage stop together."""

    READERS = 0
    WORKER = 1
    SINKS = 2
    FEED = 3


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """A process to keep running."""

    name: str
    argv: tuple[str, ...]  # holds no secret: everybody on the machine can read it
    stage: Stage
    ends: bool  # its end is final: exit 0 means that its work is done, anything else that it failed


@dataclass(slots=True)
class _Child:
    spec: ChildSpec
    process: subprocess.Popen[bytes] | None = None
    started_mono: float = 0.0
    deaths: int = 0  # in a row
    restarts: int = 0  # in all
    due_mono: float = 0.0  # when to start (again)
    exit_code: int | None = None  # of a process that has ended for good


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run went."""

    failed: tuple[str, ...] = ()  # finite processes that ended with an error, with the exit code
    restarts: dict[str, int] = field(default_factory=dict)  # by process name, without zeros


class Supervisor:
    """Keeps a set of processes running.

    Args:
        children: what to run.
        on_tick: called every ``_TICK`` seconds while running.
        before_stage: called before the processes of a stage are asked to stop, to let what they wait for arrive.
        monotonic: clock.
        sleep: pause.
    """

    def __init__(
        self,
        children: Sequence[ChildSpec],
        *,
        on_tick: Callable[[], None] = lambda: None,
        before_stage: Callable[[Stage], None] = lambda stage: None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._children = [_Child(spec) for spec in children]
        self._on_tick, self._before_stage, self._monotonic, self._sleep = on_tick, before_stage, monotonic, sleep

    def run(self, stopping: Callable[[], bool]) -> Outcome:
        """Runs until told to stop, or until all finite processes have ended; then drains.

        Raises:
            ProcessFailed: a process is given up; the others were drained.
            ProcessMisconfigured: the same, because of the configuration.
        """
        try:
            while not (stopping() or self._all_ended()):
                for child in self._children:
                    self._tend(child)
                self._on_tick()
                self._sleep(_TICK)
        finally:
            self._drain()
            self._on_tick()
        failed = tuple(
            f"{child.spec.name} (exit code {child.exit_code})"
            for child in self._children
            if child.spec.ends and child.exit_code
        )
        return Outcome(failed, {child.spec.name: child.restarts for child in self._children if child.restarts})

    @property
    def process_ids(self) -> dict[str, int]:
        """Of the processes that run now, by name."""
        return {c.spec.name: c.process.pid for c in self._children if c.process and c.process.poll() is None}

    def _all_ended(self) -> bool:
        finite = [child for child in self._children if child.spec.ends]
        return (
            bool(finite)
            and len(finite) == sum(c.spec.stage is Stage.READERS for c in self._children)
            and all(child.exit_code is not None for child in finite)
        )

    def _tend(self, child: _Child) -> None:
        now = self._monotonic()
        if child.exit_code is not None:
            return
        if child.process is None:
            if now >= child.due_mono:
                self._start(child)
            return
        code = child.process.poll()
        if code is None:
            return
        child.process = None
        if child.spec.ends and (code == 0 or code > 0):  # a signal is no answer of its own: that one is started again
            child.exit_code = code
            return
        if code == WRONG_USAGE:
            raise ProcessMisconfigured(f"{child.spec.name} cannot work with this configuration (its message is above)")
        self._plan_restart(child, code, now)

    def _plan_restart(self, child: _Child, code: int, now: float) -> None:
        child.deaths = 1 if now - child.started_mono > STABLE_AFTER else child.deaths + 1
        if child.deaths > MOST_RESTARTS:
            raise ProcessFailed(f"{child.spec.name} died {child.deaths} times in a row ({_how(code)}); giving up")
        pause = min(RESTART_FIRST * 2 ** (child.deaths - 1), RESTART_MOST)
        child.due_mono, child.restarts = now + pause, child.restarts + 1
        log.error("%s died (%s); restart %d in %.1f s", child.spec.name, _how(code), child.restarts, pause)

    def _start(self, child: _Child) -> None:
        # A session of its own: Ctrl-C on the terminal reaches the supervisor alone, which then drains in order.
        child.process = subprocess.Popen(child.spec.argv, start_new_session=True, stdin=subprocess.DEVNULL)
        child.started_mono = self._monotonic()
        log.debug("%s started, process %d", child.spec.name, child.process.pid)

    def _drain(self) -> None:
        for stage in Stage:
            running = [c for c in self._children if c.spec.stage is stage and c.process and c.process.poll() is None]
            if running:
                self._before_stage(stage)
            for child in running:
                self._signal(child, signal.SIGTERM)
            deadline = self._monotonic() + KILL_AFTER
            for child in running:
                self._await_end(child, deadline)
        for child in self._children:  # those that ended by themselves just before
            if child.spec.ends and child.exit_code is None and child.process:
                child.exit_code = child.process.poll()

    def _await_end(self, child: _Child, deadline: float) -> None:
        process = child.process
        if process is None:
            return
        while process.poll() is None and self._monotonic() < deadline:
            self._sleep(_TICK / 5)
        if process.poll() is None:
            log.error("%s did not end within %.0f s: killed", child.spec.name, KILL_AFTER)
            self._signal(child, signal.SIGKILL)
            process.wait()
        if child.spec.ends and child.exit_code is None:
            child.exit_code = process.returncode

    def _signal(self, child: _Child, number: signal.Signals) -> None:
        if child.process and child.process.poll() is None:
            os.kill(child.process.pid, number)


def _how(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
