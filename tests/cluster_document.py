"""A cluster as its control tells it (``STATE/cluster.json``), made up: some nodes, and their cameras."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def a_node(name: str, **changes: Any) -> dict[str, Any]:
    """A node that is well."""
    node = {
        "id": f"id-{name}",
        "name": name,
        "address": "192.0.2.10",
        "state": "RUNNING",
        "since": 1000.0,
        "cpus": 32.0,
        "gpus": 1.0,
        "labels": {"spade-network": "north"},
    }
    return {**node, **changes}


def a_worker(node: str, cameras: Sequence[str], **changes: Any) -> dict[str, Any]:
    """The first worker of a node, which is well."""
    worker = {
        "name": f"{node}:0",
        "node": node,
        "state": "RUNNING",
        "reason": "",
        "since": 1000.0,
        "cameras": list(cameras),
        "load": len(cameras) / 80,
        "capacity": 200.0,
        "cached": [],
        "fetching": {},
        "status": {},
    }
    return {**worker, **changes}


def a_reader(node: str, cameras: Sequence[str], **changes: Any) -> dict[str, Any]:
    """The reader station of a node, which is well."""
    return {"name": f"{node}:readers", "node": node, "state": "RUNNING", "cameras": list(cameras), **changes}


def an_outbox(node: str, **changes: Any) -> dict[str, Any]:
    """The outbox of a node's worker, which can be reached."""
    outbox = {
        "id": f"out-{node}",
        "node": node,
        "state": "live",
        "since": 1000.0,
        "last_seq": 1234,
        "endpoint": "tcp://192.0.2.10:8501",
        "server": "k" * 40,
    }
    return {**outbox, **changes}


def a_document(spread: Mapping[str, Sequence[str]], *, now: float | None = None, **changes: Any) -> dict[str, Any]:
    """A cluster in which all is well.

    Args:
        spread: cameras by the node that scores and reads them.
        now: when it is written, Unix seconds; None: now.
        changes: parts in place of these.
    """
    cameras = {
        camera: {"worker": f"{node}:0", "reader": f"{node}:readers", "state": "LIVE", "reason": "", "since": 1000.0}
        for node, names in spread.items()
        for camera in names
    }
    document = {
        "written": time.time() if now is None else now,
        "name": "campus",
        "generation": 7,
        "nodes": [a_node(node) for node in spread],
        "workers": [a_worker(node, names) for node, names in spread.items()],
        "readers": [a_reader(node, names) for node, names in spread.items()],
        "outboxes": [an_outbox(node) for node in spread],
        "cameras": cameras,
        "moves": {"waiting": 0, "moving": [], "done": 0},
        "problems": [],
    }
    return {**document, **changes}


def changed(entries: Sequence[Mapping[str, Any]], name: str, **changes: Any) -> list[dict[str, Any]]:
    """Nodes, workers, readers or outboxes, of which that of one node says something else."""
    return [{**each, **(changes if name in (each.get("node"), each.get("name")) else {})} for each in entries]


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    """As ``collect`` leaves it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(json.dumps(document), encoding="utf-8")
    new.replace(path)


def processes_of(*names: str) -> dict[str, Any]:
    """What the supervisor says of a run with these processes."""
    process = {"state": "running", "pid": 1, "restarts": 0, "hung": 0, "last_exit": None, "started": None}
    return {
        "written": time.time() + 3600,
        "supervisor": {"state": "RUNNING", "pid": os.getpid()},
        "processes": dict.fromkeys(names, process),
        "config": {},
    }
