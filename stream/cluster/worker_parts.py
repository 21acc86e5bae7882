"""What a worker's station runs on its node: the configuration that its processes read, their ports, how they are
called. For ``worker_station``; one thread at a time uses an object.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stream.child import ChildSpec, Stage
from stream.cluster import node_config
from stream.cluster.node_folder import NodeFolder, WorkerFolder
from stream.cluster.outbox_shelf import Shelf
from stream.cluster.station_setting import StationSetting
from stream.cluster.worker_files import keep
from stream.config import Config
from stream.machine import SILENCE_LIGHT, worker_silence
from stream.reload import FEED, WORKER, Plan, plan


class WorkerParts:
    """The parts of one worker.

    Args:
        setting: see there.
        node: the node's folder.
        folder: the worker's own.
        assigned: file that says what it scores.
        gpus: that it was given.

    Raises:
        ConfigError: the configuration is wrong.
        OutboxError: the outbox cannot be used.
        UsageError: there is no free port.
        StreamError: the configuration cannot be written.
    """

    def __init__(
        self, setting: StationSetting, *, node: NodeFolder, folder: WorkerFolder, assigned: Path, gpus: float
    ) -> None:
        self._setting, self._node, self._folder = setting, node, folder
        self._assigned, self._gpus = assigned, gpus
        self.user = setting.config()  # as the user wrote it
        self._link_port = 0
        self.server = node.key_folder().server.public
        self.shelf = Shelf(node=node.name, server=self.server, port=self._free_port, endpoint=self._endpoint)
        self.shelf.add(folder.path)
        self._link_port = self._free_port()
        self.config = self._derive()

    @property
    def link(self) -> str:
        """Endpoint of its link."""
        return self._endpoint(self._link_port)

    def take(self, text: str, environment: Mapping[str, str]) -> Plan:
        """Takes another configuration; returns who has to start anew, or to be told.

        Raises:
            ConfigError: it is wrong, or cannot be taken while the system runs; the old one stays in force.
        """
        before = self._setting, self.user, self.config
        fresh = self._set(text, environment)
        user = fresh.config()
        self._setting, self.user = fresh, user
        try:
            self.config = self._derive()
            steps = plan(before[2], self.config)
        except Exception:
            self._setting, self.user, self.config = before
            self._derive()
            raise
        if before[0].environment == fresh.environment:
            return steps
        return replace(steps, restart=steps.restart | {WORKER, FEED}, tell_worker=False)

    def user_of(self, text: str, environment: Mapping[str, str]) -> Config:
        """What :attr:`user` would be with this. Raises ConfigError."""
        return self._set(text, environment).config()

    def score(self) -> list[ChildSpec]:
        """The scoring process."""
        words = ("score", str(self._folder.run.config), "--assigned", str(self._assigned))
        return [self._child(WORKER, words, Stage.WORKER, worker_silence(self.config))]

    def feeds(self) -> list[ChildSpec]:
        """Its own feed, and one for each outbox that others have left.

        Raises:
            StreamError: the configuration of such a one cannot be written.
        """
        _, *others = self.shelf.served
        children = [self._child(FEED, ("feed", str(self._folder.run.config)), Stage.FEED, SILENCE_LIGHT)]
        for served in others:
            file = self._folder.run.path / f"feed-{served.state.name}.yaml"
            keep(file, node_config.feed_config(self._folder.run.config, state=served.state, feed=served.endpoint))
            # Of a stage of which none is given up: an outbox that turns out damaged must not end the worker's own feed.
            children.append(self._child(self._feed_name(served.state), ("feed", str(file)), Stage.SINKS, SILENCE_LIGHT))
        return children

    def renew_outboxes(self) -> frozenset[str]:
        """Takes up outboxes whose file was replaced; returns which processes have to start anew."""
        found = self.shelf.renew()
        names = {self._feed_name(state) for state in found}
        return frozenset(names | ({WORKER} if self._folder.path in found else set()))

    def leave_lost_ports(self, processes: Mapping[str, Mapping[str, Any]]) -> frozenset[str]:
        """Another port where somebody has taken one while its process was not there; returns which processes have to
        start anew.

        Args:
            processes: how each is doing.
        """
        moved = set[str]()
        if self._has_lost(processes.get(WORKER), self._link_port):
            self._link_port = self._free_port()
            moved.add(WORKER)
        for served in self.shelf.served:
            if self._has_lost(processes.get(self._feed_name(served.state)), served.port):
                self.shelf.move(served.state)
                moved.add(self._feed_name(served.state))
        if moved:
            self.config = self._derive()
        return frozenset(moved)

    def _set(self, text: str, environment: Mapping[str, str]) -> StationSetting:
        return replace(self._setting, text=text, environment=dict(environment))

    def _has_lost(self, process: Mapping[str, Any] | None, port: int) -> bool:
        waits = process is not None and process.get("state") == "waiting"
        return waits and not node_config.is_free(self._setting.address, port)

    def _derive(self) -> Config:
        """Writes the configuration of the worker and its feed, and returns it."""
        text = node_config.worker_config(
            self._setting.text,
            named=self._setting.named,
            state=self._folder.path,
            keys=self._node.keys,
            link=self.link,
            feed=self.shelf[self._folder.path].endpoint,
            threads=None if self._gpus else self.user.cluster.worker_cpus,
            device=None if self._gpus else "cpu",
        )
        config = replace(self._setting, text=text).config()
        self._folder.run.keep_config(text)
        return config

    def _feed_name(self, state: Path) -> str:
        return FEED if state == self._folder.path else f"{FEED} {state.name}"

    def _child(self, name: str, words: tuple[str, ...], stage: Stage, silence: float) -> ChildSpec:
        argv = self._setting.program(*words, log_format=self.config.log.format)
        environment = {**os.environ, **self._setting.environment}
        return ChildSpec(name, argv, stage, ends=False, silence=silence, environment=environment)

    def _free_port(self) -> int:
        taken = {self._link_port, *(served.port for served in self.shelf.served)}
        return node_config.free_port(self._setting.address, self.user.cluster.ports, taken=taken)

    def _endpoint(self, port: int) -> str:
        return node_config.endpoint(self._setting.address, port)
