"""Alerts of several outboxes become alerts of one: with real feeds and real outboxes on both sides."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from collect_fakes import DIRECTORY, KEY, Campus, a_campus, alert, wait_for
from small_disk import SmallDisk

from stream.cluster.collected import MAX_GAPS
from stream.cluster.collector import LAST_RETRY, NAME, Collector, Files
from stream.cluster.directory_watch import DirectoryWatch
from stream.cluster.open_alerts import AWAY_FOR
from stream.cluster.subscriber import ClusterSubscriber, OutboxGap
from stream.errors import AlertRefused, OutboxError
from stream.messages import Alert, Evidence, Phase
from stream.outbox import Outbox
from stream.subscriber import Gap


@pytest.fixture
def campus() -> Iterator[Campus]:
    with a_campus() as made:
        yield made


class Disk(Outbox):
    """The run machine's outbox; a test may fill its disk."""

    fault: Callable[[Alert, Evidence], None] | None = None

    def commit(self, alert: Alert, evidence: Evidence) -> Alert:
        if self.fault is not None:
            self.fault(alert, evidence)
        return super().commit(alert, evidence)


class Run:
    """The machine that runs a cluster: its state folder, and a collector that is started when a test says so."""

    def __init__(self, folder: Path, campus: Campus) -> None:
        self.state, self.campus = folder, campus
        self.files = Files(folder / "status.json", folder / "cluster.json", folder / "cluster" / "collected.json")
        self.outbox = Disk(folder / "outbox.sqlite", folder / "evidence")

    @contextlib.contextmanager
    def collecting(self, **options: Any) -> Iterator[Collector]:
        watch = DirectoryWatch(self.campus.directory, documents=True)
        with ClusterSubscriber(DIRECTORY, key=KEY, name=NAME, watch=watch, collects=True) as subscriber:
            yield Collector(
                subscriber,
                self.outbox,
                document=lambda: watch.document,
                files=self.files,
                scenes={"gate": "yard"},
                **options,
            )

    def stored(self) -> list[Alert]:
        return self.outbox.read_after(0, limit=1000)

    def ids(self) -> list[str]:
        return [stored.alert_id for stored in self.stored()]

    def status(self) -> dict[str, Any]:
        if not self.files.status.exists():
            return {"worker": {"state": "nothing told yet"}}
        read: dict[str, Any] = json.loads(self.files.status.read_text())
        return read


@pytest.fixture
def run(tmp_path: Path, campus: Campus) -> Iterator[Run]:
    made = Run(tmp_path, campus)
    yield made
    made.outbox.close()


def until(collector: Collector, condition: Callable[[], object]) -> None:
    wait_for(condition, lambda: collector.step(0.05))


def a_document(**parts: Any) -> dict[str, Any]:
    return {"written": 1000.0, "name": "spade-stream", "problems": [], "cameras": {}, "workers": [], **parts}


def test_alerts_of_all_outboxes_are_stored_here_in_the_order_of_each_with_numbers_of_this_one(run: Run) -> None:
    a, b = run.campus.node("a"), run.campus.node("b")
    a.commit(1, 2, 3)
    b.commit(1, 2)
    run.campus.tell()
    with run.collecting() as collector:
        until(collector, lambda: len(run.stored()) == 5)
    stored = run.stored()
    assert [each.seq for each in stored] == [1, 2, 3, 4, 5]
    assert [each.alert_id for each in stored if each.outbox == "a"] == ["a-1", "a-2", "a-3"]
    assert [each.alert_id for each in stored if each.outbox == "b"] == ["b-1", "b-2"]


def test_pictures_that_travel_are_files_here_and_what_stays_where_it_was_made_is_not_named(run: Run) -> None:
    a = run.campus.node("a")
    a.disk.outbox.commit(alert("a", 1, Phase.END), Evidence(b"mask", b"jpeg", b"clip", b"view", b"frame"))
    run.campus.tell()
    with run.collecting() as collector:
        until(collector, run.stored)
    [stored] = run.stored()
    folder = run.state / "evidence"
    names = {name: getattr(stored, name) for name in ("mask", "snapshot", "clip")}
    assert {name: (folder / str(file)).read_bytes() for name, file in names.items()} == {
        "mask": b"mask",
        "snapshot": b"jpeg",
        "clip": b"clip",
    }
    assert (stored.view, stored.frame) == (None, None)
    assert (a.disk.outbox.read_after(0, limit=1)[0].view or "").endswith(".view.jpg")


def test_an_alert_is_acknowledged_when_it_is_stored_here(run: Run) -> None:
    a = run.campus.node("a")
    a.commit(1, 2)
    run.campus.tell()
    with run.collecting() as collector:
        until(collector, lambda: a.disk.outbox.acknowledged() == {NAME: 2})
    assert run.ids() == ["a-1", "a-2"]


def test_what_comes_again_after_a_crash_between_storing_and_acknowledging_is_stored_once(run: Run) -> None:
    a = run.campus.node("a")
    a.commit(1, 2, 3)
    run.campus.tell()

    def die(alert: Alert, evidence: Evidence) -> None:
        Outbox.commit(run.outbox, alert, evidence)
        raise KeyboardInterrupt  # after the commit, before anybody could be told of it

    run.outbox.fault = die
    with run.collecting() as collector, pytest.raises(KeyboardInterrupt):
        until(collector, lambda: False)
    assert run.ids() == ["a-1"]
    assert a.disk.outbox.acknowledged() == {NAME: 0}

    run.outbox.fault = None
    run.campus.tell()
    with run.collecting() as collector:
        until(collector, lambda: a.disk.outbox.acknowledged() == {NAME: 3})
    assert run.ids() == ["a-1", "a-2", "a-3"]


def test_while_the_disk_is_full_nothing_is_acknowledged_and_then_all_is_stored_in_order(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = run.campus.node("a"), run.campus.node("b")
    run.campus.tell()
    full = True

    def fault(alert: Alert, evidence: Evidence) -> None:
        if full:
            raise OutboxError("outbox.sqlite: database or disk is full. Free some disk space")

    run.outbox.fault = fault
    run.campus.directory.tell_document(a_document())
    with run.collecting() as collector:
        a.commit(*range(1, 41))  # more than a feed sends without an acknowledgement
        b.commit(1)
        until(collector, lambda: "Free some disk space" in caplog.text)
        until(collector, lambda: run.status()["worker"]["state"] == "DEGRADED")
        assert "Free some disk space" in run.status()["worker"]["reason"]
        assert run.stored() == []
        assert {**a.disk.outbox.acknowledged(), **b.disk.outbox.acknowledged()} == {NAME: 0}
        full = False
        until(collector, lambda: len(run.stored()) == 41)
        until(collector, lambda: run.status()["worker"]["state"] == "RUNNING")
    assert [name for name in run.ids() if name.startswith("a")] == [f"a-{n}" for n in range(1, 41)]


def test_an_alert_that_can_never_be_stored_is_counted_and_holds_up_no_other(run: Run) -> None:
    a = run.campus.node("a")
    a.commit(1, 2)
    run.campus.tell()

    def fault(alert: Alert, evidence: Evidence) -> None:
        if alert.alert_id == "a-1":
            raise AlertRefused("alert a-1: a value cannot be stored")

    run.outbox.fault = fault
    run.campus.directory.tell_document(a_document())
    with run.collecting() as collector:
        until(collector, lambda: a.disk.outbox.acknowledged() == {NAME: 2})
        collector.tell()
    assert run.ids() == ["a-2"]
    assert "1 start" in run.status()["worker"]["reason"]


def test_pictures_that_cannot_be_stored_do_not_cost_the_alert(run: Run) -> None:
    a = run.campus.node("a")
    a.commit(1)
    run.campus.tell()

    def fault(alert: Alert, evidence: Evidence) -> None:
        if evidence.mask_png:
            raise AlertRefused("alert a-1: its mask has too many bytes")

    run.outbox.fault = fault
    with run.collecting() as collector:
        until(collector, run.stored)
    assert [(each.alert_id, each.mask) for each in run.stored()] == [("a-1", None)]
    assert collector.lost == {"pictures": 1}


def test_the_same_message_of_two_workers_is_stored_once(run: Run) -> None:
    a, b = run.campus.node("a"), run.campus.node("b")
    for node in (a, b):
        node.disk.outbox.commit(alert("gate", 1), Evidence(b"m", b"s"))
    run.campus.tell()
    with run.collecting() as collector:
        until(collector, lambda: [n.disk.outbox.acknowledged() for n in (a, b)] == [{NAME: 1}] * 2)
    assert run.ids() == ["gate-1"]


def test_an_outbox_of_a_dead_node_is_named_until_its_disk_is_back_and_then_nothing_is_lost(run: Run) -> None:
    a, b = run.campus.node("a"), run.campus.node("b")
    a.commit(1)
    run.campus.tell()
    run.campus.directory.tell_document(a_document())
    with run.collecting() as collector:
        until(collector, lambda: run.ids() == ["a-1"])
        a.kill()
        a.commit(2, 3)
        run.campus.tell(a.lost(), b.place())
        run.campus.directory.tell_document(a_document(outboxes=[a.lost().to_json(), b.place().to_json()]))
        until(collector, lambda: run.status()["worker"]["state"] == "DEGRADED")
        assert "outbox a of node-a is missing since 1970-01-12T13:46:40.000Z" in run.status()["worker"]["reason"]
        assert "its alerts 2 to 3 or more come when its disk is back" in run.status()["worker"]["reason"]
        [lost, _] = json.loads(run.files.document.read_text())["outboxes"]
        assert (lost["state"], lost["taken"]) == ("missing", 1)
        b.commit(1)
        until(collector, lambda: "b-1" in run.ids())
        a.start(elsewhere=True)
        run.campus.tell()
        run.campus.directory.tell_document(a_document(outboxes=[a.place().to_json(), b.place().to_json()]))
        until(collector, lambda: run.status()["worker"]["state"] == "RUNNING")
        until(collector, lambda: len(run.stored()) == 4)
    assert run.ids() == ["a-1", "b-1", "a-2", "a-3"]


def test_a_gap_is_an_error_in_the_log_and_stays_known(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    a = run.campus.node("a")
    a.commit(1, 2, 3)
    a.disk.outbox.remove_through(2)
    run.campus.tell()
    run.campus.directory.tell_document(a_document())
    with run.collecting() as collector, caplog.at_level(logging.ERROR):
        until(collector, run.stored)
        collector.tell()
    assert "outbox a: alerts 1 to 2 are gone for good" in caplog.text
    worker = run.status()["worker"]
    assert (worker["state"], "outbox a: 2 alerts are gone for good" in worker["reason"]) == ("DEGRADED", True)
    run.files.document.unlink()
    run.campus.tell()
    document = a_document(outboxes=[a.place().to_json()])
    run.campus.directory.tell_document(document)
    with run.collecting() as collector:
        until(collector, run.files.document.exists)
    [told] = json.loads(run.files.document.read_text())["outboxes"]
    assert (told["taken"], told["gaps"]) == (3, [[1, 2]])


def test_of_more_gaps_than_are_remembered_each_is_an_error_once(
    run: Run, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    gaps = tuple(OutboxGap("a", Gap(n, n)) for n in range(1, MAX_GAPS + 3))
    monkeypatch.setattr(ClusterSubscriber, "gaps", gaps)
    with run.collecting() as collector, caplog.at_level(logging.ERROR):
        for _ in range(3):
            collector.tell()
    assert caplog.text.count("are gone for good") == len(gaps)


def test_a_collector_that_is_stopped_takes_what_is_committed_by_then(run: Run) -> None:
    a = run.campus.node("a")
    run.campus.tell()
    run.campus.directory.tell_document(a_document())
    with run.collecting() as collector:
        until(collector, lambda: collector.caught_up)
        a.commit(*range(1, 61))
        collector.run(lambda: True, drain=20.0)
    assert len(run.stored()) == 60
    assert run.status()["worker"]["state"] == "STOPPED"


def test_a_stopped_collector_does_not_wait_for_an_outbox_that_is_missing(run: Run) -> None:
    a = run.campus.node("a", serving=False)
    run.campus.tell(a.lost())
    with run.collecting() as collector:
        until(collector, lambda: collector.caught_up)
        collector.run(lambda: True, drain=1e9)


def test_before_the_control_has_said_anything_no_status_is_written(run: Run) -> None:
    run.campus.tell()
    with run.collecting() as collector:
        collector.step(0.01)
        collector.tell()
    assert not run.files.status.exists()


def test_what_the_control_says_of_a_camera_is_told_and_recorded_as_one_worker_would(run: Run) -> None:
    run.campus.tell()
    gate = {"worker": "", "state": "NOT_SCORED", "reason": "node-a is gone", "since": 900.0}
    run.campus.directory.tell_document(a_document(cameras={"gate": gate}))
    with run.collecting() as collector:
        until(collector, run.files.status.exists)
    [camera] = run.status()["cameras"].values()
    assert (camera["state"], camera["reason"], camera["scene"]) == ("NOT_SCORED", "node-a is gone", "yard")
    [event] = run.outbox.camera_states()
    assert (event.camera, str(event.state), event.reason, event.at_time) == (
        "gate",
        "NOT_SCORED",
        "node-a is gone",
        900.0,
    )


@pytest.mark.parametrize(
    "document",
    [{"written": "yesterday", "cameras": []}, {**a_document(), "outboxes": [5]}, {**a_document(), "outboxes": 5}],
)
def test_a_document_that_cannot_be_read_does_not_stop_the_alerts(
    run: Run, caplog: pytest.LogCaptureFixture, document: dict[str, Any]
) -> None:
    a = run.campus.node("a")
    a.commit(1)
    run.campus.tell()
    run.campus.directory.tell_document(document)
    with run.collecting() as collector:
        until(collector, run.stored)
        collector.tell()
    assert "document is not well formed" in caplog.text
    assert not run.files.status.exists()


def test_an_alert_that_is_open_on_a_machine_that_stays_away_is_ended_here_with_its_last_message(run: Run) -> None:
    a, b = run.campus.node("a"), run.campus.node("b")
    for node in (a, b):
        node.disk.outbox.commit(alert(node.id, 1), Evidence(b"mask", b"jpeg"))
    run.campus.tell()
    now = [100.0]
    with run.collecting(clock=lambda: now[0]) as collector:
        until(collector, lambda: len(run.stored()) == 2)
        collector.tell()
        run.campus.tell(a.lost(), b.place())
        a.kill()
        until(collector, lambda: [place.id for place in collector._subscriber.missing] == ["a"])
        now[0] += AWAY_FOR - 1
        collector.step(0.01)
        collector.step(0.01)
        assert len(run.stored()) == 2
        now[0] += 1.0
        until(collector, lambda: len(run.stored()) == 3)
        now[0] += AWAY_FOR
        collector.step(0.01)
        collector.step(0.01)
    end = run.stored()[2]
    assert (end.alert_id, end.phase, end.outbox, end.frame_seq) == ("a-1", Phase.END, "a", 1)
    assert len(run.stored()) == 3
    assert (run.state / "evidence" / str(end.mask)).read_bytes() == b"mask"


def test_open_alerts_that_could_not_be_looked_for_are_ended_later_though_no_other_alert_comes(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = run.campus.node("a")
    a.commit(1)
    run.campus.tell()
    run.campus.directory.tell_document(a_document())
    now = [100.0]

    def unreadable(_: object = None) -> list[tuple[Alert, Evidence]]:
        raise OutboxError("the outbox cannot be read")

    with run.collecting(clock=lambda: now[0]) as collector:
        until(collector, lambda: len(run.stored()) == 1)
        collector.tell()
        run.campus.tell(a.lost())
        until(collector, lambda: [place.id for place in collector._subscriber.missing] == ["a"])
        now[0] += AWAY_FOR
        with monkeypatch.context() as broken:
            broken.setattr(collector._open, "_closing", unreadable)
            collector.tell()
        assert "the outbox cannot be read" in run.status()["worker"]["reason"]
        now[0] += LAST_RETRY
        collector.tell()
        assert "cannot be read" not in run.status()["worker"]["reason"]
        until(collector, lambda: len(run.stored()) == 2)
    assert run.stored()[1].phase is Phase.END


def test_on_a_real_full_disk_alerts_wait_on_their_nodes_and_all_come_when_there_is_room(
    campus: Campus, small_disk: SmallDisk
) -> None:
    run = Run(small_disk.path, campus)
    a, b = campus.node("a"), campus.node("b")
    campus.tell()
    with contextlib.closing(run.outbox), run.collecting() as collector:
        until(collector, lambda: collector.caught_up)
        small_disk.fill()
        for node in (a, b):
            for n in (1, 2, 3):
                node.disk.outbox.commit(alert(node.id, n), Evidence(b"m" * 40_000, b"s" * 40_000))
        for _ in range(20):
            collector.step(0.05)
        assert run.stored() == []
        small_disk.free()
        until(collector, lambda: len(run.stored()) == 6)
        until(collector, lambda: [n.disk.outbox.acknowledged() for n in (a, b)] == [{NAME: 3}] * 2)
        for name in ("a", "b"):
            assert [each.alert_id for each in run.stored() if each.outbox == name] == [f"{name}-{n}" for n in (1, 2, 3)]
        sizes = [(small_disk.path / "evidence" / str(each.mask)).stat().st_size for each in run.stored()]
        assert sizes == [40_000] * 6
