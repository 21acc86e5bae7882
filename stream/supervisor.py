"""Runs the processes of one machine: starts them, restarts what dies or hangs (counted, with growing pauses), changes
the set of them while the others go on, and drains them in order: readers first, then the worker, then sinks, the feed
last. It watches processes only; it opens no socket.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from stream.child import Child, ChildSpec, Stage

log = logging.getLogger(__name__)

DRAIN_BY = {Stage.READERS: 4.0, Stage.WORKER: 6.5, Stage.SINKS: 8.0, Stage.FEED: 8.8}
"""Seconds from the beginning of a drain until what is left of a stage is killed. One budget for all of them: what one
stage does not use is the next one's, and the run has ended within 10 s whatever hangs."""

LEAVE_WITHIN = 6.5
"""Seconds that a single process has for its end when a reload takes it away: as many as a worker has in a drain."""

TELL_WAIT = 30.0
"""Seconds that new readers wait until the worker has confirmed the new cameras: it may have to open a large gallery.
After that they start anyway; the worker refuses them, and they come again."""

_REAP = 1.0  # s until a killed process is gone; one that waits for a dead disk is left to the system
_TICK = 0.1  # s
_STOOD_STILL = 5.0  # s between two ticks; after more it was the supervisor that hung, and nobody else is to blame


class Phase(StrEnum):
    """What the supervisor is doing."""

    RUNNING = "RUNNING"
    DRAINING = "DRAINING"
    STOPPED = "STOPPED"


@dataclass(frozen=True, slots=True)
class Change:
    """Another set of processes, to be reached while the others go on."""

    children: tuple[ChildSpec, ...]  # all that run afterwards; new names are started, missing ones stopped
    restart: frozenset[str] = frozenset()  # names that stay, but have to be started anew
    tell: frozenset[str] = frozenset()  # names of processes that take the new configuration while they run (SIGHUP)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run went."""

    failed: tuple[str, ...] = ()  # finite processes that ended with an error, with the exit code
    restarts: dict[str, int] = field(default_factory=dict)  # by process name, without zeros


class Supervisor:
    """Keeps a set of processes running.

    Args:
        children: what to run.
        on_tick: called every ``_TICK`` seconds while running, at the beginning of the drain, and after it.
        stays: goes on when all finite processes have ended, since others may come.
        before_stage: called before the processes of a stage are asked to stop, to let what they wait for arrive; with
            the seconds until they are killed.
        monotonic: clock.
        sleep: pause.
    """

    def __init__(
        self,
        children: Sequence[ChildSpec],
        *,
        on_tick: Callable[[], None] = lambda: None,
        stays: bool = False,
        before_stage: Callable[[Stage, float], None] = lambda stage, seconds: None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._on_tick, self._before_stage, self._monotonic, self._sleep = on_tick, before_stage, monotonic, sleep
        self._stays = stays
        self._children = [Child(spec, monotonic=monotonic) for spec in children]
        self._change: Change | None = None
        self._changed_mono: float | None = None  # when the new set was put in place of the old one
        self.phase = Phase.RUNNING

    def run(self, stopping: Callable[[], bool]) -> Outcome:
        """Runs until told to stop, or until all finite processes have ended; then drains.

        Raises:
            ProcessFailed: a process is given up; the others were drained.
            ProcessMisconfigured: the same, because of the configuration.
        """
        last = self._monotonic()
        try:
            while not (stopping() or self._all_ended()):
                last = self._excuse_all(last)
                for child in self._children:
                    child.tend()
                self._carry_on()
                self._on_tick()
                self._sleep(_TICK)
        finally:
            self.phase = Phase.DRAINING
            try:
                self._on_tick()
            finally:
                self._drain()
                self.phase = Phase.STOPPED
                self._on_tick()
        return self._outcome()

    def change(self, change: Change) -> None:
        """Begins a change; the run carries it on while it goes round. See :attr:`settled`."""
        self._change, self._changed_mono = change, None
        for child in self._going(change):
            child.leaving = child.leaving or not child.alive  # one that waits for its restart need not wait any longer

    @property
    def settled(self) -> bool:
        """No change is under way, and what it started has given a sign of life."""
        return self._change is None and not any(child.on_trial for child in self._children)

    @property
    def changing(self) -> bool:
        """A change is under way: another one must not take its place yet."""
        return self._change is not None

    @property
    def failed_trial(self) -> str:
        """Which process died of the last change, and how, for as long as it was not changed again; or empty.

        A reader is none of them: one camera that cannot be read is no reason to take a change back.
        """
        failed = [c for c in self._children if c.failed_trial and c.spec.stage is not Stage.READERS]
        return f"{failed[0].spec.name} ({failed[0].failed_trial})" if failed else ""

    @property
    def ready(self) -> bool:
        """All processes are at work. Readers need not be, nor sinks that have died: a camera, or whoever gets the
        alerts, may be away for days."""
        away = [
            c for c in self._children if c.spec.stage is Stage.READERS or (c.spec.stage is Stage.SINKS and c.restarts)
        ]
        return all(child.started or child in away for child in self._children)

    @property
    def process_ids(self) -> dict[str, int]:
        """Of the processes that run now, by name."""
        return {c.spec.name: c.process.pid for c in self._children if c.process and c.alive}

    def report(self) -> dict[str, dict[str, Any]]:
        """How every process is doing, by name; JSON-able."""
        return {child.spec.name: child.report() for child in self._children}

    def kill_all(self) -> None:
        """Kills every process at once and waits for none; for a signal handler."""
        for child in list(self._children):
            child.signal(signal.SIGKILL)

    def _outcome(self) -> Outcome:
        failed = tuple(
            f"{child.spec.name} (exit code {child.exit_code})"
            for child in self._children
            if child.spec.ends and child.exit_code
        )
        return Outcome(failed, {child.spec.name: child.restarts for child in self._children if child.restarts})

    def _all_ended(self) -> bool:
        finite = [child for child in self._children if child.spec.ends]
        return (
            not self._stays
            and self._change is None
            and bool(finite)
            and len(finite) == sum(c.spec.stage is Stage.READERS for c in self._children)
            and all(child.exit_code is not None for child in finite)
        )

    def _excuse_all(self, last: float) -> float:
        now = self._monotonic()
        if now - last > _STOOD_STILL:
            log.warning("the supervisor itself stood still for %.0f s", now - last)
            for child in self._children:
                child.excuse()
        return now

    # -- changing -----------------------------------------------------------------------------------------------------

    def _carry_on(self) -> None:
        if self._change is None:
            return
        if self._changed_mono is None:
            if self._some_leave(self._change):
                return
            self._put_in_place(self._change)
            self._changed_mono = self._monotonic()
        untold = [child for child in self._children if child.untold and child.spec.name in self._change.tell]
        if untold and self._monotonic() - self._changed_mono < TELL_WAIT:
            return
        for child in self._children:
            child.release()
        self._change = None

    def _some_leave(self, change: Change) -> bool:
        """Asks those that go to end, stage by stage as in a drain; False when they are gone."""
        going = [child for child in self._going(change) if child.alive]
        for child in going:
            if child.spec.stage is min(other.spec.stage for other in going):
                child.leave(within=LEAVE_WITHIN)
        return bool(going)

    def _going(self, change: Change) -> list[Child]:
        wanted = {spec.name for spec in change.children} - change.restart
        return [child for child in self._children if child.spec.name not in wanted]

    def _put_in_place(self, change: Change) -> None:
        for child in self._going(change):
            child.ended()
        stay = {child.spec.name: child for child in self._children if child.spec.name not in change.restart}
        self._children = [stay.get(spec.name) or self._fresh(spec, change) for spec in change.children]
        for child, spec in zip(self._children, change.children, strict=True):
            child.spec = spec  # with the next start, should there be one
            if child.spec.name in change.tell:
                child.tell_reload()

    def _fresh(self, spec: ChildSpec, change: Change) -> Child:
        # A reader whose camera the worker does not know yet would be refused.
        held = spec.stage is Stage.READERS and bool(change.tell)
        on_trial = spec.decides and spec.stage is not Stage.READERS
        return Child(spec, monotonic=self._monotonic, held=held, on_trial=on_trial)

    # -- draining -----------------------------------------------------------------------------------------------------

    def _drain(self) -> None:
        began = self._monotonic()
        for stage in Stage:
            deadline = began + DRAIN_BY[stage]
            if any(child.alive for child in self._children if child.spec.stage is stage):
                self._before_stage(stage, max(0.0, deadline - self._monotonic()))
            self._end_stage([child for child in self._children if child.spec.stage is stage], deadline)

    def _end_stage(self, children: Collection[Child], deadline: float) -> None:
        for child in children:
            if child.process and not child.alive and child.spec.ends and child.exit_code is None:
                child.exit_code = child.process.returncode  # ended by itself, just before it would have been asked to
            child.leave(within=deadline - self._monotonic())
        while any(child.alive for child in children) and self._monotonic() < deadline:
            self._sleep(_TICK / 5)
        late = [child for child in children if child.alive]
        for child in late:
            log.error("%s did not end in time: killed", child.spec.name)
            child.signal(signal.SIGKILL)
        for child in late:
            _reap(child)
        for child in children:
            child.ended()


def _reap(child: Child) -> None:
    try:
        if child.process:
            child.process.wait(_REAP)
    except subprocess.TimeoutExpired:
        log.error("%s cannot be killed: it waits for the system, perhaps for a disk", child.spec.name)
