"""Makes, issues and revokes keys: what ``spade-stream keys`` does to a server's folder. See ``keys`` for the files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import zmq

from stream.durable import sync_folder, write_durably
from stream.errors import KeyFileError
from stream.keys import (
    GIVEN_OUT,
    ISSUED,
    LOCAL_FILE,
    PUBLIC_FORMAT,
    SECRET_FORMAT,
    SERVER_FILE,
    Role,
    check_folder,
    check_key,
    check_private,
    is_name,
    load_secret,
    read_access,
)

_FOLDER_MODE = 0o700
_SECRET_MODE = 0o600
_PUBLIC_MODE = 0o644  # inside a folder that only its owner enters


def make_folder(path: Path) -> bool:
    """Makes what is missing of a server's folder; nothing that is there is changed. True: its pair was made now.

    Raises:
        KeyFileError: what is there is open to others or not well formed, or it cannot be written.
    """
    try:
        for folder in (path, path / ISSUED, *(path / role.folder for role in GIVEN_OUT)):
            folder.mkdir(mode=_FOLDER_MODE, parents=folder is path, exist_ok=True)
    except OSError as error:
        raise KeyFileError(f"{error.filename}: cannot be made: {error.strerror}") from None
    check_private(path, os.stat, "700")
    made = not (path / SERVER_FILE).exists()
    if made:
        _write_secret(path / SERVER_FILE, Role.SERVER, (), server=None)
    if not (path / LOCAL_FILE).exists():
        _write_secret(path / LOCAL_FILE, Role.LOCAL, (), server=load_secret(path / SERVER_FILE).public)
    return made


def issue(path: Path, role: Role, names: Iterable[str], *, out: Path | None = None) -> Path:
    """Makes a pair for another machine, lets its public half in, and returns the file of the secret half.

    Args:
        path: the server's folder.
        role: READER or SUBSCRIBER.
        names: cameras that the one key may be; of a subscriber exactly one name.
        out: file to make. None: ``issued/NAME.key`` in the folder, after the first name.

    Raises:
        KeyFileError: a name is taken or not well formed, or a file is there already.
    """
    server, own = check_folder(path).server, _checked_names(role, names)
    _refuse_taken(path, role, own)
    target = out or path / ISSUED / f"{own[0]}.key"
    public = _write_secret(target, role, own, server=server.public)
    _write_public(path, role, own, public)
    return target


def authorise(path: Path, role: Role, names: Iterable[str], public: str) -> None:
    """Lets a public key in that was made elsewhere. Arguments and errors as for :func:`issue`."""
    own = _checked_names(role, names)
    check_folder(path)
    try:
        check_key(public)
    except ValueError:
        raise KeyFileError("--public: a public key has 40 characters (Z85)") from None
    _refuse_taken(path, role, own)
    _write_public(path, role, own, public)


def revoke(path: Path, name: str) -> list[Path]:
    """Takes a name's access back, as reader and as subscriber; returns the files that were removed.

    Raises:
        KeyFileError: nobody has this name.
    """
    if not is_name(name):
        raise KeyFileError(f"--revoke {name[:80]!r}: not a name")
    check_private(path, os.stat, "700")
    public = [path / role.folder / f"{name}.pub" for role in GIVEN_OUT]
    removed = [file for file in public if file.exists()]
    if not removed:
        raise KeyFileError(f"--revoke {name!r}: nobody in {path} has this name")
    for file in removed:
        file.unlink()
        sync_folder(file.parent)
    return removed + _remove_useless(path)


def let_in_only(path: Path, role: Role, names: Mapping[str, Iterable[str]]) -> None:
    """Makes the public keys of a role those that are given, as the control of a cluster hands them out.

    Args:
        path: a server's folder.
        role: READER, SUBSCRIBER, or LOCAL for other machines' own programs.
        names: by public key, whom it may be; of LOCAL the machine's name.

    Raises:
        KeyFileError: a key or a name is not well formed, or a file cannot be written.
    """
    wanted: dict[str, str] = {}
    for public, own in names.items():
        try:
            check_key(public)
        except ValueError as error:
            raise KeyFileError(f"{path}: {error}") from None
        for name in own:
            if not is_name(name):
                raise KeyFileError(f"{path}: {name[:80]!r} is not a name")
            wanted[name] = public
    folder = path / role.folder
    try:
        folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)
        for file in folder.glob("*.pub"):
            if file.stem not in wanted:
                file.unlink(missing_ok=True)
    except OSError as error:
        raise KeyFileError(f"{folder}: cannot be written: {error.strerror}") from None
    for name, public in wanted.items():
        data = {"format": PUBLIC_FORMAT, "role": role, "name": name, "public": public}
        content = json.dumps(data, indent=2).encode() + b"\n"
        file = folder / f"{name}.pub"
        try:
            if not file.exists() or file.read_bytes() != content:
                write_durably(file, content)
        except OSError as error:
            raise KeyFileError(f"{file}: cannot be written: {error.strerror}") from None


def _remove_useless(path: Path) -> list[Path]:
    """Removes issued files whose key opens nothing any more (one key may be several cameras)."""
    access, removed = read_access(path, ""), []
    for issued in sorted((path / ISSUED).glob("*.key")):
        try:
            public = load_secret(issued).public
        except KeyFileError:
            continue  # not known to be useless
        if public not in access.readers and public not in access.subscribers:
            issued.unlink()
            removed.append(issued)
    return removed


def _checked_names(role: Role, names: Iterable[str]) -> tuple[str, ...]:
    own = tuple(dict.fromkeys(names))
    if role not in GIVEN_OUT or not own or (role is Role.SUBSCRIBER and len(own) != 1):
        raise KeyFileError(f"a {role} key has {'one name' if role is Role.SUBSCRIBER else 'at least one name'}")
    for name in own:
        if not is_name(name):
            raise KeyFileError(f"--{role} {name[:80]!r}: use 1 to 64 letters, digits or any of _ . - (first no sign)")
    return own


def _refuse_taken(path: Path, role: Role, names: Iterable[str]) -> None:
    for name in names:
        if (path / role.folder / f"{name}.pub").exists():
            raise KeyFileError(
                f"--{role} {name!r} has a key already: run 'spade-stream keys {path} --revoke {name}' first"
            )


def _write_secret(path: Path, role: Role, names: tuple[str, ...], *, server: str | None) -> str:
    """Makes a pair and its file; returns the public half. ``server`` None: the pair is the server's own."""
    if not zmq.has("curve"):
        raise KeyFileError("this ZeroMQ library was built without CURVE: install pyzmq from PyPI")
    public, secret = (half.decode() for half in zmq.curve_keypair())
    data = {"format": SECRET_FORMAT, "role": role, "names": names, "public": public, "server": server or public}
    _write_new(path, {**data, "secret": secret}, _SECRET_MODE)
    return public


def _write_public(path: Path, role: Role, names: Iterable[str], public: str) -> None:
    for name in names:
        data = {"format": PUBLIC_FORMAT, "role": role, "name": name, "public": public}
        _write_new(path / role.folder / f"{name}.pub", data, _PUBLIC_MODE)


def _write_new(path: Path, data: Mapping[str, Any], mode: int) -> None:
    try:
        # The mode is there before the first byte, whatever the umask; O_EXCL follows no link and overwrites nothing.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(json.dumps(data, indent=2).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        sync_folder(path.parent)
    except FileExistsError:
        raise KeyFileError(f"{path}: is there already; keys are never overwritten. Choose another file") from None
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be written: {error.strerror}") from None
