"""The durable store of alerts, and the one place where they get their sequence numbers.

An alert is real once :meth:`Outbox.commit` returned: its pictures are on disk before its row is, so no row ever points
at a picture that was not written. The worker holds the :class:`Outbox`; the feed, in its own process, an
:class:`OutboxReader` of the same file. Each object is used by one thread at a time.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

from stream.errors import OutboxError
from stream.messages import Alert, Evidence, Phase, iso_time
from stream.wire import MAX_META_BYTES, MAX_PART_BYTES

SCHEMA_VERSION = 1
"""Kept in ``PRAGMA user_version``; grows when an older program could not work with the file."""

_BUSY_S = 5.0  # the other process commits in milliseconds; a lock held this long is a fault
_META_RESERVE = 64  # bytes of an alert's JSON that its sequence number may still add
_MAX_NAME = 100  # of the 255 bytes that file systems allow; the rest is for suffixes

_SCHEMA: Final = (
    # AUTOINCREMENT: a number is never given twice, not even after the newest rows were removed.
    """CREATE TABLE alerts (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        alert_id TEXT NOT NULL,
        phase TEXT NOT NULL,
        frame_seq INTEGER NOT NULL,
        frame_time REAL NOT NULL,
        document TEXT NOT NULL,
        UNIQUE (alert_id, phase, frame_seq)
    )""",
    "CREATE TABLE subscribers (name TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)

_log = logging.getLogger(__name__)


class OutboxReader:
    """Reads alerts and keeps the subscribers' places, while another process may be committing.

    Args:
        path: the SQLite file; made, with its folder, where there is none yet.
        evidence: folder of the pictures.

    Raises:
        OutboxError: from the constructor and from every method: the file cannot be opened, read or written, is
            damaged, is something else, or was made by a newer version.
    """

    def __init__(self, path: Path, evidence: Path) -> None:
        self.path = path
        self.evidence = evidence
        with self._guard("opened"):
            path.parent.mkdir(parents=True, exist_ok=True)
            # One thread may build the object and another use it; this module never shares it between two at once.
            self._db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            with self._guard("opened"):
                self._prepare()
        except BaseException:
            self._db.close()
            raise

    def read_after(self, seq: int, *, limit: int) -> list[Alert]:
        """The alerts that follow ``seq``, in order, at most ``limit``. A number that is absent was removed."""
        with self._guard("read"):
            rows = self._db.execute(
                "SELECT seq, document FROM alerts WHERE seq > ? ORDER BY seq LIMIT ?", (seq, limit)
            ).fetchall()
        return [self._alert(*row) for row in rows]

    def evidence_of(self, alert: Alert) -> Evidence:
        """The pictures of a committed alert. A picture that cannot be read is empty, and the loss is logged."""
        return Evidence(mask_png=self._picture(alert, alert.mask), snapshot_jpeg=self._picture(alert, alert.snapshot))

    def deliverable(self, alert: Alert) -> tuple[Alert, Evidence]:
        """The alert with its pictures; ``mask`` or ``snapshot`` becomes None where the picture is lost.

        A lost picture must not hold up the alerts behind it, and must not look as if it were there.
        """
        found = self.evidence_of(alert)
        mask = alert.mask if found.mask_png else None
        snapshot = alert.snapshot if found.snapshot_jpeg else None
        return replace(alert, mask=mask, snapshot=snapshot), found

    def first_seq(self) -> int:
        """Lowest number still kept; ``last_seq() + 1`` where none is."""
        with self._guard("read"):
            (first,) = self._db.execute("SELECT min(seq) FROM alerts").fetchone()
        return int(first) if first is not None else self.last_seq() + 1

    def last_seq(self) -> int:
        """Highest number ever given, kept or not; 0 before the first. Cheap enough to be asked 20 times a second."""
        with self._guard("read"):
            row = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'alerts'").fetchone()
        return 0 if row is None else int(row[0])

    def acknowledge(self, subscriber: str, seq: int) -> None:
        """Notes that ``subscriber`` has everything up to ``seq``. A place never moves back."""
        with self._guard("written"):
            self._db.execute(
                "INSERT INTO subscribers (name, seq) VALUES (?, ?) "
                "ON CONFLICT (name) DO UPDATE SET seq = max(seq, excluded.seq)",
                (subscriber, seq),
            )

    def acknowledged(self) -> dict[str, int]:
        """The place of every subscriber that was ever named."""
        with self._guard("read"):
            return {str(name): int(seq) for name, seq in self._db.execute("SELECT name, seq FROM subscribers")}

    def close(self) -> None:
        """Releases the file. May be called twice."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _prepare(self) -> None:
        (mode,) = self._db.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise OutboxError(f"{self.path}: no write-ahead log on this file system: keep it on a local disk")
        # NORMAL may lose the last commits on a power cut, and a commit that returned is a promise.
        self._db.execute("PRAGMA synchronous = FULL")
        with self._transaction():  # two processes may open a new file at the same time
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if version > SCHEMA_VERSION:
                raise OutboxError(
                    f"{self.path}: made by a newer version (schema {version}, this one reads {SCHEMA_VERSION}): "
                    "upgrade spade-stream, or name another outbox file"
                )
            if version == 0 and tables:
                raise OutboxError(f"{self.path}: a SQLite file, but not an outbox: name another file")
            if version == 0:
                for statement in _SCHEMA:
                    self._db.execute(statement)

    def _alert(self, seq: int, document: str) -> Alert:
        try:
            return replace(Alert.from_json(json.loads(document)), seq=seq)
        except (ValueError, AttributeError) as error:
            raise OutboxError(
                f"{self.path}: alert {seq} is damaged: {error}. Restore the file from a copy, or move it away"
            ) from error

    def _picture(self, alert: Alert, name: str | None) -> bytes:
        if name is None:
            return b""
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise OutboxError(f"alert {alert.seq}: picture {name!r} lies outside the evidence folder {self.evidence}")
        try:
            return (self.evidence / name).read_bytes()
        except OSError as error:
            _log.warning("alert %d: picture %s is lost: %s", alert.seq, self.evidence / name, error.strerror)
            return b""

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def _guard(self, action: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, OverflowError, UnicodeError) as error:
            where = getattr(error, "filename", None) or self.path
            raise OutboxError(f"{where}: the outbox cannot be {action}: {error}. {_remedy(error)}") from error


class Outbox(OutboxReader):
    """The writing side. One process holds it; a second one would be safe, but its cameras' alerts would interleave."""

    def commit(self, alert: Alert, evidence: Evidence) -> Alert:
        """Stores an alert for good and returns it as every reader will see it: numbered, its pictures named.

        ``seq``, ``mask`` and ``snapshot`` of the argument are ignored; an empty picture gets no name. Committing the
        same (alert_id, phase, frame_seq) again returns what is stored, unchanged.

        Raises:
            OutboxError: nothing was stored, or it cannot be known: commit again.
        """
        stored = self._find(alert)
        if stored is not None:
            return stored
        named = self._name_pictures(alert, evidence)
        document = self._document(named)
        with self._guard("written"):
            for name, data in ((named.mask, evidence.mask_png), (named.snapshot, evidence.snapshot_jpeg)):
                if name is not None:
                    write_durably(self.evidence / name, data)
            with self._transaction():
                seq = self._db.execute(
                    "INSERT INTO alerts (alert_id, phase, frame_seq, frame_time, document) VALUES (?, ?, ?, ?, ?)",
                    (alert.alert_id, str(alert.phase), alert.frame_seq, alert.frame_time, document),
                ).lastrowid
        assert seq is not None
        return self._alert(seq, document)

    def end_open_alerts(self) -> list[Alert]:
        """Ends what a writer that was killed left open, and returns the closing messages.

        Each repeats the alert's last message: what came after that is not known. Call it before the first commit.
        """
        with self._guard("read"):
            rows = self._db.execute(
                "SELECT seq, document FROM alerts WHERE seq IN (SELECT max(seq) FROM alerts GROUP BY alert_id)"
                " AND phase != ? ORDER BY seq",
                (str(Phase.END),),
            ).fetchall()
        last = [self._alert(*row) for row in rows]
        return [
            self.commit(replace(alert, phase=Phase.END, ended_at=alert.frame_time), self.deliverable(alert)[1])
            for alert in last
        ]

    def prune(self, before: float) -> int:
        """Retention: removes the oldest alerts up to the first whose frame is not older than ``before`` (Unix seconds).

        Only a beginning is ever removed, so what is kept has no holes. Returns how many rows went. A subscriber that
        had not had them yet is told by the feed.
        """
        with self._guard("written"), self._transaction():
            (keep,) = self._db.execute("SELECT min(seq) FROM alerts WHERE frame_time >= ?", (before,)).fetchone()
            bound = keep if keep is not None else self.last_seq() + 1
            rows = self._db.execute("SELECT seq, document FROM alerts WHERE seq < ?", (bound,)).fetchall()
            self._db.execute("DELETE FROM alerts WHERE seq < ?", (bound,))
        with self._guard("written"):  # after the rows: a crash in between leaves a picture too many, not one too few
            for alert in (self._alert(*row) for row in rows):
                for name in (alert.mask, alert.snapshot):
                    if name is not None:
                        (self.evidence / name).unlink(missing_ok=True)
        return len(rows)

    def _find(self, alert: Alert) -> Alert | None:
        with self._guard("read"):
            row = self._db.execute(
                "SELECT seq, document FROM alerts WHERE alert_id = ? AND phase = ? AND frame_seq = ?",
                (alert.alert_id, str(alert.phase), alert.frame_seq),
            ).fetchone()
        return None if row is None else self._alert(*row)

    def _name_pictures(self, alert: Alert, evidence: Evidence) -> Alert:
        for what, data in (("mask", evidence.mask_png), ("snapshot", evidence.snapshot_jpeg)):
            if len(data) > MAX_PART_BYTES:
                raise OutboxError(
                    f"alert {alert.alert_id}: its {what} has {len(data)} bytes, the feed carries {MAX_PART_BYTES}: "
                    "make smaller pictures"
                )
        # Named after what identifies the message: committing again after a crash overwrites, and leaves no orphan.
        try:
            folder = f"{iso_time(alert.frame_time)[:10]}/{safe_name(alert.camera)}"
            stem = f"{folder}/{safe_name(alert.alert_id)}-{alert.phase}-{alert.frame_seq}"
        except (ValueError, OverflowError, OSError) as error:
            raise OutboxError(
                f"alert {alert.alert_id!r} of {alert.camera!r} at {alert.frame_time!r} cannot name a file: {error}"
            ) from error
        return replace(
            alert,
            seq=0,
            mask=f"{stem}.mask.png" if evidence.mask_png else None,
            snapshot=f"{stem}.jpg" if evidence.snapshot_jpeg else None,
        )

    def _document(self, alert: Alert) -> str:
        try:
            document = json.dumps(alert.to_json(), separators=(",", ":"), allow_nan=False)
        except (ValueError, TypeError, OverflowError, OSError) as error:
            raise OutboxError(f"alert {alert.alert_id}: a value cannot be published: {error}") from error
        if len(document) + _META_RESERVE > MAX_META_BYTES:
            raise OutboxError(
                f"alert {alert.alert_id}: its JSON has {len(document)} bytes, the feed carries {MAX_META_BYTES}: "
                f"simplify its {len(alert.regions)} regions"
            )
        return document


def write_durably(path: Path, data: bytes) -> None:
    """Writes a file so that after a crash it is there whole or not at all; folders on the way are made.

    Raises:
        OSError: it is not there, or an older one of that name still is.
    """
    _make_folder(path.parent)
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    _sync_folder(path.parent)


def safe_name(text: str) -> str:
    """A file name for any text; different texts get different names."""
    name = quote(text, safe="").replace(".", "%2E", 1) if text.startswith(".") else quote(text, safe="")
    if len(name) > _MAX_NAME:
        # "=" never comes out of quote(), so no short text can have this name.
        return f"{name[: _MAX_NAME - 33]}={hashlib.sha256(text.encode()).hexdigest()[:32]}"
    return name or "="


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remedy(error: Exception) -> str:
    text = str(error)
    if getattr(error, "errno", None) == errno.ENOSPC or "full" in text:
        return "Free some disk space"
    if "locked" in text:
        return f"Another process has held it for {_BUSY_S:.0f} s: stop that one"
    if "malformed" in text or "not a database" in text or "corrupt" in text:
        return "The file is damaged: restore it from a copy, or move it away to begin a new one"
    return "Check that the folder exists, that this user may write to it and that the disk works"
