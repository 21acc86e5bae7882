"""The tables of the outbox: how they are made, and how an older file is brought up to date. For ``outbox``."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from stream.errors import AlertRefused, OutboxError
from stream.evidence import named_in

SCHEMA_VERSION = 2
"""Kept in ``PRAGMA user_version``; grows when an older program could not work with the file."""

BUSY_S = 5.0
"""The other process commits in milliseconds; a lock held for so many seconds is a fault."""

_BATCH = 1000  # rows of an older file that are in memory at once

_ALERTS_1: Final = """CREATE TABLE alerts (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    alert_id TEXT NOT NULL,
    phase TEXT NOT NULL,
    frame_seq INTEGER NOT NULL,
    frame_time REAL NOT NULL,
    document TEXT NOT NULL,
    UNIQUE (alert_id, phase, frame_seq)
)"""  # AUTOINCREMENT: a number is never given twice, not even after the newest rows were removed

_SUBSCRIBERS_1: Final = "CREATE TABLE subscribers (name TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID"

_TO_2: Final = (
    "ALTER TABLE alerts ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0",  # of its pictures
    "ALTER TABLE alerts ADD COLUMN committed_at REAL NOT NULL DEFAULT 0",  # Unix seconds
    # What retention asks is answered from this index alone; the documents beside it may be long.
    "CREATE INDEX alerts_kept ON alerts (seq, bytes, committed_at)",
    """CREATE TABLE events (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        camera TEXT NOT NULL,
        state TEXT NOT NULL,
        reason TEXT NOT NULL,
        at_time REAL NOT NULL
    )""",
    "CREATE INDEX events_of_camera ON events (camera, id)",
)


def prepare(db: sqlite3.Connection, path: Path, evidence: Path) -> None:
    """Makes the tables where there are none, and brings an older file up to date, in one transaction.

    Raises:
        OutboxError: the file is something else, was made by a newer version, or lies where no write-ahead log works.
        sqlite3.Error: it cannot be read or written.
    """
    if _write_ahead(db) != "wal":
        raise OutboxError(f"{path}: no write-ahead log on this file system: keep it on a local disk")
    # NORMAL may lose the last commits on a power cut, and a commit that returned is a promise.
    db.execute("PRAGMA synchronous = FULL")
    if _version(db) == SCHEMA_VERSION:
        return  # asking needs no write: a full disk does not keep a reader out
    with transaction(db):  # two processes may open a new file at the same time
        _bring_up_to_date(db, path, evidence)


def _write_ahead(db: sqlite3.Connection) -> str:
    """Asks for a write-ahead log; returns the mode that is in force."""
    # Of several processes that open a new file at once, SQLite refuses all but one here without waiting at all.
    until = time.monotonic() + BUSY_S
    while True:
        try:
            return str(db.execute("PRAGMA journal_mode = WAL").fetchone()[0])
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
        time.sleep(0.02)


def _bring_up_to_date(db: sqlite3.Connection, path: Path, evidence: Path) -> None:
    version = _version(db)
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if version > SCHEMA_VERSION:
        raise OutboxError(
            f"{path}: made by a newer version (schema {version}, this one reads {SCHEMA_VERSION}): "
            "upgrade spade-stream, or name another outbox file"
        )
    if version == 0 and tables:
        raise OutboxError(f"{path}: a SQLite file, but not an outbox: name another file")
    if version == 0:
        db.execute(_ALERTS_1)
        db.execute(_SUBSCRIBERS_1)
    if version < 2:
        for statement in _TO_2:
            db.execute(statement)
        _measure(db, evidence, now=time.time())
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _version(db: sqlite3.Connection) -> int:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    return int(version)


def _measure(db: sqlite3.Connection, evidence: Path, *, now: float) -> None:
    """Fills in size and time of the alerts of version 1, from their pictures. One without counts as new."""
    last = 0
    while rows := db.execute(
        "SELECT seq, document FROM alerts WHERE seq > ? ORDER BY seq LIMIT ?", (last, _BATCH)
    ).fetchall():
        for seq, document in rows:
            found = [file.stat() for name in named_in(document) if (file := evidence / name).is_file()]
            size, written = sum(state.st_size for state in found), min((s.st_mtime for s in found), default=now)
            db.execute("UPDATE alerts SET bytes = ?, committed_at = ? WHERE seq = ?", (size, written, seq))
        last = rows[-1][0]


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All or nothing of what is executed inside."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def guard(path: Path, action: str) -> Iterator[None]:
    """Turns what the file system and SQLite raise into an OutboxError that names file, reason and remedy."""
    try:
        yield
    except (OverflowError, UnicodeError) as error:
        raise AlertRefused(f"{path}: a value cannot be stored: {error}") from error
    except (sqlite3.Error, OSError) as error:
        where = getattr(error, "filename", None) or path
        raise OutboxError(f"{where}: the outbox cannot be {action}: {error}. {_remedy(error)}") from error


def _remedy(error: Exception) -> str:
    text = str(error)
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "full" in text:
        return "Free some disk space"
    if "locked" in text:
        return f"Another process has held it for {BUSY_S:.0f} s: stop that one"
    if "malformed" in text or "not a database" in text or "corrupt" in text:
        return "The file is damaged: restore it from a copy, or move it away to begin a new one"
    return "Check that the folder exists, that this user may write to it and that the disk works"
