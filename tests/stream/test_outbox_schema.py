"""A file of an older version becomes one of this version in place, with all that is in it."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from pathlib import Path

import pytest

from stream.errors import OutboxError
from stream.messages import Alert, CameraState, Evidence, Phase, StateEvent
from stream.outbox import Kept, Outbox, OutboxReader
from stream.outbox_schema import SCHEMA_VERSION

VERSION_1 = """
CREATE TABLE alerts (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    alert_id TEXT NOT NULL,
    phase TEXT NOT NULL,
    frame_seq INTEGER NOT NULL,
    frame_time REAL NOT NULL,
    document TEXT NOT NULL,
    UNIQUE (alert_id, phase, frame_seq)
);
CREATE TABLE subscribers (name TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
PRAGMA user_version = 1;
"""


def an_alert(n: int, **pictures: str) -> Alert:
    return Alert(0, f"a{n}", Phase.START, "gate", "yard", 0.0, float(n), n, 2.0, 1.0, (), (), **pictures)  # type: ignore[arg-type]


@pytest.fixture
def paths(tmp_path: Path) -> tuple[Path, Path]:
    """A file of version 1: alert 1 was removed, 2 has both pictures, 3 has lost one, 4 never had any."""
    path, evidence = tmp_path / "outbox.db", tmp_path / "evidence"
    evidence.mkdir()
    alerts = [
        an_alert(1),
        an_alert(2, mask="2.mask.png", snapshot="2.jpg"),
        an_alert(3, mask="3.mask.png", snapshot="3.jpg"),
        an_alert(4),
    ]
    with sqlite3.connect(path) as db:
        db.executescript(VERSION_1)
        for alert in alerts:
            row = (alert.alert_id, "start", alert.frame_seq, alert.frame_time, json.dumps(alert.to_json()))
            db.execute(
                "INSERT INTO alerts (alert_id, phase, frame_seq, frame_time, document) VALUES (?, ?, ?, ?, ?)", row
            )
        db.execute("DELETE FROM alerts WHERE seq = 1")
        db.execute("INSERT INTO subscribers VALUES ('archive', 2)")
    for name, size, written in (("2.mask.png", 10, 1000), ("2.jpg", 20, 1001), ("3.jpg", 5, 2000)):
        (evidence / name).write_bytes(bytes(size))
        os.utime(evidence / name, (written, written))
    return path, evidence


def test_sizes_and_times_are_taken_from_the_pictures(paths: tuple[Path, Path]) -> None:
    with Outbox(*paths) as outbox:
        first, second, third = outbox.kept_after(0, limit=9)

    assert (first, second) == (Kept(2, 30, 1000.0), Kept(3, 5, 2000.0))
    assert (third.seq, third.bytes) == (4, 0)
    assert third.committed_at > 2000.0  # without a picture it counts as new


def test_alerts_places_and_numbering_stay(paths: tuple[Path, Path]) -> None:
    with Outbox(*paths) as outbox:
        assert [alert.alert_id for alert in outbox.read_after(0, limit=9)] == ["a2", "a3", "a4"]
        assert (outbox.first_seq(), outbox.last_seq(), outbox.acknowledged()) == (2, 4, {"archive": 2})
        assert outbox.commit(an_alert(3), Evidence(b"", b"")).seq == 3
        assert outbox.commit(an_alert(5), Evidence(b"", b"")).seq == 5
        assert outbox.record_event(StateEvent("gate", CameraState.LIVE, "", 0.0)) == 1


def test_a_migrated_file_and_a_new_one_are_the_same(paths: tuple[Path, Path], tmp_path: Path) -> None:
    OutboxReader(*paths).close()
    OutboxReader(tmp_path / "new.db", tmp_path / "evidence").close()
    found = []
    for path in (paths[0], tmp_path / "new.db"):
        with sqlite3.connect(path) as db:
            columns = db.execute("SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c").fetchall()
            found.append((sorted(columns), db.execute("PRAGMA user_version").fetchone()))

    assert found[0] == found[1]
    assert found[0][1] == (SCHEMA_VERSION,)


def test_a_migration_that_fails_leaves_the_file_as_it_was(
    paths: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("disk I/O error")

    monkeypatch.setattr("stream.outbox_schema._measure", fail)
    with pytest.raises(OutboxError, match="disk I/O error"):
        Outbox(*paths)
    with sqlite3.connect(paths[0]) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        assert db.execute("SELECT count(*) FROM pragma_table_info('alerts')").fetchone() == (6,)


def test_a_new_file_that_another_process_is_just_making_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")  # SQLite refuses the write-ahead log meanwhile, and does not wait by itself
    done = threading.Timer(0.3, other.rollback)
    done.start()
    with Outbox(path, tmp_path / "evidence") as outbox:
        assert outbox.last_seq() == 0
    done.join()
    other.close()
