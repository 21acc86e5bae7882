"""Stands before the whole application: no request reaches it that may not, and no answer leaves without its headers.

Fails closed: what is not named here as open needs somebody who is logged in.
"""

from __future__ import annotations

import contextlib
import hmac
import json
from collections.abc import Collection, Mapping, MutableMapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stream.console.auth import COOKIE, Gate, Identity, TooManyAttempts
from stream.console.hosts import is_known, is_same_origin
from stream.errors import ConsoleError

MOST_BODY = 64 * 1024
"""Bytes of a request's body: zones of 64 points each fit many times over."""

CSRF_HEADER = "x-spade-csrf"
"""Carries the session's own word, which no other site can read."""

_SAFE = ("GET", "HEAD", "OPTIONS")
_OPEN = frozenset({"/", "/login", "/favicon.ico", "/healthz", "/readyz", "/metrics", "/api/v1/login"})
_OPEN_BELOW = "/static/"

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self'; "
    "connect-src 'self'; font-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


@dataclass(frozen=True, slots=True)
class _Refusal(Exception):
    """Why a request goes no farther."""

    status: int
    detail: str
    headers: Mapping[str, str]


def _refusal(status: int, detail: str, **headers: str) -> _Refusal:
    return _Refusal(status, detail, headers)


class Guard:
    """The outermost part of the application.

    Args:
        app: what it stands before; finds who makes the request in ``scope["state"]["identity"]``.
        gate: who may come in.
        names: host names beside addresses and ``localhost`` that this console is known by, in small letters.
    """

    def __init__(self, app: ASGIApp, *, gate: Gate, names: Collection[str]) -> None:
        self._app, self._gate, self._names = app, gate, frozenset(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # no other protocol is spoken here
        path, headers = scope["path"], Headers(scope=scope)
        answer = _with_headers(send, path)
        try:
            identity = await self._examine(scope, headers)
        except _Refusal as refusal:
            await _refuse(answer, refusal)
            return
        scope.setdefault("state", {})["identity"] = identity
        body = _Body(receive, answer)
        with contextlib.suppress(_TooLong):
            await self._app(scope, body.receive, body.send)
        if body.is_refused:
            await _refuse(answer, _refusal(413, f"the request has more than {MOST_BODY} bytes"))

    async def _examine(self, scope: Scope, headers: Headers) -> Identity | None:
        if not is_known(headers.get("host", ""), self._names):
            raise _refusal(421, "this console is not known by that host name: add it to console.names")
        _check_length(headers)
        identity = await self._identify(scope, headers)
        if identity is None and not _is_open(scope["path"]):
            raise _refusal(401, "log in first", **{"x-spade-login": self._gate.kind})  # what the login page asks for
        if scope["method"] not in _SAFE:
            _check_origin(headers)
            if identity is not None and identity.session is not None and scope["path"] != "/api/v1/login":
                _check_csrf(headers, identity.session.csrf)
        return identity

    async def _identify(self, scope: Scope, headers: Headers) -> Identity | None:
        kind, _, token = headers.get("authorization", "").partition(" ")
        try:
            # The metrics have a token of their own.
            if kind.lower() == "bearer" and scope["path"] != "/metrics":
                return await run_in_threadpool(self._gate.by_bearer, token.strip(), address=client_of(scope))
            if session_id := cookie_of(headers):
                return await run_in_threadpool(self._gate.by_cookie, session_id)
        except TooManyAttempts as error:
            raise _refusal(429, str(error), **{"Retry-After": str(error.wait)}) from None
        except ConsoleError as error:
            raise _refusal(503, str(error)) from None
        return None


def client_of(scope: Mapping[str, Any]) -> str:
    """The address that a request came from, as the socket says. What a proxy writes into headers is not believed."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def cookie_of(headers: Headers) -> str:
    """The session's id that a browser sent, or empty."""
    cookies: SimpleCookie = SimpleCookie()
    try:
        cookies.load(headers.get("cookie", "")[:8192])
    except CookieError:
        return ""
    found = cookies.get(COOKIE)
    return found.value if found is not None else ""


def _is_open(path: str) -> bool:
    return path in _OPEN or path.startswith(_OPEN_BELOW)


def _check_length(headers: Headers) -> None:
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()) or int(length[:20]) > MOST_BODY:
        raise _refusal(413, f"the request has more than {MOST_BODY} bytes")


def _check_origin(headers: Headers) -> None:
    origin = headers.get("origin")
    if origin is not None and not is_same_origin(origin, headers.get("host", "")):
        raise _refusal(403, "the request comes from another site")
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise _refusal(403, "the request comes from another site")


def _check_csrf(headers: Headers, csrf: str) -> None:
    given = headers.get(CSRF_HEADER, "")
    if not hmac.compare_digest(given.encode(), csrf.encode()):
        raise _refusal(403, f"the header {CSRF_HEADER} is missing or wrong: take it from /api/v1/me")


class _TooLong(Exception):
    pass


class _Body:
    """Counts what comes of a request whose length was not announced. What the application says to one that is cut off
    is not sent on: it may not have been told why."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._bytes, self._begun = 0, False
        self.is_refused = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._bytes += len(message.get("body", b""))
            if self._bytes > MOST_BODY and not self._begun:
                self.is_refused = True
                raise _TooLong
        return message

    async def send(self, message: Message) -> None:
        if not self.is_refused:
            self._begun = True
            await self._send(message)


def _with_headers(send: Send, path: str) -> Send:
    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            _set_headers(message, path)
        await send(message)

    return answer


def _set_headers(message: MutableMapping[str, Any], path: str) -> None:
    message.setdefault("headers", [])
    headers = MutableHeaders(scope=message)
    for name, value in _HEADERS.items():
        headers[name] = value
    if not path.startswith(_OPEN_BELOW):
        headers["Cache-Control"] = "no-store"  # pictures of people, and who is logged in
    else:
        headers.setdefault("Cache-Control", "no-cache")  # asked for again after an upgrade


async def _refuse(send: Send, refusal: _Refusal) -> None:
    body = json.dumps({"detail": refusal.detail}).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **refusal.headers}
    if refusal.status == 401:
        headers["www-authenticate"] = "Bearer"
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
