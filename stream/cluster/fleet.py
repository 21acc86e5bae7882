"""What the control of a cluster needs from whatever places programs on nodes: nodes, and stations on them that can be
asked. ``ray_fleet`` does it with Ray; tests do it without. For ``control``.

Nothing here may wait: the control goes round every station several times a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from stream.errors import StationLost as StationLost

NETWORK_LABEL = "spade-network"
"""Label of a node that names the camera network it reaches; cameras ask for it with ``cameras[].network``."""

ROLE_LABEL = "spade-role"
"""Label of a node that says what it is for."""

READERS_ONLY = "readers"
"""Value of :data:`ROLE_LABEL`: no scoring worker is placed on this node."""

REPORT, ORDER, CONFIGURE, DRAIN = "report", "order", "configure", "drain"
"""What a station can be asked. The answer to each is its report, as text; to CONFIGURE and DRAIN it may be empty."""


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of the cluster, as whoever places programs knows it."""

    id: str  # of this life of the node: another one after it came back
    address: str  # host name or IP
    alive: bool
    cpus: float  # cores that programs may be given
    gpus: float  # likewise
    labels: Mapping[str, str] = field(default_factory=dict)


class Answer(Protocol):
    """What a station will have said."""

    def done(self) -> bool:
        """Whether :meth:`result` would return, or raise, at once. Never waits."""

    def result(self) -> str:
        """What the station said; called once, after :meth:`done`. Raises StationLost where there will be no answer."""


class Station(Protocol):
    """A worker or reader station on some node."""

    @property
    def name(self) -> str:
        """By which it is placed; not the durable name that it reports."""

    def ask(self, method: str, text: str = "") -> Answer:
        """Asks it for one of REPORT, ORDER, CONFIGURE and DRAIN, and never waits. Raises StationLost."""

    def kill(self) -> None:
        """Ends it and its processes for good. One that is dead already is no error."""


class Fleet(Protocol):
    """Nodes, and how stations come to be on them."""

    def nodes(self) -> list[Node]:
        """All nodes that are known now, dead ones as well or not. Raises StreamError where nobody can say."""

    def start_worker(self, node: Node, index: int) -> Station:
        """The scoring station of this number on this node, which is started where there is none; does not wait for it.

        Raises StationLost where it cannot be.
        """

    def start_readers(self, node: Node) -> Station:
        """The reader station of this node, likewise."""
