"""What the programs of a cluster tell each other. All of it travels as JSON, over Ray and over ZeroMQ alike: nothing is
pickled, and no secret is in it. Keys are public ones.

Times are Unix seconds of the machine that speaks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from stream.fields import as_list, as_object, listed, number, read_object, text, whole

MAX_NAME = 128
"""Characters of the name of a node, a station or an outbox."""

MAX_URL = 512
"""Characters of an endpoint."""

MAX_WORDS = 4096
"""Characters of a reason."""

MAX_MANY = 100_000
"""Cameras, scenes or names in one message: more than a cluster has."""

Item = TypeVar("Item")


class StationState(StrEnum):
    """How a worker or a reader station is doing."""

    STARTING = "STARTING"  # it is placed, and not at work yet
    RUNNING = "RUNNING"
    DEGRADED = "DEGRADED"  # it works, and says what is wrong
    SILENT = "SILENT"  # it has not answered for longer than ``cluster.patience``: its cameras are given away
    GONE = "GONE"  # its node or its actor is dead
    LEAVING = "LEAVING"  # it is being drained


class OutboxState(StrEnum):
    """Whether the alerts of an outbox can be had."""

    LIVE = "live"
    MISSING = "missing"  # its node is gone, and the disk with it: what nobody has fetched waits there


@dataclass(frozen=True, slots=True)
class Place:
    """Where a camera is scored: what a reader is told."""

    camera: str
    generation: int  # grows with every change of any place; an older one never takes the place of a newer
    worker: str = ""  # name of the worker; "" = nowhere now
    endpoint: str = ""  # of its link
    server: str = ""  # public CURVE key of its machine
    reason: str = ""  # why nowhere, or what it waits for

    def to_json(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "camera": self.camera,
            "generation": self.generation,
            "worker": self.worker,
            "endpoint": self.endpoint,
            "server": self.server,
            "reason": self.reason,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Place:
        """Raises ValueError where it is not well formed."""
        return cls(
            text(data, "camera", most=MAX_NAME),
            whole(data, "generation"),
            text(data, "worker", most=MAX_NAME),
            text(data, "endpoint", most=MAX_URL),
            text(data, "server", most=MAX_NAME),
            text(data, "reason", most=MAX_WORDS),
        )


@dataclass(frozen=True, slots=True)
class OutboxPlace:
    """Where the alerts of one outbox are to be had: what a subscriber is told."""

    id: str  # made with the outbox, and kept in it for ever
    node: str  # name of the machine that holds it, or held it last
    state: OutboxState
    since: float  # when it came into this state
    last_seq: int  # the last number that was heard of
    endpoint: str = ""  # of its feed; "" = it is missing
    server: str = ""  # public CURVE key of its machine

    def to_json(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "id": self.id,
            "node": self.node,
            "state": str(self.state),
            "since": self.since,
            "last_seq": self.last_seq,
            "endpoint": self.endpoint,
            "server": self.server,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> OutboxPlace:
        """Raises ValueError where it is not well formed."""
        return cls(
            text(data, "id", most=MAX_NAME),
            text(data, "node", most=MAX_NAME),
            OutboxState(text(data, "state", most=MAX_NAME)),
            number(data, "since"),
            whole(data, "last_seq"),
            text(data, "endpoint", most=MAX_URL),
            text(data, "server", most=MAX_NAME),
        )


@dataclass(frozen=True, slots=True)
class Access:
    """Whom the machines of a cluster let in: public keys, handed out by the control."""

    nodes: Mapping[str, str] = field(default_factory=dict)  # node name -> key of its own programs: any camera, any name
    readers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # key -> cameras it may be
    subscribers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # key -> names it may subscribe under

    def to_json(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "nodes": dict(self.nodes),
            "readers": {key: list(names) for key, names in self.readers.items()},
            "subscribers": {key: list(names) for key, names in self.subscribers.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Access:
        """Raises ValueError where it is not well formed."""
        nodes = as_object(data.get("nodes"), "nodes")
        return cls(
            {name: text(nodes, name, most=MAX_NAME) for name in nodes},
            _named(data, "readers"),
            _named(data, "subscribers"),
        )


@dataclass(frozen=True, slots=True)
class WorkerOrders:
    """What a worker is to do from now on. A newer one takes the place of the one before; older ones are ignored."""

    generation: int
    cameras: tuple[str, ...] = ()  # that it scores
    prefetch: tuple[str, ...] = ()  # scenes whose galleries it keeps ready besides
    access: Access = Access()
    operator: str | None = None  # what operators have set (``operator.json``); None = nothing

    def to_text(self) -> str:
        """As it travels."""
        return json.dumps(
            {
                "generation": self.generation,
                "cameras": list(self.cameras),
                "prefetch": list(self.prefetch),
                "access": self.access.to_json(),
                "operator": self.operator,
            }
        )

    @classmethod
    def from_text(cls, data: str) -> WorkerOrders:
        """Raises ValueError where it is not well formed."""
        fields = read_object(data.encode())
        return cls(
            whole(fields, "generation"),
            _names(fields, "cameras"),
            _names(fields, "prefetch"),
            Access.from_json(as_object(fields.get("access"), "access")),
            None if fields.get("operator") is None else text(fields, "operator", most=1 << 22),
        )


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """What a worker says when the control asks."""

    worker: str  # its name: the node's and a number
    node: str  # name of its machine
    state: StationState
    reason: str  # "" = all is well
    generation: int  # of the orders that it has taken
    endpoint: str  # of its link
    server: str  # public CURVE key of its machine
    key: str  # public key of its machine's own programs
    outboxes: tuple[OutboxPlace, ...]  # its own first; then those that other workers have left on its disk
    cameras: Mapping[str, Any] = field(default_factory=dict)  # as in ``status.json``, by id
    ready: tuple[str, ...] = ()  # cameras whose gallery is open in the worker: their frames would be scored now
    cached: tuple[str, ...] = ()  # scenes whose gallery of the moment lies on its disk
    fetching: Mapping[str, str] = field(default_factory=dict)  # scene -> how far, or why it cannot be had
    status: Mapping[str, Any] = field(default_factory=dict)  # the worker's own, as in ``status.json``
    processes: Mapping[str, Any] = field(default_factory=dict)  # its children, as in ``processes.json``

    def to_text(self) -> str:
        """As it travels."""
        return json.dumps(
            {
                "worker": self.worker,
                "node": self.node,
                "state": str(self.state),
                "reason": _cut(self.reason),
                "generation": self.generation,
                "endpoint": self.endpoint,
                "server": self.server,
                "key": self.key,
                "outboxes": [outbox.to_json() for outbox in self.outboxes],
                "cameras": dict(self.cameras),
                "ready": list(self.ready),
                "cached": list(self.cached),
                "fetching": {scene: _cut(words) for scene, words in self.fetching.items()},
                "status": dict(self.status),
                "processes": dict(self.processes),
            }
        )

    @classmethod
    def from_text(cls, data: str) -> WorkerReport:
        """Raises ValueError where it is not well formed."""
        fields = read_object(data.encode())
        fetching = as_object(fields.get("fetching"), "fetching")
        return cls(
            text(fields, "worker", most=MAX_NAME),
            text(fields, "node", most=MAX_NAME),
            StationState(text(fields, "state", most=MAX_NAME)),
            text(fields, "reason", most=MAX_WORDS),
            whole(fields, "generation"),
            text(fields, "endpoint", most=MAX_URL),
            text(fields, "server", most=MAX_NAME),
            text(fields, "key", most=MAX_NAME),
            _all(fields, "outboxes", OutboxPlace.from_json),
            as_object(fields.get("cameras"), "cameras"),
            _names(fields, "ready"),
            _names(fields, "cached"),
            {scene: text(fetching, scene, most=MAX_WORDS) for scene in fetching},
            as_object(fields.get("status"), "status"),
            as_object(fields.get("processes"), "processes"),
        )


@dataclass(frozen=True, slots=True)
class ReaderOrders:
    """Which cameras a reader station reads from now on; generations as in :class:`WorkerOrders`."""

    generation: int
    cameras: tuple[str, ...] = ()
    directory: str = ""  # endpoint where its readers ask for their worker
    server: str = ""  # public CURVE key of that

    def to_text(self) -> str:
        """As it travels."""
        return json.dumps(
            {
                "generation": self.generation,
                "cameras": list(self.cameras),
                "directory": self.directory,
                "server": self.server,
            }
        )

    @classmethod
    def from_text(cls, data: str) -> ReaderOrders:
        """Raises ValueError where it is not well formed."""
        fields = read_object(data.encode())
        return cls(
            whole(fields, "generation"),
            _names(fields, "cameras"),
            text(fields, "directory", most=MAX_URL),
            text(fields, "server", most=MAX_NAME),
        )


@dataclass(frozen=True, slots=True)
class ReaderReport:
    """What a reader station says when the control asks."""

    station: str  # its name
    node: str  # name of its machine
    state: StationState
    reason: str
    generation: int  # of the orders that it has taken
    key: str  # public key of its machine's own programs
    cameras: Mapping[str, Any] = field(default_factory=dict)  # process of each reader, by camera, as in processes.json

    def to_text(self) -> str:
        """As it travels."""
        return json.dumps(
            {
                "station": self.station,
                "node": self.node,
                "state": str(self.state),
                "reason": _cut(self.reason),
                "generation": self.generation,
                "key": self.key,
                "cameras": dict(self.cameras),
            }
        )

    @classmethod
    def from_text(cls, data: str) -> ReaderReport:
        """Raises ValueError where it is not well formed."""
        fields = read_object(data.encode())
        return cls(
            text(fields, "station", most=MAX_NAME),
            text(fields, "node", most=MAX_NAME),
            StationState(text(fields, "state", most=MAX_NAME)),
            text(fields, "reason", most=MAX_WORDS),
            whole(fields, "generation"),
            text(fields, "key", most=MAX_NAME),
            as_object(fields.get("cameras"), "cameras"),
        )


def _cut(words: str) -> str:
    """As much as may travel: a report that is refused for its many reasons would make a station look dead."""
    return words if len(words) <= MAX_WORDS else words[: MAX_WORDS - 3] + "..."


def _all(fields: Mapping[str, Any], name: str, make: Callable[[Mapping[str, Any]], Item]) -> tuple[Item, ...]:
    return tuple(make(as_object(each, name)) for each in listed(fields, name, most=MAX_MANY))


def _names(fields: Mapping[str, Any], name: str) -> tuple[str, ...]:
    return _as_names(fields.get(name), name)


def _as_names(value: object, name: str) -> tuple[str, ...]:
    return tuple(text({name: each}, name, most=MAX_NAME) for each in as_list(value, name, most=MAX_MANY))


def _named(fields: Mapping[str, Any], name: str) -> dict[str, tuple[str, ...]]:
    found = as_object(fields.get(name), name)
    return {key: _as_names(names, name) for key, names in found.items()}
