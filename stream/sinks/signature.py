"""How a webhook's receiver knows that a message is ours and fresh: HMAC-SHA256 over the time and the body. Pure.

``X-Spade-Signature: t=UNIX_SECONDS,v1=HEX`` where HEX is the HMAC of ``UNIX_SECONDS + "." + body``.
"""

from __future__ import annotations

import hashlib
import hmac

SIGNATURE_HEADER = "X-Spade-Signature"

FRESH_S = 300
"""Seconds for which a receiver should take a signature: a message caught on the way is of no use later."""


def signature(secret: str, body: bytes, at: int) -> str:
    """The header's value.

    Args:
        secret: that both sides know.
        body: as it is sent, all of it.
        at: Unix seconds.
    """
    digest = hmac.new(secret.encode(), b"%d." % at + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def verify(secret: str, body: bytes, header: str, *, now: float, fresh: float = FRESH_S) -> bool:
    """Whether a header belongs to a body and is not older than ``fresh`` seconds.

    Args:
        secret: that both sides know.
        body: as it was received.
        header: value of ``X-Spade-Signature``.
        now: Unix seconds.
        fresh: seconds.
    """
    parts = dict(part.partition("=")[::2] for part in header.split(","))
    stamp = parts.get("t", "")
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) < 16) or abs(now - int(stamp)) > fresh:
        return False
    return hmac.compare_digest(signature(secret, body, int(stamp)).encode(), header.encode())
