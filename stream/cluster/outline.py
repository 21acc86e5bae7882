"""How a cluster is doing, in one JSON-able document: for ``cluster status``, the console and whoever asks the
directory.

A camera that nobody scores says so, with the reason; what a worker says of it counts as long as that worker answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stream.cluster.fleet import NETWORK_LABEL
from stream.cluster.model import Place, ReaderReport, StationState, WorkerReport
from stream.cluster.posts import Post
from stream.cluster.roster import Roster
from stream.cluster.scoring import AT_WORK, Scoring
from stream.config import Config
from stream.config_sections import CameraSection
from stream.health import CameraHealth
from stream.messages import CameraState, iso_time


@dataclass(slots=True)
class _Word:
    state: str
    reason: str
    since: float


class Outline:
    """Says how nodes, stations and cameras are doing.

    Args:
        roster: all stations.
        scoring: who scores what.
    """

    def __init__(self, roster: Roster, scoring: Scoring) -> None:
        self._roster, self._scoring = roster, scoring
        self._words: dict[str, _Word] = {}  # what the control itself said of cameras last

    def nodes(self) -> list[dict[str, Any]]:
        """Those that are here, by name, then those that were."""
        found: dict[str, dict[str, Any]] = {}
        for node in self._roster.nodes.values():
            told = self._node(node.id)
            name = told["name"] or node.id
            if name not in found or found[name]["state"] != StationState.RUNNING:  # else an earlier life of the same
                found[name] = told
        gone = [
            {"id": "", "name": node.name, "address": node.address, "state": str(StationState.GONE), "since": node.since}
            | {"reason": "its node is gone", "cpus": 0.0, "gpus": 0.0, "labels": {}}
            for node in self._roster.gone.values()
            if node.name not in found
        ]
        return [found[name] for name in sorted(found)] + sorted(gone, key=lambda node: str(node["name"]))

    def workers(self) -> list[dict[str, Any]]:
        """Every scoring worker."""
        loads, cameras = self._scoring.used(), self._scoring.handovers.cameras_of()
        return [
            {
                **self._station(name, node_id, post),
                "cameras": list(cameras.get(name, ())),
                "load": loads.get(name, 0.0),
                "capacity": self._scoring.loads[name].capacity if name in self._scoring.loads else None,
                "cached": list(post.report.cached) if post.report is not None else [],
                "fetching": dict(post.report.fetching) if post.report is not None else {},
                "status": dict(post.report.status) if post.report is not None else {},
            }
            for name, node_id, post in self._workers()
        ]

    def readers(self, read: Mapping[str, str]) -> list[dict[str, Any]]:
        """Every reader station.

        Args:
            read: camera -> station.
        """
        return [
            {
                **self._station(name, node_id, post),
                "cameras": sorted(camera for camera, station in read.items() if station == name),
            }
            for name, node_id, post in self._readers()
        ]

    def cameras(
        self, config: Config, places: Mapping[str, Place], read: Mapping[str, str], now: float
    ) -> dict[str, dict[str, Any]]:
        """Every camera of the configuration.

        Args:
            config: in force.
            places: of the cameras.
            read: camera -> reader station.
            now: Unix seconds.
        """
        known = {camera.id for camera in config.cameras}
        self._words = {camera: word for camera, word in self._words.items() if camera in known}
        return {
            camera.id: self._camera(camera, places[camera.id], read.get(camera.id, ""), now)
            for camera in config.cameras
        }

    def problems(self, fill: float) -> Iterator[str]:
        """What somebody should look at, of nodes and stations."""
        here = {self._roster.name_of(node_id) for node_id in self._roster.nodes}
        for node in self._roster.gone.values():
            if node.name not in here:
                yield f"node {node.name} ({node.address}) is gone since {iso_time(node.since)}"
        yield from self._shared_folders()
        yield from (f"worker {name} {post.problem}" for name, _, post in self._workers() if post.problem)
        yield from (f"reader station {name} {post.problem}" for name, _, post in self._readers() if post.problem)
        for name, part in sorted(self._scoring.used().items()):
            if part > fill:
                lost = "it passes frames over" if part > 1 else "there is no room elsewhere"
                yield (
                    f"worker {name} has {part:.0%} of its time given to cameras, above cluster.fill ({fill:.0%}): "
                    f"{lost}. Add a node, or lower the cameras' fps"
                )

    def _shared_folders(self) -> Iterator[str]:
        """Nodes that call themselves by one name: their folder is the same, or one is a copy of the other."""
        found: dict[str, set[str]] = {}
        for (node_id, _), post in self._roster.all():
            if post.answering and post.report is not None and node_id in self._roster.nodes:
                found.setdefault(post.report.node, set()).add(node_id)
        for name, ids in sorted(found.items()):
            if len(ids) > 1:
                addresses = ", ".join(sorted(self._roster.nodes[node_id].address for node_id in ids))
                yield (
                    f"{len(ids)} nodes are called {name} ({addresses}): each needs a folder of its own, on its own "
                    "disk and not a copy of another's; see 'cluster.folder' and SPADE_NODE_FOLDER"
                )

    def _workers(self) -> list[tuple[str, str, Post[WorkerReport]]]:
        """Name, id of the node, and post of each; of two lives of one worker the later."""
        found: dict[str, tuple[str, str, Post[WorkerReport]]] = {}
        for (node_id, index), post in self._roster.workers.items():
            name = post.report.worker if post.report is not None else f"{node_id[:12]}:{index}"
            if name not in found or post is self._scoring.workers.get(name):
                found[name] = name, node_id, post
        return [found[name] for name in sorted(found)]

    def _readers(self) -> list[tuple[str, str, Post[ReaderReport]]]:
        found: dict[str, tuple[str, str, Post[ReaderReport]]] = {}
        for (node_id, _), post in self._roster.readers.items():
            name = post.report.station if post.report is not None else f"{node_id[:12]}:readers"
            if name not in found or post.answering:
                found[name] = name, node_id, post
        return [found[name] for name in sorted(found)]

    def _station(self, name: str, node_id: str, post: Post[WorkerReport] | Post[ReaderReport]) -> dict[str, Any]:
        node = self._roster.name_of(node_id) or node_id
        return {"name": name, "node": node, "state": str(post.state), "reason": post.reason, "since": post.since}

    def _node(self, node_id: str) -> dict[str, Any]:
        node, posts = self._roster.nodes[node_id], [post for key, post in self._roster.all() if key[0] == node_id]
        since, state, reason = self._roster.since[node_id], StationState.RUNNING, ""
        if posts and not any(post.answering for post in posts):
            worst = max(posts, key=lambda post: post.state is not StationState.STARTING)
            state, reason, since = worst.state, worst.reason, worst.since
        return {
            "id": node_id,
            "name": self._roster.name_of(node_id),
            "address": node.address,
            "state": str(state),
            "reason": reason,
            "since": since,
            "cpus": node.cpus,
            "gpus": node.gpus,
            "labels": dict(node.labels),
        }

    def _camera(self, camera: CameraSection, place: Place, reader: str, now: float) -> dict[str, Any]:
        own = self._told_by_workers(camera.id, place.worker)
        blank = CameraHealth(camera.scene_name, scenes=camera.scene_names).to_json()
        rest = {"worker": place.worker, "reader": reader, "generation": place.generation}
        said = self._said_of(camera, place, reader, own)
        if said is None:
            self._words.pop(camera.id, None)
            return {**blank, **own, **rest}
        word = self._words.get(camera.id)
        if word is None or word.state != said[0]:
            word = self._words[camera.id] = _Word(*said, now)
        word.reason = said[1]
        return {**blank, **own, **rest, "state": word.state, "reason": word.reason, "since": iso_time(word.since)}

    def _said_of(
        self, camera: CameraSection, place: Place, reader: str, own: Mapping[str, Any]
    ) -> tuple[str, str] | None:
        """State and reason where the control knows better than the worker; None: it does not."""
        not_scored = str(CameraState.NOT_SCORED)
        if not place.worker:
            return not_scored, place.reason
        post = self._scoring.workers.get(place.worker)
        if post is None:  # the control has begun anew, or is cut off, and goes by what it knew
            return not_scored, f"worker {place.worker} does not answer"
        if post.state not in AT_WORK:
            return not_scored, f"worker {place.worker} is {post.state}: {post.reason or 'it is not at work yet'}"
        if not own:
            return not_scored, f"worker {place.worker} was told to score it, and has not said yet that it does"
        if own.get("state") != CameraState.NO_READER:
            return None
        if reader:
            return str(CameraState.NO_READER), f"{own.get('reason', '')} (its reader is to run at {reader})"
        if camera.network is not None:
            return not_scored, unreachable(camera.network)
        return str(CameraState.NO_READER), "no reader station answers"

    def _told_by_workers(self, camera: str, worker: str) -> Mapping[str, Any]:
        """What its worker says of it; that before, as long as the camera's reader is on its way."""
        now, before = self._told_by(camera, worker), self._scoring.handovers.still_scored_by(camera)
        if before is not None and now.get("state") != CameraState.LIVE:
            said_before = self._told_by(camera, before)
            if said_before.get("state") == CameraState.LIVE:
                return said_before
        return now

    def _told_by(self, camera: str, worker: str) -> Mapping[str, Any]:
        post = self._scoring.workers.get(worker)
        if post is None or post.report is None or post.state not in AT_WORK:
            return {}
        said = post.report.cameras.get(camera)
        return said if isinstance(said, Mapping) else {}


def unreachable(network: str) -> str:
    """Why a camera of a network has no reader."""
    return (
        f"no node that answers reaches its network: label one with {NETWORK_LABEL}={network}, or read it from outside "
        "the cluster with 'spade-stream read'"
    )
