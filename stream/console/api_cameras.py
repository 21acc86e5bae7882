"""Routes: what each camera shows and scores, and what operators set for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Query, Request, Response

from stream.config_sections import CameraSection
from stream.console.history import LONGEST
from stream.console.models import Enroll, Id, Sensitivity, Snooze, Zones, moment
from stream.console.parts import Parts, identity_of, parts_of
from stream.console.records import Action, Wanted
from stream.errors import SettingsConflict
from stream.live import LiveFrame
from stream.messages import iso_time
from stream.operator_settings import (
    OperatorSettings,
    change_settings,
    with_factor,
    with_snooze,
    with_zones,
    without_snooze,
)
from stream.zones import Zone

router = APIRouter(prefix="/api/v1/cameras")

CameraId = Annotated[Id, Path(description="id of a camera")]
MOST_EVENTS = 1000
"""Changes of state, and alerts, that come with scores."""

_DAY = 86_400.0


@router.get("")
def cameras(request: Request) -> dict[str, Any]:
    """Every camera of the configuration, as it is now."""
    look = parts_of(request).board.refresh()
    return {"cameras": list(look.cameras.values()), "revision": look.revision}


@router.get("/{camera}/view.jpg")
def view(camera: CameraId, request: Request) -> Response:
    """The newest live view (404 until there is one). Asking makes the camera watched for some seconds."""
    frame = _latest(parts_of(request), camera)
    if frame is None:
        raise HTTPException(404, "there is no live view yet")
    return Response(frame.view_jpeg, media_type="image/jpeg", headers=_of_frame(frame))


@router.get("/{camera}/heat.png")
def heat(camera: CameraId, request: Request) -> Response:
    """Where the newest view scores high, to be stretched over its heat_box (204 where it was not scored)."""
    frame = _latest(parts_of(request), camera)
    if frame is None or not frame.heat_png:
        return Response(status_code=204)
    return Response(frame.heat_png, media_type="image/png", headers=_of_frame(frame))


@router.get("/{camera}/scores")
async def scores(
    camera: CameraId,
    request: Request,
    since: Annotated[str | None, Query(alias="from", max_length=64)] = None,
    until: Annotated[str | None, Query(alias="to", max_length=64)] = None,
    points: Annotated[int, Query(ge=1, le=5000)] = 600,
) -> dict[str, Any]:
    """Scores over time, with the changes of state and the alerts in it. Without times: the last hour."""
    parts = parts_of(request)
    parts.camera(camera)
    first, last = _span(since, until, now=parts.clock())
    return await parts.reading.run_for(request, _scores, parts, camera, first, last, points) or {}


def _scores(parts: Parts, camera: str, first: float, last: float, points: int) -> dict[str, Any]:
    wanted = Wanted(camera=camera, since=first - _DAY, until=last)  # an alert may have begun before
    alerts = [a for a in parts.store.alerts(wanted, limit=MOST_EVENTS) if (a.ended_at or last) >= first]
    events = parts.files.events(camera, since=first, until=last, limit=MOST_EVENTS)
    return {
        "camera": camera,
        "from": iso_time(first),
        "to": iso_time(last),
        "threshold": parts.board.look.cameras[camera]["threshold"],
        "node": parts.board.look.cameras[camera]["node"],
        "buckets": parts.history.buckets(camera, since=first, until=last, points=points),
        "events": [{"t": iso_time(e.at_time), "state": str(e.state), "reason": e.reason} for e in events],
        "alerts": [
            {
                "alert_id": a.alert_id,
                "started_at": iso_time(a.started_at),
                "ended_at": None if a.ended_at is None else iso_time(a.ended_at),
                "peak": a.peak_strength,
            }
            for a in reversed(alerts)
        ],
    }


@router.get("/{camera}/budget")
async def budget(camera: CameraId, request: Request, days: Annotated[int, Query(ge=1, le=31)] = 7) -> dict[str, Any]:
    """How many alerts the stored scores would have given at other sensitivities."""
    parts = parts_of(request)
    parts.camera(camera)
    shown = parts.board.look.cameras[camera]
    calibrated, factor = shown["calibrated_threshold"], shown["threshold_factor"]
    found = await parts.budgets.of(camera, calibrated, factor=factor, days=days, request=request)
    asked = {"camera": camera, "days": days, "calibrated_threshold": calibrated, "factor": factor}
    return {**asked, "node": shown["node"], **found}


@router.put("/{camera}/sensitivity")
def set_sensitivity(camera: CameraId, body: Sensitivity, request: Request) -> dict[str, Any]:
    """Sets the camera's threshold to a multiple of the calibrated one."""
    parts = parts_of(request)
    before = parts.board.settings.of(camera).threshold_factor
    detail = {"before": before, "after": body.factor}
    return _change(request, camera, "sensitivity", detail, lambda s: with_factor(s, camera, body.factor), body.revision)


@router.put("/{camera}/zones")
def set_zones(camera: CameraId, body: Zones, request: Request) -> dict[str, Any]:
    """Replaces the zones that operators have drawn; those of the configuration stay."""
    parts = parts_of(request)
    section = parts.camera(camera)
    zones = tuple(_zone(zone.model_dump()) for zone in body.zones)
    before = [zone.to_json() for zone in parts.board.settings.of(camera).zones]
    detail = {"before": before, "after": [zone.to_json() for zone in zones]}
    part = parts.config.method.part

    def change(settings: OperatorSettings) -> OperatorSettings:
        return with_zones(settings, camera, zones, fixed=section.zones, part=part)

    return _change(request, camera, "zones", detail, change, body.revision)


@router.put("/{camera}/snooze")
def snooze(camera: CameraId, body: Snooze, request: Request) -> dict[str, Any]:
    """Starts no alerts of this camera for a while; it is scored all the same."""
    now = parts_of(request).clock()
    detail = {"after": iso_time(now + 60 * body.minutes), "reason": body.reason}

    def change(settings: OperatorSettings) -> OperatorSettings:
        return with_snooze(settings, camera, now=now, minutes=body.minutes, reason=body.reason)

    return _change(request, camera, "snooze", detail, change, body.revision)


@router.delete("/{camera}/snooze")
def wake(camera: CameraId, request: Request) -> dict[str, Any]:
    """Ends a snooze."""
    until = parts_of(request).board.settings.of(camera).snoozed_until
    detail = {"before": None if until is None else iso_time(until)}
    return _change(request, camera, "wake", detail, lambda settings: without_snooze(settings, camera), None)


@router.post("/{camera}/enroll")
def enroll(camera: CameraId, body: Enroll, request: Request) -> dict[str, Any]:
    """Watches the scene, which has to be normal meanwhile, and makes a new version of its gallery."""
    parts = parts_of(request)
    section = parts.camera(camera)
    scene = body.scene or section.scene_name
    if scene not in section.scene_names:
        raise HTTPException(404, f"camera {camera} has no scene {scene!r}; it has: {', '.join(section.scene_names)}")
    words: tuple[str, ...] = ("enroll", "CONFIG", "--camera", camera, "--seconds", f"{body.seconds:g}")
    if len(section.scene_names) > 1:  # the command asks for it then, also for the first one
        words += ("--scene", scene)
    detail = {"seconds": body.seconds}
    job = parts.start_job("enroll", words, identity_of(request).user, scene=scene, camera=camera, detail=detail)
    return {"job": job.to_json()}


def _latest(parts: Parts, camera: str) -> LiveFrame | None:
    parts.camera(camera)
    return parts.watcher.latest(camera)


def _of_frame(frame: LiveFrame) -> dict[str, str]:
    """So that whoever lays heat over a view can see that both are of one frame."""
    return {"X-Frame-Seq": str(frame.frame_seq), "X-Frame-Time": iso_time(frame.frame_time)}


def _span(since: str | None, until: str | None, *, now: float) -> tuple[float, float]:
    try:
        last = moment(until, otherwise=now)
        first = moment(since, otherwise=last - 3600)
        iso_time(first), iso_time(last)
    except (ValueError, OverflowError, OSError):
        raise HTTPException(422, "from and to are times as 2026-01-31T18:00:00Z") from None
    if not 0 < last - first <= LONGEST:
        raise HTTPException(422, f"'to' must be later than 'from', by {LONGEST / _DAY:g} days at most")
    return first, last


def _zone(fields: dict[str, Any]) -> Zone:
    try:
        return Zone.from_json({**fields, "polygon": [list(point) for point in fields["polygon"]]})
    except ValueError as error:
        raise HTTPException(422, str(error)) from None


def _change(
    request: Request,
    camera: str,
    action: str,
    detail: dict[str, Any],
    change: Callable[[OperatorSettings], OperatorSettings],
    revision: int | None,
) -> dict[str, Any]:
    """Changes what operators have set, with its entry in the audit trail, which comes first."""
    parts, user = parts_of(request), identity_of(request).user
    section: CameraSection = parts.camera(camera)
    try:
        done = Action(user, action, camera=camera, scene=section.scene_name, detail=detail)
        with parts.store.recording(done, refused=(SettingsConflict, ValueError)):
            settings = change_settings(parts.config.operator_settings, change, expected=revision)
    except SettingsConflict as error:
        raise HTTPException(409, str(error)) from None
    except ValueError as error:
        raise HTTPException(422, str(error)) from None
    parts.board.refresh()
    return {"revision": settings.revision}
