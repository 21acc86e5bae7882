"""The durable store of alerts and camera events, and the one place where alerts get their sequence numbers.

An alert is real once :meth:`Outbox.commit` returned: its pictures are on disk before its row is, so no row ever points
at a picture that was not written. The worker commits through an :class:`Outbox`; the feed, in its own process, removes
through another one what retention no longer keeps; everybody else has an :class:`OutboxReader` of the same file. Each
object is used by one thread at a time.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from stream.durable import write_durably
from stream.errors import AlertRefused, OutboxError
from stream.evidence import LOCAL, PICTURES, inside, name_pictures, named_in, owner_of, pictures_of
from stream.messages import Alert, CameraState, Evidence, Phase, StateEvent
from stream.outbox_schema import BUSY_S, guard, prepare, transaction
from stream.wire import MAX_META_BYTES

_META_RESERVE = 64  # bytes of an alert's JSON that its sequence number may still add

_MOST_REASON = 2000  # characters of a camera event's reason that are kept

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """What retention needs to know of one stored alert message."""

    seq: int
    bytes: int  # of its pictures
    committed_at: float  # Unix seconds


@dataclass(frozen=True, slots=True)
class Usage:
    """What the outbox holds altogether."""

    alerts: int  # messages
    bytes: int  # of their pictures
    oldest: float | None  # Unix seconds at which the oldest was committed; None = there is none


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
            self._db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            with self._guard("opened"):
                prepare(self._db, path, evidence)
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

    def of_alert(self, alert_id: str) -> list[Alert]:
        """All messages of an alert that are still kept, in order."""
        with self._guard("read"):
            rows = self._db.execute(
                "SELECT seq, document FROM alerts WHERE alert_id = ? ORDER BY seq", (alert_id,)
            ).fetchall()
        return [self._alert(*row) for row in rows]

    def evidence_of(self, alert: Alert) -> Evidence:
        """The pictures of a committed alert. A picture that cannot be read is empty, and the loss is logged."""
        return Evidence(**{data: self._picture(alert, getattr(alert, name)) for name, data, _ in PICTURES})

    def deliverable(self, alert: Alert) -> tuple[Alert, Evidence]:
        """The alert for a receiver, with its pictures; ``mask``, ``snapshot`` or ``clip`` becomes None where that
        picture is lost, ``view`` and ``frame`` always: they stay here.

        A lost picture must not hold up the alerts behind it, and must not look as if it were there.
        """
        local: dict[str, Any] = dict.fromkeys(LOCAL)
        found = self.evidence_of(replace(alert, **local))
        lost: dict[str, Any] = {name: None for name, data, _ in PICTURES if not getattr(found, data)}
        return replace(alert, **lost), found

    def first_seq(self) -> int:
        """Lowest number still kept; ``last_seq() + 1`` where none is."""
        with self._guard("read"):
            (first,) = self._db.execute("SELECT min(seq) FROM alerts").fetchone()
        return int(first) if first is not None else self.last_seq() + 1

    def last_seq(self) -> int:
        """Highest number ever given, kept or not; 0 before the first. Cheap enough to be asked 20 times a second."""
        return self._last_of("alerts")

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

    def forget(self, subscriber: str) -> bool:
        """Drops a subscriber's place, so that nothing is kept for it any more. False where there is none."""
        with self._guard("written"):
            return self._db.execute("DELETE FROM subscribers WHERE name = ?", (subscriber,)).rowcount > 0

    def last_event(self) -> int:
        """Highest number ever given to a camera event; 0 before the first. As cheap as :meth:`last_seq`."""
        return self._last_of("events")

    def events_after(self, event_id: int, *, limit: int) -> list[StateEvent]:
        """The camera events that follow ``event_id``, in order, at most ``limit``."""
        query = "SELECT id, camera, state, reason, at_time FROM events WHERE id > ? ORDER BY id LIMIT ?"
        with self._guard("read"):
            return self._events(self._db.execute(query, (event_id, limit)))

    def camera_states(self) -> list[StateEvent]:
        """The latest event of every camera, oldest first."""
        query = "SELECT max(id), camera, state, reason, at_time FROM events GROUP BY camera ORDER BY 1"
        with self._guard("read"):
            return self._events(self._db.execute(query))

    def events_of(self, camera: str, *, since: float, until: float, limit: int) -> list[StateEvent]:
        """A camera's events from ``since`` to ``until`` (Unix seconds), the newest ``limit`` of them, oldest first."""
        query = (
            "SELECT id, camera, state, reason, at_time FROM events"
            " WHERE camera = ? AND at_time >= ? AND at_time < ? ORDER BY id DESC LIMIT ?"
        )
        with self._guard("read"):
            found = self._events(self._db.execute(query, (camera, since, until, limit)))
        return found[::-1]

    def usage(self) -> Usage:
        """What the outbox holds altogether."""
        with self._guard("read"):
            row = self._db.execute(
                "SELECT count(*), coalesce(sum(bytes), 0), min(committed_at) FROM alerts INDEXED BY alerts_kept"
            ).fetchone()
        return Usage(*row)

    def kept_after(self, seq: int, *, limit: int) -> list[Kept]:
        """Size and age of the alerts that follow ``seq``, in order, at most ``limit``."""
        query = "SELECT seq, bytes, committed_at FROM alerts INDEXED BY alerts_kept WHERE seq > ? ORDER BY seq LIMIT ?"
        with self._guard("read"):
            return [Kept(*row) for row in self._db.execute(query, (seq, limit))]

    def claims(self, name: str) -> bool:
        """Whether a stored alert has this file among its pictures; also True where the name does not tell whose it is.

        Args:
            name: relative to the evidence folder.
        """
        owner = owner_of(name)
        if owner is None:
            return True
        with self._guard("read"):
            row = self._db.execute(
                "SELECT document FROM alerts WHERE alert_id = ? AND phase = ? AND frame_seq = ?", owner
            ).fetchone()
        return row is not None and name in named_in(row[0])

    def close(self) -> None:
        """Releases the file. May be called twice."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _last_of(self, table: str) -> int:
        with self._guard("read"):
            row = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
        return 0 if row is None else int(row[0])

    def _events(self, rows: Iterable[Any]) -> list[StateEvent]:
        try:
            return [
                StateEvent(camera, CameraState(state), reason, at_time, id=number)
                for number, camera, state, reason, at_time in rows
            ]
        except ValueError as error:
            raise OutboxError(f"{self.path}: a camera event is damaged: {error}") from error

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
        file = inside(self.evidence, alert, name)
        try:
            return file.read_bytes()
        except OSError as error:
            _log.warning("alert %d: picture %s is lost: %s", alert.seq, file, error.strerror)
            return b""

    def _guard(self, action: str) -> AbstractContextManager[None]:
        return guard(self.path, action)


class Outbox(OutboxReader):
    """The writing side. One process commits; a second one would be safe, but its cameras' alerts would interleave.

    Args:
        path: as for the reader.
        evidence: as for the reader.
        clock: Unix seconds; the time of a commit, by which retention reckons.
    """

    def __init__(self, path: Path, evidence: Path, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(path, evidence)
        self._clock = clock

    def commit(self, alert: Alert, evidence: Evidence) -> Alert:
        """Stores an alert for good and returns it as every reader will see it: numbered, its pictures named.

        ``seq`` and the names of pictures of the argument are ignored; an empty picture gets no name. Nor does a clean
        view or a scoring input that cannot be written: no receiver gets them, and an alert must not wait for them.
        Committing the same (alert_id, phase, frame_seq) again returns what is stored, unchanged.

        Raises:
            AlertRefused: nothing was stored, and never will be: the alert itself is at fault.
            OutboxError: nothing was stored, or it cannot be known: commit again.
        """
        stored = self._find(alert)
        if stored is not None:
            return stored
        named = name_pictures(replace(alert, seq=0), evidence)
        document = _document(named)
        needed = replace(named, view=None, frame=None)
        with self._guard("written"):
            for name, data in pictures_of(needed, evidence):
                write_durably(self.evidence / name, data)
        kept = self._keep_local(named, evidence)
        size = sum(len(data) for _, data in pictures_of(kept, evidence))
        return self._insert(kept, document if kept is named else _document(kept), size)

    def record_event(self, event: StateEvent) -> int:
        """Stores that a camera changed its state; returns the event's number.

        Raises:
            OutboxError: it was not stored, or it cannot be known.
        """
        values = (event.camera, str(event.state), event.reason[:_MOST_REASON], event.at_time)
        with self._guard("written"):
            number = self._db.execute(
                "INSERT INTO events (camera, state, reason, at_time) VALUES (?, ?, ?, ?)", values
            ).lastrowid
        assert number is not None
        return number

    def closing_messages(self, wanted: Callable[[Alert], bool] | None = None) -> list[tuple[Alert, Evidence]]:
        """The messages that end what a writer that was killed left open, to be committed before anything else.

        Each repeats the alert's last message: what came after that is not known.

        Args:
            wanted: told the last message of each open alert; only of those that it wants are pictures read. None: all.
        """
        with self._guard("read"):
            rows = self._db.execute(
                "SELECT seq, document FROM alerts WHERE seq IN (SELECT max(seq) FROM alerts GROUP BY alert_id)"
                " AND phase != ? ORDER BY seq",
                (str(Phase.END),),
            ).fetchall()
        found = [self._alert(*row) for row in rows]
        last = [alert for alert in found if wanted is None or wanted(alert)]
        return [(replace(alert, phase=Phase.END, ended_at=alert.frame_time), self.evidence_of(alert)) for alert in last]

    def remove_through(self, seq: int) -> int:
        """Removes all alerts up to ``seq`` with their pictures. Returns how many went.

        Only a beginning can be removed, so what is kept has no holes; a subscriber that had not had them yet is told
        by the feed. What a crash leaves of their pictures belongs to nobody: see :meth:`claims`.
        """
        with self._guard("written"), transaction(self._db):
            documents = self._db.execute("SELECT document FROM alerts WHERE seq <= ?", (seq,)).fetchall()
            self._db.execute("DELETE FROM alerts WHERE seq <= ?", (seq,))
        with self._guard("written"):  # after the rows: a crash in between leaves a picture too many, not one too few
            for (document,) in documents:
                for name in named_in(document):
                    (self.evidence / name).unlink(missing_ok=True)
        return len(documents)

    def remove_events(self, before: float, *, most: int) -> int:
        """Removes camera events from before that time (Unix seconds), the oldest ``most`` of them at a time; never the
        latest of a camera. Returns how many went.
        """
        with self._guard("written"):
            return self._db.execute(
                "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE at_time < ?"
                " AND id NOT IN (SELECT max(id) FROM events GROUP BY camera) ORDER BY id LIMIT ?)",
                (before, most),
            ).rowcount

    def _keep_local(self, named: Alert, evidence: Evidence) -> Alert:
        """The alert without the names of those local files that cannot be written."""
        lost: dict[str, Any] = {}
        for name, data, _ in PICTURES:
            file = getattr(named, name) if name in LOCAL else None
            try:
                if file is not None:
                    write_durably(self.evidence / file, getattr(evidence, data))
            except OSError as error:
                _log.warning("alert %s is stored without its %s: %s", named.alert_id, name, error)
                lost[name] = None
        return replace(named, **lost) if lost else named

    def _insert(self, named: Alert, document: str, size: int) -> Alert:
        values = (named.alert_id, str(named.phase), named.frame_seq, named.frame_time, document, size, self._clock())
        with self._guard("written"), transaction(self._db):
            seq = self._db.execute(
                "INSERT INTO alerts (alert_id, phase, frame_seq, frame_time, document, bytes, committed_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                values,
            ).lastrowid
        assert seq is not None
        return self._alert(seq, document)

    def _find(self, alert: Alert) -> Alert | None:
        with self._guard("read"):
            row = self._db.execute(
                "SELECT seq, document FROM alerts WHERE alert_id = ? AND phase = ? AND frame_seq = ?",
                (alert.alert_id, str(alert.phase), alert.frame_seq),
            ).fetchone()
        return None if row is None else self._alert(*row)


def _document(alert: Alert) -> str:
    try:
        document = json.dumps(alert.to_json(), separators=(",", ":"), allow_nan=False)
        Alert.from_json(json.loads(document))  # what could not be read again would stop whoever reads it
    except (ValueError, TypeError, OverflowError, OSError) as error:
        raise AlertRefused(f"alert {alert.alert_id}: a value cannot be published: {error}") from error
    if len(document) + _META_RESERVE > MAX_META_BYTES:
        raise AlertRefused(
            f"alert {alert.alert_id}: its JSON has {len(document)} bytes, the feed carries {MAX_META_BYTES}: "
            f"simplify its {len(alert.regions)} regions"
        )
    return document
