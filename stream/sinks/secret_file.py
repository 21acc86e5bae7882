"""The secret of a sink: from the configuration (``${NAME}``) or from a file. For sinks alone."""

from __future__ import annotations

from pathlib import Path

from stream.errors import SinkError

_MOST = 64 << 10  # bytes of a file with a secret


def secret_of(value: str | None, file: Path | None) -> str | None:
    """The secret; None where there is none. Raises SinkError, which names the file and never holds what is in it."""
    if file is None:
        return value
    try:
        with file.open("rb") as opened:
            content = opened.read(_MOST)
    except OSError as error:
        raise SinkError(f"{file}: the secret cannot be read: {error.strerror}. Check path and permissions") from None
    try:
        secret = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise SinkError(f"{file}: the secret is not UTF-8 text") from None
    if not secret:
        raise SinkError(f"{file}: is empty: write the secret into it")
    return secret
