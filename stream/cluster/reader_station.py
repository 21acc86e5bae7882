"""The readers of a node: one process for each camera that the control gives it. They ask the directory of the cluster
which worker scores their camera, and go there by themselves. Everything but ``close`` returns at once.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace

from stream.child import ChildSpec, Stage
from stream.cluster import node_config
from stream.cluster.model import ReaderOrders, ReaderReport, StationState
from stream.cluster.node_folder import NodeFolder
from stream.cluster.processes import Processes, in_words
from stream.cluster.station_setting import StationSetting
from stream.config import Config
from stream.endless import is_endless
from stream.errors import StreamError
from stream.machine import SILENCE_LIGHT
from stream.reload import plan, reader_name
from stream.run_folder import RunFolder

log = logging.getLogger(__name__)


class ReaderStation:
    """The readers of one node.

    Args:
        setting: see there.

    Raises:
        ConfigError: the configuration is wrong.
        UsageError, KeyFileError: the node's folder cannot be used.
        StateBusy: another reader station uses it.
    """

    def __init__(self, setting: StationSetting) -> None:
        self._node = NodeFolder(setting.node_folder())
        self._setting = setting
        self._key = self._node.key_folder().local.public
        self._state = self._node.path / "readers"
        self.name = f"{self._node.name}:readers"
        self._lock = threading.Lock()
        self._orders, self._leaving = ReaderOrders(0), False
        with ExitStack() as undo:  # what is claimed here must be free for another try
            self._run = RunFolder(self._state)
            undo.callback(self._run.close)
            self._config = self._derive()
            undo.pop_all()
        self._processes = Processes(self.name)

    def order(self, orders: ReaderOrders) -> None:
        """Reads these cameras from now on; orders that are older than those in force are ignored."""
        with self._lock:
            before = self._orders
            if self._leaving or orders.generation < before.generation:
                return
            self._orders = orders
            asked = before.directory, before.server
            elsewhere = bool(before.directory) and asked != (orders.directory, orders.server)
            if asked == (orders.directory, orders.server) and before.cameras == orders.cameras:
                return
            children = self._children()
            names = frozenset(child.name for child in children)
            self._processes.change(children, restart=names if elsewhere else frozenset())

    def configure(self, text: str, environment: Mapping[str, str]) -> None:
        """Takes another configuration; only readers of cameras that are changed start anew.

        Raises:
            ConfigError: it is wrong; the old one stays in force.
        """
        with self._lock:
            before, was = self._setting, self._config
            self._setting = replace(before, text=text, environment=dict(environment))
            try:
                self._config = self._derive()
                restart = plan(was, self._config).restart
            except StreamError:
                self._setting = before
                self._config = self._derive()
                raise
            children = self._children()
            names = frozenset(child.name for child in children)
            other_secrets = before.environment != self._setting.environment
            self._processes.change(children, restart=names if other_secrets else names & restart)

    def drain(self) -> None:
        """Ends all readers: they send what they have, and say that they end."""
        with self._lock:
            self._orders, self._leaving = replace(self._orders, cameras=()), True
            self._processes.change(())

    def close(self) -> None:
        """Ends everything, and waits for it. May be called twice."""
        self._processes.close()
        self._run.close()

    def report(self) -> ReaderReport:
        """How it stands."""
        orders, found = self._orders, self._processes.report()
        cameras = {name: found[reader_name(name)] for name in orders.cameras if reader_name(name) in found}
        unknown = [name for name in orders.cameras if name not in {camera.id for camera in self._config.cameras}]
        ill = [in_words(f"the reader of {name}", report) for name, report in cameras.items() if _is_ill(report)]
        reasons = [*filter(None, [self._processes.problem]), *ill]
        if unknown:
            reasons.append(f"not in the configuration of this node: {', '.join(unknown)}")
        state = StationState.DEGRADED if reasons else StationState.RUNNING
        if self._leaving:
            state, reasons = StationState.LEAVING, [f"{name} is stopped" for name in found]
        return ReaderReport(
            station=self.name,
            node=self._node.name,
            state=state,
            reason="; ".join(reasons),
            generation=orders.generation,
            key=self._key,
            cameras=cameras,
        )

    def _derive(self) -> Config:
        """Writes the configuration of the readers, and returns it."""
        setting = self._setting
        text = node_config.reader_config(setting.text, named=setting.named, state=self._state, keys=self._node.keys)
        config = replace(setting, text=text).config()
        self._run.keep_config(text)
        return config

    def _children(self) -> list[ChildSpec]:
        wanted = frozenset(self._orders.cameras)
        return [
            ChildSpec(
                reader_name(camera.id),
                self._setting.program(*self._words(camera.id), log_format=self._config.log.format),
                Stage.READERS,
                ends=not is_endless(camera),
                silence=SILENCE_LIGHT,
                environment={**os.environ, **self._setting.environment},
            )
            for camera in self._config.cameras
            if camera.id in wanted and self._orders.directory
        ]

    def _words(self, camera: str) -> tuple[str, ...]:
        where = ("--cluster", self._orders.directory, "--directory-key", self._orders.server)
        return ("read", str(self._run.config), "--camera", camera, *where)


def _is_ill(report: Mapping[str, object]) -> bool:
    """It has died or hangs, and waits for its restart."""
    return report.get("state") in ("waiting", "hung") and bool(report.get("restarts"))
