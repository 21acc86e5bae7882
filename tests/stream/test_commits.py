"""Commits that can wait: in order, counted, never claimed before they happened, and taken up again by themselves."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from small_disk import SmallDisk

from stream.commits import FIRST_RETRY, LAST_RETRY, RETRY_FOR, CommitQueue
from stream.durable import write_durably
from stream.errors import AlertRefused, OutboxError
from stream.evidence import name_pictures
from stream.messages import Alert, CameraState, Evidence, Phase, StateEvent
from stream.outbox import Outbox

PICTURES = Evidence(b"m" * 60, b"s" * 40)  # 100 bytes


def an_alert(n: int, phase: Phase = Phase.START, *, camera: str = "gate") -> Alert:
    return Alert(0, f"a{n}", phase, camera, "yard", 0.0, float(n), n, 2.0, 1.0, (), ())


def an_event(n: int, camera: str = "gate") -> StateEvent:
    return StateEvent(camera, CameraState.LIVE, f"reason {n}", float(n))


class Store:
    """An outbox in memory that can be full, and that refuses what it is told to."""

    def __init__(self) -> None:
        self.full = False
        self.refused: set[str] = set()  # alert ids
        self.without_pictures = False  # refuses only what has pictures
        self.refuses_frames = False
        self.alerts: list[tuple[Alert, Evidence]] = []
        self.events: list[StateEvent] = []

    def commit(self, alert: Alert, evidence: Evidence) -> Alert:
        if self.full:
            raise OutboxError("the disk is full. Free some disk space")
        if alert.alert_id in self.refused and (evidence.mask_png or not self.without_pictures):
            raise AlertRefused(f"{alert.alert_id} cannot be published")
        if evidence.frame_npz and self.refuses_frames:
            raise AlertRefused(f"the frame of {alert.alert_id} is too long")
        stored = replace(name_pictures(alert, evidence), seq=len(self.alerts) + 1)
        self.alerts.append((stored, evidence))
        return stored

    def record_event(self, event: StateEvent) -> int:
        if self.full:
            raise OutboxError("the disk is full. Free some disk space")
        self.events.append(event)
        return len(self.events)

    @property
    def kept(self) -> list[tuple[str, str, bool]]:
        """(alert id, phase, has pictures) of what was committed."""
        return [(alert.alert_id, str(alert.phase), bool(evidence.mask_png)) for alert, evidence in self.alerts]


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(store: Store, clock: Clock) -> CommitQueue:
    return CommitQueue(store, clock=clock, max_bytes=500, max_messages=6)


def test_what_the_outbox_takes_is_committed_at_once(queue: CommitQueue, store: Store) -> None:
    committed = queue.commit(an_alert(1), PICTURES)

    assert committed is not None
    assert committed.seq == 1
    assert (queue.pending, queue.problem, queue.lost) == (0, "", {})


def test_what_it_does_not_take_waits_and_no_commit_is_claimed(queue: CommitQueue, store: Store) -> None:
    store.full = True

    assert queue.commit(an_alert(1), PICTURES) is None
    assert (queue.pending, store.alerts) == (1, [])
    assert queue.problem == "the disk is full. Free some disk space"
    assert queue.pending_of("gate")
    assert not queue.pending_of("yard")


def test_what_comes_later_waits_behind_it_even_if_there_is_room_again(queue: CommitQueue, store: Store) -> None:
    store.full = True
    queue.commit(an_alert(1), PICTURES)
    store.full = False

    assert queue.commit(an_alert(2), PICTURES) is None
    assert store.alerts == []


def test_it_is_taken_up_again_in_order_without_a_restart(
    queue: CommitQueue, store: Store, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    store.full = True
    for n in (1, 2, 3):
        queue.commit(an_alert(n), PICTURES)
    store.full = False
    clock.now += FIRST_RETRY

    assert [alert.alert_id for alert in queue.retry(clock.now)] == ["a1", "a2", "a3"]
    assert (queue.pending, queue.problem, queue.lost) == (0, "", {})
    assert not queue.pending_of("gate")
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


def test_it_is_not_tried_before_its_time_and_ever_more_rarely(queue: CommitQueue, store: Store, clock: Clock) -> None:
    store.full = True
    queue.commit(an_alert(1), PICTURES)
    tries: list[float] = []

    def commit(alert: Alert, evidence: Evidence) -> Alert:
        tries.append(clock.now)
        raise OutboxError("full")

    store.commit = commit  # type: ignore[method-assign]
    for _ in range(400):
        clock.now += 0.125  # exact in binary
        queue.retry(clock.now)

    pauses = [b - a for a, b in zip([100.0, *tries], tries, strict=False)]
    assert pauses[:5] == [FIRST_RETRY, 1.0, 2.0, 4.0, LAST_RETRY]
    assert set(pauses[4:]) == {LAST_RETRY}


def test_what_is_committed_before_the_disk_is_full_again_is_returned(
    queue: CommitQueue, store: Store, clock: Clock
) -> None:
    store.full = True
    queue.commit(an_alert(1), PICTURES)
    queue.commit(an_alert(2), PICTURES)
    store.full, taken = False, store.commit

    def one(alert: Alert, evidence: Evidence) -> Alert:
        stored = taken(alert, evidence)
        store.full = True
        return stored

    store.commit = one  # type: ignore[method-assign]
    clock.now += LAST_RETRY
    assert [alert.alert_id for alert in queue.retry(clock.now)] == ["a1"]
    assert (queue.pending, queue.problem != "") == (1, True)


def slow(store: Store, clock: Clock, seconds: float) -> None:
    """Each commit and each record of the store takes so long."""
    commit, record = store.commit, store.record_event

    def slow_commit(alert: Alert, evidence: Evidence) -> Alert:
        clock.now += seconds
        return commit(alert, evidence)

    def slow_record(event: StateEvent) -> int:
        clock.now += seconds
        return record(event)

    store.commit, store.record_event = slow_commit, slow_record  # type: ignore[method-assign]


def test_catching_up_takes_a_second_in_one_call_and_goes_on_with_the_next(
    queue: CommitQueue, store: Store, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    store.full = True
    for n in range(1, 6):
        queue.commit(an_alert(n), PICTURES)
    for camera in ("gate", "yard"):
        queue.record_event(an_event(1, camera))
    store.full = False
    slow(store, clock, 0.4 * RETRY_FOR)
    clock.now += LAST_RETRY

    assert [alert.alert_id for alert in queue.retry(clock.now)] == ["a1", "a2", "a3"]
    assert (queue.pending, queue.problem) == (2, "the disk is full. Free some disk space")
    assert queue.commit(an_alert(6), PICTURES) is None  # stays behind those that wait
    assert [alert.alert_id for alert in queue.retry(clock.now)] == ["a4", "a5", "a6"]
    assert (queue.pending, store.events) == (0, [])
    assert queue.problem != ""
    assert queue.retry(clock.now) == []
    assert (store.events, queue.problem) == ([an_event(1), an_event(1, "yard")], "")
    assert "6 alert messages had waited" in caplog.text


def test_the_last_try_at_the_end_goes_on_until_all_is_taken(queue: CommitQueue, store: Store, clock: Clock) -> None:
    store.full = True
    for n in range(1, 6):
        queue.commit(an_alert(n), PICTURES)
    store.full = False
    slow(store, clock, RETRY_FOR)

    assert len(queue.close()) == 5
    assert queue.lost == {}


# -- too much waits ---------------------------------------------------------------------------------------------------


def fill(queue: CommitQueue, store: Store, *alerts: Alert) -> None:
    store.full = True
    for alert in alerts:
        queue.commit(alert, PICTURES)
    store.full = False


START, UPDATE, END = Phase.START, Phase.UPDATE, Phase.END


def test_pictures_of_the_oldest_updates_are_given_up_first(queue: CommitQueue, store: Store, clock: Clock) -> None:
    fill(queue, store, *(an_alert(n, phase) for n, phase in enumerate((START, UPDATE, UPDATE, END, START, UPDATE))))
    queue.retry(clock.now + LAST_RETRY)

    assert [kept for *_, kept in store.kept] == [True, False, True, True, True, True]  # 500 bytes hold five
    assert queue.lost == {"pictures": 1}


def test_before_them_goes_what_only_this_machine_keeps(queue: CommitQueue, store: Store, clock: Clock) -> None:
    store.full = True
    kept = Evidence(b"m" * 60, b"s" * 40, b"", b"v" * 30, b"f" * 20)  # 150 bytes; 500 hold two and two halves
    for n, phase in enumerate((START, UPDATE, START, UPDATE)):
        queue.commit(an_alert(n, phase), kept)
    store.full = False
    queue.retry(clock.now + LAST_RETRY)

    assert [(len(e.mask_png), len(e.view_jpeg), len(e.frame_npz)) for _, e in store.alerts] == [
        (60, 30, 20),
        (60, 0, 0),
        (60, 30, 20),
        (60, 0, 0),
    ]
    assert queue.lost == {"frames": 2}


def test_then_the_oldest_updates_themselves(queue: CommitQueue, store: Store, clock: Clock) -> None:
    phases = (START, UPDATE, UPDATE, END, START, UPDATE, END, END)
    fill(queue, store, *(an_alert(n, phase) for n, phase in enumerate(phases)))
    queue.retry(clock.now + LAST_RETRY)

    assert [alert_id for alert_id, *_ in store.kept] == ["a0", "a3", "a4", "a5", "a6", "a7"]
    assert queue.lost["update"] == 2


def test_and_only_then_other_messages_the_oldest_first(queue: CommitQueue, store: Store, clock: Clock) -> None:
    fill(queue, store, *(an_alert(n, START if n % 2 else END) for n in range(8)))
    queue.retry(clock.now + LAST_RETRY)

    assert [(alert_id, kept) for alert_id, _, kept in store.kept] == [
        ("a2", False),
        ("a3", True),
        ("a4", True),
        ("a5", True),
        ("a6", True),
        ("a7", True),
    ]
    assert queue.lost == {"end": 1, "start": 1, "pictures": 3}


def test_what_is_still_not_taken_at_the_end_is_counted_and_told(
    queue: CommitQueue, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    fill(queue, store, an_alert(1), an_alert(1, END))
    store.full = True

    assert queue.close() == []
    assert (queue.lost, queue.pending) == ({"start": 1, "end": 1}, 0)
    assert "alert a1: end given up" in caplog.text


def test_the_end_is_a_last_try(queue: CommitQueue, store: Store) -> None:
    fill(queue, store, an_alert(1))

    assert [alert.alert_id for alert in queue.close()] == ["a1"]
    assert queue.lost == {}


# -- alerts that are at fault themselves ------------------------------------------------------------------------------


def test_an_alert_that_is_refused_goes_out_without_its_pictures(queue: CommitQueue, store: Store) -> None:
    store.refused, store.without_pictures = {"a1"}, True
    committed = queue.commit(an_alert(1), PICTURES)

    assert committed is not None
    assert store.kept == [("a1", "start", False)]
    assert (queue.lost, queue.problem) == ({"pictures": 1}, "")


def test_what_only_this_machine_keeps_never_costs_an_alert_its_pictures(queue: CommitQueue, store: Store) -> None:
    store.refuses_frames = True
    alert = queue.commit(an_alert(1), replace(PICTURES, view_jpeg=b"v", frame_npz=b"f"))

    assert alert is not None
    assert (alert.mask is not None, alert.snapshot is not None, alert.frame) == (True, True, None)
    assert (dict(queue.lost), queue.problem) == ({"frames": 1}, "")


def test_where_only_that_cannot_be_written_the_alert_goes_out_and_it_is_counted(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(path: Path, data: bytes) -> None:
        if path.name.endswith((".view.jpg", ".frame.npz")):
            raise OSError(errno.ENOSPC, "No space left on device")
        write_durably(path, data)

    monkeypatch.setattr("stream.outbox.write_durably", write)
    queue = CommitQueue(outbox)
    alert = queue.commit(an_alert(1), replace(PICTURES, view_jpeg=b"v" * 10, frame_npz=b"f" * 10))

    assert alert is not None
    assert (alert.view, alert.frame) == (None, None)
    assert outbox.of_alert("a1") == [alert]
    assert outbox.evidence_of(alert).mask_png == PICTURES.mask_png
    assert outbox.usage().bytes == 100
    assert (dict(queue.lost), queue.problem) == ({"frames": 1}, "")


def test_one_that_is_refused_even_so_does_not_hold_up_the_others(
    queue: CommitQueue, store: Store, clock: Clock
) -> None:
    store.refused = {"a2"}
    fill(queue, store, an_alert(1), an_alert(2), an_alert(3))

    assert [alert.alert_id for alert in queue.retry(clock.now + LAST_RETRY)] == ["a1", "a3"]
    assert queue.lost == {"pictures": 1, "start": 1}


# -- camera events ----------------------------------------------------------------------------------------------------


def test_events_are_recorded_at_once(queue: CommitQueue, store: Store) -> None:
    queue.record_event(an_event(1))

    assert store.events == [an_event(1)]


def test_of_events_that_wait_the_latest_of_each_camera_is_recorded(
    queue: CommitQueue, store: Store, clock: Clock
) -> None:
    store.full = True
    for event in (an_event(1), an_event(2, "yard"), an_event(3)):
        queue.record_event(event)
    assert queue.problem != ""
    assert queue.pending == 0
    store.full = False

    assert queue.retry(clock.now + LAST_RETRY) == []
    assert store.events == [an_event(2, "yard"), an_event(3)]
    assert (queue.lost, queue.problem) == ({"event": 1}, "")


# -- a real disk ------------------------------------------------------------------------------------------------------


@pytest.fixture
def outbox(small_disk: SmallDisk) -> Iterator[Outbox]:
    with Outbox(small_disk.path / "outbox.db", small_disk.path / "evidence") as box:
        yield box


def test_a_disk_that_is_full_for_a_while_costs_no_alert(small_disk: SmallDisk, outbox: Outbox, clock: Clock) -> None:
    queue = CommitQueue(outbox, clock=clock)
    pictures = Evidence(b"m" * 30_000, b"s" * 30_000)
    before = queue.commit(an_alert(1), pictures)
    assert before is not None
    small_disk.fill()

    assert [queue.commit(an_alert(n), pictures) for n in (2, 3)] == [None, None]
    queue.record_event(an_event(1))
    assert "Free some disk space" in queue.problem
    assert outbox.last_seq() == 1
    assert outbox.evidence_of(before).mask_png == pictures.mask_png  # reading goes on
    clock.now += LAST_RETRY
    assert queue.retry(clock.now) == []

    small_disk.free()
    clock.now += LAST_RETRY
    assert [alert.seq for alert in queue.retry(clock.now)] == [2, 3]
    assert [alert.alert_id for alert in outbox.read_after(0, limit=9)] == ["a1", "a2", "a3"]
    for alert in outbox.read_after(0, limit=9):
        assert outbox.evidence_of(alert).snapshot_jpeg == pictures.snapshot_jpeg
    assert [event.reason for event in outbox.camera_states()] == ["reason 1"]


def test_rows_without_pictures_wait_for_room_too(small_disk: SmallDisk, outbox: Outbox, clock: Clock) -> None:
    queue = CommitQueue(outbox, clock=clock)
    small_disk.fill()
    numbers = range(1, 61)
    committed = [queue.commit(an_alert(n), Evidence(b"", b"")) for n in numbers]

    assert committed == [None] * 60
    assert outbox.last_seq() == 0
    small_disk.free()
    clock.now += LAST_RETRY
    queue.retry(clock.now)
    assert [alert.alert_id for alert in outbox.read_after(0, limit=99)] == [f"a{n}" for n in numbers]
