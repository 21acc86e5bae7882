"""Which stations a cluster is to have on its nodes, and how each is doing. For ``control``.

A node is known by its durable name, which lies on its disk: one that comes back after it died is the same node.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Container, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from stream.cluster.fleet import NETWORK_LABEL, READERS_ONLY, ROLE_LABEL, Fleet, Node, Station
from stream.cluster.model import ReaderReport, StationState, WorkerReport
from stream.cluster.posts import AnyReport, Post
from stream.config import Config
from stream.errors import StreamError

NODES_EVERY = 1.0
"""Seconds between two looks at the list of nodes. Stations' answers tell of a dead one sooner."""

STOOD_STILL = 1.0
"""Seconds between two rounds after which it was the control that stood still: stations are given that time anew. It
goes round several times a second."""

LEAVE_WITHIN = 15.0
"""Seconds that a station gets to drain which is not wanted any more."""

GONE_SHOWN = 3600.0
"""Seconds for which a node is listed that is gone and left no outbox behind."""

_log = logging.getLogger(__name__)

Key = tuple[str, int]
"""Of a station: the id of its node, and its number there."""


@dataclass(frozen=True, slots=True)
class GoneNode:
    """A node that was here once."""

    name: str
    address: str
    since: float  # Unix seconds


class Roster:
    """All nodes and stations.

    Args:
        fleet: places stations.
        wall: Unix seconds.
    """

    def __init__(self, fleet: Fleet, *, wall: Callable[[], float]) -> None:
        self._fleet, self._wall = fleet, wall
        self.nodes: dict[str, Node] = {}  # those that are alive, by id
        self.since: dict[str, float] = {}  # Unix seconds since when each of them is
        self.gone: dict[str, GoneNode] = {}  # by durable name
        self.workers: dict[Key, Post[WorkerReport]] = {}
        self.readers: dict[Key, Post[ReaderReport]] = {}
        self.problem = ""  # why nobody knows the nodes
        self.configuration = ""  # what stations are configured with; "" = what they were started with
        self._addresses: dict[str, str] = {}  # of nodes that have stations, by id
        self._names: dict[str, str] = {}  # likewise their durable names, once they are known
        self._looked = float("-inf")
        self._round: float | None = None  # when it went round last; monotonic

    def all(self) -> Iterator[tuple[Key, Post[WorkerReport] | Post[ReaderReport]]]:
        """Every station."""
        yield from self.workers.items()
        yield from self.readers.items()

    def workers_that_answer(self) -> Iterator[tuple[Key, WorkerReport]]:
        """What scoring stations say."""
        yield from _answers(self.workers)

    def readers_that_answer(self) -> Iterator[tuple[Key, ReaderReport]]:
        """What reader stations say that are wanted."""
        yield from _answers({key: post for key, post in self.readers.items() if post.leaving_since is None})

    def all_heard(self) -> bool:
        """Whether every station has answered, or is known not to; False as long as there is none."""
        posts = [post for _, post in self.all()]
        return bool(posts) and all(post.report is not None or post.state is StationState.GONE for post in posts)

    def name_of(self, node_id: str) -> str:
        """Durable name of a node; empty as long as none of its stations has answered."""
        return self._names.get(node_id, "")

    @property
    def remembered(self) -> set[str]:
        """Durable names of the nodes that are here, and of those that are gone and still listed."""
        return {*self._names.values(), *self.gone}

    def collect(self, config: Config, now: float) -> None:
        """Looks at nodes and at what stations have said."""
        self._forgive(now)
        if now - self._looked >= NODES_EVERY:
            self._looked = now
            self._look_at_nodes()
        self._adjust(config, now)
        for (node_id, _), post in self.all():
            post.patience, post.configuration = config.cluster.patience, self.configuration
            post.collect(now)
            if post.report is not None:
                self._names[node_id] = post.report.node
        self._bury(now)

    def send(self, now: float) -> None:
        """Asks every station what is to be asked, or starts it."""
        for (node_id, _), post in self.all():
            if node_id in self.nodes:
                post.send(now)

    def forget_gone(self, keep: Container[str]) -> None:
        """Drops nodes that have been gone for long, but for those that hold something."""
        now = self._wall()
        self.gone = {name: node for name, node in self.gone.items() if now - node.since <= GONE_SHOWN or name in keep}

    def _forgive(self, now: float) -> None:
        """A control that was stopped, or waited for its disk, must not take all stations for dead after it."""
        gap, self._round = 0.0 if self._round is None else now - self._round, now
        if gap > STOOD_STILL:
            _log.warning("the control stood still for %.1f s", gap)
            for _, post in self.all():
                post.stood_still(gap)

    def _look_at_nodes(self) -> None:
        try:
            found = {node.id: node for node in self._fleet.nodes() if node.alive}
        except StreamError as error:
            if not self.problem:
                _log.warning("the nodes of the cluster cannot be listed: %s", error)
            self.problem = f"the nodes of the cluster cannot be listed: {error}"
            return
        self.problem, self.nodes = "", found
        for node in found.values():
            self.since.setdefault(node.id, self._wall())
            self._addresses[node.id] = node.address

    def _adjust(self, config: Config, now: float) -> None:
        """Adds stations that are missing, and tells those to leave that are too many."""
        networks = {camera.network for camera in config.cameras}
        for node in self.nodes.values():
            for index in range(workers_on(node, config)):
                if (node.id, index) not in self.workers:
                    start = partial(self._fleet.start_worker, node, index)
                    self.workers[node.id, index] = self._post(start, WorkerReport.from_text, config, now)
            if reads_on(node, networks) and (node.id, 0) not in self.readers:
                start = partial(self._fleet.start_readers, node)
                self.readers[node.id, 0] = self._post(start, ReaderReport.from_text, config, now)
        for (node_id, index), worker in self.workers.items():
            wanted = node_id not in self.nodes or index < workers_on(self.nodes[node_id], config)
            worker.leave(None if wanted else now)
        for (node_id, _), reader in self.readers.items():
            wanted = node_id not in self.nodes or reads_on(self.nodes[node_id], networks)
            reader.leave(None if wanted else now)

    def _post(
        self, start: Callable[[], Station], read: Callable[[str], AnyReport], config: Config, now: float
    ) -> Post[AnyReport]:
        return Post(start, read, patience=config.cluster.patience, now=now, wall=self._wall)

    def _bury(self, now: float) -> None:
        """Removes the stations of nodes that are gone, and those that have left."""
        for node_id in self.since.keys() - self.nodes.keys():  # also those without a station
            if not self._answered_lately(node_id, now):
                self._bury_node(node_id)
        _remove(self.workers, [key for key, post in self.workers.items() if _has_left(post, now)], "it has left")
        _remove(self.readers, [key for key, post in self.readers.items() if _has_left(post, now)], "it has left")
        for node_id in self.nodes:
            if self.gone.pop(self.name_of(node_id), None):
                _log.info("node %s is back", self.name_of(node_id))

    def _answered_lately(self, node_id: str, now: float) -> bool:
        """Who answers is alive, whatever the list of nodes says."""
        own = [post for key, post in self.all() if key[0] == node_id]
        return any(post.answering and now - post.heard <= post.patience for post in own)

    def _bury_node(self, node_id: str) -> None:
        reason = "its node is gone"
        _remove(self.workers, [key for key in self.workers if key[0] == node_id], reason)
        _remove(self.readers, [key for key in self.readers if key[0] == node_id], reason)
        self.since.pop(node_id, None)
        name, address = self._names.pop(node_id, ""), self._addresses.pop(node_id, "")
        if name and name not in self._names.values():
            self.gone[name] = GoneNode(name, address, self._wall())
            _log.warning("node %s (%s) is gone", name, address)


def workers_on(node: Node, config: Config) -> int:
    """How many scoring workers a node is to have."""
    cluster = config.cluster
    if node.labels.get(ROLE_LABEL) == READERS_ONLY:
        return 0
    return int(node.gpus) if cluster.gpus and node.gpus >= 1 else int(node.cpus // cluster.worker_cpus)


def reads_on(node: Node, networks: Collection[str | None]) -> bool:
    """Whether any camera may be read on a node."""
    return None in networks or node.labels.get(NETWORK_LABEL) in networks


def _answers(posts: dict[Key, Post[AnyReport]]) -> Iterator[tuple[Key, AnyReport]]:
    for key, post in posts.items():
        if post.report is not None and post.answering:
            yield key, post.report


def _has_left(post: Post[AnyReport], now: float) -> bool:
    if post.leaving_since is None:
        return False
    left = post.answering and post.state is StationState.LEAVING and not post.reason
    return left or not post.answering or now - post.leaving_since > LEAVE_WITHIN


def _remove(posts: dict[Key, Post[AnyReport]], keys: Iterable[Key], reason: str) -> None:
    for key in keys:
        posts.pop(key).end(reason)
