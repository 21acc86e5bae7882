"""The feed while its outbox takes no writes, and beside retention: alerts go on, and nothing is forgotten."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from feed_fakes import PATIENCE_S, Clock, Peer, Place, a_place, an_alert, fill, stepped
from small_disk import SmallDisk

from stream.errors import OutboxError
from stream.feed import FeedServer
from stream.messages import Evidence
from stream.outbox import Outbox, OutboxReader
from stream.places import NOTE_AGAIN
from stream.retention import EVERY, Limits, Retention
from stream.subscriber import AlertSubscriber
from stream.wire import Kind


@pytest.fixture
def place() -> Iterator[Place]:
    with a_place() as here:
        yield here


class FullOutbox(OutboxReader):
    """One that can be read, and written only while there is room."""

    full = False

    def acknowledge(self, subscriber: str, seq: int) -> None:
        if self.full:
            raise OutboxError("the disk is full. Free some disk space")
        super().acknowledge(subscriber, seq)


def test_on_a_full_disk_places_are_kept_in_memory_and_noted_when_there_is_room(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    fill(place.outbox, 1, 3)
    clock = Clock()
    with (
        FullOutbox(*place.paths) as outbox,
        FeedServer(place.endpoint, outbox, dict, clock=clock) as feed,
        Peer(place.endpoint) as peer,
    ):
        peer.send(Kind.SUBSCRIBE, name="archive", since=None)
        feed.step(PATIENCE_S)
        outbox.full = True
        for seq in (1, 2):
            peer.send(Kind.ACK, seq=seq)
            feed.step(PATIENCE_S)
            clock.now += NOTE_AGAIN
            feed.step(0)
        assert outbox.acknowledged() == {"archive": 0}
        assert feed.state()["problem"] == "the disk is full. Free some disk space"
        assert feed.state()["counts"]["not_noted"] >= 2
        assert caplog.text.count("the disk is full") == 1

        peer.send(Kind.SUBSCRIBE, name="archive", since=None)  # a known name, and its place is known too
        feed.step(PATIENCE_S)
        sent = [message.meta["seq"] for message in peer.drain(idle_ms=100) if message.kind is Kind.ALERT]
        assert sent == [1, 2, 3, 3]

        outbox.full = False
        clock.now += NOTE_AGAIN
        feed.step(0)
        assert outbox.acknowledged() == {"archive": 2}
        assert feed.state()["problem"] == ""


def test_a_new_name_is_put_off_until_it_can_be_noted_and_a_subscriber_without_one_is_served(place: Place) -> None:
    fill(place.outbox, 1, 1)
    clock = Clock()
    with (
        FullOutbox(*place.paths) as outbox,
        FeedServer(place.endpoint, outbox, dict, clock=clock) as feed,
        Peer(place.endpoint) as named,
        Peer(place.endpoint) as nameless,
    ):
        outbox.full = True
        named.send(Kind.SUBSCRIBE, name="archive", since=None)
        feed.step(PATIENCE_S)
        nameless.send(Kind.SUBSCRIBE, name=None, since=0)
        feed.step(PATIENCE_S)

        answer = named.receive()
        assert (answer.kind, answer.meta["again"]) == (Kind.REFUSED, True)
        assert "Free some disk space" in answer.meta["reason"]
        assert nameless.receive().kind is Kind.ALERT

        outbox.full = False
        named.send(Kind.SUBSCRIBE, name="archive", since=None)
        feed.step(PATIENCE_S)
        assert named.receive().kind is Kind.ALERT
        assert feed.state()["problem"] == ""


def test_a_subscriber_that_is_put_off_asks_once_a_second_and_not_at_once(place: Place) -> None:
    clock = Clock()
    with (
        FullOutbox(*place.paths) as outbox,
        FeedServer(place.endpoint, outbox, dict, clock=clock) as feed,
        AlertSubscriber(place.endpoint, name="archive", clock=clock) as alerts,
    ):
        outbox.full = True
        for _ in range(30):
            assert alerts.poll(0) is None
            feed.step(0.02)
        assert feed.state()["counts"]["refused"] == 1
        assert not alerts.connected

        outbox.full = False
        for _ in range(100):
            clock.now += 0.1
            assert alerts.poll(0) is None
            feed.step(0.02)
            if alerts.caught_up:
                break
        assert outbox.acknowledged() == {"archive": 0}


def test_on_a_real_full_disk_the_feed_goes_on_and_recovers_by_itself(place: Place, small_disk: SmallDisk) -> None:
    place.outbox.close()
    place.paths = (small_disk.path / "outbox.db", small_disk.path / "evidence")
    place.outbox = Outbox(*place.paths)
    fill(place.outbox, 1, 40)
    with stepped(place) as (feed, clock), Peer(place.endpoint) as peer:
        peer.send(Kind.SUBSCRIBE, name="archive", since=None)
        feed.step(PATIENCE_S)
        small_disk.fill()
        for seq in range(1, 9):
            peer.send(Kind.ACK, seq=seq)
            feed.step(PATIENCE_S)
            clock.now += NOTE_AGAIN
            peer.send(Kind.BEAT)
        assert "Free some disk space" in feed.state()["problem"]
        small_disk.free()
        clock.now += NOTE_AGAIN
        feed.step(0)
        feed.step(0)

        assert feed.state()["problem"] == ""
        assert place.outbox.acknowledged() == {"archive": 8}
        assert len([m for m in peer.drain(idle_ms=100) if m.kind is Kind.ALERT]) == 40


def test_retention_has_its_turn_in_the_feed_and_tells_who_holds_it_up(place: Place) -> None:
    clock = Clock()
    limits = Limits(days=None, bytes=100, keep_unacknowledged=True, score_days=None)
    retention = Retention(place.outbox, limits, scores=place.paths[0].parent / "scores", clock=clock)
    for n in range(1, 5):
        place.outbox.commit(an_alert(n), Evidence(b"p" * 50, b""))
    with (
        OutboxReader(*place.paths) as reader,
        FeedServer(place.endpoint, reader, dict, clock=clock, retention=retention) as feed,
        Peer(place.endpoint) as peer,
    ):
        peer.send(Kind.SUBSCRIBE, name="archive", since=None)
        feed.step(PATIENCE_S)
        assert feed.state()["retention"]["held_by"] == {"archive": 2}
        assert place.outbox.first_seq() == 1

        peer.send(Kind.ACK, seq=1)
        feed.step(PATIENCE_S)
        clock.now += EVERY
        peer.send(Kind.BEAT)
        feed.step(PATIENCE_S)
        assert feed.state()["retention"] == {
            "removed": {"alerts": 1, "bytes": 50},
            "held_by": {"archive": 1},
            "problem": "",
        }
