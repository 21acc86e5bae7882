"""One iterator over the outboxes of a cluster, with real feeds: order, gaps, machines that go and come back."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import zmq
from collect_fakes import DIRECTORY, KEY, Campus, Node, a_campus, alert, numbers, take, wait_for

from stream.cluster.model import OutboxPlace, OutboxState
from stream.cluster.subscriber import ClusterSubscriber, OutboxGap
from stream.errors import UsageError
from stream.messages import CameraState, Evidence, StateEvent
from stream.outbox import Outbox
from stream.subscriber import AlertSubscriber, Gap


@pytest.fixture
def campus() -> Iterator[Campus]:
    with a_campus() as made:
        yield made


def test_alerts_of_all_outboxes_come_in_the_order_of_each_and_say_whose_they_are(campus: Campus) -> None:
    a, b = campus.node("a"), campus.node("b")
    a.commit(1, 2, 3)
    b.commit(1, 2)
    campus.tell()
    with campus.subscriber(since=0) as alerts:
        found = take(alerts, 5)
    assert numbers(found, "a") == [("a", 1), ("a", 2), ("a", 3)]
    assert numbers(found, "b") == [("b", 1), ("b", 2)]
    assert {(each.alert.alert_id, each.alert.outbox) for each in found} >= {("a-3", "a"), ("b-2", "b")}
    assert [each.evidence.mask_png for each in found if each.outbox == "b"] == [b"mask1", b"mask2"]


def test_a_busy_outbox_does_not_hold_up_another(campus: Campus) -> None:
    a, b = campus.node("a"), campus.node("b")
    a.commit(*range(1, 11))
    b.commit(*range(1, 11))
    campus.tell()
    with campus.subscriber(since=0) as alerts:
        wait_for(lambda: _ready(alerts) == [1, 1], alerts.listen)  # both have one at hand, and more to give
        found = take(alerts, 20)
    assert {each.outbox for each in found[:2]} == {"a", "b"}


def _ready(alerts: ClusterSubscriber) -> list[int]:
    subscribers = [line._subscriber for line in alerts._lines.values()]
    return [0 if each is None else len(each._ready) for each in subscribers]


def test_an_outbox_that_went_away_goes_on_where_it_was_wherever_it_comes_back(campus: Campus) -> None:
    a, b = campus.node("a"), campus.node("b")
    a.commit(1, 2)
    told: list[OutboxPlace] = []
    campus.tell()
    with campus.subscriber(since=0, on_outbox=told.append) as alerts:
        assert numbers(take(alerts, 2)) == [("a", 1), ("a", 2)]
        a.kill()
        a.commit(3, 4)  # before its machine died: nobody has had them
        campus.tell(a.lost(), b.place())
        b.commit(1)
        assert numbers(take(alerts, 1)) == [("b", 1)]
        assert [place.id for place in alerts.missing] == ["a"]
        a.start(elsewhere=True)
        campus.tell(a.place(), b.place())
        assert numbers(take(alerts, 2)) == [("a", 3), ("a", 4)]
        assert alerts.missing == ()
    assert [(place.id, str(place.state)) for place in told] == [
        ("a", "live"),
        ("b", "live"),
        ("a", "missing"),
        ("a", "live"),
    ]


def test_a_missing_outbox_does_not_keep_the_others_from_being_caught_up(campus: Campus) -> None:
    a, b = campus.node("a", serving=False), campus.node("b")
    campus.tell(a.lost(), b.place())
    with campus.subscriber(since=0) as alerts:
        wait_for(lambda: alerts.caught_up, lambda: alerts.poll(0.05))
        assert alerts.problems == {}
        assert [place.id for place in alerts.missing] == ["a"]


def test_nothing_is_caught_up_before_the_directory_has_told_of_the_outboxes(campus: Campus) -> None:
    with campus.subscriber(since=0) as alerts:
        assert alerts.poll(0.05) is None
        assert not alerts.caught_up
        assert not alerts.connected


def test_an_alert_in_hand_when_its_outbox_goes_is_not_given_twice_and_is_acknowledged_later(campus: Campus) -> None:
    a = campus.node("a")
    a.commit(1, 2)
    campus.tell()
    with campus.subscriber(name="archive") as alerts:
        [first] = take(alerts, 1)
        assert a.disk.outbox.acknowledged() == {"archive": 0}
        a.kill()
        campus.tell(a.lost())
        alerts.listen()
        alerts.ack("a", first.alert.seq)  # while there is nobody to tell
        a.start(elsewhere=True)
        campus.tell()
        assert numbers(take(alerts, 1)) == [("a", 2)]
        wait_for(lambda: a.disk.outbox.acknowledged() == {"archive": 1}, alerts.listen)


def test_every_outbox_remembers_its_own_place_of_a_name(campus: Campus) -> None:
    a, b = campus.node("a"), campus.node("b")
    a.commit(1, 2, 3)
    b.commit(1)
    campus.tell()
    with campus.subscriber(name="archive") as alerts:
        for each in take(alerts, 4):
            alerts.ack(each.outbox, each.alert.seq)
        wait_for(lambda: a.disk.outbox.acknowledged() == {"archive": 3}, alerts.listen)
        wait_for(lambda: b.disk.outbox.acknowledged() == {"archive": 1}, alerts.listen)
    a.commit(4)
    b.commit(2)
    campus.tell()
    with campus.subscriber(name="archive") as alerts:
        assert sorted(numbers(take(alerts, 2))) == [("a", 4), ("b", 2)]


def test_since_is_one_number_for_each_outbox_and_0_for_one_that_it_does_not_name(campus: Campus) -> None:
    a, b = campus.node("a"), campus.node("b")
    a.commit(1, 2, 3)
    b.commit(1)
    campus.tell()
    with campus.subscriber(since={"a": 2}) as alerts:
        assert sorted(numbers(take(alerts, 2))) == [("a", 3), ("b", 1)]
        assert alerts.places == {"a": 3, "b": 1}


def test_from_now_on_passes_over_what_was_there_and_takes_all_of_what_comes_later(campus: Campus) -> None:
    a = campus.node("a")
    gone = campus.node("gone", serving=False)
    a.commit(1)
    gone.commit(1, 2)
    known = gone.lost()
    gone.commit(3)  # committed before its machine died, and the control had not heard of it
    campus.tell(a.place(), known)
    with campus.subscriber() as alerts:
        wait_for(lambda: alerts.caught_up, lambda: alerts.poll(0.05))
        a.commit(2)
        assert numbers(take(alerts, 1)) == [("a", 2)]
        b = campus.node("b")
        b.commit(1)
        gone.start()
        campus.tell()
        assert sorted(numbers(take(alerts, 2))) == [("b", 1), ("gone", 3)]


def test_what_retention_removed_is_reported_with_its_outbox(campus: Campus) -> None:
    a, b = campus.node("a"), campus.node("b")
    a.commit(1, 2, 3)
    b.commit(1)
    a.disk.outbox.remove_through(2)
    campus.tell()
    with campus.subscriber(since=0) as alerts:
        assert sorted(numbers(take(alerts, 2))) == [("a", 3), ("b", 1)]
        assert alerts.gaps == (OutboxGap("a", Gap(1, 2)),)
        campus.tell(a.lost(), b.place())
        alerts.poll(0.05)
        assert alerts.gaps == (OutboxGap("a", Gap(1, 2)),)  # once, and not forgotten with the connection


def test_an_outbox_that_refuses_is_named_and_holds_up_no_other(campus: Campus) -> None:
    a, b = campus.node("a"), campus.node("b")
    a.commit(1)
    b.commit(1)
    campus.tell()
    with campus.subscriber(since={"a": 7}) as alerts:
        assert numbers(take(alerts, 1)) == [("b", 1)]
        wait_for(lambda: alerts.problems, lambda: alerts.poll(0.05))
        assert "since 7 is ahead of this outbox, which ends at 1" in alerts.problems["a"]
        assert not alerts.caught_up


def test_another_outbox_at_a_known_address_is_never_taken_for_the_one_that_was_there(campus: Campus) -> None:
    a, b = campus.node("a"), campus.node("b", serving=False)
    a.commit(1, 2)
    b.commit(1, 2, 3)
    campus.tell(a.place())
    with campus.subscriber(since=0) as alerts:
        take(alerts, 2)
        a.kill()
        b.endpoint = a.endpoint  # a machine that started anew: the ports are given out in another order
        b.start()
        wait_for(lambda: alerts.problems, lambda: alerts.poll(0.05))
        assert "is outbox 'b', not 'a'" in alerts.problems["a"]
        a.commit(3)
        a.start(elsewhere=True)
        campus.tell(a.place(), b.place())
        found = take(alerts, 4)
        assert numbers(found, "a") == [("a", 3)]
        assert numbers(found, "b") == [("b", 1), ("b", 2), ("b", 3)]


def test_a_disk_that_is_back_with_an_older_copy_of_its_outbox_loses_no_alert_that_gets_an_old_number(
    campus: Campus,
) -> None:
    a = campus.node("a")
    a.commit(1, 2)
    campus.tell()
    with campus.subscriber(name="archive") as alerts:
        for each in take(alerts, 2):
            alerts.ack(each.outbox, each.alert.seq)
        wait_for(lambda: a.disk.outbox.acknowledged() == {"archive": 2}, alerts.listen)
        a.kill()
        campus.tell(a.lost())
        wait_for(lambda: alerts.missing, alerts.listen)
        a.disk.outbox.close()
        a.disk.paths[0].unlink()
        a.disk.outbox = Outbox(*a.disk.paths)  # as it was before the first alert
        a.start()
        campus.tell()
        wait_for(lambda: "since 2 is ahead" in alerts.problems.get("a", ""), lambda: alerts.poll(0.05))
        a.commit(8, 9)  # they are its alerts 1 and 2 now
        found = take(alerts, 2)
        assert [(each.alert.seq, each.alert.alert_id) for each in found] == [(1, "a-8"), (2, "a-9")]
        assert alerts.problems == {}


def test_from_now_on_begins_when_an_outbox_was_told_of_even_if_it_goes_before_it_answers(campus: Campus) -> None:
    a = campus.node("a", serving=False)
    a.commit(1, 2)
    campus.tell(a.place(last_seq=2))
    with campus.subscriber() as alerts:
        wait_for(lambda: alerts.outboxes, lambda: alerts.poll(0.01))
        campus.tell(a.lost())
        wait_for(lambda: alerts.missing, lambda: alerts.poll(0.01))
        a.commit(3)
        a.start()
        campus.tell()
        assert numbers(take(alerts, 1)) == [("a", 3)]


def go_back(campus: Campus, node: Node, *numbers: int) -> None:
    """Its disk was away, and is back with an outbox as it was before the first alert, in which others are now."""
    node.kill()
    node.disk.outbox.close()
    node.disk.paths[0].unlink()
    node.disk.outbox = Outbox(*node.disk.paths)
    node.commit(*numbers)
    node.start()


@pytest.mark.parametrize("who", [{"name": "archive"}, {"since": 0}], ids=["named", "nameless"])
def test_an_older_copy_that_has_come_as_far_again_before_anybody_looked_loses_no_alert(
    campus: Campus, who: dict[str, Any]
) -> None:
    a = campus.node("a")
    a.commit(1, 2)
    campus.tell()
    with campus.subscriber(**who) as alerts:
        for each in take(alerts, 2):
            alerts.ack(each.outbox, each.alert.seq)
        campus.tell(a.lost())
        wait_for(lambda: alerts.missing, alerts.listen)
        go_back(campus, a, 7, 8, 9)  # its alerts 1 to 3: to go on after 2 would pass over two
        campus.tell()
        assert [each.alert.alert_id for each in take(alerts, 3)] == ["a-7", "a-8", "a-9"]
        assert alerts.gaps == ()


def test_an_older_copy_gives_a_subscriber_without_a_name_everything_that_it_keeps(campus: Campus) -> None:
    a = campus.node("a")
    a.commit(1, 2, 3)
    campus.tell()
    with campus.subscriber(since=0) as alerts:
        take(alerts, 3)
        go_back(campus, a, 1, 8)
        assert [each.alert.alert_id for each in take(alerts, 2)] == ["a-1", "a-8"]


def test_what_was_handed_out_before_an_outbox_went_back_is_no_acknowledgement_of_what_has_its_number_now(
    campus: Campus,
) -> None:
    a = campus.node("a")
    a.commit(1, 2)
    campus.tell()
    with campus.subscriber(name="archive") as alerts:
        old = take(alerts, 2)[-1]
        go_back(campus, a, 7, 8, 9)
        wait_for(lambda: alerts.problems, alerts.listen)
        wait_for(lambda: not alerts.problems, alerts.listen)  # what is there now was sent, and not handed out
        alerts.ack(old.outbox, old.alert.seq)
        assert take(alerts, 1)[0].alert.alert_id == "a-7"
        wait_for(lambda: a.disk.outbox.acknowledged() == {"archive": 0}, alerts.listen)
    with campus.subscriber(name="archive") as alerts:
        campus.tell()
        assert [each.alert.alert_id for each in take(alerts, 3)] == ["a-7", "a-8", "a-9"]


def test_of_an_outbox_that_has_much_to_give_little_is_in_memory(campus: Campus) -> None:
    a = campus.node("a")
    a.commit(*range(1, 20))
    campus.tell()
    with campus.subscriber(since=0) as alerts:
        take(alerts, 1)
        for _ in range(20):
            alerts.listen()
            threading.Event().wait(0.01)
        subscriber = alerts._lines["a"]._subscriber
        assert subscriber is not None
        assert len(subscriber._ready) == 1
        assert numbers(take(alerts, 18)) == [("a", n) for n in range(2, 20)]


def test_the_name_under_which_the_run_collects_is_for_nobody_else(campus: Campus) -> None:
    with pytest.raises(UsageError, match="under it the run collects its alerts"):
        campus.subscriber(name="collect")


def test_an_outbox_for_which_no_socket_can_be_had_is_named_and_holds_up_no_other(
    campus: Campus, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = campus.node("a"), campus.node("b")
    b.commit(1)
    subscribe = AlertSubscriber._subscribe

    def no_file_is_left(subscriber: AlertSubscriber) -> zmq.Socket[bytes]:
        if subscriber._endpoint.url == a.endpoint:
            raise zmq.ZMQError(errno.EMFILE, "Too many open files")
        return subscribe(subscriber)

    monkeypatch.setattr(AlertSubscriber, "_subscribe", no_file_is_left)
    campus.tell()
    with campus.subscriber(since=0) as alerts:
        assert numbers(take(alerts, 1)) == [("b", 1)]
        wait_for(lambda: "Too many open files" in alerts.problems.get("a", ""), lambda: alerts.poll(0.05))


def test_an_outbox_that_is_forgotten_is_asked_no_more(campus: Campus) -> None:
    a, b = campus.node("a", serving=False), campus.node("b")
    campus.tell(a.lost(), b.place())
    with campus.subscriber(since=0) as alerts:
        alerts.poll(0.05)
        campus.tell(b.place())
        b.commit(1)
        assert numbers(take(alerts, 1)) == [("b", 1)]
        assert [place.id for place in alerts.outboxes] == ["b"]


def test_a_forgotten_outbox_that_is_there_again_goes_on_where_it_was(campus: Campus) -> None:
    a, b = campus.node("a"), campus.node("b")
    a.commit(1, 2)
    campus.tell()
    with campus.subscriber(since=0) as alerts:
        assert numbers(take(alerts, 2)) == [("a", 1), ("a", 2)]
        campus.tell(b.place())
        wait_for(lambda: len(alerts.outboxes) == 1, alerts.listen)
        a.commit(3)
        campus.tell()
        assert numbers(take(alerts, 1)) == [("a", 3)]


def test_camera_events_say_from_which_outbox_they_come(campus: Campus) -> None:
    a = campus.node("a")
    a.disk.outbox.record_event(StateEvent("gate", CameraState.STALLED, "no frame for 5 s", 5.0))
    campus.tell()
    told: list[tuple[str, str, str]] = []
    with campus.subscriber(since=0, on_event=lambda o, e: told.append((o, e.camera, str(e.state)))) as alerts:
        wait_for(lambda: told, lambda: alerts.poll(0.05))
    assert told == [("a", "gate", "STALLED")]


def test_a_machine_whose_key_the_directory_does_not_name_is_not_talked_to(campus: Campus) -> None:
    campus.tell(replace(campus.node("a").place(), endpoint="tcp://127.0.0.1:7"))
    with campus.subscriber(since=0) as alerts:
        alerts.poll(0.05)
        assert "names no key" in alerts.problems["a"]


def test_an_outbox_is_missing_while_no_feed_is_known_of_it(campus: Campus) -> None:
    a = campus.node("a", serving=False)
    campus.tell(a.place(endpoint="", state=OutboxState.LIVE))
    with campus.subscriber(since=0) as alerts:
        alerts.poll(0.05)
        assert [place.id for place in alerts.missing] == ["a"]


def test_one_number_for_a_whole_cluster_is_refused() -> None:
    with pytest.raises(UsageError, match="each has its own"):
        ClusterSubscriber(DIRECTORY, key=KEY, since=7)


def test_a_message_that_comes_from_two_outboxes_keeps_its_identity(campus: Campus) -> None:
    """Of a recording, a second worker may score again what the first had committed: the same alert, told twice."""
    a, b = campus.node("a"), campus.node("b")
    same = alert("gate", 5)
    for node in (a, b):
        node.disk.outbox.commit(same, Evidence(b"m", b"s"))
    campus.tell()
    with campus.subscriber(since=0) as alerts:
        found = take(alerts, 2)
    assert len({(r.alert.alert_id, r.alert.phase, r.alert.frame_seq) for r in found}) == 1
    assert {r.outbox for r in found} == {"a", "b"}
