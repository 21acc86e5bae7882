"""Nodes and stations as Ray has them: what the control's :class:`stream.cluster.fleet.Fleet` is in a real cluster.

Ray places each station (an actor) on its node, starts it again when its process dies, and knows it by its name. What
travels are texts. For ``ray_actors``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stream.cluster.fleet import Answer, Node, Station, StationLost
from stream.cluster.ray_connect import NAMESPACE, belongs, pieces, readers_name, worker_name
from stream.errors import StreamError

log = logging.getLogger(__name__)

NODES_EVERY = 1.0
"""Seconds between two looks at Ray's list of nodes. A node that dies is noticed by its silence, long before it is gone
from there; one that joins may wait a second."""


@dataclass(frozen=True, slots=True)
class RayAnswer:
    """One call that is under way."""

    ray: Any
    name: str  # of the station
    reference: Any

    def done(self) -> bool:
        """See :class:`stream.cluster.fleet.Answer`."""
        return bool(self.ray.wait([self.reference], timeout=0)[0])

    def result(self) -> str:
        """See :class:`stream.cluster.fleet.Answer`."""
        try:
            return str(self.ray.get(self.reference, timeout=0))
        except Exception as error:  # Ray's own kinds, and whatever the station raised, in Ray's wrapping
            raise self._lost(error) from None

    def _lost(self, error: Exception) -> StationLost:
        errors = self.ray.exceptions
        if isinstance(error, errors.RayTaskError):  # it lives, and could not do what it was asked
            lines = str(error.cause if getattr(error, "cause", None) else error).strip().splitlines()
            return StationLost(f"{self.name} failed: {lines[0][:300] if lines else 'no reason'}", dead=False)
        if isinstance(error, errors.ActorUnavailableError):  # its process or its node does not answer, or starts anew
            return StationLost(f"{self.name} cannot be reached", dead=False)
        if isinstance(error, errors.ActorDiedError | errors.NodeDiedError | errors.OutOfMemoryError):
            return StationLost(f"{self.name} is dead", dead=True)
        return StationLost(f"{self.name} does not answer ({type(error).__name__})", dead=False)


@dataclass(frozen=True, slots=True)
class RayStation:
    """One actor."""

    ray: Any
    name: str
    actor: Any  # its handle

    def ask(self, method: str, text: str = "") -> Answer:
        """See :class:`stream.cluster.fleet.Station`."""
        try:
            return RayAnswer(self.ray, self.name, self.actor.ask.remote(method, *pieces(text)))
        except self.ray.exceptions.RayError as error:
            raise StationLost(f"{self.name} cannot be asked ({type(error).__name__})", dead=False) from None

    def kill(self) -> None:
        """See :class:`stream.cluster.fleet.Station`."""
        try:
            self.ray.kill(self.actor, no_restart=True)
        except (self.ray.exceptions.RayError, ValueError) as error:
            log.debug("%s was not killed: %s", self.name, error)


class RayFleet:
    """The nodes of a Ray cluster, and our stations on them. One thread uses an object.

    Args:
        ray: connected.
        cluster: ``cluster.name``.
        worker: class of the actor that is a scoring worker; made with its number and how many GPUs it has.
        readers: class of the actor that runs the readers of a node; made with nothing.
        worker_cpus: cores of a worker on a node without GPUs.
        gpus: a worker takes a GPU where a node has some.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        ray: Any,
        cluster: str,
        *,
        worker: type,
        readers: type,
        worker_cpus: int,
        gpus: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ray, self._cluster, self._clock = ray, cluster, clock
        self._worker, self._readers = worker, readers
        self.worker_cpus, self.gpus = worker_cpus, gpus
        self._nodes: list[Node] = []
        self._due = 0.0

    def nodes(self) -> list[Node]:
        """See :class:`stream.cluster.fleet.Fleet`."""
        now = self._clock()
        if now >= self._due or not self._nodes:
            self._nodes, self._due = self._listed(), now + NODES_EVERY
        return self._nodes

    def _listed(self) -> list[Node]:
        try:
            return [as_node(node) for node in self._ray.nodes()]
        except Exception as error:  # Ray has many kinds; the control goes on with the nodes that it knows
            raise StreamError(f"Ray does not say which nodes there are ({type(error).__name__})") from error

    def start_worker(self, node: Node, index: int) -> Station:
        """See :class:`stream.cluster.fleet.Fleet`."""
        on_gpu = self.gpus and node.gpus >= 1
        needs = {"num_gpus": 1, "num_cpus": 0} if on_gpu else {"num_gpus": 0, "num_cpus": self.worker_cpus}
        name = worker_name(self._cluster, node.id, index)
        return self._start(self._worker, name, node, needs, index, 1 if on_gpu else 0)

    def start_readers(self, node: Node) -> Station:
        """See :class:`stream.cluster.fleet.Fleet`."""
        needs = {"num_gpus": 0, "num_cpus": 0}
        return self._start(self._readers, readers_name(self._cluster, node.id), node, needs)

    def _start(self, kind: type, name: str, node: Node, needs: Mapping[str, int], *arguments: int) -> Station:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        try:
            actor = self._ray.remote(kind)
            handle = actor.options(
                **needs,
                name=name,
                namespace=NAMESPACE,
                lifetime="detached",  # it goes on when whoever started it has died, and is found again by its name
                get_if_exists=True,
                max_restarts=-1,  # on its own node, as long as that lives
                max_task_retries=0,  # an answer that is late is of no use: the next question brings a newer one
                scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False),
            ).remote(*arguments)
        except (self._ray.exceptions.RayError, ValueError) as error:
            raise StationLost(f"{name} cannot be started ({type(error).__name__})", dead=True) from None
        return RayStation(self._ray, name, handle)


def as_node(told: Mapping[str, Any]) -> Node:
    """A node as ``ray.nodes()`` describes it."""
    resources = told.get("Resources") or {}
    return Node(
        id=str(told["NodeID"]),
        address=str(told["NodeManagerAddress"]),
        alive=bool(told["Alive"]),
        cpus=float(resources.get("CPU", 0)),
        gpus=float(resources.get("GPU", 0)),
        labels={str(name): str(value) for name, value in (told.get("Labels") or {}).items()},
    )


def kill_all(ray: Any, cluster: str, *, but: str = "") -> list[str]:
    """Ends every actor of a cluster of ours, but for one; returns their names."""
    ours = [name for name in ray.util.list_named_actors() if belongs(name, cluster) and name != but]
    for name in ours:
        try:
            ray.kill(ray.get_actor(name, namespace=NAMESPACE), no_restart=True)
        except (ray.exceptions.RayError, ValueError) as error:
            log.debug("%s was not killed: %s", name, error)
    return ours
