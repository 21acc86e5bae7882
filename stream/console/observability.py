"""For monitors: ``/metrics``, ``/healthz`` and ``/readyz``. The console's application mounts these routes.

What is read may take a moment (files, SQLite), so the answers are made in threads, not in the event loop.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from stream.console.lanes import Lane
from stream.console.metrics import DOWN, SCORING, WATCHED, Reading, camera_state, metrics_text
from stream.errors import StreamError
from stream.outbox import OutboxReader

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Media type of Prometheus' text format."""

_FRESH = {"Cache-Control": "no-store"}  # yesterday's "ready" from a proxy's cache would be a lie

_log = logging.getLogger(__name__)


def routes(
    *,
    status: Reading,
    outbox: Reading | None,
    metrics_allowed: Callable[[Request], bool],
) -> list[Route]:
    """The routes.

    Args:
        status: what worker and supervisor say now.
        outbox: what the store of alerts holds (:func:`outbox_reading`); None: nothing is said of it.
        metrics_allowed: whether a request may see the metrics, and the reasons of ``/readyz``.
    """

    lane = Lane("health and metrics", at_once=2, most_waiting=32, patience=10.0)  # whatever else takes long

    def read() -> bytes:
        found, known = _outbox(outbox)
        return metrics_text(_status(status), found, outbox_known=known)

    async def metrics(request: Request) -> Response:
        if not metrics_allowed(request):
            return _refused()
        return Response(await lane.run(read), media_type=METRICS_TYPE, headers=_FRESH)

    async def ready(request: Request) -> Response:
        return await lane.run(_ready, request)

    def _ready(request: Request) -> Response:
        reasons = not_ready(_status(status))
        answer = {"ready": not reasons, **(reasons if metrics_allowed(request) else {})}
        return JSONResponse(answer, status_code=503 if reasons else 200, headers=_FRESH)

    return [
        Route("/metrics", metrics, methods=["GET"]),
        Route("/healthz", _alive, methods=["GET"]),
        Route("/readyz", ready, methods=["GET"]),
    ]


def not_ready(status: Mapping[str, Any]) -> dict[str, Any]:
    """Why something is not watched now: ``reasons`` in words, and ``cameras`` with theirs. Empty where all is well."""
    reasons = list(_reasons(status))
    worker = status.get("worker", {})
    cameras = {
        name: f"{state}: {camera.get('reason', '')}"
        for name, camera in sorted(status.get("cameras", {}).items())
        if (state := camera_state(camera, up=worker.get("state") in SCORING)) not in WATCHED
    }
    if cameras:
        reasons.append(f"not watched: {', '.join(cameras)}")
    return {"reasons": reasons, "cameras": cameras} if reasons else {}


def outbox_reading(path: Path, evidence: Path) -> Reading:
    """Reads what an outbox holds, whenever it is called.

    Args:
        path: of the outbox.
        evidence: folder of its pictures.
    """

    def read() -> Mapping[str, Any]:
        with OutboxReader(path, evidence) as outbox:
            usage, last = outbox.usage(), outbox.last_seq()
            places = sorted(outbox.acknowledged().items())
        return {
            "last_seq": last,
            "alerts": usage.alerts,
            "bytes": usage.bytes,
            "subscribers": [{"name": name, "behind": last - seq} for name, seq in places],
        }

    return read


async def _alive(request: Request) -> Response:  # by the event loop itself: that is what is asked for
    return PlainTextResponse("ok\n", headers=_FRESH)


def _refused() -> Response:
    return PlainTextResponse(
        "for who has the token of console.metrics_token (Authorization: Bearer TOKEN), or asks from its own machine\n",
        status_code=401,
        headers={"WWW-Authenticate": "Bearer", **_FRESH},
    )


def _reasons(status: Mapping[str, Any]) -> Iterator[str]:
    worker, supervisor = status.get("worker", {}), status.get("supervisor", {})
    if (state := worker.get("state", "NOT_RUNNING")) != "RUNNING":
        yield f"the worker is {state}: {worker.get('reason', '')}"
    if supervisor.get("state") == "NOT_ANSWERING":
        yield f"the supervisor is NOT_ANSWERING: {supervisor.get('reason', '')}"
    for name, process in sorted(status.get("processes", {}).items()):
        if process.get("state") in DOWN:
            yield f"the process {name} is {process['state']}"


def _status(status: Reading) -> Mapping[str, Any]:
    try:
        return status()
    except StreamError as error:  # what cannot be asked is not well
        return {"worker": {"state": "NOT_ANSWERING", "reason": str(error)}}


def _outbox(outbox: Reading | None) -> tuple[Mapping[str, Any] | None, bool]:
    if outbox is None:
        return None, False
    try:
        return outbox(), True
    except StreamError as error:
        _log.warning("the metrics say nothing of the outbox: %s", error)
        return None, True
