"""Key files: who may connect to the link and to the feed. What they hold, and how they are read.

A server's folder (0700)::

    server.key             the server's pair; never leaves the machine
    local.key              this machine's own programs: any camera, any subscriber
    readers/CAMERA.pub     public keys that may be this camera
    subscribers/NAME.pub   public keys that may subscribe under this name
    nodes/NAME.pub         in a cluster: other machines' local keys, which may do here what they may do there
    issued/NAME.key        pairs to be carried to other machines, and then deleted here

Files are JSON. Secrets are made 0600 from their first byte and are never overwritten; one that others can read is not
loaded. ``key_making`` writes them, ``curve`` uses them on sockets.
"""

from __future__ import annotations

import json
import os
import re
import stat
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import zmq
from zmq.utils import z85

from stream.errors import KeyFileError

SECRET_FORMAT = "spade-stream/secret-key/1"
PUBLIC_FORMAT = "spade-stream/public-key/1"

SERVER_FILE = "server.key"
LOCAL_FILE = "local.key"
ISSUED = "issued"
NODES = "nodes"  # only machines of a cluster have it

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_MAX_FILE_BYTES = 64 * 1024  # a key file has some hundred bytes
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")  # as camera ids in the configuration
_KEY = re.compile(r"[0-9A-Za-z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")  # Z85 of 32 bytes


class Role(StrEnum):
    """What a key is for."""

    SERVER = "server"
    LOCAL = "local"  # the server's own machine
    READER = "reader"
    SUBSCRIBER = "subscriber"

    @property
    def folder(self) -> str:
        """Where the public keys of this role lie; of LOCAL those of other machines."""
        return NODES if self is Role.LOCAL else f"{self}s"


GIVEN_OUT = (Role.READER, Role.SUBSCRIBER)
"""Roles of other machines."""


@dataclass(frozen=True, slots=True)
class SecretKey:
    """A pair, as Z85 text, and whom it may talk to. ``repr`` does not show the secret half."""

    role: Role
    names: tuple[str, ...]  # cameras of a reader, or the one name of a subscriber; empty for server and local
    public: str
    server: str  # the server's public key
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Access:
    """Who may do what: names by public key."""

    local: str  # public key of this machine's own programs
    readers: Mapping[str, frozenset[str]]  # cameras
    subscribers: Mapping[str, frozenset[str]]  # names
    problems: tuple[str, ...] = ()  # files that cannot be used; they let nobody in
    nodes: frozenset[str] = frozenset()  # public keys of other machines' own programs

    def of(self, role: Role) -> Mapping[str, frozenset[str]]:
        """Names by public key, of readers or subscribers; of LOCAL those of both."""
        if role is Role.LOCAL:
            none = frozenset[str]()
            keys = self.readers.keys() | self.subscribers.keys()
            return {key: self.readers.get(key, none) | self.subscribers.get(key, none) for key in keys}
        return self.readers if role is Role.READER else self.subscribers

    def names(self, role: Role, key: str) -> frozenset[str]:
        """The same of one key, without a look at the others."""
        if role is Role.LOCAL:
            return self.names(Role.READER, key) | self.names(Role.SUBSCRIBER, key)
        return self.of(role).get(key, frozenset())

    def may_all(self, key: str) -> bool:
        """Whether a key is that of a machine's own programs."""
        return key == self.local or key in self.nodes


@dataclass(frozen=True, slots=True)
class KeyFolder:
    """A server's keys, read and found in order."""

    path: Path
    server: SecretKey
    local: SecretKey
    access: Access


def load_secret(path: Path) -> SecretKey:
    """Reads a secret key file.

    Raises:
        KeyFileError: it is not there, others can read it, or it is not well formed. The text holds nothing of it.
    """
    data = _json(path, _read_private(path), SECRET_FORMAT)
    try:
        role, names = Role(data["role"]), tuple(data["names"])
        key = SecretKey(role, names, check_key(data["public"]), check_key(data["server"]), check_key(data["secret"]))
    except (KeyError, TypeError, ValueError):
        raise KeyFileError(f"{path}: not a complete key file. Make the key again") from None
    if not all(map(is_name, names)):
        raise KeyFileError(f"{path}: holds a name that is none. Make the key again")
    if bool(names) != (role in GIVEN_OUT) or _public_half(path, key) != key.public:
        raise KeyFileError(f"{path}: its parts do not belong together. Make the key again")
    return key


def _public_half(path: Path, key: SecretKey) -> str:
    try:
        return bytes(zmq.curve_public(key.secret.encode())).decode()
    except zmq.ZMQError as error:
        raise KeyFileError(f"{path}: cannot be used: {error.strerror}. Make the key again") from None


def load_folder(path: Path) -> KeyFolder:
    """Reads a server's folder. A public key that cannot be read lets nobody in, and is named in ``access.problems``: it
    must not keep everybody else out when a server starts again.

    Raises:
        KeyFileError: the folder or one of its secrets is missing, open to others, or not well formed.
    """
    check_private(path, os.stat, "700")
    server, local = load_secret(path / SERVER_FILE), load_secret(path / LOCAL_FILE)
    for file, key, role in ((SERVER_FILE, server, Role.SERVER), (LOCAL_FILE, local, Role.LOCAL)):
        if key.role is not role or key.server != server.public:
            raise KeyFileError(f"{path / file}: is not the {role} key of this folder. Restore it, or make a new folder")
    return KeyFolder(path, server, local, read_access(path, local.public))


def check_folder(path: Path) -> KeyFolder:
    """As :func:`load_folder`, and raises KeyFileError for public keys that cannot be used too: while a person looks."""
    folder = load_folder(path)
    if folder.access.problems:
        raise KeyFileError("; ".join(folder.access.problems))
    return folder


def load_local(path: Path) -> SecretKey:
    """The key of this machine's own programs, without the server's. Errors as for :func:`load_folder`."""
    check_private(path, os.stat, "700")
    key = load_secret(path / LOCAL_FILE)
    if key.role is not Role.LOCAL:
        raise KeyFileError(f"{path / LOCAL_FILE}: is not the local key. Restore it, or make a new folder")
    return key


def read_access(path: Path, local: str) -> Access:
    """Who is let in at this moment. A file that cannot be read lets nobody in, and is named in ``problems``."""
    problems: list[str] = []
    readers, subscribers = (_authorised(path / role.folder, role, problems) for role in GIVEN_OUT)
    nodes = _authorised(path / NODES, Role.LOCAL, problems) if (path / NODES).is_dir() else {}
    return Access(local, readers, subscribers, tuple(problems), frozenset(nodes))


def access_stamp(path: Path) -> tuple[tuple[str, int, int, int], ...]:
    """Changes whenever a public key is added, replaced or removed; cheap enough to ask for every second.

    What cannot be looked at is a part of it, and hides no change of the others. Of a link both ends count.
    """
    found = []
    for folder in (path / name for name in (*(role.folder for role in GIVEN_OUT), NODES)):
        try:
            with os.scandir(folder) as entries:
                found += [_stamp(entry.path, entry.stat, follow) for entry in entries for follow in (False, True)]
        except OSError as error:
            found.append((str(folder), -(error.errno or 0), 0, 0))
    return tuple(sorted(found))


def _stamp(name: str, state_of: Callable[..., os.stat_result], follow: bool) -> tuple[str, int, int, int]:
    try:
        state = state_of(follow_symlinks=follow)
    except OSError as error:
        return name, -(error.errno or 0), 0, 0
    return name, state.st_mtime_ns, state.st_size, state.st_ino


def _authorised(folder: Path, role: Role, problems: list[str]) -> dict[str, frozenset[str]]:
    names: dict[str, set[str]] = {}
    try:
        files = sorted(folder.glob("*.pub"))
        if not folder.is_dir():
            raise KeyFileError(f"{folder}: is not there. Make it with 'spade-stream keys {folder.parent}'")
    except (OSError, KeyFileError) as error:
        problems.append(str(error))
        return {}
    for file in files:
        try:
            names.setdefault(_read_public(file, role), set()).add(file.stem)
        except KeyFileError as error:
            problems.append(str(error))
    return {key: frozenset(own) for key, own in names.items()}


def _read_public(path: Path, role: Role) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES)
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be read: {error.strerror}") from None
    data = _json(path, content, PUBLIC_FORMAT)
    if data.get("role") != role or data.get("name") != path.stem:
        raise KeyFileError(f"{path}: holds another role or name than its place says. Revoke it, and issue it again")
    try:
        return check_key(data.get("public"))
    except ValueError:
        raise KeyFileError(f"{path}: holds no public key. Revoke it, and issue it again") from None


def _read_private(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be read: {error.strerror}") from None
    with os.fdopen(descriptor, "rb") as file:
        check_private(path, lambda _: os.fstat(file.fileno()), "600")  # of the file that is open, not of its name
        return file.read(_MAX_FILE_BYTES)


def check_private(path: Path, state_of: Callable[[Path], os.stat_result], mode: str) -> None:
    """Raises KeyFileError where a file (mode 600) or folder (700) is missing, or may be read by others."""
    try:
        state = state_of(path)
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}. A server's keys are made with 'spade-stream keys DIR'") from None
    if stat.S_ISDIR(state.st_mode) is not (mode == "700"):
        raise KeyFileError(f"{path}: is not a {'folder' if mode == '700' else 'file'}")
    if state.st_mode & _OTHERS:
        raise KeyFileError(
            f"{path}: others can read it (mode {stat.S_IMODE(state.st_mode):04o}). Run chmod {mode} {path}, and make "
            "its keys again if anybody may have read them"
        )
    if state.st_uid not in (os.geteuid(), 0):
        raise KeyFileError(f"{path}: belongs to user {state.st_uid}, this is user {os.geteuid()}. Run chown on it")


def _json(path: Path, content: bytes, kind: str) -> dict[str, Any]:
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        raise KeyFileError(f"{path}: is not a key file (no JSON)") from None
    if not isinstance(data, dict) or data.get("format") != kind:
        raise KeyFileError(f"{path}: is not a key file of the format {kind}")
    return data


def is_name(value: object) -> bool:
    """Whether a camera or a subscriber may be called so."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def check_key(value: object) -> str:
    """A key as 40 characters of Z85. Raises ValueError, which does not show it."""
    if not isinstance(value, str) or not _KEY.fullmatch(value):
        raise ValueError("not a key of 40 Z85 characters")
    try:
        z85.decode(value)
    except struct.error:  # five characters of it are more than 32 bits
        raise ValueError("not a key of 40 Z85 characters") from None
    return value
