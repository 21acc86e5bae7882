"""What ``spade-stream console`` does: serve, print the link that logs in, and keep the file of users."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.routing import BaseRoute

from stream import logs
from stream.config import Config
from stream.config_arguments import load_copy
from stream.console.cluster_file import is_fresh
from stream.console.guard import client_of
from stream.console.hosts import is_loopback_address
from stream.console.launcher import Launcher
from stream.console.observability import outbox_reading, routes
from stream.console.parts import Parts
from stream.console.server import serve
from stream.console.token import is_secret, login_link, read_secret
from stream.console.users import MIN_PASSWORD, check_name, set_user
from stream.errors import ConsoleError, UsageError
from stream.stopping import StopSignal

_WORDS = ("link", "user")


def console(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """One of the above."""
    action, *words = arguments.words if arguments.words[0] in _WORDS else ("serve", *arguments.words)
    if len(words) != (2 if action == "user" else 1):
        raise UsageError(f"console {action} takes {'CONFIG NAME' if action == 'user' else 'CONFIG'}; see --help")
    path = Path(words[0])
    config = _load(path, arguments)
    if action == "link":
        print(login_link(config))
    elif action == "user":
        _set_user(config, words[1], remove=arguments.remove)
    else:
        _serve(config, path, arguments, stop)
    return 0


def _load(path: Path, arguments: argparse.Namespace) -> Config:
    config = load_copy(path, named=arguments.named, base=arguments.base)
    if arguments.log_format is None:
        logs.use(config.log.format)
    return config


def _serve(config: Config, path: Path, arguments: argparse.Namespace, stop: StopSignal) -> None:
    launcher = Launcher(
        config=path.resolve(),
        base=(arguments.base or path.resolve().parent).resolve(),
        named=arguments.named or path,
        processes=config.processes,
    )
    serve(config, launcher, stopping=stop, routes=partial(monitor_routes, config))


def monitor_routes(config: Config, parts: Parts) -> list[BaseRoute]:
    """Health and metrics, guarded as the configuration says."""
    section = config.console
    token = None if section.metrics_token is None else read_secret(section.metrics_token, "console.metrics_token")

    def allowed(request: Request) -> bool:
        if token is not None:
            kind, _, given = request.headers.get("authorization", "").partition(" ")
            return kind.lower() == "bearer" and is_secret(given.strip(), token)
        # What a proxy passes on comes from this machine, too, but is somebody else's.
        forwarded = any(name in request.headers for name in ("forwarded", "x-forwarded-for"))
        return is_loopback_address(client_of(request.scope)) and not forwarded

    def status() -> Mapping[str, Any]:
        look = parts.board.refresh()
        document = parts.board.cluster()
        fresh = document is not None and is_fresh(document, now=parts.clock())
        cluster = None if document is None else {"document": document, "fresh": fresh}
        return {**look.status, **look.processes, "sinks": parts.board.sinks(), "cluster": cluster}

    return list(routes(status=status, outbox=outbox_reading(config.outbox, config.evidence), metrics_allowed=allowed))


def _set_user(config: Config, name: str, *, remove: bool) -> None:
    path = config.console.users
    if path is None:
        raise UsageError("console.users is not set: name a file there, then add users to it")
    try:
        check_name(name)
    except ValueError as error:
        raise UsageError(str(error)) from None
    was_there = set_user(path, name, None if remove else _ask_password(name))
    if remove and not was_there:
        raise UsageError(f"console.users: {path} has no user {name!r}")
    print(f"{path}: user {name} {'removed' if remove else 'has a new password' if was_there else 'added'}")


def _ask_password(name: str) -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass(f"password of {name} ({MIN_PASSWORD} characters or more): ")
    if getpass.getpass("again: ") != password:
        raise ConsoleError("the two passwords differ; nothing was changed")
    return password
