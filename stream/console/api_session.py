"""Routes: logging in and out, who one is, how the machine is, and the description of this API."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import StreamingResponse

from stream.console.auth import TooManyAttempts
from stream.console.events import TooManyBrowsers, encode_event
from stream.console.guard import client_of
from stream.console.models import Login
from stream.console.parts import Parts, identity_of, parts_of
from stream.console.records import Action
from stream.errors import ConsoleStoreError

_log = logging.getLogger(__name__)

router = APIRouter(prefix="/api/v1")

COOKIE_FOR = 400 * 86_400
"""Seconds for which browsers keep the cookie: as long as any. The session ends long before that if nobody uses it."""


@router.post("/login")
def log_in(body: Login, request: Request, response: Response) -> dict[str, Any]:
    """Opens a session: with a user's name and password, or with the token."""
    parts, address = parts_of(request), client_of(request.scope)
    try:
        if body.token:
            found = parts.gate.log_in_by_token(body.token, address=address)
        else:
            found = parts.gate.log_in(body.user, body.password, address=address)
    except TooManyAttempts as error:
        raise HTTPException(429, str(error), {"Retry-After": str(error.wait)}) from None
    if found is None:
        raise HTTPException(401, "wrong token" if body.token else "wrong user name or password")
    session_id, session = found
    set_cookie(response, session_id, parts)
    note_login(parts, session.user, address)
    return {"user": session.user, "csrf": session.csrf}


@router.post("/logout")
def log_out(request: Request, response: Response) -> dict[str, Any]:
    """Ends the session."""
    parts, identity = parts_of(request), identity_of(request)
    if identity.session is not None:
        parts.gate.log_out(identity.session)
    response.delete_cookie(parts.gate.cookie, path="/", httponly=True, samesite="strict", secure=parts.secure_cookie)
    return {}


@router.get("/me")
def me(request: Request) -> dict[str, Any]:
    """Who one is, and the word that unsafe requests have to carry in ``X-Spade-CSRF``."""
    parts, identity = parts_of(request), identity_of(request)
    csrf = None if identity.session is None else identity.session.csrf
    return {"user": identity.user, "csrf": csrf, "version": parts.version, "auth": parts.gate.kind}


@router.get("/status")
def status(request: Request) -> dict[str, Any]:
    """How the worker, the other processes, the feed and the configuration are."""
    return parts_of(request).board.status()


@router.get("/openapi.json", include_in_schema=False)
def openapi(request: Request) -> dict[str, Any]:
    """This API, described."""
    described: dict[str, Any] = request.app.openapi()
    return described


@router.get("/stream")
async def stream(request: Request, live: str = Query("", max_length=8192)) -> StreamingResponse:
    """What changes, as it happens (server-sent events). ``live`` names cameras whose views are wanted, with commas;
    ``*`` stands for all."""
    parts, identity = parts_of(request), identity_of(request)
    known = {camera.id for camera in parts.config.cameras}
    try:
        browser = parts.hub.join(frozenset(known if live == "*" else known.intersection(live.split(","))))
    except TooManyBrowsers:
        raise HTTPException(503, "too many browsers watch already") from None

    async def events() -> AsyncIterator[str]:
        try:
            yield encode_event("hello", {"version": parts.version})
            yield encode_event("feed", {"connected": parts.board.feed_answers})
            async for text in browser.texts(is_welcome=lambda: parts.gate.is_alive(identity)):
                yield text
        finally:
            parts.hub.leave(browser)

    return StreamingResponse(events(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


def set_cookie(response: Response, session_id: str, parts: Parts) -> None:
    """Hands a browser its session. How long that lasts is for the server to say: with every use it lasts on."""
    response.set_cookie(
        parts.gate.cookie,
        session_id,
        max_age=COOKIE_FOR,
        path="/",
        httponly=True,
        samesite="strict",
        secure=parts.secure_cookie,
    )


def note_login(parts: Parts, user: str, address: str) -> None:
    """Notes in the audit trail who came in. A full disk keeps nobody out who wants to see what is going on."""
    try:
        parts.store.record(Action(user, "login", detail={"address": address}))
    except ConsoleStoreError as error:
        _log.error("a login of %s is not in the audit trail: %s", user, error)
