"""What a run does beside keeping its processes going: takes a new configuration on SIGHUP, says how the processes are
doing (``STATE/processes.json``), and tells the service manager. It is called by the supervisor's loop.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream.child import ChildSpec
from stream.config import Config, read_text
from stream.errors import StreamError
from stream.health import STALE_AFTER, write_status
from stream.messages import iso_time
from stream.notify import Notifier
from stream.redact import redact_text
from stream.reload import WORKER, Plan, plan
from stream.run_folder import RunFolder
from stream.supervisor import Change, Phase, Supervisor

log = logging.getLogger(__name__)

PUBLISH_EVERY = 2.0
"""Seconds between two reports where nothing changes; an old one says that the supervisor hangs."""


@dataclass(frozen=True, slots=True)
class Reloading:
    """How a run takes a new configuration."""

    path: Path  # of the user's file
    asked: Callable[[], bool]  # True once for each request
    load: Callable[[str], Config]  # checks a text as the start of a run does; raises where it could not run
    announce: Callable[[str], None]  # says a line to the user


@dataclass(frozen=True, slots=True)
class _InForce:
    """A configuration that runs."""

    config: Config
    text: str  # that it was made of


class Station:
    """One run's dealings with the user, the feed and the service manager.

    Args:
        config: that the run starts with.
        text: that it was made of.
        folder: of the run; closed at its end.
        processes: what runs with a configuration.
        reloading: None where the configuration of a run never changes.
        notifier: closed at the end of the run.
        anew: names of processes that start anew with every new configuration.
        monotonic: clock, s.
        wall: clock for people, Unix seconds.
    """

    def __init__(
        self,
        config: Config,
        text: str,
        *,
        folder: RunFolder,
        processes: Callable[[Config], list[ChildSpec]],
        reloading: Reloading | None,
        notifier: Notifier,
        anew: frozenset[str] = frozenset(),
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        folder.keep_config(text)
        self._in_force = _InForce(config, text)
        self._before: _InForce | None = None  # to go back to, while the new one is on trial
        self._plan: Plan | None = None  # that is being carried out
        self._folder, self._processes, self._reloading = folder, processes, reloading
        self._notifier, self._monotonic, self._wall = notifier, monotonic, wall
        self._anew = anew
        self._loaded, self._error = wall(), ""  # of the configuration
        self._ready = self._drains = False
        self._told: tuple[Any, ...] = ()  # what was published last
        self._publish_due = 0.0

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._in_force.config

    def tick(self, supervisor: Supervisor) -> None:
        """To be called in every round of the supervisor, and at its end."""
        if supervisor.phase is Phase.RUNNING:
            self._see_to_reloads(supervisor)
        self._notify(supervisor)
        self._publish(supervisor)
        if supervisor.phase is Phase.STOPPED:
            self._notifier.close()
            self._folder.close()

    # -- reloading ----------------------------------------------------------------------------------------------------

    def _see_to_reloads(self, supervisor: Supervisor) -> None:
        if self._before and supervisor.failed_trial:
            self._go_back(supervisor, self._before, supervisor.failed_trial)
        elif self._plan and supervisor.settled:
            self._finish(self._plan)
        elif self._plan is None and self._reloading and self._reloading.asked():
            self._begin(supervisor, self._reloading)

    def _begin(self, supervisor: Supervisor, reloading: Reloading) -> None:
        self._notifier.reloading()
        try:
            text = read_text(reloading.path)
            wanted = _InForce(reloading.load(text), text)
            steps = plan(self._in_force.config, wanted.config)
            self._folder.keep_config(text)
        except Exception as error:  # whatever is wrong with the new one, the run goes on as it is
            why = str(error) or type(error).__name__
            if not isinstance(error, StreamError):
                log.debug("why it is not reloaded", exc_info=True)
                why = redact_text(why)  # another's words, which status and console show
            self._refuse(why)
            return
        self._before, self._plan = self._in_force, steps
        self._take(supervisor, wanted, steps)

    def _take(self, supervisor: Supervisor, wanted: _InForce, steps: Plan) -> None:
        self._in_force = wanted
        tell = frozenset({WORKER} if steps.tell_worker else ())
        supervisor.change(Change(tuple(self._processes(wanted.config)), steps.restart | self._anew, tell))

    def _finish(self, steps: Plan) -> None:
        back, self._before, self._plan = self._before is None, None, None
        if not back:
            self._loaded, self._error = self._wall(), ""
            self._announce(f"reloaded: {steps.in_words}")
        self._ready = False  # said anew, which ends RELOADING

    def _go_back(self, supervisor: Supervisor, before: _InForce, failure: str) -> None:
        """A new configuration that only its processes could find wrong: the old one comes back in force."""
        steps = plan(self._in_force.config, before.config)
        self._refuse(f"a process could not work with it: {failure}; its message is in the log")
        try:
            self._folder.keep_config(before.text)
        except StreamError as error:
            log.error("the old configuration is in force, but a process that is restarted reads the new one: %s", error)
        self._before, self._plan = None, steps
        self._take(supervisor, before, steps)

    def _refuse(self, why: str) -> None:
        self._error = why
        self._announce(f"not reloaded, the old configuration stays in force: {why}")
        self._ready = False

    def _announce(self, line: str) -> None:
        if self._reloading:
            self._reloading.announce(line)

    # -- telling ------------------------------------------------------------------------------------------------------

    def _notify(self, supervisor: Supervisor) -> None:
        if supervisor.phase is not Phase.RUNNING:
            if not self._drains:
                self._drains = True
                self._notifier.stopping()
            return
        self._notifier.watchdog()
        if not self._ready and self._plan is None and supervisor.ready:
            self._ready = True
            self._notifier.ready(self._error.splitlines()[0] if self._error else "running")

    def _publish(self, supervisor: Supervisor) -> None:
        now = self._monotonic()
        told = (str(supervisor.phase), supervisor.report(), {"loaded": iso_time(self._loaded), "error": self._error})
        if told == self._told and now < self._publish_due:
            return
        self._told, self._publish_due = told, now + PUBLISH_EVERY
        state, processes, config = told
        report = {
            "written": self._wall(),
            "supervisor": {"state": state, "pid": os.getpid()},
            "processes": processes,
            "config": config,
        }
        write_status(self._in_force.config.processes, report)


def read_processes(path: Path, *, now: float) -> Mapping[str, Any]:
    """What a supervisor that lives said last: ``supervisor``, ``processes`` and ``config``; empty where there is none.

    Args:
        path: ``Config.processes``.
        now: Unix seconds.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        age, supervisor = now - float(told["written"]), dict(told["supervisor"])
        if supervisor["state"] == Phase.STOPPED or not Path(f"/proc/{int(supervisor['pid'])}").exists():
            return {}  # of a run that is over
        if age > STALE_AFTER:
            supervisor |= {"state": "NOT_ANSWERING", "reason": f"its last report is {age:.0f} s old"}
        return {"supervisor": supervisor, "processes": dict(told["processes"]), "config": dict(told["config"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
