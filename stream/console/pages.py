"""Routes: the page and what it loads, with fixed content types; and the link that logs a browser in."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, RedirectResponse, Response

from stream.console.api_session import note_login, set_cookie
from stream.console.guard import client_of
from stream.console.parts import Parts, parts_of

CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
}
"""What may be served, by the end of its name. What the system thinks a name means does not count."""

router = APIRouter(include_in_schema=False)


@router.get("/")
def page(request: Request) -> Response:
    """The console."""
    return _file(parts_of(request), "index.html")


@router.get("/login")
async def log_in_by_link(request: Request, token: str = Query("", max_length=256)) -> Response:
    """The login page; with a token opens a session and goes on to the console: the token leaves the address."""
    parts, address = parts_of(request), client_of(request.scope)
    if not token:
        return await run_in_threadpool(_file, parts, "index.html")
    if request.headers.get("sec-fetch-dest", "document") != "document":  # a picture or a frame in somebody's page
        raise HTTPException(403, "this link is for the address bar of a browser")
    found = await run_in_threadpool(parts.gate.log_in_by_token, token, address=address)
    if found is None:
        return RedirectResponse("/login", 303)
    session_id, session = found
    await run_in_threadpool(note_login, parts, session.user, address)
    response = RedirectResponse("/", 303)
    set_cookie(response, session_id, parts)
    return response


@router.get("/favicon.ico")
def icon(request: Request) -> Response:
    """Browsers ask for it by themselves."""
    return _file(parts_of(request), "favicon.svg")


@router.get("/static/{name:path}")
def static(name: str, request: Request) -> Response:
    """A file that the page loads."""
    return _file(parts_of(request), name)


def _file(parts: Parts, name: str) -> Response:
    folder = parts.pages.resolve()
    try:
        path = (folder / name).resolve()
        kind = CONTENT_TYPES.get(path.suffix)
        # A name may lead out of the folder, by dots or by a link; hidden files are nobody's business.
        is_page = path.is_relative_to(folder) and path.is_file() and not path.name.startswith(".")
    except (OSError, ValueError):  # longer than names are, or with a NUL
        kind, is_page = None, False
    if kind is None or not is_page:
        raise HTTPException(404, "there is no such page")
    return FileResponse(path, media_type=kind)
