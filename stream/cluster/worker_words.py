"""How a worker is doing, from what its processes say of themselves. Pure, but for the status file."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stream.cluster.model import StationState, WorkerOrders
from stream.cluster.processes import in_words
from stream.health import read_status
from stream.reload import FEED, WORKER

_AT_WORK = ("RUNNING", "DEGRADED")


def own_status(path: Path, process: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What the worker's process said last; None where what stands there is another process's.

    Args:
        path: of ``status.json``.
        process: its entry in the report of the processes.
    """
    status = read_status(path, now=time.time())
    pid = status["worker"].get("pid")
    ours = process is not None and pid is not None and process.get("pid") == pid
    return status if ours else None


def state_of(
    status: Mapping[str, Any] | None,
    processes: Mapping[str, Mapping[str, Any]],
    *,
    leaving: bool,
    problems: Sequence[str],
    counted: bool = True,
) -> tuple[StationState, str]:
    """State and reason of a worker.

    Args:
        status: what its process says, see :func:`own_status`; None: it does not speak.
        processes: how each is doing.
        leaving: it was told to end.
        problems: of its station.
        counted: what its outbox holds was looked at since it ended.
    """
    if leaving:
        still = processes.get(WORKER, {}).get("pid") is not None or not counted
        return StationState.LEAVING, "its last frames are scored and committed" if still else ""
    worker = dict(status["worker"]) if status else {}
    if worker.get("state") not in _AT_WORK:
        said = str(worker.get("reason", "")) or in_words("the worker", processes.get(WORKER))
        return StationState.STARTING, "; ".join([*filter(None, [said]), *problems]) or "the worker loads its network"
    reasons = [*problems]
    if worker["state"] == "DEGRADED":
        reasons.insert(0, str(worker.get("reason", "")))
    reasons += filter(None, (in_words(f"its {name}", processes[name]) for name in processes if name.startswith(FEED)))
    return (StationState.DEGRADED, "; ".join(reasons)) if reasons else (StationState.RUNNING, "")


def ready(status: Mapping[str, Any] | None, orders: WorkerOrders) -> tuple[str, ...]:
    """Cameras that it was told to score and whose frames would be scored now."""
    said = (status or {}).get("worker", {}).get("assigned") or {}
    wanted = frozenset(orders.cameras)
    return tuple(name for name in said.get("ready", ()) if name in wanted)


def damaged(status: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Scenes whose galleries it has found damaged."""
    return tuple((status or {}).get("worker", {}).get("damaged_scenes") or ())


def misses_its_gpu(status: Mapping[str, Any] | None) -> str:
    """What is wrong where a worker that was given a GPU computes elsewhere: it gets more cameras than it can score."""
    device = (status or {}).get("worker", {}).get("device", "")
    if not device or device.startswith("cuda"):
        return ""
    return (
        f"it was given a GPU, but its network runs on {device}: see 'backbone.device', and whether torch has CUDA here"
    )
