"""``run --cluster``: the same as ``run``, with the cameras spread over the nodes of a Ray cluster.

This process is a driver of Ray and a supervisor. Under Ray it keeps one actor going, the control, and tells it the
configuration; on this machine it keeps the processes going that there are once: collect, feed, sinks, console.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from stream import logs, machine, security
from stream.child import ChildSpec, Stage
from stream.cluster.ray_connect import connect
from stream.cluster.ray_link import ControlLink
from stream.cluster.run_keys import keys_of
from stream.config import Config, parse_config, read_text
from stream.console.checks import missing_files
from stream.errors import ConfigError, LinkLost, ProcessFailed
from stream.key_making import make_folder
from stream.machine import SILENCE_LIGHT, supervisor_of
from stream.notify import Notifier
from stream.reload import COLLECT, WORKER, reader_name
from stream.sinks.registry import check_sink
from stream.station import Reloading
from stream.stopping import ReloadSignal, StopSignal

log = logging.getLogger(__name__)

DRAIN_WAIT = 6.0
"""Seconds that the nodes have to commit what is open, before the processes of this machine are drained in turn. So a
run ends within 16 s where Ray and the control answer."""

END_WITHIN = 40.0
"""Seconds from the order to stop after which a run is over whatever hangs: draining nodes (6) and processes (10), the
control's end (17), Ray's own. ``TimeoutStopSec`` of the service is above it."""

_LOOK_EVERY = 0.25  # s

OnTick = Callable[[Config, Path], Callable[[], None]]
"""Makes what is called about ten times a second while a configuration runs, from it and its path."""


def run_cluster(arguments: argparse.Namespace, stop: StopSignal, *, on_tick_of: OnTick) -> int:
    """Runs until it is told to stop; then everything on all nodes has ended.

    Args:
        arguments: of ``run``.
        stop: polled.
        on_tick_of: see there.

    Raises:
        UsageError: no Ray, or another run has this cluster's name.
        LinkLost: Ray or the control does not answer.
        ConfigError: the configuration is wrong.
        StateBusy: another run has the state folder.
    """
    path: Path = arguments.config
    hang_up = ReloadSignal(on_lost_terminal=stop.ask)

    def load(text: str) -> Config:
        config = parse_config(text, where=str(path), base=path.resolve().parent, environment=os.environ)
        return runnable(config, path)

    text = read_text(path)
    config = load(text)
    if arguments.log_format is None:
        logs.use(config.log.format)
    ray = connect(arguments.cluster)
    stop.install()  # Ray has taken the signals over for itself
    hang_up.install()
    end_surely(stop)
    link = ControlLink(ray, config, path, log_level=arguments.log_level, log_format=arguments.log_format)
    try:
        supervisor = supervisor_of(  # this is the one run of the state folder, before it tells the control anything
            config,
            path,
            on_tick=on_tick_of(config, path),
            log_level=arguments.log_level,
            log_format=arguments.log_format,
            text=text,
            reloading=Reloading(path=path, asked=hang_up, load=_alike(load, link), announce=logs.tell),
            notifier=Notifier(os.environ.get("NOTIFY_SOCKET")),
            parts=children,
            anew=frozenset({COLLECT}),
        )
        make_folder(keys_of(config))  # in the state folder, which is private by now
        stop.at_second(supervisor.kill_all)
        try:
            link.begin(text, stopping=stop)
        except LinkLost:
            if not stop():
                raise
            logs.tell("stopped before it had the cluster; one that ran before goes on ('spade-stream cluster stop')")
            return 0
        link.follow()
        logs.tell(f"cluster {config.cluster.name}: its directory is {link.directory[0]}")
        try:
            supervisor.run(Draining(stop, link))
        except ProcessFailed:
            log.error("the nodes go on: 'spade-stream cluster stop --name %s' ends them", config.cluster.name)
            raise
        return 0 if link.end() else 1
    finally:
        stop.ask()  # whatever ended it: see end_surely
        link.close()
        ray.shutdown()


def end_surely(stop: StopSignal, *, within: float = END_WITHIN, leave: Callable[[int], Any] = os._exit) -> None:
    """Ends this process with exit code 1, should it still be there so many seconds after it was asked to stop.

    Ray waits for its head, where that is away, for a minute and more, also at the end of a program.

    Args:
        stop: asked.
        within: s.
        leave: does it; for tests.
    """

    def watch() -> None:
        while not stop():
            time.sleep(_LOOK_EVERY)
        time.sleep(within)
        log.error("the run did not end within %.0f s: something hangs, perhaps Ray. It is ended now", within)
        leave(1)

    threading.Thread(target=watch, name="end", daemon=True).start()


def _alike(load: Callable[[str], Config], link: ControlLink) -> Callable[[str], Config]:
    """Refuses also what a cluster cannot change while it runs."""

    def load_alike(text: str) -> Config:
        wanted = load(text)
        link.check_stays(wanted)
        return wanted

    return load_alike


class Drains(Protocol):
    """What :class:`Draining` needs of a ``ControlLink``."""

    drained: bool

    def drain(self) -> None:
        """Begins it."""


class Draining:
    """Whether the processes of this machine are to end: after it was asked to stop, once the nodes have drained.

    Args:
        stop: asked.
        link: to the control.
        wait: s, see ``DRAIN_WAIT``.
    """

    def __init__(self, stop: StopSignal, link: Drains, *, wait: float = DRAIN_WAIT) -> None:
        self._stop, self._link, self._wait = stop, link, wait
        self._since: float | None = None

    def __call__(self) -> bool:
        if not self._stop():
            return False
        if self._since is None:
            self._since = time.monotonic()
            self._link.drain()
        late = time.monotonic() - self._since > self._wait
        if late and not self._link.drained:
            log.warning(
                "not every node has drained within %.0f s; what it has committed comes with the next run", self._wait
            )
        return late or self._link.drained


def children(
    config: Config,
    path: Path,
    *,
    base: Path,
    named: Path,
    log_level: str,
    log_format: str | None,
) -> list[ChildSpec]:
    """What runs on the machine where a cluster is run; arguments as for :func:`stream.machine.children`."""
    readers = {reader_name(camera.id) for camera in config.cameras}
    everything = machine.children(config, path, base=base, named=named, log_level=log_level, log_format=log_format)
    here = [spec for spec in everything if spec.name != WORKER and spec.name not in readers]
    words = ("collect", str(path))
    options = ("--base", str(base), "--named", str(named), "--log-level", log_level)
    form = ("--log-format", log_format or config.log.format)
    argv = (sys.executable, "-m", "stream", *words, *options, *form, "--supervisor", str(os.getpid()))
    collect = ChildSpec(COLLECT, argv, Stage.WORKER, ends=False, silence=SILENCE_LIGHT)
    return [*here, collect]


def runnable(config: Config, path: Path) -> Config:
    """The configuration, if a cluster can begin with it. Cameras and galleries are for the nodes to find.

    Raises:
        ConfigError: this machine cannot give keys to the others, or a file is missing.
        KeyFileError: a key cannot be used.
        SinkError: a sink cannot be opened.
    """
    problems = []
    if config.security.key is not None:
        problems.append("security.key: is of another machine; the one that runs a cluster has 'security.keys'")
    if config.link.insecure or config.feed.insecure:
        problems.append("link.insecure, feed.insecure: between the machines of a cluster everything is encrypted")
    if problems:
        raise ConfigError(str(path), problems)
    security.check(config)
    for sink in config.sinks:
        check_sink(sink)
    if missing := missing_files(config):
        raise ConfigError(str(path), missing)
    return config
