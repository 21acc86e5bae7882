"""The application: all routes, what errors look like, and the guard before it. Importing it builds nothing."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute

from stream.console import api_alerts, api_cameras, api_cluster, api_galleries, api_session, pages
from stream.console.guard import Guard
from stream.console.models import in_words
from stream.console.parts import Parts
from stream.errors import StreamError
from stream.redact import redact_text

_log = logging.getLogger(__name__)

_DESCRIPTION = (
    "The console's API. Log in, and send X-Spade-CSRF with every request that changes something; or send the token as "
    "'Authorization: Bearer'. Times are ISO 8601 in UTC."
)


def make_app(parts: Parts, *, routes: Sequence[BaseRoute] = ()) -> Guard:
    """The application, guarded.

    Args:
        parts: what answers are made of.
        routes: further ones: of health and metrics.
    """
    app = FastAPI(
        title="spade-stream console",
        version=parts.version,
        description=_DESCRIPTION,
        # The pages that FastAPI brings for these load scripts from elsewhere; the description has a route of ours.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.parts = parts
    for module in (api_session, api_cameras, api_alerts, api_galleries, api_cluster, pages):
        app.include_router(module.router)
    app.router.routes.extend(routes)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(StreamError, _stream_error)
    app.add_exception_handler(Exception, _bug)
    names = {name.lower() for name in parts.config.console.names}
    return Guard(app, gate=parts.gate, names=names | {parts.config.console.endpoint.host.lower()} - {"*"})


def _answer(status: int, detail: str) -> JSONResponse:
    return JSONResponse({"detail": detail}, status)


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return JSONResponse({"detail": str(error.detail)}, error.status_code, error.headers)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return _answer(422, in_words(error.errors()))


async def _stream_error(request: Request, error: Exception) -> JSONResponse:
    """What the machine cannot do now, in its own words: they name file and remedy, and hold no secret."""
    _log.warning("%s %s: %s", request.method, request.url.path, error)
    return _answer(503, redact_text(str(error)))


async def _bug(request: Request, error: Exception) -> JSONResponse:
    return _answer(500, "something went wrong here; the console's log says what")
