"""The outbox: what commit returned is there for good, in order, whatever happens to the processes round it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream import outbox as module
from stream.errors import OutboxError
from stream.messages import Alert, Evidence, Phase, Region, unix_time
from stream.outbox import SCHEMA_VERSION, Outbox, OutboxReader, safe_name
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


def test_what_a_killed_writer_left_open_is_ended_once_with_its_last_pictures(paths: tuple[Path, Path]) -> None:
    with Outbox(*paths) as outbox:
        outbox.commit(an_alert(1), PICTURES)
        outbox.commit(an_alert(2), PICTURES)
        outbox.commit(an_alert(2, phase=Phase.END), PICTURES)
    with Outbox(*paths) as outbox:
        (end,) = outbox.end_open_alerts()
        assert (end.seq, end.alert_id, end.phase) == (4, an_alert(1).alert_id, Phase.END)
        assert end.ended_at == an_alert(1).frame_time
        assert outbox.evidence_of(end).mask_png == PICTURES.mask_png
        assert outbox.end_open_alerts() == []


def test_pruning_removes_a_beginning_with_its_pictures_and_keeps_the_numbering(outbox: Outbox) -> None:
    for n, hours in ((1, 0), (2, 2), (3, 1), (4, 3)):  # the third is older than the second
        outbox.commit(an_alert(n, frame_time=NOON + 3600 * hours), PICTURES)

    assert outbox.prune(NOON + 3600 * 2) == 1
    assert [a.seq for a in outbox.read_after(0, limit=9)] == [2, 3, 4]
    assert len(files_under(outbox.evidence)) == 6
    assert outbox.prune(NOON + 3600 * 9) == 3
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

    with pytest.raises(OutboxError, match=r"outbox\.db.*schema 2.*upgrade"):
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
    with pytest.raises(OutboxError):
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


KILLED = """
import os, signal, sys
from pathlib import Path
from stream import outbox
from stream.messages import Alert, Evidence, Phase

box = outbox.Outbox(Path(sys.argv[1]), Path(sys.argv[2]))
alert = lambda n: Alert(0, f"a{n}", Phase.START, "gate", "yard", 0.0, 0.0, n, 2.0, 1.0, (), ())
box.commit(alert(1), Evidence(b"png", b"jpeg"))
print("committed", flush=True)
write = outbox.write_durably
def write_then_die(path, data):
    write(path, data)
    if path.suffix == ".jpg":
        os.kill(os.getpid(), signal.SIGKILL)
outbox.write_durably = write_then_die
box.commit(alert(2), Evidence(b"png2", b"jpeg2"))
"""


def test_a_writer_killed_between_pictures_and_row_leaves_a_consistent_outbox(paths: tuple[Path, Path]) -> None:
    env = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run([sys.executable, "-c", KILLED, *map(str, paths)], env=env, capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "committed\n")
    with Outbox(*paths) as box:
        assert [(a.seq, a.alert_id) for a in box.read_after(0, limit=9)] == [(1, "a1")]
        assert len(files_under(paths[1])) == 4  # the pictures of the second are there, and no row claims them
        second = Alert(0, "a2", Phase.START, "gate", "yard", 0.0, 0.0, 2, 2.0, 1.0, (), ())
        assert box.commit(second, Evidence(b"png2", b"jpeg2")).seq == 2
        assert len(files_under(paths[1])) == 4


def test_a_picture_is_never_seen_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a" / "b" / "picture.jpg"
    module.write_durably(target, b"old")

    def power_cut(_: int) -> None:
        raise OSError("power cut")

    monkeypatch.setattr(os, "fsync", power_cut)
    with pytest.raises(OSError, match="power cut"):
        module.write_durably(target, b"newer")
    assert target.read_bytes() == b"old"


# -- file names -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name"),
    [("gate-1", "gate-1"), ("a/b", "a%2Fb"), ("..", "%2E."), (".hidden", "%2Ehidden"), ("", "="), ("Tür", "T%C3%BCr")],
)
def test_a_name_is_safe_for_files_and_still_legible(text: str, name: str) -> None:
    assert safe_name(text) == name


NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


@given(NAMES, NAMES)
def test_different_texts_get_different_file_names_that_stay_in_their_folder(one: str, other: str) -> None:
    for name in (safe_name(one), safe_name(other)):
        assert 0 < len(name.encode()) <= 100
        assert "/" not in name
        assert "\0" not in name
        assert not name.startswith(".")
    assert (safe_name(one) == safe_name(other)) == (one == other)
