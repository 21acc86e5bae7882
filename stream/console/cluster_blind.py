"""Cameras that are not watched in a cluster, those with the same trouble together: what it is, where, since when, and
what is being done about it. For ``cluster_view``; pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from stream.messages import CameraState

NEXT = {
    CameraState.CONNECTING: "its source is being opened",
    CameraState.STALLED: "opened again and again by itself",
    CameraState.OFFLINE: "opened again and again by itself",
    CameraState.CORRUPT: "opened again and again by itself",
    CameraState.AUTH_FAILED: "tried once a minute; give it the right password",
    CameraState.FROZEN: "goes on with the next new picture; look at the camera",
    CameraState.OBSCURED: "goes on when there is something to see; look at the camera",
    CameraState.MOVED: "goes on when the camera is put back; else enrol the scene",
    CameraState.NOT_SCORED: "goes on when it can; else enrol the scene",
    CameraState.NO_READER: "its reader is started again by itself",
}
"""What happens next, by state, where the cluster does nothing of its own about it."""

_OF_THE_READER = (
    CameraState.CONNECTING,
    CameraState.STALLED,
    CameraState.OFFLINE,
    CameraState.AUTH_FAILED,
    CameraState.CORRUPT,
    CameraState.NO_READER,
)
"""States whose cause is where the camera is read; that of all others is where it is scored."""

AWAY = ("SILENT", "GONE")
"""States of a station or a node that does nothing now."""


class Places:
    """Where each camera is read and scored, and what the cluster is doing with it.

    Args:
        document: as ``cluster_file`` reads it.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._cameras: Mapping[str, Any] = document["cameras"]
        self._workers = {str(each.get("name", "")): each for each in document["workers"]}
        self._readers = {str(each.get("name", "")): each for each in document["readers"]}
        moves: Mapping[str, Any] = document["moves"]
        moving = moves.get("moving")
        self._moving = dict(_target(each) for each in (moving if isinstance(moving, list) else ()))

    def where(self, camera: str, state: str) -> tuple[str, str]:
        """``read`` or ``scored``, and the node; "" = nowhere."""
        said = self._cameras.get(camera, {})
        what, stations, key = "scored", self._workers, "worker"
        if state in _OF_THE_READER:
            what, stations, key = "read", self._readers, "reader"
        name = str(said.get(key) or "")
        return what, str(stations.get(name, {}).get("node") or name)

    def scored_on(self, camera: str) -> str:
        """The node that scores a camera; "" = none does."""
        return self.where(camera, CameraState.LIVE)[1]

    def doing(self, camera: str, state: str, scene: str) -> str:
        """What is being done about a camera that is not watched."""
        said = self._cameras.get(camera)
        if said is None:
            return "the cluster takes it up with the next configuration"
        if camera in self._moving:
            target = self._moving[camera]
            return f"is being moved to {target}" if target else "is being moved"
        worker = self._workers.get(str(said.get("worker") or ""))
        if worker is None:
            return "waits for a worker that can take it"
        if worker.get("state") in AWAY:
            return "waits for its turn to be moved"
        if worker.get("state") == "STARTING":
            return "its worker is starting"
        fetching = worker.get("fetching")
        if isinstance(fetching, dict) and scene in fetching:
            return f"its gallery is on its way: {fetching[scene]}"
        return next((words for known, words in NEXT.items() if known == state), "")


def groups(blind: Mapping[str, Mapping[str, Any]], places: Places, *, fresh: bool) -> list[dict[str, Any]]:
    """Cameras by state, place and what is done; the largest group first.

    Args:
        blind: cameras that are not watched, as ``board.Look.cameras`` has them.
        places: where they belong.
        fresh: whether the control says how things are now.
    """
    found: dict[tuple[str, str, str, str], list[Mapping[str, Any]]] = {}
    for name, camera in sorted(blind.items()):
        state = str(camera["state"])
        what, node = places.where(name, state)
        doing = places.doing(name, state, str(camera.get("scene", ""))) if fresh else "not known"
        found.setdefault((state, what, node, doing), []).append(camera)
    told = [_group(key, cameras) for key, cameras in found.items()]
    return sorted(told, key=lambda group: (-len(group["cameras"]), group["state"], group["node"]))


def _group(key: tuple[str, str, str, str], cameras: list[Mapping[str, Any]]) -> dict[str, Any]:
    state, what, node, doing = key
    reasons = {str(camera.get("reason") or "") for camera in cameras}
    return {
        "state": state,
        "what": what,
        "node": node,
        "doing": doing,
        "reason": reasons.pop() if len(reasons) == 1 else None,  # None: each camera has its own
        "since": _earliest(camera.get("since") for camera in cameras),
        "cameras": [
            {"id": str(camera["id"]), "reason": str(camera.get("reason") or ""), "since": camera.get("since")}
            for camera in cameras
        ],
    }


def _earliest(times: Iterable[str | None]) -> str | None:
    return min((time for time in times if time), default=None)  # ISO 8601 in UTC sorts as time does


def _target(move: object) -> tuple[str, str]:
    """A camera on the move, and the worker that gets it where that is told."""
    if isinstance(move, dict):
        return str(move.get("camera", "")), str(move.get("target") or "")
    return str(move), ""
