"""A campus on one machine: cameras that are recordings, a Ray cluster of several nodes, and one ``run --cluster``.

Everything is what users start, as processes of their own; here it is put together, asked, and taken apart again.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from stream.bench.clips import CLIP_SECONDS, Film, Footage
from stream.bench.local_ray import LocalRay, free_port
from stream.cluster.directory_client import DirectoryAddress, DirectoryClient
from stream.cluster.run_keys import keys_of
from stream.config import Config, build_config
from stream.errors import StreamError
from stream.keys import load_local
from stream.operator_settings import change_settings, with_factor
from stream.stopping import StopSignal

COPIES = 3
"""Nodes that keep a copy of a gallery ready: so many that whoever takes a camera over has it."""

SENSITIVE = 0.7
"""Of the threshold: small pictures at a low rate show little of what happens, and alerts are what is counted."""

RUN_END = 40.0
"""Seconds for a run to end: it has 16 by itself, on a machine that is not busy."""

_LOOK_EVERY = 0.25  # s between two questions
_ANSWER_WAIT = 10.0  # s for the directory, on a machine that is busy
_NO_CAP = 100_000  # alerts an hour: a cap would end what is to be counted


def described(footage: Footage) -> dict[str, Any]:
    """What the cameras of a site show and how they are scored, JSON-able."""
    return {
        "picture": "x".join(map(str, footage.picture)),
        "fps": footage.fps,
        "gallery_frames": footage.gallery_frames,
        **{name: dict(section) for name, section in footage.method.items()},
    }


def site_settings(films: Sequence[Film], footage: Footage, folder: Path, *, worker_cpus: int = 1) -> dict[str, Any]:
    """The configuration of a run in this folder, one camera and one scene for each film; makes its galleries."""
    names = [f"cam-{number:02}" for number in range(1, len(films) + 1)]
    for name, film in zip(names, films, strict=True):
        if not (folder / "galleries" / name).exists():
            shutil.copytree(film.gallery, folder / "galleries" / name, copy_function=_linked)
    return {
        "state": "state",
        "cameras": [
            {
                "id": name,
                "source": f"loop:{film.clip.resolve()}",
                "fps": footage.fps,
                "mode": "live",
                # Each at another place in its clip: what happens at one does not happen at all others with it.
                "start": round(CLIP_SECONDS * number / len(films), 3),
            }
            for number, (name, film) in enumerate(zip(names, films, strict=True))
        ],
        "gallery": {"folder": "galleries"},
        **footage.method,
        # One frame is enough: at a frame a second an event is soon over, and alerts are what is counted.
        "alerts": {"max_alerts_per_hour": _NO_CAP, "min_duration": 0},
        "feed": {"endpoint": f"tcp://127.0.0.1:{free_port()}"},
        "console": {"enabled": False},
        "cluster": {
            "folder": "node",
            "directory": f"tcp://*:{free_port()}",
            "worker_cpus": worker_cpus,
            "copies": COPIES,
        },
    }


def _linked(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)
    return target


@dataclass(slots=True)
class Site:
    """A run over the nodes of a local Ray cluster. Use as a context manager: at its end nothing of it runs any more.

    Args:
        folder: of the configuration; new or of an earlier time.
        settings: from :func:`site_settings`.
        stopping: polled while something is waited for.
    """

    folder: Path
    settings: Mapping[str, Any]
    stopping: Callable[[], bool] = lambda: False
    ray: LocalRay = field(init=False)
    config: Config = field(init=False)
    process: subprocess.Popen[bytes] | None = None
    _client: DirectoryClient | None = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path.write_text(yaml.safe_dump(dict(self.settings), sort_keys=False), encoding="utf-8")
        self.config = build_config(dict(self.settings), where="site", base=self.folder.resolve(), environment={})
        nodes = self.folder / "nodes"
        nodes.mkdir(exist_ok=True)
        self.ray = LocalRay(nodes)
        if isinstance(self.stopping, StopSignal):
            self.stopping.at_second(self.kill)

    def kill(self) -> None:
        """Kills all of it at once and waits for nothing; for a signal handler. The run's own processes end with it."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
        self.ray.kill_all()

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def path(self) -> Path:
        """Of the configuration."""
        return self.folder / "site.yaml"

    @property
    def log(self) -> Path:
        """What the run says."""
        return self.folder / "run.log"

    def start(self, nodes: Mapping[str, int]) -> None:
        """Starts the head, so many nodes with so many cores, and the run."""
        self.ray.start_head(stopping=self.stopping)
        for name, cpus in nodes.items():
            self.ray.add(name, cpus=cpus)
        self.ray.await_joined(stopping=self.stopping)
        self.start_run()

    def start_run(self) -> None:
        """Starts ``run --cluster``, with cameras that are more sensitive than calibrated, so that all have alerts."""
        make_sensitive(self.config)
        command = [sys.executable, "-m", "stream", "run", str(self.path), "--cluster", self.ray.address]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                env=self.ray.surroundings,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def document(self) -> dict[str, Any]:
        """What the control says now; empty while it does not answer."""
        try:
            if self._client is None:
                port = self.config.cluster.directory.rpartition(":")[2]
                address = DirectoryAddress(f"tcp://127.0.0.1:{port}", load_local(keys_of(self.config)))
                self._client = DirectoryClient(address.endpoint, secure=address.secure())
            return dict(self._client.fetch_cluster(_ANSWER_WAIT))
        except StreamError:
            return {}

    def wait(self, condition: Callable[[Mapping[str, Any]], Any], what: str, *, seconds: float) -> dict[str, Any]:
        """Asks the control again and again until something is so, and returns what it said then.

        Raises:
            StreamError: it never was; or the run ended, or it was told to stop.
        """
        deadline = time.monotonic() + seconds
        while True:
            document = self.document()
            if document and condition(document):
                return document
            if self.process is not None and self.process.poll() is not None:
                raise StreamError(f"the run has ended (exit code {self.process.returncode}); see {self.log}")
            if self.stopping():
                raise StreamError("stopped")
            if time.monotonic() > deadline:
                raise StreamError(f"not within {seconds:g} s: {what}. {in_short(document)}; see {self.log}")
            time.sleep(_LOOK_EVERY)

    def stop_run(self) -> tuple[int, float]:
        """SIGTERM, and its exit code and seconds until then. One that does not end is killed."""
        if self.process is None:
            return 0, 0.0
        began = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(RUN_END)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self.process = None
        return code, time.monotonic() - began

    def close(self) -> None:
        """Ends the run, then all nodes. May be called twice."""
        try:
            self.stop_run()
        finally:
            if self._client is not None:
                self._client.close()
                self._client = None
            self.ray.close()


def make_sensitive(config: Config) -> None:
    """Sets all cameras' thresholds lower, as operators do it."""
    config.state.mkdir(mode=0o700, exist_ok=True)
    for camera in config.cameras:
        change_settings(config.operator_settings, partial(with_factor, camera=camera.id, factor=SENSITIVE))


def scored(camera: Mapping[str, Any]) -> bool:
    """Whether its worker scores it now."""
    return camera.get("state") == "LIVE" and bool(camera.get("scored"))


def all_scored(document: Mapping[str, Any], *, cameras: int) -> bool:
    """Whether so many cameras are scored now."""
    return sum(map(scored, document.get("cameras", {}).values())) == cameras


def spread(document: Mapping[str, Any]) -> dict[str, int]:
    """How many cameras each worker that lives has."""
    alive = [str(each["name"]) for each in document.get("workers", ()) if each["state"] not in ("GONE", "SILENT")]
    having = [camera.get("worker") for camera in document.get("cameras", {}).values()]
    return {name: having.count(name) for name in alive}


def in_short(document: Mapping[str, Any]) -> str:
    """A document in one line, for an error."""
    if not document:
        return "The directory does not answer"
    states: dict[str, int] = {}
    for camera in document.get("cameras", {}).values():
        states[str(camera.get("state"))] = states.get(str(camera.get("state")), 0) + 1
    reasons = sorted({str(c.get("reason")) for c in document.get("cameras", {}).values() if c.get("reason")})
    return f"Cameras {states}, workers {spread(document)}, {'; '.join(reasons[:3])}"
