"""The token that opens the console where there are no users yet, and opens its API to programs. For ``auth``.

It lies in ``STATE/run``, a folder that only its user can enter. Removing the file and starting the console again makes
a new one. It stands in no log and in no argument of a program.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

from stream.config import Config
from stream.errors import ConsoleError

FILE = "console-token"
"""Its name in STATE/run."""

_FORM = re.compile(r"[A-Za-z0-9_-]{32,128}")


def ensure_token(path: Path) -> str:
    """The token; made where there is none, readable by this user alone. Two processes that do so agree.

    Raises:
        ConsoleError: it cannot be read or made, is open to others, or damaged.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _make(path)
        return read_secret(path, "the console's token")
    except OSError as error:
        raise ConsoleError(f"{path}: the console's token cannot be made: {error.strerror}") from None


def read_secret(path: Path, what: str) -> str:
    """A secret that stands in a file by itself.

    Raises:
        ConsoleError: the file cannot be read, is open to others, or holds anything but 32 to 128 of A-Z a-z 0-9 - _.
    """
    try:
        if path.stat().st_mode & 0o077:
            raise ConsoleError(f"{path} is open to others: run chmod 600 {path}")
        text = path.read_text(encoding="utf-8", errors="replace")[:256].strip()
    except OSError as error:
        raise ConsoleError(f"{path}: {what} cannot be read: {error.strerror}") from None
    if not _FORM.fullmatch(text):
        raise ConsoleError(f"{path}: {what} has 32 to 128 of A-Z a-z 0-9 - _: write a new one there")
    return text


def is_secret(given: str, secret: str) -> bool:
    """Whether somebody knows a secret; takes as long either way."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), secret.encode())


def _make(path: Path) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with open(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # the other process was first: its token is the one
            os.link(part, path)
    finally:
        part.unlink()


def login_link(config: Config) -> str:
    """What an operator opens in a browser to be logged in. Raises ConsoleError."""
    section = config.console
    host, port = section.endpoint.host, section.endpoint.port
    shown = "127.0.0.1" if host in ("*", "0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    token = ensure_token(config.state / "run" / FILE)
    return f"http{'s' * section.tls}://{shown}:{port}/login?token={token}"
