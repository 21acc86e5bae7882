"""Keeps credentials out of names, logs and error messages. Anybody may import this module; it imports nothing of ours.

Camera addresses carry passwords, and people type them unescaped (``rtsp://admin:p@ss/w?rd@cam/1``), so that no URL
parser agrees with another on where the password ends. The rules here therefore fail closed: in doubt more is hidden
than needed, never less.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus, unquote

HIDDEN = "***"
"""What stands in place of something secret."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]{0,30}://")  # bounded, or a long word takes quadratic time
_TOKEN = re.compile(r"\S+")
_AUTHORITY = re.compile(r"(?:\[[0-9A-Fa-f:.]+(?:%[\w.\-]+)?\]|[\w.\-]*)(?::\d{0,5})?", re.ASCII)
# Some cameras take credentials in the path too (``/user=admin_password=x_channel=1``), so "=" alone marks a parameter.
# The short names at the end stand alone, or "codec=" and "spin=" would hide what comes after them.
_SECRET_PARAMETER = re.compile(
    r"(?:pass|pwd|psw|user|usr|login|auth|token|key|secret|sign|sig|cred|session|account|access)[\w.\-\[\]]*="
    r"|(?:pw|(?<![a-z])pin|(?<![a-z])(?:pin)?code)\d*=",
    re.IGNORECASE,
)


def redact_url(text: str) -> str:
    """``text`` without credentials: those before the host, and those in parameters with telling names.

    Everything up to the *last* ``@`` counts as credentials, and everything after the first telling parameter is hidden
    with it, for a raw ``&`` or ``#`` may belong to its value. Where what would be left is not a plain host, all after
    the scheme is hidden. A text without a scheme (a path, a mistyped URL) loses what looks like ``user:password@``.
    """
    scheme = _SCHEME.match(text)
    if scheme is None:
        return _redact_schemeless(text)
    return scheme[0] + _redact_after_scheme(text[scheme.end() :])


def redact_text(text: str, secrets: Iterable[str] = ()) -> str:
    """Free text with every URL in it redacted, and every one of ``secrets`` hidden in all its usual spellings.

    Args:
        text: for example the message of a library's exception.
        secrets: passwords, or whole URLs of which the credentials are hidden. Only these can be found where a password
            holds white space, since a URL in free text ends there.
    """
    for spelling, shown in sorted(_spellings(secrets), key=lambda pair: len(pair[0]), reverse=True):
        text = text.replace(spelling, shown)
    return _TOKEN.sub(lambda match: _redact_token(match[0]), text)


def _redact_after_scheme(rest: str) -> str:
    head, tail = rest, ""
    if parameter := _SECRET_PARAMETER.search(rest):
        if "@" in rest[parameter.end() :]:
            return HIDDEN  # a parameter's value or a password that reads like a parameter: cannot be told apart
        head, tail = rest[: parameter.end()], HIDDEN
    credentials, at, address = head.rpartition("@")
    authority = re.split(r"[/?#]", address, maxsplit=1)[0]
    if not _AUTHORITY.fullmatch(authority) or (at and not authority):
        return HIDDEN
    return f"{HIDDEN if credentials or at else ''}{at}{address}{tail}"


def _redact_schemeless(text: str) -> str:
    parameter = _SECRET_PARAMETER.search(text)
    credentials, at, address = text.rpartition("@")
    if parameter and (not at or parameter.end() > len(credentials)):
        text = text[: parameter.end()] + HIDDEN
        credentials, at, address = text.rpartition("@")
    elif parameter:
        return HIDDEN
    # Without a colon it is a file name like ``cam@2x.mp4``.
    return f"{HIDDEN}@{address}" if at and ":" in credentials else text


def _redact_token(token: str) -> str:
    scheme = _SCHEME.search(token)
    start = scheme.start() if scheme else 0
    bare = token.rstrip(".,;:!?)]}>'\"")
    # Punctuation of the sentence is no part of the URL, but it may be the end of a password: keep it only where
    # there is nothing to hide.
    if bare[start:] == redact_url(bare[start:]) and bare[:start] == _redact_schemeless(bare[:start]):
        return token
    return _redact_schemeless(token[:start]) + redact_url(token[start:])


def _spellings(secrets: Iterable[str]) -> Iterator[tuple[str, str]]:
    for secret in secrets:
        if scheme := _SCHEME.match(secret):
            yield secret, redact_url(secret)
            credentials, _, _ = secret[scheme.end() :].rpartition("@")
            hidden = {credentials, credentials.partition(":")[2]}
        else:
            hidden = {secret}
        for part in hidden:
            plain = (part, unquote(part), repr(part)[1:-1])
            for spelling in (*plain, quote(part), quote(part, safe=""), quote_plus(part)):
                lower_hex = re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), spelling)
                yield from ((form, HIDDEN) for form in {spelling, lower_hex} if form)
