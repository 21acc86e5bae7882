"""A Ray cluster of several nodes on one machine, each of processes of its own, so that one can die alone.

Every node is what ``ray start`` starts on a machine of its own, with its own folder (``SPADE_NODE_FOLDER``) for what a
real machine would have on its disk. For ``bench cluster`` and for tests.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from stream.bench.process_tree import descendants, runs, with_variable
from stream.errors import StreamError, UsageError

NODE_FOLDER = "SPADE_NODE_FOLDER"
"""Environment variable that names a node's folder, where several nodes share a machine."""

START_WAIT = 120.0
"""Seconds for nodes to join: about four on an idle machine."""

MOST_STARTS = 3
"""How often a node is started that ends by itself, before it is given up."""

START_GAP, HEAD_GAP = 1.0, 4.0
"""Seconds between the starts of two nodes, and from the head's until the first one: what comes sooner often waits half
a minute for the head's answer, and then ends (Ray 2.60)."""

SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
"""Of the environment. Where a user has a token of Ray's (``~/.ray/auth_token``), nodes would ask for it by themselves,
and programs that connect would not show it: they would try in vain for a while."""

START_LABEL = "spade-start"
"""Label of a node that tells its starts apart."""

END_WAIT = 10.0
"""Seconds for killed processes to be gone."""

_STORE_BYTES = 80 * 2**20  # of Ray's object store, its least: no frame ever goes there
_AWAIT_NODES = """
import sys, time, ray
address, label, *starts = sys.argv[1:]
for attempt in range(100):
    try:
        ray.init(address=address, log_to_driver=False, logging_level="CRITICAL")
        break
    except ConnectionError:
        time.sleep(0.5)
while set(starts) - {node.get("Labels", {}).get(label) for node in ray.nodes() if node["Alive"]}:
    time.sleep(0.2)
"""


@dataclass(slots=True)
class LocalNode:
    """One node."""

    name: str
    folder: Path  # what would be its disk
    arguments: tuple[str, ...]  # of ``ray start``
    labels: Mapping[str, str]
    start: str = ""  # label of its last start, by which one sees that it has joined
    starts: int = 0  # since somebody asked for one
    process: subprocess.Popen[bytes] | None = None

    def processes(self) -> list[int]:
        """All processes of it that run now: descendants, and those that have lost their parent but have its folder."""
        if self.process is None:
            return []
        found = dict.fromkeys(
            [self.process.pid, *descendants(self.process.pid), *with_variable(NODE_FOLDER, self.folder)]
        )
        return [pid for pid in found if runs(pid)]


@dataclass(slots=True)
class LocalRay:
    """The cluster. Use as a context manager: at its end nothing of it runs any more.

    Args:
        folder: for the nodes' folders and logs.
        environment: of all its processes; None: this one's.
    """

    folder: Path
    environment: Mapping[str, str] | None = None
    nodes: dict[str, LocalNode] = field(default_factory=dict)
    address: str = ""  # HOST:PORT of the head, for ``--cluster``
    _temporary: str = ""
    _start_due: float = 0.0

    def __enter__(self) -> LocalRay:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start_head(
        self,
        *,
        cpus: int = 0,
        labels: Mapping[str, str] | None = None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> LocalNode:
        """Starts the head, the machine that ``run`` is started on. Without cores it has no scoring worker."""
        # Paths of sockets are short: this folder is not inside the other one.
        self._temporary = tempfile.mkdtemp(prefix="ray-")
        port = free_port()
        head = ("--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={self._temporary}")
        node = self._node("head", cpus, labels, head)
        self.address = f"{_own_address()}:{port}"
        self.revive("head")
        self.await_joined(stopping=stopping)
        self._start_due = time.monotonic() + HEAD_GAP
        return node

    def add(self, name: str, *, cpus: int = 1, labels: Mapping[str, str] | None = None) -> LocalNode:
        """Starts one more node; returns before it has joined, see :meth:`await_joined`."""
        node = self._node(name, cpus, labels, (f"--address={self.address}",))
        self.revive(name)
        return node

    def kill(self, name: str) -> int:
        """SIGKILL for every process of a node, as if its power were cut. Returns how many there were."""
        node = self.nodes[name]
        killed: set[int] = set()
        deadline = time.monotonic() + END_WAIT
        while (running := node.processes()) and time.monotonic() < deadline:
            for pid in running:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            killed.update(running)
            time.sleep(0.02)
        if node.process is not None:
            with suppress(subprocess.TimeoutExpired):  # it waits for the system; the others are to be killed, too
                node.process.wait(END_WAIT)
            node.process = None
        return len(killed)

    def kill_all(self) -> None:
        """SIGKILL for all of it, once, and waits for none; for a signal handler."""
        for node in list(self.nodes.values()):
            for pid in node.processes():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def revive(self, name: str) -> None:
        """Starts a node that is not there, with the folder that it had."""
        self.nodes[name].starts = 0
        self._start(self.nodes[name])

    def _start(self, node: LocalNode) -> None:
        time.sleep(max(0.0, self._start_due - time.monotonic()))
        self._start_due = time.monotonic() + START_GAP
        node.folder.mkdir(parents=True, exist_ok=True)
        node.starts, node.start = node.starts + 1, secrets.token_hex(4)
        labels = ",".join(f"{label}={value}" for label, value in {**node.labels, START_LABEL: node.start}.items())
        with (self.folder / f"{node.name}.log").open("ab") as log:
            node.process = subprocess.Popen(
                [_ray_program(), "start", *node.arguments, f"--labels={labels}"],
                env={**self.surroundings, NODE_FOLDER: str(node.folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def await_joined(self, *, stopping: Callable[[], bool] = lambda: False) -> None:
        """Waits until every node that was started has joined.

        Raises:
            StreamError: they have not within ``START_WAIT``, or one ends whenever it is started; or told to stop.
        """
        started = [node.start for node in self.nodes.values() if node.process is not None]
        # In a process of its own: a driver of Ray stays one until it ends, and this process may want another cluster.
        program = [sys.executable, "-c", _AWAIT_NODES, self.address, START_LABEL]
        deadline, waiting = time.monotonic() + START_WAIT, None
        try:
            while waiting is None or waiting.poll() is None:
                if self._started_again() or waiting is None:
                    _end(waiting)
                    started = [node.start for node in self.nodes.values() if node.process is not None]
                    waiting = subprocess.Popen(
                        [*program, *started],
                        env=self.surroundings,
                        stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL,
                    )
                if stopping():
                    raise StreamError("stopped")
                if time.monotonic() > deadline:
                    raise StreamError(f"Ray's nodes did not join in {START_WAIT:g} s; their logs are in {self.folder}")
                time.sleep(0.1)
        finally:
            _end(waiting)
        if waiting.returncode:
            raise StreamError(f"Ray does not answer at {self.address}; its logs are in {self.folder}")

    def _started_again(self) -> bool:
        """Starts nodes again that have ended by themselves: on a busy machine one may give up waiting for the head."""
        ended = [node for node in self.nodes.values() if node.process is not None and node.process.poll() is not None]
        for node in ended:
            if node.starts >= MOST_STARTS:
                raise StreamError(f"Ray's node {node.name} ends when started; see {self.folder / f'{node.name}.log'}")
            self.kill(node.name)
            self._start(node)
        return bool(ended)

    @property
    def temporary(self) -> Path:
        """Folder of Ray's own files, with what actors say."""
        return Path(self._temporary)

    @property
    def surroundings(self) -> dict[str, str]:
        """Environment of whatever belongs to this cluster or connects to it."""
        return {**(os.environ if self.environment is None else self.environment), **SETTINGS}

    def close(self) -> None:
        """Kills all of it. May be called twice."""
        for name in reversed(list(self.nodes)):
            self.kill(name)
        if self._temporary:
            logs = Path(self._temporary) / "session_latest" / "logs"  # what actors and Ray say
            with suppress(OSError, shutil.Error):
                shutil.copytree(logs.resolve(), self.folder / "logs", dirs_exist_ok=True)
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = ""

    def _node(self, name: str, cpus: int, labels: Mapping[str, str] | None, how: tuple[str, ...]) -> LocalNode:
        common = (
            "--block",
            "--disable-usage-stats",
            f"--num-cpus={cpus}",
            "--num-gpus=0",
            f"--object-store-memory={_STORE_BYTES}",
            "--min-worker-port=0",  # any free ones: the nodes share the machine's ports
            "--max-worker-port=0",
        )
        node = LocalNode(name, self.folder.resolve() / name, (*how, *common), dict(labels or {}))
        self.nodes[name] = node
        return node


def _end(process: subprocess.Popen[bytes] | None) -> None:
    if process is not None and process.poll() is None:
        process.kill()
        process.wait()


def free_port() -> int:
    """A TCP port of this machine that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def _ray_program() -> str:
    program = Path(sys.executable).parent / "ray"
    found = str(program) if program.exists() else shutil.which("ray")
    if found is None:
        raise UsageError("this needs Ray: pip install 'spade-stream[cluster]'")
    return found


def _own_address() -> str:
    from ray.util import get_node_ip_address

    return str(get_node_ip_address())  # type: ignore[no-untyped-call]
