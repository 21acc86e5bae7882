"""spade-stream: a camera network in, alerts with the anomalous region masked out.

Importing this package does nothing; the programs are built in :mod:`stream.cli`. For other programs there is the client
of the feed, loaded when it is first asked for::

    from stream import AlertSubscriber
    from stream import ClusterSubscriber  # of all machines of a cluster
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stream.cluster.subscriber import ClusterSubscriber, OutboxGap, Received
    from stream.errors import LinkLost, StreamError
    from stream.messages import Alert, Evidence, StateEvent
    from stream.subscriber import AlertSubscriber, Gap

__version__ = "0.2.0.dev0"

__all__ = [
    "Alert",
    "AlertSubscriber",
    "ClusterSubscriber",
    "Evidence",
    "Gap",
    "LinkLost",
    "OutboxGap",
    "Received",
    "StateEvent",
    "StreamError",
    "__version__",
]

_HOME = {
    "Alert": "stream.messages",
    "AlertSubscriber": "stream.subscriber",
    "ClusterSubscriber": "stream.cluster.subscriber",
    "Evidence": "stream.messages",
    "Gap": "stream.subscriber",
    "LinkLost": "stream.errors",
    "OutboxGap": "stream.cluster.subscriber",
    "Received": "stream.cluster.subscriber",
    "StateEvent": "stream.messages",
    "StreamError": "stream.errors",
}


def __getattr__(name: str) -> Any:
    """A public name, from the module that it lives in."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
