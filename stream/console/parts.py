"""What the API is made of, built by ``server`` and handed to ``app``; and what its functions have in common."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fastapi import HTTPException, Request

from stream.config import Config
from stream.config_sections import CameraSection
from stream.console.alert_files import AlertFiles
from stream.console.auth import Gate, Identity
from stream.console.board import Board
from stream.console.budget import Budgets
from stream.console.events import Hub
from stream.console.galleries import Galleries
from stream.console.history import ScoreHistory
from stream.console.jobs import Busy, Job, Jobs, Kind, Task
from stream.console.lanes import Lane
from stream.console.launcher import Launcher
from stream.console.records import Action
from stream.console.store import Store
from stream.console.watcher import Watcher
from stream.errors import ConsoleStoreError, StreamError
from stream.messages import iso_time

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """Everything that answers are made of."""

    config: Config  # in force
    version: str  # of this program
    store: Store
    gate: Gate
    hub: Hub
    board: Board
    watcher: Watcher
    files: AlertFiles
    galleries: Galleries
    history: ScoreHistory
    reading: Lane  # for what reads files of scores
    budgets: Budgets
    jobs: Jobs
    launcher: Launcher
    pages: Path  # folder of index.html and what it loads
    secure_cookie: bool  # whether browsers may send the cookie over HTTPS only
    clock: Callable[[], float]  # Unix seconds

    def camera(self, camera_id: str) -> CameraSection:
        """A camera of the configuration. Raises HTTPException 404."""
        for camera in self.config.cameras:
            if camera.id == camera_id:
                return camera
        raise HTTPException(404, f"there is no camera {camera_id!r}")

    def scene(self, scene: str) -> str:
        """A scene of the configuration. Raises HTTPException 404."""
        if any(scene in camera.scene_names for camera in self.config.cameras):
            return scene
        raise HTTPException(404, f"there is no scene {scene!r}")

    def start_job(
        self,
        kind: Kind,
        words: tuple[str, ...],
        user: str,
        *,
        scene: str,
        camera: str | None = None,
        alert_id: str | None = None,
        detail: Mapping[str, Any],
        then: Callable[[Job], str] | None = None,
        changes_gallery: bool = True,
    ) -> Job:
        """Starts a command, with its entry in the audit trail.

        Args:
            kind: of job.
            words: of the command line; ``CONFIG`` stands for the configuration in force.
            user: who asks for it.
            scene: whose gallery it works on.
            camera: that it is about.
            alert_id: that it is about.
            detail: for the audit trail.
            then: called when it is done; returns what it could not do, in words, or nothing. The job is done even so.
            changes_gallery: whether the worker has to open a new version then.

        Raises:
            HTTPException: 409, another one is running.
        """

        def done(job: Job) -> Job:
            told = self._taken_up(job) if changes_gallery else job  # first: the gallery is changed in any case
            return told if then is None else _with(told, review_problem=_problem_of(then, told) or None)

        task = Task(kind, scene, self.launcher.argv(words), user, camera, alert_id)
        try:
            with self.store.recording(Action(user, kind, camera, scene, alert_id, detail), refused=(Busy,)) as entry:
                return self.jobs.start(task, then=done, ended=lambda job: self._note_end(entry, job))
        except Busy as error:
            raise HTTPException(409, str(error)) from None

    def _taken_up(self, job: Job) -> Job:
        """Has the worker open the new version; the result says where it could not be told."""
        problem = self.launcher.tell_worker()
        return _with(job, worker_told=not problem, worker_problem=problem or None)

    def _note_end(self, entry: int, job: Job) -> None:
        """The audit trail says how a job ended."""
        said = {"state": job.state, "at": iso_time(job.ended_at or self.clock()), "error": job.error}
        version = (job.result or {}).get("version")
        try:
            self.store.amend(entry, {"ended": {**said, "version": version}})
        except ConsoleStoreError as error:
            _log.error("the audit trail does not say how job %s ended: %s", job.id, error)


def _with(job: Job, **more: Any) -> Job:
    return replace(job, result={**(job.result or {}), **more})


def _problem_of(then: Callable[[Job], str], job: Job) -> str:
    try:
        return then(job)
    except StreamError as error:
        return str(error)


def parts_of(request: Request) -> Parts:
    """For the functions of the API."""
    parts: Parts = request.app.state.parts
    return parts


def identity_of(request: Request) -> Identity:
    """Who makes the request; the guard has made sure that there is somebody."""
    identity: Identity | None = request.state.identity
    if identity is None:  # a route that was called open by mistake: still nobody comes in
        raise HTTPException(401, "log in first")
    return identity
