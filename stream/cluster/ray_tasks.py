"""Tasks of ``enroll`` and ``eval`` on the nodes of a Ray cluster. Ray finds a node with room for each, and begins it
anew elsewhere when its node dies. What travels are texts; nothing of the footage does.
"""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from stream.cluster.fleet import NETWORK_LABEL, Node
from stream.cluster.ray_connect import connected
from stream.cluster.ray_fleet import as_node
from stream.cluster.task_process import END_WITHIN, carry_out
from stream.cluster.tasks import Board, Outcome, Progress, Task, board_from_text
from stream.errors import UsageError
from stream.stopping import StopSignal

log = logging.getLogger(__name__)

MOST_RETRIES = 3
"""How often a task begins anew after its node or its process died; then it has failed."""

_ASK_WAIT = 2.0  # s for the board, which is a process on this machine
_CANCEL_WAIT = END_WITHIN + 4  # s
_CANCEL_LOOK = 0.1  # s
_SHORT = 6  # digits of a node's id that tell it apart for people


@dataclass(frozen=True, slots=True)
class Needs:
    """What a task takes of its node: a GPU, or cores."""

    cpus: int
    gpus: int

    def fits(self, node: Node) -> bool:
        """Whether a node that has nothing else to do has room for it."""
        return node.alive and (node.gpus >= self.gpus if self.gpus else node.cpus >= self.cpus)

    def __str__(self) -> str:
        return "one GPU" if self.gpus else f"{self.cpus} core(s)"


class BoardActor:
    """Where running tasks say how far they are, and get what must not stand in a task: variables with secrets."""

    def __init__(self) -> None:
        self._board = Board()
        self._environment: dict[str, dict[str, str]] = {}

    def keep(self, task: str, text: str) -> None:
        """Variables of a task."""
        self._environment[task] = json.loads(text)

    def begin(self, task: str, node: str) -> str:
        """A task begins: its variables."""
        self._board.begin(task, node)
        return json.dumps(self._environment.get(task, {}))

    def tell(self, task: str, node: str, text: str) -> None:
        """How far it is."""
        self._board.tell(task, node, json.loads(text))

    def leave(self, task: str, node: str) -> None:
        """It has left the node."""
        self._board.leave(task, node)

    def read(self) -> str:
        """All of it."""
        return self._board.to_text()


def do_task(text: str, board: Any) -> str:
    """What runs on a node: a task as text in, its outcome as text out."""
    import ray

    task = Task.from_text(text)
    node = f"{socket.gethostname()}/{ray.get_runtime_context().get_node_id()[:_SHORT]}"
    environment = json.loads(ray.get(board.begin.remote(task.name, node)))

    def tell(step: Mapping[str, Any]) -> None:
        board.tell.remote(task.name, node, json.dumps(dict(step)))

    try:
        return carry_out(task, environment, node=node, tell=tell).to_text()
    finally:  # also where it is cancelled
        board.leave.remote(task.name, node)


class RayRunner:
    """See :class:`stream.cluster.tasks.Runner`.

    Args:
        ray: connected.
        cpus: cores of a task, where no node has a GPU or none is wanted.
        gpus: a task takes a GPU where one of the nodes that it may be on has some. All tasks that may be on the same
            nodes take the same, so that their results do not hang on where each ran.

    Raises:
        UsageError: no node has room for a task.
    """

    def __init__(self, ray: Any, *, cpus: int, gpus: bool) -> None:
        self._ray, self._cpus, self._gpus = ray, cpus, gpus
        nodes = self._nodes()
        needs = needs_on(nodes, cpus=cpus, gpus=gpus)
        if not any(needs.fits(node) for node in nodes):
            most = max((node.cpus for node in nodes), default=0)
            raise UsageError(
                f"no node of the cluster has {needs} for a task; the largest has {most:g}. Add a node, or ask for "
                "fewer (cluster.worker_cpus of the configuration; eval: --task-cpus)"
            )
        self._board: Any = None
        self._running: dict[Any, str] = {}  # reference -> name
        self._refused: dict[str, Outcome] = {}
        self._progress: dict[str, Progress] = {}
        self._asked: Any = None  # what the board will answer
        self._wanted: dict[str, None] = {}  # needs of all tasks, in words

    def start(self, tasks: Sequence[Task], environment: Mapping[str, Mapping[str, str]]) -> None:
        """See there."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(self._ray.get_runtime_context().get_node_id(), soft=False)
        # On this machine: it must not die with the node of a task.
        self._board = self._ray.remote(BoardActor).options(num_cpus=0, scheduling_strategy=here).remote()
        # After its start and not with it: Ray keeps the arguments of a start. One by one: Ray may write large ones to
        # a disk.
        self._ray.get([self._board.keep.remote(name, json.dumps(dict(own))) for name, own in environment.items()])
        do = self._ray.remote(do_task)
        for task in tasks:
            nodes = self._allowed(task)
            needs = needs_on(nodes, cpus=self._cpus, gpus=self._gpus)
            if any(needs.fits(node) for node in nodes):
                options = _options(task, needs)
                self._running[do.options(**options).remote(task.to_text(), self._board)] = task.name
                self._wanted[str(needs)] = None
            else:
                self._refused[task.name] = Outcome(1, error=_no_room(task, needs))

    def ended(self) -> Mapping[str, Outcome]:
        """See there."""
        found, self._refused = dict(self._refused), {}
        if self._running:
            ready, _ = self._ray.wait(list(self._running), num_returns=len(self._running), timeout=0)
            found.update({self._running.pop(reference): self._outcome(reference) for reference in ready})
        return found

    def progress(self) -> Mapping[str, Progress]:
        """See there. A board that is late is asked again next time."""
        if self._asked is None:
            self._asked = self._board.read.remote()
        if self._ray.wait([self._asked], timeout=0)[0]:
            try:
                self._progress = board_from_text(self._ray.get(self._asked, timeout=_ASK_WAIT))
            except (self._ray.exceptions.RayError, ValueError) as error:
                log.debug("progress: %s", error)
            self._asked = None
        return self._progress

    def why_waiting(self) -> str:
        """See there."""
        return (
            f"waiting for a node with {' or '.join(self._wanted)} free: what runs in the cluster, such as workers of "
            "'run --cluster', holds what it was given"
        )

    def cancel(self) -> None:
        """See there. Ray calls a task cancelled before it has cleaned up, and kills it when this process leaves."""
        for reference in self._running:
            self._ray.cancel(reference)
        names, deadline = set(self._running.values()), time.monotonic() + _CANCEL_WAIT
        self._running = {}
        while names & self._at_work() and time.monotonic() < deadline:
            time.sleep(_CANCEL_LOOK)

    def _at_work(self) -> set[str]:
        """Tasks that are on a node now, as far as the board knows."""
        if self._board is None:
            return set()
        try:
            found = board_from_text(self._ray.get(self._board.read.remote(), timeout=_ASK_WAIT))
        except self._ray.exceptions.RayError:  # it is gone
            return set()
        return {name for name, progress in found.items() if progress.state == "running"}

    def _outcome(self, reference: Any) -> Outcome:
        try:
            return Outcome.from_text(self._ray.get(reference))
        except self._ray.exceptions.RayTaskError as error:
            lines = str(error.cause if getattr(error, "cause", None) else error).strip().splitlines()
            return Outcome(1, error=f"the task failed: {lines[-1][:300] if lines else 'no reason'}")
        except self._ray.exceptions.RayError as error:
            name = type(error).__name__
            return Outcome(1, error=f"its node or its process died, {MOST_RETRIES + 1} times in a row ({name})")
        except ValueError as error:
            return Outcome(1, error=f"its answer is not well formed: {error}. Is the same version on every node?")

    def _nodes(self) -> list[Node]:
        return [node for node in map(as_node, self._ray.nodes()) if node.alive]

    def _allowed(self, task: Task) -> list[Node]:
        return [node for node in self._nodes() if task.network in (None, node.labels.get(NETWORK_LABEL))]


def needs_on(nodes: Sequence[Node], *, cpus: int, gpus: bool) -> Needs:
    """What a task takes that may be on these nodes; arguments as for :class:`RayRunner`."""
    return Needs(0, 1) if gpus and any(node.gpus >= 1 for node in nodes) else Needs(cpus, 0)


def _options(task: Task, needs: Needs) -> dict[str, Any]:
    own = {"num_cpus": needs.cpus, "num_gpus": needs.gpus, "max_retries": MOST_RETRIES, "name": f"task:{task.name}"}
    return own if task.network is None else {**own, "label_selector": {NETWORK_LABEL: task.network}}


def _no_room(task: Task, needs: Needs) -> str:
    return (
        f"no node with the label {NETWORK_LABEL}={task.network} has {needs} for it: start Ray there with "
        f"--labels={NETWORK_LABEL}={task.network}, or give the camera's footage with --source"
    )


@contextmanager
def ray_runner(address: str, *, cpus: int, gpus: bool, stop: StopSignal) -> Iterator[RayRunner]:
    """A runner on the cluster at this address, for as long as the block lasts.

    Raises:
        UsageError: Ray is not there, or no node has room for a task.
    """
    with connected(address) as ray:
        stop.install()  # Ray has taken the signals over for itself
        yield RayRunner(ray, cpus=cpus, gpus=gpus)


def wants_gpu(device: str) -> bool:
    """Whether a device that somebody asked for may be a GPU."""
    return device != "cpu"
