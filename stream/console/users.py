"""The file of user logins: a line each, ``NAME:scrypt$N$R$P$SALT$HASH``. Passwords are not in it.

The file is read again when it changes, so that adding and removing a user needs no restart.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import secrets
import stat
import threading
from dataclasses import dataclass
from pathlib import Path

from stream.durable import write_durably
from stream.errors import ConsoleError

N, R, P = 1 << 15, 8, 1
"""Cost of scrypt: 32 MiB and about a tenth of a second for each guess."""

MIN_PASSWORD = 10
"""Characters of a password at least."""

MAX_PASSWORD = 256
"""Characters of a password at most: a longer one only costs time."""

_AT_ONCE = threading.Semaphore(2)  # checks at once: each takes 32 MiB and a core
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
_OPEN_TO_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_MOST_BYTES = 1 << 20  # of the file: some thousand users


@dataclass(frozen=True, slots=True)
class PasswordHash:
    """What is kept of a password."""

    n: int  # scrypt's cost
    r: int
    p: int
    salt: bytes
    digest: bytes

    @classmethod
    def of(cls, password: str) -> PasswordHash:
        """A new one, with a salt of its own."""
        salt = secrets.token_bytes(16)
        return cls(N, R, P, salt, _scrypt(password, salt, N, R, P))

    @classmethod
    def parse(cls, text: str) -> PasswordHash:
        """Inverse of ``str()``. Raises ValueError."""
        kind, n, r, p, salt, digest = text.split("$")
        found = cls(int(n), int(r), int(p), base64.b64decode(salt, validate=True), base64.b64decode(digest))
        # A file that asks for more would let a login take all memory.
        if kind != "scrypt" or not (1 < found.n <= 1 << 17 and 0 < found.r <= 16 and 0 < found.p <= 4):
            raise ValueError("not a hash of scrypt within bounds")
        return found

    def fits(self, password: str) -> bool:
        """Whether this is the password. Takes a tenth of a second on purpose."""
        return hmac.compare_digest(_scrypt(password, self.salt, self.n, self.r, self.p), self.digest)

    @property
    def fingerprint(self) -> str:
        """Tells this one from every other; no help in guessing the password."""
        return hashlib.sha256(f"user:{self}".encode()).hexdigest()

    def __str__(self) -> str:
        salt, digest = (base64.b64encode(part).decode() for part in (self.salt, self.digest))
        return f"scrypt${self.n}${self.r}${self.p}${salt}${digest}"

    def __repr__(self) -> str:
        return "PasswordHash(***)"


class Users:
    """The logins of one file, kept up to date with it. Any thread may use it.

    Args:
        path: of the file.

    Raises:
        ConsoleError: from every method: it cannot be read, is open to others, or a line is not well formed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._hashes: dict[str, PasswordHash] = {}
        # What a name that is not there is compared with, so that it takes as long as one that is.
        self._nobody = PasswordHash.of(secrets.token_urlsafe())

    def names(self) -> tuple[str, ...]:
        """Who may log in."""
        return tuple(self._read())

    def credential(self, name: str) -> str | None:
        """What stands for a user's password: another one after each change, even to the same; None: no such user."""
        found = self._read().get(name)
        return None if found is None else found.fingerprint

    def check(self, name: str, password: str) -> str | None:
        """The user's credential, if this is the password; a wrong name takes as long as a wrong password."""
        found = self._read().get(name)
        with _AT_ONCE:
            fits = (found or self._nobody).fits(password[: MAX_PASSWORD + 1])
        return found.fingerprint if fits and found is not None else None

    def _read(self) -> dict[str, PasswordHash]:
        with self._lock:
            try:
                state = self.path.stat()
                seen = (state.st_mtime_ns, state.st_size, state.st_ino)
                if seen != self._seen:
                    self._hashes, self._seen = read_users(self.path), seen
            except OSError as error:
                raise ConsoleError(f"console.users: {self.path} cannot be read: {error.strerror}. {_MAKE}") from None
            return self._hashes


_MAKE = "Add a user with 'spade-stream console user CONFIG NAME'"


def read_users(path: Path) -> dict[str, PasswordHash]:
    """The hashes by user name.

    Raises:
        OSError: it cannot be read.
        ConsoleError: other users may read or write it, or a line is not well formed.
    """
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & _OPEN_TO_OTHERS:
            raise ConsoleError(f"console.users: {path} is open to others (mode {mode:04o}): run chmod 600 {path}")
        text = file.read(_MOST_BYTES).decode("utf-8", "replace")
    users: dict[str, PasswordHash] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.strip().partition(":")
        try:
            users[check_name(name)] = PasswordHash.parse(rest)
        except ValueError:
            raise ConsoleError(f"console.users: {path}, line {number} is not NAME:scrypt$...: {_MAKE}") from None
    return users


def set_user(path: Path, name: str, password: str | None) -> bool:
    """Adds a user, changes the password, or with None removes the user. Returns whether the user was there before.

    Raises:
        ConsoleError: the password is too short or too long, or the file cannot be read or written.
        ValueError: the name is not well formed.
    """
    check_name(name)
    if password is not None and not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise ConsoleError(f"a password has {MIN_PASSWORD} to {MAX_PASSWORD} characters, this one {len(password)}")
    try:
        users = read_users(path) if path.exists() else {}
        was_there = users.pop(name, None) is not None
        if password is not None:
            users[name] = PasswordHash.of(password)
        old = os.umask(0o077)
        try:
            write_durably(path, "".join(f"{user}:{users[user]}\n" for user in sorted(users)).encode())
        finally:
            os.umask(old)
    except OSError as error:
        raise ConsoleError(f"console.users: {path} cannot be written: {error.strerror}") from None
    return was_there


def check_name(name: str) -> str:
    """The name. Raises ValueError where it is not well formed."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"user {name[:80]!r}: letters, digits and _ . @ - only, 64 at most")
    return name


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=256 * n * r * p, dklen=32)
