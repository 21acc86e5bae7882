"""How the console starts commands, and how it tells the worker that there is a new version of a gallery."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream.reload import COLLECT, WORKER
from stream.station import read_processes

TOLD_WITHIN = 90.0
"""Seconds that a worker that starts has until it can be told: loading a network takes a while."""

_LOOK_EVERY = 0.5  # s

CONFIG = "CONFIG"
"""Stands in a command for the configuration in force."""


@dataclass(frozen=True, slots=True)
class Launcher:
    """The command line that the console itself was started with, for others."""

    config: Path  # file that they read
    base: Path  # what relative paths in it are relative to
    named: Path  # how errors name it
    processes: Path  # what the supervisor says of its processes
    program: tuple[str, ...] = (sys.executable, "-m", "stream")
    kill: Callable[[int, int], None] = os.kill  # for tests
    monotonic: Callable[[], float] = time.monotonic  # s, for tests
    sleep: Callable[[float], None] = time.sleep  # for tests

    def argv(self, words: tuple[str, ...]) -> tuple[str, ...]:
        """The command line of a job: it says how far it is as JSON lines, and ends with this process."""
        command = tuple(str(self.config) if word == CONFIG else word for word in words)
        origin = ("--base", str(self.base), "--named", str(self.named)) if CONFIG in words else ()
        told = ("--progress", "json", "--log-format", "human", "--supervisor", str(os.getpid()))
        return (*self.program, *command, *origin, *told)

    def tell_worker(self) -> str:
        """Asks the worker to open new versions of galleries (SIGHUP). Returns why it could not be told, or nothing.

        The worker itself and not the supervisor: that one would take the user's file as well, which may be half edited.
        One that is starting may have opened the version before already, and cannot hear yet: it is waited for.
        """
        if COLLECT in read_processes(self.processes, now=time.time()).get("processes", {}):
            return ""  # a cluster: its nodes look for new versions by themselves
        until = self.monotonic() + TOLD_WITHIN
        while (said := self._said()).get("state") == "starting":
            if self.monotonic() >= until:
                return (
                    "the worker is still starting, and may have opened the version before: reload the run once it runs"
                )
            self.sleep(_LOOK_EVERY)
        state = said.get("state")
        if state in ("waiting", "hung"):
            return ""  # it is started anew, and reads the new version then
        if state != "running":
            return "no worker of a run is there: start it again"
        return self._signal(said)

    def _said(self) -> dict[str, Any]:
        """What the supervisor says of the worker, and its own number as ``supervisor``."""
        said = read_processes(self.processes, now=time.time())
        return {**said.get("processes", {}).get(WORKER, {}), "supervisor": said.get("supervisor", {}).get("pid")}

    def _signal(self, worker: Mapping[str, Any]) -> str:
        try:
            pid = int(worker["pid"])
            if _parent_of(pid) != int(worker["supervisor"]):  # the number may be another process's by now
                return "the worker has just ended: the next one opens the new version"
            self.kill(pid, signal.SIGHUP)
        except (OSError, ValueError, TypeError, KeyError) as error:
            return f"the worker cannot be told ({type(error).__name__}): reload the run"
        return ""


def _parent_of(pid: int) -> int:
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    return int(stat.rpartition(")")[2].split()[1])
