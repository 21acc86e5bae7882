"""What the control of a cluster says, as metrics: few, for each camera has its own. Pure; used by ``metrics``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from stream.cluster.model import OutboxState
from stream.console.cluster_blind import AWAY
from stream.console.cluster_view import number_of


class Families(Protocol):
    """Takes values under the names of ``metrics.METRICS``."""

    def set(self, name: str, value: float | None, *labels: str) -> None:
        """Notes a value; None is not known."""


def tell_cluster(families: Families, document: Mapping[str, Any], *, fresh: bool) -> None:
    """Notes what is known of a cluster.

    Args:
        families: takes it.
        document: as ``cluster_file`` reads it.
        fresh: whether it says how things are now; of then nothing is told.
    """
    families.set("spade_cluster_control_up", fresh)
    if not fresh:
        return
    for node in document["nodes"]:
        name = str(node.get("name") or node.get("id") or "")
        families.set("spade_cluster_node_up", node.get("state") not in AWAY, name)
    for worker in document["workers"]:
        labels = str(worker.get("node", "")), str(worker.get("name", ""))
        families.set("spade_cluster_worker_up", worker.get("state") in ("RUNNING", "DEGRADED"), *labels)
        families.set("spade_cluster_worker_load_ratio", number_of(worker.get("load")), *labels)
    for outbox in document["outboxes"]:
        missing = outbox.get("state") == OutboxState.MISSING
        families.set("spade_cluster_outbox_missing", missing, str(outbox.get("node", "")), str(outbox.get("id", "")))
    families.set("spade_cluster_cameras_waiting", number_of(document["moves"].get("waiting")))
    families.set("spade_cluster_moves_total", number_of(document["moves"].get("done")))
