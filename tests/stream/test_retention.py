"""Retention: the oldest goes first, by age and by size, never what somebody waits for, and nothing is left over."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream import retention as module
from stream.errors import OutboxError
from stream.messages import Alert, CameraState, Evidence, Phase, StateEvent
from stream.outbox import Outbox
from stream.retention import DAY, EVERY, SETTLED, STRAY_AFTER, SWEEP_EVERY, Limits, Retention

PICTURES = Evidence(b"m" * 60, b"s" * 40)  # 100 bytes
NONE = Limits(days=None, bytes=None, keep_unacknowledged=True, score_days=None)
NOW = 1_000 * DAY


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Place:
    """An outbox whose commits happen when the test says so, and retention on it."""

    def __init__(self, folder: Path) -> None:
        self.wall, self.clock = Clock(NOW), Clock(100.0)
        self.evidence, self.scores = folder / "evidence", folder / "scores"
        self.outbox = Outbox(folder / "outbox.db", self.evidence, clock=self.wall)

    def commit(self, *days_ago: float) -> None:
        for days in days_ago:
            n = self.outbox.last_seq() + 1
            self.wall.now = NOW - days * DAY
            alert = Alert(0, f"a{n}", Phase.START, "gate", "yard", 0.0, float(n), n, 2.0, 1.0, (), ())
            committed = self.outbox.commit(alert, PICTURES)
            for name in (committed.mask, committed.snapshot):
                assert name is not None
                os.utime(self.evidence / name, (self.wall.now, self.wall.now))
        self.wall.now = NOW

    def retention(
        self,
        *,
        days: float | None = None,
        size: int | None = None,
        keep_unacknowledged: bool = True,
        score_days: float | None = None,
        settled_after: float = 0.0,
    ) -> Retention:
        limits = Limits(days, size, keep_unacknowledged, score_days)
        clocks = {"clock": self.clock, "wall": self.wall}
        return Retention(self.outbox, limits, scores=self.scores, settled_after=settled_after, **clocks)

    @property
    def kept(self) -> list[int]:
        return [alert.seq for alert in self.outbox.read_after(0, limit=10_000)]

    @property
    def files(self) -> int:
        return sum(path.is_file() for path in self.evidence.rglob("*"))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    here = Place(tmp_path)
    yield here
    here.outbox.close()


# -- by age and by size -----------------------------------------------------------------------------------------------


def test_alerts_older_than_the_limit_go_with_their_pictures(place: Place) -> None:
    place.commit(40, 31, 29, 0)

    assert place.retention(days=30).apply()["alerts"] == 2
    assert place.kept == [3, 4]
    assert place.files == 4


def test_the_age_is_that_of_the_commit_and_not_of_the_recorded_scene(place: Place) -> None:
    place.commit(1)  # its frame is of 1970

    place.retention(days=30).apply()
    assert place.kept == [1]


def test_only_a_beginning_goes_so_that_no_hole_comes_about(place: Place) -> None:
    place.commit(40, 1, 40)

    place.retention(days=30).apply()
    assert place.kept == [2, 3]


def test_above_the_size_the_oldest_go_until_the_rest_fits(place: Place) -> None:
    place.commit(5, 4, 3, 2, 1)

    removed = place.retention(size=299).apply()
    assert place.kept == [4, 5]
    assert (removed["alerts"], removed["bytes"]) == (3, 300)


@pytest.mark.parametrize("size", [300, 301, None])
def test_what_fits_stays(place: Place, size: int | None) -> None:
    place.commit(3, 2, 1)

    assert place.retention(size=size).apply() == {}
    assert place.kept == [1, 2, 3]


def test_both_limits_hold(place: Place) -> None:
    place.commit(40, 3, 2, 1)

    place.retention(days=30, size=250).apply()
    assert place.kept == [3, 4]


def test_without_limits_nothing_goes(place: Place) -> None:
    place.commit(3650, 0)

    assert place.retention().apply() == {}


def test_an_empty_outbox_is_no_trouble(place: Place) -> None:
    assert place.retention(days=1, size=0, score_days=1).apply() == {}


# -- what somebody waits for ------------------------------------------------------------------------------------------


def test_what_a_registered_subscriber_has_not_acknowledged_stays_and_who_it_is_is_told(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.commit(40, 40, 40, 40, 0)
    place.outbox.acknowledge("archive", 1)
    place.outbox.acknowledge("mqtt", 3)
    retention = place.retention(days=30)

    for _ in range(3):
        retention.apply()
    assert place.kept == [2, 3, 4, 5]
    assert retention.state()["held_by"] == {"archive": 3, "mqtt": 1}
    assert caplog.text.count("retention waits: archive, mqtt") == 1
    assert "outbox forget" in caplog.text


def test_once_it_has_them_they_go(place: Place) -> None:
    place.commit(40, 40, 0)
    place.outbox.acknowledge("archive", 0)
    retention = place.retention(days=30)
    retention.apply()
    assert place.kept == [1, 2, 3]

    place.outbox.acknowledge("archive", 2)
    retention.apply()
    assert place.kept == [3]
    assert retention.state()["held_by"] == {}


def test_a_subscriber_that_is_behind_holds_up_nothing_that_is_not_due(place: Place) -> None:
    place.commit(2, 1)
    place.outbox.acknowledge("archive", 0)
    retention = place.retention(days=30)
    retention.apply()

    assert retention.state()["held_by"] == {}


def test_one_that_is_forgotten_holds_up_nothing(place: Place) -> None:
    place.commit(40, 0)
    place.outbox.acknowledge("archive", 0)
    place.outbox.forget("archive")
    place.retention(days=30).apply()

    assert place.kept == [2]


def test_if_told_so_it_goes_all_the_same(place: Place) -> None:
    place.commit(40, 40, 0)
    place.outbox.acknowledge("archive", 0)
    retention = place.retention(days=30, keep_unacknowledged=False)
    retention.apply()

    assert place.kept == [3]
    assert retention.state()["held_by"] == {}


# -- in slices --------------------------------------------------------------------------------------------------------


def test_a_slice_at_a_time_goes_and_the_next_one_soon(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLICE", 2)
    place.commit(*[40] * 5, 0)
    retention = place.retention(days=30)

    assert retention.step()
    assert place.kept == [3, 4, 5, 6]
    assert not retention.step()  # others have their turn first
    assert place.kept == [3, 4, 5, 6]
    for _ in range(9):
        place.clock.now += 0.2
        retention.step()
    assert place.kept == [6]


def test_while_nothing_is_due_it_looks_every_ten_seconds(place: Place) -> None:
    retention = place.retention(days=30)
    retention.step()
    place.commit(40)
    place.clock.now += EVERY - 0.1
    retention.step()
    assert place.kept == [1]

    place.clock.now += 0.1
    retention.step()
    assert place.kept == []


def test_trouble_is_told_once_and_over_when_it_is_over(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    place.commit(40)
    retention = place.retention(days=30)

    def full(_: int) -> int:
        raise OutboxError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(place.outbox, "remove_through", full)
        for _ in range(3):
            assert not retention.step()
            place.clock.now += EVERY
    assert retention.state()["problem"] == "the disk is full"
    assert caplog.text.count("the disk is full") == 1
    retention.step()
    assert (retention.state()["problem"], place.kept) == ("", [])


@pytest.mark.parametrize("jump", [40 * DAY, 2 * 3600.0])
def test_after_the_clock_was_set_nothing_is_taken_for_old_until_it_can_be_put_right(
    place: Place, jump: float, caplog: pytest.LogCaptureFixture
) -> None:
    place.commit(29.99, 0)
    retention = place.retention(days=30)
    retention.apply()
    place.wall.now += jump
    retention.apply()
    assert place.kept == [1, 2]
    assert caplog.text.count("the clock was set by") == 1

    for clock in (place.wall, place.clock):  # nobody puts it right: so it is right
        clock.now += SETTLED
    retention.apply()
    assert place.kept == ([] if jump > DAY else [2])


def test_a_clock_that_is_wrong_when_the_machine_starts_has_its_time_to_be_put_right(place: Place) -> None:
    place.commit(1, 0)
    place.wall.now += 400 * DAY
    retention = place.retention(days=30, size=150, settled_after=SETTLED)
    retention.apply()
    assert place.kept == [2], "the limit of size holds from the start"

    place.clock.now += SETTLED
    place.wall.now += SETTLED
    retention.apply()
    assert place.kept == []


def test_a_clock_that_is_set_back_in_time_costs_nothing(place: Place) -> None:
    place.commit(1, 0)
    retention = place.retention(days=30)
    for jump in (40 * DAY, -40 * DAY, 0.0):
        place.wall.now += jump
        retention.apply()
        place.clock.now += 60
        place.wall.now += 60
    place.clock.now += SETTLED
    place.wall.now += SETTLED
    retention.apply()

    assert place.kept == [1, 2]


def test_what_was_committed_under_a_clock_that_was_ahead_is_as_old_as_what_follows_it(place: Place) -> None:
    place.commit(41, -4000, -4000, 40, 1, -4000)

    assert place.retention(days=30).apply()["alerts"] == 4
    assert place.kept == [5, 6]


def test_what_was_committed_under_a_clock_that_was_ahead_stays_while_it_may_be_young(place: Place) -> None:
    place.commit(-4000, 1, 40)

    assert place.retention(days=30).apply() == {}
    assert place.kept == [1, 2, 3]


# -- events and scores ------------------------------------------------------------------------------------------------


def test_camera_events_are_kept_as_long_as_alerts_and_the_latest_of_each_camera_for_ever(place: Place) -> None:
    for camera, days in (("gate", 40), ("gate", 39), ("yard", 40), ("yard", 1)):
        place.outbox.record_event(StateEvent(camera, CameraState.LIVE, "", NOW - days * DAY))

    assert place.retention(days=30).apply()["events"] == 2
    assert [event.id for event in place.outbox.events_after(0, limit=9)] == [2, 4]


def test_score_files_go_as_a_whole_by_the_time_of_their_last_row(place: Place) -> None:
    (place.scores / "gate").mkdir(parents=True)
    for name, days in (("2020-01-01.csv", 1), ("2026-01-01.csv", 91), ("2026-01-02.csv", 89)):
        file = place.scores / "gate" / name
        file.write_text("row\n")
        os.utime(file, (NOW - days * DAY,) * 2)

    assert place.retention(score_days=90).apply()["score_files"] == 1
    assert sorted(file.name for file in (place.scores / "gate").iterdir()) == ["2020-01-01.csv", "2026-01-02.csv"]


# -- what belongs to nobody -------------------------------------------------------------------------------------------


def stray(place: Place, name: str, *, age: float) -> Path:
    file = place.evidence / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"x")
    os.utime(file, (NOW - age,) * 2)
    return file


@pytest.mark.parametrize("name", ["1970-01-01/gate/a9-start-9.jpg", "1970-01-01/gate/.a1-start-1.jpg.part"])
def test_a_file_without_a_row_and_a_half_written_one_go_when_they_are_old(place: Place, name: str) -> None:
    place.commit(1)
    new, retention = stray(place, name, age=STRAY_AFTER - 1), place.retention()

    assert retention.apply() == {}
    assert new.exists()
    old = stray(place, name, age=STRAY_AFTER + 1)
    assert retention.apply() == {"strays": 1}
    assert not old.exists()
    assert place.files == 2  # those of the alert stay


def test_a_file_that_is_not_ours_stays(place: Place) -> None:
    other = stray(place, "1970-01-01/gate/notes.txt", age=10 * DAY)

    assert place.retention().apply() == {}
    assert other.exists()


def test_folders_that_are_empty_go_too(place: Place) -> None:
    place.commit(40)
    retention = place.retention(days=30)
    retention.apply()
    for folder in (*place.evidence.glob("*/*"), *place.evidence.glob("*")):
        os.utime(folder, (NOW - 2 * DAY,) * 2)
    retention.apply()
    os.utime(next(place.evidence.glob("*")), (NOW - 2 * DAY,) * 2)
    retention.apply()

    assert list(place.evidence.iterdir()) == []


def test_strays_are_looked_for_every_hour(place: Place) -> None:
    retention = place.retention()
    retention.step()
    file = stray(place, "1970-01-01/gate/a9-start-9.jpg", age=DAY)
    place.clock.now += SWEEP_EVERY - 1
    retention.step()
    assert file.exists()

    place.clock.now += EVERY
    retention.step()
    assert not file.exists()
