"""What the control's actor does, in two threads: one goes round the stations and decides, one is the directory."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stream import __version__
from stream.cluster.control import Control
from stream.cluster.directory import DirectoryServer
from stream.cluster.model import Access, OutboxPlace, Place
from stream.cluster.ray_connect import control_name
from stream.cluster.ray_fleet import RayFleet, kill_all
from stream.cluster.run_keys import keys_of
from stream.cluster.settings_text import ClusterSettings
from stream.config import Config
from stream.curve import CurveServer
from stream.endpoints import parse_endpoint
from stream.errors import ConfigError, KeyFileError, LinkLost
from stream.key_making import let_in_only, make_folder
from stream.keys import Role, load_folder

log = logging.getLogger(__name__)

STEP_EVERY = 0.25
"""Seconds between two rounds of the control."""

STANDS_STILL = 10.0
"""Seconds without the end of a round after which that is a problem."""

FOLLOWED_WITHIN = 5.0
"""Seconds since a run has asked last for which it counts as alive: it asks twice a second."""

RUN_MACHINE = "run"
"""Name under which the programs of the machine that runs the cluster are known to the other ones."""

_END_WAIT = 5.0  # s for the threads, which look every quarter of a second


class ControlDuty:
    """The control of one cluster, at work once it was given a configuration. Every method may come from any thread.

    Args:
        cluster: its name.
        ray_node: id of the node that it is on.
        worker: class of a scoring worker's actor.
        readers: class of the actor that runs a node's readers.
    """

    def __init__(self, cluster: str, ray_node: str, *, worker: type, readers: type) -> None:
        self._worker, self._readers = worker, readers
        self._cluster, self._ray_node = cluster, ray_node
        self._lock = threading.RLock()
        self._settings: ClusterSettings | None = None
        self._config: Config | None = None
        self._control: Control | None = None
        self._server: DirectoryServer | None = None
        self._directory = ("", "")  # endpoint for other machines, public key
        self._operator = ""  # token of what operators have set
        self._problem = ""
        self._followed = float("-inf")  # when a run has asked last; monotonic
        self._round = time.monotonic()  # when the last round ended
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []

    def configure(self, settings: ClusterSettings) -> None:
        """Takes a configuration, the first one or another.

        Raises:
            ConfigError: it is wrong, or it would need another directory or other workers, which only a new start can
                have.
            EndpointBusy, KeyFileError: the directory cannot be served.
        """
        config = settings.parsed()
        with self._lock:
            if self._control is None:
                self._begin(config, settings)
            else:
                check_stays(self._config, config)
                self._control.configure(config, replace(settings, token="").to_text())
            self._settings, self._config = settings, config

    def set_operator(self, token: str, text: str) -> None:
        """Hands on what operators have set; "" = nothing. Raises LinkLost while there is no configuration."""
        with self._lock:
            self._at_work().set_operator(text or None)
            self._operator = token

    def forget(self, outbox: str) -> None:
        """See :meth:`Control.forget`."""
        with self._lock:
            self._at_work().forget(outbox)

    def drain(self) -> None:
        """Begins to end all work."""
        with self._lock:
            self._at_work().drain()

    def health(self) -> str:
        """JSON: what it was told last, where its directory is, whether it has drained."""
        with self._lock:
            control, settings, config = self._control, self._settings, self._config
            return json.dumps(
                {
                    "cluster": self._cluster,
                    "version": __version__,
                    "followed": time.monotonic() - self._followed < FOLLOWED_WITHIN,
                    "ray_node": self._ray_node,
                    "token": settings.token if settings else "",
                    "operator": self._operator,
                    "state": str(config.state) if config else "",
                    "keys": str(keys_of(config)) if config else "",
                    "directory": {"endpoint": self._directory[0], "server": self._directory[1]},
                    "drained": bool(control and control.drained),
                    "problem": self._problem,
                }
            )

    def document(self) -> str:
        """JSON: the state of the whole cluster. Raises LinkLost while there is no configuration."""
        return json.dumps(self._document())

    def followed(self) -> None:
        """A run is there, and has this control."""
        self._followed = time.monotonic()

    def _document(self) -> dict[str, Any]:
        """With what the control cannot say of itself: that its rounds fail, or do not end."""
        document, still = self._at_work().document(), time.monotonic() - self._round
        own = [f"a round of the control failed: {self._problem}"] if self._problem else []
        if still > STANDS_STILL:
            own.append(f"the control has not gone round for {still:.0f} s: nothing is moved or started again")
        return {**document, "problems": [*own, *document["problems"]]}

    def close(self) -> None:
        """Ends every station and the directory; nobody but this machine has access after that. May be called twice."""
        self._closing.set()
        for thread in self._threads:
            thread.join(_END_WAIT)
        with self._lock:
            if self._server is not None:
                self._server.close()
            kill_all(_ray(), self._cluster, but=control_name(self._cluster))
            if self._config is not None:
                try:  # the folder may be that of other runs, too
                    _let_in(keys_of(self._config), {})
                except KeyFileError as error:
                    log.error("machines of this cluster are still let in: %s", error)

    def _at_work(self) -> Control:
        if self._control is None:
            raise LinkLost(f"the control of {self._cluster!r} waits for its configuration")
        return self._control

    def _begin(self, config: Config, settings: ClusterSettings) -> None:
        keys = keys_of(config)
        make_folder(keys)
        folder = load_folder(keys)
        book = _LateBook(self._at_work, self._document)
        server = DirectoryServer(config.cluster.directory, book, secure=CurveServer(folder, Role.LOCAL))
        try:
            self._directory = _advertised(config), folder.server.public
            fleet = RayFleet(
                _ray(),
                self._cluster,
                worker=self._worker,
                readers=self._readers,
                worker_cpus=config.cluster.worker_cpus,
                gpus=config.cluster.gpus,
            )
            self._control = Control(
                config,
                fleet=fleet,
                folder=config.state / "cluster",
                access=lambda: access_of(keys),
                directory=self._directory,
                text=replace(settings, token="").to_text(),
                operator=_operator_of(config),
                let_in=lambda nodes: _let_in(keys, nodes),
            )
        except BaseException:
            server.close()
            raise
        self._server, self._round = server, time.monotonic()
        self._start("control", self._go_round)
        self._start("directory", lambda: server.run(self._closing.is_set))

    def _start(self, name: str, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _go_round(self) -> None:
        while not self._closing.is_set():
            began = time.monotonic()
            try:
                with self._lock:
                    self._at_work().step()
                self._problem = ""
            except Exception as error:  # the cluster goes on as it is; without rounds nothing would be mended any more
                if str(error) != self._problem:
                    log.exception("a round of the control failed")
                self._problem = str(error) or type(error).__name__
            self._round = time.monotonic()
            self._closing.wait(max(0.02, STEP_EVERY - (time.monotonic() - began)))


class _LateBook:
    """What the directory answers from. The control is made after the directory, whose endpoint may be taken."""

    def __init__(self, control: Callable[[], Control], document: Callable[[], Mapping[str, Any]]) -> None:
        self._control, self._document = control, document

    def place(self, camera: str) -> Place:
        """See :class:`stream.cluster.directory.Book`."""
        return self._control().place(camera)

    def outboxes(self) -> tuple[int, tuple[OutboxPlace, ...]]:
        """See :class:`stream.cluster.directory.Book`."""
        return self._control().outboxes()

    def document(self) -> Mapping[str, Any]:
        """See :class:`stream.cluster.directory.Book`."""
        return self._document()


def check_stays(old: Config | None, new: Config) -> None:
    """Raises ConfigError for what a cluster cannot change while it runs."""
    if old is None:
        return
    fixed = {
        "state": (old.state, new.state),
        "cluster.name": (old.cluster.name, new.cluster.name),
        "cluster.folder": (old.cluster.folder, new.cluster.folder),
        "cluster.directory": (old.cluster.directory, new.cluster.directory),
        "cluster.advertise": (old.cluster.advertise, new.cluster.advertise),
        "security.keys": (keys_of(old), keys_of(new)),
    }
    # Ray gave workers their cores and GPUs when it started them: loads would be reckoned for others than there are.
    held = {
        "cluster.worker_cpus": (old.cluster.worker_cpus, new.cluster.worker_cpus),
        "cluster.gpus": (old.cluster.gpus, new.cluster.gpus),
    }
    why = dict.fromkeys(fixed, "every node would have to find it anew") | dict.fromkeys(
        held, "workers keep the cores and GPUs that they were started with"
    )
    problems = [
        f"{name}: is {was} and would be {is_}: {why[name]}. Stop the run and start it"
        for name, (was, is_) in {**fixed, **held}.items()
        if was != is_
    ]
    if problems:
        raise ConfigError("reload", problems)


def access_of(keys: Path) -> Access:
    """Whom the machines of the cluster let in, as far as this machine's folder of keys says it. Raises KeyFileError."""
    folder = load_folder(keys)
    access = folder.access
    return Access(
        {RUN_MACHINE: folder.local.public},
        {key: tuple(sorted(names)) for key, names in access.readers.items()},
        {key: tuple(sorted(names)) for key, names in access.subscribers.items()},
    )


def _operator_of(config: Config) -> str | None:
    """What operators have set until now: the run tells it a moment later, and workers must not drop it meanwhile."""
    try:
        return config.operator_settings.read_text(encoding="utf-8") or None
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        log.error("%s: what operators have set cannot be read: %s", config.operator_settings, error)
        return None


def _let_in(keys: Path, nodes: Mapping[str, str]) -> None:
    let_in_only(keys, Role.LOCAL, {key: [name] for name, key in nodes.items() if name != RUN_MACHINE})


def _advertised(config: Config) -> str:
    host = config.cluster.advertise or _address()
    return f"tcp://{f'[{host}]' if ':' in host else host}:{parse_endpoint(config.cluster.directory).port}"


def _address() -> str:
    from ray.util import get_node_ip_address

    return str(get_node_ip_address())  # type: ignore[no-untyped-call]


def _ray() -> Any:
    import ray

    return ray
