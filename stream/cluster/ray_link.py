"""What ``run --cluster`` has to do with its control: that it is there, and has the configuration and the operators'
settings of now. A thread sees to it, so that nobody else has to wait for Ray. For ``run_command``.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stream import __version__
from stream.cluster.ray_connect import NAMESPACE, ask, control_name, pieces
from stream.cluster.ray_control import check_stays
from stream.cluster.ray_fleet import kill_all
from stream.cluster.settings_text import ClusterSettings, named_variables
from stream.config import Config
from stream.errors import ConfigError, LinkLost, StreamError, UsageError
from stream.fields import as_object, read_object, text

log = logging.getLogger(__name__)

_POLL = 0.1  # s

LOOK_EVERY = 0.5
"""Seconds between two looks at the control."""

START_WAIT = 60.0
"""Seconds for the control to start: a process that loads Ray, on a machine that may be busy."""

LOOK_WAIT = 5.0
"""Seconds within which it has to say how it is."""

END_WAIT = 12.0
"""Seconds for it to end all stations; then they are ended from here."""


class ControlLink:
    """One run's dealings with its control.

    Args:
        ray: connected.
        config: of the run.
        path: of the configuration, as the user named it.
        log_level: of the processes.
        log_format: of their log lines; None: as the configuration says.
    """

    def __init__(self, ray: Any, config: Config, path: Path, *, log_level: str, log_format: str | None) -> None:
        self._ray, self._config, self._path = ray, config, path
        self._log_level, self._log_format = log_level, log_format
        self._node = str(ray.get_runtime_context().get_node_id())
        self._life = secrets.token_hex(8)  # of this run: a new one tells everything again
        self._closing, self._drain = threading.Event(), threading.Event()
        self._problem = ""
        self._made = False  # whether this run has started the control
        self._stopping: Callable[[], bool] = lambda: False
        self.directory = ("", "")  # endpoint and public key
        self.drained = False
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)

    def begin(self, config_text: str, *, stopping: Callable[[], bool] = lambda: False) -> None:
        """Starts the control, or takes over one that an earlier run has left, and tells it the configuration.

        Args:
            config_text: of the run.
            stopping: polled; gives it up.

        Raises:
            UsageError: the cluster of this name is run from another machine, or with another state folder.
            LinkLost: it does not start, or cannot work; says why. Or it was given up.
        """
        self._stopping = stopping
        try:
            told = self._health(self._started(), START_WAIT)
            self._check_ours(told)
            if told.get("version") != __version__:
                self._replace(str(told.get("version") or "an older one"))
            self._configure(config_text, found=bool(told["state"]))
        except BaseException:
            self._abandon()
            raise
        finally:
            self._stopping = lambda: False

    def _check_ours(self, told: Mapping[str, Any]) -> None:
        stop = "stop that run" if told.get("followed") else f"'spade-stream cluster stop --name {self._name}' ends it"
        if told["ray_node"] != self._node:
            raise UsageError(
                f"the cluster {self._name!r} is run on another machine: {stop}, or choose another cluster.name"
            )
        if told["state"] not in ("", str(self._config.state)):
            raise UsageError(
                f"the cluster {self._name!r} is run with state {told['state']}: {stop}, or choose another cluster.name"
            )

    def _replace(self, version: str) -> None:
        """An earlier run has left a cluster of another version: neither would know what the other one means."""
        log.warning(
            "the cluster that runs is of spade-stream %s: it is ended, and started with %s", version, __version__
        )
        kill_all(self._ray, self._name)
        until = time.monotonic() + START_WAIT
        while self._exists() and time.monotonic() < until and not self._stopping():
            time.sleep(_POLL)
        self._health(self._started(), START_WAIT)

    def _abandon(self) -> None:
        """Takes a control away that this run has started, and that has nothing to do. Never raises."""
        try:
            if self._made and not self._take(ask(self._ray, self._actor(), "health", wait=LOOK_WAIT))["state"]:
                self._ray.kill(self._actor(), no_restart=True)
        except Exception as error:  # why it could not begin is told anyway
            log.debug("the control was not taken away: %s", error)

    def follow(self) -> None:
        """From now on the control has whatever stands in the run's folder."""
        self._thread.start()

    def check_stays(self, wanted: Config) -> None:
        """Raises ConfigError for a configuration that cannot be taken while the cluster runs."""
        check_stays(self._config, wanted)

    def drain(self) -> None:
        """Begins to end all work on the nodes; see :attr:`drained`."""
        self._drain.set()

    def end(self) -> bool:
        """Ends all stations and the control. What cannot be ended is said, and then it returns False."""
        self._stop_following()
        try:
            self._ask("end", wait=END_WAIT)
        except (StreamError, ValueError, self._ray.exceptions.RayError) as error:
            log.warning("the control does not end its stations (%s): they are ended from here", error)
        try:
            kill_all(self._ray, self._name)
        except Exception as error:  # Ray has many kinds
            log.error(
                "the cluster could not be ended: %s. 'spade-stream cluster stop --name %s' does it", error, self._name
            )
            return False
        return True

    def close(self) -> None:
        """Lets go of the control, which goes on. May be called twice."""
        self._stop_following()

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing.wait(LOOK_EVERY / 5 if self._drain.is_set() else LOOK_EVERY):
            try:
                self.look()
                self._say("")
            except ConfigError as error:  # it was checked before it came here
                self._say(str(error))
            except Exception as error:  # Ray has many kinds; whatever it is, the run goes on and tries again
                self._say(str(error).splitlines()[0] if str(error) else type(error).__name__)

    def look(self) -> None:
        """Tells the control what it does not have. Raises StreamError, and what Ray raises."""
        told = self._take(ask(self._ray, self._started(), "follow", wait=LOOK_WAIT))
        if self._drain.is_set():
            self.drained = bool(told["drained"]) or bool(self._take(self._ask("drain"))["drained"])
            return
        settings = self._settings((self._config.state / "run" / "config.yaml").read_text(encoding="utf-8"))
        if told["token"] != settings.token:
            told = self._take(self._ask("configure", *pieces(settings.to_text()), wait=START_WAIT))
        token, operator = self._operator()
        if told["operator"] != token:
            self._ask("set_operator", token, operator)
        if problem := str(told["problem"]):
            raise LinkLost(f"the control has a problem: {problem}")

    def _say(self, problem: str) -> None:
        if problem and problem != self._problem:
            log.error("control: %s", problem)
        elif self._problem and not problem:
            log.info("control: all is well again")
        self._problem = problem

    def _stop_following(self) -> None:
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(LOOK_WAIT)

    # -- talking ------------------------------------------------------------------------------------------------------

    @property
    def _name(self) -> str:
        return self._config.cluster.name

    def _settings(self, config_text: str) -> ClusterSettings:
        digest = hashlib.sha256(config_text.encode()).hexdigest()[:16]
        return ClusterSettings(
            config=config_text,
            base=str(self._path.resolve().parent),
            named=str(self._path),
            environment=named_variables(config_text, os.environ),
            log_level=self._log_level,
            log_format=self._log_format,
            token=f"{self._life}-{digest}",
        )

    def _operator(self) -> tuple[str, str]:
        """What operators have set, and a token for it."""
        try:
            content = self._config.operator_settings.read_text(encoding="utf-8")
        except FileNotFoundError:
            content = ""
        return f"{self._life}-{hashlib.sha256(content.encode()).hexdigest()[:16]}", content

    def _started(self) -> Any:
        """Its handle; it is started where there is none."""
        try:
            return self._actor()
        except ValueError:
            log.info("the control is started")
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        from stream.cluster.ray_actors import ControlActor

        self._made = True
        return (
            self._ray.remote(ControlActor)
            .options(
                name=control_name(self._name),
                namespace=NAMESPACE,
                lifetime="detached",  # the cluster goes on when this process has died, and the next one finds it
                get_if_exists=True,
                max_restarts=-1,
                max_concurrency=4,  # who asks how it is does not wait for who configures it
                num_cpus=0,
                scheduling_strategy=NodeAffinitySchedulingStrategy(self._node, soft=False),
            )
            .remote(self._name, self._node)
        )

    def _actor(self) -> Any:
        return self._ray.get_actor(control_name(self._name), namespace=NAMESPACE)

    def _exists(self) -> bool:
        try:
            self._actor()
        except ValueError:
            return False
        return True

    def _ask(self, method: str, *arguments: str, wait: float = LOOK_WAIT) -> str:
        return ask(self._ray, self._actor(), method, *arguments, wait=wait, stopping=self._stopping)

    def _configure(self, config_text: str, *, found: bool) -> None:
        try:
            self._take(self._ask("configure", *pieces(self._settings(config_text).to_text()), wait=START_WAIT))
        except LinkLost as error:
            if not found:
                raise
            remedy = f"'spade-stream cluster stop --name {self._name}' ends what an earlier run has left"
            raise LinkLost(f"{error}. {remedy}") from None

    def _health(self, actor: Any, wait: float) -> dict[str, Any]:
        return self._take(ask(self._ray, actor, "health", wait=wait, stopping=self._stopping))

    def _take(self, answer: str) -> dict[str, Any]:
        told = dict(read_object(answer.encode()))
        directory = as_object(told.get("directory"), "directory")
        found = text(directory, "endpoint", most=512), text(directory, "server", most=128)
        if all(found):
            self.directory = found
        return told
