"""A node's own folder, on its own disk: its name, its keys, copies of galleries, and a state folder for each worker.

::

    node.json       the name by which the cluster knows this disk; it outlives restarts, and other addresses
    keys/           as 'spade-stream keys' makes them; only their public halves leave the machine
    cache/          galleries, fetched from the store
    worker-N/       state folder of a scoring worker: its outbox, evidence, scores
    readers/        what the readers of this node read their configuration from

For the stations. Several of them use one folder at the same time.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stream import key_making, lockfile
from stream.cluster.model import Access
from stream.durable import write_durably
from stream.errors import StateBusy, UsageError
from stream.keys import KeyFolder, Role, is_name, load_folder
from stream.run_folder import RunFolder

_WORKER = re.compile(r"worker-(\d+)")
_MOST_HOST = 48  # of the 64 characters of a name
_LOCK_WAIT, _LOCK_PAUSE = 10.0, 0.02  # s: others hold it while they write some small files

CLAIM_WAIT = 1.0
"""Seconds that a worker waits for the folder of its own number: whoever only looks whether it is free holds it for some
milliseconds."""


class WorkerFolder:
    """A worker's state folder, which nobody else uses until :meth:`close`.

    Args:
        path: of it.
        run: whose lock makes it ours.
    """

    def __init__(self, path: Path, run: RunFolder) -> None:
        self.path, self.run = path, run
        self.number = _number(path)

    def close(self) -> None:
        """Lets another worker have it. May be called twice."""
        self.run.close()


class NodeFolder:
    """A node's folder; what is missing of it is made.

    Args:
        path: of it.
        host: name of this machine; None: as the system says.

    Raises:
        UsageError: it cannot be used; says why.
        KeyFileError: its keys cannot be used.
    """

    def __init__(self, path: Path, *, host: str | None = None) -> None:
        self.path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._locked():
                self.name = _name(path / "node.json", host or socket.gethostname())
                key_making.make_folder(self.keys)
        except OSError as error:
            raise UsageError(
                f"cluster.folder {path}: {error.strerror}: {error.filename}. Choose a folder on a disk of this node "
                "that this user may write to"
            ) from error

    @property
    def keys(self) -> Path:
        """Keys of this machine."""
        return self.path / "keys"

    @property
    def cache(self) -> Path:
        """Copies of galleries."""
        return self.path / "cache"

    def key_folder(self) -> KeyFolder:
        """The keys, read. Raises KeyFileError."""
        return load_folder(self.keys)

    def let_in(self, access: Access) -> None:
        """Makes the public keys in the folder those that are given; links and feeds take them within a second.

        Raises:
            KeyFileError: a key or a name is not well formed, or the folder cannot be written.
            UsageError: another process does not let go of the folder.
        """
        nodes: dict[str, list[str]] = {}
        for name, key in access.nodes.items():
            nodes.setdefault(key, []).append(name)
        with self._locked():
            key_making.let_in_only(self.keys, Role.LOCAL, nodes)
            key_making.let_in_only(self.keys, Role.READER, access.readers)
            key_making.let_in_only(self.keys, Role.SUBSCRIBER, access.subscribers)

    def claim(self, number: int, *, wait: float = CLAIM_WAIT) -> WorkerFolder:
        """The state folder of this number, or where somebody has that, the first one that nobody has.

        Raises:
            UsageError: none can be made.
        """
        deadline = time.monotonic() + wait
        while (found := self._claim(number)) is None and time.monotonic() < deadline:
            time.sleep(_LOCK_PAUSE)
        others = (n for n in range(len(self.workers()) + 2) if n != number)
        while found is None:
            found = self._claim(next(others))
        return found

    def _claim(self, number: int) -> WorkerFolder | None:
        path = self.path / f"worker-{number}"
        try:
            return WorkerFolder(path, RunFolder(path))
        except StateBusy:
            return None

    def workers(self) -> list[Path]:
        """State folders of workers that were ever made here, the lowest number first."""
        return sorted((path for path in self.path.glob("worker-*") if _WORKER.fullmatch(path.name)), key=_number)

    def left_over(self) -> list[Path]:
        """State folders whose outbox no worker serves now."""
        return [path for path in self.workers() if (path / "outbox.sqlite").exists() and _is_free(path)]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One station at a time, of whichever process."""
        with _IN_PROCESS:
            deadline = time.monotonic() + _LOCK_WAIT
            while True:
                try:
                    lock = lockfile.take(self.path / "node.lock")
                    break
                except lockfile.Taken as taken:
                    if time.monotonic() > deadline:
                        raise UsageError(
                            f"{self.path}: process {taken.owner} has held its lock for {_LOCK_WAIT:g} s: stop that one"
                        ) from None
                    time.sleep(_LOCK_PAUSE)
            try:
                yield
            finally:
                os.close(lock)


_IN_PROCESS = threading.Lock()
"""So that the threads of one process wait for each other here, and not by asking again and again."""


def _number(path: Path) -> int:
    found = _WORKER.fullmatch(path.name)
    return int(found.group(1)) if found else -1


def _is_free(worker: Path) -> bool:
    """Whether no worker has this state folder. One that wants it at this moment waits for longer than this takes."""
    try:
        os.close(lockfile.take(worker / "run" / "owner.lock"))
    except (lockfile.Taken, OSError):  # a folder that cannot be locked is no leftover that could be served
        return False
    return True


def _name(path: Path, host: str) -> str:
    """The name in a node's file, which is made where it is missing."""
    try:
        found = json.loads(path.read_text(encoding="utf-8")).get("name")
    except FileNotFoundError:
        made = _made_name(host)
        write_durably(path, json.dumps({"name": made}).encode() + b"\n")
        return made
    except (ValueError, AttributeError):
        found = None
    if not is_name(found):
        raise UsageError(
            f"{path}: holds no name of a node. Restore it; or delete it, and the outboxes of this disk come under a "
            "new node's name"
        )
    return str(found)


def _made_name(host: str) -> str:
    safe = re.sub(r"[^A-Za-z0-9_.-]", "-", host.partition(".")[0])[:_MOST_HOST].lstrip("_.-") or "node"
    return f"{safe}-{secrets.token_hex(2)}"
