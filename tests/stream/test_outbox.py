"""The outbox: what commit returned is there for good, in order, whatever happens to the processes round it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from stream.errors import AlertRefused, OutboxError
from stream.messages import MAX_TEXT, Alert, CameraState, Evidence, Phase, Region, StateEvent, unix_time
from stream.outbox import Kept, Outbox, OutboxReader, Usage
from stream.outbox_schema import SCHEMA_VERSION
from stream.wire import MAX_META_BYTES, MAX_PART_BYTES

PICTURES = Evidence(mask_png=b"png", snapshot_jpeg=b"jpeg")
NOON = unix_time("2026-03-01T12:00:00Z")


def an_alert(n: int = 1, *, camera: str = "gate", phase: Phase = Phase.START, frame_time: float = NOON) -> Alert:
    return Alert(
        seq=0,
        alert_id=f"a{n}",
        phase=phase,
        camera=camera,
        scene="yard",
        started_at=NOON,
        frame_time=frame_time,
        frame_seq=10 * n,
        score=2.5,
        threshold=1.0,
        regions=(Region(bbox=(1, 2, 3, 4), polygon=((1, 2),), area=12, peak=2.5),),
        neighbours=(),
    )


@pytest.fixture
def paths(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "state" / "outbox.db", tmp_path / "evidence"


@pytest.fixture
def outbox(paths: tuple[Path, Path]) -> Iterator[Outbox]:
    with Outbox(*paths) as box:
        yield box


def files_under(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_a_new_outbox_is_empty(outbox: Outbox) -> None:
    assert (outbox.first_seq(), outbox.last_seq(), outbox.read_after(0, limit=9)) == (1, 0, [])


def test_alerts_are_numbered_from_one_without_holes_and_read_back_in_order(outbox: Outbox) -> None:
    committed = [outbox.commit(an_alert(n), PICTURES) for n in (1, 2, 3)]

    assert [a.seq for a in committed] == [1, 2, 3]
    assert outbox.read_after(0, limit=9) == committed
    assert outbox.read_after(1, limit=1) == committed[1:2]
    assert (outbox.first_seq(), outbox.last_seq()) == (1, 3)


def test_commit_names_the_pictures_by_day_and_camera_and_they_can_be_read(outbox: Outbox) -> None:
    committed = outbox.commit(an_alert(camera="gate/north"), PICTURES)

    assert committed.mask == "2026-03-01/gate%2Fnorth/a1-start-10.mask.png"
    assert committed.snapshot == "2026-03-01/gate%2Fnorth/a1-start-10.jpg"
    found = outbox.evidence_of(committed)
    assert (found.mask_png, found.snapshot_jpeg) == (b"png", b"jpeg")
    assert files_under(outbox.evidence) == [committed.snapshot, committed.mask]


def test_an_empty_picture_gets_no_name_and_no_file(outbox: Outbox) -> None:
    committed = outbox.commit(an_alert(), Evidence(b"", b"jpeg"))

    assert committed.mask is None
    assert files_under(outbox.evidence) == [committed.snapshot]


def test_committing_the_same_phase_again_returns_what_is_stored_and_costs_no_number(outbox: Outbox) -> None:
    first = outbox.commit(an_alert(), PICTURES)
    again = outbox.commit(replace(an_alert(), score=99.0), Evidence(b"other", b"other"))
    end = outbox.commit(an_alert(phase=Phase.END), PICTURES)

    assert again == first
    assert outbox.evidence_of(first).mask_png == b"png"
    assert end.seq == 2


def test_what_commit_returned_survives_reopening(paths: tuple[Path, Path]) -> None:
    with Outbox(*paths) as box:
        committed = box.commit(an_alert(), PICTURES)
    with Outbox(*paths) as box:
        assert box.read_after(0, limit=9) == [committed]
        assert box.commit(an_alert(2), PICTURES).seq == 2


def test_a_reader_sees_what_another_object_commits_meanwhile(paths: tuple[Path, Path], outbox: Outbox) -> None:
    with OutboxReader(*paths) as reader:
        assert reader.last_seq() == 0
        committed = outbox.commit(an_alert(), PICTURES)
        assert reader.last_seq() == 1
        assert reader.read_after(0, limit=1) == [committed]


def test_places_of_subscribers_are_kept_and_never_move_back(paths: tuple[Path, Path], outbox: Outbox) -> None:
    with OutboxReader(*paths) as reader:
        reader.acknowledge("mqtt", 5)
        reader.acknowledge("mqtt", 3)
        reader.acknowledge("archive", 1)

    assert outbox.acknowledged() == {"mqtt": 5, "archive": 1}


def test_a_lost_picture_does_not_stop_its_alert_but_shows(outbox: Outbox, caplog: pytest.LogCaptureFixture) -> None:
    committed = outbox.commit(an_alert(), PICTURES)
    assert committed.mask is not None
    (outbox.evidence / committed.mask).unlink()

    alert, evidence = outbox.deliverable(committed)

    assert (alert.mask, evidence.mask_png) == (None, b"")
    assert (alert.snapshot, evidence.snapshot_jpeg) == (committed.snapshot, b"jpeg")
    assert "a1-start-10.mask.png is lost" in caplog.text


@pytest.mark.parametrize("name", ["/etc/passwd", "../outbox.db", "a/../../b"])
def test_a_picture_outside_the_evidence_folder_is_not_read(outbox: Outbox, name: str) -> None:
    with pytest.raises(OutboxError, match="outside"):
        outbox.evidence_of(replace(an_alert(), mask=name))


def test_a_clip_is_stored_and_lost_like_the_other_pictures(outbox: Outbox) -> None:
    committed = outbox.commit(an_alert(), Evidence(b"png", b"jpeg", b"mp4"))

    assert committed.clip == "2026-03-01/gate/a1-start-10.mp4"
    assert outbox.evidence_of(committed).clip_mp4 == b"mp4"
    (outbox.evidence / committed.clip).unlink()
    alert, evidence = outbox.deliverable(committed)
    assert (alert.clip, alert.mask, evidence.clip_mp4) == (None, committed.mask, b"")


def test_view_and_scoring_input_are_stored_but_not_delivered(outbox: Outbox) -> None:
    committed = outbox.commit(an_alert(), Evidence(b"png", b"jpeg", b"", b"view", b"npz"))

    assert (committed.view, committed.frame) == (
        "2026-03-01/gate/a1-start-10.view.jpg",
        "2026-03-01/gate/a1-start-10.frame.npz",
    )
    found = outbox.evidence_of(outbox.read_after(0, limit=1)[0])
    assert (found.view_jpeg, found.frame_npz) == (b"view", b"npz")
    alert, evidence = outbox.deliverable(committed)
    assert (alert.view, alert.frame, evidence.view_jpeg, evidence.frame_npz) == (None, None, b"", b"")
    assert (alert.snapshot, evidence.snapshot_jpeg) == (committed.snapshot, b"jpeg")
    assert outbox.usage().bytes == 14


def test_view_and_scoring_input_are_claimed_and_removed_with_their_alert(outbox: Outbox) -> None:
    committed = outbox.commit(an_alert(), Evidence(b"png", b"jpeg", b"", b"view", b"npz"))

    for name in (committed.view, committed.frame):
        assert name is not None
        assert outbox.claims(name)
        assert not outbox.claims(name.replace("-10.", "-11."))
    outbox.remove_through(committed.seq)
    assert [path for path in outbox.evidence.rglob("*") if path.is_file()] == []


def test_an_alert_that_was_stored_by_an_older_version_has_neither(outbox: Outbox) -> None:
    committed = outbox.commit(an_alert(), PICTURES)

    assert {"view", "frame", "why"}.isdisjoint(committed.to_json())
    assert (committed.view, committed.frame, committed.why) == (None, None, {})


def test_size_and_time_of_a_commit_are_known(paths: tuple[Path, Path]) -> None:
    times = iter([1000.0, 500.0])
    with Outbox(*paths, clock=lambda: next(times)) as outbox:
        assert outbox.usage() == Usage(0, 0, None)
        outbox.commit(an_alert(1), PICTURES)
        outbox.commit(an_alert(2), Evidence(b"", b"", b"clip"))

        assert outbox.kept_after(0, limit=9) == [Kept(1, 7, 1000.0), Kept(2, 4, 500.0)]
        assert outbox.kept_after(1, limit=9) == [Kept(2, 4, 500.0)]
        assert outbox.usage() == Usage(2, 11, 500.0)


def test_a_file_belongs_to_the_alert_that_names_it(outbox: Outbox) -> None:
    committed = outbox.commit(an_alert(), Evidence(b"png", b""))
    assert committed.mask is not None

    assert outbox.claims(committed.mask)
    assert not outbox.claims(committed.mask.replace("gate", "yard"))
    assert not outbox.claims(committed.mask.replace("a1", "a2"))
    assert not outbox.claims(committed.mask.replace(".mask.png", ".jpg"))
    assert outbox.claims("2026-03-01/gate/what is this")


def test_a_subscriber_that_is_forgotten_has_no_place(outbox: Outbox) -> None:
    outbox.acknowledge("archive", 3)

    assert outbox.forget("archive")
    assert not outbox.forget("archive")
    assert outbox.acknowledged() == {}


# -- camera events ----------------------------------------------------------------------------------------------------


def an_event(n: int, camera: str = "gate", state: CameraState = CameraState.LIVE) -> StateEvent:
    return StateEvent(camera, state, f"reason {n}", NOON + n)


def test_events_are_numbered_and_read_back_in_order(outbox: Outbox) -> None:
    assert (outbox.last_event(), outbox.events_after(0, limit=9), outbox.camera_states()) == (0, [], [])

    events = [an_event(1), an_event(2, state=CameraState.STALLED), an_event(3, "yard")]
    assert [outbox.record_event(event) for event in events] == [1, 2, 3]
    assert outbox.events_after(1, limit=1) == [replace(events[1], id=2)]
    assert outbox.last_event() == 3


def test_the_state_of_a_camera_is_its_latest_event(outbox: Outbox) -> None:
    for n, camera in enumerate(("yard", "gate", "yard", "hall", "gate"), start=1):
        outbox.record_event(an_event(n, camera))

    assert [(event.camera, event.id) for event in outbox.camera_states()] == [("yard", 3), ("hall", 4), ("gate", 5)]


def test_old_events_are_removed_but_for_the_latest_of_each_camera(outbox: Outbox) -> None:
    for n, camera in enumerate(("yard", "gate", "gate", "gate", "gate"), start=1):
        outbox.record_event(an_event(n, camera))

    assert outbox.remove_events(NOON + 5, most=2) == 2
    assert [event.id for event in outbox.events_after(0, limit=9)] == [1, 4, 5]
    assert outbox.remove_events(NOON + 99, most=9) == 1
    assert [event.id for event in outbox.events_after(0, limit=9)] == [1, 5]
    assert outbox.record_event(an_event(6)) == 6


def test_a_reason_without_end_is_cut(outbox: Outbox) -> None:
    outbox.record_event(replace(an_event(1), reason="x" * 100_000))

    assert outbox.camera_states()[0].reason == "x" * 2000


def test_a_damaged_event_is_an_outbox_error(paths: tuple[Path, Path], outbox: Outbox) -> None:
    outbox.record_event(an_event(1))
    with sqlite3.connect(paths[0]) as db:
        db.execute("UPDATE events SET state = 'HAPPY'")

    with pytest.raises(OutboxError, match="HAPPY"):
        outbox.camera_states()


def test_what_a_killed_writer_left_open_is_ended_once_with_its_last_pictures(paths: tuple[Path, Path]) -> None:
    with Outbox(*paths) as outbox:
        outbox.commit(an_alert(1), Evidence(b"png", b"jpeg", b"", b"view", b"npz"))
        outbox.commit(an_alert(2), PICTURES)
        outbox.commit(an_alert(2, phase=Phase.END), PICTURES)
    with Outbox(*paths) as outbox:
        (end,) = [outbox.commit(*closing) for closing in outbox.closing_messages()]
        assert (end.seq, end.alert_id, end.phase) == (4, an_alert(1).alert_id, Phase.END)
        assert end.ended_at == an_alert(1).frame_time
        found = outbox.evidence_of(end)
        assert (found.mask_png, found.view_jpeg, found.frame_npz) == (b"png", b"view", b"npz")
        assert outbox.closing_messages() == []


def test_only_of_those_open_alerts_that_are_wanted_are_pictures_read(
    paths: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    with Outbox(*paths) as outbox:
        unwanted = outbox.commit(an_alert(1), PICTURES)
        outbox.commit(an_alert(2), PICTURES)
        (paths[1] / str(unwanted.mask)).unlink()  # who reads it complains
        ((end, _),) = outbox.closing_messages(lambda alert: alert.seq == 2)
        assert end.alert_id == an_alert(2).alert_id
        assert "is lost" not in caplog.text


def test_removing_takes_a_beginning_with_its_pictures_and_keeps_the_numbering(outbox: Outbox) -> None:
    for n in (1, 2, 3, 4):
        outbox.commit(an_alert(n), PICTURES)

    assert outbox.remove_through(1) == 1
    assert [a.seq for a in outbox.read_after(0, limit=9)] == [2, 3, 4]
    assert len(files_under(outbox.evidence)) == 6
    assert outbox.remove_through(4) == 3
    assert (outbox.first_seq(), outbox.last_seq()) == (5, 4)
    assert files_under(outbox.evidence) == []
    assert outbox.commit(an_alert(9), PICTURES).seq == 5


def test_two_processes_may_open_a_new_outbox_at_the_same_time(tmp_path: Path) -> None:
    def open_and_commit(place: tuple[int, int]) -> None:
        with Outbox(tmp_path / f"{place[0]}.db", tmp_path / f"evidence{place[0]}") as box:
            box.commit(an_alert(place[1]), PICTURES)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(open_and_commit, [(round_, n) for round_ in range(5) for n in range(1, 5)]))
    for round_ in range(5):
        with OutboxReader(tmp_path / f"{round_}.db", tmp_path) as reader:
            assert reader.last_seq() == 4


# -- faults ---------------------------------------------------------------------------------------------------------


def test_a_newer_schema_is_refused_with_the_remedy(paths: tuple[Path, Path]) -> None:
    Outbox(*paths).close()
    with sqlite3.connect(paths[0]) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")

    with pytest.raises(OutboxError, match=r"outbox\.db.*schema 3.*upgrade"):
        Outbox(*paths)


def test_another_programs_database_is_refused_and_left_alone(paths: tuple[Path, Path]) -> None:
    paths[0].parent.mkdir()
    with sqlite3.connect(paths[0]) as db:
        db.execute("CREATE TABLE songs (title TEXT)")

    with pytest.raises(OutboxError, match="not an outbox"):
        Outbox(*paths)
    with sqlite3.connect(paths[0]) as db:
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("songs",)]


def test_a_file_that_is_no_database_is_named_with_the_remedy(paths: tuple[Path, Path]) -> None:
    paths[0].parent.mkdir()
    paths[0].write_bytes(b"not a database" * 1000)

    with pytest.raises(OutboxError, match=r"outbox\.db.*damaged.*restore"):
        Outbox(*paths)


def test_a_damaged_page_is_an_outbox_error_and_not_an_empty_answer(paths: tuple[Path, Path]) -> None:
    with Outbox(*paths) as box:
        for n in range(50):
            box.commit(an_alert(n), Evidence(b"", b""))
    data = bytearray(paths[0].read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    paths[0].write_bytes(data)

    with pytest.raises(OutboxError, match=r"outbox\.db"), OutboxReader(*paths) as reader:
        reader.read_after(0, limit=100)


def test_a_damaged_document_is_an_outbox_error_with_its_number(paths: tuple[Path, Path], outbox: Outbox) -> None:
    outbox.commit(an_alert(), PICTURES)
    with sqlite3.connect(paths[0]) as db:
        db.execute("UPDATE alerts SET document = '{'")

    with pytest.raises(OutboxError, match="alert 1 is damaged"):
        outbox.read_after(0, limit=9)


def test_a_folder_that_cannot_be_made_is_an_outbox_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(OutboxError, match="file/state"):
        Outbox(tmp_path / "file" / "state" / "outbox.db", tmp_path / "evidence")


def test_when_the_pictures_cannot_be_written_nothing_is_claimed(outbox: Outbox) -> None:
    outbox.evidence.write_text("a file where the folder belongs")

    with pytest.raises(OutboxError, match="evidence"):
        outbox.commit(an_alert(), PICTURES)
    assert outbox.last_seq() == 0
    outbox.evidence.unlink()
    assert outbox.commit(an_alert(), PICTURES).seq == 1


def test_when_the_row_cannot_be_written_nothing_is_claimed(
    paths: tuple[Path, Path], outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox.commit(an_alert(1), PICTURES)
    outbox._db.execute("PRAGMA busy_timeout = 0")
    with sqlite3.connect(paths[0], isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OutboxError, match="locked"):
            outbox.commit(an_alert(2), PICTURES)
        other.execute("ROLLBACK")

    assert outbox.last_seq() == 1
    assert outbox.commit(an_alert(2), PICTURES).seq == 2


def test_a_write_that_fails_halfway_is_undone_and_the_next_one_succeeds(
    paths: tuple[Path, Path], outbox: Outbox
) -> None:
    with sqlite3.connect(paths[0]) as db:
        db.execute("CREATE TRIGGER fault AFTER INSERT ON alerts BEGIN SELECT RAISE(FAIL, 'disk I/O error'); END")
    with pytest.raises(OutboxError, match="disk I/O error"):
        outbox.commit(an_alert(), PICTURES)
    with sqlite3.connect(paths[0]) as db:
        db.execute("DROP TRIGGER fault")

    assert (outbox.last_seq(), outbox.read_after(0, limit=9)) == (0, [])
    assert outbox.commit(an_alert(), PICTURES).seq == 1


@pytest.mark.parametrize(
    "change",
    [
        {"score": float("nan")},
        {"frame_time": float("inf")},
        {"frame_time": 1e18},
        {"frame_seq": 2**70},
        {"camera": "\ud800"},
    ],
    ids=str,
)
def test_an_alert_that_cannot_be_published_is_refused(outbox: Outbox, change: dict[str, object]) -> None:
    with pytest.raises(AlertRefused):
        outbox.commit(replace(an_alert(), **change), PICTURES)  # type: ignore[arg-type]
    assert outbox.last_seq() == 0


def test_an_alert_too_large_for_the_feed_is_refused_at_once(outbox: Outbox) -> None:
    huge = an_alert().regions * (MAX_META_BYTES // 50)

    with pytest.raises(OutboxError, match="regions"):
        outbox.commit(replace(an_alert(), regions=huge), PICTURES)
    with pytest.raises(OutboxError, match="smaller pictures"):
        outbox.commit(an_alert(), Evidence(b"", bytes(MAX_PART_BYTES + 1)))


def test_a_closed_outbox_says_so(outbox: Outbox) -> None:
    outbox.close()
    outbox.close()

    with pytest.raises(OutboxError, match="closed"):
        outbox.last_seq()


def test_an_alert_that_could_not_be_read_again_is_refused_before_it_is_stored(outbox: Outbox) -> None:
    with pytest.raises(AlertRefused):
        outbox.commit(replace(an_alert(), scene="x" * (MAX_TEXT + 1)), PICTURES)
    assert outbox.last_seq() == 0
