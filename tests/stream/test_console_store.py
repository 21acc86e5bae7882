"""What the console remembers, and how it keeps up with the outbox and the feed."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterable
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from console_fakes import a_config, an_alert, built, caught_up, commit
from feed_fakes import PATIENCE_S, Place, a_place

from stream.config import Config
from stream.console.events import Hub
from stream.console.follower import Follower
from stream.console.records import Action, ReviewConflict, Seen, Wanted
from stream.console.store import Store
from stream.console.summary import merged
from stream.errors import ConsoleStoreError
from stream.messages import Evidence, Phase, iso_time
from stream.outbox import Outbox, OutboxReader
from stream.subscriber import AlertSubscriber, Gap


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "console.sqlite", clock=lambda: 5000.0)


def numbered(seq: int, number: int, phase: Phase = Phase.START, *, at: float = 100.0, strength: float = 1.5) -> Any:
    from dataclasses import replace

    return replace(an_alert(number, phase, at=at, strength=strength), seq=seq, snapshot="a.jpg")


def commit_all(config: Config, numbers: Iterable[int]) -> None:
    """Commits these alerts, while the console does not run."""
    with Outbox(config.outbox, config.evidence) as outbox:
        for number in numbers:
            commit(outbox, number, at=100.0 * number)


def test_messages_of_one_alert_become_one_row(store: Store) -> None:
    store.add(numbered(1, 7, Phase.START, strength=1.5))
    store.add(numbered(2, 7, Phase.UPDATE, strength=2.5))
    summary = store.add(numbered(3, 7, Phase.END, strength=1.2))
    assert (summary.phase, summary.peak_strength, summary.last_seq, summary.ended_at) == ("end", 2.5, 3, 111.0)
    assert store.place() == 3
    assert [alert.alert_id for alert in store.alerts(Wanted(), limit=9)] == ["north-gate-0007"]
    assert summary.to_json()["has"] == {"snapshot": True, "view": False, "mask": False, "clip": False}


def test_a_message_that_comes_twice_or_late_changes_nothing(store: Store) -> None:
    end = store.add(numbered(3, 7, Phase.END))
    assert merged(end, numbered(2, 7, Phase.UPDATE, strength=1.0)) == end
    assert store.add(numbered(3, 7, Phase.END)) == end


def test_alerts_come_newest_first_and_page_by_page(store: Store) -> None:
    for seq in range(1, 8):
        store.add(numbered(seq, seq, at=100.0 * (seq // 2)))  # some at the same moment
    pages, before = [], None
    while page := store.alerts(Wanted(before=before), limit=3):
        pages.append([alert.alert_id[-1] for alert in page])
        before = (page[-1].started_at, page[-1].alert_id)
    assert pages == [["7", "6", "5"], ["4", "3", "2"], ["1"]]


def test_alerts_are_filtered_by_camera_time_and_review(store: Store) -> None:
    for seq in range(1, 5):
        store.add(numbered(seq, seq, at=100.0 * seq))
    store.review("north-gate-0002", "real", "", Action("anna", "review", alert_id="north-gate-0002"))

    def found(**wanted: Any) -> list[str]:
        return [alert.alert_id[-1] for alert in store.alerts(Wanted(**wanted), limit=9)]

    assert found(camera="yard") == []
    assert found(since=200.0, until=400.0) == ["3", "2"]
    assert found(review="real") == ["2"]
    assert found(review="open", camera="north-gate") == ["4", "3", "1"]
    assert store.count_open() == 3
    assert store.confirmed_real("north-gate", since=0.0) == ["north-gate-0002"]


def test_a_review_stays_when_further_messages_come(store: Store) -> None:
    store.add(numbered(1, 7))
    reviewed = store.review("north-gate-0007", "false", "a cat", Action("anna", "review", alert_id="north-gate-0007"))
    assert reviewed is not None
    after = store.add(numbered(2, 7, Phase.END))
    assert (after.review, after.reviewed_by, after.reviewed_at, after.note) == ("false", "anna", 5000.0, "a cat")
    taken_back = store.review("north-gate-0007", "open", "", Action("ben", "review", alert_id="north-gate-0007"))
    assert taken_back is not None
    assert (taken_back.review, taken_back.reviewed_by, taken_back.reviewed_at) == ("open", "", None)


def test_a_review_of_no_alert_leaves_no_entry(store: Store) -> None:
    assert store.review("nothing", "real", "", Action("anna", "review")) is None
    assert store.audit(limit=9) == []


def test_the_entry_is_on_disk_before_anything_is_done(store: Store) -> None:
    other = Store(store.path)
    with store.recording(Action("anna", "zones")):
        assert [entry["action"] for entry in other.audit(limit=9)] == ["zones"]
    other.close()


def test_where_the_entry_cannot_be_written_nothing_is_done(store: Store) -> None:
    store.close()
    done: list[int] = []
    with pytest.raises(ConsoleStoreError), store.recording(Action("anna", "zones")):
        done.append(1)
    assert done == []


def test_what_fails_is_called_failed_in_its_entry(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.recording(Action("anna", "zones", detail={"after": 2})):
        1 / 0  # noqa: B018
    assert [entry["detail"] for entry in store.audit(limit=9)] == [
        {"after": 2, "failed": "ZeroDivisionError: division by zero"}
    ]


def test_a_review_that_is_not_the_expected_one_stays(store: Store) -> None:
    known = store.add(numbered(1, 7))
    action = Action("anna", "review", alert_id=known.alert_id)
    after = store.review(known.alert_id, "real", "", action, expected=Seen("open", None))
    assert after is not None
    with pytest.raises(ReviewConflict, match=r"anna has called it real meanwhile"):
        store.review(known.alert_id, "false", "", Action("ben", "review"), expected=Seen("open", None))
    assert store.alert(known.alert_id) == after
    assert len(store.audit(limit=9)) == 1
    seen = Seen("real", iso_time(5000.0))
    assert store.review(known.alert_id, "false", "", Action("ben", "review"), expected=seen) is not None


def test_a_store_of_before_is_taken_over_and_logs_everybody_out(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    old = Store(path)
    old.record(Action("anna", "login"))
    old.close()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("DROP TABLE sessions")
        db.execute("CREATE TABLE sessions (key TEXT PRIMARY KEY, user TEXT NOT NULL, used REAL NOT NULL) WITHOUT ROWID")
        db.execute("INSERT INTO sessions VALUES ('k', 'anna', 1.0)")
        db.execute("PRAGMA user_version = 1")
    store = Store(path)
    assert store.sessions() == [("k", "anna", "", 1.0)]
    assert len(store.audit(limit=9)) == 1


def test_what_was_refused_leaves_no_entry_and_what_works_leaves_one(store: Store) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        store.recording(Action("anna", "zones", camera="gate"), refused=(ZeroDivisionError,)),
    ):
        1 / 0  # noqa: B018
    assert store.audit(limit=9) == []
    with store.recording(Action("anna", "zones", camera="gate", detail={"before": 1, "after": 2})):
        pass
    assert store.audit(limit=9) == [
        {
            "id": 2,
            "at": 5000.0,
            "user": "anna",
            "action": "zones",
            "camera": "gate",
            "scene": None,
            "alert_id": None,
            "detail": {"before": 1, "after": 2},
        }
    ]


def test_the_audit_trail_is_asked_by_camera_alert_and_page(store: Store) -> None:
    for number in range(4):
        store.record(Action("anna", "review", camera=f"cam-{number % 2}", alert_id=f"a{number}"))
    assert [entry["id"] for entry in store.audit(camera="cam-1", limit=9)] == [4, 2]
    assert [entry["id"] for entry in store.audit(alert_id="a0", limit=9)] == [1]
    assert [entry["id"] for entry in store.audit(before=3, limit=1)] == [2]


def test_the_file_is_private_and_lasts(tmp_path: Path) -> None:
    path = tmp_path / "console.sqlite"
    with_alert = Store(path)
    with_alert.add(numbered(4, 1))
    with_alert.close()
    assert path.stat().st_mode & 0o777 == 0o600
    assert Store(path).place() == 4


def test_a_file_that_is_something_else_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "console.sqlite"
    path.write_bytes(b"no database" * 100)
    with pytest.raises(ConsoleStoreError, match=r"console\.sqlite"):
        Store(path)


def test_what_was_committed_before_is_read_from_the_outbox(tmp_path: Path) -> None:
    config = a_config(tmp_path)
    commit_all(config, range(1, 4))
    with built(config) as parts:
        caught_up(config, parts)
        assert parts.store.place() == 9
        assert len(parts.store.alerts(Wanted(), limit=9)) == 3


def test_alerts_that_retention_removed_are_told_and_dropped(tmp_path: Path) -> None:
    config = a_config(tmp_path)
    with built(config) as parts, Outbox(config.outbox, config.evidence) as outbox:
        told: list[Any] = []
        parts.hub.publish = lambda event, data: told.append((event, dict(data)))  # type: ignore[method-assign]
        commit(outbox, 1, at=100.0)
        caught_up(config, parts)
        for number in (2, 3):
            commit(outbox, number, at=100.0 * number)
        outbox.remove_through(6)
        told.clear()
        caught_up(config, parts)
        assert told[0] == ("lost", {"first": 4, "last": 6})
        assert [alert.alert_id[-1] for alert in parts.store.alerts(Wanted(), limit=9)] == ["3"]


def test_an_outbox_that_was_put_back_does_not_stop_the_console(tmp_path: Path) -> None:
    config = a_config(tmp_path)
    with built(config) as parts:
        with Outbox(config.outbox, config.evidence) as outbox:
            commit(outbox, 1, at=100.0)
        parts.store.add(numbered(50, 9))
        caught_up(config, parts)
        assert parts.store.place() == 3
        assert parts.store.alert("north-gate-0009") is None


@pytest.mark.parametrize("fresh", [1, 5], ids=["a shorter one", "a longer one"])
def test_all_alerts_of_an_outbox_that_took_the_place_of_another_are_shown(tmp_path: Path, fresh: int) -> None:
    config = a_config(tmp_path)
    commit_all(config, range(1, 4))
    with built(config) as parts:
        caught_up(config, parts)
    for path in config.outbox.parent.glob(f"{config.outbox.name}*"):
        path.unlink()
    numbers = range(11, 11 + fresh)
    commit_all(config, numbers)
    with built(config) as parts:
        caught_up(config, parts)
        found = parts.store.alerts(Wanted(), limit=99)
        assert [alert.alert_id for alert in found] == [f"north-gate-{number:04d}" for number in reversed(numbers)]
        assert parts.store.place() == 3 * fresh


def test_what_was_said_of_alerts_stays_when_an_older_copy_of_the_outbox_is_put_back(tmp_path: Path) -> None:
    config = a_config(tmp_path)
    with built(config) as parts:
        with Outbox(config.outbox, config.evidence) as outbox:
            commit(outbox, 1, at=100.0)
        caught_up(config, parts)
        parts.store.review("north-gate-0001", "real", "a cart", Action("anna", "review"))
        parts.store.add(numbered(50, 1, Phase.UPDATE))
        caught_up(config, parts)
        found = parts.store.alert("north-gate-0001")
        assert found is not None
        assert (found.review, found.note, found.phase, found.last_seq) == ("real", "a cart", "end", 3)


@contextmanager
def following(place: Place, store: Store, hub: Hub) -> Any:
    stop = threading.Event()
    states: list[Any] = []

    def subscribe(since: int, on_event: Any) -> AlertSubscriber:
        return AlertSubscriber(place.endpoint, since=since, on_event=on_event)

    follower = Follower(
        store,
        outbox=lambda: OutboxReader(*place.paths),
        subscribe=subscribe,
        hub=hub,
        on_event=states.append,
        on_feed=lambda connected, seq: None,
    )
    thread = threading.Thread(target=follower.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()


def wait_for(condition: Any, what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_new_alerts_come_over_the_feed_under_no_name(store: Store) -> None:
    with a_place() as place, place.serving() as feed:
        commit(place.outbox, 1, at=100.0)
        with following(place, store, Hub()):
            wait_for(lambda: store.place() == 3, "what was there before")
            wait_for(lambda: len(feed._subscribers) == 1, "it subscribes")
            commit(place.outbox, 2, at=200.0)
            wait_for(lambda: store.place() == 6, "what is new")
        summary = store.alert("north-gate-0002")
        assert summary is not None
        assert summary.to_json()["has"]["mask"]
        assert place.outbox.acknowledged() == {}, "it holds up no retention"


def test_a_gap_moves_the_place(store: Store, tmp_path: Path) -> None:
    class Feed:
        gaps: tuple[Gap, ...] = ()
        connected = True

        def poll(self, timeout: float) -> None:
            self.gaps = (Gap(1, 4),)
            if store.place() == 4:
                stop.set()

        def __enter__(self) -> Feed:
            return self

        def __exit__(self, *_: object) -> None: ...

    stop = threading.Event()
    follower = Follower(
        store,
        outbox=lambda: OutboxReader(tmp_path / "outbox.sqlite", tmp_path),
        subscribe=lambda place, on_event: Feed(),
        hub=Hub(),
        on_event=lambda event: None,
        on_feed=lambda connected, seq: None,
    )
    with OutboxReader(tmp_path / "outbox.sqlite", tmp_path) as outbox:
        follower._follow(outbox, stop)
    assert store.place() == 4


def test_a_follower_goes_on_after_whatever_goes_wrong(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.console.follower.TRY_AGAIN", 0.01)
    stop, tries = threading.Event(), []

    def broken() -> OutboxReader:
        tries.append(1)
        if len(tries) == 3:
            stop.set()
        raise RuntimeError("a bug")

    follower = Follower(
        store,
        outbox=broken,
        subscribe=lambda place, on_event: None,  # type: ignore[arg-type, return-value]
        hub=Hub(),
        on_event=lambda event: None,
        on_feed=lambda connected, seq: None,
    )
    follower.run(stop)
    assert len(tries) == 3


def test_evidence_is_named_by_the_outbox(tmp_path: Path) -> None:
    config = a_config(tmp_path)
    with Outbox(config.outbox, config.evidence) as outbox:
        stored = outbox.commit(an_alert(1, Phase.START, at=100.0), Evidence(b"png", b"jpeg"))
    with built(config) as parts:
        found = parts.files.file("north-gate-0001", "mask.png")
        assert found is not None
        assert found.read_bytes() == b"png"
        assert parts.files.file("north-gate-0001", "clip.mp4") is None
        (config.evidence / str(stored.snapshot)).unlink()
        assert parts.files.file("north-gate-0001", "snapshot.jpg") is None
