"""Routes: galleries and their versions, and the jobs that change them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Request

from spade_core.errors import GalleryNotFound, SpadeError
from stream.console.candidates import candidates_of
from stream.console.jobs import Job
from stream.console.models import Follow, Id, JobId, Use
from stream.console.parts import Parts, identity_of, parts_of
from stream.console.records import Action

router = APIRouter(prefix="/api/v1")

Scene = Annotated[Id, Path(description="name of a scene")]
OfJob = Annotated[JobId, Path(description="id of a job")]


@router.get("/galleries/{scene}")
def gallery(scene: Scene, request: Request) -> dict[str, Any]:
    """The versions of a scene's gallery, and which one is in force."""
    parts = parts_of(request)
    try:
        versions = parts.galleries.versions(parts.scene(scene))
    except GalleryNotFound:
        versions = []
    except SpadeError as error:
        raise HTTPException(503, str(error)) from None
    in_force = next((version["version"] for version in versions if version["in_force"]), None)
    return {"scene": scene, "in_force": in_force, "versions": versions}


@router.post("/galleries/{scene}/use")
def use(scene: Scene, body: Use, request: Request) -> dict[str, Any]:
    """Puts another version in force: undo, or redo."""
    parts = parts_of(request)
    folder = parts.config.gallery_of(parts.scene(scene))
    before = parts.galleries.in_force(scene)[0]
    words: tuple[str, ...] = ("gallery", "use", str(folder), body.version)
    if parts.config.gallery.store is not None:
        words += ("--config", "CONFIG")  # the other machines are to get it, too
    detail = {"before": before and before["version"], "after": body.version}
    job = parts.start_job("use", words, identity_of(request).user, scene=scene, detail=detail)
    return {"job": job.to_json()}


@router.get("/galleries/{scene}/follow")
def candidates(scene: Scene, request: Request) -> dict[str, Any]:
    """Frames that wait to be taken into the gallery, so that it follows season and light."""
    parts = parts_of(request)
    return candidates_of(parts.config.state / "drift" / parts.scene(scene))


@router.post("/galleries/{scene}/follow")
def follow(scene: Scene, body: Follow, request: Request) -> dict[str, Any]:
    """Takes them in, as far as the guard against poisoning lets them."""
    parts = parts_of(request)
    words: tuple[str, ...] = ("gallery", "follow", "CONFIG", "--scene", parts.scene(scene))
    if body.dry_run:
        words += ("--dry-run",)
    job = parts.start_job(
        "follow",
        words,
        identity_of(request).user,
        scene=scene,
        detail={"dry_run": body.dry_run},
        changes_gallery=not body.dry_run,
    )
    return {"job": job.to_json()}


@router.get("/jobs")
def jobs(request: Request) -> dict[str, Any]:
    """What runs, and what has ended lately, the newest first."""
    return {"jobs": [job.to_json() for job in parts_of(request).jobs.all()]}


@router.get("/jobs/{job_id}")
def job(job_id: OfJob, request: Request) -> dict[str, Any]:
    """One job."""
    return _job(parts_of(request), job_id).to_json()


@router.post("/jobs/{job_id}/cancel")
def cancel(job_id: OfJob, request: Request) -> dict[str, Any]:
    """Asks a job to end. What it had begun is not kept."""
    parts, user = parts_of(request), identity_of(request).user
    found = _job(parts, job_id)
    if found.state == "running":
        task = found.task
        detail = {"job": job_id, "kind": task.kind}
        with parts.store.recording(Action(user, "cancel", task.camera, task.scene, task.alert_id, detail)):
            found = parts.jobs.cancel(job_id) or found
    return found.to_json()


def _job(parts: Parts, job_id: str) -> Job:
    found = parts.jobs.get(job_id)
    if found is None and parts.jobs.is_of_another_run(job_id):
        raise HTTPException(404, "the console was started again; what ran then has ended")
    if found is None:
        raise HTTPException(404, f"there is no job {job_id!r}")
    return found
