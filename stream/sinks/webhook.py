"""Alerts as signed HTTP requests. An answer of 2xx means that an alert is delivered.

What the receiver may do about duplicates: ``Idempotency-Key`` is the same each time a message comes. Redirects are not
followed: a signed alert with pictures goes where the configuration says, and nowhere else.
"""

from __future__ import annotations

import base64
import json
import logging
import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from stream import __version__
from stream.errors import SinkError, SinkRefused
from stream.messages import Alert, Evidence
from stream.redact import HIDDEN, redact_text
from stream.sink_sections import Picture, WebhookSection
from stream.sinks.base import identity_text, without_pictures
from stream.sinks.deadline import Deadline
from stream.sinks.secret_file import secret_of
from stream.sinks.signature import SIGNATURE_HEADER, signature
from stream.sinks.trial import trial_alert, trial_evidence
from stream.sinks.webhook_template import Template

_NEVER = (400, 410, 413, 415, 422)
"""Answers that concern the message itself. All others are waited for: a key or an address that is wrong is mended one
day (401, 403, 404, a redirect), and what came meanwhile is not lost."""

_MOST_ANSWER = 64 << 10  # bytes of an answer that are read: only its beginning is of use, in an error
_MOST_SHOWN = 200  # characters of it
_SHORT = 8  # characters of a part of the URL that are no secret: nobody makes a token so short

_FILES: Mapping[Picture, tuple[str, str]] = {
    "snapshot": ("snapshot.jpg", "image/jpeg"),
    "mask": ("mask.png", "image/png"),
    "clip": ("clip.mp4", "video/mp4"),
}


class WebhookSink:
    """See the module.

    Args:
        section: of the configuration.
        wall: Unix seconds, for signatures.

    Raises:
        SinkError: a secret, a certificate or a template cannot be used.
    """

    def __init__(self, section: WebhookSection, *, wall: Callable[[], float] = time.time) -> None:
        self._section, self._wall = section, wall
        self._secret = secret_of(section.secret, section.secret_file)
        self._template = None if section.template is None else _template(section)
        self._client = httpx.Client(
            timeout=section.timeout,
            follow_redirects=False,
            verify=_trusted(section),
            trust_env=False,
            limits=httpx.Limits(max_keepalive_connections=0),  # see Deadline; alerts are seldom
        )
        values = [value for value in section.values.values() if len(value) >= _SHORT]
        secrets = [*_words_of(section.url), *section.headers.values(), *values, self._secret or ""]
        self._hidden = sorted(filter(None, secrets), key=len, reverse=True)  # a longer one may hold a shorter one
        for library in ("httpx", "httpcore"):  # they log the whole URL, and httpx does so at the usual level
            logging.getLogger(library).setLevel(logging.WARNING)

    def deliver(self, alert: Alert, evidence: Evidence) -> bool:
        """Posts the alert, unless its phase is left out; see :meth:`stream.sinks.base.Sink.deliver`."""
        if self._client.is_closed:
            raise SinkError("the webhook is closed")
        if str(alert.phase) not in self._section.phases:
            return False
        try:
            status, headers, beginning = self._send(self._request(alert, evidence))
        except httpx.TimeoutException:
            raise SinkError(f"{self._place} gave no whole answer within {self._section.timeout:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, OSError) as error:
            problem = self._clean(error) or type(error).__name__
            raise SinkError(f"{self._place} cannot be reached, or broke off: {problem}") from None
        if not 200 <= status < 300:
            raise self._failure(status, headers, beginning)
        return True

    def check(self) -> None:
        """Raises SinkError where no request could be made of the section; sends nothing."""
        try:
            self._request(trial_alert(0.0), trial_evidence())
        except (httpx.InvalidURL, UnicodeError) as error:
            raise SinkError(f"{self._place}: 'url' cannot be used: {self._clean(error)}") from None

    def close(self) -> None:
        """Ends the connections. May be called twice."""
        self._client.close()

    def __repr__(self) -> str:
        return f"WebhookSink({self._place})"

    @property
    def _place(self) -> str:
        return f"webhook {self._section.name} ({place_of(self._section.url)})"

    def _request(self, alert: Alert, evidence: Evidence) -> httpx.Request:
        pictures = dict(_pictures(self._section, evidence))
        document = self._document(alert, pictures)
        body = json.dumps(document, separators=(",", ":")).encode()
        headers = {
            "User-Agent": f"spade-stream/{__version__}",
            **self._section.headers,
            "Idempotency-Key": quote(identity_text(alert), safe="/"),
        }
        if self._section.pictures and self._section.pictures_as == "multipart":
            files: dict[str, Any] = {"alert": ("alert.json", body, "application/json")}
            files |= {name: (_FILES[name][0], data, _FILES[name][1]) for name, data in pictures.items()}
            request = self._client.build_request("POST", self._section.url, files=files, headers=headers)
        else:
            headers["Content-Type"] = "application/json"
            request = self._client.build_request("POST", self._section.url, content=body, headers=headers)
        if self._secret is not None:
            request.headers[SIGNATURE_HEADER] = signature(self._secret, request.read(), int(self._wall()))
        return request

    def _document(self, alert: Alert, pictures: Mapping[Picture, bytes]) -> Any:
        if self._template is not None:
            return self._template.fill(alert)
        names: dict[str, Any] = {name: _FILES[name][0] for name in pictures}
        document = replace(without_pictures(alert), **names).to_json()
        if self._section.pictures_as == "base64" and pictures:
            document["pictures"] = {
                name: {"type": _FILES[name][1], "base64": base64.b64encode(data).decode()}
                for name, data in pictures.items()
            }
        return document

    def _send(self, request: httpx.Request) -> tuple[int, httpx.Headers, bytes]:
        """Status, headers and the beginning of the answer. The time-out is over the whole attempt."""
        with Deadline(self._section.timeout) as deadline:
            request.extensions["trace"] = deadline.trace
            try:
                return self._read(self._client.send(request, stream=True))
            except (httpx.HTTPError, OSError):
                if deadline.over:
                    raise httpx.ReadTimeout("the time for the whole attempt is over") from None
                raise

    @staticmethod
    def _read(answer: httpx.Response) -> tuple[int, httpx.Headers, bytes]:
        beginning = b""
        try:
            for piece in answer.iter_raw():
                beginning += piece
                if len(beginning) > _MOST_ANSWER:
                    break
        finally:
            answer.close()
        return answer.status_code, answer.headers, beginning

    def _failure(self, status: int, headers: httpx.Headers, beginning: bytes) -> SinkError:
        said = self._clean(beginning.decode("utf-8", "replace"))[:_MOST_SHOWN]
        text = f"{self._place} answers {status}{': ' if said else ''}{''.join(c for c in said if c.isprintable())}"
        if 300 <= status < 400:
            text = f"{text} It redirects, which is not followed: give the new address in 'url'"
        if status in _NEVER:
            return SinkRefused(text)
        return SinkError(text, again_after=_retry_after(headers, self._wall()))

    def _clean(self, error: object) -> str:
        """Without the secret, what headers hold, and the URL, whose path or query may be a password too."""
        return redact_text(str(error), self._hidden)


def place_of(url: str) -> str:
    """Scheme, host and port of a URL: what stands behind them is often the key to it."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}/{HIDDEN}"


def _words_of(url: str) -> Iterator[str]:
    """What of a URL may be a secret: all behind the host, and its parts but for short words like ``api``."""
    parts = urlsplit(url)
    yield from (url, parts.path if len(parts.path) > 1 else "", parts.query, parts.password or "")
    pieces = [*parts.path.split("/"), *re.split("[=&]", parts.query)]
    yield from (piece for piece in pieces if len(piece) >= _SHORT)


def check_webhook(section: WebhookSection) -> str:
    """The receiver in words. Raises SinkError where the sink could not be opened."""
    sink = WebhookSink(section)
    try:
        sink.check()
    finally:
        sink.close()
    signed = "signed" if section.secret or section.secret_file else "not signed"
    form = "" if section.template is None else f", template {section.template}"
    return f"{place_of(section.url)}, {signed}{form}, phases {', '.join(section.phases)}"


def _template(section: WebhookSection) -> Template:
    return Template(str(section.template), section.values)


def _trusted(section: WebhookSection) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=None if section.ca is None else str(section.ca))
    except OSError as error:  # ssl.SSLError is one
        raise SinkError(f"{section.ca}: cannot be used for TLS: {error.strerror or error}") from error


def _pictures(section: WebhookSection, evidence: Evidence) -> Iterator[tuple[Picture, bytes]]:
    there: Mapping[Picture, bytes] = {
        "snapshot": evidence.snapshot_jpeg,
        "mask": evidence.mask_png,
        "clip": evidence.clip_mp4,
    }
    for name in section.pictures:
        if there[name]:
            yield name, there[name]


def _retry_after(headers: httpx.Headers, now: float) -> float | None:
    """Seconds from ``Retry-After``, a number or a date; None where it says nothing that can be read."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):  # the year 99999999999
        return None
