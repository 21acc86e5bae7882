"""Everything on one machine: the processes of a configuration, kept going by one supervisor.

The processes read a copy of the configuration that the run keeps, see ``run_folder``.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from stream.child import ChildSpec, Stage
from stream.config import Config, read_text
from stream.endless import is_endless
from stream.errors import OutboxError
from stream.messages import Mode
from stream.notify import Notifier
from stream.outbox import Outbox, OutboxReader
from stream.programs import Stopping, mode_of
from stream.reload import CONSOLE, FEED, WORKER, reader_name, sink_name
from stream.run_folder import RunFolder
from stream.station import Reloading, Station
from stream.stopping import StopSignal
from stream.supervisor import Outcome, Supervisor

log = logging.getLogger(__name__)

SINK_END = 1.0
"""Of the seconds that sinks have in a drain, those for their own end. In the others they may take what is committed;
what they do not take comes with the next run."""

SILENCE_LIGHT = 15.0
"""Seconds without a sign of life after which a reader or the feed hangs: their loops go round every half second."""

SILENCE_WORKER = 30.0
"""The same for the worker: thirty times what the largest batch takes on a slow machine."""

SILENCE_SLOW_WORKER = 600.0
"""The same where a frame may take a minute: the faithful method with a large gallery. Replays wait for it."""

SILENCE_SINK = 90.0
"""The same for a sink: a server may take so long to say that it has an alert."""

SILENCE_CONSOLE = 60.0
"""The same for the console: a look through weeks of scores may keep it busy on a slow machine."""


class Parts(Protocol):
    """Makes the processes of a run; see :func:`children`."""

    def __call__(
        self, config: Config, path: Path, *, base: Path, named: Path, log_level: str, log_format: str | None
    ) -> list[ChildSpec]: ...


def children(
    config: Config,
    path: Path,
    *,
    base: Path,
    named: Path,
    log_level: str = "info",
    log_format: str | None = None,
) -> list[ChildSpec]:
    """The processes that ``run`` keeps going, in the order in which they are started.

    Args:
        config: see there.
        path: of the file that they read it from.
        base: what relative paths in it are relative to.
        named: how errors name it.
        log_level: of the processes.
        log_format: of their log lines; None: as the configuration says.
    """
    lines = ("--log-level", log_level, "--log-format", log_format or config.log.format)

    def program(*words: str) -> tuple[str, ...]:
        options = ("--base", str(base), "--named", str(named), *lines)
        return (sys.executable, "-m", "stream", *words, *options, "--supervisor", str(os.getpid()))

    file = str(path)
    return [
        ChildSpec(FEED, program("feed", file), Stage.FEED, ends=False, silence=SILENCE_LIGHT),
        *(
            ChildSpec(
                sink_name(s.name),
                program("sink", file, "--name", s.name),
                Stage.SINKS,
                ends=False,
                silence=SILENCE_SINK,
            )
            for s in config.sinks
        ),
        *(
            ChildSpec(
                CONSOLE,
                program("console", file),
                Stage.SINKS,
                ends=False,
                silence=SILENCE_CONSOLE,
                decides=False,
            )
            for _ in range(config.console.enabled)
        ),
        ChildSpec(WORKER, program("score", file), Stage.WORKER, ends=False, silence=worker_silence(config)),
        *(
            ChildSpec(
                reader_name(c.id),
                program("read", file, "--camera", c.id),
                Stage.READERS,
                ends=not is_endless(c),
                silence=SILENCE_LIGHT,
            )
            for c in config.cameras
        ),
    ]


def worker_silence(config: Config) -> float:
    """Seconds without a sign of life after which the worker of a configuration hangs."""
    slow = config.method.name == "spade" or any(mode_of(camera) is Mode.REPLAY for camera in config.cameras)
    return SILENCE_SLOW_WORKER if slow else SILENCE_WORKER


def run(
    config: Config,
    path: Path,
    *,
    stopping: Stopping,
    on_tick: Callable[[], None] = lambda: None,
    log_level: str = "info",
    log_format: str | None = None,
    text: str | None = None,
    reloading: Reloading | None = None,
    notifier: Notifier | None = None,
) -> Outcome:
    """Everything on this machine, until it is stopped or every finite source has ended.

    Args:
        config: as read from ``path``.
        path: of the configuration.
        stopping: polled; a StopSignal that comes twice kills all processes.
        on_tick: called about ten times a second.
        log_level: of the processes.
        log_format: of their log lines; None: as the configuration says.
        text: what stands in ``path``, where it was read already.
        reloading: how a new configuration is taken; None: never.
        notifier: to the service manager.

    Raises:
        ProcessFailed: a process died too often, or cannot work with this configuration (ProcessMisconfigured).
        StateBusy: another run has this state folder.
    """
    supervisor = supervisor_of(
        config,
        path,
        on_tick=on_tick,
        log_level=log_level,
        log_format=log_format,
        text=text,
        reloading=reloading,
        notifier=notifier,
    )
    if isinstance(stopping, StopSignal):
        stopping.at_second(supervisor.kill_all)
    outcome = supervisor.run(stopping)
    if stopping():  # what a sink has not taken comes with the next run
        return outcome
    running = supervisor.report()
    sinks = [section.name for section in config.sinks if sink_name(section.name) in running]
    return replace(outcome, failed=(*outcome.failed, *_undelivered(config, sinks)))


def _undelivered(config: Config, sinks: Iterable[str]) -> Iterator[str]:
    """After the last source has ended: which sinks miss how much. Nobody brings it to them any more."""
    with OutboxReader(config.outbox, config.evidence) as outbox:
        last, taken = outbox.last_seq(), outbox.acknowledged()
    for name in sinks:
        if missing := last - taken.get(name, 0):
            yield f"{sink_name(name)} has not taken the last {missing} of {last} alert messages"


def supervisor_of(
    config: Config,
    path: Path,
    *,
    on_tick: Callable[[], None] = lambda: None,
    log_level: str = "info",
    log_format: str | None = None,
    text: str | None = None,
    reloading: Reloading | None = None,
    notifier: Notifier | None = None,
    parts: Parts = children,
    anew: frozenset[str] = frozenset(),
) -> Supervisor:
    """What :func:`run` runs, not started yet. It owns the state folder from now on, until the end of its run.

    Args:
        config: as read from ``path``.
        path: of the configuration; the processes get a copy.
        on_tick: called about ten times a second.
        log_level: of the processes.
        log_format: of their log lines; None: as the configuration says.
        text: what stands in ``path``, where it was read already.
        reloading: how a new configuration is taken; None: never.
        notifier: to the service manager.
        parts: the processes, as :func:`children` makes them; a cluster's run has others.
        anew: names of those that start anew with every new configuration.

    Raises:
        StateBusy: another run has this state folder.
        ConfigError: ``path`` cannot be read.
    """
    folder, base = RunFolder(config.state), path.resolve().parent

    def processes(config: Config) -> list[ChildSpec]:
        return parts(config, folder.config, base=base, named=path, log_level=log_level, log_format=log_format)

    station = Station(
        config,
        read_text(path) if text is None else text,
        folder=folder,
        processes=processes,
        reloading=reloading,
        notifier=notifier or Notifier(None),
        anew=anew,
    )
    Outbox(config.outbox, config.evidence).close()  # made once, before several processes would do it at the same time

    def tick() -> None:
        station.tick(supervisor)
        on_tick()

    def before_stage(stage: Stage, seconds: float) -> None:
        if stage is Stage.SINKS:
            _await_sinks(station.config, max(0.0, seconds - SINK_END))

    supervisor = Supervisor(processes(config), on_tick=tick, before_stage=before_stage)
    return supervisor


def _await_sinks(config: Config, seconds: float) -> None:
    names = [section.name for section in config.sinks]
    deadline = time.monotonic() + seconds
    try:
        with OutboxReader(config.outbox, config.evidence) as outbox:
            last = outbox.last_seq()
            while time.monotonic() < deadline:
                taken = outbox.acknowledged()
                if all(taken.get(name, 0) >= last for name in names):
                    return
                time.sleep(0.05)
    except OutboxError as error:
        log.error("%s", error)
    log.warning("not every sink has taken every alert; the rest comes with the next run")
