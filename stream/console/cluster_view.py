"""The page of the cluster, made of what the control says of it and of what every camera is doing: is anything not
watched, where, why, since when, and what is being done about it. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from stream.cluster.model import OutboxState
from stream.console.cluster_blind import AWAY, Places, groups
from stream.console.cluster_file import is_fresh, written_of
from stream.messages import CameraState, iso_time

WELL = ("RUNNING", "LIVE")
"""States in which there is nothing to say."""


def cluster_view(
    document: Mapping[str, Any], cameras: Mapping[str, Mapping[str, Any]], *, now: float
) -> dict[str, Any]:
    """The whole page.

    Args:
        document: as ``cluster_file`` reads it.
        cameras: every camera of the configuration, as ``board.Look.cameras`` has them: the same states as on all pages.
        now: Unix seconds.
    """
    fresh = is_fresh(document, now=now)
    written = written_of(document)
    blind = {name: camera for name, camera in cameras.items() if _is_blind(camera)}
    nodes = _nodes(document, cameras)
    return {
        "name": str(document.get("name", "")),
        "written": _time(written),
        "fresh": fresh,
        "damaged": document.get("damaged"),
        "cameras": {
            "all": len(cameras),
            "watched": sum(bool(camera["watched"]) for camera in cameras.values()),
            "ended": sum(camera["state"] == CameraState.ENDED for camera in cameras.values()),
            "not_watched": len(blind),
        },
        "not_watched": groups(blind, Places(document), fresh=fresh),
        "nodes": nodes,
        "outboxes": sorted((_outbox(each) for each in document["outboxes"]), key=_by_need),
        "moves": _moves(document["moves"]),
        "problems": _problems(document),
        "troubles": troubles(document, now=now),
    }


def troubles(document: Mapping[str, Any], *, now: float) -> int:
    """How many nodes, workers, readers and outboxes are not as they should be; 1 where nobody says so."""
    if not is_fresh(document, now=now):
        return 1
    nodes = {_name(each) for each in document["nodes"] if each.get("state") in AWAY}
    stations = (each for part in ("workers", "readers") for each in document[part])
    lost = sum(each.get("state") in (*AWAY, "DEGRADED") and each.get("node") not in nodes for each in stations)
    missing = sum(
        each.get("state") == OutboxState.MISSING or bool(each.get("problem")) for each in document["outboxes"]
    )
    return len(nodes) + int(lost + missing)


def _problems(document: Mapping[str, Any]) -> list[str]:
    """What the control complains of, but for nodes that are away: each of them says so itself, and first."""
    away = tuple(f"node {_name(node)} " for node in document["nodes"] if node.get("state") in AWAY)
    return [text for text in map(str, document["problems"]) if not (away and text.startswith(away))]


def _is_blind(camera: Mapping[str, Any]) -> bool:
    return not camera["watched"] and camera["state"] != CameraState.ENDED


def _name(node: Mapping[str, Any]) -> str:
    return str(node.get("name") or node.get("id") or "")


def _nodes(document: Mapping[str, Any], cameras: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every node with what runs on it; those that are away first, then those with a trouble."""
    known = {_name(node): node for node in document["nodes"]}
    stations = (*document["workers"], *document["readers"])
    for station in stations:  # one that the control knows from a station alone
        known.setdefault(str(station.get("node", "")), {"name": station.get("node", "")})
    found = [_node(name, node, document, cameras) for name, node in known.items()]
    return sorted(found, key=lambda node: (_rank(node), node["name"]))


def _node(
    name: str, node: Mapping[str, Any], document: Mapping[str, Any], cameras: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    workers = [_worker(each, cameras) for each in document["workers"] if str(each.get("node", "")) == name]
    readers = [_reader(each) for each in document["readers"] if str(each.get("node", "")) == name]
    return {
        "name": name,
        "address": str(node.get("address", "")),
        "state": str(node.get("state", "")) or _state_of((*workers, *readers)),
        "reason": str(node.get("reason", "")),
        "since": _time(node.get("since")),
        "cpus": node.get("cpus"),
        "gpus": node.get("gpus"),
        "labels": {str(key): str(value) for key, value in dict(node.get("labels") or {}).items()},
        "cameras": sum(len(worker["cameras"]) for worker in workers),
        "blind": sum(worker["blind"] for worker in workers),
        "reads": sum(len(reader["cameras"]) for reader in readers),
        "workers": sorted(workers, key=lambda worker: str(worker["name"])),
        "readers": readers,
    }


def _state_of(stations: Iterable[Mapping[str, Any]]) -> str:
    """The state of a node that says none: as well as its best station, for something of it lives."""
    states = {station["state"] for station in stations}
    return next(
        (state for state in ("RUNNING", "DEGRADED", "STARTING", "LEAVING", "SILENT") if state in states), "GONE"
    )


def _worker(worker: Mapping[str, Any], cameras: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    names = _names(worker.get("cameras"))
    load, capacity = number_of(worker.get("load")), number_of(worker.get("capacity"))
    return {
        "name": str(worker.get("name", "")),
        "state": str(worker.get("state", "")),
        "reason": str(worker.get("reason", "")),
        "since": _time(worker.get("since")),
        "cameras": [{"id": name, "blind": name not in cameras or _is_blind(cameras[name])} for name in names],
        "blind": sum(name not in cameras or _is_blind(cameras[name]) for name in names),
        "load": load,
        "capacity": capacity,
        "frames_per_second": None if load is None or capacity is None else load * capacity,
        "fetching": {str(scene): str(words) for scene, words in dict(worker.get("fetching") or {}).items()},
    }


def _reader(reader: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": str(reader.get("name", "")),
        "state": str(reader.get("state", "")),
        "reason": str(reader.get("reason", "")),
        "since": _time(reader.get("since")),
        "cameras": _names(reader.get("cameras")),
    }


def _rank(node: Mapping[str, Any]) -> int:
    if node["state"] in AWAY:
        return 0
    stations = (*node["workers"], *node["readers"])
    return 2 if node["state"] in WELL and all(each["state"] in WELL for each in stations) else 1


def _outbox(outbox: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": str(outbox.get("id", "")),
        "node": str(outbox.get("node", "")),
        "state": str(outbox.get("state", "")),
        "since": _time(outbox.get("since")),
        "last_seq": outbox.get("last_seq"),
        "taken": outbox.get("taken"),
        "gaps": outbox.get("gaps") or [],
        "problem": str(outbox.get("problem") or ""),
    }


def _by_need(outbox: Mapping[str, Any]) -> tuple[bool, str, str]:
    return outbox["state"] != OutboxState.MISSING, outbox["node"], outbox["id"]


def _moves(moves: Mapping[str, Any]) -> dict[str, Any]:
    moving = moves.get("moving")
    return {
        "moving": [
            {"camera": str(each.get("camera", "")), "source": each.get("source"), "target": each.get("target")}
            if isinstance(each, dict)
            else {"camera": str(each), "source": None, "target": None}
            for each in (moving if isinstance(moving, list) else ())
        ],
        "waiting": moves.get("waiting", 0),
        "done": moves.get("done", 0),
    }


def _names(value: object) -> list[str]:
    return [str(name) for name in value] if isinstance(value, list | dict) else []


def number_of(value: object) -> float | None:
    """A number of the document; None where it says none."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _time(value: object) -> str | None:
    """A moment as the API tells it: the document has Unix seconds, a camera's status has ISO 8601 already."""
    if isinstance(value, str):
        return value or None
    seconds = number_of(value)
    try:
        return None if seconds is None else iso_time(seconds)
    except (ValueError, OverflowError, OSError):  # no moment that a clock can show
        return None
