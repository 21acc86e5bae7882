"""What ``keys`` does: makes, issues, revokes and lists the keys of a server."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from stream.cli_arguments import add_command, names
from stream.errors import UsageError
from stream.key_making import authorise, issue, make_folder, revoke
from stream.keys import LOCAL_FILE, KeyFolder, Role, check_folder
from stream.stopping import StopSignal


def add_keys(groups: Any) -> None:
    """Adds ``keys`` to the commands."""
    command = add_command(
        groups,
        "keys",
        keys,
        "make the keys of link and feed, give them to other machines, take them back",
        "DIR is the server's folder (security.keys), made where it is missing. Without an option: shows who may do\n"
        "what. A running system takes changes within a second. docs/security.md explains how to set it up.",
    )
    command.add_argument("folder", type=Path, metavar="DIR")
    action = command.add_mutually_exclusive_group()
    action.add_argument("--reader", type=names, metavar="CAMERA", help="issue a key that may be this camera (or A,B,C)")
    action.add_argument("--subscriber", metavar="NAME", help="issue a key that may subscribe under this name")
    action.add_argument("--revoke", metavar="NAME", help="take the access of this camera or subscriber back")
    command.add_argument("--out", type=Path, metavar="FILE", help="file of the issued key (DIR/issued/NAME.key)")
    command.add_argument("--public", metavar="KEY", help="let this public key in, instead of making a pair here")


def keys(arguments: argparse.Namespace, stop: StopSignal) -> int:
    """One action on the folder of a server's keys."""
    folder: Path = arguments.folder
    wanted = _wanted(arguments)
    if wanted is None and (arguments.out is not None or arguments.public is not None):
        raise UsageError("--out and --public belong to --reader or --subscriber")
    if arguments.revoke is not None:
        for file in revoke(folder, arguments.revoke):
            print(f"removed {file}")
        return 0
    if make_folder(folder):
        print(f"made the keys of a server in {folder}", file=sys.stderr)
    if wanted is None:
        _show(check_folder(folder))
    else:
        _let_in(folder, *wanted, out=arguments.out, public=arguments.public)
    return 0


def _wanted(arguments: argparse.Namespace) -> tuple[Role, tuple[str, ...]] | None:
    if arguments.reader is not None:
        return Role.READER, arguments.reader
    return None if arguments.subscriber is None else (Role.SUBSCRIBER, (arguments.subscriber,))


def _let_in(folder: Path, role: Role, own: tuple[str, ...], *, out: Path | None, public: str | None) -> None:
    if public is None:
        file = issue(folder, role, own, out=out)
        print(f"{file}: the key of {role} {', '.join(own)}. Carry it to the other machine, and remove it here")
        return
    if out is not None:
        raise UsageError("--out: with --public no secret is made here")
    authorise(folder, role, own, public)
    print(f"let in: {role} {', '.join(own)}. It also needs the server's key: {check_folder(folder).server.public}")


def _show(found: KeyFolder) -> None:
    print(f"server's public key  {found.server.public}")
    print(f"{'local':32} any camera and any subscriber, with {found.path / LOCAL_FILE}")
    for role, may in ((Role.READER, "may be camera"), (Role.SUBSCRIBER, "may read the feed as")):
        by_name = sorted((name, key) for key, own in found.access.of(role).items() for name in own)
        for name, key in by_name:
            print(f"{f'{role} {name}':32} {may} {name}, with {key}")
