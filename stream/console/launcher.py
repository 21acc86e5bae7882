"""How the console starts commands, and how it tells the worker that there is a new version of a gallery."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stream.reload import WORKER
from stream.station import read_processes

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

    def argv(self, words: tuple[str, ...]) -> tuple[str, ...]:
        """The command line of a job: it says how far it is as JSON lines, and ends with this process."""
        command = tuple(str(self.config) if word == CONFIG else word for word in words)
        origin = ("--base", str(self.base), "--named", str(self.named)) if CONFIG in words else ()
        told = ("--progress", "json", "--log-format", "human", "--supervisor", str(os.getpid()))
        return (*self.program, *command, *origin, *told)

    def tell_worker(self) -> str:
        """Asks the worker to open new versions of galleries (SIGHUP). Returns why it could not be told, or nothing.

        The worker itself and not the supervisor: that one would take the user's file as well, which may be half edited.
        """
        said = read_processes(self.processes, now=time.time())
        worker = said.get("processes", {}).get(WORKER, {})
        if worker.get("state") != "running":  # one that starts reads the new version anyway
            state = worker.get("state")
            return "" if state in ("starting", "waiting", "hung") else "no worker of a run is there: start it again"
        try:
            pid = int(worker["pid"])
            if _parent_of(pid) != int(said["supervisor"]["pid"]):  # the number may be another process's by now
                return "the worker has just ended: the next one opens the new version"
            self.kill(pid, signal.SIGHUP)
        except (OSError, ValueError, TypeError, KeyError) as error:
            return f"the worker cannot be told ({type(error).__name__}): reload the run"
        return ""


def _parent_of(pid: int) -> int:
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    return int(stat.rpartition(")")[2].split()[1])
