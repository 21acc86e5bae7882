"""What the console itself remembers: alerts in one row each with what people said of them, who did what, and sessions.

One SQLite file, ``STATE/console.sqlite``, used by this process alone. The alerts' messages and pictures stay in the
outbox; losing this file loses reviews and the audit trail, and no alert.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stream.console.records import Action, ReviewConflict, Seen, Wanted
from stream.console.summary import Summary, merged
from stream.errors import ConsoleStoreError
from stream.messages import Alert
from stream.redact import redact_text

SCHEMA_VERSION = 2
"""Kept in ``PRAGMA user_version``."""

MOST_AUDIT = 200_000
"""Entries of the audit trail that are kept; the oldest go first. Years of an operator's work."""

_BUSY_S = 5.0
_TABLES = (
    """CREATE TABLE alerts (
        alert_id TEXT PRIMARY KEY, camera TEXT NOT NULL, scene TEXT NOT NULL, phase TEXT NOT NULL,
        started_at REAL NOT NULL, ended_at REAL, peak_strength REAL NOT NULL, last_seq INTEGER NOT NULL,
        has INTEGER NOT NULL, review TEXT NOT NULL, reviewed_by TEXT NOT NULL, reviewed_at REAL, note TEXT NOT NULL
    ) WITHOUT ROWID""",
    "CREATE INDEX alerts_by_time ON alerts (started_at, alert_id)",
    "CREATE INDEX alerts_of_camera ON alerts (camera, started_at, alert_id)",
    "CREATE INDEX alerts_by_review ON alerts (review, started_at, alert_id)",
    """CREATE TABLE audit (
        id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, user TEXT NOT NULL, action TEXT NOT NULL,
        camera TEXT, scene TEXT, alert_id TEXT, detail TEXT NOT NULL
    )""",
    "CREATE INDEX audit_of_alert ON audit (alert_id, id)",
    "CREATE INDEX audit_of_camera ON audit (camera, id)",
    "CREATE TABLE place (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL) WITHOUT ROWID",
    "INSERT INTO place VALUES (1, 0)",
    """CREATE TABLE sessions (
        key TEXT PRIMARY KEY, user TEXT NOT NULL, used REAL NOT NULL, credential TEXT NOT NULL DEFAULT ''
    ) WITHOUT ROWID""",
)
_FROM_1 = "ALTER TABLE sessions ADD COLUMN credential TEXT NOT NULL DEFAULT ''"  # of those nobody is logged in any more
_COLUMNS = (
    "alert_id, camera, scene, phase, started_at, ended_at, peak_strength, last_seq, has, review, reviewed_by,"
    " reviewed_at, note"
)

_log = logging.getLogger(__name__)


class Store:
    """The console's memory. Any thread may use it.

    Args:
        path: of the file; made where there is none, readable by this user alone.
        clock: Unix seconds.

    Raises:
        ConsoleStoreError: from every method: it cannot be opened, read or written.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.path, self._clock = path, clock
        self._lock = threading.RLock()
        with self._guard("opened"):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(mode=0o600)
            self._db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise

    # -- alerts -------------------------------------------------------------------------------------------------------

    def place(self) -> int:
        """The last sequence number that :meth:`add` took."""
        with self._guard("read"):
            return int(self._db.execute("SELECT seq FROM place").fetchone()[0])

    def add(self, alert: Alert) -> Summary:
        """Takes a message into its alert's row, and moves the place. Taking it twice changes nothing."""
        with self._writing():
            known = self._find(alert.alert_id)
            summary = merged(known, alert)
            self._db.execute(
                f"INSERT OR REPLACE INTO alerts ({_COLUMNS}) VALUES ({', '.join('?' * 13)})", summary.row()
            )
            self._db.execute("UPDATE place SET seq = max(seq, ?)", (alert.seq,))
        return summary

    def skip(self, seq: int) -> None:
        """Moves the place over what is gone for good."""
        with self._writing():
            self._db.execute("UPDATE place SET seq = max(seq, ?)", (seq,))

    def known_at(self, seq: int) -> str | None:
        """The alert whose last message had this number; None where that is not known."""
        with self._guard("read"):
            row = self._db.execute("SELECT alert_id FROM alerts WHERE last_seq = ?", (seq,)).fetchone()
        return None if row is None else str(row[0])

    def start_over(self) -> None:
        """For an outbox whose numbers are not those that were had: everything of it is yet to be taken. What people
        said of its alerts stays; those of which it has nothing go with the next :meth:`drop_alerts`."""
        with self._writing():
            self._db.execute("UPDATE alerts SET last_seq = 0")
            self._db.execute("UPDATE place SET seq = 0")

    def drop_alerts(self, before_seq: int) -> int:
        """Drops the alerts of which the outbox has nothing any more. Returns how many."""
        with self._writing():
            return self._db.execute("DELETE FROM alerts WHERE last_seq < ?", (before_seq,)).rowcount

    def alert(self, alert_id: str) -> Summary | None:
        """One alert, or None."""
        with self._guard("read"):
            return self._find(alert_id)

    def alerts(self, wanted: Wanted, *, limit: int) -> list[Summary]:
        """The newest first, at most ``limit``."""
        terms, values = [], []
        for term, value in (
            ("camera = ?", wanted.camera),
            ("started_at >= ?", wanted.since),
            ("started_at < ?", wanted.until),
            ("review = ?", wanted.review),
        ):
            if value is not None:
                terms.append(term)
                values.append(value)
        if wanted.before is not None:
            terms.append("(started_at, alert_id) < (?, ?)")
            values.extend(wanted.before)
        where = f"WHERE {' AND '.join(terms)}" if terms else ""
        query = f"SELECT {_COLUMNS} FROM alerts {where} ORDER BY started_at DESC, alert_id DESC LIMIT ?"
        with self._guard("read"):
            return [Summary.of_row(row) for row in self._db.execute(query, (*values, limit))]

    def count_open(self) -> int:
        """Alerts that nobody has reviewed yet."""
        with self._guard("read"):
            return int(self._db.execute("SELECT count(*) FROM alerts WHERE review = 'open'").fetchone()[0])

    def confirmed_real(self, camera: str, *, since: float) -> list[str]:
        """Ids of the alerts of a camera that somebody called real."""
        query = "SELECT alert_id FROM alerts WHERE camera = ? AND started_at >= ? AND review = 'real'"
        with self._guard("read"):
            return [str(row[0]) for row in self._db.execute(query, (camera, since))]

    def confirmed_real_in(self, scene: str, *, since: float, limit: int) -> list[str]:
        """Ids of the alerts of a scene that somebody called real, the newest ``limit`` of them."""
        query = "SELECT alert_id FROM alerts WHERE scene = ? AND started_at >= ? AND review = 'real'"
        with self._guard("read"):
            rows = self._db.execute(query + " ORDER BY started_at DESC LIMIT ?", (scene, since, limit))
            return [str(row[0]) for row in rows]

    def review(
        self, alert_id: str, verdict: str, note: str, action: Action, *, expected: Seen | None = None
    ) -> Summary | None:
        """Notes what somebody says of an alert, with its entry in the audit trail; None where there is none.

        Raises:
            ReviewConflict: the review is not the ``expected`` one any more.
        """
        with self._writing():
            known = self._find(alert_id)
            if known is None:
                return None
            if expected is not None and Seen.of(known) != expected:
                raise ReviewConflict(known)
            by, at = ("", None) if verdict == "open" else (action.user, self._clock())
            self._db.execute(
                "UPDATE alerts SET review = ?, reviewed_by = ?, reviewed_at = ?, note = ? WHERE alert_id = ?",
                (verdict, by, at, note, alert_id),
            )
            self._note(action)
            return self._find(alert_id)

    # -- the audit trail ----------------------------------------------------------------------------------------------

    @contextmanager
    def recording(self, action: Action, *, refused: tuple[type[Exception], ...] = ()) -> Iterator[int]:
        """What is done inside has its entry in the trail: that is on disk before it begins. Gives the entry's number.

        Args:
            action: what is going to be done.
            refused: errors after which nothing has been done for sure: the entry goes again. After any other one it
                stays, and says that it failed.
        """
        with self._writing():
            entry = self._note(action)
        try:
            yield entry
        except refused:
            self._try_to_mend(entry, lambda: self._withdraw(entry))
            raise
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            self._try_to_mend(entry, lambda: self.amend(entry, {"failed": redact_text(said)}))
            raise

    def amend(self, entry: int, more: Mapping[str, Any]) -> None:
        """Adds to the detail of an entry: how it went on. One that is not there any more stays away."""
        with self._writing():
            row = self._db.execute("SELECT detail FROM audit WHERE id = ?", (entry,)).fetchone()
            if row is not None:
                detail = json.dumps({**json.loads(row[0]), **more}, separators=(",", ":"))
                self._db.execute("UPDATE audit SET detail = ? WHERE id = ?", (detail, entry))

    def record(self, action: Action) -> None:
        """Adds an entry."""
        with self.recording(action):
            pass

    def audit(
        self, *, camera: str | None = None, alert_id: str | None = None, before: int | None = None, limit: int
    ) -> list[dict[str, Any]]:
        """Entries, the newest first; JSON-able, with ``at`` in Unix seconds."""
        terms = {"camera = ?": camera, "alert_id = ?": alert_id, "id < ?": before}
        given = {term: value for term, value in terms.items() if value is not None}
        where = f"WHERE {' AND '.join(given)}" if given else ""
        names = ("id", "at", "user", "action", "camera", "scene", "alert_id", "detail")
        query = f"SELECT {', '.join(names)} FROM audit {where} ORDER BY id DESC LIMIT ?"
        with self._guard("read"):
            rows = self._db.execute(query, (*given.values(), limit)).fetchall()
        return [dict(zip(names, (*row[:-1], json.loads(row[-1])), strict=True)) for row in rows]

    # -- sessions -----------------------------------------------------------------------------------------------------

    def sessions(self) -> list[tuple[str, str, str, float]]:
        """(key, user, credential, Unix seconds of its last use) of every session."""
        with self._guard("read"):
            rows = self._db.execute("SELECT key, user, credential, used FROM sessions")
            return [(str(k), str(u), str(c), float(t)) for k, u, c, t in rows]

    def keep_session(self, key: str, user: str, credential: str, used: float) -> None:
        """Notes a session, or its last use."""
        with self._writing():
            query = "INSERT OR REPLACE INTO sessions (key, user, used, credential) VALUES (?, ?, ?, ?)"
            self._db.execute(query, (key, user, used, credential))

    def drop_session(self, key: str) -> None:
        """Forgets a session."""
        with self._writing():
            self._db.execute("DELETE FROM sessions WHERE key = ?", (key,))

    def close(self) -> None:
        """Releases the file. May be called twice."""
        with self._lock:
            self._db.close()

    # -- the file -----------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")  # what somebody said must not be gone after a power cut
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise ConsoleStoreError(f"{self.path}: made by a newer version (schema {version}): upgrade spade-stream")
        if version < SCHEMA_VERSION:
            with self._writing():
                for statement in _TABLES if version == 0 else (_FROM_1,):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _find(self, alert_id: str) -> Summary | None:
        row = self._db.execute(f"SELECT {_COLUMNS} FROM alerts WHERE alert_id = ?", (alert_id,)).fetchone()
        return None if row is None else Summary.of_row(row)

    def _withdraw(self, entry: int) -> None:
        with self._writing():
            self._db.execute("DELETE FROM audit WHERE id = ?", (entry,))

    def _try_to_mend(self, entry: int, act: Callable[[], None]) -> None:
        try:
            act()
        except ConsoleStoreError as error:  # what went wrong first is what has to be told
            _log.error("entry %d of the audit trail tells of something that was not done: %s", entry, error)

    def _note(self, action: Action) -> int:
        detail = json.dumps(dict(action.detail or {}), separators=(",", ":"))
        values = (self._clock(), action.user, action.action, action.camera, action.scene, action.alert_id, detail)
        number = self._db.execute(
            "INSERT INTO audit (at, user, action, camera, scene, alert_id, detail) VALUES (?, ?, ?, ?, ?, ?, ?)", values
        ).lastrowid
        self._db.execute("DELETE FROM audit WHERE id <= ?", ((number or 0) - MOST_AUDIT,))
        return number or 0

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._guard("written"):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _guard(self, action: str) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                remedy = "Check the disk, and that this user may write there"
                raise ConsoleStoreError(f"{self.path} cannot be {action}: {error}. {remedy}") from error
