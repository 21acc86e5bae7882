"""Whether what the console is given can be used: users, certificate, tokens. It loads no web server."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

from stream.config import Config
from stream.console.token import FILE, read_secret
from stream.console.users import Users
from stream.errors import ConsoleError


def console_faults(config: Config) -> list[str]:
    """What the console would not start with, one line each; empty where it is off."""
    if not config.console.enabled:
        return []
    return [*missing_files(config), *_unusable(config)]


def missing_files(config: Config) -> list[str]:
    """Files that the section names and that are not there, one line each."""
    if not config.console.enabled:
        return []
    return [f"{name}: there is no {path}{remedy}" for name, path, remedy in _missing(config)]


def check_certificate(config: Config) -> None:
    """Raises ConsoleError where certificate and key cannot be used together."""
    section = config.console
    if section.tls_certificate is None or section.tls_key is None:
        return
    try:
        if section.tls_key.stat().st_mode & 0o077:
            raise ConsoleError(f"console.tls_key: {section.tls_key} is open to others: run chmod 600 on it")
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(section.tls_certificate, section.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise ConsoleError(
            f"console: {section.tls_certificate} and {section.tls_key} cannot be used: {error.strerror or error}. "
            "Give a certificate chain and its key as PEM, without a passphrase"
        ) from None


def _missing(config: Config) -> Iterator[tuple[str, Path, str]]:
    section = config.console
    for name, path, remedy in (
        ("users", section.users, ": add a user with 'spade-stream console user CONFIG NAME'"),
        ("tls_certificate", section.tls_certificate, ""),
        ("tls_key", section.tls_key, ""),
        ("metrics_token", section.metrics_token, ""),
    ):
        if path is not None and not path.exists():
            yield f"console.{name}", path, remedy


def _unusable(config: Config) -> Iterator[str]:
    section, missing = config.console, {name for name, _, _ in _missing(config)}
    token = config.state / "run" / FILE
    try:
        if section.users is not None and "console.users" not in missing:
            Users(section.users).names()
    except ConsoleError as error:
        yield str(error)
    try:
        if not missing & {"console.tls_certificate", "console.tls_key"}:
            check_certificate(config)
    except ConsoleError as error:
        yield str(error)
    for path, what in ((section.metrics_token, "console.metrics_token"), (token, "the console's token")):
        try:
            if path is not None and path.exists():
                read_secret(path, what)
        except ConsoleError as error:
            yield str(error)
