"""Routes: alerts, their pictures, what people say of them, and the audit trail."""

from __future__ import annotations

import base64
import binascii
import json
import math
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Path, Query, Request, Response
from fastapi.responses import FileResponse

from stream.console.alert_files import KINDS
from stream.console.jobs import Job
from stream.console.models import LARGEST, AlertId, Id, Normal, Review, moment
from stream.console.parts import Parts, identity_of, parts_of
from stream.console.records import Action, ReviewConflict, Seen, Wanted
from stream.console.summary import Summary, strength_of
from stream.messages import Alert, iso_time

router = APIRouter(prefix="/api/v1")

OfAlert = Annotated[AlertId, Path(description="id of an alert")]
_ENTRIES = 200  # of the audit trail that come with an alert
_LOOK_BACK_S = 30 * 86400.0  # s: over which ``gallery normal`` scores the history again, unless told otherwise
_MOST_REAL = 1000  # alerts named on its command line, whose length the system bounds


@router.get("/alerts")
def alerts(
    request: Request,
    camera: Annotated[Id | None, Query()] = None,
    since: Annotated[str | None, Query(alias="from", max_length=64)] = None,
    until: Annotated[str | None, Query(alias="to", max_length=64)] = None,
    review: Literal["open", "real", "false", "normal", "all"] = "all",
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    before: Annotated[str | None, Query(max_length=1024)] = None,
) -> dict[str, Any]:
    """Alerts by their start, the newest first."""
    store = parts_of(request).store
    wanted = Wanted(
        camera=camera,
        since=_time(since),
        until=_time(until),
        review=None if review == "all" else review,
        before=None if before is None else _read_cursor(before),
    )
    found = store.alerts(wanted, limit=limit + 1)
    more = len(found) > limit
    found = found[:limit]
    return {
        "alerts": [alert.to_json() for alert in found],
        "next": _cursor(found[-1]) if more else None,
        "counts": {"open": store.count_open()},
    }


@router.get("/alerts/{alert_id}")
def alert(alert_id: OfAlert, request: Request) -> dict[str, Any]:
    """One alert, with all that is kept of it."""
    parts = parts_of(request)
    summary = _summary(parts, alert_id)
    messages = parts.files.messages(alert_id)
    peak = _peak(messages)
    entries = parts.store.audit(alert_id=alert_id, limit=_ENTRIES)
    return {
        **summary.to_json(),
        "messages": [message.to_json() for message in messages],
        "why": {} if peak is None else dict(getattr(peak, "why", {})),
        "peak_seq": None if peak is None else peak.seq,
        "regions": [] if peak is None else peak.to_json()["regions"],
        "source_size": _source_size(parts, alert_id, peak),
        "neighbours": [] if peak is None else _neighbours(alert_id, peak),
        "history": [entry_json(entry) for entry in entries],
        "gallery_version": _gallery_version(parts, peak),
        "elsewhere": _elsewhere(parts, messages),
    }


@router.get("/alerts/{alert_id}/neighbours/{number}.jpg")
def neighbour(alert_id: OfAlert, number: Annotated[int, Path(ge=0, le=100_000)], request: Request) -> Response:
    """The normal frame that the alert's strongest one was compared with, small."""
    parts = parts_of(request)
    peak = _peak(parts.files.messages(alert_id))
    found = None
    if peak is not None and number < len(peak.neighbours):
        found = parts.galleries.thumbnail(peak.scene, peak.neighbours[number])
    if found is None:
        raise HTTPException(404, "the gallery does not have that frame any more")
    return Response(found, media_type="image/jpeg")


@router.get("/alerts/{alert_id}/{kind}")
def picture(
    alert_id: OfAlert,
    kind: Literal["snapshot.jpg", "view.jpg", "mask.png", "clip.mp4"],
    request: Request,
    seq: Annotated[int | None, Query(ge=1, le=LARGEST)] = None,
) -> Response:
    """A picture or the clip; ``seq`` names the message, else it is of the strongest. Parts of it may be asked for."""
    path = parts_of(request).files.file(alert_id, kind, seq=seq)
    if path is None:
        raise HTTPException(404, "this alert has no such picture, or retention has removed it")
    return FileResponse(path, media_type=KINDS[kind][1])


@router.post("/alerts/{alert_id}/review")
def review(alert_id: OfAlert, body: Review, request: Request) -> dict[str, Any]:
    """Says what an alert was; ``open`` takes that back. With ``expected`` only if its review is still that one."""
    parts, user = parts_of(request), identity_of(request).user
    before = _summary(parts, alert_id)
    detail = {"before": before.review, "after": body.verdict, "note": body.note}
    action = Action(user, "review", before.camera, before.scene, alert_id, detail)
    seen = None if body.expected is None else Seen(body.expected.review, body.expected.reviewed_at)
    try:
        after = parts.store.review(alert_id, body.verdict, body.note, action, expected=seen)
    except ReviewConflict as error:
        raise HTTPException(409, str(error)) from None
    if after is None:
        raise HTTPException(404, f"there is no alert {alert_id!r}")
    parts.hub.publish("alert", after.to_json())
    return after.to_json()


@router.post("/alerts/{alert_id}/normal")
def normal(alert_id: OfAlert, body: Normal, request: Request) -> dict[str, Any]:
    """Adds the alert's frame, or some of its regions, to the gallery; with ``dry_run`` only says what that would have
    silenced."""
    parts, user = parts_of(request), identity_of(request).user
    summary = _summary(parts, alert_id)
    words: tuple[str, ...] = ("gallery", "normal", "CONFIG", alert_id)
    for region in body.regions or ():
        words += ("--region", str(region))
    if body.regions and body.seen is not None:  # an alert that goes on may have a stronger message by now
        words += ("--seen", str(body.seen))
    if body.dry_run:
        words += ("--dry-run",)
    # So that the answer names first what must not be silenced.
    for real in parts.store.confirmed_real_in(summary.scene, since=parts.clock() - _LOOK_BACK_S, limit=_MOST_REAL):
        words += ("--real", real)

    def mark_normal(job: Job) -> str:
        result = job.result or {}
        versions = {name: result.get(name) for name in ("from", "version")}
        detail = {"before": summary.review, "after": "normal", **versions}
        action = Action(user, "review", summary.camera, summary.scene, alert_id, detail)
        after = parts.store.review(alert_id, "normal", summary.note, action, expected=Seen.of(summary))
        if after is None:
            return f"alert {alert_id} is gone: retention has removed it"
        parts.hub.publish("alert", after.to_json())
        return ""

    job = parts.start_job(
        "normal",
        words,
        user,
        scene=summary.scene,
        camera=summary.camera,
        alert_id=alert_id,
        detail={"regions": body.regions, "dry_run": body.dry_run},
        then=None if body.dry_run else mark_normal,
        changes_gallery=not body.dry_run,
    )
    return {"job": job.to_json()}


@router.get("/audit")
def audit(
    request: Request,
    camera: Annotated[Id | None, Query()] = None,
    alert_id: Annotated[AlertId | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before: Annotated[int | None, Query(ge=0, le=LARGEST)] = None,
) -> dict[str, Any]:
    """Who did what, the newest first."""
    found = parts_of(request).store.audit(camera=camera, alert_id=alert_id, before=before, limit=limit + 1)
    more = len(found) > limit
    found = found[:limit]
    return {"entries": [entry_json(entry) for entry in found], "next": found[-1]["id"] if more else None}


def entry_json(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry of the audit trail as the API shows it."""
    return {**entry, "at": iso_time(entry["at"])}


def _summary(parts: Parts, alert_id: str) -> Summary:
    found = parts.store.alert(alert_id)
    if found is None:
        raise HTTPException(404, f"there is no alert {alert_id!r}")
    return found


def _peak(messages: list[Alert]) -> Alert | None:
    """The strongest message; of equals the first."""
    return max(messages, key=lambda message: (strength_of(message), -message.seq), default=None)


def _neighbours(alert_id: str, peak: Alert) -> list[dict[str, Any]]:
    base = f"/api/v1/alerts/{quote(alert_id, safe='')}/neighbours"
    shown: list[dict[str, Any]] = peak.to_json()["neighbours"]
    return [{**one, "thumbnail": f"{base}/{number}.jpg"} for number, one in enumerate(shown)]


def _gallery_version(parts: Parts, peak: Alert | None) -> str | None:
    """Of the gallery that the alert was compared with; None where no version fits any more."""
    if peak is None or not peak.neighbours:
        return None
    gallery = parts.galleries.version_with(peak.scene, peak.neighbours[0])
    return None if gallery is None else gallery.version


def _elsewhere(parts: Parts, messages: list[Alert]) -> dict[str, str] | None:
    """The outbox of another machine, which keeps its frame and its clean view; None = it is this machine."""
    outbox = next((message.outbox for message in reversed(messages) if message.outbox), "")
    if not outbox or any(message.frame for message in messages):
        return None
    known = (parts.board.cluster() or {}).get("outboxes", ())
    node = next((str(each.get("node", "")) for each in known if each.get("id") == outbox), "")
    return {"outbox": outbox, "node": node}


def _source_size(parts: Parts, alert_id: str, peak: Alert | None) -> list[int] | None:
    """Width and height of the frame, as its mask says, which has just that size."""
    path = None if peak is None else parts.files.file(alert_id, "mask.png", seq=peak.seq)
    if path is None:
        return None
    with path.open("rb") as file:
        head = file.read(24)
    if head[:8] != b"\x89PNG\r\n\x1a\n" or head[12:16] != b"IHDR":
        return None
    return [int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")]


def _time(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return moment(text, otherwise=0.0)
    except (ValueError, OverflowError):
        raise HTTPException(422, "from and to are times as 2026-01-31T18:00:00Z") from None


def _cursor(alert: Summary) -> str:
    return base64.urlsafe_b64encode(json.dumps([alert.started_at, alert.alert_id]).encode()).decode()


def _read_cursor(text: str) -> tuple[float, str]:
    try:
        started, alert_id = json.loads(base64.urlsafe_b64decode(text.encode("ascii")))
        if not (isinstance(alert_id, str) and math.isfinite(started)):
            raise ValueError
        alert_id.encode()  # half a pair of surrogates is no text that the store can look for
        return float(started), alert_id
    except (ValueError, TypeError, OverflowError, binascii.Error, RecursionError):
        raise HTTPException(422, "'before' is not what 'next' gave") from None
