"""Stands before the whole application: no request reaches it that may not, and no answer leaves without its headers.

Fails closed: what is not named here as open needs somebody who is logged in.
"""

from __future__ import annotations

import contextlib
import hmac
import json
from collections.abc import Collection, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, NoReturn

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stream.console.auth import Gate, Identity
from stream.console.hosts import is_known, is_same_origin
from stream.console.lanes import Crowded, Lane
from stream.errors import ConsoleError

MOST_BODY = 64 * 1024
"""Bytes of a request's body: zones of 64 points each fit many times over."""

BODY_WITHIN = 10.0
"""Seconds for a request's body: who sends none must not hold a connection for ever."""

CSRF_HEADER = "x-spade-csrf"
"""Carries the session's own word, which no other site can read."""

_SAFE = ("GET", "HEAD", "OPTIONS")
_OPEN = frozenset({"/", "/login", "/favicon.ico", "/healthz", "/readyz", "/metrics", "/api/v1/login"})
_OPEN_BELOW = "/static/"
_FOR_MONITORS = frozenset({"/healthz", "/readyz", "/metrics"})  # which have a token of their own, or none

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
        self._lane = Lane("a login", at_once=8, most_waiting=256, patience=10.0)

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
        with contextlib.suppress(_CutOff):
            await self._app(scope, body.receive, body.send)
        if body.refusal is not None:
            await _refuse(answer, body.refusal)

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
        if scope["path"] in _FOR_MONITORS:
            return None
        kind, _, token = headers.get("authorization", "").partition(" ")
        try:
            if kind.lower() == "bearer":
                return self._gate.by_bearer(token.strip(), address=client_of(scope))
            if session_id := cookie_of(headers, self._gate.cookie):
                return await self._lane.run(self._gate.by_cookie, session_id)
        except (ConsoleError, Crowded) as error:
            raise _refusal(503, str(error)) from None
        return None


def client_of(scope: Mapping[str, Any]) -> str:
    """The address that a request came from, as the socket says. What a proxy writes into headers is not believed."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def cookie_of(headers: Headers, name: str) -> str:
    """The session's id that a browser sent, or empty. Other programs on this host may have set the oddest cookies."""
    for part in ";".join(headers.getlist("cookie")).split(";"):
        found, _, value = part.partition("=")
        if found.strip() == name:
            return value.strip()
    return ""


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


class _CutOff(Exception):
    pass


class _Body:
    """Counts what comes of a request whose length was not announced, and waits for it no longer than BODY_WITHIN. What
    the application says to one that is cut off is not sent on: it may not have been told why."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._bytes, self._begun, self._whole = 0, False, False
        self._deadline = anyio.current_time() + BODY_WITHIN
        self.refusal: _Refusal | None = None

    async def receive(self) -> Message:
        if self._whole or self._begun:  # what comes now is that the browser has gone
            return await self._receive()
        try:
            with anyio.fail_after(max(0.0, self._deadline - anyio.current_time())):
                message = await self._receive()
        except TimeoutError:
            self._cut(_refusal(408, f"the request has not come within {BODY_WITHIN:g} s"))
        if message["type"] == "http.request":
            self._bytes += len(message.get("body", b""))
            self._whole = not message.get("more_body", False)
            if self._bytes > MOST_BODY:
                self._cut(_refusal(413, f"the request has more than {MOST_BODY} bytes"))
        return message

    def _cut(self, refusal: _Refusal) -> NoReturn:
        self.refusal = refusal
        raise _CutOff

    async def send(self, message: Message) -> None:
        if self.refusal is None:
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
