"""What a soak does to a pipeline that runs, and what it then expects: that all is well again, and that nothing else was
hit.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from stream.bench.soak_hostile import deaf_subscriber, flood
from stream.bench.soak_plan import Fault, Planned
from stream.bench.soak_processes import SUPERVISOR, Instance, catches, send
from stream.bench.soak_reload import ConfigFile
from stream.bench.soak_watch import Watch, wait_until
from stream.endpoints import parse_endpoint

READER_STOP = 20.0
"""Seconds that a reader is stopped: longer than the worker believes one that says nothing."""

SINK_STOP = 30.0
"""Seconds that a sink is stopped: longer than the feed keeps a subscriber that says nothing."""

HANG_PATIENCE = 60.0
"""Seconds until somebody must have noticed that the worker hangs, and replaced it."""

HOSTILE_SECONDS = 15.0
"""How long hostile peers stay."""

RELOAD_WAIT = 8.0
"""Seconds after a reload in which nothing may happen to what has not changed."""

RELOAD_PATIENCE = 20.0
"""Seconds until a camera that was taken out must be gone."""

RECOVERY_PATIENCE = 120.0
"""Seconds until all cameras must be scored again: the longest pause before a restart, and a start, with room."""


@dataclass(frozen=True, slots=True)
class Done:
    """A fault, and what came of it."""

    fault: Fault
    target: str  # role of the process, or name of the camera
    at: float  # s since the soak began
    until: float  # when all was well again, or was given up
    noticed_s: float | None  # s until a camera or the worker was reported as not watching; None: it never was
    recovery_s: float | None  # s from the kill, or from the end of the stop, until all was well; None: never
    problem: str  # what went otherwise than promised, or ""
    restarts: frozenset[str] = frozenset()  # roles that may have a new process because of it


@dataclass(slots=True)
class _Blow:
    """What a fault did, and what is expected."""

    target: str
    replaced: dict[str, Instance] = field(default_factory=dict)  # these must have given way to others
    may_change: set[str] = field(default_factory=set)  # these may have
    since_mono: float = field(default_factory=time.monotonic)  # recovery counts from here
    problem: str = ""

    def undone(self) -> None:
        """Recovery counts from now."""
        self.since_mono = time.monotonic()


@dataclass(slots=True)
class Saboteur:
    """Does faults to one run, one at a time.

    Args:
        watch: of the run.
        file: its configuration.
        alive: whether the run itself still goes on.
        stopping: polled; a fault that is under way is ended early then.
    """

    watch: Watch
    file: ConfigFile
    alive: Callable[[], bool]
    stopping: Callable[[], bool]

    def do(self, planned: Planned) -> Done:
        """Does one fault, and waits until all is well again, or ``RECOVERY_PATIENCE`` is over."""
        watch, at = self.watch, self.watch.now
        before = dict(watch.processes)
        watch.trouble_at, began = None, time.monotonic()
        blow = _BLOWS[planned.fault](self, planned)
        well = not blow.problem and self._wait(lambda: self._well(blow), RECOVERY_PATIENCE)
        recovery = max(0.0, time.monotonic() - blow.since_mono) if well else None
        return Done(
            fault=planned.fault,
            target=blow.target,
            at=at,
            until=watch.now,
            noticed_s=None if watch.trouble_at is None else watch.trouble_at - began,
            recovery_s=recovery,
            problem=blow.problem or self._why_not(blow, well) or self._also_hit(blow, before),
            restarts=frozenset(blow.replaced.keys() | blow.may_change),
        )

    # -- kinds --------------------------------------------------------------------------------------------------------

    def kill(self, role: str) -> _Blow:
        """SIGKILL."""
        instance = self.watch.processes.get(role)
        if instance is None or not send(instance, signal.SIGKILL):
            return _Blow(role, problem=f"there is no {role} to kill")
        return _Blow(role, replaced={role: instance})

    def stop(self, role: str, seconds: float) -> _Blow:
        """SIGSTOP, and SIGCONT after so many seconds. A supervisor may replace what it holds for dead."""
        instance = self.watch.processes.get(role)
        if instance is None or not send(instance, signal.SIGSTOP):
            return _Blow(role, problem=f"there is no {role} to stop")
        blow = _Blow(role, may_change={role})
        try:
            self._wait(lambda: False, seconds)
        finally:
            send(instance, signal.SIGCONT)
        blow.undone()
        return blow

    def hang(self, role: str) -> _Blow:
        """SIGSTOP for good: somebody must notice."""
        instance = self.watch.processes.get(role)
        if instance is None or not send(instance, signal.SIGSTOP):
            return _Blow(role, problem=f"there is no {role} to stop")
        blow = _Blow(role, replaced={role: instance})
        try:
            if not self._wait(lambda: self.watch.processes.get(role, instance) != instance, HANG_PATIENCE):
                blow.problem = f"a {role} that hangs was not replaced within {HANG_PATIENCE:.0f} s"
        finally:
            send(instance, signal.SIGCONT)
        return blow

    def reload(self, write: Callable[[], None]) -> _Blow:
        """SIGHUP after ``write``; nothing may change."""
        blow = _Blow(SUPERVISOR)
        try:
            write()
            blow.problem = self._hang_up()
            self._wait(lambda: False, 0.0 if blow.problem else RELOAD_WAIT)
        finally:
            self.file.write()
        blow.undone()
        return blow

    def reload_without(self, camera: str) -> _Blow:
        """A camera is taken out, and put in again; the others go on."""
        role = f"reader {camera}"
        if len(self.watch.config.cameras) < 2:
            return _Blow(camera, problem="a configuration needs a camera: with one alone none can be taken out")
        blow = _Blow(camera, may_change={role})
        if old := self.watch.processes.get(role):
            blow.replaced[role] = old
        try:
            self.file.write(without=camera)
            blow.problem = self._hang_up()
            gone = self._wait(lambda: role not in self.watch.processes, 0.0 if blow.problem else RELOAD_PATIENCE)
            if not (gone or blow.problem):
                blow.problem = f"taken out of the configuration, its reader still ran {RELOAD_PATIENCE:.0f} s later"
            elif others := self.watch.unwatched(without=[camera]):
                blow.problem = f"while {camera} was out, {others[0]}"
        finally:
            self.file.write()
        blow.undone()
        blow.problem = self._hang_up() or blow.problem
        return blow

    def flood(self, seed: int) -> _Blow:
        """Junk and idle connections on the feed's port."""
        port = parse_endpoint(self.watch.config.feed.endpoint).port
        problem = flood(port, HOSTILE_SECONDS, pause=self._pause, seed=seed)
        return _Blow("feed", problem=problem)

    def deafen(self) -> _Blow:
        """A subscriber that never reads."""
        with deaf_subscriber(self.watch.config.feed.endpoint) as beat:
            for _ in range(round(HOSTILE_SECONDS)):
                beat()
                self._pause(1.0)
        return _Blow("feed")

    # -- what is expected ---------------------------------------------------------------------------------------------

    def _well(self, blow: _Blow) -> bool:
        return self.alive() and not self._missing(blow)

    def _missing(self, blow: _Blow) -> list[str]:
        """What is not well yet, in words."""
        watch = self.watch
        since = time.time() - (time.monotonic() - blow.since_mono)
        waiting = [
            f"there is no new {role}"
            for role, old in blow.replaced.items()
            if watch.processes.get(role, old) == old  # absent, or still the same
        ]
        stale = [f"no frame of {camera} was scored since" for camera in watch.stale(since)]
        return waiting or watch.unwatched() or stale

    def _why_not(self, blow: _Blow, well: bool) -> str:
        if well or self.stopping():
            return ""
        if not self.alive():
            return "the run ended"
        return f"after {RECOVERY_PATIENCE:.0f} s: {'; '.join(self._missing(blow))}"

    def _also_hit(self, blow: _Blow, before: Mapping[str, Instance]) -> str:
        allowed = blow.replaced.keys() | blow.may_change
        others = [role for role, one in before.items() if role not in allowed and self.watch.processes.get(role) != one]
        return f"also restarted: {', '.join(sorted(others))}" if others else ""

    def _hang_up(self) -> str:
        """SIGHUP to the run; why it was not sent, or ""."""
        run = self.watch.processes.get(SUPERVISOR)
        if run is None:
            return "the run ended"
        if not catches(run.pid, signal.SIGHUP):
            return "this version takes no SIGHUP (it would end by it); not sent"
        send(run, signal.SIGHUP)
        return ""

    def _wait(self, condition: Callable[[], bool], patience: float) -> bool:
        """False where patience or the run is over, or the soak is to end."""

        def over() -> bool:
            return self.stopping() or not self.alive()

        return wait_until(lambda: condition() or over(), patience, look=self.watch.look) and condition()

    def _pause(self, seconds: float) -> None:
        self._wait(lambda: False, seconds)


def _reader(saboteur: Saboteur, planned: Planned) -> str:
    return f"reader {planned.choose([camera.id for camera in saboteur.watch.config.cameras])}"


def _sink(saboteur: Saboteur, planned: Planned) -> str:
    return f"sink {planned.choose([sink.name for sink in saboteur.watch.config.sinks])}"


def _camera(saboteur: Saboteur, planned: Planned) -> str:
    return planned.choose([camera.id for camera in saboteur.watch.config.cameras])


_BLOWS: Mapping[Fault, Callable[[Saboteur, Planned], _Blow]] = {
    Fault.KILL_WORKER: lambda s, p: s.kill("worker"),
    Fault.KILL_READER: lambda s, p: s.kill(_reader(s, p)),
    Fault.KILL_FEED: lambda s, p: s.kill("feed"),
    Fault.KILL_SINK: lambda s, p: s.kill(_sink(s, p)),
    Fault.STOP_READER: lambda s, p: s.stop(_reader(s, p), READER_STOP),
    Fault.STOP_SINK: lambda s, p: s.stop(_sink(s, p), SINK_STOP),
    Fault.HANG_WORKER: lambda s, p: s.hang("worker"),
    Fault.RELOAD_SAME: lambda s, p: s.reload(s.file.write),
    Fault.RELOAD_CAMERA: lambda s, p: s.reload_without(_camera(s, p)),
    Fault.RELOAD_BROKEN: lambda s, p: s.reload(s.file.break_it),
    Fault.FLOOD_FEED: lambda s, p: s.flood(int(p.pick * 2**32)),
    Fault.DEAF_SUBSCRIBER: lambda s, p: s.deafen(),
}
