"""The name of an outbox: made once, and kept inside it, so that it goes wherever the file goes. For the stations,
and for feeds, which say it to subscribers.

A file beside the outbox would do as well until somebody replaces one of the two. An outbox that was thrown away gets a
new name with its successor; one that was moved to another disk keeps its own.
"""

from __future__ import annotations

import secrets
import sqlite3
from contextlib import closing
from pathlib import Path

from stream.errors import OutboxError
from stream.outbox_schema import BUSY_S, guard, transaction

_TABLE = "CREATE TABLE IF NOT EXISTS identity (one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL)"
# A table beside those of ``outbox_schema``, without a new version of it: programs that do not know it do without.


def outbox_id(path: Path) -> str:
    """The name of an outbox that is there; it is made where it has none yet, and on the disk when this returns.

    Args:
        path: of the outbox (``Config.outbox``), made by :class:`stream.outbox.Outbox`.

    Raises:
        OutboxError: it cannot be read or written.
    """
    if not path.exists():
        raise OutboxError(f"{path}: there is no outbox yet")
    with guard(path, "named"), closing(sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = FULL")
        found = _read(db)
        if found is None:
            with transaction(db):  # another process may be making it at the same time
                db.execute(_TABLE)
                db.execute("INSERT OR IGNORE INTO identity (one, id) VALUES (1, ?)", (secrets.token_hex(8),))
            found = _read(db)
    if found is None:
        raise OutboxError(f"{path}: the outbox cannot be named; move it away to begin a new one")
    return found


def known_outbox_id(path: Path) -> str:
    """The name of an outbox that has one; "" for those of single machines, which need none.

    Raises:
        OutboxError: it cannot be read.
    """
    with guard(path, "read"), closing(sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)) as db:
        return _read(db) or ""


def _read(db: sqlite3.Connection) -> str | None:
    if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'identity'").fetchone() is None:
        return None
    row = db.execute("SELECT id FROM identity").fetchone()
    return str(row[0]) if row else None
